"""The rule of three: direct, relative to a circle, one voice an operator."""

import pytest
from bench.sybils import each_other, sybils_accepted

from hanse.errors import Invalid
from hanse.trust.acceptance import accept, accepted, counted_now, current, within_quota
from hanse.trust.model import Endorsement, check_domain, covers

NOW = 1_000_000
CIRCLE = ("ann", "bob", "cid", "dan")


def vouch(
    by: str, of: str, domain: str = "", grade: int = 1, at_s: int = 10, expires_s: int = 2 * NOW
) -> Endorsement:
    return Endorsement(by=by, of=of, domain=domain, grade=grade, at_s=at_s, expires_s=expires_s)


def test_three_of_the_circle_make_a_stranger_acceptable() -> None:
    told = counted_now([vouch(by, "eve") for by in CIRCLE[:3]], NOW)
    assert accept(told, CIRCLE, "eve").accepted
    assert accept(told[:2], CIRCLE, "eve").missing == 1


def test_one_operator_speaks_once_however_many_domains_it_names() -> None:
    told = [vouch("ann", "eve", domain) for domain in ("", "sms", "sms.us")]
    found = accept(counted_now(told, NOW), CIRCLE, "eve", "sms.us")
    assert (found.accepted, found.missing) == (False, 2)


def test_who_is_not_in_the_circle_does_not_count() -> None:
    told = [vouch(by, "eve") for by in ("ann", "bob", "xav", "yan")]
    assert not accept(counted_now(told, NOW), CIRCLE, "eve").accepted


def test_acceptance_does_not_pass_on() -> None:
    told = [vouch(by, of) for by in CIRCLE[:3] for of in ("eve", "fay", "gil")]
    told += [vouch(by, "hal") for by in ("eve", "fay", "gil")]
    assert set(accepted(counted_now(told, NOW), CIRCLE)) == {"eve", "fay", "gil"}


def test_a_domain_covers_what_is_narrower_by_whole_words() -> None:
    assert covers("code", "code.review")
    assert covers("", "anything")
    assert not covers("code.review", "code")
    assert not covers("cod", "code")
    told = counted_now([vouch(by, "eve", "sms") for by in CIRCLE], NOW)
    assert accept(told, CIRCLE, "eve", "sms.us").accepted
    assert not accept(told, CIRCLE, "eve", "code").accepted


def test_what_has_expired_or_lies_in_the_future_is_not_heard() -> None:
    assert current([vouch("ann", "eve", expires_s=NOW)], NOW) == []
    assert current([vouch("ann", "eve", at_s=NOW + 1)], NOW) == []


def test_taking_back_ends_an_endorsement_whichever_arrived_first() -> None:
    given, taken = vouch("ann", "eve"), vouch("ann", "eve", grade=0, at_s=11)
    assert current([given, taken], NOW) == current([taken, given], NOW) == []


def test_of_the_same_second_the_cautious_statement_holds() -> None:
    given, taken = vouch("ann", "eve"), vouch("ann", "eve", grade=0)
    assert current([given, taken], NOW) == current([taken, given], NOW) == []


def test_beyond_its_quota_a_voucher_is_not_counted() -> None:
    live = [vouch("ann", f"of{number}", at_s=10 + number) for number in range(5)]
    assert [each.of for each in within_quota(live[::-1], quota=2)] == ["of0", "of1"]
    later = vouch("ann", "of9", at_s=50)
    assert later in within_quota([*live, later], quota=2, window_s=25)


def test_a_second_domain_for_the_same_subject_costs_no_quota() -> None:
    live = [vouch("ann", "eve"), vouch("ann", "eve", "sms"), vouch("ann", "fay", at_s=11)]
    assert len(within_quota(live, quota=2)) == 3


@pytest.mark.parametrize("corrupted", [0, 2, 3, 10])
def test_ten_thousand_sybils_gain_no_more_than_the_bound(corrupted: int) -> None:
    quota = 20
    found = sybils_accepted(corrupted, quota, 10_000, each_other(2_000, seed=1))
    assert found == (corrupted * quota // 3 if corrupted >= 3 else 0)


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("of", {"of": "ann"}),
        ("grade", {"grade": 11}),
        ("grade", {"grade": True}),
        ("grade", {"grade": 1.0}),
        ("at_s", {"at_s": -1}),
        ("at_s", {"at_s": float("nan")}),
        ("expires_s", {"expires_s": 10}),
        ("expires_s", {"expires_s": 2**60}),
        ("domain", {"domain": "a..b"}),
        ("domain", {"domain": "a" * 200}),
    ],
)
def test_an_endorsement_that_makes_no_sense_names_its_field(
    field: str, broken: dict[str, object]
) -> None:
    good: dict[str, object] = {"by": "ann", "of": "eve", "at_s": 10, "expires_s": 20}
    with pytest.raises(Invalid) as caught:
        Endorsement(**(good | broken))  # type: ignore[arg-type]  # that is the test
    assert caught.value.field == field


def test_a_domain_is_words_and_dots() -> None:
    check_domain("code.review")
    with pytest.raises(Invalid):
        check_domain(".")
