"""The endorsements of everybody in memory: circles, what counts, and the graph, kept up to date.

Keys that moved are read as the identity they belong to now.
"""

import heapq
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import current, within_quota
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement, Operator, covers
from hanse.trust.rotation import Statement, identity
from hanse.trust.store import TrustStore
from hanse.trust.view import View

CHANGES_MAX: Final = 5_000
"""Changed operators, above which everything is read again."""


class Seen:
    """One viewer's view of the graph, by names."""

    def __init__(self, graph: Graph, view: View) -> None:
        self._graph = graph
        self._view = view

    def of(self, name: Operator) -> tuple[float, bool, int]:
        """Reach, whether it is backed, and by how many guarantors."""
        number = self._graph.index(name)
        return (0.0, False, 0) if number is None else self._view.of(number)

    def paths(self, name: Operator) -> list[tuple[tuple[Operator, ...], float]]:
        """The strongest ways there, from a seed."""
        number = self._graph.index(name)
        if number is None:
            return []
        names = self._graph.names
        return [
            (tuple(names[step] for step in path), weight)
            for path, weight in self._view.paths(number)
        ]

    @property
    def backed_count(self) -> int:
        """How many operators are backed."""
        return int(self._view.backed().sum())


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
        self._edges: dict[Operator, dict[Operator, int]] = {}
        self._ends: list[tuple[int, Operator]] = []
        self._graph = Graph()

    async def refresh(self, now_s: int) -> None:
        """Follow what the store says changed, and what time alone changes."""
        if self._seq is None:
            return await self._load(now_s)
        changed: set[PublicKey] = set()
        while True:
            authors, seq = await self._store.changes(self._seq)
            self._seq = seq
            changed.update(authors)
            if not authors:
                break
            if len(changed) > CHANGES_MAX:
                return await self._load(now_s)
        for author in changed:
            statements = await self._store.statements_about(author)
            if statements or author in self._statements:
                self._statements[author] = statements
            self._given[author] = await self._store.endorsements_by(author, now_s)
        moves = bool(changed & self._statements.keys())
        if moves or (self._due_s is not None and now_s >= self._due_s):
            before = self._next, self._cut
            self._follow_keys(now_s)
            if (self._next, self._cut) != before:
                self._build(now_s)
                return None
        owners = {self.current(author) for author in changed}
        while self._ends and self._ends[0][0] <= now_s:
            owners.add(PublicKey(heapq.heappop(self._ends)[1]))
        for owner in sorted(owners):
            self._recount(owner, now_s)
        return None

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

    def seen(self, seeds: Collection[PublicKey], barred: Collection[PublicKey]) -> Seen:
        """What a viewer with these seeds sees."""
        return Seen(self._graph, self._graph.view(seeds, barred))

    # --- following ----------------------------------------------------------------------------

    async def _load(self, now_s: int) -> None:
        seq = 0  # changes read from here on are newer than what is loaded now, or the same again
        while True:
            authors, after = await self._store.changes(seq)
            if not authors:
                break
            seq = after
        self._seq = seq
        self._given = {}
        for found in await self._store.endorsements(now_s):
            self._given.setdefault(found.by, []).append(found)
        self._statements = {}
        for said in await self._store.statements():
            self._statements.setdefault(said.about, []).append(said)
        self._follow_keys(now_s)
        self._build(now_s)

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
                if of != owner and self.spoke(key, given.at_s):
                    found.append(msgspec.structs.replace(given, by=owner, of=of))
        return found

    def _count(self, owner: PublicKey, now_s: int) -> dict[Operator, int]:
        resolved = self._resolved(owner)
        live = within_quota(current(resolved, now_s), self._quota)
        self._counted[owner] = live
        ends = [found.expires_s for found in live]
        ends += [found.at_s for found in resolved if found.at_s > now_s]
        if ends:
            heapq.heappush(self._ends, (min(ends), owner))
        grades: dict[Operator, int] = {}
        for found in live:
            grades[found.of] = max(found.grade, grades.get(found.of, 0))
        return grades

    def _recount(self, owner: PublicKey, now_s: int) -> None:
        before, after = self._edges.get(owner, {}), self._count(owner, now_s)
        for of in sorted(before.keys() | after.keys()):
            if before.get(of, 0) != after.get(of, 0):
                self._graph.fold(owner, of, after.get(of, 0))
        self._edges[owner] = after

    def _build(self, now_s: int) -> None:
        self._counted, self._ends = {}, []
        owners = {self.current(PublicKey(key)) for key in self._given}
        self._edges = {owner: self._count(owner, now_s) for owner in sorted(owners)}
        self._graph = Graph.build(_edges(self._edges))


def _edges(
    edges: dict[Operator, dict[Operator, int]],
) -> Iterable[tuple[Operator, Operator, int]]:
    for owner, grades in edges.items():
        for of, grade in grades.items():
            yield owner, of, grade
