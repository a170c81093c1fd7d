"""Backing within quotas: whoever is outside the circle backs no more than its level may vouch for.

The graph counts every voucher by the circle's quota, since it is the same for all viewers. What a
viewer's guarantors outside the circle say is counted again here, for the few operators that matter
to one answer.
"""

from collections.abc import Callable, Iterable

from hanse.trust.acceptance import VOUCHERS_NEEDED
from hanse.trust.endorsement import counted_by
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement, Operator, covers
from hanse.trust.view import View


class Quotas:
    """For one answer: who counts for whom. `vouched` are an operator's live endorsements."""

    def __init__(
        self,
        vouched: Callable[[Operator], list[Endorsement]],
        quota_of: Callable[[Operator], int],
        domain: str,
        now_s: int,
    ) -> None:
        self._vouched = vouched
        self._quota_of = quota_of
        self._domain = domain
        self._now_s = now_s
        self._known: dict[Operator, frozenset[Operator]] = {}

    def unbacked(self, graph: Graph, view: View, names: Iterable[Operator]) -> frozenset[Operator]:
        """Of these, who seems backed only by vouches over their vouchers' quotas."""
        return frozenset(name for name in names if self._overdrawn(graph, view, name))

    def _overdrawn(self, graph: Graph, view: View, name: Operator) -> bool:
        number = graph.index(name)
        seen = view.of(number) if number is not None else None
        if number is None or seen is None or seen.guarantor or not seen.backed:
            return False
        votes = sum(
            name in self._subjects(graph.names[source])
            for source in graph.endorsers(number).tolist()
            if view.of(source).guarantor
        )
        return votes < VOUCHERS_NEEDED

    def _subjects(self, voucher: Operator) -> frozenset[Operator]:
        """For whom somebody's vouches count here."""
        found = self._known.get(voucher)
        if found is None:
            counted = counted_by(self._vouched(voucher), self._quota_of, self._now_s)
            found = self._known[voucher] = frozenset(
                each.of for each in counted if covers(each.domain, self._domain)
            )
        return found
