"""Each admission policy: what it refuses, with which word, and what it lets through."""

import base64
from typing import Any

import pytest
from tests.fakes.admission import AUTHOR, FAR, HOST, NODE, NOW, OPERATOR, Door, an_event

from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.protocol import attestation, kinds
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.principal import Principal
from hanse.protocol.work import difficulty, mine
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.context import Sender
from hanse.servers.relay.rules import Kinds, Members, Rates, Rules, Size, Times, Work

SOMEBODY = new_secret()
SECRET_TEXT = base64.b64encode(bytes([2]) + bytes(120)).decode()


def refusal(door: Door, event: Event, source: Sender = FAR) -> str:
    """The words of a refusal; empty if there is none."""
    try:
        door.admit(event, source)
    except HanseError as exc:
        return exc.wire
    return ""


def attested(operator: Any = OPERATOR, **changes: Any) -> Event:
    """An event of AUTHOR, whom `operator` attested on it."""
    tag = attestation.attest(operator, AUTHOR.public).tag
    return an_event(tags=[tag, *changes.pop("tags", ())], **changes)


def proved(*secrets: Any, operator: Any = None) -> Sender:
    """A connection from afar that proved these keys."""
    keys = frozenset(found.public for found in secrets)
    operators = dict.fromkeys(keys, operator.public) if operator else {}
    return Sender(FAR.address, keys, operators, "socket")


def test_a_plain_note_is_taken() -> None:
    assert refusal(Door(), an_event(content="hello")) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tags": [["t", "x"]] * 4}, "invalid: event.tags: more than 3"),
        ({"content": "x" * 11}, "invalid: event.content: over 10 characters"),
    ],
)
def test_what_is_too_large_is_refused(changes: dict[str, Any], said: str) -> None:
    assert refusal(Door(Rules(size=Size(tags_max=3, content_max=10))), an_event(**changes)) == said


def test_only_kinds_that_the_settings_allow_are_taken() -> None:
    door = Door(Rules(kinds=Kinds(allow=frozenset({1, 7}), deny=frozenset({7}))))
    assert refusal(door, an_event()) == ""
    assert refusal(door, an_event(kind=7)).startswith("blocked: event.kind: kind 7 is not taken")
    assert refusal(door, an_event(kind=8)).startswith("blocked:")
    door.lists.only_kinds[8] = ""
    assert refusal(door, an_event(kind=8)) == ""
    door.lists.denied_kinds[8] = ""
    assert refusal(door, an_event(kind=8)).startswith("blocked:")


def test_what_takes_back_is_taken_whatever_is_allowed() -> None:
    door = Door(Rules(kinds=Kinds(allow=frozenset({1}))))
    tags = [["relay", "ALL_RELAYS"], ["e", "1" * 64]]
    for kind in (kinds.DELETION, kinds.VANISH):
        assert refusal(door, an_event(kind=kind, tags=tags)) == ""
    door.lists.denied_kinds[kinds.DELETION] = ""
    assert refusal(door, an_event(kind=kinds.DELETION, tags=tags)).startswith("blocked:")


def test_the_house_s_own_events_are_not_asked_for_their_kind() -> None:
    door = Door(Rules(kinds=Kinds(allow=frozenset({1}), deny=frozenset({7}))))
    for kind in (7, 8):
        assert refusal(door, an_event(OPERATOR, kind=kind)) == ""
        assert refusal(door, an_event(kind=kind), proved(AUTHOR, operator=OPERATOR)) == ""
        for source in (FAR, proved(AUTHOR), proved(AUTHOR, operator=SOMEBODY)):
            assert refusal(door, an_event(kind=kind), source).startswith("blocked:")
    wrap = an_event(kind=kinds.GIFT_WRAP, tags=[["p", NODE.public]], content=SECRET_TEXT)
    assert refusal(door, wrap, proved(OPERATOR)) == ""
    assert refusal(door, wrap, proved(SOMEBODY, operator=OPERATOR)) == ""
    assert refusal(door, wrap, proved(SOMEBODY)).startswith("blocked:")
    assert refusal(door, an_event(OPERATOR, kind=kinds.TOKEN)).startswith("restricted:")


@pytest.mark.parametrize("kind", sorted(kinds.NEVER_PUBLISHED))
def test_proofs_of_identity_are_never_taken_whatever_was_allowed(kind: int) -> None:
    door = Door()
    door.lists.only_kinds[kind] = ""
    assert refusal(door, an_event(kind=kind)).startswith("restricted:")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"allow": {70000}}, "kind: must be 0 to 65535"),
        ({"deny": {-1}}, "deny-kind: must be 0 to 65535"),
        ({"allow": {kinds.TOKEN}}, "kind: 27519 is a proof of identity"),
        ({"deny": {kinds.VANISH}}, "deny-kind: 62 is a request to vanish"),
        ({"allow": range(501)}, "kind: at most 500 of them"),
    ],
)
def test_kinds_that_cannot_be_chosen_are_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(HanseError) as caught:
        Kinds(**{name: frozenset(found) for name, found in settings.items()})
    assert caught.value.text.startswith(says)


def test_banned_keys_events_and_addresses_are_refused() -> None:
    door, event = Door(), an_event()
    door.lists.denied_events[event.id] = "spam"
    assert refusal(door, event).startswith("blocked: event.id")
    door = Door()
    door.lists.denied_keys[AUTHOR.public] = ""
    assert refusal(door, event).startswith("blocked: event.pubkey")
    door = Door()
    door.lists.denied_addresses[FAR.address] = ""
    assert refusal(door, event).startswith("blocked:")
    assert refusal(door, event, Sender("203.0.113.8")) == ""


@pytest.mark.parametrize(
    ("kind", "at", "taken"),
    [
        (1, 900, True),
        (1, 901, False),
        (1, -50_000, True),
        (1, -50_001, False),
        (20001, 120, True),
        (20001, -121, False),
    ],
)
def test_times_outside_the_window_are_refused(kind: int, at: int, taken: bool) -> None:
    door = Door(Rules(times=Times(past_s=50_000)))
    said = refusal(door, an_event(kind=kind, created_at=NOW + at))
    assert said == "" if taken else said.startswith("invalid: event.created_at")


@pytest.mark.parametrize(
    ("at", "taken"),
    [(-kinds.WRAP_SHIFT_S, True), (-kinds.WRAP_SHIFT_S - 1, False), (120, True), (121, False)],
)
def test_an_ephemeral_gift_wrap_may_hide_its_time(at: int, taken: bool) -> None:
    event = an_event(kind=kinds.EPHEMERAL_GIFT_WRAP, created_at=NOW + at)
    said = refusal(Door(), event)
    assert said.startswith("invalid: event.created_at") is not taken


def test_a_request_to_vanish_may_be_of_any_age() -> None:
    door = Door(Rules(times=Times(past_s=50_000)))
    tags = [["relay", "ALL_RELAYS"]]
    assert refusal(door, an_event(kind=kinds.VANISH, created_at=NOW - 50_001, tags=tags)) == ""
    late = refusal(door, an_event(kind=kinds.VANISH, created_at=NOW + 901, tags=tags))
    assert late.startswith("invalid: event.created_at")


@pytest.mark.parametrize(("text", "taken"), [("1", False), ("soon", False), (str(NOW + 1), True)])
def test_what_has_expired_is_refused(text: str, taken: bool) -> None:
    said = refusal(Door(), an_event(tags=[["expiration", text]]))
    assert said == "" if taken else said.startswith("invalid: event.tags.expiration")


def test_a_protected_event_is_taken_from_its_proven_author_only() -> None:
    event = an_event(tags=[["-"]])
    assert refusal(Door(), event).startswith("auth-required:")
    assert refusal(Door(), event, proved(SOMEBODY)).startswith("restricted:")
    assert refusal(Door(), event, proved(SOMEBODY, AUTHOR)) == ""


@pytest.mark.parametrize("kind", [6, 16])
def test_a_repost_must_not_carry_a_protected_event(kind: int) -> None:
    inner = encode_event(an_event(tags=[["-"]])).decode()
    assert refusal(Door(), an_event(kind=kind, content=inner)).startswith("restricted:")
    hidden = inner.replace('"-"', '"\\u002d"')
    assert refusal(Door(), an_event(kind=kind, content=hidden)).startswith("restricted:")
    plain = encode_event(an_event(content="-")).decode()
    for content in (plain, "", "not JSON"):
        assert refusal(Door(), an_event(kind=kind, content=content)) == ""


@pytest.mark.parametrize("kind", [kinds.GIFT_WRAP, kinds.EPHEMERAL_GIFT_WRAP])
def test_a_gift_wrap_has_one_recipient_and_is_encrypted(kind: int) -> None:
    one = ["p", SOMEBODY.public]
    assert refusal(Door(), an_event(kind=kind, tags=[one], content=SECRET_TEXT)) == ""
    for tags in ([], [one, one], [["p", "nobody"]], [["p"]]):
        said = refusal(Door(), an_event(kind=kind, tags=tags, content=SECRET_TEXT))
        assert said.startswith("invalid: event.tags.p")
    wrong_version = base64.b64encode(bytes([1]) + bytes(120)).decode()
    for content in (
        "hello",
        "#" + SECRET_TEXT,
        "é" * 200,
        wrong_version,
        SECRET_TEXT[:-4] + "====",
    ):
        said = refusal(Door(), an_event(kind=kind, tags=[one], content=content))
        assert said.startswith("invalid: event.content")


@pytest.mark.parametrize(
    ("kind", "tags", "taken"),
    [
        (62, [["relay", "ALL_RELAYS"]], True),
        (62, [["relay", f"wss://{HOST}/"]], True),
        (62, [["relay", "wss://other.example"]], False),
        (62, [], False),
        (13, [["p", "x"]], False),
        (1984, [["p", SOMEBODY.public, "spam"]], True),
        (1984, [["e", "00" * 32, "spam"], ["p", SOMEBODY.public]], True),
        (1984, [["p", SOMEBODY.public]], False),
        (1984, [["e", "00" * 32, "spam"]], False),
        (10002, [["r", "wss://a.example", "read"], ["r", "ws://b.example:1"]], True),
        (10002, [["r", "https://a.example"]], False),
        (10002, [["r", "wss://a.example", "both"]], False),
        (10002, [["r"]], False),
        (10050, [["relay", "wss://a.example"]], True),
        (10050, [["relay", "here"]], False),
    ],
)
def test_kinds_look_as_their_nips_demand(kind: int, tags: list[list[str]], taken: bool) -> None:
    content = SECRET_TEXT if kind == 13 else ""
    said = refusal(Door(), an_event(kind=kind, tags=tags, content=content))
    assert said == "" if taken else said.startswith("invalid: event.tags")


# --- work -----------------------------------------------------------------------------------------


def mined(bits: int, tags: tuple[tuple[str, ...], ...] = ()) -> Event:
    """A note with work."""

    def note(nonce: int) -> Event:
        return an_event(tags=[*tags, ("nonce", str(nonce), str(bits))])

    nonce = mine(lambda nonce: note(nonce).id, bits, attempts=100_000)
    assert nonce is not None
    return note(nonce)


def test_strangers_work_and_are_told_how_much() -> None:
    door = Door(Rules(work=Work(bits=8)))
    assert refusal(door, mined(8)) == ""
    # One id in 256 has so many bits by luck.
    plain = (sign_event(AUTHOR, kind=1, created_at=NOW - ago) for ago in range(99))
    said = refusal(door, next(event for event in plain if difficulty(event.id) < 8))
    assert said.startswith("pow: 8 bits are needed, the event has ")
    lucky = an_event(tags=[t for t in mined(8).tags if t[0] != "nonce"])
    assert refusal(door, lucky).startswith("pow: 8 bits are needed")


def test_known_keys_and_agents_that_a_known_operator_attested_need_no_work() -> None:
    rules = Rules(work=Work(bits=200), members=Members(keys=frozenset({SOMEBODY.public})))
    door = Door(rules)
    for secret in (OPERATOR, NODE, SOMEBODY):
        assert refusal(door, an_event(secret)) == ""
    assert refusal(door, attested()) == ""
    assert refusal(door, attested(SOMEBODY)) == ""
    assert refusal(door, attested(new_secret())).startswith("pow:")
    assert refusal(door, an_event(), proved(AUTHOR, operator=OPERATOR)) == ""
    assert refusal(door, an_event(), proved(AUTHOR)).startswith("pow:")
    door.lists.allowed_keys[AUTHOR.public] = ""
    assert refusal(door, an_event()) == ""


def test_an_attestation_that_does_not_hold_is_refused() -> None:
    other = attestation.attest(OPERATOR, SOMEBODY.public).tag
    assert refusal(Door(), an_event(tags=[other])).startswith("invalid: auth")
    limited = attestation.attest(OPERATOR, AUTHOR.public, "kind=7").tag
    door = Door()
    assert refusal(door, an_event(tags=[limited], kind=7)) == ""
    assert refusal(door, an_event(tags=[limited])).startswith("invalid: auth")


# --- membership -----------------------------------------------------------------------------------


def test_members_and_their_agents_publish_and_nobody_else() -> None:
    door = Door(Rules(members=Members(keys=frozenset({SOMEBODY.public}), only=True)))
    assert refusal(door, an_event()).startswith("restricted: only members")
    assert refusal(door, an_event(SOMEBODY)) == ""
    assert refusal(door, attested(SOMEBODY)) == ""
    assert refusal(door, attested(new_secret())).startswith("restricted:")


def test_a_member_may_bring_a_gift_wrap_signed_by_a_key_made_for_it() -> None:
    door = Door(Rules(members=Members(keys=frozenset({SOMEBODY.public}), only=True)))
    wrap = an_event(kind=1059, tags=[["p", AUTHOR.public]], content=SECRET_TEXT)
    assert refusal(door, wrap).startswith("restricted:")
    assert refusal(door, wrap, proved(SOMEBODY)) == ""
    assert refusal(door, an_event(), proved(SOMEBODY)).startswith("restricted:")


def test_anybody_may_ask_to_vanish() -> None:
    door = Door(Rules(members=Members(only=True), work=Work(bits=200)))
    door.lists.denied_keys[AUTHOR.public] = ""
    assert refusal(door, an_event(kind=62, tags=[["relay", "ALL_RELAYS"]])) == ""


# --- rates ----------------------------------------------------------------------------------------


def limited(**rates: Rate) -> Door:
    return Door(Rules(rates=Rates(**rates)))  # type: ignore[arg-type]


def test_a_key_that_is_too_fast_is_told_how_long_to_wait() -> None:
    door = limited(key=Rate(0.5, 2))
    assert [refusal(door, an_event()) for _ in range(2)] == ["", ""]
    said = refusal(door, an_event())
    assert said == "rate-limited: wait 2 s (at most 0.5 events a second per key)"
    assert refusal(door, an_event(SOMEBODY)) == ""
    door.clock.passed_ms += 2000
    assert refusal(door, an_event()) == ""


def test_all_agents_of_an_operator_share_its_rate() -> None:
    owner = new_secret()
    door = limited(operator=Rate(1, 2))
    agents = [new_secret() for _ in range(3)]
    tags = [attestation.attest(owner, agent.public).tag for agent in agents]
    said = [
        refusal(door, an_event(agent, tags=[tag])) for agent, tag in zip(agents, tags, strict=True)
    ]
    assert said[:2] == ["", ""]
    assert said[2] == "rate-limited: wait 1 s (at most 1 events a second per operator)"


def test_an_address_is_limited_before_anything_is_read() -> None:
    door = limited(address=Rate(1, 3))
    said = [refusal(door, an_event(new_secret())) for _ in range(4)]
    assert said[3] == "rate-limited: wait 1 s (at most 1 events a second per address)"
    assert refusal(door, an_event(), Sender("203.0.113.8")) == ""


def test_what_is_refused_takes_nothing_from_the_key_that_it_names() -> None:
    door = limited(key=Rate(1, 1))
    for _ in range(5):
        assert refusal(door, an_event(tags=[["expiration", "1"]])).startswith("invalid:")
    assert refusal(door, an_event()) == ""


def test_trusted_addresses_and_the_nodes_own_agents_are_not_limited() -> None:
    slow = Rate(1, 1)
    door = limited(key=slow, operator=slow)
    for _ in range(5):
        assert refusal(door, an_event(), Sender("127.0.0.1")) == ""
        assert refusal(door, an_event(OPERATOR)) == ""
        assert refusal(door, attested()) == ""
        assert refusal(door, an_event(SOMEBODY), proved(SOMEBODY, operator=OPERATOR)) == ""


def test_the_sender_of_a_request_is_who_signed_it() -> None:
    who = Principal(AUTHOR.public, OPERATOR.public)
    found = Sender.of("203.0.113.7", who)
    assert found.identities == {AUTHOR.public}
    assert dict(found.operators) == {who.agent: who.operator}
    assert Sender.of("", Principal(AUTHOR.public, AUTHOR.public)).operators == {}
    assert Sender.of("", None).identities == frozenset()


def test_an_offer_must_be_one() -> None:
    assert refusal(Door(), an_event(kind=kinds.OFFER)).startswith("invalid:")
