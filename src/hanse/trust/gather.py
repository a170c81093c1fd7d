"""Everything that bears on one answer, read from the graph, the endorsements and the outcomes."""

from collections.abc import Collection, Iterable

from hanse.trust.acceptance import accept
from hanse.trust.graph import Graph
from hanse.trust.levels import Evidence
from hanse.trust.model import Endorsement, Operator, Outcome
from hanse.trust.outcomes import Tier, Voice, voice
from hanse.trust.view import View


def gather(
    graph: Graph,
    view: View,
    counted: Iterable[Endorsement],
    outcomes: Iterable[Outcome],
    *,
    viewer: Operator,
    circle: Collection[Operator],
    subject: Operator,
    now_s: int,
    domain: str = "",
) -> Evidence:
    """The evidence about one subject. `counted` and `outcomes` need hold no more than what is
    about the subject; the view must be of the graph that covers the domain.
    """
    about = tuple(each for each in outcomes if each.subject == subject)
    backed_count = view.backed_count()
    number = graph.index(subject)
    seen = view.of(number) if number is not None else None
    paths = view.paths(number) if number is not None else []
    return Evidence(
        viewer=viewer,
        subject=subject,
        now_s=now_s,
        acceptance=accept(counted, circle, subject, domain),
        domain=domain,
        circle=frozenset(circle),
        reach=seen.reach if seen else 0.0,
        backed=bool(seen and seen.backed),
        guarantors=seen.votes if seen else 0,
        paths=tuple((tuple(graph.names[each] for each in path), weight) for path, weight in paths),
        outcomes=about,
        voices={
            rater: _voice(graph, view, rater, backed_count)
            for rater in sorted({each.rater for each in about})
        },
    )


def _voice(graph: Graph, view: View, rater: Operator, backed_count: int) -> Voice:
    number = graph.index(rater)
    if number is None:
        return Voice(0.0, Tier.STRANGER)
    seen = view.of(number)
    tier = Tier.BELIEVED if seen.guarantor else Tier.BACKED if seen.backed else Tier.STRANGER
    return voice(seen.reach, tier, backed_count)
