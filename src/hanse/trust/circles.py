"""The endorsements of everybody in memory: circles, what counts, and the graph, kept up to date.

Keys that moved are read as the identity they belong to now. What was there when it was read from
the store is held as columns; who changed since is held apart, as values.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol, TypeVar

import msgspec
import numpy as np

from hanse.errors import Unavailable
from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import current, within_quota
from hanse.trust.columns import ByOwner, count, edges, owned
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement, Operator, covers
from hanse.trust.moves import Moves
from hanse.trust.rotation import Statement
from hanse.trust.store import TrustStore

T = TypeVar("T")

_READING: Final = "what operators say of each other is still being read"
_SOON: Final = "the node has just been started; try again soon"

CHANGES_MAX: Final = 5_000
"""Changed operators, above which everything is read again."""

APART_MAX: Final = 20_000
"""Operators held as values, above which everything is read again."""

MEMO_MAX: Final = 256
"""Viewers whose circles are remembered."""

GRAPHS_MAX: Final = 8
"""Graphs of domains kept; the one not asked for longest goes."""


class Aside(Protocol):
    """Runs long work where it holds up nobody."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What the work returns."""


async def at_once(work: Callable[[], T], /) -> T:
    """Runs it here."""
    return work()


class _Held:
    """What was read from the store at one moment, and counted."""

    def __init__(self, given: ByOwner, statements: list[Statement], now_s: int, quota: int) -> None:
        self.given = given
        self.moves = Moves(statements, now_s)
        self.counted, self.ends = count(given, self.moves.next, self.moves.cut, now_s, quota)
        heapq.heapify(self.ends)
        rows = self.counted.rows
        much = np.bincount(rows.domain, minlength=len(rows.domains)).tolist()
        self.domains = Counter(dict(zip(rows.domains, much, strict=True)))
        self.general = _graph(self.counted, ("",), {})


class Circles:
    """Whom each operator vouches for now. `refresh` before asking."""

    def __init__(self, store: TrustStore, quota: int, aside: Aside = at_once) -> None:
        self._store = store
        self._quota = quota
        self._aside = aside
        self._loading = False
        self._seq: int | None = None
        self._held: _Held | None = None
        self._given: dict[Operator, list[Endorsement]] = {}  # of who changed since
        self._counted: dict[Operator, list[Endorsement]] = {}
        self._endorsers: dict[Operator, set[PublicKey]] = {}  # of whom → who changed since
        self._graphs: OrderedDict[tuple[str, ...], Graph] = OrderedDict()
        # By viewer and domain: from when to when it holds, and the circle.
        self._memo: dict[PublicKey, dict[str, tuple[int, int, frozenset[PublicKey]]]] = {}
        self._building: list[set[Operator]] = []  # who is recounted while graphs are built
        self.version = 0
        """Rises whenever what is held changes."""
        self._news: set[PublicKey] | None = None  # who said something since it was last asked

    @property
    def ready(self) -> bool:
        """Whether there is anything to ask."""
        return self._held is not None

    @property
    def loading(self) -> bool:
        """Whether somebody reads everything."""
        return self._loading

    @property
    def _now(self) -> _Held:
        if self._held is None:
            raise Unavailable(_READING, hint=_SOON)
        return self._held

    async def refresh(self, now_s: int) -> None:
        """Follow what the store says changed, and what time alone changes. Raises Unavailable while
        another one reads everything for the first time.

        Of two at once each remembers how far it read only when all of that is applied: what the
        slower one brings back is read again by the next.
        """
        if self._seq is None:
            if self._loading:
                raise Unavailable(_READING, hint=_SOON)
            return await self._load(now_s)
        held, reached = self._held, self._seq
        changed: set[PublicKey] = set()
        while len(changed) <= CHANGES_MAX:
            authors, reached = await self._store.changes(reached)
            changed.update(authors)
            if not authors:
                break
        if len(changed) > CHANGES_MAX or len(self._given) > APART_MAX:
            # Who asks meanwhile is answered by what was.
            return None if self._loading else await self._load(now_s)
        about = {author: await self._store.statements_about(author) for author in sorted(changed)}
        given = {
            author: await self._store.endorsements_by(author, now_s) for author in sorted(changed)
        }
        if self._held is held:  # or all was read again meanwhile, and the next reads this again
            self._apply(given, about, now_s)
            self._seq = reached
        return None

    def _apply(
        self,
        given: dict[PublicKey, list[Endorsement]],
        about: dict[PublicKey, list[Statement]],
        now_s: int,
    ) -> None:
        held = self._now
        if self._news is not None:
            self._news.update(given)
        owners = set()
        for author, said in given.items():
            self._given[author] = said
            for one in said:
                self._endorsers.setdefault(one.of, set()).add(author)
            owners.add(self.current(author))
        different = held.moves.tell(about, now_s)
        for key, identities in different.items():
            owners |= identities
            speakers = held.given.about(key) | self._endorsers.get(key, set())
            owners.update(self.current(PublicKey(one)) for one in speakers)
        while held.ends and held.ends[0][0] <= now_s:
            owners.add(self.current(PublicKey(heapq.heappop(held.ends)[1])))
        if different:
            self.version += 1
            self._memo.clear()  # whoever moved may be of anybody's circle
            self._news = None
        for owner in sorted(owners):
            self._memo.pop(owner, None)
            self._recount(owner, now_s)

    # --- asking -------------------------------------------------------------------------------

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""
        return self._now.moves.current(key)

    def past(self, key: PublicKey) -> tuple[PublicKey, ...]:
        """An identity's key and those it had before."""
        return self._now.moves.past(key)

    def spoke(self, key: PublicKey, at_s: int) -> bool:
        """Whether a key still spoke for its owner at a time."""
        return at_s < self._now.moves.cut.get(key, at_s + 1)

    def circle(self, viewer: PublicKey, domain: str, now_s: int) -> frozenset[PublicKey]:
        """Whom a viewer trusts in a domain: those it vouches for there, as many as it likes."""
        known = self._memo.get(viewer, {}).get(domain)
        if known is not None and known[0] <= now_s < known[1]:
            return known[2]
        resolved = self._resolved(viewer)
        own = [one for one in current(resolved, now_s) if covers(one.domain, domain)]
        found = frozenset(PublicKey(one.of) for one in own)
        ends = [one.expires_s for one in own] + [one.at_s for one in resolved if one.at_s > now_s]
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        told = self._memo.setdefault(viewer, {})
        if len(told) >= GRAPHS_MAX:
            told.clear()
        told[domain] = (now_s, min(ends, default=now_s + 1), found)
        return found

    def counted(self, circle: Collection[PublicKey], subject: PublicKey) -> list[Endorsement]:
        """What members of a circle say of a subject, within their quotas."""
        apart = sorted(one for one in circle if one in self._counted)
        told = self._now.counted.said_of(sorted(set(circle).difference(apart)), subject)
        told += (found for one in apart for found in self._counted[one] if found.of == subject)
        return told

    def vouched(self, key: PublicKey) -> list[Endorsement]:
        """For whom somebody vouches, within the quota."""
        apart = self._counted.get(key)
        return self._now.counted.said(key) if apart is None else list(apart)

    def stood_for(self, key: PublicKey) -> list[Endorsement]:
        """For whom somebody vouches, within the quota, and what it took back (grade 0)."""
        newest: dict[tuple[Operator, str], Endorsement] = {}
        for found in self._resolved(key):
            other = newest.get((found.of, found.domain))
            if other is None or (other.at_s, -other.grade) < (found.at_s, -found.grade):
                newest[found.of, found.domain] = found
        return [*self.vouched(key), *(found for found in newest.values() if not found.grade)]

    def news(self) -> set[PublicKey] | None:
        """Whose word changed since this was last asked; None: anybody's."""
        found, self._news = self._news, set()
        return found

    @property
    def general(self) -> Graph:
        """The endorsements for everything."""
        return self._now.general

    async def graph(self, domain: str) -> Graph:
        """The endorsements that cover a domain. Domains that nobody names share one."""
        key = self._covering(domain)
        while True:
            held = self._now
            found = held.general if key == ("",) else self._graphs.get(key)
            if found is not None:
                break
            recounted: set[Operator] = set()
            self._building.append(recounted)
            try:
                found = await self._aside(_building(held.counted, key, dict(self._counted)))
            finally:
                self._building.remove(recounted)
            if self._held is held and key not in self._graphs:
                for owner in sorted(recounted):
                    self._fold(found, key, owner)
                self._graphs[key] = found
                if len(self._graphs) > GRAPHS_MAX:
                    self._graphs.popitem(last=False)
        if key in self._graphs:
            self._graphs.move_to_end(key)
        return found

    # --- following ----------------------------------------------------------------------------

    async def _load(self, now_s: int) -> None:
        self._loading = True
        try:
            seq = await self._store.reached()  # changed later, read now: it is read again
            given = await self._store.endorsements(now_s)
            statements = await self._store.statements()
            held = await self._aside(lambda: _Held(owned(given), statements, now_s, self._quota))
        finally:
            self._loading = False
        self._given, self._counted, self._endorsers = {}, {}, {}
        self._memo.clear()
        self._graphs.clear()
        self._held, self._seq = held, seq
        self.version += 1
        self._news = None

    def _covering(self, domain: str) -> tuple[str, ...]:
        words = domain.split(".") if domain else []
        wider = (".".join(words[: place + 1]) for place in range(len(words)))
        return ("", *(name for name in wider if self._now.domains[name]))

    def _resolved(self, owner: PublicKey) -> list[Endorsement]:
        """What an identity said with any of its keys, about identities as they are now."""
        found = []
        for key in self.past(owner):
            apart = self._given.get(key)
            for given in self._now.given.said(key) if apart is None else apart:
                of = self.current(PublicKey(given.of))
                if of == owner or not self.spoke(key, given.at_s):
                    continue
                if (key, of) != (owner, given.of):
                    given = msgspec.structs.replace(given, by=owner, of=of)
                found.append(given)
        return found

    def _recount(self, owner: PublicKey, now_s: int) -> None:
        held, was = self._now, self.vouched(owner)
        resolved = self._resolved(owner)
        live = within_quota(current(resolved, now_s), self._quota)
        self.version += 1
        held.domains.subtract(found.domain for found in was)
        held.domains.update(found.domain for found in live)
        self._counted[owner] = live
        ends = [found.expires_s for found in live]
        ends += [found.at_s for found in resolved if found.at_s > now_s]
        if ends:
            heapq.heappush(held.ends, (min(ends), owner))
        self._fold(held.general, ("",), owner)
        for key, graph in self._graphs.items():
            self._fold(graph, key, owner)
        for recounted in self._building:
            recounted.add(owner)

    def _fold(self, graph: Graph, domains: Collection[str], owner: Operator) -> None:
        """Make a graph say of one operator what is counted now."""
        was = graph.given(owner)
        now = _grades(self._counted[owner], domains)
        for of in sorted(was.keys() | now.keys()):
            if was.get(of, 0) != now.get(of, 0):
                graph.fold(owner, of, now.get(of, 0))


def _building(
    counted: ByOwner, domains: Collection[str], apart: dict[Operator, list[Endorsement]]
) -> Callable[[], Graph]:
    return lambda: _graph(counted, domains, apart)


def _graph(
    counted: ByOwner, domains: Collection[str], apart: dict[Operator, list[Endorsement]]
) -> Graph:
    """What is counted in some domains; that of operators held `apart` is folded in."""
    rows = edges(counted, domains, apart)
    graph = Graph.from_arrays(rows.names, rows.by, rows.of, rows.grade)
    for owner in sorted(apart):
        for of, grade in _grades(apart[owner], domains).items():
            graph.fold(owner, of, grade)
    return graph


def _grades(counted: list[Endorsement], domains: Collection[str]) -> dict[Operator, int]:
    """Whom one operator endorses in these domains, by the highest grade."""
    grades: dict[Operator, int] = {}
    for found in counted:
        if found.domain in domains:
            grades[found.of] = max(found.grade, grades.get(found.of, 0))
    return grades
