"""Which rows have a term: inverted lists over rows that are only ever appended.

`Forward` keeps each row's terms and how much each says there (1 to 255). A `Run` inverts a range of
rows; it never changes. A new row waits in the last, short run, which is made again with each batch;
full runs become one longer run, so that a row is inverted few times and a search looks in few.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Rows = NDArray[np.int32]
Impacts = NDArray[np.uint8]

TAIL_MAX = 1024
"""Rows of the shortest run: inverting so many takes about 3 ms."""
RATIO = 8
"""A run is made again with what follows once that is an eighth of it."""
RUN_MAX = 2**18
"""Rows of the longest run: inverting more at once takes half a gigabyte beside."""
COLUMNS_MAX_BYTES = 32 * 2**20
EMPTY = np.empty(0, dtype=np.int32)


class Growing:
    """An array that is appended to. Who reads keeps `array` and a length: what was there stays."""

    __slots__ = ("array", "size")

    def __init__(self, dtype: type[np.generic], width: int | None = None) -> None:
        shape: tuple[int, ...] = (1024,) if width is None else (1024, width)
        self.array: NDArray[Any] = np.zeros(shape, dtype=dtype)
        self.size = 0

    def extend(self, values: Sequence[object] | NDArray[Any]) -> None:
        """Append."""
        found = np.asarray(values, dtype=self.array.dtype)
        end = self.size + len(found)
        if end > len(self.array):
            # An eighth more: doubling would leave half a gigabyte unused at a million rows.
            room = max(end, len(self.array) + max(len(self.array) // 8, 4096))
            grown = np.zeros((room, *self.array.shape[1:]), dtype=self.array.dtype)
            grown[: self.size] = self.array[: self.size]
            self.array = grown
        self.array[self.size : end] = found
        self.size = end


class Forward:
    """The terms of each row."""

    def __init__(self) -> None:
        self.terms = Growing(np.int32)
        self.impacts = Growing(np.uint8)
        self.starts = Growing(np.int64)
        self.starts.extend([0])

    def __len__(self) -> int:
        return self.starts.size - 1

    def append(self, rows: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        """Append rows of (terms, impacts); a term is in a row once."""
        terms: list[int] = []
        impacts: list[int] = []
        ends: list[int] = []
        start = self.terms.size
        for found, weights in rows:
            terms.extend(found)
            impacts.extend(weights)
            ends.append(start + len(terms))
        self.terms.extend(terms)
        self.impacts.extend(impacts)
        self.starts.extend(ends)

    def of(self, row: int) -> Rows:
        """The terms of one row."""
        start, end = self.starts.array[row], self.starts.array[row + 1]
        found: Rows = self.terms.array[start:end]
        return found

    def all_of(self, rows: Rows) -> Rows:
        """The terms of many rows, one after the other."""
        found: Rows = self.terms.array[self.places(rows)]
        return found

    def places(self, rows: Rows) -> NDArray[np.int64]:
        """Where the terms of many rows stand."""
        starts = self.starts.array[rows].astype(np.int64)
        lengths = self.starts.array[rows + 1].astype(np.int64) - starts
        return _places(starts, lengths)


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of many ranges, one after the other."""
    found: NDArray[np.int64] = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    found += np.arange(len(found), dtype=np.int64)
    return found


class Run:
    """Rows `start` to `end`, inverted."""

    __slots__ = ("_impacts", "_lists", "_rows", "_starts", "_terms", "end", "start")

    def __init__(self, forward: Forward, start: int, end: int) -> None:
        self.start, self.end = start, end
        first, last = (int(forward.starts.array[row]) for row in (start, end))
        terms = forward.terms.array[first:last]
        # Stable: rows of a term stay in ascending order.
        order = np.argsort(terms, kind="stable").astype(np.int32 if last - first < 2**31 else None)
        bounds: NDArray[np.int64] = forward.starts.array[start : end + 1]
        lengths = bounds[1:] - bounds[:-1]
        rows = np.repeat(np.arange(start, end, dtype=np.int32), lengths)
        self._rows: Rows = rows[order]
        self._impacts: Impacts = forward.impacts.array[first:last][order]
        ordered = terms[order]
        heads = np.flatnonzero(np.diff(ordered, prepend=-1))
        self._terms = ordered[heads]
        self._starts = np.append(heads, len(ordered)).astype(np.int64)
        self._lists: tuple[Rows, Rows, NDArray[np.int64]] | None = None

    def slice(self, term: int) -> tuple[Rows, Impacts]:
        """The rows that have a term, and how much it says there."""
        # Of its own type: else all of them are converted first.
        at = int(self._terms.searchsorted(np.int32(term)))
        if at == len(self._terms) or self._terms[at] != term:
            return EMPTY, _NOTHING
        start, end = self._starts[at], self._starts[at + 1]
        return self._rows[start:end], self._impacts[start:end]

    def counts(self, among: Mask, wanted: Mask) -> tuple[Rows, NDArray[np.int64]]:
        """Terms, and how many of these rows have each. `wanted`, by term, is always the same."""
        if self._lists is None:
            at = np.flatnonzero(wanted[self._terms])
            lengths = self._starts[at + 1] - self._starts[at]
            rows = self._rows[_places(self._starts[at], lengths)]
            self._lists = self._terms[at], rows, np.cumsum(lengths) - lengths
        terms, rows, heads = self._lists
        if not len(terms):
            return EMPTY, heads
        return terms, np.add.reduceat(among[rows], heads, dtype=np.int64)


_NOTHING: Impacts = np.empty(0, dtype=np.uint8)


def extended(runs: tuple[Run, ...], forward: Forward) -> tuple[Run, ...]:
    """Runs over all rows, given those over the first of them."""
    end = len(forward)
    kept = list(runs)
    start = kept[-1].end if kept else 0
    if start == end:
        return runs
    # What is short is taken in again, until the last that is kept is long beside what follows.
    while kept and _short(kept[-1], end):
        start = kept.pop().start
    for first in range(start, end, RUN_MAX):
        kept.append(Run(forward, first, min(first + RUN_MAX, end)))
    return tuple(kept)


def _short(run: Run, end: int) -> bool:
    length = run.end - run.start
    if length < TAIL_MAX:
        return True
    return end - run.start <= RUN_MAX and length <= RATIO * (end - run.end)


class Columns:
    """A byte for each row, of what is asked for again and again: how much a term says in each row,
    which rows a price allows. Rows are only appended: what is known of a row stays."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Impacts] = OrderedDict()
        self._bytes = 0
        self._busy = threading.Lock()

    def of(self, key: Hashable, rows: int, after: Callable[[int], NDArray[Any]]) -> Impacts:
        """The first so many rows of a column; not to be changed. `after(row)` makes what is not
        known: the rest, from a row on."""
        with self._busy:
            known = self._known.pop(key, _NOTHING)
            self._bytes -= len(known)
            if len(known) < rows:
                known = np.append(known, after(len(known)).view(np.uint8))
            self._known[key] = known
            self._bytes += len(known)
            while self._bytes > COLUMNS_MAX_BYTES and len(self._known) > 1:
                self._bytes -= len(self._known.popitem(last=False)[1])
        return known[:rows]

    def of_term(self, term: int, rows: int, runs: Sequence[Run]) -> Impacts:
        """How much a term says in each row; 0 where it is not."""

        def after(row: int) -> Impacts:
            found = np.zeros(rows - row, dtype=np.uint8)
            for run in runs:
                if run.end > row:
                    at, impacts = run.slice(term)
                    first = int(at.searchsorted(np.int32(row)))
                    found[at[first:] - row] = impacts[first:]
            return found

        return self.of(term, rows, after)
