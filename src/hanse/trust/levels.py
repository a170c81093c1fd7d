"""From evidence to an answer: score, lower bound, level, and the reasons for it.

    CIRCLE    the viewer named them
    TRUSTED   accepted or backed, three raters, and a lower bound that only a record earns
    ACCEPTED  three of the circle vouch; or backed, or known to the viewer, with a fair record
    STRANGER  nothing is known, or it has been too long
    BARRED    a betrayal with proof, or a bad record with those the viewer believes

Each rule is one line of `_RULES`, from the top: the first that holds decides. An answer that broke
the provider's own word, to the viewer or its circle, takes one level from who is not in the circle,
for a week.
"""

from collections.abc import Callable, Mapping

import msgspec

from hanse.trust.acceptance import VOUCHERS_NEEDED, Acceptance
from hanse.trust.model import Answer, Cause, Level, Operator, Outcome, Reason, Side, covers
from hanse.trust.outcomes import BELIEVED, DAY_S, Tally, Voice, tally

BETRAYAL_S = 360 * DAY_S
BREAK_S = 7 * DAY_S
IDLE_S = 180 * DAY_S
TRUSTED_BOUND = 0.8
FAIR_BOUND = 0.5
BAD_SHARE = 0.35
BAD_WEIGHT = 9.0
"""Three bad dealings of weight one with nothing good against them, at three times their weight."""
REASONS_MAX = 12


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that bears on one answer. Paths run from a seed to the subject, with their weight."""

    viewer: Operator
    subject: Operator
    now_s: int
    acceptance: Acceptance
    domain: str = ""
    circle: frozenset[Operator] = frozenset()
    reach: float = 0.0
    backed: bool = False
    guarantors: int = 0
    paths: tuple[tuple[tuple[Operator, ...], float], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    voices: Mapping[Operator, Voice] = {}


class Case(msgspec.Struct, frozen=True):
    """Evidence with its tallies: everybody's, and the viewer's own."""

    evidence: Evidence
    all: Tally
    own: Tally
    lower_bound: float

    @property
    def betrayals(self) -> tuple[Outcome, ...]:
        """Proven ones, not yet too old to matter."""
        since = self.evidence.now_s - BETRAYAL_S
        return tuple(each for each in self.all.proven if each.at_s > since)

    @property
    def charges(self) -> tuple[Outcome, ...]:
        """What the subject pays for having vouched for who then cheated."""
        evidence = self.evidence
        return tuple(
            each
            for each in evidence.outcomes
            if each.vouched_for and covers(each.domain, evidence.domain)
        )

    @property
    def breaks(self) -> tuple[Outcome, ...]:
        """Broken answers of late to the viewer or its circle."""
        evidence = self.evidence
        trusted = {evidence.viewer, *evidence.circle}
        return tuple(
            each
            for each in evidence.outcomes
            if each.broke
            and each.rater in trusted
            and 0 <= evidence.now_s - each.at_s < BREAK_S
            and covers(each.domain, evidence.domain)
        )

    @property
    def idle(self) -> bool:
        """Whether nobody believed has had a good dealing for long."""
        last = self.all.last_good_s
        return last is None or self.evidence.now_s - last > IDLE_S

    @property
    def bad_record(self) -> bool:
        """Whether what believed raters saw go wrong decides by itself; warnings cannot bar."""
        believed = self.all.good + self.all.bad
        return self.all.bad >= BAD_WEIGHT and self.all.good < BAD_SHARE * believed


def answer(evidence: Evidence) -> Answer:
    """What the viewer should think of the subject, and why."""
    voices = dict(evidence.voices)
    for trusted in (evidence.viewer, *evidence.circle):
        voices[trusted] = BELIEVED
    found = tally(evidence.outcomes, voices, evidence.subject, evidence.domain, evidence.now_s)
    own = tally(
        evidence.outcomes,
        {evidence.viewer: BELIEVED},
        evidence.subject,
        evidence.domain,
        evidence.now_s,
    )
    case = Case(evidence, found, own, found.lower_bound)
    level = next(level for level, holds in _RULES if holds(case))
    if case.breaks and level in (Level.TRUSTED, Level.ACCEPTED):
        level = Level(level - 1)
    return Answer(
        viewer=evidence.viewer,
        subject=evidence.subject,
        domain=evidence.domain,
        score=found.score,
        lower_bound=case.lower_bound,
        level=level,
        reasons=(*_reasons_for(case), *_reasons_against(case), *_raising(case, level))[
            :REASONS_MAX
        ],
    )


def _in_circle(found: Case) -> bool:
    evidence = found.evidence
    return evidence.subject == evidence.viewer or evidence.subject in evidence.circle


def _trusted(found: Case) -> bool:
    known = found.evidence.acceptance.accepted or found.evidence.backed
    many = found.all.raters >= VOUCHERS_NEEDED
    return known and many and not found.idle and found.lower_bound >= TRUSTED_BOUND


def _accepted(found: Case) -> bool:
    if found.evidence.acceptance.accepted:
        return True
    if found.idle:
        return False
    if found.evidence.backed and found.lower_bound >= FAIR_BOUND:
        return True
    return found.own.lower_bound >= FAIR_BOUND


_RULES: tuple[tuple[Level, Callable[[Case], bool]], ...] = (
    (Level.BARRED, lambda found: bool(found.betrayals)),
    (Level.CIRCLE, _in_circle),
    (Level.BARRED, lambda found: found.bad_record),
    (Level.TRUSTED, _trusted),
    (Level.ACCEPTED, _accepted),
    (Level.STRANGER, lambda _: True),
)


# --- reasons ------------------------------------------------------------------------------------


def _reasons_for(found: Case) -> list[Reason]:
    evidence = found.evidence
    reasons = []
    if _in_circle(found):
        reasons.append(_reason(Side.FOR, "is in your own circle", 1.0))
    for voucher in evidence.acceptance.vouchers[:VOUCHERS_NEEDED]:
        domain = voucher.domain or "everything"
        reasons.append(
            _reason(
                Side.FOR,
                f"somebody of your circle vouches, grade {voucher.grade}, for {domain}",
                float(voucher.grade),
                (voucher.by, evidence.subject),
            )
        )
    shown = {each.path for each in reasons}
    for path, weight in evidence.paths:
        if path not in shown:
            text = f"endorsed over {len(path) - 1} steps from your circle"
            reasons.append(_reason(Side.FOR, text, weight, path))
    if found.all.good > 0:
        text = (
            f"good dealings, weighing {found.all.good:.1f} now, {found.all.raters} raters believed"
        )
        reasons.append(_reason(Side.FOR, text, found.all.good))
    return reasons


def _reasons_against(found: Case) -> list[Reason]:
    evidence = found.evidence
    reasons = [
        _reason(
            Side.AGAINST,
            f"a betrayal with proof, {(evidence.now_s - each.at_s) // DAY_S} days ago"
            + _plea(each),
            each.bad,
            (each.rater, evidence.subject),
            each.receipt,
        )
        for each in found.betrayals[:3]
    ]
    reasons += [
        _reason(
            Side.AGAINST,
            f"vouched for who then cheated, {(evidence.now_s - each.at_s) // DAY_S} days ago"
            + _plea(each),
            each.bad,
            (evidence.subject, each.vouched_for),
            each.receipt,
        )
        for each in sorted(found.charges, key=lambda each: (-each.bad, each))[:3]
    ]
    if found.breaks:
        last = max(found.breaks, key=lambda each: (each.at_s, each))
        days = (evidence.now_s - last.at_s) // DAY_S
        text = f"an answer broke its own schema or came unsigned, by a receipt, {days} days ago"
        reasons.append(_reason(Side.AGAINST, text, last.bad, (last.rater, evidence.subject)))
    reasons += _seen_here(found)
    if found.all.bad > 0:
        text = f"bad dealings, weighing {found.all.bad:.1f} now"
        worst = max(
            (
                each
                for each in evidence.outcomes
                if each.subject == evidence.subject
                and each.bad > 0
                and not each.vouched_for
                and each.cause is not Cause.SPAM
                and covers(each.domain, evidence.domain)
                and (each.rater in evidence.voices or each.rater in evidence.circle)
            ),
            key=lambda each: (each.bad, each),
            default=None,
        )
        path = (worst.rater, evidence.subject) if worst else ()
        reasons.append(_reason(Side.AGAINST, text, found.all.bad, path))
    if found.all.warned > 0:
        text = f"warnings of raters not believed, weighing {found.all.warned:.1f}"
        reasons.append(_reason(Side.AGAINST, text, found.all.warned))
    if evidence.acceptance.accepted and found.idle and found.all.good > 0:
        text = f"no good dealing told of for {IDLE_S // DAY_S} days"
        reasons.append(_reason(Side.AGAINST, text, 0.0))
    return reasons


def _seen_here(found: Case) -> list[Reason]:
    """What the node's own counts say against somebody."""
    told, now_s = found.all, found.evidence.now_s
    reasons = []
    if told.spam:
        events, days = sum(each.count for each in told.spam), len(told.spam)
        ago = (now_s - max(each.at_s for each in told.spam)) // DAY_S
        text = f"refused {events} events as spam in {days} days, the last {ago} days ago"
        reasons.append(_reason(Side.AGAINST, text, sum(each.bad for each in told.spam)))
    if told.late:
        text = f"late {told.late} of {told.calls} calls by you and whom you believe"
        reasons.append(_reason(Side.AGAINST, text, told.late / told.calls))
    return reasons


def _raising(found: Case, level: Level) -> list[Reason]:
    evidence = found.evidence
    missing = []
    if level is Level.BARRED and found.betrayals:
        days = (max(each.at_s for each in found.betrayals) + BETRAYAL_S - evidence.now_s) // DAY_S
        missing.append(
            f"the betrayal taken back or overruled (`hanse appeal RECEIPT`), or {days + 1} days "
            "without another"
        )
    elif level is Level.BARRED:
        missing.append("good dealings with raters you believe, until they outweigh the bad")
    elif found.breaks and level is not Level.CIRCLE:
        left = max(each.at_s for each in found.breaks) + BREAK_S - evidence.now_s
        missing.append(f"{left // DAY_S + 1} days without another broken answer")
    elif level is Level.STRANGER:
        count = evidence.acceptance.missing
        missing.append(
            f"{count} more of your circle vouching for {evidence.domain or 'everything'}"
        )
    elif level is Level.ACCEPTED:
        if found.all.raters < VOUCHERS_NEEDED:
            missing.append(f"{VOUCHERS_NEEDED - found.all.raters} more raters you believe")
        if found.idle:
            missing.append(f"a good dealing within {IDLE_S // DAY_S} days")
        if found.lower_bound < TRUSTED_BOUND:
            missing.append(
                f"a longer good record: lower bound {found.lower_bound:.2f}, needed {TRUSTED_BOUND}"
            )
    elif level is Level.TRUSTED:
        missing.append("your naming them in your circle")
    return [_reason(Side.MISSING, text, 0.0) for text in missing]


def _plea(each: Outcome) -> str:
    return f"; it appeals: {each.plea}" if each.plea else ""


def _reason(
    side: Side, text: str, weight: float, path: tuple[Operator, ...] = (), receipt: str = ""
) -> Reason:
    return Reason(side=side, text=text, weight=weight, path=path, receipt=receipt)
