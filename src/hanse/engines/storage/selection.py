"""FROM and WHERE of one filter, built piece by piece in the order of their parameters.

Where ids and tags are in parts (`parts.py`), a tag leads to events in two ways:

- part after part: in no order, which is for counts, and for orders that no index has;
- `newest`: all parts at once, merged by time as they are read, so that a limit ends the reading
  early. The statement names each part: `spread` writes them out.
"""

import re
from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from apsw import carray

from hanse.engines.storage.plain import id_params, padded

COLUMNS = "event.seq, event.created_at, event.id, event.json"
BY_ID = ", event.id ASC"
ORDER = " ORDER BY event.created_at DESC" + BY_ID
ARRAY = "SELECT value FROM carray(?)"

SPREAD_MAX = 256
"""Statements that are kept written out."""

_UNNUMBERED = re.compile(r"\?(?!\d)")
_EACH = re.compile(r"\[\[(.*?)\]\]")


class Try(msgspec.Struct, frozen=True):
    """One statement that may answer a filter.

    `exact` is the same with ties in time ordered by id, where `sql` leaves them in any order: an
    index gives the times in order for nothing, but to order by id costs a sort of whole rows. A
    try that is not `complete` answers only if it yields as many rows as its limit, and the last two
    are not of one second: it may have seen only some of that second.
    """

    sql: str
    params: list[Any]
    exact: str = ""
    complete: bool = True
    capped: bool = False
    """Whether there may be too many rows to choose from. Unless there were, the first row is empty:
    its columns are NULL."""


class Selection:
    """One SELECT. `parted`: ids and tags are in parts."""

    def __init__(self, *, parted: bool = False) -> None:
        self.source = "event"
        self.source_params: list[Any] = []
        self.where: list[str] = []
        self.params: list[Any] = []
        self.time = "event.created_at"
        self.order = ORDER
        self.repeats = False
        self.single = False
        self.tagged = False
        """Whether a tag leads to the events."""
        self._parted = parted
        self._of_tag: list[str] = []

    @property
    def merges(self) -> bool:
        """Whether its parts have to be merged, or it is in no order."""
        return self.tagged and self._parted

    def add(self, condition: str, values: Iterable[Any] = (), *, of_tag: bool = False) -> None:
        """One more condition, all of which must hold; those `of_tag` first."""
        if of_tag and self.merges:
            assert not self.where, "parameters come in the order of the text"
            self._of_tag.append(condition)
        else:
            self.where.append(condition)
        self.params += values

    def among(self, column: str, values: Iterable[Any], *, of_tag: bool = False) -> None:
        """The column holds one of the values."""
        wanted = padded(values)
        holds = f"{column} = ?" if len(wanted) == 1 else f"{column} IN ({marks(wanted)})"
        self.add(holds, wanted, of_tag=of_tag)

    def by_tag(self) -> None:
        """A tag leads to the events; the conditions on it follow."""
        self.tagged = True
        self.time = "tag.created_at"
        self.order = " ORDER BY tag.created_at DESC" + BY_ID
        if not self._parted:
            self.source = "tag CROSS JOIN event"
            self.add("event.seq = tag.seq")

    def by_id(self, ids: Sequence[bytes]) -> None:
        """One of these."""
        self.single = len(ids) == 1
        if not self._parted:
            self.among("event.id", ids)
        elif self.single:
            self.source = "part CROSS JOIN event_id CROSS JOIN event"
            self.add(
                "event_id.part = part.n AND event_id.head = ? AND event.seq = event_id.seq "
                "AND event.id = ?",
                id_params(ids),
            )
        else:
            self.source = "carray(?) AS asked CROSS JOIN part CROSS JOIN event_id CROSS JOIN event"
            self.source_params = id_params(ids)
            self.add(
                "event_id.part = part.n AND event_id.head = substr(asked.value, 1, 8) "
                "AND event.seq = event_id.seq AND event.id = asked.value"
            )

    def leave_out(self, seqs: Collection[int]) -> None:
        """Not these numbers. On SQLite alone: no other engine keeps anything aside."""
        if seqs:
            self.add(f"event.seq NOT IN ({ARRAY})", [carray(array("q", seqs))])

    def sql(self, columns: str, tail: str = "", also: Sequence[str] = (), *, lead: str = "") -> str:
        """The statement, up to its limit; `also`: more conditions of the tag; `lead`: what leads to
        the tag."""
        source, where = self.source, self.where
        if self.merges:
            source = f"{lead}part CROSS JOIN tag CROSS JOIN event"
            where = ["tag.part = part.n", *self._of_tag, *also, "event.seq = tag.seq", *where]
        distinct = "DISTINCT " if self.repeats else ""
        holds = f" WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {distinct}{columns} FROM {source}{holds}{tail}"

    def newest(self, columns: str) -> str:
        """The same of one tag's value, newest first, ties in any order: see `spread`. The rows come
        in the order of what they are joined to; asked for it, SQLite would sort all of them."""
        each = " AND ".join(["tag.part = $part", *self._of_tag])
        where = " AND ".join(["event.seq = tag.seq", *self.where])
        return (
            f"SELECT {columns} FROM ([[SELECT tag.created_at, tag.seq FROM tag WHERE {each}]] "
            f"ORDER BY 1 DESC LIMIT -1) AS tag CROSS JOIN event WHERE {where}"
        )

    def floor(self, first: int = 1) -> str:
        """A condition of the tag: not older than the last of the limit's `newest`. Its parameters
        are those of the whole, which begin with this number and end with the limit."""
        last = f"{self.newest('tag.created_at')} LIMIT 1 OFFSET ?{first + len(self.params)} - 1"
        return f"tag.created_at >= coalesce(({numbered(last, first)}), 0)"

    @property
    def conditions(self) -> str:
        """What must hold, without the word WHERE."""
        return " AND ".join(self.where)

    @property
    def all_params(self) -> list[Any]:
        """Parameters in the order in which the text names them."""
        return self.source_params + self.params


def marks(values: Sequence[object]) -> str:
    """A parameter for each."""
    return ",".join("?" * len(values))


def numbered(sql: str, first: int = 1, mark: str = "?") -> str:
    """The statement with its parameters numbered in their order, but for those that are."""
    head, *rest = _UNNUMBERED.split(sql)
    return head + "".join(f"{mark}{index}{part}" for index, part in enumerate(rest, first))


@lru_cache(SPREAD_MAX)
def spread(sql: str, parts: int) -> str:
    """The statement with what is in `[[ ]]` written out for each part."""
    return _EACH.sub(
        lambda each: " UNION ALL ".join(
            each[1].replace("$part", str(number)) for number in range(parts)
        ),
        numbered(sql),
    )
