"""The tables as they will be once what is kept aside has moved, for who decides what may enter."""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from hanse.engines.storage.tail import Deferred, Row

Among = Callable[[str, Iterable[Any]], list[Row]]
"""`database.Transaction.among`."""

_COLUMNS: dict[str, Callable[[Row], Row]] = {
    "events_by_ids": itemgetter(0, 1, 2, 3, 4, 7),
    "events_by_addresses": itemgetter(0, 6, 3, 7),
    "versions": itemgetter(0, 6, 3, 1),
}
"""What these queries give, of a row of `tail.Run`; the number comes first."""


class Overlay:
    """Answers these queries, and `tombstones`, from the tables and from what is `kept` aside: of
    several, the later may replace and delete what is in the earlier."""

    def __init__(self, among: Among, *kept: Deferred) -> None:
        self._among = among
        self._kept = kept

    def among(self, name: str, values: Iterable[Any]) -> list[Row]:
        """See `database.Transaction`."""
        wanted = list(values)
        found = self._among(name, wanted)
        if name == "tombstones":
            for kept in self._kept:
                for target in wanted:
                    found += kept.forbidden.get(target, ())
        elif name in _COLUMNS:
            columns = _COLUMNS[name]
            for kept in self._kept:
                by = kept.rows if name == "events_by_ids" else kept.versions
                found += [columns(by[value]) for value in wanted if value in by]
            found = [row for row in found if not self.has_lost(row[0])]
        return found

    def has_lost(self, seq: int) -> bool:
        """Whether the event of that number was replaced or deleted by what is aside."""
        return any(seq in kept.gone for kept in self._kept)

    @property
    def forbids(self) -> bool:
        """Whether any deletion is aside."""
        return any(kept.forbidden for kept in self._kept)
