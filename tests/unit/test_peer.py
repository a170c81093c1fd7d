"""Peers as values: one name per relay, directions, what is never shared, and a key's own list."""

import pytest

from hanse.errors import Invalid
from hanse.protocol.event import Event, Tags, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import (
    FILTERS_MAX,
    RELAYS_MAX,
    Direction,
    Peer,
    is_shared,
    read_direction,
    read_peer,
    relay_url,
    relays_of,
)

KEY = SecretKey(bytes([7]) * 32)


def event(kind: int, tags: Tags = ()) -> Event:
    return sign_event(KEY, kind=kind, created_at=1, tags=tags)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wss://Relay.Example.com", "wss://relay.example.com"),
        ("wss://relay.example.com/", "wss://relay.example.com"),
        (" wss://relay.example.com:443/", "wss://relay.example.com"),
        ("ws://relay.example.com:80", "ws://relay.example.com"),
        ("ws://[::1]:7447/", "ws://[::1]:7447"),
        ("wss://relay.example.com/Nostr", "wss://relay.example.com/Nostr"),
    ],
)
def test_a_relay_has_one_name(text: str, name: str) -> None:
    assert relay_url(text) == name
    assert relay_url(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example.com",
        "https://relay.example.com",
        "wss://",
        "wss:///path",
        "wss://user@relay.example.com",
        "wss://relay.example.com/?a=b",
        "wss://relay.example.com/#x",
        "wss://relay example.com",
        "wss://relay.example.com/\n",
        "wss://relay.exämple.com",
        "wss://relay.example.com/" + "x" * 200,
    ],
)
def test_what_is_no_relay_is_refused(text: str) -> None:
    if text.endswith("\n"):
        assert relay_url(text) == "wss://relay.example.com"
        return
    with pytest.raises(Invalid, match="url"):
        relay_url(text)


def test_a_peer_survives_its_own_json() -> None:
    found = read_peer("wss://relay.example.com/", "in", [{"kinds": [31402], "#t": ["x"]}])
    again = found.as_dict()
    assert read_peer(again["url"], again["direction"], again["filters"]) == found
    assert found.direction.pulls
    assert not found.direction.pushes


def test_no_filter_means_everything() -> None:
    assert read_peer("ws://a.example", "both", []).filters == (Filter(),)


@pytest.mark.parametrize(
    ("direction", "filters", "field"),
    [
        ("up", [], "direction"),
        ("in", [{"kinds": "x"}], "filters"),
        ("in", [{"limit": 5}], "filters"),
        ("in", [{}] * (FILTERS_MAX + 1), "filters"),
    ],
)
def test_a_wrong_peer_names_the_field(direction: str, filters: list[object], field: str) -> None:
    with pytest.raises(Invalid, match=field):
        read_peer("ws://a.example", direction, filters)


def test_a_peer_is_built_only_with_its_one_name() -> None:
    with pytest.raises(Invalid, match="one form"):
        Peer(url="ws://a.example/")


def test_directions_are_read_by_name() -> None:
    assert [read_direction(name.value) for name in Direction] == list(Direction)


@pytest.mark.parametrize("kind", [1059, 21059, 20001, 22242, 27235, 27519, 25910])
def test_private_passing_and_proving_kinds_are_never_shared(kind: int) -> None:
    assert not is_shared(event(kind))


def test_protected_events_stay_where_their_author_put_them() -> None:
    assert is_shared(event(1))
    assert is_shared(event(31402, (("d", "-"),)))
    assert not is_shared(event(1, (("-",),)))
    assert not is_shared(event(1, (("-", ""), ("t", "x"))))


def test_a_request_to_vanish_is_shared_if_it_names_all_relays() -> None:
    assert is_shared(event(62, (("relay", "ALL_RELAYS"),)))
    assert not is_shared(event(62, (("relay", "wss://one.example"),)))


def test_a_keys_list_says_which_way() -> None:
    tags = (
        ("r", "wss://both.example/"),
        ("r", "wss://w.example", "write"),
        ("r", "wss://r.example", "read"),
        ("r", "wss://both.example", "read"),
        ("r", "not a relay"),
        ("r",),
        ("x", "wss://no.example"),
    )
    assert relays_of(event(10002, tags)) == [
        ("wss://both.example", Direction.BOTH),
        ("wss://w.example", Direction.IN),
        ("wss://r.example", Direction.OUT),
    ]


def test_a_keys_list_is_taken_only_so_far() -> None:
    tags = tuple(("r", f"wss://{number}.example") for number in range(100))
    assert len(relays_of(event(10002, tags))) == RELAYS_MAX
