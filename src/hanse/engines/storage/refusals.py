"""What was refused as spam, as it is kept: a number for each operator and day.

It is no view of the log: the log never had these events. What a crash loses is what was counted
since the last `keep`.
"""

from collections.abc import Sequence

from hanse.engines.storage.database import Database, Row, Transaction
from hanse.errors import HanseError
from hanse.trust.spam import DAY_S, KEPT_DAYS, QUIET, Refusals

STEP = 1_000
"""Rows in one commit."""

ROWS_MAX = 100_000
"""Rows kept; of more those with the smallest numbers go."""

TIDY_ROWS = 10_000
"""Rows written, after which the table is tidied on the same day again."""


class StoredRefusals:
    """Adds what was counted to what is kept, and forgets what weighs nothing."""

    def __init__(
        self, database: Database, counted: Refusals | None = None, rows_max: int = ROWS_MAX
    ) -> None:
        self._database = database
        self._rows_max = rows_max
        self.counted = Refusals() if counted is None else counted
        self._tidied_day, self._written = -1, 0

    async def keep(self, now_s: int) -> None:
        """Write what was counted since the last time. What fails is written the next time; raises
        Unavailable then."""
        day = now_s // DAY_S
        for _ in range(0, len(self.counted), STEP):
            rows = self.counted.take(STEP)
            try:
                await self._database.write(_add, [(name, day, count) for name, count in rows])
            except HanseError:
                self.counted.put_back(rows)
                raise
            self._written += len(rows)
        if day != self._tidied_day or self._written >= TIDY_ROWS:
            await self.tidy(now_s)
            self._tidied_day, self._written = day, 0

    async def tidy(self, now_s: int) -> int:
        """Forget what is too old, too little on a day that is over, or too much for the table; how
        many rows."""
        today, gone = now_s // DAY_S, 0
        while count := await self._database.write(_forget, today):
            gone += count
        while count := await self._database.write(_bound, self._rows_max):
            gone += count
        return gone


def _add(tx: Transaction, rows: Sequence[Row]) -> None:
    # By name: two nodes that write the same ones wait for each other in one order.
    tx.many("refused_add", sorted(rows))


def _forget(tx: Transaction, today: int) -> int:
    rows = tx.all("refused_faint", today - KEPT_DAYS, today, QUIET, STEP)
    tx.many("refused_drop", rows)
    return len(rows)


def _bound(tx: Transaction, rows_max: int) -> int:
    found = tx.one("refused_count")
    over = int(found[0]) - rows_max if found else 0
    rows = tx.all("refused_least", min(over, STEP)) if over > 0 else []
    tx.many("refused_drop", rows)
    return len(rows)
