"""What dealings were worth: decayed, weighed by who says so, and read with caution.

Who says it decides how far it counts (see graph.py for who is who):
  - believed: the viewer, its circle, and guarantors, whom several of the circle endorse. In full;
  - backed: several of those endorse them. All of them together: praise up to BACKED_GOOD_MAX, blame
    up to BACKED_BAD_MAX about one subject;
  - strangers: no praise at all; warnings, as loud as their reach, up to STRANGERS_BAD_MAX together.
So fakes, whatever their number, give no praise; those that fooled their way to being backed give
little. One rater weighs at most RATER_MAX about one subject, however often it speaks; and whoever
is not believed and has spoken ill of many whom the believed found good is hardly heard.
A bad dealing weighs BAD_FACTOR times a good one and fades half as fast: trust rises slowly and
falls quickly. Times come in as arguments; sums run over sorted values, so order never counts.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.trust.model import GRADE_MAX, Cause, Endorsement, Operator, Outcome, covers

Floats = NDArray[np.float64]

DAY_S = 86400
GOOD_HALF_LIFE_S = 180 * DAY_S
BAD_HALF_LIFE_S = 360 * DAY_S
BAD_FACTOR = 3.0
BACKED_GOOD_MAX = 4.0
BACKED_BAD_MAX = 8.0
STRANGERS_BAD_MAX = 4.0
RATER_MAX = 20.0
STRANGER_GAIN = 30.0
"""A stranger's warning counts fully from this many-th of an average backed operator's reach."""

CRIES_FORGIVEN = 8.0
"""False alarms after which a voice is down to a quarter."""

PRIOR_GOOD = PRIOR_BAD = 1.0
CAUTION = 0.05
"""The lower bound is the value that the true share exceeds with 95 % confidence."""

OWN_RATE_PRIOR = 10.0
WARNING_WEIGHT = 0.5
CHARGE_SHARE = 0.5
CHARGE_MAX = 5.0


class Tier(IntEnum):
    """How far a rater is believed."""

    STRANGER = 0
    BACKED = 1
    BELIEVED = 2


class Voice(msgspec.Struct, frozen=True):
    """How much a rater counts for a viewer: 0 to 1, and as whom."""

    weight: float
    tier: Tier


BELIEVED = Voice(1.0, Tier.BELIEVED)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Weighed evidence about one subject. `bad` is what believed raters saw, `warned` what others
    say; both already have their factor. `raters` are the believed ones. Of their `calls`, so many
    were `late`; `spam` is what was refused of the subject, by day.
    """

    good: float = 0.0
    bad: float = 0.0
    warned: float = 0.0
    raters: int = 0
    last_good_s: int | None = None
    proven: tuple[Outcome, ...] = ()
    calls: int = 0
    late: int = 0
    spam: tuple[Outcome, ...] = ()

    @property
    def score(self) -> float:
        """The expected share of good, with one imagined good and one imagined bad dealing."""
        bad = self.bad + self.warned
        return (self.good + PRIOR_GOOD) / (self.good + bad + PRIOR_GOOD + PRIOR_BAD)

    @property
    def lower_bound(self) -> float:
        """What the share of good very likely exceeds."""
        bad = self.bad + self.warned
        return beta_quantile(CAUTION, self.good + PRIOR_GOOD, bad + PRIOR_BAD)


# --- weighing -----------------------------------------------------------------------------------


def voice(reach: float, tier: Tier, backed_count: int) -> Voice:
    """A rater's voice, from what the viewer's graph says of it."""
    if tier is not Tier.STRANGER:
        return Voice(1.0, tier)
    return Voice(min(1.0, reach * STRANGER_GAIN * backed_count), tier)


def voices(reach: Floats, tier: NDArray[np.int8]) -> Floats:
    """The weight of every rater's voice."""
    strange = np.minimum(1.0, reach * (STRANGER_GAIN * int((tier > Tier.STRANGER).sum())))
    found: Floats = np.where(tier > Tier.STRANGER, 1.0, strange)
    return found


def faded(weight: float, age_s: int, half_life_s: int) -> float:
    """What is left of a weight after a time; nothing gains from the future."""
    return weight * math.pow(0.5, max(0, age_s) / half_life_s)


class Weighed(NamedTuple):
    """Totals per subject: praise, what believed raters saw go wrong, and what others warn of."""

    good: Floats
    bad: Floats
    warned: Floats

    def scores(self) -> Floats:
        """`Tally.score` of every subject."""
        found: Floats = (self.good + PRIOR_GOOD) / (
            self.good + self.bad + self.warned + PRIOR_GOOD + PRIOR_BAD
        )
        return found


def weigh(
    subject: NDArray[np.integer],
    good: Floats,
    bad: Floats,
    weight: Floats,
    tier: NDArray[np.int8],
    size: int,
) -> Weighed:
    """Totals per subject, from one row a rater and subject. See the rules above."""
    scale = np.minimum(1.0, RATER_MAX / np.maximum(good + bad, RATER_MAX)) * weight

    def total(much: Floats, whose: Tier) -> Floats:
        return np.bincount(subject, much * scale * (tier == whose), size).astype(np.float64)

    return Weighed(
        total(good, Tier.BELIEVED) + np.minimum(BACKED_GOOD_MAX, total(good, Tier.BACKED)),
        BAD_FACTOR * total(bad, Tier.BELIEVED),
        BAD_FACTOR
        * (
            np.minimum(BACKED_BAD_MAX, total(bad, Tier.BACKED))
            + np.minimum(STRANGERS_BAD_MAX, total(bad, Tier.STRANGER))
        ),
    )


def cries_all(
    rater: NDArray[np.integer],
    subject: NDArray[np.integer],
    good: Floats,
    bad: Floats,
    tier: NDArray[np.int8],
    size: int,
) -> Floats:
    """False alarms of every rater: for each subject it spoke ill of, the share of good among what
    believed raters say of that subject. `tier` is per row.
    """
    believed = tier == Tier.BELIEVED
    praise = np.bincount(subject, good * believed, size)
    blame = BAD_FACTOR * np.bincount(subject, bad * believed, size)
    known = praise + blame
    share = np.divide(praise, known, out=np.zeros(size), where=known >= 1.0)
    alarms = (bad > good) & ~believed
    return np.bincount(rater, share[subject] * alarms, size).astype(np.float64)


def credit(cries: Floats) -> Floats:
    """What is left of a voice after so many false alarms, 1 down to 0."""
    found: Floats = (CRIES_FORGIVEN / (CRIES_FORGIVEN + cries)) ** 2
    return found


def credits_of(
    outcomes: Iterable[Outcome], believed: Collection[Operator], now_s: int
) -> dict[Operator, float]:
    """The credit of every rater that has lost some, from all outcomes that are known."""
    told: dict[tuple[Operator, Operator], tuple[float, float]] = {}
    for each in sorted({each for each in outcomes if each.at_s <= now_s}):
        if each.rater != each.subject:
            age_s = now_s - each.at_s
            good, bad = told.get((each.rater, each.subject), (0.0, 0.0))
            good += faded(each.good, age_s, GOOD_HALF_LIFE_S)
            told[each.rater, each.subject] = good, bad + faded(each.bad, age_s, BAD_HALF_LIFE_S)
    names = sorted({name for pair in told for name in pair})
    number = {name: place for place, name in enumerate(names)}
    pairs = np.array([[number[by], number[of]] for by, of in told], np.int64).reshape(-1, 2)
    much = np.array(list(told.values()), np.float64).reshape(-1, 2)
    tier = np.array([Tier.BELIEVED if by in believed else Tier.STRANGER for by, _ in told], np.int8)
    found = credit(
        cries_all(pairs[:, 0], pairs[:, 1], much[:, 0], much[:, 1], tier, len(names))
    ).tolist()
    return {name: left for name, left in zip(names, found, strict=True) if left < 1.0}


def tally(
    outcomes: Iterable[Outcome],
    voices: Mapping[Operator, Voice],
    subject: Operator,
    domain: str,
    now_s: int,
) -> Tally:
    """Weigh what raters say about a subject in a domain. Raters without a voice are not heard, but
    for a betrayal with proof: the proof speaks, whoever brings it.
    """
    heard = sorted(
        {
            each
            for each in outcomes
            if each.subject == subject
            and (each.proven or voices.get(each.rater, _MUTE).weight > 0.0)
            and each.rater != subject
            and each.at_s <= now_s
            and covers(each.domain, domain)
        }
    )
    goods: dict[Operator, float] = {}
    bads: dict[Operator, float] = {}
    for each in heard:
        if each.weighs and voices.get(each.rater, _MUTE).weight > 0.0:
            age_s = now_s - each.at_s
            goods.setdefault(each.rater, 0.0)
            bads.setdefault(each.rater, 0.0)
            goods[each.rater] += faded(each.good, age_s, GOOD_HALF_LIFE_S)
            bads[each.rater] += faded(each.bad, age_s, BAD_HALF_LIFE_S)
    raters = sorted(goods)
    totals = weigh(
        np.zeros(len(raters), np.int64),
        np.array([goods[rater] for rater in raters], np.float64),
        np.array([bads[rater] for rater in raters], np.float64),
        np.array([voices[rater].weight for rater in raters], np.float64),
        np.array([voices[rater].tier for rater in raters], np.int8),
        1,
    )
    praised = [
        each.at_s
        for each in heard
        if each.good > 0 and voices.get(each.rater, _MUTE).tier > Tier.STRANGER
    ]
    believed = [each for each in heard if voices.get(each.rater, _MUTE).tier is Tier.BELIEVED]
    return Tally(
        good=float(totals.good[0]),
        bad=float(totals.bad[0]),
        warned=float(totals.warned[0]),
        # Who only refused spam does not know the subject any better for it.
        raters=len({one.rater for one in believed if one.weighs and one.cause is not Cause.SPAM}),
        last_good_s=max(praised, default=None),
        proven=tuple(each for each in heard if each.proven),
        calls=sum(one.count for one in believed if one.cause in (Cause.CALL, Cause.LATE)),
        late=sum(one.count for one in believed if one.cause is Cause.LATE),
        spam=tuple(one for one in believed if one.cause is Cause.SPAM),
    )


def charge_vouchers(betrayal: Outcome, endorsements: Iterable[Endorsement]) -> list[Outcome]:
    """What a proven betrayal costs those who vouched for the cheat when it happened; less, who took
    it back since (grade 0).

    Derived from the betrayal, so it goes when that is taken back on appeal; bounded by CHARGE_MAX.
    """
    if not betrayal.proven:
        return []
    charged = {
        each.by: max(each.grade, 0)
        for each in sorted(endorsements, key=lambda each: each.grade)
        if each.of == betrayal.subject
        and (
            each.at_s <= betrayal.at_s < each.expires_s if each.grade else each.at_s > betrayal.at_s
        )
        and covers(each.domain, betrayal.domain)
        and each.by != betrayal.rater
    }
    return [
        Outcome(
            rater=betrayal.rater,
            subject=voucher,
            domain=betrayal.domain,
            bad=min(CHARGE_MAX, betrayal.bad * CHARGE_SHARE * (1 + grade / GRADE_MAX) / 2),
            at_s=betrayal.at_s,
            vouched_for=betrayal.subject,
            receipt=betrayal.receipt,
        )
        for voucher, grade in sorted(charged.items())
    ]


# --- what this viewer should expect ---------------------------------------------------------------


def own_rate(good: Floats, bad: Floats, weight: Floats) -> Floats:
    """How often each viewer's own dealings went well, drawn toward the rate of whoever counts."""
    total = float(((good + bad) * weight).sum())
    base = float((good * weight).sum()) / total if total else 0.5
    found: Floats = (good + OWN_RATE_PRIOR * base) / (good + bad + OWN_RATE_PRIOR)
    return found


def expectation(score: Floats, rate: Floats, warned: Floats) -> Floats:
    """How likely a dealing ends well for a viewer, in log-odds, up to a constant.

    The subject's odds times the viewer's own odds; `warned` is the weight of what the subject said
    against the viewer. What it says in the viewer's favour counts for nothing: that is free.
    """
    return _log_odds(score) + _log_odds(rate) - WARNING_WEIGHT * warned


def beta_quantile(share: float, a: float, b: float) -> float:
    """The value below which a Beta(a, b) lies with probability `share`."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if beta_below(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return low


def beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_below(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # Lentz's method; two hundred terms are ample where a + b stays below a million.
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 200):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + top * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + top / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-12:
            break
    return front * value / a


_MUTE = Voice(0.0, Tier.STRANGER)


def _log_odds(share: Floats) -> Floats:
    found: Floats = np.log(share / (1.0 - share))
    return found
