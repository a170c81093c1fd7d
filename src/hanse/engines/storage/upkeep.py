"""What a node keeps, and for how long: removes the rest, a little at a time.

Never taken: what `removal.py` says, transfers, calls.
"""

import math
from collections import Counter
from collections.abc import Callable

import msgspec

from hanse.engines.storage.database import Database, Transaction
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.removal import KEPT
from hanse.engines.storage.words import fill_words
from hanse.errors import Invalid, Unavailable
from hanse.protocol.kinds import KindClass, kind_class

STEP = 500
"""Rows of the node's own tables that go in one commit."""

DAY_S = 86_400


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """Settings. `ages_s` is (kind, seconds) for kinds that go when so old; the log's bounds are
    None for as much as there is room for. `tombstones_max` and `vanished_max` bound what is
    remembered of deletions and requests that have left the log; those in it are never forgotten, or
    strangers could push them out."""

    ages_s: tuple[tuple[int, int], ...] = ()
    events_max: int | None = None
    bytes_max: int | None = None
    outputs_s: int = 30 * DAY_S
    tombstones_max: int = 1_000_000
    vanished_max: int = 1_000_000

    def __post_init__(self) -> None:
        for kind, age_s in self.ages_s:
            if kind in KEPT:
                raise Invalid.at("retain", f"kind {kind} is always kept")
            if not 0 <= kind <= 65535 or kind_class(kind) is KindClass.EPHEMERAL:
                raise Invalid.at("retain", f"kind {kind} is never kept")
            if age_s < 1:
                raise Invalid.at("retain", "an age is at least a second")
        for name in ("events_max", "bytes_max", "outputs_s", "tombstones_max", "vanished_max"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise Invalid.at(name, "must be at least 1")


class Upkeep:
    """Removes what is over the settings. `run` may be called at any time, and again."""

    def __init__(self, database: Database, log: EventLog, keeping: Keeping) -> None:
        self._database = database
        self._log = log
        self._keeping = keeping

    async def run(self, now_s: int) -> Counter[str]:
        """Once through everything; what went, by name. Raises Unavailable."""
        keeping, gone = self._keeping, Counter[str]()
        await fill_words(self._database)
        for kind, age_s in keeping.ages_s:
            gone["retained"] += await self._log.retain(kind, now_s - age_s)
        gone["trimmed"] = await self._log.trim(await self._surplus())
        before_ms = (now_s - keeping.outputs_s) * 1000
        gone["outputs"] = await self._steps(lambda tx: tx.all("outputs_drop", before_ms, STEP))
        gone["tombstones"] = await self._bound("tombstones", keeping.tombstones_max)
        gone["vanished"] = await self._bound("vanished", keeping.vanished_max)
        return +gone

    async def _surplus(self) -> int:
        """How many events are over the log's bounds. For bytes as many as make up that share: pages
        that are half empty then are filled again, so it is not looked at before the next run."""
        events_max, bytes_max = self._keeping.events_max, self._keeping.bytes_max
        if events_max is None and bytes_max is None:
            return 0
        events, surplus = await self._log.total(), 0
        if events_max is not None:
            surplus = max(0, events - events_max)
        if bytes_max is not None:
            used = await self._database.used_bytes()
            if used is None:
                hint = "bound it by events instead"
                text = "this database does not tell how full it is"
                raise Unavailable(text, field="log-max", hint=hint)
            if used > bytes_max:
                surplus = max(surplus, math.ceil(events * (1 - bytes_max / used)))
        return surplus

    async def _bound(self, table: str, most: int) -> int:
        found = await self._database.one(f"{table}_count")
        over = max(0, int(found[0]) - most) if found else 0
        gone = 0
        while gone < over:
            count = len(await self._database.write(_drop, f"{table}_drop", min(STEP, over - gone)))
            if not count:
                break
            gone += count
        return gone

    async def _steps(self, step: Callable[[Transaction], list[tuple[int]]]) -> int:
        total = 0
        while count := len(await self._database.write(step)):
            total += count
        return total


def _drop(tx: Transaction, query: str, most: int) -> list[tuple[int]]:
    return tx.all(query, most)
