"""One search of the index: which rows match, which of them every constraint allows, which to look
at closely.

A row matches if it shares a word with what is asked, is near it in meaning, or was what others paid
for after like words. Constraints are masks over all rows, made before anything is chosen, so that
the best allowed rows are found however few they are, and what was excluded is counted exactly.
"""

import math
from collections.abc import Callable, Mapping
from functools import reduce

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.protocol.keys import PublicKey
from hanse.protocol.words import query_words, stem
from hanse.registry import shape
from hanse.registry.entry import IMPACT_MAX, NEEDS_MAX, NO_PRICE, SET_KINDS, folded, key_of
from hanse.registry.index import Index, View, quantised, signs_of
from hanse.registry.postings import EMPTY, Mask, Rows
from hanse.registry.scan import Far, Scores, add_times, best, distances, foremost, merged
from hanse.registry.search import Constraints, Search

NEAR_BITS = 96
"""Of 256 signs so many may differ in what is near in meaning: a cosine of about 0.4."""
NEAREST_BITS = 116
SOME_BITS = 108
NEARER_BITS = 16
NEAREST = 10
"""Where few are that near, the ten nearest match too, and what is hardly farther than the nearest,
up to a cosine of about 0.15: unrelated texts differ in 120 to 136 signs. If not even one is within
SOME_BITS, a cosine of about 0.24, there is nothing that would fit."""
BY_WORDS = 300
BY_MEANING = 500
"""Rows looked at closely, at least, by each way of matching."""
CROWDS_MAX = 3
"""How often operators with more than a quarter of the rows are looked for among the best."""
IDF_SCALE = 64
DENSE_MIN = 4096
DENSE_SHARE = 6
"""A word that a sixth of the rows has is added up as a whole column."""
LOOKED_UP_MAX = 1000
"""Providers gone by the index of whom newer signs are looked for; it hears of all each minute."""
FACET_VALUES_MAX = 20
WITHHELD = "publish"
"""Under this name those are counted whose operator may not publish any more."""
NAMED = {"max_price": "price", "latency_p95_ms": "latency", "success_rate": "success"}
"""Constraints whose name in `excluded` is shorter."""
PRICE_BANDS = ((0, "free"), (1_000, "to 1 sat"), (10_000, "to 10 sat"), (100_000, "to 100 sat"))

Floats = NDArray[np.float64]
NOBODY: Mask = np.zeros(0, dtype=np.bool_)


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """What a search knows that is not in the index."""

    now_s: int
    vector: NDArray[np.float32] | None = None
    """Of the words; None without an embedder, or when it failed."""
    online: Mask = NOBODY
    """By a key's number in the index: whether it is connected. Of numbers beyond, nobody is."""
    gone_s: int = 2**40
    """An offer leaves once nobody stood behind it for so long."""
    withheld: NDArray[np.int64] = np.empty(0, np.int64)
    """Offers of who may not publish here any more, by key."""
    seen: Mapping[str, int] = {}
    """When providers were last connected, newer than the index may know."""
    level: Callable[[PublicKey], int] | None = None
    """The viewer's level for an operator."""
    lessons: Mapping[int, float] = {}
    """By capability's key: how telling what was paid for after like words is, -1 to 1."""


class Matches(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, not yet in order. Arrays run along `rows`."""

    view: View
    rows: Rows
    words: Floats
    vectors: Floats
    lessons: Floats
    total: int
    excluded: dict[str, int]
    facets: dict[str, dict[str, int]]


class Lookup:
    """See the module. One for each search."""

    def __init__(self, index: Index, search: Search, aside: Aside) -> None:
        self._index = index
        self._search = search
        self._aside = aside
        self._view = index.view()
        self._near = 0
        ids = index.terms.get
        words = query_words(search.words)
        self._asked = [(word, ids(f"w{stem(word)}")) for word in words]

    def run(self) -> Matches:
        """Raises Invalid for a range of versions that cannot be read."""
        view, search = self._view, self._search
        there = self._there()
        scores, most = self._scores()
        far = self._distances(there)
        self._near = self._limit(far)
        learned = self._learned()
        matching = self._matching(there, scores, far, learned)
        allowed, excluded = self._constrained(matching)
        total = int(np.count_nonzero(allowed))
        rows = self._chosen(allowed, scores, far, learned)
        return Matches(
            view=view,
            rows=rows,
            words=scores[rows] / most if scores is not None else np.zeros(len(rows)),
            vectors=self._cosines(rows),
            lessons=self._lessons_of(rows),
            total=total,
            excluded=excluded,
            facets=self._facets(allowed) if search.facets else {},
        )

    # --- what matches -------------------------------------------------------------------------

    def _there(self) -> Mask:
        """What is neither removed nor expired."""
        column, now_s = self._view.column, self._aside.now_s
        if self._view.table.least["expires"] > now_s:
            return column("live").copy()
        found: Mask = column("live") & (column("expires") > now_s)
        return found

    def _rows_of(self, term: str) -> Rows:
        id = self._index.terms.get(term)
        if id < 0:
            return EMPTY
        found = [run.slice(id)[0] for run in self._view.runs]
        return found[0] if len(found) == 1 else np.concatenate([EMPTY, *found])

    def _has(self, term: str) -> Mask:
        found = np.zeros(self._view.rows, dtype=np.bool_)
        found[self._rows_of(term)] = True
        return found

    def _marked(self, term: str) -> Mask:
        """The same of a value of a list, remembered: not to be changed."""
        id = self._index.terms.get(term)
        if id < 0:
            return np.zeros(self._view.rows, dtype=np.bool_)
        view = self._view
        # Values of lists say 1 where they are.
        return view.table.asked.of_term(id, view.rows, view.runs).view(np.bool_)

    def _scores(self) -> tuple[NDArray[np.int32] | None, float]:
        """BM25 of each row in whole numbers, and the most a row could have."""
        words = list(dict.fromkeys(stem(word) for word, _ in self._asked))
        if not words:
            return None, 1.0
        scores = np.zeros(self._view.rows, dtype=np.int32)
        live, most = self._view.live, 0
        for word in words:
            id = self._index.terms.get(f"w{word}")
            df = self._index.df(id) if id >= 0 else 0
            rarity = math.log(1 + max(0.5, live - df + 0.5) / (df + 0.5))
            idf = max(1, round(IDF_SCALE * rarity))  # a word that all have is matched all the same
            most += idf * IMPACT_MAX
            if df > max(DENSE_MIN, len(scores) // DENSE_SHARE):
                column = self._view.table.asked.of_term(id, len(scores), self._view.runs)
                add_times(scores, column, idf)
            elif df:
                for run in self._view.runs:
                    rows, impacts = run.slice(id)
                    np.add.at(scores, rows, np.multiply(impacts, idf, dtype=np.int32))
        return scores, float(max(1, most))

    def _distances(self, there: Mask) -> Far | None:
        """In how many signs each row's meaning differs; of what is not there, in all."""
        vector = self._aside.vector
        if vector is None or not self._index.size or not vector.any():
            return None
        column = self._view.column
        mine = signs_of(quantised(vector[None, :]))[0]
        found = distances([column(name) for name in self._view.table.signs], mine)
        if not there.all():
            found[~there] = np.iinfo(found.dtype).max
        return found

    def _learned(self) -> Rows:
        found = [self._index.row_of(key) for key, how in self._aside.lessons.items() if how > 0]
        return np.array([row for row in found if 0 <= row < self._view.rows], dtype=np.int32)

    def _matching(
        self,
        there: Mask,
        scores: NDArray[np.int32] | None,
        far: Far | None,
        learned: Rows,
    ) -> Mask:
        search = self._search
        found = there
        if scores is not None:
            near = scores > 0
            if far is not None:
                near |= far <= self._near
            near[learned] = True
            found = found & near
        if search.capability is not None:
            found = found & (self._view.column("name") == key_of(search.capability))
        if search.takes is not None:
            found = found & self._taking(search.takes)
        if search.returns is not None:
            found = found & self._returning(search.returns)
        return found

    def _limit(self, far: Far | None) -> int:
        """In how many signs a row may differ to match."""
        if far is None:
            return 0
        least, some, most, margin = (
            bits * self._index.size // 256
            for bits in (NEAR_BITS, SOME_BITS, NEAREST_BITS, NEARER_BITS)
        )
        nearest = int(far.min(initial=np.iinfo(far.dtype).max))
        if nearest > some:  # nothing here means anything like it
            return least
        found = min(most, max(least, nearest + margin))
        if np.count_nonzero(far <= found) < NEAREST:
            within = np.sort(far[far <= most])
            found = int(within[NEAREST - 1]) if len(within) >= NEAREST else most
        return found

    def _taking(self, takes: Mapping[str, object]) -> Mask:
        """Rows whose every required input is among what the caller can give, with its type."""
        met = np.zeros(self._view.rows, dtype=np.uint8)
        for path, kinds in shape.shape_of(takes).items():
            fits = self._has(f"i{path}:{shape.ANY}")
            if shape.ANY in kinds:  # not said: whatever it must be
                for kind in shape.TYPES:
                    fits |= self._has(f"i{path}:{kind}")
            else:  # whatever of these the caller gives must be welcome
                welcome = np.ones(self._view.rows, dtype=np.bool_)
                for kind in kinds:
                    welcome &= self._has(f"i{path}:{kind}")
                fits |= welcome
            met += fits
        needs = self._view.column("needs")
        found: Mask = (met == needs) & (needs < NEEDS_MAX)
        return found

    def _returning(self, returns: Mapping[str, object]) -> Mask:
        """Rows whose output has at least these fields."""
        found = np.ones(self._view.rows, dtype=np.bool_)
        for path, kinds in shape.shape_of(returns).items():
            wanted = shape.TYPES if shape.ANY in kinds else shape.provided(kinds)
            has = np.zeros(self._view.rows, dtype=np.bool_)
            for kind in (*wanted, shape.ANY) if shape.ANY in kinds else wanted:
                has |= self._has(f"o{path}:{kind}")
            found &= has
        return found

    # --- what constraints allow ---------------------------------------------------------------

    def _constrained(self, matching: Mask) -> tuple[Mask, dict[str, int]]:
        excluded: dict[str, int] = {}
        if len(self._aside.withheld):
            hidden = matching & np.isin(self._view.column("offer"), self._aside.withheld)
            if hidden.any():
                excluded[WITHHELD] = int(np.count_nonzero(hidden))
                matching = matching & ~hidden
        gone = self._gone(matching)
        if gone is not None and gone.any():
            excluded["gone"] = int(np.count_nonzero(gone))
            matching = matching & ~gone
        asked = self._search.constraints
        if asked == Constraints():
            return matching, excluded
        allowed = matching.copy()
        there = int(np.count_nonzero(matching))
        for name, passes in self._masks(asked, matching):
            lost = there - int(np.count_nonzero(matching & passes))
            if lost:
                excluded[NAMED.get(name, name)] = lost
                allowed &= passes
        return allowed, excluded

    def _gone(self, matching: Mask) -> Mask | None:
        """What nobody stood behind for too long."""
        since_s = self._aside.now_s - self._aside.gone_s
        if self._view.table.least["seen"] >= since_s:
            return None
        gone: Mask = matching & (self._view.column("seen") < since_s)
        if not gone.any():
            return None
        gone &= ~self.online()
        providers = self._view.column("provider")
        ids = np.unique(providers[gone])[:LOOKED_UP_MAX].tolist()
        names, seen = self._index.keys.texts, self._aside.seen
        back = [id for id in ids if seen.get(names[id], 0) >= since_s]
        if back:
            gone &= ~np.isin(providers, back)
        return gone

    def _masks(self, asked: Constraints, matching: Mask) -> list[tuple[str, Mask]]:
        column, rows = self._view.column, self._view.rows
        remembered = self._view.table.asked.of
        found: list[tuple[str, Mask]] = []
        if asked.max_price is not None:
            most, price = asked.max_price.msat, column("price")
            passes = remembered(("price", most), rows, lambda row: price[row:] <= most)
            found.append(("max_price", passes.view(np.bool_)))
        if asked.latency_p95_ms is not None:
            found.append(("latency_p95_ms", column("latency") <= asked.latency_p95_ms))
        # Shrunk figures rarely reach the promise exactly: a hair of rounding must not exclude it.
        for name, least in (
            ("success_rate", asked.success_rate),
            ("availability", asked.availability),
        ):
            if least is not None:
                kept = column("success" if name == "success_rate" else name)
                found.append((name, kept >= np.float32(least - 1e-6)))
        if asked.throughput_per_s is not None:
            rate = np.float32(asked.throughput_per_s * (1 - 1e-6))
            found.append(("throughput_per_s", column("throughput") >= rate))
        for name, kind in SET_KINDS.items():
            values = getattr(asked, name)
            if values and name != "side_effects":
                has = [self._marked(f"{kind}{folded(value)}") for value in values]
                found.append((name, reduce(np.logical_and, has)))
        if asked.side_effects:
            has = [self._marked(f"s{value}") for value in asked.side_effects]
            found.append(("side_effects", reduce(np.logical_or, has)))
        if asked.version is not None:
            versions, of_row = self._index.versions_in(asked.version), column("version")
            key = ("version", asked.version)
            passes = remembered(key, rows, lambda row: versions[of_row[row:]])
            found.append(("version", passes.view(np.bool_)))
        for name in ("provider", "operator"):
            key = getattr(asked, name)
            if key is not None:
                found.append((name, column(name) == self._index.keys.get(key)))
        if asked.imported is not None:
            found.append(("imported", column("imported") == asked.imported))
        if asked.online is not None:
            found.append(("online", self.online() == asked.online))
        if asked.level:
            found.append(("level", self._levels(matching) >= asked.level))
        return found

    def online(self, rows: Rows | None = None) -> Mask:
        """Whether each row's provider is connected; of these rows, or of all."""
        column, of_key = self._view.column, self._aside.online
        at = slice(None) if rows is None else rows
        keys = len(self._index.keys)
        if len(of_key) < keys:  # some came after the search began
            of_key = np.append(of_key, np.zeros(keys - len(of_key), dtype=np.bool_))
        # Who imported an offer does not serve it.
        found: Mask = of_key[column("provider")[at]] & ~column("imported")[at]
        return found

    def _levels(self, matching: Mask) -> NDArray[np.int8]:
        operators = self._view.column("operator")
        of_key = np.zeros(len(self._index.keys), dtype=np.int8)
        level = self._aside.level
        if level is not None:
            for id in np.unique(operators[matching]).tolist():
                of_key[id] = level(self._index.keys.texts[id])
        # An imported offer's operator is its importer, who does not answer for it.
        found: NDArray[np.int8] = of_key[operators] * ~self._view.column("imported")
        return found

    # --- what to look at closely --------------------------------------------------------------

    def _chosen(
        self,
        allowed: Mask,
        scores: NDArray[np.int32] | None,
        far: Far | None,
        learned: Rows,
    ) -> Rows:
        page = 2 * (self._search.offset + self._search.limit)
        if scores is None:
            return np.flatnonzero(allowed).astype(np.int32)
        parts = [self._best(allowed, scores, 1, max(BY_WORDS, page))]
        if far is not None:
            least = np.iinfo(far.dtype).max - self._near
            parts.append(self._best(allowed, ~far, least, max(BY_MEANING, page)))
        if len(learned):
            parts.append(learned[allowed[learned]])
        return merged(parts)

    def _best(self, among: Mask, score: Scores, least: int, most: int) -> Rows:
        """The rows of most score, of those that have the least; ties by key. No operator has more
        than a quarter of them while others have any: nobody crowds the rest out with many offers
        of the same words."""
        found = best(foremost(among, score, least, most), score, self._view.column("key"), most)
        share = max(1, most // 4)
        owners = np.sort(self._view.column("operator")[found])
        if len(owners) <= share or not (owners[share:] == owners[:-share]).any():
            return found
        rows = np.flatnonzero((score >= least) & among).astype(np.int32)
        return self._shared_out(rows, score, most, share)

    def _shared_out(self, rows: Rows, score: Scores, most: int, share: int) -> Rows:
        """The best, where somebody would have more than a share."""
        if len(rows) <= most:
            return rows
        operators = self._view.column("operator")
        order = first = self._ordered(rows, score, most)
        crowding: list[int] = []
        for _ in range(CROWDS_MAX):
            heads, counts = np.unique(operators[order], return_counts=True)
            more = [one for one in heads[counts > share].tolist() if one not in crowding]
            if not more:
                break
            crowding += more
            others = rows
            for one in crowding:  # a few: faster than isin
                others = others[operators[others] != one]
            shares = [first[operators[first] == one][:share] for one in crowding]
            room = max(0, most - sum(len(part) for part in shares))
            if len(others) > room:
                others = self._ordered(others, score, room) if room else others[:0]
            order = np.concatenate([*shares, others])
        if len(order) >= most:
            return order
        rest = first[~np.isin(first, order)]
        return np.concatenate([order, rest[: most - len(order)]])

    def _ordered(self, rows: Rows, score: Scores, most: int) -> Rows:
        """The best `most` rows in order."""
        keys = self._view.column("key")
        rows = best(rows, score, keys, most)
        order = np.lexsort((keys[rows], -score[rows].astype(np.int64)))
        return rows[order]

    def _cosines(self, rows: Rows) -> Floats:
        vector = self._aside.vector
        if vector is None or not self._index.size or not vector.any():
            return np.zeros(len(rows))
        mine = quantised(vector[None, :])[0].astype(np.float32)
        # Whole numbers below 2^24 as floats: exact, in whatever order they are added.
        dots = self._view.column("vector").take(rows, axis=0).astype(np.float32) @ mine
        norms = self._view.column("norm")[rows].astype(np.float64) * float(np.linalg.norm(mine))
        found: Floats = np.maximum(0.0, dots / np.maximum(norms, 1e-9))
        return found

    def shared(self, row: int) -> tuple[str, ...]:
        """The words asked for that a row has."""
        has = set(self._view.table.forward.of(row).tolist())
        return tuple(word for word, id in self._asked if id in has)

    def _lessons_of(self, rows: Rows) -> Floats:
        found = np.zeros(len(rows))
        lessons = self._aside.lessons
        if lessons:
            keys = self._view.column("key")[rows].tolist()
            found[:] = [lessons.get(key, 0.0) for key in keys]
        return found

    # --- facets -------------------------------------------------------------------------------

    def _facets(self, allowed: Mask) -> dict[str, dict[str, int]]:
        rows = np.flatnonzero(allowed).astype(np.int32)
        wanted = self._index.lists
        found = np.zeros(len(wanted), dtype=np.int64)
        for run in self._view.runs:
            terms, counts = run.counts(allowed, wanted)
            found[terms] += counts
        by_kind: dict[str, dict[str, int]] = {name: {} for name in SET_KINDS}
        names = {kind: name for name, kind in SET_KINDS.items()}
        for term in np.flatnonzero(found).tolist():
            text = self._index.terms.texts[term]
            by_kind[names[text[0]]][text[1:]] = int(found[term])
        by_kind["imported"] = _counted({"yes": self._view.column("imported")[rows]}, "no")
        by_kind["online"] = _counted({"yes": self.online(rows)}, "no")
        by_kind["price"] = _bands(self._view.column("price")[rows])
        return {name: _most(values) for name, values in by_kind.items() if values}


def _counted(values: dict[str, Mask], rest: str) -> dict[str, int]:
    ((name, mask),) = values.items()
    yes = int(np.count_nonzero(mask))
    return {name: yes, rest: len(mask) - yes}


def _bands(prices: NDArray[np.int64]) -> dict[str, int]:
    found: dict[str, int] = {}
    before = -1
    for most, name in (*PRICE_BANDS, (NO_PRICE - 1, "more"), (NO_PRICE, "not by call")):
        count = int(np.count_nonzero((prices > before) & (prices <= most)))
        if count:
            found[name] = count
        before = most
    return found


def _most(values: dict[str, int]) -> dict[str, int]:
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:FACET_VALUES_MAX])
