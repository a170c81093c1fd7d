"""Ranking: what a match is worth, which constraint excludes it, and the reasons that are given."""

import pytest

from hanse.keyring import new_secret
from hanse.protocol.amount import Amount
from hanse.registry.model import Capability, Match, Offer, Promise
from hanse.registry.quality import Ended, Quality
from hanse.registry.rank import OFFLINE_FACTOR, judge
from hanse.registry.search import Constraints, Hit, Search
from hanse.registry.service import Registry

KEY = new_secret().public
NONE = Constraints()


def match(
    *,
    name: str = "send",
    price: int = 2000,
    promise: Promise | None = None,
    relevance: float = 1.0,
    words: tuple[str, ...] = ("sms",),
) -> Match:
    """A word search's answer: an offer with one capability."""
    offer = Offer(
        provider=KEY,
        operator=KEY,
        identifier=name,
        name=name,
        summary="",
        capabilities=(Capability(name=name, price=Amount(price)),),
        promise=promise or Promise(latency_p95_ms=500, success_rate=0.99),
    )
    return Match(offer, name, relevance, words)


def quality(good: int = 0, bad: int = 0, latency_ms: int = 100) -> Quality:
    """Quality after some calls."""
    found = Quality()
    for _ in range(good):
        found.record(True, latency_ms, 1)
    for _ in range(bad):
        found.record(False, 0, 1)
    return found


def failed(offer: Offer) -> Ended:
    """A stranger's call of the capability "a", refunded."""
    return Ended(
        id=bytes(32),
        address=offer.address,
        capability="a",
        major=1,
        caller="caller",
        provider=offer.provider,
        payer="caller",
        payee=offer.operator,
        end="provider-error",
        latency_ms=1,
        at_s=0,
    )


def hit(found: Match, calls: Quality | None = None, *, online: bool = True) -> Hit:
    """What `judge` makes of a match that no constraint excludes."""
    judged = judge(found, calls or Quality(), NONE, online=online)
    assert isinstance(judged, Hit)
    return judged


def test_one_broken_promise_sinks_a_provider_below_a_stranger() -> None:
    assert hit(match(), quality(bad=1)).score < 0.6 * hit(match()).score


def test_each_broken_promise_sinks_it_further() -> None:
    scores = [hit(match(), quality(bad=count)).score for count in range(6)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 6


def test_calls_that_went_well_lift_a_low_promise() -> None:
    humble = match(promise=Promise(latency_p95_ms=500, success_rate=0.8))
    assert hit(humble, quality(good=50)).score > 2 * hit(humble).score


def test_a_promise_alone_is_worth_less_than_the_same_promise_kept() -> None:
    assert hit(match(), quality(good=20)).score > hit(match()).score


def test_slower_than_promised_costs_score_and_faster_gains_none() -> None:
    promised = hit(match(), quality(good=50, latency_ms=500)).score
    assert hit(match(), quality(good=50, latency_ms=2000)).score < 0.5 * promised
    assert hit(match(), quality(good=50, latency_ms=5)).score == promised


def test_cheaper_ranks_higher_all_else_equal() -> None:
    scores = [hit(match(price=price)).score for price in (0, 1000, 10_000, 1_000_000)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_who_is_not_connected_ranks_far_lower() -> None:
    away, here = hit(match(), online=False), hit(match())
    assert away.score == pytest.approx(OFFLINE_FACTOR * here.score, abs=1e-6)
    assert "not connected" in away.reasons[-1]


@pytest.mark.parametrize(
    ("constraints", "calls", "excluded"),
    [
        (Constraints(max_price=Amount(1999)), quality(), "price"),
        (Constraints(latency_p95_ms=499), quality(), "latency"),
        (Constraints(latency_p95_ms=600), quality(good=50, latency_ms=900), "latency"),
        (Constraints(success_rate=0.995), quality(), "success"),
        (Constraints(success_rate=0.9), quality(bad=1), "success"),
    ],
)
def test_a_constraint_that_is_not_met_excludes(
    constraints: Constraints, calls: Quality, excluded: str
) -> None:
    assert judge(match(), calls, constraints, online=True) == excluded


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(max_price=Amount(2000)),
        Constraints(latency_p95_ms=500),
        Constraints(success_rate=0.99),
    ],
)
def test_a_constraint_met_exactly_does_not_exclude(constraints: Constraints) -> None:
    assert isinstance(judge(match(), Quality(), constraints, online=True), Hit)


def test_the_reasons_say_what_matched_what_was_measured_and_the_price() -> None:
    calls = quality(good=3, bad=1, latency_ms=122)
    constraints = Constraints(max_price=Amount(3000))
    judged = judge(match(words=("sms", "us")), calls, constraints, online=True)
    assert isinstance(judged, Hit)
    assert judged.reasons == (
        "matches sms, us",
        "success 75.0% over 4 calls (promised 99.0%), count on 88.3%",
        "p50 122 ms, p95 122 ms (promised 500 ms)",
        "price 2 sat a call, your cap is 3 sat",
        "provider is connected",
    )


def test_the_reasons_say_when_nothing_was_measured() -> None:
    assert hit(match(words=())).reasons[:2] == (
        "matches by related words",
        "no calls measured yet; promises 99.0% within 500 ms",
    )


# --- searching ------------------------------------------------------------------------------------


class FixedStore:
    """Implements `registry.store.OfferStore` over a list of matches."""

    def __init__(self, *matches: Match) -> None:
        self._matches = list(matches)

    async def offer(self, address: str, now_s: int) -> Offer | None:
        return None

    async def named(self, name: str, now_s: int) -> list[Offer]:
        return []

    async def search(self, words: list[str], limit: int, now_s: int) -> list[Match]:
        return self._matches[:limit]

    async def count(self, now_s: int) -> int:
        return len(self._matches)


class Everybody:
    """Implements `ports.Presence`: all are connected."""

    def is_present(self, pubkey: str) -> bool:
        return True

    def arrive(self, pubkey: str) -> None: ...

    def leave(self, pubkey: str) -> None: ...


class Noon:
    """Implements `ports.Clock`: it is always noon."""

    def now_s(self) -> int:
        return 43_200

    def now_ms(self) -> int:
        return 43_200_000

    def monotonic_ms(self) -> float:
        return 0.0


def registry(*matches: Match) -> Registry:
    """A registry that finds these matches for any words."""
    return Registry(FixedStore(*matches), Everybody(), Noon())


async def test_hits_come_best_first_and_ties_in_a_fixed_order() -> None:
    found = await registry(
        match(name="b"), match(name="a"), match(name="dear", price=50_000), match(name="c")
    ).find(Search(words="sms"))
    assert [row.offer.identifier for row in found.hits] == ["a", "b", "c", "dear"]


async def test_a_limit_keeps_the_best() -> None:
    found = await registry(match(name="dear", price=50_000), match(name="cheap")).find(
        Search(words="sms", limit=1)
    )
    assert [row.offer.identifier for row in found.hits] == ["cheap"]


async def test_what_constraints_exclude_is_counted_by_constraint() -> None:
    slow = Promise(latency_p95_ms=5000, success_rate=0.99)
    weak = Promise(latency_p95_ms=500, success_rate=0.5)
    found = await registry(
        match(name="good"),
        match(name="dear1", price=9000),
        match(name="dear2", price=9001),
        match(name="slow", promise=slow),
        match(name="weak", promise=weak),
    ).find(
        Search(
            words="sms",
            constraints=Constraints(max_price=Amount(8000), latency_p95_ms=1000, success_rate=0.9),
        )
    )
    assert [row.offer.identifier for row in found.hits] == ["good"]
    assert found.excluded == {"price": 2, "latency": 1, "success": 1}


async def test_a_recorded_failure_moves_a_provider_behind_its_twin() -> None:
    one = registry(match(name="a"), match(name="b"))
    one.learn(failed(match(name="a").offer))
    assert [row.offer.identifier for row in (await one.find(Search(words="sms"))).hits] == [
        "b",
        "a",
    ]
