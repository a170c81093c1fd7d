"""The log as an import reads and writes it: through a node that runs, or in the database itself."""

import asyncio
import time

from hanse.engines.peers.link import Link
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.log import EventLog
from hanse.errors import HanseError
from hanse.operations.imports.statement import Logbook as Book
from hanse.operations.intake import Keeper, Outcome, Through
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter

__all__ = ["Book", "Kept", "Linked"]


class Linked:
    """Through a node. Implements `statement.Logbook`."""

    def __init__(self, keeper: Through, link: Link) -> None:
        self._keeper = keeper
        self._link = link

    async def fetch(self, filter: Filter, most: int) -> list[Event]:
        """See `statement.Logbook`."""
        return await self._link.fetch(filter, most)

    async def append(self, events: list[Event]) -> list[Outcome]:
        """See `statement.Logbook`."""
        return await self._keeper.append(events)


class Kept:
    """In the database. Implements `statement.Logbook`."""

    def __init__(self, keeper: Keeper, log: EventLog) -> None:
        self._keeper = keeper
        self._log = log

    async def fetch(self, filter: Filter, most: int) -> list[Event]:
        """See `statement.Logbook`."""
        found = await self._log.query([filter], limit=most, now_s=int(time.time()))
        return [decode_row(json) for _, _, _, json in found.rows]

    async def append(self, events: list[Event]) -> list[Outcome]:
        """See `statement.Logbook`."""
        refused = await asyncio.to_thread(lambda: [self._checked(event) for event in events])
        good = [event for event, why in zip(events, refused, strict=True) if why is None]
        outcomes = iter(await self._keeper.append(good) if good else [])
        return [next(outcomes) if why is None else why for why in refused]

    def _checked(self, event: Event) -> HanseError | None:
        try:
            self._keeper.check(event)
        except HanseError as exc:
            return exc
        return None
