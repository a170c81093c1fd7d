"""`hanse peer` and `hanse sync`, and the operator's routes under them, with real processes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.cli_home import WAIT_S, Home

from hanse.keyring import Keyring, new_secret
from hanse.protocol.address import encode_npub
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.keys import SecretKey

pytestmark = pytest.mark.heavy  # two nodes, each a process


class Place:
    """A home with a running node."""

    def __init__(self, home: Home, url: str) -> None:
        self.home = home
        self.url = url

    def keep(self, event: Event) -> None:
        """Put an event into the node's log."""
        from websockets.sync.client import connect

        with connect(self.url) as socket:
            socket.send(f'["EVENT",{encode_event(event).decode()}]')
            while (heard := json.loads(socket.recv(WAIT_S)))[0] != "OK":
                pass
            assert heard[2], heard

    @property
    def events(self) -> int:
        """How many events the node keeps."""
        return int(self.home.json("status")["events"])

    def until_events(self, count: int) -> None:
        """Wait until the node keeps so many."""
        end = time.monotonic() + WAIT_S
        while self.events != count:
            assert time.monotonic() < end, f"{self.events} events, not {count}"


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """Two operators, each with a node."""
    homes = [Home(tmp_path / name) for name in ("here", "there")]
    for home in homes:
        home.json("init")
    up = ("up", "--port", "0", "--json")
    with homes[0].started(*up) as here, homes[1].started(*up) as there:
        urls = [json.loads(running.line())["url"] for running in (here, there)]
        yield Place(homes[0], urls[0]), Place(homes[1], urls[1])


def note(content: str, secret: SecretKey | None = None, **changes: Any) -> Event:
    fields: dict[str, Any] = {"kind": 1, "created_at": int(time.time()), "content": content}
    return sign_event(secret or new_secret(), **(fields | changes))


def test_a_sync_moves_events_both_ways_and_says_how_many(places: tuple[Place, Place]) -> None:
    here, there = places
    for number in range(3):
        here.keep(note(f"here {number}"))
    there.keep(note("there"))
    there.keep(note("of another kind", kind=7))
    found = here.home.json("sync", there.url, "--in", "--filter", '{"kinds":[1]}')
    assert (found["pulled"], found["pushed"]) == (1, 0)
    done = here.home.run("sync", there.url)
    assert done.returncode == 0
    assert done.stdout.startswith("Pulled 1, pushed 3, by ")
    assert (here.events, there.events) == (5, 5)


def test_a_peer_is_added_listed_and_removed(places: tuple[Place, Place]) -> None:
    here, there = places
    there.keep(note("there"))
    here.keep(note("here"))
    added = here.home.json("peer", "add", there.url, "--in")["added"]
    assert [(row["url"], row["direction"]) for row in added] == [(there.url, "in")]
    here.until_events(2)
    assert there.events == 1
    here.home.run("peer", "add", there.url, "--out", "--filter", '{"kinds":[1]}')
    there.until_events(2)
    (row,) = here.home.json("peer", "list")["peers"]
    assert (row["direction"], row["filters"], row["source"]) == ("out", [{"kinds": [1]}], "added")
    listed = here.home.run("peer", "list").stdout.splitlines()
    assert there.url in listed[1]
    assert here.home.run("peer", "remove", there.url).stdout == f"Removed {there.url}.\n"
    assert here.home.json("peer", "list") == {"peers": []}


def test_a_keys_own_relays_are_added(places: tuple[Place, Place]) -> None:
    here, there = places
    author = new_secret()
    tags = [["r", there.url], ["r", "wss://127.0.0.1:1/x", "write"], ["r", here.url]]
    here.keep(note("", author, kind=10002, tags=tags))
    npub = encode_npub(author.public)
    found = here.home.json("peer", "add", "--from", npub)
    assert [row["url"] for row in found["added"]] == ["wss://127.0.0.1:1/x"]
    assert found["added"][0]["direction"] == "in"
    assert [row["reason"] for row in found["left_out"]] == ["is not encrypted"] * 2
    plain = here.home.json("peer", "add", "--from", npub, "--plain", "--in")
    assert [row["url"] for row in plain["added"]] == [there.url, "wss://127.0.0.1:1/x"]
    assert [row["reason"] for row in plain["left_out"]] == ["is this node itself"]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("peer", "add", "https://relay.example"), "invalid: url: must be a ws:// or wss:// URL"),
        (("peer", "add"), "invalid: body: must name either `url` or `from`"),
        (("peer", "add", "ws://x.example", "--in", "--out"), "invalid: direction: must be one of"),
        (("peer", "add", "ws://x.example", "--filter", "{"), "invalid: filter: is not JSON"),
        (("peer", "add", "ws://x.example", "--filter", '{"x":1}'), "invalid: filter.x: is not a"),
        (("peer", "add", "--from", "nobody"), "invalid: from: "),
        (("peer", "remove", "ws://x.example"), "invalid: url: is no peer of this node"),
        (("sync", "ws://127.0.0.1:1"), "error: url: ws://127.0.0.1:1"),
        (("sync", "nowhere"), "invalid: url: must be a ws:// or wss:// URL"),
        (("sync", "ws://127.0.0.1:1", "--filter", '{"limit":1}'), "invalid: filter.limit: means"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    tmp_path: Path, running: Place, words: tuple[str, ...], refusal: str
) -> None:
    assert running.home.refused(*words).startswith(refusal)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One node for refusals, which change nothing."""
    home = Home(tmp_path_factory.mktemp("refusals") / "home")
    home.json("init")
    with home.started("up", "--port", "0", "--json") as up:
        yield Place(home, json.loads(up.line())["url"])


def test_only_the_operator_may(running: Place, tmp_path: Path) -> None:
    stranger = Home(tmp_path / "stranger")
    stranger.json("init")
    assert Keyring(stranger.folder).exists()
    for words in (
        ("peer", "list"),
        ("peer", "add", "ws://x.example"),
        ("peer", "remove", "ws://x.example"),
        ("sync", "ws://x.example"),
    ):
        line = stranger.refused(*words, "--node", running.url)
        assert line == "restricted: only this node's operator may do this"
