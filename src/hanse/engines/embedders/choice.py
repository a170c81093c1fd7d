"""Which embedder a node has, and where the work of its searches is done."""

import asyncio
from collections.abc import Callable

import structlog

from hanse.engines.embedders.endpoint import Endpoint, EndpointEmbedder
from hanse.errors import Unavailable
from hanse.registry.finder import Work
from hanse.registry.store import Embedder

log = structlog.get_logger("hanse")

SMALL = 125_000
"""Rows up to which a search takes two milliseconds: little beside what a thread may cost."""
AT_ONCE_MAX = 4
"""Searches in threads at once; more wait for their turn."""


def chosen(endpoint: Endpoint | None) -> Embedder | None:
    """The configured endpoint, else the table on this machine, else none: words alone."""
    if endpoint is not None:
        return EndpointEmbedder(endpoint)
    try:
        from hanse.engines.embedders.static import StaticEmbedder

        return StaticEmbedder()
    except Unavailable as exc:
        log.warning("search.words_only", reason=exc.text)
        return None


class Searches:
    """Runs searches of a small index on the spot, others in threads. `aside`: always in threads, as
    an embedder that waits for a network needs."""

    def __init__(self, *, aside: bool = False) -> None:
        self._aside = aside
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def run(self, work: Callable[[], Work], rows: int) -> Work:
        """A `finder.Run`."""
        if not self._aside and rows <= SMALL:
            return work()
        async with self._turns:
            return await asyncio.to_thread(work)
