"""An import that keeps nothing: what `hanse import --dry-run` does with events."""

import asyncio

from hanse.engines.peers.link import Link
from hanse.errors import RateLimited
from hanse.operations.intake import PAUSE_S, PAUSES, Keeper, Outcome
from hanse.protocol.event import Event, check_event
from hanse.protocol.filter import Filter

ASKED = 100
"""Ids in one question to a node: as many events of the largest size fit into one answer."""

SEEN_MAX = 200_000
"""Events of which a second line is told. After so many it counts as new."""


class Rehearsal:
    """Checks as `keeper` does and asks it what is there. A node's own rules are not asked: it tells
    what it takes only when it takes it. Implements `Keeper`."""

    def __init__(self, keeper: Keeper, link: Link | None) -> None:
        self._keeper = keeper
        self._link = link
        self._seen: set[bytes] = set()

    def check(self, event: Event) -> None:
        """See `Keeper`."""
        if self._link is None:
            self._keeper.check(event)
        else:
            check_event(event)

    async def known(self, ids: list[str]) -> set[str]:
        """See `Keeper`."""
        if self._link is None:
            return await self._keeper.known(ids)
        found: set[str] = set()
        for start in range(0, len(ids), ASKED):
            found |= await _shown(self._link, frozenset(ids[start : start + ASKED]))
        return found

    async def append(self, events: list[Event]) -> list[Outcome]:
        """Keeps none of them. For each: None for a second line of the same, else 0."""
        return [0 if self._is_new(bytes.fromhex(event.id)) else None for event in events]

    def _is_new(self, id: bytes) -> bool:
        if id in self._seen:
            return False
        if len(self._seen) < SEEN_MAX:
            self._seen.add(id)
        return True


async def _shown(link: Link, ids: frozenset[str]) -> set[str]:
    """Those that the node shows us. Raises RateLimited if it has no time for us at all."""
    for _ in range(PAUSES):
        try:
            return {event.id for event in await link.fetch(Filter(ids=ids), len(ids))}
        except RateLimited:
            await asyncio.sleep(PAUSE_S)
    raise RateLimited("the node has no time to say what it has", field="node")
