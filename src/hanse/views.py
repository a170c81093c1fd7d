"""Views of the log: what is computed from it, follows it, and could be thrown away."""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from hanse.errors import Unavailable
from hanse.protocol.event import Event

log = structlog.get_logger("hanse")


class View(Protocol):
    """Something that follows the log."""

    def due_s(self, event: Event) -> float | None:
        """How long after the last pass an appended event may wait for the next: 0.0 or SOON_S. None
        if it cannot change this view."""

    async def advance(self) -> None:
        """Apply all that the log holds beyond this view."""


class Follower:
    """Brings views up to date after commits; many at once cost one pass."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self._news = asyncio.Event()
        self._since: float | None = None
        self._passing: float | None = None
        """What `_since` was of the changes that the pass under way applies."""
        self._passed = asyncio.Event()
        self._due = math.inf
        """When the next pass begins."""
        self._ended = -math.inf

    async def changed(self, wait_s: float) -> None:
        """Return after the next pass, or after `wait_s` seconds without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._passed.wait()

    def saw(self, _seq: int, event: Event) -> None:
        """A commit added this event."""
        for view in self._views:
            due_s = view.due_s(event)
            if due_s is not None:
                self._since = self._since or time.monotonic()
                self._wake(self._ended + due_s)

    def _wake(self, at: float) -> None:
        if at >= self._due:
            return
        self._due = at
        wait_s = at - time.monotonic()
        if wait_s <= 0:
            self._news.set()
        else:
            asyncio.get_running_loop().call_later(wait_s, self._news.set)

    def behind_s(self) -> float:
        """How long the oldest change not applied yet has waited."""
        since = self._passing or self._since
        return 0.0 if since is None else time.monotonic() - since

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            self._due = math.inf
            self._passing, self._since = self._passing or self._since, None
            try:
                for view in self._views:
                    await view.advance()
                self._ended, self._passing = time.monotonic(), None
                passed, self._passed = self._passed, asyncio.Event()
                passed.set()
            except Unavailable as exc:
                log.warning("views.behind", reason=exc.reason)
                await self._again()
            # Whatever one event does to a view: the node goes on, and says that it is not ready.
            except Exception:
                log.exception("views.failed")
                await self._again()

    async def _again(self) -> None:
        await asyncio.sleep(1)
        self._news.set()
