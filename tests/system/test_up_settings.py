"""What `hanse up` is told, a client finds in the NIP-11 document and meets on the socket."""

import json
from pathlib import Path

import aiohttp
import pytest
from tests.relay_peer import a_peer, now
from tests.system.cli_home import Home

from hanse.keyring import new_secret
from hanse.protocol.address import encode_npub

pytestmark = pytest.mark.heavy  # a process or more for each test


async def test_words_and_limits_are_shown_and_held(tmp_path: Path) -> None:
    home, key = Home(tmp_path / "home"), new_secret().public
    home.json("init")
    words = {"contact": "mailto:ops@relay.example", "banner": "https://relay.example/b.png"}
    about = [f"{word}={text}" for word, text in words.items()] + [f"pubkey={encode_npub(key)}"]
    given = [part for text in about for part in ("--about", text)]
    limits = ("--limit", "behind-s=3600", "--limit", "identities=3")
    with home.started("up", "--port", "0", "--json", "--name", "Hall", *given, *limits) as running:
        found = json.loads(running.line())
        headers = {"Accept": "application/nostr+json"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(found["http"], headers=headers) as response,
        ):
            document = await response.json(content_type=None)
        assert document.items() >= (words | {"name": "Hall", "pubkey": key}).items()
        shown = {"created_at_lower_limit": 3600, "max_identities": 3}
        assert document["limitation"].items() >= shown.items()
        async with a_peer(found["url"]) as peer:
            await peer.keep(peer.note("new"))
            said = await peer.publish(peer.note("old", created_at=now() - 3700))
            assert said == (False, "invalid: event.created_at: is over 3600 s old")


async def test_a_node_is_started_for_chosen_kinds(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    kinds = ("--kind", "1", "--kind", "7", "--deny-kind", "7")
    with home.started("up", "--port", "0", "--json", *kinds) as running:
        async with a_peer(json.loads(running.line())["url"]) as peer:
            await peer.keep(peer.note("hello"))
            for kind in (7, 30023):
                said = await peer.publish(peer.note("hello", kind=kind))
                assert said == (False, f"blocked: event.kind: kind {kind} is not taken here")


def test_a_kind_that_cannot_be_denied_stops_the_start(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    line = home.refused("up", "--port", "0", "--deny-kind", "62")
    assert line.startswith("invalid: deny-kind: 62 is a request to vanish")


def test_a_word_that_cannot_be_said_stops_the_start(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    line = home.refused("up", "--port", "0", "--about", "icon=icon.png")
    assert line == "invalid: icon: must be an http:// or https:// URL"
