"""Measured quality: figures over a window of real calls, shrunk toward what was promised."""

import pytest

from hanse.registry.model import Promise
from hanse.registry.quality import PRIOR_SAMPLES, WINDOW, Expected, Measured, Quality, percentile

PROMISE = Promise(latency_p95_ms=500, success_rate=0.9)


def after(*latencies: int | None) -> Quality:
    """Quality after calls in order; None is a call that failed."""
    found = Quality()
    for second, latency in enumerate(latencies):
        found.record(latency is not None, latency or 0, second)
    return found


def test_without_calls_nothing_is_measured_and_the_promise_is_expected() -> None:
    assert Quality().measured() == Measured()
    assert Quality().expected(PROMISE) == Expected(success_rate=0.9, latency_p95_ms=500)


def test_only_successful_calls_count_for_latency() -> None:
    found = after(100, None, 300).measured()
    assert found.samples == 3
    assert found.success_rate == pytest.approx(2 / 3)
    assert (found.latency_p50_ms, found.latency_p95_ms) == (100, 300)


def test_last_seen_is_the_last_success() -> None:
    assert after(10, 10, None).measured().last_seen_s == 1
    assert after(None).measured().last_seen_s is None


@pytest.mark.parametrize(
    ("count", "share", "rank"),
    [(1, 0.95, 1), (2, 0.5, 1), (3, 0.5, 2), (20, 0.95, 19), (21, 0.95, 20), (100, 0.95, 95)],
)
def test_a_percentile_is_the_nearest_rank(count: int, share: float, rank: int) -> None:
    assert percentile(list(range(1, count + 1)), share) == rank


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.95) is None


def test_the_window_forgets_old_calls_but_counts_them() -> None:
    found = after(*[None] * 10, *[50] * WINDOW).measured()
    assert found.success_rate == 1.0
    assert found.samples == WINDOW + 10


def test_one_lucky_call_proves_little() -> None:
    found = after(1).expected(PROMISE)
    assert 0.9 < found.success_rate < 0.92
    assert 400 < found.latency_p95_ms < 500


def test_one_broken_promise_is_felt_at_once() -> None:
    honest, broken = Quality().expected(PROMISE), after(None).expected(PROMISE)
    assert broken.success_rate == pytest.approx(0.9 * PRIOR_SAMPLES / (PRIOR_SAMPLES + 1))
    assert broken.success_rate < honest.success_rate - 0.1


def test_many_calls_outweigh_the_promise() -> None:
    found = after(*[2000] * 200).expected(PROMISE)
    assert found.success_rate > 0.99
    assert found.latency_p95_ms > 1900


def test_failures_alone_leave_the_promised_latency() -> None:
    assert after(None, None).expected(PROMISE).latency_p95_ms == 500


@pytest.mark.parametrize("calls", [0, 1, 5, 50, 400])
def test_the_expected_rate_lies_between_the_measured_and_the_promised(calls: int) -> None:
    expected = after(*[None] * calls).expected(PROMISE).success_rate
    assert 0 <= expected <= PROMISE.success_rate
    assert expected == pytest.approx(0.9 * PRIOR_SAMPLES / (min(calls, WINDOW) + PRIOR_SAMPLES))
