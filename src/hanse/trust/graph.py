"""The graph of endorsements, and what one viewer sees of it: reach and rank.

Reach is personalised PageRank in whole numbers: TOTAL units start at the viewer's seeds and walk
HOPS steps; at each step an operator passes on 7/10 of what it holds, split over its endorsements by
grade, rounded down. Sums of whole numbers do not depend on order, so the same edges give the same
answer to the last unit, however they arrived, and a folded edge gives exactly what a rebuild
gives. Rounding down also ends small changes early, which makes folding cheap.

Rank is reach for whoever is *backed*, and nothing for others. Backed are the seeds, those whom
K seeds endorse (the guarantors), and those whom K of seeds and guarantors endorse. With fewer than
K corrupted seeds no fake becomes a guarantor, so g endorsements of fakes by anybody back at most
floor(g / K) of them, however many there are and however they endorse each other.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hanse.errors import Invalid
from hanse.trust.acceptance import VOUCHERS_NEEDED
from hanse.trust.model import GRADE_MAX, Operator
from hanse.trust.view import View

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Row = tuple[Ints, Bytes]

VIEWS_MAX = 16
"""Viewers kept warm; each holds about 40 bytes per operator."""

PATCHED_MAX = 20_000
"""Rows changed since the arrays were packed, before a first answer packs them again."""

_NOTHING: Row = (np.empty(0, np.int32), np.empty(0, np.uint8))


class Graph:
    """Live endorsements between operators, one at most from each to each."""

    __slots__ = (
        "_by",
        "_by_start",
        "_grades",
        "_index",
        "_of",
        "_patched",
        "_rows",
        "_start",
        "_touched",
        "_views",
        "names",
        "out",
        "views_max",
    )

    def __init__(self, *, views_max: int = VIEWS_MAX) -> None:
        self.views_max = views_max
        self.names: list[Operator] = []
        self.out = np.zeros(0, np.int64)  # sum of grades given, per operator
        self._index: dict[Operator, int] = {}
        self._start = np.zeros(1, np.int64)
        self._of: Ints = _NOTHING[0]
        self._grades: Bytes = _NOTHING[1]
        self._by: Ints = _NOTHING[0]  # endorsers, grouped by whom they endorse
        self._by_start = np.zeros(1, np.int64)
        self._rows: dict[int, Row] = {}  # rows changed since the arrays were packed
        self._touched: dict[int, set[int]] = {}  # whom a change endorsed or left → by whom
        self._patched = np.zeros(0, np.bool_)
        self._views: OrderedDict[tuple[frozenset[Operator], frozenset[Operator]], View] = (
            OrderedDict()
        )

    @classmethod
    def build(cls, edges: Iterable[tuple[Operator, Operator, int]]) -> "Graph":
        """A graph of (by, of, grade); of an edge told twice the last grade counts."""
        graph = cls()
        told = [(graph._intern(by), graph._intern(of), grade) for by, of, grade in edges]
        table = np.array(told, np.int64).reshape(-1, 3)
        return cls.from_arrays(graph.names, table[:, 0], table[:, 1], table[:, 2])

    @classmethod
    def from_arrays(
        cls,
        names: Sequence[Operator],
        by: NDArray[np.integer],
        of: NDArray[np.integer],
        grade: NDArray[np.integer],
    ) -> "Graph":
        """A graph of edges given as indices into `names`."""
        if len(grade) and not (int(grade.min()) >= 0 and int(grade.max()) <= GRADE_MAX):
            raise Invalid.at("grade", f"must be from 0 to {GRADE_MAX}")
        graph = cls()
        graph.names = list(names)
        graph._index = {name: number for number, name in enumerate(graph.names)}
        size = len(graph.names)
        key = by.astype(np.int64) * size + of
        order = np.argsort(key, kind="stable")
        key = key[order]
        last = np.ones(len(key), np.bool_)
        last[:-1] = key[1:] != key[:-1]
        kept = order[last]
        kept = kept[(grade[kept] > 0) & (by[kept] != of[kept])]
        graph._of = of[kept].astype(np.int32)
        graph._grades = grade[kept].astype(np.uint8)
        graph._start = _starts(np.bincount(by[kept], minlength=size))
        graph._turn()
        graph.out = np.bincount(by[kept], grade[kept], minlength=size).astype(np.int64)
        graph._patched = np.zeros(size, np.bool_)
        return graph

    def __len__(self) -> int:
        """How many operators there are."""
        return len(self.names)

    @property
    def edges(self) -> int:
        """How many endorsements there are."""
        packed = np.diff(self._start)
        hidden = int(packed[self._patched[: len(packed)]].sum())
        return len(self._of) - hidden + sum(len(of) for of, _ in self._rows.values())

    # --- changing ------------------------------------------------------------------------------

    def fold(self, by: Operator, of: Operator, grade: int) -> None:
        """Set one endorsement; grade 0 takes it away. Warm views learn of it when next asked."""
        if type(grade) is not int or not 0 <= grade <= GRADE_MAX:
            raise Invalid.at("grade", f"must be from 0 to {GRADE_MAX}")
        if by == of or (grade == 0 and (by not in self._index or of not in self._index)):
            return
        source, target = self._intern(by), self._intern(of)
        row = self.row(source)
        found = np.flatnonzero(row[0] == target)
        old = int(row[1][found[0]]) if len(found) else 0
        if old == grade:
            return
        for view in self._views.values():
            view.expect(source, row, int(self.out[source]))
        if len(found):
            targets, grades = np.delete(row[0], found[0]), np.delete(row[1], found[0])
        else:
            targets, grades = row
        if grade:
            targets = np.append(targets, np.int32(target))
            grades = np.append(grades, np.uint8(grade))
        self._rows[source] = (targets, grades)
        self._touched.setdefault(target, set()).add(source)
        self._patched[source] = True
        self.out[source] += grade - old

    def view(self, seeds: Iterable[Operator], barred: Iterable[Operator] = ()) -> View:
        """What somebody with these seeds sees; operators in `barred` carry and get nothing."""
        key = (frozenset(seeds), frozenset(barred))
        found = self._views.get(key)
        if found is None:
            if len(self._rows) > PATCHED_MAX:
                self._pack()
            without = {self._intern(name) for name in sorted(key[1])}
            chosen = {self._intern(name) for name in sorted(key[0])} - without
            found = View(self, sorted(chosen), sorted(without), VOUCHERS_NEEDED)
            self._views[key] = found
            if len(self._views) > self.views_max:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        found.catch_up()
        return found

    # --- reading -------------------------------------------------------------------------------

    def index(self, name: Operator) -> int | None:
        """The number of an operator here, or None of one without any endorsement."""
        return self._index.get(name)

    def row(self, source: int) -> Row:
        """Whom one operator endorses, and how highly."""
        if self._patched[source]:
            return self._rows[source]
        if source >= len(self._start) - 1:
            return _NOTHING
        span = slice(int(self._start[source]), int(self._start[source + 1]))
        return self._of[span], self._grades[span]

    def given(self, name: Operator) -> dict[Operator, int]:
        """The same by name: empty for one without any endorsement."""
        number = self._index.get(name)
        if number is None:
            return {}
        of, grades = self.row(number)
        return {
            self.names[each]: grade
            for each, grade in zip(of.tolist(), grades.tolist(), strict=True)
        }

    def arrays(self) -> tuple[NDArray[np.int64], Ints, Bytes]:
        """All endorsements: by whom, of whom (numbers), and the grade."""
        if self._rows or len(self._start) <= len(self.names):
            self._pack()
        by = np.repeat(np.arange(len(self._start) - 1), np.diff(self._start))
        return by, self._of, self._grades

    def endorsers(self, target: int) -> Ints:
        """Who endorses one operator, by number, ascending."""
        packed = _NOTHING[0]
        if target < len(self._by_start) - 1:
            packed = self._by[int(self._by_start[target]) : int(self._by_start[target + 1])]
        touched = self._touched.get(target)
        if not touched:
            return packed
        now = [source for source in touched if target in self._rows[source][0]]
        kept = packed[~np.isin(packed, np.fromiter(touched, np.int32, len(touched)))]
        return np.sort(np.concatenate([kept, np.array(now, np.int32)]))

    def spread(
        self, sources: NDArray[np.int64], units: NDArray[np.int64]
    ) -> tuple[Ints, NDArray[np.int64]]:
        """What `sources` give along their endorsements at `units` a grade: (to whom, how much)."""
        patched = self._patched[sources] | (sources >= len(self._start) - 1)
        plain, unit = sources[~patched], units[~patched]
        begin = self._start[plain]
        degree = self._start[plain + 1] - begin
        where = np.repeat(begin - np.concatenate([[0], np.cumsum(degree)[:-1]]), degree)
        where += np.arange(len(where))
        to = [self._of[where]]
        much = [np.repeat(unit, degree) * self._grades[where]]
        for source, each in zip(sources[patched].tolist(), units[patched].tolist(), strict=True):
            of, grades = self.row(source)
            to.append(of)
            much.append(grades.astype(np.int64) * each)
        return np.concatenate(to), np.concatenate(much)

    def spread_all(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for every operator at once, summed per receiver."""
        size = len(self.out)
        packed = len(self._start) - 1
        plain = np.where(self._patched[:packed], 0, units[:packed]).astype(np.float64)
        # Sums of whole numbers below 2**53 are exact in floats, in any order.
        flow = np.repeat(plain, np.diff(self._start))
        flow *= self._grades
        got = np.bincount(self._of, flow, minlength=size).astype(np.int64)
        if self._rows:
            sources = np.fromiter(self._rows, np.int64, len(self._rows))
            sources = sources[units[sources] > 0]
            to, much = self.spread(sources, units[sources])
            got += np.bincount(to, much, minlength=size).astype(np.int64)
        return got

    # --- inside --------------------------------------------------------------------------------

    def _intern(self, name: Operator) -> int:
        number = self._index.get(name)
        if number is None:
            number = self._index[name] = len(self.names)
            self.names.append(name)
            if number >= len(self.out):
                room = max(1024, number // 8)
                self.out = np.concatenate([self.out, np.zeros(room, np.int64)])
                self._patched = np.concatenate([self._patched, np.zeros(room, np.bool_)])
        return number

    def _pack(self) -> None:
        size = len(self.names)
        rows = [self.row(number) for number in range(size)]
        degree = np.fromiter((len(of) for of, _ in rows), np.int64, size)
        self._of = np.concatenate([_NOTHING[0], *(of for of, _ in rows)])
        self._grades = np.concatenate([_NOTHING[1], *(grades for _, grades in rows)])
        self._start = _starts(degree)
        self._rows = {}
        self._touched = {}
        self._patched[:] = False
        self._turn()

    def _turn(self) -> None:
        size = len(self._start) - 1
        order = _order(self._of)
        self._by = np.repeat(np.arange(size, dtype=np.int32), np.diff(self._start))[order]
        self._by_start = _starts(np.bincount(self._of, minlength=size))


def _order(numbers: Ints) -> NDArray[np.int64]:
    """A stable order of numbers from 0 on: by halves, because numpy sorts those by radix, in a
    fifth of the time."""
    low = np.argsort((numbers & 0xFFFF).astype(np.uint16), kind="stable")
    high = (numbers >> 16).astype(np.uint16)
    if not high.any():
        return low
    found: NDArray[np.int64] = low[np.argsort(high[low], kind="stable")]
    return found


def _starts(degree: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)]).astype(np.int64)
