"""Fake relays on loopback, for what a real one does not do on request: compare only small sets, or
not at all, ask who we are in each way that NIP-42 has, or lie.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event, encode_event, parse_event
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.negentropy import Negentropy

Behaviour = Callable[["ForeignRelay", ServerConnection, list[Any]], Awaitable[None]]
"""Answers one message of a client."""


class Asks(Enum):
    """Whether and when it asks who we are. Until it knows, it refuses; but NOT_AT_ALL."""

    NOT_AT_ALL = auto()
    EARLY = auto()
    """When a connection opens."""
    LATE = auto()
    """Before its first refusal."""
    ANEW = auto()
    """Before each refusal, and only the newest challenge counts."""
    NEVER = auto()
    """It refuses, and does not ask."""


class ForeignRelay:
    """A small relay over a list of events. `behaviour` answers each message; `honest` does it well.

    `compare_max`: the most events it compares at once; None: it does not know NEG-OPEN. `asks`:
    see `Asks`; `proof_refusal` is what it has against a good proof, None: it does not answer one.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        events: list[Event],
        compare_max: int | None,
        asks: Asks = Asks.NOT_AT_ALL,
        proof_refusal: str | None = "",
    ) -> None:
        self.url = ""
        self.events = {event.id: event for event in events}
        self.compare_max = compare_max
        self.heard: list[str] = []
        self.connections = 0
        self.sides: dict[str, Negentropy] = {}
        self.live: dict[ServerConnection, str] = {}
        self._behaviour = behaviour
        self._asks = asks
        self._proof_refusal = proof_refusal
        self._challenges: dict[ServerConnection, str] = {}
        self._known: set[ServerConnection] = set()

    async def talk(self, socket: ServerConnection) -> None:
        """One connection, until it ends."""
        self.connections += 1
        try:
            if self._asks is Asks.EARLY:
                await self._challenge(socket)
            async for text in socket:
                found = json.loads(text)
                self.heard.append(found[0])
                if self._asks is Asks.NOT_AT_ALL or socket in self._known:
                    await self._behaviour(self, socket, found)
                elif found[0] == "AUTH":
                    await self._judge(socket, found[1])
                else:
                    await self._refuse(socket, found)
        except ConnectionClosed:
            pass
        finally:
            self.live.pop(socket, None)

    async def tell(self, event: Event) -> None:
        """An event entered it: whoever listens hears of it."""
        self.events[event.id] = event
        for socket, name in self.live.items():
            await say(socket, "EVENT", name, json.loads(encode_event(event)))

    async def _challenge(self, socket: ServerConnection) -> None:
        self._challenges[socket] = secrets.token_hex(8)
        await say(socket, "AUTH", self._challenges[socket])

    async def _refuse(self, socket: ServerConnection, found: list[Any]) -> None:
        verbs = {"REQ": "CLOSED", "COUNT": "CLOSED", "NEG-OPEN": "NEG-ERR", "EVENT": "OK"}
        if found[0] not in verbs:
            return
        first = self._asks is Asks.LATE and socket not in self._challenges
        if first or self._asks is Asks.ANEW:
            await self._challenge(socket)
        about = (found[1]["id"], False) if found[0] == "EVENT" else (found[1],)
        await say(socket, verbs[found[0]], *about, "auth-required: members only")

    async def _judge(self, socket: ServerConnection, raw: dict[str, Any]) -> None:
        event = parse_event(json.dumps(raw))
        refusal = self._proof_refusal
        if refusal is None:
            return
        try:
            check_event(event)
        except Invalid as exc:
            refusal = exc.wire
        wanted = (kinds.CLIENT_AUTH, self.url, self._challenges.get(socket))
        if (event.kind, event.tag("relay"), event.tag("challenge")) != wanted:
            refusal = "invalid: is no answer to the challenge"
        if not refusal:
            self._known.add(socket)
        await say(socket, "OK", event.id, not refusal, refusal)

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
            if most == 0:
                relay.live[socket] = name
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
    asks: Asks = Asks.NOT_AT_ALL,
    proof_refusal: str | None = "",
) -> AsyncIterator[ForeignRelay]:
    """A fake relay until the block ends."""
    relay = ForeignRelay(behaviour, events or [], compare_max, asks, proof_refusal)
    async with serve(relay.talk, "127.0.0.1", 0, max_size=None, close_timeout=0.2) as server:
        (listening,) = server.sockets
        relay.url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        yield relay


async def flood(socket: ServerConnection, text: str) -> None:
    """The same message until the client has enough."""
    while True:
        await socket.send(text)
        await asyncio.sleep(0)
