"""FROM and WHERE of one filter, built piece by piece in the order of their parameters.

Where what finds events is in parts (`parts.py`), a tag or author leads to events in two ways:

- part after part: in no order, which is for counts, and for orders that no index has;
- `newest`: all parts at once, merged by time as they are read, so that a limit ends the reading
  early. The statement names each part: `spread` writes them out.

There a row of `tag` has all that most conditions ask for: the event is read only for the others.
"""

import re
from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from apsw import carray

from hanse.engines.storage.parts import PARTS
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
    then: "Try | None" = None
    """What finds it for certain, with parameters of its own: `FilterSql.then`."""


class Selection:
    """One SELECT. `parted`: what finds events is in parts, authors with the tags."""

    def __init__(self, *, parted: bool = False) -> None:
        self.source = "event"
        self.source_params: list[Any] = []
        self.where: list[str] = []
        self.params: list[Any] = []
        self.time = "event.created_at"
        self.kind = "event.kind"
        self.expires = "event.expires"
        self.seq = "event.seq"
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

    def add(self, condition: str, values: Sequence[Any] = (), *, of_tag: bool = False) -> None:
        """One more condition, all of which must hold; those `of_tag` first."""
        if of_tag and self.merges:
            assert not (values and self.where), "parameters come in the order of the text"
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
        """A tag leads to the events, or an author as one; the conditions on it follow."""
        self.tagged = True
        self.time = "tag.created_at"
        self.kind = "tag.kind"
        self.order = " ORDER BY tag.created_at DESC" + BY_ID
        if self._parted:
            self.expires = "tag.expires"
            self.seq = "tag.seq"
        else:
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
            self.add(f"{self.seq} NOT IN ({ARRAY})", [carray(array("q", seqs))])

    def sql(self, columns: str, tail: str = "", also: Sequence[str] = (), *, lead: str = "") -> str:
        """The statement, up to its limit; `also`: more conditions of the tag; `lead`: what leads to
        the tag."""
        source, where = self.source, self.where
        if self.merges:
            event, joins = self.event(columns, tail)
            source = f"{lead}part CROSS JOIN tag{event}"
            where = ["tag.part = part.n", *self._of_tag, *also, *joins, *where]
        distinct = "DISTINCT " if self.repeats else ""
        holds = f" WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {distinct}{columns} FROM {source}{holds}{tail}"

    def newest(self, columns: str) -> str:
        """The same of one tag's value, newest first, ties in any order: see `spread`. The rows come
        in the order of what they are joined to; asked for it, SQLite would sort all of them."""
        each = " AND ".join(["tag.part = $part", *self._of_tag])
        event, joins = self.event(columns)
        where = " AND ".join([*joins, *self.where]) or "1"
        return (
            f"SELECT {columns} FROM ([[SELECT tag.created_at, tag.seq, tag.kind FROM tag "
            f"WHERE {each}]] ORDER BY 1 DESC LIMIT -1) AS tag{event} WHERE {where}"
        )

    def event(self, *asked: str) -> tuple[str, list[str]]:
        """What joins the event, if a condition or what else is asked for needs it."""
        if any("event." in text for text in (*asked, *self.where)):
            return " CROSS JOIN event", ["event.seq = tag.seq"]
        return "", []

    def floor(self, first: int = 1) -> str:
        """A condition of the tag: not older than the last of the limit's `newest`. Its parameters
        are those of the whole, which begin with this number and end with the limit."""
        last = f"{self.newest('tag.created_at')} LIMIT 1 OFFSET ?{first + len(self.params)} - 1"
        return f"tag.created_at >= coalesce(({numbered(last, first)}), 0)"

    @property
    def conditions(self) -> str:
        """What must hold, without the word WHERE; of `part` and `tag` only, if it `merges`."""
        return " AND ".join(
            ["tag.part = part.n", *self._of_tag, *self.where] if self.merges else self.where
        )

    @property
    def index(self) -> str:
        """What `conditions` are of."""
        return "tag" if self.merges else "event"

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
def spread(sql: str) -> str:
    """The statement with what is in `[[ ]]` written out for each part."""
    return _EACH.sub(
        lambda each: " UNION ALL ".join(each[1].replace("$part", str(number)) for number in PARTS),
        numbered(sql),
    )
