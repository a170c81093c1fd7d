"""Backing within quotas: whoever is outside the circle backs no more than its level may vouch for.

The graph counts every voucher by the circle's quota, since it is the same for all viewers. What a
viewer's guarantors outside the circle say is counted again here, for the few operators that matter
to one answer. A guarantor is one by the circle's word alone, and its level comes from what the
circle and other guarantors saw, so no quota depends on another but the circle's.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from hanse.trust.acceptance import VOUCHERS_NEEDED
from hanse.trust.endorsement import counted_by
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement, Level, Operator, covers
from hanse.trust.view import View

JUDGED_MAX: Final = 32
"""Guarantors whose levels are looked up for one answer, by name; others count as accepted."""


class Quotas:
    """For one answer: who counts for whom. `vouched` are an operator's live endorsements."""

    def __init__(
        self,
        vouched: Callable[[Operator], list[Endorsement]],
        quota_of: Callable[[Level], int],
        level_of: Callable[[Operator], Awaitable[Level]],
        domain: str,
        now_s: int,
    ) -> None:
        self._vouched = vouched
        self._quota_of = quota_of
        self._level_of = level_of
        self._domain = domain
        self._now_s = now_s
        self._judged = 0
        self._known: dict[Operator, frozenset[Operator]] = {}

    async def unbacked(
        self, graph: Graph, view: View, names: Iterable[Operator]
    ) -> frozenset[Operator]:
        """Of these, who seems backed only by vouches over their vouchers' quotas."""
        return frozenset(
            [name for name in sorted(names) if await self._overdrawn(graph, view, name)]
        )

    async def _overdrawn(self, graph: Graph, view: View, name: Operator) -> bool:
        number = graph.index(name)
        seen = view.of(number) if number is not None else None
        if number is None or seen is None or seen.guarantor or not seen.backed:
            return False
        sources = [each for each in graph.endorsers(number).tolist() if view.of(each).guarantor]
        votes = 0
        for source in sorted(graph.names[each] for each in sources):
            votes += name in await self._subjects(source)
            if votes >= VOUCHERS_NEEDED:
                return False
        return True

    async def _subjects(self, voucher: Operator) -> frozenset[Operator]:
        """For whom somebody's vouches count here."""
        found = self._known.get(voucher)
        if found is None:
            level = Level.ACCEPTED
            if self._judged < JUDGED_MAX:
                level = await self._level_of(voucher)
                self._judged += level is not Level.CIRCLE
            quota = self._quota_of(level)
            counted = counted_by(self._vouched(voucher), lambda _: quota, self._now_s)
            found = self._known[voucher] = frozenset(
                each.of for each in counted if covers(each.domain, self._domain)
            )
        return found
