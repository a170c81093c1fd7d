"""A Filter as SQL: pure, so that it can be held against `Filter.matches`.

Rows are `seq, created_at, id, json`, newest first, lowest id first within a second (NIP-01).

Each condition that has an index gives its rows already in that order, so that a limit ends the
reading early. A list of values (20 authors, 5 topics) has one such order per value. From there to
one answer:

- `merged`: take the newest `limit` of each value, sort those: bounded by values times limit. On
  SQLite the index is first asked how far back the answer can go, and only what is newer is sorted
  (`feeds.py`); values of a tag are first `gathered` (`tagged.py`).
- `dense` (PostgreSQL): walk the newest events of one kind, keep those of the wanted authors. Good
  when they write much; looks at `window` events and is complete only if these hold the whole
  answer.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from apsw import carray

from hanse.engines.storage.addressed import (
    COLUMN,
    addressed_params,
    addressed_shape,
    addresses_of,
)
from hanse.engines.storage.feeds import (
    conditions,
    guessed,
    guessed_params,
    is_recent,
    is_sampled,
    reaching,
    reaching_params,
)
from hanse.engines.storage.parts import PARTS
from hanse.engines.storage.plain import (
    LISTED_MAX,
    Shape,
    alike,
    padded,
    plain_params,
    raw_each,
    shape_of,
)
from hanse.engines.storage.selection import (
    ARRAY,
    BY_ID,
    COLUMNS,
    ORDER,
    Selection,
    Try,
    marks,
    numbered,
    spread,
)
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tagged import gathered, gathered_params, merged
from hanse.protocol import kinds
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.protocol.kinds import KindClass, kind_class
from hanse.protocol.words import search_words

WINDOW = 4000
"""Newest events that `dense` looks at: about 0.5 ms."""

DENSE_AUTHORS = 20
"""From so many authors on a feed is read densely first."""

RANKED_MAX = 2000
"""Newest matches of a search that are ranked: ranking all of a common word takes 0.1 s."""

_ARRAYS = {"event.pubkey": "bytea", "tag.hash": "bigint", "event.kind": "integer"}

_KEPT_PRIVATE = sorted(
    kind for kind in kinds.PRIVATE if kind_class(kind) is not KindClass.EPHEMERAL
)
"""Private kinds that are kept at all: so it is one comparison or two."""

NOBODY: frozenset[PublicKey] = frozenset()


SHAPES_MAX = 512
"""Statements of plain filters whose text is kept."""


class Dialect(msgspec.Struct, frozen=True):
    """Where the engines' SQL for filters differs."""

    search: str
    """A subquery of (seq, score) for one text parameter."""
    quote: str
    conjunction: str
    """How that text names several words of which all are wanted."""
    numbered: bool
    """Whether parameters are `$1, $2, …` and not `?`."""
    parted: bool
    """Whether what finds events is in parts, authors with the tags: see `parts.py`."""


SQLITE = Dialect(
    search=(
        "SELECT rowid AS seq, -bm25(event_text) AS score FROM event_text WHERE event_text MATCH ?"
    ),
    quote='"',
    conjunction=" ",
    numbered=False,
    parted=True,
)
POSTGRES = Dialect(
    search=(
        "SELECT hit.seq, ts_rank(hit.words, asked.query, 1) AS score FROM event_text AS hit "
        "CROSS JOIN (SELECT ?::tsquery AS query) AS asked WHERE hit.words @@ asked.query"
    ),
    quote="'",
    conjunction=" & ",
    numbered=True,
    parted=False,
)


class FilterSql:
    """Builds statements for one database."""

    def __init__(self, key: bytes, dialect: Dialect, window: int = WINDOW) -> None:
        self.hash = TagHash(key)
        self._dialect = dialect
        self._window = window
        self._plain_tries: dict[Shape, Try] = {}

    def first(
        self, found: Filter, limit: int, now_s: int, reader: frozenset[PublicKey]
    ) -> tuple[Try, list[Any]] | None:
        """The first of `rows`, and its parameters. What filters of one plain shape have in common
        is built once."""
        # Who proved a key may see more where no kinds are named: a shape names no private ones.
        may_see_more = reader and found.kinds is None
        addresses = addresses_of(found)
        if addresses:
            shape: Shape | None = addressed_shape(found, addresses)
        else:
            shape = None if may_see_more else shape_of(found, not self._dialect.numbered)
        if shape is None:
            first = next(self.rows(found, limit, now_s, reader), None)
            return None if first is None else (first, first.params)
        column = shape[-1]
        if addresses:
            params = addressed_params(found, addresses, limit, now_s)
        elif column == "tag.hash":
            conditions = plain_params(found, limit, now_s, self.hash, parted=True)[:-1]
            params = gathered_params(self._wanted(found, column), conditions, limit)
        elif column:
            params = guessed_params(found, column, self._each(found, column), limit, now_s)
        else:
            params = plain_params(found, limit, now_s, self.hash, parted=self._dialect.parted)
        known = self._plain_tries.get(shape)
        if known is None:
            if column == "tag.hash":
                known = gathered(self._select(found, now_s, reader, over=column))
            elif column and not addresses:
                both = self._both(found, column, now_s, NOBODY)
                sampled, recent = is_sampled(found, column), is_recent(found, column)
                known = guessed(*both, sampled=sampled, recent=recent)
                known = msgspec.structs.replace(known, then=reaching(*both))
            else:
                first = next(self.rows(found, limit, now_s, reader), None)
                if first is None or not alike(first.params, params):
                    return None if first is None else (first, first.params)
                known = first
            if len(self._plain_tries) >= SHAPES_MAX:
                self._plain_tries.clear()
            self._plain_tries[shape] = known
        return known, params

    def then(self, found: Filter, limit: int, now_s: int) -> list[Any]:
        """Parameters of what follows `first` where that was not enough: `Try.then`."""
        column = self._merge_over(found)
        asked = conditions(found, column, now_s)
        return reaching_params(self._each(found, column), asked, found.since, limit)

    def rows(
        self, found: Filter, limit: int, now_s: int, reader: frozenset[PublicKey]
    ) -> Iterator[Try]:
        """Statements to try in order. None at all means that nothing can match."""
        if self._is_empty(found, reader):
            return
        column = self._merge_over(found)
        if not column:
            chosen = self._select(found, now_s, reader, ranked=True)
            yield self._ordered(chosen, limit, chosen.order)
            return
        if self._dialect.numbered and column == "event.pubkey" and self._is_feed(found):
            yield self._dense(found, limit, now_s, reader)
        yield self._merged(found, column, limit, now_s, reader)

    def count(
        self,
        filters: Sequence[Filter],
        now_s: int,
        reader: frozenset[PublicKey],
        gone: Collection[int],
    ) -> tuple[str, list[Any]]:
        """How many events pass any of the filters, limits aside, but for those numbers."""
        head = "SELECT count(*) FROM"
        sql, params = self._union(filters, "", head, now_s, reader, gone)
        return self._numbered(sql), params

    def pubkeys(
        self,
        found: Filter,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey],
        gone: Collection[int],
    ) -> tuple[str, list[Any]]:
        """The authors of what passes, each once, but for those numbers."""
        head = "SELECT DISTINCT pubkey FROM"
        sql, params = self._union([found], ", event.pubkey", head, now_s, reader, gone)
        return self._numbered(f"{sql} LIMIT ?"), [*params, limit]

    def outline(
        self,
        found: Filter,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey],
        gone: Collection[int],
    ) -> tuple[str, list[Any]]:
        """(created_at, id) of what passes, newest first, but for those numbers."""
        if self._is_empty(found, reader):
            return self._numbered("SELECT created_at, id FROM event WHERE seq < 0 LIMIT ?"), [limit]
        chosen = self._select(found, now_s, reader)
        chosen.leave_out(gone)
        wanted = limit if found.limit is None else min(limit, found.limit)
        floor = [chosen.floor()] if chosen.merges and not self._merge_over(found) else []
        sql = chosen.sql("event.created_at, event.id", f"{ORDER} LIMIT ?", floor)
        sql = spread(sql) if floor else self._numbered(sql)
        return sql, [*chosen.all_params, wanted]

    # --- ways to read -------------------------------------------------------------------------

    def _ordered(self, chosen: Selection, limit: int, order: str, *, complete: bool = True) -> Try:
        params = [*chosen.all_params, limit]
        if chosen.merges:
            exact = chosen.sql(COLUMNS, order + " LIMIT ?", [chosen.floor()])
            quick = chosen.newest(COLUMNS) + " LIMIT ?"
            return Try(spread(quick), params, spread(exact), complete)
        exact = self._numbered(chosen.sql(COLUMNS, order + " LIMIT ?"))
        if not order.endswith(BY_ID) or chosen.repeats:
            return Try(exact, params, complete=complete)
        if chosen.single:
            return Try(self._numbered(chosen.sql(COLUMNS, " LIMIT ?")), params)
        quick = chosen.sql(COLUMNS, order.removesuffix(BY_ID) + " LIMIT ?")
        return Try(self._numbered(quick), params, exact, complete)

    def _union(
        self,
        filters: Sequence[Filter],
        also: str,
        head: str,
        now_s: int,
        reader: frozenset[PublicKey],
        gone: Collection[int],
    ) -> tuple[str, list[Any]]:
        parts, params = [], []
        for found in filters:
            if not self._is_empty(found, reader):
                chosen = self._select(found, now_s, reader)
                chosen.leave_out(gone)
                parts.append(chosen.sql(chosen.seq + also))
                params += chosen.all_params
        union = " UNION ".join(parts) or f"SELECT event.seq{also} FROM event WHERE event.seq < 0"
        return f"{head} ({union}) AS found", params

    def _merge_over(self, found: Filter) -> str:
        """The column whose list of wanted values decides the order, or nothing if no list does."""
        if found.ids is not None or _words(found) or addresses_of(found):
            return ""
        if found.tags:
            return "tag.hash" if len(_narrowest(found)[1]) > 1 else ""
        if found.authors is not None:
            return "event.pubkey" if len(found.authors) > 1 else ""
        return "event.kind" if found.kinds is not None and len(found.kinds) > 1 else ""

    def _wanted(self, found: Filter, column: str) -> list[Any]:
        if column == "tag.hash":
            name, wanted = _narrowest(found)
            return sorted(self.hash(name, value) for value in wanted)
        if column == "event.pubkey":
            return sorted(raw_each(found.authors or ()))
        return sorted(found.kinds or ())

    def _each(self, found: Filter, column: str) -> list[int]:
        """What `feeds` are of: authors or kinds, on SQLite."""
        if column == "event.pubkey":
            return self.hash.authors(found.authors or ())
        return list(found.kinds or ())

    def _is_feed(self, found: Filter) -> bool:
        """Many authors and one kind: over several the walk would have no index order, and sort them
        all first."""
        authors, wanted = found.authors or (), found.kinds or ()
        return len(authors) >= DENSE_AUTHORS and len(wanted) == 1

    def _merged(
        self,
        found: Filter,
        column: str,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey],
    ) -> Try:
        if not self._dialect.numbered and column != "tag.hash":
            whole, near = self._both(found, column, now_s, reader)
            asked = whole.params, near.params
            params = reaching_params(self._each(found, column), asked, found.since, limit)
            return msgspec.structs.replace(reaching(whole, near), params=params)
        chosen = self._select(found, now_s, reader, over=column)
        if chosen.merges:
            return merged(chosen, self._wanted(found, column), limit)
        # With ties: by time alone an index has them in order. Asked for the id's order too, the
        # planner sorts all rows of a value, since it takes a common one for an average one.
        inner = chosen.sql(
            "event.seq", f" ORDER BY {chosen.time} DESC FETCH FIRST (?) ROWS WITH TIES"
        )
        sql = (
            f"WITH wanted(value) AS (SELECT unnest(?::{_ARRAYS[column]}[])) "
            f"SELECT {COLUMNS} FROM event WHERE event.seq IN (SELECT each.seq "
            f"FROM wanted CROSS JOIN LATERAL ({inner}) AS each){ORDER} LIMIT ?"
        )
        wanted = self._wanted(found, column)
        return Try(self._numbered(sql), [wanted, *chosen.all_params, limit, limit])

    def _both(
        self, found: Filter, column: str, now_s: int, reader: frozenset[PublicKey]
    ) -> tuple[Selection, Selection]:
        """For `feeds`: the filter over one value of a column, and the same without `since`."""
        near = msgspec.structs.replace(found, since=None)
        return (
            self._select(found, now_s, reader, over=column),
            self._select(near, now_s, reader, over=column),
        )

    def _dense(self, found: Filter, limit: int, now_s: int, reader: frozenset[PublicKey]) -> Try:
        chosen = Selection()
        wanted = Selection()
        wanted.among("kind", sorted(found.kinds or ()))
        if found.since is not None:
            wanted.add("created_at >= ?", [found.since])
        if found.until is not None:
            wanted.add("created_at <= ?", [found.until])
        newest = f" ORDER BY created_at DESC LIMIT {self._window}"
        walk = wanted.sql("seq, pubkey, created_at", newest)
        chosen.source = f"({walk}) AS newest CROSS JOIN event"
        chosen.source_params = wanted.all_params
        chosen.among("newest.pubkey", [bytes.fromhex(author) for author in found.authors or ()])
        chosen.add("event.seq = newest.seq")
        chosen.add("(event.expires IS NULL OR event.expires > ?)", [now_s])
        self._visible(chosen, found, reader)
        return self._ordered(
            chosen, limit, " ORDER BY newest.created_at DESC" + BY_ID, complete=False
        )

    # --- conditions ---------------------------------------------------------------------------

    def _select(
        self,
        found: Filter,
        now_s: int,
        reader: frozenset[PublicKey],
        over: str = "",
        *,
        ranked: bool = False,
    ) -> Selection:
        """Every condition of a filter, from the index that narrows most: ids, search, addresses,
        tags, authors, kinds, time. `over` names a column that is to equal `wanted.value` instead. A
        `ranked` search for nothing but words looks at its newest matches only."""
        chosen = Selection(parted=self._dialect.parted)
        others = list(found.tags)
        if found.ids is not None and _words(found):
            chosen.among("event.id", raw_each(found.ids))
        elif found.ids is not None:
            chosen.by_id(raw_each(found.ids))
        if _words(found):
            self._search(chosen, _words(found), capped=ranked and _only_words(found))
        elif found.ids is None and (found.tags or self._by_author(found)):
            chosen.by_tag()
            if found.tags:
                first = _narrowest(found)
                others.remove(first)
                hashes = [self.hash(first[0], value) for value in first[1]]
                chosen.repeats = len(hashes) > 1 and not over
            else:
                hashes = self.hash.authors(found.authors or ())
            if over:
                chosen.add("tag.hash = wanted.value", of_tag=True)
            else:
                chosen.among("tag.hash", hashes, of_tag=True)
        plain = found
        if addresses := addresses_of(found):
            chosen.among(COLUMN, addresses)
            plain = msgspec.structs.replace(found, authors=None, kinds=None)
        self._plain(chosen, plain, over, now_s)
        for name, values in others:
            self._carries(chosen, "", [self.hash(name, value) for value in values])
        self._visible(chosen, found, reader)
        return chosen

    def _by_author(self, found: Filter) -> bool:
        """Whether authors lead to the events, as tags do."""
        if not self._dialect.parted or found.tags or addresses_of(found):
            return False
        return found.authors is not None

    def _carries(self, chosen: Selection, unless: str, hashes: Iterable[int]) -> None:
        """The event has one of these tags, unless something else holds."""
        wanted = padded(hashes)
        part = f"also.part IN {PARTS} AND " if self._dialect.parted else ""
        chosen.add(
            f"({unless}EXISTS (SELECT 1 FROM tag AS also WHERE {part}"
            f"also.hash IN ({marks(wanted)}) "
            f"AND also.created_at = {chosen.time} AND also.seq = {chosen.seq}))",
            wanted,
        )

    def _search(self, chosen: Selection, words: list[str], *, capped: bool) -> None:
        quote = self._dialect.quote  # words hold letters and digits only
        match = self._dialect.conjunction.join(f"{quote}{word}{quote}" for word in words)
        newest = f" ORDER BY seq DESC LIMIT {RANKED_MAX}" if capped else ""
        chosen.source = f"({self._dialect.search}{newest}) AS found CROSS JOIN event"
        chosen.source_params = [match]
        chosen.add("event.seq = found.seq")
        chosen.order = " ORDER BY found.score DESC, event.created_at DESC"

    def _plain(self, chosen: Selection, found: Filter, over: str, now_s: int) -> None:
        """Kinds, times, expiry and authors, in this order: `plain.plain_params`."""
        of_tag, kind = chosen.tagged, chosen.kind
        if over == "event.kind":
            chosen.add("event.kind = wanted.value")
        elif found.kinds is not None and chosen.merges and len(found.kinds) > LISTED_MAX:
            wanted = carray(array("q", found.kinds))
            chosen.add(f"{kind} IN ({ARRAY})", [wanted], of_tag=True)
        elif found.kinds is not None:
            chosen.among(kind, sorted(found.kinds), of_tag=of_tag)
        if found.since is not None:
            chosen.add(f"{chosen.time} >= ?", [found.since], of_tag=of_tag)
        if found.until is not None:
            chosen.add(f"{chosen.time} <= ?", [found.until], of_tag=of_tag)
        unexpired = f"({chosen.expires} IS NULL OR {chosen.expires} > ?)"
        chosen.add(unexpired, [now_s], of_tag=chosen.merges)
        if chosen.tagged and not found.tags:
            return  # its author led here
        if over == "event.pubkey":
            chosen.add("event.pubkey = wanted.value")
        elif found.authors is not None:
            chosen.among("event.pubkey", [bytes.fromhex(author) for author in found.authors])

    def _visible(self, chosen: Selection, found: Filter, reader: frozenset[PublicKey]) -> None:
        """Private kinds only for a recipient that proved itself."""
        if found.kinds is not None and found.kinds.isdisjoint(kinds.PRIVATE):
            return
        public = " AND ".join(f"{chosen.kind} <> {kind}" for kind in _KEPT_PRIVATE)
        if reader:
            self._carries(chosen, f"{public} OR ", [self.hash("p", key) for key in reader])
        else:
            chosen.add(public, of_tag=chosen.merges)

    def _is_empty(self, found: Filter, reader: frozenset[PublicKey]) -> bool:
        lists = [found.ids, found.authors, found.kinds, *(wanted for _, wanted in found.tags)]
        if any(wanted is not None and not wanted for wanted in lists):
            return True
        return found.kinds is not None and not reader and found.kinds <= kinds.PRIVATE

    def _numbered(self, sql: str) -> str:
        return numbered(sql, mark="$") if self._dialect.numbered else sql


def _words(found: Filter) -> list[str]:
    return sorted(search_words(found.search)) if found.search is not None else []


def _only_words(found: Filter) -> bool:
    # With any other condition, the matches it asks for may lie behind the newest.
    others = (found.ids, found.authors, found.kinds, found.since, found.until)
    return not found.tags and all(condition is None for condition in others)


def _narrowest(found: Filter) -> tuple[str, frozenset[str]]:
    return min(found.tags, key=lambda tag: len(tag[1]))
