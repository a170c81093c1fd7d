"""Saved searches: a stream that says what matches now, and then each service that comes to match.

A search is asked again when the registry has changed, at most once a second, and at least twice a
minute: prices, figures and presence change matches, too. What was told once is not told again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
from fastapi.responses import Response, StreamingResponse

from hanse.errors import HanseError, RateLimited

EVENT_STREAM = "text/event-stream"
WATCHES_MAX = 200
"""Streams at once: each asks the registry again at every change."""

TOLD_MAX = 1000
"""Services a stream remembers to have told; beyond it the oldest could be told again."""

PAUSE_S = 1.0
ASK_AGAIN_S = 30.0

Find = Callable[[], Awaitable[dict[str, Any]]]
Changed = Callable[[float], Awaitable[None]]
"""Waits for the registry's next change, at most so many seconds."""


class Watches:
    """The open streams."""

    def __init__(self, changed: Changed, ending: Callable[[], bool]) -> None:
        self._changed = changed
        self._ending = ending
        self.open_now = 0

    async def open(self, find: Find) -> Response:
        """A stream of what `find` answers. Raises what the first answer refuses with, and
        RateLimited over the bound."""
        if self.open_now >= WATCHES_MAX:
            raise RateLimited(f"{WATCHES_MAX} searches are watched", hint="try again later")
        first = await find()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._stream(find, first), media_type=EVENT_STREAM, headers=headers
        )

    async def _stream(self, find: Find, found: dict[str, Any]) -> AsyncIterator[bytes]:
        told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.open_now += 1
        try:
            yield _event("listed", {"total": found["total"], "notes": found["notes"]})
            while not self._ending():
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
                found = await find()
        except HanseError as exc:
            yield _event("error", exc.as_dict())
        finally:
            self.open_now -= 1


def _event(name: str, found: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(found))
