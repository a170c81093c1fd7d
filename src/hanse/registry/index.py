"""The index: every capability of every live offer in columns and inverted lists, in memory.

It is a view of the offers' table and can be thrown away. One writer adds and removes; any number of
readers search, in other threads, over what was there when they began. Figures that decide an order
are whole numbers, so that an index built in any order, in one go or by and by, answers the same.

`lookup.py` searches it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.errors import Invalid
from hanse.protocol.keys import PublicKey
from hanse.registry.entry import NEVER, SET_KINDS, Entry, Figured
from hanse.registry.postings import Columns, Forward, Growing, Mask, Run, extended
from hanse.registry.version import Range, read_range, read_version

RANGES_MAX = 64
"""Ranges of versions whose answers are remembered."""
KNOWN_MAX = 100_000
DEAD_MIN = 4096
"""Rows that went, of which fewer are not worth the work of leaving them out."""

_COLUMNS: dict[str, type[np.generic]] = {
    "key": np.int64,
    "offer": np.int64,
    "name": np.int64,
    "seq": np.int64,
    "position": np.uint8,
    "provider": np.int32,
    "operator": np.int32,
    "version": np.int32,
    "price": np.int64,
    "latency": np.int32,
    "success": np.float32,
    "availability": np.float32,
    "throughput": np.float32,
    "quality": np.float32,
    "created": np.int64,
    "expires": np.int64,
    "seen": np.int64,
    "imported": np.bool_,
    "needs": np.uint8,
    "live": np.bool_,
    "vector": np.int8,
    "norm": np.float32,
}


_BOUNDED = ("expires", "seen")
_LISTED = frozenset(SET_KINDS.values())


class Names:
    """Texts by small numbers. They are never forgotten while the index lives."""

    __slots__ = ("_ids", "texts")

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self.texts: list[str] = []

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str) -> int:
        """Its number, a new one if need be."""
        found = self._ids.get(text)
        if found is None:
            found = self._ids[text] = len(self.texts)
            self.texts.append(text)
        return found

    def get(self, text: str) -> int:
        """Its number, or -1."""
        return self._ids.get(text, -1)


class Table:
    """The columns, one value a row."""

    def __init__(self, size: int) -> None:
        self.columns = {
            name: Growing(dtype, size if name == "vector" else None)
            for name, dtype in _COLUMNS.items()
        }
        self.signs = [f"signs{at}" for at in range(size // 64)]
        """Columns of 64 signs each: apart, they are compared three times as fast."""
        self.columns |= {name: Growing(np.uint64) for name in self.signs}
        self.forward = Forward()
        self.seen: tuple[tuple[Run, ...], int] = ((), 0)
        """What a reader may look at: the runs, and how many rows. Changes as one."""
        self.dead = 0
        self.asked = Columns()
        self.least = dict.fromkeys(_BOUNDED, NEVER)
        """No live row has less in these columns: most searches need not look at them."""

    def bound(self) -> None:
        """Find out what is the least now."""
        live = self.columns["live"]
        there = live.array[: live.size]
        for name in _BOUNDED:
            self.least[name] = int(self.columns[name].array[: live.size][there].min(initial=NEVER))

    @property
    def rows(self) -> int:
        """Rows there are, seen or not."""
        return len(self.forward)

    def written(self, name: str) -> NDArray[Any]:
        """A column, as its writer sees it."""
        return self.columns[name].array[: self.rows]


class View(msgspec.Struct, frozen=True):
    """What one search looks at."""

    table: Table
    runs: tuple[Run, ...]
    rows: int
    live: int

    def column(self, name: str) -> NDArray[Any]:
        """One value for each row."""
        return self.table.columns[name].array[: self.rows]


class Index:
    """See the module. `size`: numbers in a vector, a multiple of 64, or 0 for words only."""

    def __init__(self, size: int = 0) -> None:
        if size % 64:
            raise Invalid.at("embedder.size", "must be a multiple of 64")
        self.size = size
        self.terms = Names()
        self.keys = Names()
        """Providers and operators."""
        self.versions = Names()
        self._df = Growing(np.int32)
        self._lists = Growing(np.bool_)
        self._live = 0
        self._table = Table(size)
        self._known: dict[int, int] = {}
        """Rows of keys that were asked for."""
        self._late: dict[int, Figured] | None = None
        self._writing = threading.Lock()
        self._ranges: OrderedDict[str, Mask] = OrderedDict()

    def __len__(self) -> int:
        return self._live

    # --- writing: one at a time ---------------------------------------------------------------

    def add(self, found: Sequence[Entry], vectors: NDArray[np.float32] | None) -> None:
        """Append rows; they are found once `publish` was called."""
        table = self._table
        ids = self.terms.add
        rows = []
        for one in found:
            terms = [ids(f"w{word}") for word in one.words] + [ids(term) for term in one.terms]
            rows.append((terms, [*one.words.values(), *[1] * len(one.terms)]))
        start = table.forward.terms.size
        table.forward.append(rows)
        fresh = self.terms.texts[self._df.size :]
        self._lists.extend([text[0] in _LISTED for text in fresh])
        self._df.extend(np.zeros(len(fresh), dtype=np.int32))
        added = table.forward.terms.array[start : table.forward.terms.size]
        # In place: what readers hold is this array.
        np.add.at(self._df.array, added, 1)
        values = self._values(found)
        with self._writing:
            for name, column in values.items():
                table.columns[name].extend(column)
            for name in _BOUNDED:
                table.least[name] = min(table.least[name], min(values[name], default=NEVER))
        self._add_vectors(len(found), vectors)
        self._live += len(found)
        first = table.rows - len(found)
        for row, one in enumerate(found, first):
            if one.key in self._known:
                self._known[one.key] = row

    def _values(self, found: Sequence[Entry]) -> dict[str, list[Any]]:
        return {
            "key": [one.key for one in found],
            "offer": [one.offer for one in found],
            "name": [one.name for one in found],
            "seq": [one.seq for one in found],
            "position": [one.position for one in found],
            "provider": [self.keys.add(one.provider) for one in found],
            "operator": [self.keys.add(one.operator) for one in found],
            "version": [self.versions.add(one.version) for one in found],
            "price": [one.price_msat for one in found],
            "latency": [one.figured.latency_ms for one in found],
            "success": [one.figured.success for one in found],
            "availability": [one.figured.availability for one in found],
            "throughput": [one.figured.throughput for one in found],
            "quality": [one.figured.quality for one in found],
            "created": [one.created_at for one in found],
            "expires": [one.expires for one in found],
            "seen": [one.figured.seen_s for one in found],
            "imported": [one.imported for one in found],
            "needs": [one.needs for one in found],
            "live": [True] * len(found),
        }

    def _add_vectors(self, count: int, vectors: NDArray[np.float32] | None) -> None:
        if not self.size:
            return
        whole = np.zeros((count, self.size), np.int8) if vectors is None else quantised(vectors)
        columns = self._table.columns
        columns["vector"].extend(whole)
        columns["norm"].extend(np.sqrt((whole.astype(np.int32) ** 2).sum(axis=1)))
        for name, signs in zip(self._table.signs, signs_of(whole).T, strict=True):
            columns[name].extend(signs)

    def publish(self) -> None:
        """Let readers see what was added."""
        table = self._table
        table.seen = extended(table.seen[0], table.forward), table.rows

    def view(self) -> View:
        """What is there now."""
        table = self._table
        runs, rows = table.seen
        return View(table, runs, rows, self._live)

    @property
    def lists(self) -> Mask:
        """By term: whether it is a value of a list, as a region is."""
        return self._lists.array

    def df(self, term: int) -> int:
        """How many live rows have a term."""
        return int(self._df.array[term])

    def remove(self, offers: Iterable[int]) -> int:
        """Let rows of these offers go, at once; how many went."""
        wanted = list(offers)
        if not wanted:
            return 0
        table = self._table
        kept = table.written("offer")
        mine = kept == wanted[0] if len(wanted) == 1 else np.isin(kept, wanted)
        rows = np.flatnonzero(mine & table.written("live")).astype(np.int32)
        if len(rows):
            table.columns["live"].array[rows] = False
            np.subtract.at(self._df.array, table.forward.all_of(rows), 1)
            self._live -= len(rows)
            table.dead += len(rows)
        return len(rows)

    def expire(self, now_s: int) -> int:
        """Let offers go that have expired; how many rows."""
        table = self._table
        gone = (table.written("expires") <= now_s) & table.written("live")
        went = self.remove(set(table.written("offer")[gone].tolist())) if gone.any() else 0
        with self._writing:
            table.bound()
        return went

    def saw(self, seen: Mapping[str, int]) -> None:
        """When providers were last connected."""
        at = np.zeros(len(self.keys), dtype=np.int64)
        for provider, seen_s in list(seen.items()):
            id = self.keys.get(provider)
            if 0 <= id < len(at):
                at[id] = seen_s
        table = self._table
        with self._writing:
            column = table.written("seen")
            np.maximum(column, at[table.written("provider")[: len(column)]], out=column)

    def offers_of(self, provider: PublicKey) -> set[int]:
        """The offers of a provider that are indexed."""
        id = self.keys.get(provider)
        table = self._table
        mine = (table.written("provider") == id) & table.written("live")
        return set(table.written("offer")[mine].tolist())

    def tidy(self) -> None:
        """Leave out rows that went, if they are many. Takes as long as indexing their words."""
        old = self._table
        if old.dead < max(DEAD_MIN, self._live // 3):
            return
        self._late = {}
        rows = np.flatnonzero(old.written("live")).astype(np.int32)
        fresh = Table(self.size)
        for name, column in old.columns.items():
            fresh.columns[name].extend(column.array[rows] if column.size else column.array[:0])
        starts = old.forward.starts.array
        lengths = (starts[rows + 1] - starts[rows]).astype(np.int64)
        taken = old.forward.places(rows)
        fresh.forward.terms.extend(old.forward.terms.array[taken])
        fresh.forward.impacts.extend(old.forward.impacts.array[taken])
        fresh.forward.starts.extend(np.cumsum(lengths))
        fresh.seen = extended((), fresh.forward), fresh.rows
        with self._writing:
            fresh.bound()
            self._known, self._table = {}, fresh
            late, self._late = self._late, None
        for key, now in late.items():
            self.figure(key, now)

    def figure(self, key: int, now: Figured) -> None:
        """What to expect of a capability now."""
        row = self.row_of(key)
        with self._writing:
            if self._late is not None:
                self._late[key] = now
            if row >= 0:
                columns = self._table.columns
                columns["latency"].array[row] = now.latency_ms
                columns["success"].array[row] = now.success
                columns["availability"].array[row] = now.availability
                columns["throughput"].array[row] = now.throughput
                columns["quality"].array[row] = now.quality
                columns["seen"].array[row] = max(now.seen_s, columns["seen"].array[row])

    def row_of(self, key: int) -> int:
        """The row of a capability, or -1. Remembered: who asks once asks again."""
        row = self._known.get(key)
        table = self._table
        live = table.written("live")
        if row is not None and (row < 0 or live[row]):
            return row
        found = np.flatnonzero((table.written("key") == key) & live)
        row = int(found[-1]) if len(found) else -1
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        self._known[key] = row
        return row

    def versions_in(self, text: str) -> Mask:
        """Which versions a range has. Raises Invalid."""
        wanted = read_range(text, "constraints.version")
        known = self._ranges.pop(text, np.zeros(0, dtype=np.bool_))
        if len(known) < len(self.versions):
            more = [_has(wanted, text) for text in self.versions.texts[len(known) :]]
            known = np.append(known, np.array(more, dtype=np.bool_))
        self._ranges[text] = known
        if len(self._ranges) > RANGES_MAX:
            self._ranges.popitem(last=False)
        return known


def _has(wanted: Range, text: str) -> bool:
    try:
        return wanted.has(read_version(text))
    except Invalid:  # offers of other software may say anything
        return False


def quantised(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Whole numbers of a vector's directions: the largest becomes 127."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-9)
    found: NDArray[np.int8] = np.round(vectors * (127 / largest)).astype(np.int8)
    return found


def signs_of(whole: NDArray[np.int8]) -> NDArray[np.uint64]:
    """A bit for each direction."""
    return np.packbits(whole > 0, axis=1).view(np.uint64)
