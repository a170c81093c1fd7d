"""Negentropy with rust-nostr at the other end, both ways round: its relay with our sync and mirror,
our relay with its client's sync."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest
from nostr_sdk import nostr_sdk as bindings
from tests.conftest import running_node
from tests.relay_peer import WAIT_S, eventually
from tests.relay_peer import Peer as Client
from websockets.asyncio.client import connect

from hanse.engines.peers.mirror import Pace
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import Direction, Peer

pytestmark = pytest.mark.heavy  # a foreign peer

AUTHOR = new_secret()


def note(number: int) -> Event:
    """One of many notes, a few to a second."""
    return sign_event(
        AUTHOR, kind=1, created_at=1_700_000_000 + number // 4, content=f"note {number}"
    )


async def keep(url: str, events: list[Event]) -> None:
    """Publish events at a relay."""
    async with a_client(url) as peer:
        for event in events:
            await peer.say("EVENT", json.loads(encode_event(event)))
        for _ in events:
            heard = await peer.hear()
            assert heard[0] == "OK", heard
            assert heard[2], heard


async def contents(url: str) -> set[str]:
    """Ids of a relay's notes."""
    async with a_client(url) as peer:
        return set(await peer.ask({"kinds": [1], "limit": 500}))


@asynccontextmanager
async def a_client(url: str) -> AsyncIterator[Client]:
    """A connection to a relay, whether it greets with a challenge or not."""
    async with connect(url, max_size=None) as socket:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await socket.recv()
        yield Client(socket, url, new_secret())


class Held(nostr_sdk.NostrDatabase):  # type: ignore[misc]  # the bindings ship no types
    """What rust-nostr's client has: a database of its own shape, in memory."""

    def __init__(self, events: list[Event]) -> None:
        self.events = {
            event.id: nostr_sdk.Event.from_json(encode_event(event).decode()) for event in events
        }

    def backend(self) -> str:
        return "memory"

    def features(self) -> Any:
        return nostr_sdk.NostrDatabaseFeatures(
            persistent=False,
            event_expiration=False,
            full_text_search=False,
            request_to_vanish=False,
        )

    async def save_event(self, event: Any) -> Any:
        self.events[event.id().to_hex()] = event
        return nostr_sdk.SaveEventStatus.success()

    async def check_id(self, event_id: Any) -> Any:
        held = event_id.to_hex() in self.events
        status = nostr_sdk.DatabaseEventStatus
        return status.SAVED if held else status.NOT_EXISTENT

    async def event_by_id(self, event_id: Any) -> Any:
        return self.events.get(event_id.to_hex())

    async def query(self, filter: Any) -> Any:
        return [event for event in self.events.values() if filter.match_event(event)]

    async def count(self, filter: Any) -> int:
        return len(await self.query(filter))


@asynccontextmanager
async def their_relay() -> AsyncIterator[str]:
    """rust-nostr's relay, on loopback."""
    bindings.uniffi_set_event_loop(asyncio.get_running_loop())
    fast = nostr_sdk.RateLimit(max_reqs=1000, notes_per_minute=100_000)
    relay = nostr_sdk.LocalRelayBuilder().rate_limit(fast).build()
    await relay.run()
    try:
        yield str(await relay.url()).rstrip("/")
    finally:
        relay.shutdown()
        bindings.uniffi_set_event_loop(None)


async def test_our_sync_and_their_relay_find_the_same_difference(node: Node) -> None:
    ours, theirs = [note(number) for number in range(120)], [note(n) for n in range(60, 240)]
    async with their_relay() as url:
        await keep(node.url, ours)
        await keep(url, theirs)
        found = await node.peers.sync(url, Filter(), Direction.BOTH, lambda tally: None)
        assert (found.method, found.pulled, found.pushed) == ("negentropy", 120, 60)
        assert await contents(url) == await contents(node.url)
        again = await node.peers.sync(url, Filter(), Direction.BOTH, lambda tally: None)
        assert (again.method, again.to_pull, again.to_push) == ("negentropy", 0, 0)


async def test_their_relay_is_mirrored_live(tmp_path: Path, operator: SecretKey) -> None:
    async with their_relay() as url:
        await keep(url, [note(1)])
        peers = (Peer(url=url),)
        pace = Pace(pause_min_s=0.05, pause_max_s=0.2)
        async with running_node(tmp_path, operator, peers=peers, peer_pace=pace) as node:
            await eventually(lambda: node.peers.statuses()[0]["state"] == "live")
            await keep(node.url, [note(2)])
            await keep(url, [note(3)])
            wanted = {note(number).id for number in (1, 2, 3)}
            async with asyncio.timeout(WAIT_S):
                while not await contents(url) == await contents(node.url) == wanted:
                    await asyncio.sleep(0.02)


@pytest.mark.parametrize("direction", ["UP", "DOWN", "BOTH"])
async def test_their_sync_and_our_relay_find_the_same_difference(
    node: Node, direction: str
) -> None:
    ours, theirs = [note(number) for number in range(200)], [note(n) for n in range(100, 300)]
    await keep(node.url, ours)
    bindings.uniffi_set_event_loop(asyncio.get_running_loop())
    database = Held(theirs)
    client = nostr_sdk.ClientBuilder().database(database).build()
    try:
        await client.add_relay(nostr_sdk.RelayUrl.parse(node.url))
        await client.connect()
        way = getattr(nostr_sdk.SyncDirection, direction)
        options = nostr_sdk.SyncOptions().direction(way)
        found = await client.sync(nostr_sdk.Filter().kind(nostr_sdk.Kind(1)), opts=options)
        assert len(found.success) == 1, found
    finally:
        await client.shutdown()
        bindings.uniffi_set_event_loop(None)
    up, down = direction != "DOWN", direction != "UP"
    assert len(database.events) == 200 + 100 * down
    assert len(await contents(node.url)) == 200 + 100 * up
