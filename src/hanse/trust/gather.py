"""Everything that bears on one answer, read from the graph, the endorsements and the outcomes."""

from collections.abc import Collection, Iterable, Mapping

from hanse.trust.acceptance import accept
from hanse.trust.graph import Graph
from hanse.trust.levels import Evidence
from hanse.trust.model import Endorsement, Operator, Outcome, covers
from hanse.trust.outcomes import Tier, Voice, voice
from hanse.trust.view import View

_NONE: Mapping[Operator, float] = {}


def edges_for(
    counted: Iterable[Endorsement], domain: str = ""
) -> list[tuple[Operator, Operator, int]]:
    """What the graph of a domain is built from: per pair the highest grade that covers it."""
    best: dict[tuple[Operator, Operator], int] = {}
    for each in counted:
        if covers(each.domain, domain):
            pair = (each.by, each.of)
            best[pair] = max(each.grade, best.get(pair, 0))
    return [(by, of, grade) for (by, of), grade in best.items()]


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
    credits: Mapping[Operator, float] = _NONE,
    unbacked: Collection[Operator] = (),
) -> Evidence:
    """The evidence about one subject. `counted` and `outcomes` need hold no more than what is
    about the subject; the view must be of the graph that covers the domain. `credits` are those of
    raters that lost some (`credits_of`); `unbacked` are those whose backing exceeds quotas.
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
        backed=bool(seen and seen.backed) and subject not in unbacked,
        guarantors=seen.votes if seen else 0,
        paths=tuple((tuple(graph.names[each] for each in path), weight) for path, weight in paths),
        outcomes=about,
        voices={
            rater: _voice(
                graph, view, rater, backed_count, credits.get(rater, 1.0), rater not in unbacked
            )
            for rater in sorted({each.rater for each in about})
        },
    )


def _voice(
    graph: Graph, view: View, rater: Operator, backed_count: int, left: float, in_quota: bool
) -> Voice:
    number = graph.index(rater)
    if number is None:
        return Voice(0.0, Tier.STRANGER)
    seen = view.of(number)
    tier = (
        Tier.BELIEVED
        if seen.guarantor
        else Tier.BACKED
        if seen.backed and in_quota
        else Tier.STRANGER
    )
    found = voice(seen.reach, tier, backed_count)
    return found if tier is Tier.BELIEVED else Voice(found.weight * left, tier)
