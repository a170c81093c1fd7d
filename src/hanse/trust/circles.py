"""The endorsements of everybody in memory: circles, what counts, and the graph, kept up to date.

Keys that moved are read as the identity they belong to now.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import current, within_quota
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement, Operator, covers
from hanse.trust.rotation import Statement, identity
from hanse.trust.store import TrustStore

CHANGES_MAX: Final = 5_000
"""Changed operators, above which everything is read again."""

GRAPHS_MAX: Final = 8
"""Graphs of domains kept; the one not asked for longest goes."""


class Circles:
    """Whom each operator vouches for now. `refresh` before asking."""

    def __init__(self, store: TrustStore, quota: int) -> None:
        self._store = store
        self._quota = quota
        self._seq: int | None = None
        self._given: dict[Operator, list[Endorsement]] = {}  # by the key that signed
        self._statements: dict[PublicKey, list[Statement]] = {}
        self._next: dict[PublicKey, PublicKey] = {}
        self._cut: dict[PublicKey, int] = {}  # when a key stopped to speak
        self._due_s: int | None = None
        self._names: dict[PublicKey, list[PublicKey]] = {}  # identity → its earlier keys
        self._counted: dict[Operator, list[Endorsement]] = {}
        self._domains: Counter[str] = Counter()
        self._ends: list[tuple[int, Operator]] = []
        self._graphs: OrderedDict[tuple[str, ...], Graph] = OrderedDict()

    async def refresh(self, now_s: int) -> None:
        """Follow what the store says changed, and what time alone changes.

        Of two at once each remembers how far it read only when all of that is applied: what the
        slower one brings back is read again by the next.
        """
        if self._seq is None:
            return await self._load(now_s)
        changed: set[PublicKey] = set()
        reached = self._seq
        while True:
            authors, reached = await self._store.changes(reached)
            changed.update(authors)
            if not authors:
                break
            if len(changed) > CHANGES_MAX:
                return await self._load(now_s)
        for author in changed:
            statements = await self._store.statements_about(author)
            given = await self._store.endorsements_by(author, now_s)
            if statements or author in self._statements:
                self._statements[author] = statements
            self._given[author] = given
        self._apply(changed, now_s)
        self._seq = reached
        return None

    def _apply(self, changed: set[PublicKey], now_s: int) -> None:
        moves = bool(changed & self._statements.keys())
        if moves or (self._due_s is not None and now_s >= self._due_s):
            before = self._next, self._cut
            self._follow_keys(now_s)
            if (self._next, self._cut) != before:
                self._build(now_s)
                return
        owners = {self.current(author) for author in changed}
        while self._ends and self._ends[0][0] <= now_s:
            owners.add(PublicKey(heapq.heappop(self._ends)[1]))
        for owner in sorted(owners):
            self._recount(owner, now_s)

    # --- asking -------------------------------------------------------------------------------

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""
        return self._next.get(key, key)

    def past(self, key: PublicKey) -> tuple[PublicKey, ...]:
        """An identity's key and those it had before."""
        return (key, *self._names.get(key, ()))

    def spoke(self, key: PublicKey, at_s: int) -> bool:
        """Whether a key still spoke for its owner at a time."""
        return at_s < self._cut.get(key, at_s + 1)

    def circle(self, viewer: PublicKey, domain: str, now_s: int) -> set[PublicKey]:
        """Whom a viewer trusts in a domain: those it vouches for there, as many as it likes."""
        own = current(self._resolved(viewer), now_s)
        return {PublicKey(found.of) for found in own if covers(found.domain, domain)}

    def counted(self, circle: Collection[PublicKey], subject: PublicKey) -> list[Endorsement]:
        """What members of a circle say of a subject, within their quotas."""
        return [
            found
            for member in sorted(circle)
            for found in self._counted.get(member, ())
            if found.of == subject
        ]

    def vouched(self, key: PublicKey) -> list[Endorsement]:
        """For whom somebody vouches, within the quota."""
        return list(self._counted.get(key, ()))

    def graph(self, domain: str) -> Graph:
        """The endorsements that cover a domain. Domains that nobody names share one."""
        words = domain.split(".") if domain else []
        wider = ("", *(".".join(words[: place + 1]) for place in range(len(words))))
        key = tuple(name for name in wider if self._domains[name])
        found = self._graphs.get(key)
        if found is None:
            found = self._graphs[key] = Graph.build(self._edges(key))
            if len(self._graphs) > GRAPHS_MAX:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return found

    # --- following ----------------------------------------------------------------------------

    async def _load(self, now_s: int) -> None:
        seq = 0  # changes read from here on are newer than what is loaded now, or the same again
        while True:
            authors, after = await self._store.changes(seq)
            if not authors:
                break
            seq = after
        endorsements = await self._store.endorsements(now_s)
        statements = await self._store.statements()
        self._given, self._statements = {}, {}
        for found in endorsements:
            self._given.setdefault(found.by, []).append(found)
        for said in statements:
            self._statements.setdefault(said.about, []).append(said)
        self._follow_keys(now_s)
        self._build(now_s)
        self._seq = seq

    def _follow_keys(self, now_s: int) -> None:
        self._next, self._names, self._cut, due = {}, {}, {}, []
        for key in sorted(self._statements):
            found = identity(key, self._statements, now_s)
            if found.current != key:
                self._next[key] = found.current
                self._names.setdefault(found.current, []).append(key)
            stops = (found.chain[0].ended_s, found.chain[0].since_s)
            if any(stop is not None for stop in stops):
                self._cut[key] = min(stop for stop in stops if stop is not None)
            due += [one.pending.due_s for one in found.chain if one.pending is not None]
            due += [
                said.at_s for said in self._statements[key] if said.at_s > now_s
            ]  # written a little ahead of our clock
        self._due_s = min(due, default=None)

    def _resolved(self, owner: PublicKey) -> list[Endorsement]:
        """What an identity said with any of its keys, about identities as they are now."""
        found = []
        for key in self.past(owner):
            for given in self._given.get(key, ()):
                of = self.current(PublicKey(given.of))
                if of == owner or not self.spoke(key, given.at_s):
                    continue
                if (key, of) != (owner, given.of):
                    given = msgspec.structs.replace(given, by=owner, of=of)
                found.append(given)
        return found

    def _count(self, owner: PublicKey, now_s: int) -> None:
        resolved = self._resolved(owner)
        live = within_quota(current(resolved, now_s), self._quota)
        self._domains.subtract(found.domain for found in self._counted.get(owner, ()))
        self._domains.update(found.domain for found in live)
        self._counted[owner] = live
        ends = [found.expires_s for found in live]
        ends += [found.at_s for found in resolved if found.at_s > now_s]
        if ends:
            heapq.heappush(self._ends, (min(ends), owner))

    def _recount(self, owner: PublicKey, now_s: int) -> None:
        before = {key: self._grades(owner, key) for key in self._graphs}
        self._count(owner, now_s)
        for key, graph in self._graphs.items():
            was, now = before[key], self._grades(owner, key)
            for of in sorted(was.keys() | now.keys()):
                if was.get(of, 0) != now.get(of, 0):
                    graph.fold(owner, of, now.get(of, 0))

    def _grades(self, owner: PublicKey, domains: Collection[str]) -> dict[Operator, int]:
        """Whom one operator endorses in these domains, by the highest grade."""
        grades: dict[Operator, int] = {}
        for found in self._counted.get(owner, ()):
            if found.domain in domains:
                grades[found.of] = max(found.grade, grades.get(found.of, 0))
        return grades

    def _edges(self, domains: Collection[str]) -> Iterable[tuple[Operator, Operator, int]]:
        for owner in sorted(self._counted):
            for of, grade in self._grades(PublicKey(owner), domains).items():
                yield owner, of, grade

    def _build(self, now_s: int) -> None:
        self._counted, self._ends = {}, []
        self._domains.clear()
        self._graphs.clear()
        for owner in sorted({self.current(PublicKey(key)) for key in self._given}):
            self._count(owner, now_s)
