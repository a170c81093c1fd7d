"""Saved searches: a stream that says what matches now, and then each service that comes to match.

A search is asked again when the registry has changed, at most once a second, and at least twice a
minute: prices, figures and presence change matches, too. What was told once is not told again.
They ask one after another, with pauses: however many there are, others' requests come first.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import orjson
from fastapi.responses import Response, StreamingResponse

from hanse.errors import HanseError, RateLimited

EVENT_STREAM = "text/event-stream"
WATCHES_MAX = 200
"""Streams at once: each asks the registry again at every change."""

WATCHES_OF_ONE_MAX = 20
"""Of them, those of one address, or of one operator's agents."""

REST = 4
"""Watched searches rest so many times as long as they took: a fifth of one core at most."""

TOLD_MAX = 1000
"""Services a stream remembers to have told; beyond it the oldest could be told again."""

PAUSE_S = 1.0
ASK_AGAIN_S = 30.0

Find = Callable[[], Awaitable[dict[str, Any]]]
Holds = Callable[[], bool]
"""Whether the proof that a stream was opened with still holds; raises once its reader must go."""
Changed = Callable[[float], Awaitable[None]]
"""Waits for the registry's next change, at most so many seconds."""


class Watches:
    """The open streams."""

    def __init__(self, changed: Changed, ending: Callable[[], bool]) -> None:
        self._changed = changed
        self._ending = ending
        self.open_now = 0
        self._of: Counter[str] = Counter()
        self._turn = asyncio.Lock()

    async def open(self, find: Find, holders: Collection[str], holds: Holds) -> Response:
        """A stream of what `find` answers, counted as each of the holders', for as long as `holds`.
        Raises what the first answer refuses with, and RateLimited over a bound."""
        holds()
        if self.open_now >= WATCHES_MAX:
            raise RateLimited(f"{WATCHES_MAX} searches are watched", hint="try again later")
        if any(self._of[name] >= WATCHES_OF_ONE_MAX for name in holders):
            raise RateLimited(f"you watch {WATCHES_OF_ONE_MAX} searches", hint="end one of them")
        self.open_now += 1
        self._of.update(holders)
        try:
            first = await find()
        except BaseException:
            self._ended(holders)
            raise
        return _Stream(self._told(find, first, holds), lambda: self._ended(holders))

    def _ended(self, holders: Collection[str]) -> None:
        self.open_now -= 1
        self._of.subtract(holders)
        for name in holders:
            if not self._of[name]:
                del self._of[name]

    async def _asked(self, find: Find) -> dict[str, Any]:
        async with self._turn:
            clock = asyncio.get_running_loop().time
            began = clock()
            found = await find()
            await asyncio.sleep(REST * (clock() - began))
        return found

    async def _told(self, find: Find, found: dict[str, Any], holds: Holds) -> AsyncIterator[bytes]:
        told: OrderedDict[tuple[str, str], None] = OrderedDict()
        try:
            yield _event("listed", {"total": found["total"], "notes": found["notes"]})
            while holds() and not self._ending():
                for hit in found["services"]:
                    name = hit["offer"], hit["capability"]
                    if name not in told:
                        yield _event("match", hit)
                    told[name] = None
                    told.move_to_end(name)
                while len(told) > TOLD_MAX:
                    told.popitem(last=False)
                yield b": here\n\n"  # so that a reader who went is noticed
                await self._changed(ASK_AGAIN_S)
                await asyncio.sleep(PAUSE_S)
                found = await self._asked(find)
        except HanseError as exc:
            yield _event("error", exc.as_dict())


class _Stream(StreamingResponse):
    """A stream whose end is told, also if its reader went before it began."""

    def __init__(self, told: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(told, media_type=EVENT_STREAM, headers=headers)
        self._ended = ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _event(name: str, found: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(found))
