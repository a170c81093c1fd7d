"""Endorsements by the million: as columns of numbers, and counted all at once.

What is counted here is what `acceptance.current` and `within_quota` say of each voucher by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import QUOTA_WINDOW_S
from hanse.trust.model import Endorsement, Operator

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Bytes = NDArray[np.uint8]

Row = tuple[Operator, Operator, str, int, int, int]
"""By, of, domain, grade, at_s, expires_s."""

NEVER_S: Final = 2**62


_NO_PAIRS: Final[Longs] = np.empty(0, np.int64)


class Columns(NamedTuple):
    """Endorsements; numbers stand for places in `names` and `domains`."""

    names: list[Operator]
    domains: list[str]
    by: Ints
    of: Ints
    domain: Ints
    grade: Bytes
    at_s: Longs
    expires_s: Longs

    def taken(self, rows: NDArray[Any]) -> Self:
        """Some of the rows, by place or mask."""
        return self._replace(
            by=self.by[rows],
            of=self.of[rows],
            domain=self.domain[rows],
            grade=self.grade[rows],
            at_s=self.at_s[rows],
            expires_s=self.expires_s[rows],
        )

    def read(self, rows: Iterable[int]) -> list[Endorsement]:
        """Rows as values."""
        return [
            Endorsement(
                by=self.names[self.by[row]],
                of=self.names[self.of[row]],
                domain=self.domains[self.domain[row]],
                grade=int(self.grade[row]),
                at_s=int(self.at_s[row]),
                expires_s=int(self.expires_s[row]),
            )
            for row in rows
        ]


class Gathering:
    """Columns in the making, from rows that come in parts, together by who said them. Of one author
    the first `by_one_max` are kept."""

    def __init__(self, by_one_max: int) -> None:
        self._by_one_max = by_one_max
        self._names: dict[Operator, int] = {}
        self._domains: dict[str, int] = {}
        self._parts: list[Columns] = []

    def add(self, rows: Sequence[Row]) -> None:
        """More rows."""
        if rows:
            by, of, domain, grade, at_s, expires_s = zip(*rows, strict=True)
            self._parts.append(
                Columns(
                    names=[],
                    domains=[],
                    by=_numbered(by, self._names),
                    of=_numbered(of, self._names),
                    domain=_numbered(domain, self._domains),
                    grade=np.array(grade, np.uint8),
                    at_s=np.array(at_s, np.int64),
                    expires_s=np.array(expires_s, np.int64),
                )
            )

    def done(self) -> Columns:
        """All of it."""
        parts, self._parts = self._parts, []
        nothing = np.empty(0, np.int32)
        whole = [np.concatenate(found) for found in list(zip(*parts, strict=True))[2:]]
        by, of, domain, grade, at_s, expires_s = whole or [nothing] * 6
        found = Columns(
            names=list(self._names),
            domains=list(self._domains),
            by=by,
            of=of,
            domain=domain,
            grade=grade.astype(np.uint8, copy=False),
            at_s=at_s.astype(np.int64, copy=False),
            expires_s=expires_s.astype(np.int64, copy=False),
        )
        starts = np.diff(by, prepend=-1) != 0
        place = np.arange(len(by))
        kept = place - place[starts][np.cumsum(starts) - 1] < self._by_one_max
        return found if kept.all() else found.taken(kept)


class ByOwner(NamedTuple):
    """Columns whose rows stand together by who said them."""

    rows: Columns
    places: dict[Operator, int]
    first: Longs
    behind: Longs
    pairs: Longs
    """Owner and subject of each row as one number, ascending; empty where rows stand otherwise."""

    @classmethod
    def of(cls, rows: Columns, places: dict[Operator, int], pairs: Longs = _NO_PAIRS) -> Self:
        """Of rows that stand together already."""
        size = len(rows.names)
        starts = np.flatnonzero(np.diff(rows.by, prepend=-1))
        first, behind = np.zeros(size, np.int64), np.zeros(size, np.int64)
        first[rows.by[starts]] = starts
        behind[rows.by[starts]] = np.append(starts[1:], len(rows.by))
        return cls(rows, places, first, behind, pairs)

    def span(self, owner: Operator) -> slice:
        """Where the rows of one stand."""
        place = self.places.get(owner)
        return slice(0, 0) if place is None else slice(self.first[place], self.behind[place])

    def said(self, owner: Operator) -> list[Endorsement]:
        """What one said."""
        span = self.span(owner)
        return self.rows.read(range(span.start, span.stop))

    def said_of(self, owners: Iterable[Operator], subject: Operator) -> list[Endorsement]:
        """What some said of one, in rows that stand by owner and subject (`count`)."""
        place = self.places.get(subject)
        if place is None:
            return []
        known = [self.places[owner] for owner in owners if owner in self.places]
        pair = np.array(known, np.int64) * len(self.places) + place
        first, behind = (
            np.searchsorted(self.pairs, pair),
            np.searchsorted(self.pairs, pair, "right"),
        )
        return self.rows.read(
            row
            for start, stop in zip(first.tolist(), behind.tolist(), strict=True)
            for row in range(start, stop)
        )

    def about(self, subject: Operator) -> set[Operator]:
        """Who said anything of one key."""
        place = self.places.get(subject)
        if place is None:
            return set()
        return {self.rows.names[by] for by in np.unique(self.rows.by[self.rows.of == place])}


def owned(rows: Columns) -> ByOwner:
    """Rows as they come from the store: together by author."""
    return ByOwner.of(rows, {name: place for place, name in enumerate(rows.names)})


def count(
    given: ByOwner,
    moved: Mapping[PublicKey, PublicKey],
    cut: Mapping[PublicKey, int],
    now_s: int,
    quota: int,
) -> tuple[ByOwner, list[tuple[int, Operator]]]:
    """What counts of everybody's word now, by owner, subject and grade; and when whose word changes
    by time alone. Keys are read as what they `moved` to, and unheard from their `cut` on."""
    places = dict(given.places)
    for name in sorted(set(moved.values()) - places.keys()):
        places[name] = len(places)
    rows = given.rows._replace(names=list(places))
    if moved or cut:
        rows = _as_now(rows, places, moved, cut)
    later = rows.at_s > now_s
    ends = [
        (int(at_s), rows.names[by])
        for at_s, by in zip(rows.at_s[later], rows.by[later], strict=True)
    ]
    rows = rows.taken(~later) if later.any() else rows
    if moved:  # before that no author says anything twice: the log keeps one of each
        rows = _newest(rows)
    rows = rows.taken((rows.grade > 0) & (rows.expires_s > now_s))
    rows = _within_quota(rows, quota)
    pair = rows.by.astype(np.int64) * len(places) + rows.of
    order = np.argsort(pair * 16 + rows.grade, kind="stable")
    found = ByOwner.of(rows.taken(order), places, pair[order])
    if len(found.rows.by):
        starts = np.flatnonzero(np.diff(found.rows.by, prepend=-1))
        least = np.minimum.reduceat(found.rows.expires_s, starts).tolist()
        speakers = found.rows.by[starts].tolist()
        ends += [(at_s, places_of) for at_s, places_of in _named(least, speakers, rows.names)]
    return found, ends


def edges(counted: ByOwner, domains: Iterable[str], without: Iterable[Operator]) -> Columns:
    """What is counted in some domains, but for some owners; of a pair the highest grade is last."""
    rows = counted.rows
    chosen = frozenset(domains)
    heard = np.array([name in chosen for name in rows.domains], np.bool_)
    kept = heard[rows.domain] if not heard.all() else np.ones(len(rows.by), np.bool_)
    for owner in without:
        kept[counted.span(owner)] = False
    return rows if kept.all() else rows.taken(kept)


def _numbered(texts: Sequence[str], index: dict[str, int]) -> Ints:
    number = index.setdefault
    return np.array([number(text, len(index)) for text in texts], np.int32)


def _named(
    ends: list[int], speakers: list[int], names: list[Operator]
) -> Iterable[tuple[int, Operator]]:
    return ((at_s, names[by]) for at_s, by in zip(ends, speakers, strict=True))


def _as_now(
    rows: Columns,
    places: Mapping[Operator, int],
    moved: Mapping[PublicKey, PublicKey],
    cut: Mapping[PublicKey, int],
) -> Columns:
    """Keys as what they are now, without what a key said after it ended, or of itself."""
    to = np.arange(len(places), dtype=np.int32)
    for key, now in moved.items():
        if key in places:
            to[places[key]] = places[now]
    until = np.full(len(places), NEVER_S, np.int64)
    for key, at_s in cut.items():
        if key in places:
            until[places[key]] = at_s
    heard = rows.at_s < until[rows.by]
    rows = rows._replace(by=to[rows.by], of=to[rows.of])
    return rows.taken(heard & (rows.by != rows.of))


def _newest(rows: Columns) -> Columns:
    """See `acceptance.current`."""
    order = np.lexsort(
        (-rows.expires_s, -rows.grade.astype(np.int64), rows.at_s, rows.domain, rows.of, rows.by)
    )
    rows = rows.taken(order)
    last = np.ones(len(order), np.bool_)
    last[:-1] = (
        (rows.by[1:] != rows.by[:-1])
        | (rows.of[1:] != rows.of[:-1])
        | (rows.domain[1:] != rows.domain[:-1])
    )
    return rows.taken(last)


def _within_quota(rows: Columns, quota: int) -> Columns:
    """See `acceptance.within_quota`. Who says no more than the quota in all is not looked at."""
    many = np.bincount(rows.by, minlength=1)[rows.by] > quota
    if not many.any():
        return rows
    busy = np.flatnonzero(many)
    few = rows.taken(busy)
    names, domains = _ranks(rows.names), _ranks(rows.domains)
    order = np.lexsort((domains[few.domain], names[few.of], few.at_s, few.by))
    by, of, window = few.by[order], few.of[order], few.at_s[order] // QUOTA_WINDOW_S
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (by[1:] != by[:-1]) | (window[1:] != window[:-1])
    group = np.cumsum(begins) - 1
    subject = group * len(rows.names) + of
    _, at, each = np.unique(subject, return_index=True, return_inverse=True)
    new = np.zeros(len(order), np.int64)
    new[at] = 1
    so_far = np.cumsum(new)
    before = (so_far - new)[begins][group]  # subjects of earlier windows
    number = (so_far - before)[at][each]  # which subject of its window each is
    kept = ~many
    kept[busy[order[number <= quota]]] = True
    return rows.taken(kept)


def _ranks(texts: Sequence[str]) -> Longs:
    found = np.empty(len(texts), np.int64)
    found[np.argsort(np.array(texts, np.str_), kind="stable")] = np.arange(len(texts))
    return found
