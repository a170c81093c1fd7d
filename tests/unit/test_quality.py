"""Measured quality: figures over windows of real calls, weighed by voices, shrunk toward what was
promised."""

from collections.abc import Iterable

import msgspec
import pytest

from hanse.registry.chance import wilson
from hanse.registry.model import Promise
from hanse.registry.quality import (
    CALLS_OF_A_VOICE,
    DAY_S,
    HOUR_S,
    PAYERS_MAX,
    PRIOR_SAMPLES,
    PROBE,
    Expected,
    Measured,
    Quality,
    Word,
    major_of,
)

PROMISE = Promise(latency_p95_ms=500, success_rate=0.9)


def after(*latencies: int | None, at_s: int = 0, payer: str = "") -> Quality:
    """Quality after calls in order; None is a call that failed."""
    found = Quality()
    for second, latency in enumerate(latencies):
        found.record(latency is not None, latency or 0, at_s + second, payer=payer)
    return found


def test_without_calls_nothing_is_measured_and_the_promise_is_expected() -> None:
    assert Quality().measured() == Measured()
    assert Quality().expected(PROMISE) == Expected(success_rate=0.9, latency_p95_ms=500)


def test_only_successful_calls_count_for_latency() -> None:
    found = after(100, None, 300).measured()
    assert found.samples == 3
    assert found.success_rate == pytest.approx(2 / 3)
    assert found.latency_p50_ms == pytest.approx(100, rel=0.03)
    assert found.latency_p95_ms == pytest.approx(300, rel=0.03)


def test_last_seen_is_the_last_success() -> None:
    assert after(10, 10, None).measured().last_seen_s == 1
    assert after(None).measured().last_seen_s is None


def test_refunds_are_counted_by_fault_and_those_that_are_nobodys_fault_are_not_held_against() -> (
    None
):
    found = Quality()
    for fault in ("declined-input", "schema-violation", "node-stopped", "too-late"):
        found.record(False, 0, 1, fault=fault)
    found.record(True, 5, 2)
    measured = found.measured()
    assert measured.samples == 4
    assert measured.success_rate == pytest.approx(1 / 4)
    assert (measured.declined, measured.schema_violations) == (1, 1)
    assert measured.refunds["node-stopped"] == 1


def test_who_declines_everything_is_expected_to_fail() -> None:
    found = Quality()
    for second in range(50):
        found.record(False, 3, second, fault="declined-input")
    assert found.expected(PROMISE).success_rate < 0.1


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
    assert found.latency_p95_ms > 1850


def test_failures_alone_leave_the_promised_latency() -> None:
    assert after(None, None).expected(PROMISE).latency_p95_ms == 500


@pytest.mark.parametrize("calls", [0, 1, 5, 50, 400])
def test_the_expected_rate_lies_between_the_measured_and_the_promised(calls: int) -> None:
    expected = after(*[None] * calls).expected(PROMISE).success_rate
    assert 0 <= expected <= PROMISE.success_rate
    worth = min(calls, CALLS_OF_A_VOICE)
    assert expected == pytest.approx(0.9 * PRIOR_SAMPLES / (worth + PRIOR_SAMPLES))


# --- windows ----------------------------------------------------------------------------------

NOW_S = 1_800_000_000 // DAY_S * DAY_S + 12 * HOUR_S + 60


def spread(*calls: tuple[int, bool]) -> Quality:
    """Quality now, after calls so many seconds ago."""
    found = Quality(now_s=lambda: NOW_S)
    for ago_s, good in sorted(calls, reverse=True):
        found.record(good, 100, NOW_S - ago_s)
    return found


def test_each_window_counts_what_ended_in_it() -> None:
    found = spread((10, True), (5 * HOUR_S, True), (3 * DAY_S, True), (40 * DAY_S, False))
    assert [found.measured(name).samples for name in ("hour", "day", "month")] == [1, 2, 3]


def test_what_is_older_than_two_months_is_dropped() -> None:
    found = spread((70 * DAY_S, False), (10, True))
    assert all(slot * span > NOW_S - 63 * DAY_S for _, span, slot in found.tallies)


def test_a_change_that_chance_does_not_explain_is_told_from_one_it_does() -> None:
    before = [(30 * HOUR_S, True)] * 80
    worse = spread(*before, *[(HOUR_S, index % 2 == 0) for index in range(80)]).trend()
    same = spread(*before, *[(HOUR_S, index != 0) for index in range(80)]).trend()
    assert worse is not None
    assert same is not None
    assert worse.success == pytest.approx(-0.5)
    assert worse.success_sure
    assert not same.success_sure
    assert spread((10, True)).trend() is None


def test_latencies_that_rose_are_a_trend_too() -> None:
    found = Quality(now_s=lambda: NOW_S)
    for index in range(60):
        found.record(True, 100 + index % 7, NOW_S - 30 * HOUR_S)
        found.record(True, 300 + index % 7, NOW_S - HOUR_S)
    trend = found.trend()
    assert trend is not None
    assert trend.latency_p50_ms == pytest.approx(200, abs=15)
    assert trend.latency_sure


def test_each_promised_figure_is_kept_broken_or_not_measured() -> None:
    promise = Promise(
        latency_p50_ms=90,
        latency_p95_ms=500,
        latency_p99_ms=600,
        success_rate=0.99,
        availability=0.9,
        throughput_per_s=3,
    )
    found = Quality()
    for second in range(200):
        found.record(second % 10 != 0, 100 if second % 50 else 700, second)
    kept = found.kept(promise)
    assert {name: row.kept for name, row in kept.items()} == {
        "latency_p50_ms": False,
        "latency_p95_ms": True,
        "latency_p99_ms": True,
        "success_rate": False,
        "availability": True,
        "throughput_per_s": None,
    }
    assert kept["success_rate"].sure
    assert all(row.kept is None for row in Quality().kept(promise).values())


def test_few_calls_are_not_sure_of_a_rate() -> None:
    assert not after(10, 10, None).kept(PROMISE)["success_rate"].sure


# --- voices -----------------------------------------------------------------------------------


def test_a_payer_whose_voice_is_nothing_is_counted_apart() -> None:
    def weigh(payers: Iterable[str]) -> dict[str, float]:
        return {payer: 0.0 if payer == "own" else 1.0 for payer in payers}

    found = Quality(weigh)
    for second in range(100):
        found.record(True, 10, second, payer="own")
    found.record(False, 10, 100, payer="stranger")
    measured = found.measured()
    assert (measured.samples, measured.unheard, measured.success_rate) == (1, 100, 0.0)


def test_one_payers_many_calls_weigh_as_many_as_a_voice_has() -> None:
    found = Quality()
    for second in range(10 * CALLS_OF_A_VOICE):
        found.record(True, 10, second, payer="loud")
    for second in range(CALLS_OF_A_VOICE):
        found.record(False, 10, second, payer="quiet")
    assert found.measured().success_rate == pytest.approx(0.5)
    assert found.measured().voices == 2


def test_the_lower_bound_rises_with_the_calls() -> None:
    lows = [after(*[10] * calls).measured().success_low for calls in (1, 10, 100)]
    assert lows == sorted(lows, key=lambda low: low or 0)
    assert lows[-1] == pytest.approx(wilson(100, 100)[0])
    assert wilson(0, 0) == (0.0, 1.0)


def test_more_payers_than_can_be_told_apart_count_together() -> None:
    found = Quality()
    for index in range(PAYERS_MAX + 50):
        found.record(True, 10, 1, payer=f"payer {index}")
    assert len({payer for payer, _, _ in found.tallies}) == PAYERS_MAX + 1
    assert found.measured().samples == PAYERS_MAX + 50


def test_a_probe_says_only_whether_somebody_is_there() -> None:
    found = after(10)
    for _ in range(3):
        found.add(PROBE, "provider-offline", None, 5)
    measured = found.measured()
    assert (measured.samples, measured.success_rate) == (1, 1.0)
    assert measured.availability == pytest.approx(1 / 4)


def test_what_other_nodes_say_counts_as_the_calls_they_are_believed() -> None:
    found = Quality()
    found.words = [Word(10.0, 0.0, {})]
    assert found.expected(PROMISE).success_rate == pytest.approx(0.9 * 5 / 15)
    assert found.measured().samples == 0


@pytest.mark.parametrize(
    ("version", "major"), [("2.1.0", 2), ("0.9", 0), ("", 0), ("x", 0), ("-1.0", 0), ("1" * 30, 0)]
)
def test_the_major_number_of_a_version(version: str, major: int) -> None:
    assert major_of(version) == major


def test_all_windows_can_be_written_as_json() -> None:
    found = spread((10, True), (30 * HOUR_S, False)).windows(PROMISE)
    text = msgspec.json.encode(found)
    assert list(msgspec.json.decode(text)) == ["hour", "day", "month"]
    assert found["month"].kept["latency_p95_ms"].kept
    assert found["hour"].trend is None
