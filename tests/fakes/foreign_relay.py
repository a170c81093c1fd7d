"""Fake relays on loopback, for what a real one does not do on request: compare only small sets, or
not at all, or lie.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from hanse.protocol.event import Event, encode_event, parse_event
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.negentropy import Negentropy

Behaviour = Callable[["ForeignRelay", ServerConnection, list[Any]], Awaitable[None]]
"""Answers one message of a client."""


class ForeignRelay:
    """A small relay over a list of events. `behaviour` answers each message; `honest` does it well.

    `compare_max`: the most events it compares at once; None: it does not know NEG-OPEN.
    """

    def __init__(self, behaviour: Behaviour, events: list[Event], compare_max: int | None) -> None:
        self.url = ""
        self.events = {event.id: event for event in events}
        self.compare_max = compare_max
        self.heard: list[str] = []
        self.connections = 0
        self.sides: dict[str, Negentropy] = {}
        self._behaviour = behaviour

    async def talk(self, socket: ServerConnection) -> None:
        """One connection, until it ends."""
        self.connections += 1
        try:
            async for text in socket:
                found = json.loads(text)
                self.heard.append(found[0])
                await self._behaviour(self, socket, found)
        except ConnectionClosed:
            pass

    def matching(self, *filters: Filter) -> list[Event]:
        """Its events that match, newest first."""
        found = [one for one in self.events.values() if any(one_.matches(one) for one_ in filters)]
        return sorted(found, key=lambda event: (-event.created_at, event.id))


async def say(socket: ServerConnection, *parts: Any) -> None:
    """One message to the client."""
    await socket.send(json.dumps(parts))


async def honest(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    """What a good relay answers."""
    match found:
        case ["EVENT", dict() as raw]:
            event = parse_event(json.dumps(raw))
            relay.events[event.id] = event
            await say(socket, "OK", event.id, True, "")
        case ["REQ", str() as name, *filters]:
            read = [parse_filter(one) for one in filters]
            most = min([one.limit for one in read if one.limit is not None], default=500)
            for event in relay.matching(*read)[:most]:
                await say(socket, "EVENT", name, json.loads(encode_event(event)))
            await say(socket, "EOSE", name)
        case ["NEG-OPEN" | "NEG-MSG", *_] if relay.compare_max is None:
            await say(socket, "NOTICE", "ERROR: bad msg: unknown cmd")
        case ["NEG-OPEN", str() as name, dict() as asked, str() as text]:
            events = relay.matching(parse_filter(asked))
            if relay.compare_max is not None and len(events) > relay.compare_max:
                await say(socket, "NEG-ERR", name, "blocked: this query is too big")
                return
            items = [(event.created_at, bytes.fromhex(event.id)) for event in events]
            relay.sides[name] = Negentropy(items, frame_bytes_max=4096)
            await say(socket, "NEG-MSG", name, relay.sides[name].respond(bytes.fromhex(text)).hex())
        case ["NEG-MSG", str() as name, str() as text]:
            await say(socket, "NEG-MSG", name, relay.sides[name].respond(bytes.fromhex(text)).hex())


@asynccontextmanager
async def foreign_relay(
    behaviour: Behaviour = honest,
    events: list[Event] | None = None,
    compare_max: int | None = 1_000_000,
) -> AsyncIterator[ForeignRelay]:
    """A fake relay until the block ends."""
    relay = ForeignRelay(behaviour, events or [], compare_max)
    async with serve(relay.talk, "127.0.0.1", 0, max_size=None, close_timeout=0.2) as server:
        (listening,) = server.sockets
        relay.url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        yield relay


async def flood(socket: ServerConnection, text: str) -> None:
    """The same message until the client has enough."""
    while True:
        await socket.send(text)
        await asyncio.sleep(0)
