"""What one viewer sees of a graph: units of reach, who is backed, and by which paths.

A view keeps the units that every operator held at each step. When endorsements change it follows
the difference step by step, so that it ends where a rebuild would, to the last unit.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Ints = NDArray[np.int32]
Row = tuple[Ints, NDArray[np.uint8]]

TOTAL = 2**26
"""Units that start at the seeds: some hundred per operator of a graph of 100,000. All steps
together stay below 2**31."""

HOPS = 6
PASSED_ON, OF = 7, 10
"""The share passed on at each step. Seven tenths: what is six steps away weighs an eighth."""

SHARE = TOTAL * sum((PASSED_ON / OF) ** hop for hop in range(1, HOPS + 1))
"""The most units that can arrive anywhere, all steps together."""

PENDING_MAX = 500
"""Changed rows, above which walking anew costs less than following each."""

SPARSE_SHARE = 20
"""Below one in so many operators holding units, single rows are read instead of all."""

PATH_ENDORSERS = 4
GIVERS_MAX = 16
"""How widely paths are looked for: the strongest endorsers of a step, and ways kept per step."""


class Edges(Protocol):
    """The endorsements under a view."""

    names: list[str]
    out: Longs

    def row(self, source: int) -> Row:
        """Whom one operator endorses, and how highly."""

    def endorsers(self, target: int) -> Ints:
        """Who endorses one operator."""

    def spread(self, sources: Longs, units: Longs) -> tuple[Ints, Longs]:
        """What some operators give along their endorsements."""

    def spread_all(self, units: Longs) -> Longs:
        """What all operators give, summed per receiver."""


class Seen(NamedTuple):
    """One operator as a viewer sees it: reach, standing, and how many guarantors endorse it."""

    reach: float
    guarantor: bool
    backed: bool
    votes: int


class View:
    """One viewer's reach and backing over a graph that may change."""

    __slots__ = (
        "_barred",
        "_built",
        "_by_guarantors",
        "_by_seeds",
        "_edges",
        "_guarantor",
        "_mass",
        "_needed",
        "_pending",
        "_reach",
        "_seeds",
    )

    def __init__(
        self, edges: Edges, seeds: Sequence[int], barred: Sequence[int], needed: int
    ) -> None:
        self._edges = edges
        self._seeds = np.array(seeds, np.int64)
        self._barred = np.array(barred, np.int64)
        self._needed = needed
        self._built = False
        self._pending: dict[int, tuple[Row, int]] = {}
        self._mass = np.zeros((HOPS + 1, 0), np.int32)  # units held, by step and operator
        self._reach = np.zeros(0, np.int32)
        self._by_seeds = np.zeros(0, np.int32)  # seeds that endorse an operator
        self._by_guarantors = np.zeros(0, np.int32)
        self._guarantor = np.zeros(0, np.bool_)

    # --- answers -------------------------------------------------------------------------------

    def reach(self) -> NDArray[np.float64]:
        """Every operator's share of what walks from the seeds, 0 to 1."""
        return self._reach / SHARE

    def backed(self) -> NDArray[np.bool_]:
        """Who is a seed, a guarantor, or endorsed by enough of them."""
        found = self._guarantor | (self._by_guarantors >= self._needed)
        found[self._barred] = False
        return found

    def backed_count(self) -> int:
        """How many are backed."""
        return int(self.backed().sum())

    def guarantors(self) -> NDArray[np.bool_]:
        """Who is a seed, or endorsed by enough seeds."""
        return self._guarantor.copy()

    def rank(self) -> NDArray[np.float64]:
        """Reach of the backed; 0 for others."""
        return np.where(self.backed(), self.reach(), 0.0)

    def of(self, subject: int) -> Seen:
        """What is seen of one operator."""
        if subject >= len(self._reach):
            return Seen(0.0, False, False, 0)
        votes = int(self._by_guarantors[subject])
        guarantor = bool(self._guarantor[subject])
        backed = (guarantor or votes >= self._needed) and subject not in self._barred
        return Seen(float(self._reach[subject]) / SHARE, guarantor, backed, votes)

    def paths(self, subject: int, limit: int = 3) -> list[tuple[tuple[int, ...], float]]:
        """The strongest ways from a seed to the subject, at most three steps, and their weight."""
        seeds = set(self._seeds.tolist())
        found: list[tuple[tuple[int, ...], float]] = []
        todo: list[tuple[tuple[int, ...], float]] = [((subject,), 1.0)]
        for _ in range(3):
            longer: list[tuple[tuple[int, ...], float]] = []
            for path, weight in todo:
                for source, share in self._givers(path[0]):
                    if source in path:
                        continue
                    step = ((source, *path), weight * share)
                    (found if source in seeds else longer).append(step)
            longer.sort(key=self._stronger)
            todo = longer[:PATH_ENDORSERS]
        seeds_share = 1 / max(1, len(seeds))
        found.sort(key=self._stronger)
        return [(path, weight * seeds_share) for path, weight in found[:limit]]

    def _stronger(self, found: tuple[tuple[int, ...], float]) -> tuple[float, list[str]]:
        # Names break ties: numbers depend on who was heard of first.
        return -found[1], [self._edges.names[each] for each in found[0]]

    def _givers(self, target: int) -> list[tuple[int, float]]:
        sources = self._edges.endorsers(target)
        held = self._mass[0, sources] + self._reach[sources]
        sources, held = sources[held > 0], held[held > 0]
        if len(sources) > GIVERS_MAX:
            least = np.partition(held, -GIVERS_MAX)[-GIVERS_MAX]
            sources, held = sources[held >= least], held[held >= least]
        names = self._edges.names
        ordered = sorted(
            zip((-held).tolist(), sources.tolist(), strict=True),
            key=lambda each: (each[0], names[each[1]]),
        )
        given = []
        for _, source in ordered[:GIVERS_MAX]:
            of, grades = self._edges.row(source)
            grade = int(grades[of == target][0])
            given.append((source, PASSED_ON / OF * grade / int(self._edges.out[source])))
        return given

    # --- following the graph -------------------------------------------------------------------

    def expect(self, source: int, row: Row, out: int) -> None:
        """A row is about to change: remember how it was when this view last looked."""
        if self._built:
            self._pending.setdefault(source, (row, out))
            if len(self._pending) > PENDING_MAX:
                self._built = False
                self._pending.clear()

    def catch_up(self) -> None:
        """Make the view say what the graph says now."""
        if not self._built:
            self._walk()
            self._count()
            self._built = True
            return
        self._grow(len(self._edges.out))
        if self._pending:
            old = self._pending
            self._pending = {}
            self._follow(old)
            self._recount(old)

    def _walk(self) -> None:
        out = self._edges.out
        size = len(out)
        self._mass = np.zeros((HOPS + 1, size), np.int32)
        if len(self._seeds):
            self._mass[0, self._seeds] = TOTAL // len(self._seeds)
        for hop in range(HOPS):
            held = self._mass[hop]
            active = np.flatnonzero(held)
            if len(active) * SPARSE_SHARE < size:
                to, much = self._edges.spread(active, _units(held[active], out[active]))
                got = np.bincount(to, much, minlength=size)
            else:
                got = self._edges.spread_all(_units(held, out))
            got[self._barred] = 0
            self._mass[hop + 1] = got
        self._reach = self._mass[1:].sum(axis=0, dtype=np.int32)

    def _follow(self, old: dict[int, tuple[Row, int]]) -> None:
        out = self._edges.out
        rows = np.array(sorted(old), np.int64)
        old_out = np.array([old[source][1] for source in rows.tolist()], np.int64)
        changed = before = np.zeros(0, np.int64)  # whose units changed at this step, and from what
        for hop in range(HOPS):
            held = self._mass[hop]
            plain = ~np.isin(changed, rows)
            moved, was = changed[plain], before[plain]
            rise = _units(held[moved], out[moved]) - _units(was, out[moved])
            to, much = self._edges.spread(moved[rise != 0], rise[rise != 0])
            rows_was = held[rows].astype(np.int64)
            if len(changed):
                at = np.minimum(np.searchsorted(changed, rows), len(changed) - 1)
                hit = changed[at] == rows
                rows_was[hit] = before[at[hit]]
            took = _units(rows_was, old_out).tolist()
            give, add = self._edges.spread(rows, _units(held[rows], out[rows]))
            tos, amounts = [to, give], [much, add]
            for source, unit in zip(rows.tolist(), took, strict=True):
                if unit:
                    of, grades = old[source][0]
                    tos.append(of)
                    amounts.append(grades.astype(np.int64) * -unit)
            changed, rise = _summed(np.concatenate(tos), np.concatenate(amounts), len(out))
            if len(self._barred):
                kept = ~np.isin(changed, self._barred)
                changed, rise = changed[kept], rise[kept]
            before = self._mass[hop + 1, changed].astype(np.int64)
            self._mass[hop + 1, changed] = before + rise
            self._reach[changed] += rise.astype(np.int32)

    def _count(self) -> None:
        size = len(self._edges.out)
        self._by_seeds = self._votes(self._seeds, size)
        self._guarantor = self._guarantors()
        self._by_guarantors = self._votes(np.flatnonzero(self._guarantor), size)

    def _recount(self, old: dict[int, tuple[Row, int]]) -> None:
        seeds = set(self._seeds.tolist())
        for source, (row, _) in old.items():
            if source in seeds:
                self._by_seeds[row[0]] -= 1
                self._by_seeds[self._edges.row(source)[0]] += 1
        were = self._guarantor
        self._guarantor = self._guarantors()
        flipped = np.flatnonzero(were != self._guarantor).tolist()
        for source in sorted({*flipped, *old}):
            row_now = self._edges.row(source)[0]
            row_was = old[source][0][0] if source in old else row_now
            if were[source]:
                self._by_guarantors[row_was] -= 1
            if self._guarantor[source]:
                self._by_guarantors[row_now] += 1

    def _guarantors(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._by_seeds >= self._needed
        found[self._seeds] = True
        found[self._barred] = False
        return found

    def _votes(self, voters: Longs, size: int) -> Ints:
        to, _ = self._edges.spread(voters, np.ones(len(voters), np.int64))
        return np.bincount(to, minlength=size).astype(np.int32)

    def _grow(self, size: int) -> None:
        more = size - self._mass.shape[1]
        if more > 0:
            self._mass = np.pad(self._mass, ((0, 0), (0, more)))
            self._reach = np.pad(self._reach, (0, more))
            self._by_seeds = np.pad(self._by_seeds, (0, more))
            self._by_guarantors = np.pad(self._by_guarantors, (0, more))
            self._guarantor = np.pad(self._guarantor, (0, more))


def _units(held: NDArray[np.signedinteger], out: Longs) -> Longs:
    """What a grade is worth to whom somebody endorses, in whole units."""
    found: Longs = held.astype(np.int64) * PASSED_ON // np.maximum(OF * out, 1)
    return found


def _summed(to: Ints, much: Longs, size: int) -> tuple[Longs, Longs]:
    """Sums per receiver, receivers ascending, without those that come out at nothing."""
    if len(to) * SPARSE_SHARE > size:
        whole = np.bincount(to, much, minlength=size)
        found = np.flatnonzero(whole)
        return found, whole[found].astype(np.int64)
    receivers, place = np.unique(to, return_inverse=True)
    sums = np.bincount(place, much, minlength=len(receivers)).astype(np.int64)
    return receivers[sums != 0].astype(np.int64), sums[sums != 0]
