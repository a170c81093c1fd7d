"""Views of the log: what is computed from it, follows it, and could be thrown away."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from hanse.errors import Unavailable
from hanse.protocol.event import Event

log = structlog.get_logger("hanse")


class View(Protocol):
    """Something that follows the log."""

    def cares_for(self, event: Event) -> bool:
        """Whether an appended event can change this view."""

    async def advance(self) -> None:
        """Apply all that the log holds beyond this view."""


class Follower:
    """Brings views up to date after commits; many at once cost one pass."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self._news = asyncio.Event()
        self._since: float | None = None
        self._passed = asyncio.Event()

    async def changed(self, wait_s: float) -> None:
        """Return after the next pass, or after `wait_s` seconds without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._passed.wait()

    def saw(self, _seq: int, event: Event) -> None:
        """A commit added this event."""
        for view in self._views:  # any() costs more, and this runs for every event
            if view.cares_for(event):
                self._since = self._since or time.monotonic()
                self._news.set()
                return

    def behind_s(self) -> float:
        """How long the oldest change not applied yet has waited."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                for view in self._views:
                    await view.advance()
                if not self._news.is_set():
                    self._since = None
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
