"""What dealings weigh: by whom, how long ago, and with what caution."""

import math

import numpy as np
import pytest
from bench.ratings import (
    aucs,
    fooled,
    ours,
    praised_bad,
    read_ratings,
    slandered_good,
    split,
)

from hanse.errors import Invalid
from hanse.trust.model import Endorsement, Outcome
from hanse.trust.outcomes import (
    BACKED_BAD_MAX,
    BAD_FACTOR,
    BAD_HALF_LIFE_S,
    BELIEVED,
    GOOD_HALF_LIFE_S,
    RATER_MAX,
    STRANGERS_BAD_MAX,
    Tier,
    Voice,
    beta_below,
    beta_quantile,
    charge_vouchers,
    credits_of,
    expectation,
    faded,
    own_rate,
    tally,
    voice,
)

NOW = 10**9
STRANGER = Voice(1.0, Tier.STRANGER)
BACKED = Voice(1.0, Tier.BACKED)


def said(
    rater: str, good: float = 0.0, bad: float = 0.0, at_s: int = NOW, domain: str = ""
) -> Outcome:
    return Outcome(rater=rater, subject="x", good=good, bad=bad, at_s=at_s, domain=domain)


def test_bad_weighs_more_and_fades_slower() -> None:
    voices = {"ann": BELIEVED}
    fresh = tally([said("ann", good=2, bad=2)], voices, "x", "", NOW)
    assert fresh.bad == BAD_FACTOR * fresh.good
    assert faded(1.0, GOOD_HALF_LIFE_S, GOOD_HALF_LIFE_S) == 0.5
    assert BAD_HALF_LIFE_S > GOOD_HALF_LIFE_S
    assert faded(1.0, -5, GOOD_HALF_LIFE_S) == 1.0


def test_a_thousand_strangers_cannot_praise_and_can_hardly_warn() -> None:
    fakes = {f"fake{number}": STRANGER for number in range(1000)}
    praised = tally([said(fake, good=10) for fake in fakes], fakes, "x", "", NOW)
    assert praised.good == 0.0
    assert praised.score == 0.5
    warned = tally([said(fake, bad=10) for fake in fakes], fakes, "x", "", NOW)
    assert (warned.bad, warned.warned) == (0.0, BAD_FACTOR * STRANGERS_BAD_MAX)


def test_the_backed_blame_is_bounded_too() -> None:
    raters = {f"r{number}": BACKED for number in range(10)}
    blamed = tally([said(rater, bad=10) for rater in raters], raters, "x", "", NOW)
    assert (blamed.bad, blamed.warned) == (0.0, BAD_FACTOR * BACKED_BAD_MAX)


def test_the_backed_praise_a_little_together_and_the_believed_in_full() -> None:
    raters = [f"r{number}" for number in range(10)]
    told = [said(rater, good=10) for rater in raters]
    backed = tally(told, dict.fromkeys(raters, BACKED), "x", "", NOW)
    believed = tally(told, dict.fromkeys(raters, BELIEVED), "x", "", NOW)
    assert backed.good < 5 < 99 < believed.good
    assert believed.raters == 10
    assert backed.raters == 0


def test_one_rater_has_one_voice_however_often_it_speaks() -> None:
    told = [said("ann", good=10, at_s=NOW - number) for number in range(50)]
    assert tally(told, {"ann": BELIEVED}, "x", "", NOW).good == pytest.approx(RATER_MAX)


def test_who_cries_wolf_is_hardly_heard() -> None:
    def of(subject: str, rater: str, good: float = 0.0, bad: float = 0.0) -> Outcome:
        return Outcome(rater=rater, subject=subject, good=good, bad=bad, at_s=NOW)

    people = [f"p{number}" for number in range(24)]
    told = [of(person, "ann", good=10) for person in people]
    told += [of(person, "wolf", bad=10) for person in people]
    told += [of("cheat", "ann", bad=10), of("cheat", "dog", bad=10)]
    told += [of("new", "dog", bad=10)]
    credits = credits_of(told, {"ann"}, NOW)
    assert credits == {"wolf": pytest.approx(1 / 16)}
    assert credits_of(told[::-1], {"ann"}, NOW) == credits
    assert credits_of(told, (), NOW) == credits_of([], {"ann"}, NOW) == {}


def test_the_same_outcome_twice_counts_once() -> None:
    one = said("ann", good=3)
    assert tally([one, one], {"ann": BELIEVED}, "x", "", NOW).good == 3


def test_nobody_rates_themselves_and_nobody_from_the_future() -> None:
    own = Outcome(rater="x", subject="x", good=5, at_s=1)
    late = said("ann", good=5, at_s=NOW + 1)
    assert tally([own, late], {"x": BELIEVED, "ann": BELIEVED}, "x", "", NOW).good == 0.0


def test_only_the_domain_that_is_asked_about_counts() -> None:
    told = [said("ann", good=1, domain="sms"), said("ann", good=2, domain="code")]
    assert tally(told, {"ann": BELIEVED}, "x", "sms.us", NOW).good == 1


def test_a_strangers_voice_grows_with_reach_and_is_never_louder_than_one() -> None:
    assert voice(0.0, Tier.STRANGER, 100).weight == 0.0
    assert voice(0.5, Tier.STRANGER, 100).weight == 1.0
    assert voice(0.0, Tier.BACKED, 100).weight == 1.0


@pytest.mark.parametrize("a", [1.0, 2.0, 13.5, 400.0])
def test_the_beta_quantile_is_what_a_beta_lies_above(a: float) -> None:
    assert beta_quantile(0.05, a, 1.0) == pytest.approx(0.05 ** (1 / a), abs=1e-9)
    assert beta_quantile(0.05, 1.0, a) == pytest.approx(1 - 0.95 ** (1 / a), abs=1e-9)
    assert beta_below(0.5, a, a) == pytest.approx(0.5, abs=1e-9)
    assert (beta_below(0.0, a, 2.0), beta_below(1.0, a, 2.0)) == (0.0, 1.0)


def test_the_beta_agrees_with_a_sum_over_coin_throws() -> None:
    # P(Beta(a, b) < x) = P(at least a of a + b - 1 throws succeed at x), for whole a and b.
    a, b, x = 4, 7, 0.3
    throws = a + b - 1
    expected = sum(
        math.comb(throws, heads) * x**heads * (1 - x) ** (throws - heads)
        for heads in range(a, throws + 1)
    )
    assert beta_below(x, a, b) == pytest.approx(expected, abs=1e-12)


def test_who_vouched_for_a_cheat_pays_a_bounded_part() -> None:
    def vouch(by: str, grade: int, expires_s: int = 2 * NOW) -> Endorsement:
        return Endorsement(by=by, of="x", grade=grade, at_s=1, expires_s=expires_s)

    betrayal = Outcome(rater="ann", subject="x", bad=80, at_s=NOW, proven=True)
    charged = charge_vouchers(betrayal, [vouch("bob", 10), vouch("cid", 1), vouch("dan", 3, 50)])
    assert [each.subject for each in charged] == ["bob", "cid"]
    assert max(each.bad for each in charged) <= 5.0
    assert not any(each.proven for each in charged)
    assert charge_vouchers(said("ann", bad=5), [vouch("bob", 10)]) == []


def test_what_a_subject_says_in_my_favour_is_worth_nothing() -> None:
    score, rate = np.array([0.7, 0.7]), np.array([0.9, 0.9])
    quiet, warned = expectation(score, rate, np.array([0.0, 5.0]))
    assert warned < quiet


def test_fakes_without_a_voice_do_not_move_anybodys_own_rate() -> None:
    rate = own_rate(np.array([5.0, 1.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0]))
    more = own_rate(
        np.array([5.0, 1.0, 999.0]), np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])
    )
    assert rate.tolist() == more[:2].tolist()


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("good", {"good": float("nan")}),
        ("good", {"good": -1.0}),
        ("bad", {"bad": float("inf")}),
        ("good", {"good": 0.0}),
        ("proven", {"proven": True}),
        ("at_s", {"at_s": 1.5}),
        ("subject", {"subject": ""}),
    ],
)
def test_an_outcome_that_makes_no_sense_names_its_field(
    field: str, broken: dict[str, object]
) -> None:
    good: dict[str, object] = {"rater": "ann", "subject": "x", "good": 1.0, "at_s": 1}
    with pytest.raises(Invalid) as caught:
        Outcome(**(good | broken))  # type: ignore[arg-type]  # that is the test
    assert caught.value.field == field


def test_bitcoin_otc_is_predicted_as_well_under_attack() -> None:
    ratings, size = read_ratings()
    found = split(ratings, size, 1)
    quiet = aucs(found, ours(found, found.told))
    attacked = aucs(found, ours(found, praised_bad(found)))
    assert quiet[0] > 0.82
    assert quiet[2] > 0.9
    assert attacked == pytest.approx(quiet, abs=0.005)
    slandered = aucs(found, ours(found, fooled(found, slandered_good(found), 30, 1)))
    assert slandered[0] > 0.78
