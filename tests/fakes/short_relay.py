"""A relay that errs on purpose, to show that the load generator notices: it keeps events in memory
and knows only as much of NIP-01 as the generator speaks."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from websockets.asyncio.server import ServerConnection, serve

from hanse.protocol.event import parse_event
from hanse.protocol.filter import Filter, parse_filter

Fault = Literal["none", "one event short", "another event", "one refused", "delivered twice"]


class ShortRelay:
    """Answers rightly but for one fault."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._events: list[Any] = []
        self._live: list[tuple[ServerConnection, str, Filter]] = []

    async def serve(self, client: ServerConnection) -> None:
        """One connection, until it ends."""
        async for text in client:
            verb, *rest = json.loads(text)
            if verb == "EVENT":
                await self._take(client, rest[0])
            elif verb == "REQ":
                await self._answer(client, rest[0], parse_filter(rest[1], "filter"))

    async def _take(self, client: ServerConnection, event: Any) -> None:
        self._events.append(event)
        refused = self._fault == "one refused" and len(self._events) == 7
        await client.send(json.dumps(["OK", event["id"], not refused, ""]))
        checked = parse_event(json.dumps(event))
        for watching, name, wanted in self._live:
            if wanted.matches(checked):
                for _ in range(2 if self._fault == "delivered twice" else 1):
                    await watching.send(json.dumps(["EVENT", name, event]))

    async def _answer(self, client: ServerConnection, name: str, wanted: Filter) -> None:
        newest = sorted(self._events, key=lambda event: -int(event["created_at"]))
        found = [event for event in newest if wanted.matches(parse_event(json.dumps(event)))]
        found = found[: wanted.limit]
        if self._fault == "one event short":
            found = found[1:]
        if self._fault == "another event" and found:
            found[0] = next(event for event in newest if event not in found)
        for event in found:
            await client.send(json.dumps(["EVENT", name, event]))
        await client.send(json.dumps(["EOSE", name]))
        self._live.append((client, name, wanted))


@asynccontextmanager
async def short_relay(fault: Fault = "none") -> AsyncIterator[int]:
    """Its port, while it runs."""
    async with serve(ShortRelay(fault).serve, "127.0.0.1", 0, compression=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]
        await asyncio.sleep(0)
