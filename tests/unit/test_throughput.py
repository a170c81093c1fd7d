"""Throughput: what the calls of one minute show, and when a promise of so many a second is kept."""

from collections.abc import Iterable
from random import Random

import msgspec
import pytest

from hanse.broker.model import Fault
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Promise
from hanse.registry.observed import Observed, tallied, together
from hanse.registry.quality import DAY_S, HOUR_S, LOAD, Ended, Kept, Quality, Tally, new_tally
from hanse.registry.throughput import PEAKS, REFUSED_SURE, RUNNING, Minute, count, trim

START_S = 1_000 * DAY_S
ADDRESS = f"31402:{'b' * 64}:clock"
NODE = PublicKey("c" * 64)


def call(
    number: int, at_s: int, *, payer: str = "a" * 64, busy: bool = False, end: str = ""
) -> Ended:
    return Ended(
        id=number.to_bytes(32, "big"),
        address=ADDRESS,
        capability="now",
        major=1,
        caller=payer,
        provider="b" * 64,
        payer=payer,
        payee="b" * 64,
        end=end or (Fault.ERROR.value if busy else "settled"),
        latency_ms=10,
        at_s=at_s,
        busy=busy,
    )


def seen(calls: Iterable[Ended], now_s: int = START_S + 600) -> Quality:
    found = Observed(NODE, lambda: now_s)
    for ended in calls:
        found.record(ended)
    return found.quality(ADDRESS, "now", "1.0.0")


def judged(quality: Quality, per_s: float) -> Kept:
    return quality.kept(Promise(throughput_per_s=per_s), "day")["throughput_per_s"]


def test_the_best_minute_bounds_what_a_provider_can_do() -> None:
    calls = [call(n, START_S + n // 2) for n in range(240)]  # two a second, for two minutes
    quality = seen(calls)
    measured = quality.measured("day")
    assert measured.throughput_per_s == 2.0
    assert measured.turned_away == 0
    assert judged(quality, 2).kept is True
    assert judged(quality, 2.01).kept is None


def test_calls_of_the_providers_own_operator_prove_nothing() -> None:
    calls = [call(n, START_S, payer="b" * 64) for n in range(600)]
    quality = seen([*calls, call(600, START_S)])
    assert quality.measured("day").throughput_per_s == pytest.approx(1 / 60)
    assert judged(quality, 5).kept is None


def test_a_promise_kept_is_sure_once_the_payers_voices_amount_to_it() -> None:
    def half(payers: Iterable[str]) -> dict[str, float]:
        return dict.fromkeys(payers, 0.5)

    equal, quiet = Quality(), Quality(half)
    for found in (equal, quiet):
        for _ in range(120):
            found.record(True, 10, START_S, payer="one")
    assert (judged(equal, 2).kept, judged(equal, 2).sure) == (True, True)
    assert (judged(quiet, 2).kept, judged(quiet, 2).sure) == (True, False)
    assert judged(quiet, 1).sure
    assert quiet.measured("day").throughput_low_per_s == 1.0


def test_calls_of_the_providers_own_operator_take_nothing_from_the_proof_of_others() -> None:
    own = [call(n, START_S, payer="b" * 64) for n in range(60)]
    others = [call(100 + n, START_S, payer=NODE) for n in range(60)]  # the node's own operator
    found = judged(seen([*own, *others]), 1)
    assert (found.kept, found.sure) == (True, True)


def test_calls_refused_below_the_promised_rate_break_it() -> None:
    calls = [call(n, START_S + n, busy=n % 10 == 9) for n in range(40)]
    quality = seen(calls)
    assert quality.measured("day").turned_away == 4
    broken = judged(quality, 1)
    assert (broken.kept, broken.sure) == (False, True)
    assert broken.measured == pytest.approx(36 / 60)
    expected = quality.expected(Promise(throughput_per_s=1)).throughput_per_s
    assert expected is not None
    assert expected < 1


def test_calls_refused_beyond_the_promised_rate_break_nothing() -> None:
    calls = [call(n, START_S, busy=n >= 60) for n in range(100)]
    assert judged(seen(calls), 1).kept is True
    assert judged(seen(calls[50:]), 0.5).kept is None


def test_one_call_refused_is_not_sure_evidence() -> None:
    calls = [call(n, START_S, busy=n < REFUSED_SURE - 1) for n in range(20)]
    found = judged(seen(calls), 1)
    assert (found.kept, found.sure) == (False, False)
    assert seen(calls).expected(Promise(throughput_per_s=1)).throughput_per_s == 1


def test_all_that_was_asked_counts_against_a_refusal_whoever_asked() -> None:
    """A provider whom its own operator keeps busy is not blamed for turning others away."""
    own = [call(n, START_S, payer="b" * 64) for n in range(60)]
    others = [call(100 + n, START_S, busy=True) for n in range(5)]
    assert judged(seen([*own, *others]), 1).kept is None


def test_a_month_shows_its_best_minute_and_the_refusals_of_two_days() -> None:
    calls = [call(n, START_S) for n in range(120)]
    calls += [call(200 + n, START_S, busy=True) for n in range(5)]
    late = START_S + 5 * DAY_S
    calls += [call(300 + n, late, busy=n < 3) for n in range(4)]
    measured = seen(calls, late + 60).measured("month")
    assert (measured.throughput_per_s, measured.turned_away) == (2.0, 3)


def test_a_search_may_ask_for_what_nobody_promised_but_was_seen() -> None:
    quality = Quality()
    for _ in range(90):
        quality.record(True, 10, START_S, payer="one")
    assert quality.expected(Promise()).throughput_per_s == 1.5
    assert Quality().expected(Promise()).throughput_per_s is None
    assert Quality().expected(Promise(throughput_per_s=9)).throughput_per_s == 9


@pytest.mark.parametrize("seed", range(20))
def test_tallies_are_the_same_in_whatever_steps_the_calls_are_counted(seed: int) -> None:
    random = Random(seed)
    at_s, calls = START_S, []
    for number in range(400):
        at_s += random.choice((0, 0, 1, 5, 70))
        calls.append(call(number, at_s, busy=random.random() < 0.2))
    at_once = Observed(NODE)
    for ended in calls:
        at_once.record(ended)
    kept: dict[tuple[str, int, int], Tally] = {}
    while calls:
        end = random.randint(1, 90)
        for (_, place), more in tallied(calls[:end]).items():
            kept[place] = together(place, kept.get(place, new_tally()), more)
        del calls[:end]
    assert kept == at_once.quality(ADDRESS, "now", "1.0.0").tallies


def test_a_day_keeps_its_best_minutes_and_those_that_go_on() -> None:
    minutes: dict[int, Minute] = {}
    for minute in range(100):
        for _ in range(minute % 30):
            count(minutes, minute * 60, settled=True, busy=False)
        trim(minutes)
    assert len(minutes) == PEAKS + RUNNING
    assert sorted((found[0] for found in minutes.values()), reverse=True)[:3] == [29, 29, 29]


def test_what_was_kept_before_there_were_minutes_can_be_read() -> None:
    old = msgspec.msgpack.encode([{"settled": 2}, {5: 2}, 7])
    found = msgspec.msgpack.decode(old, type=Tally)
    assert (found.counted, found.minutes) == (2, {})
    quality = Quality()
    quality.put(("one", HOUR_S, START_S // HOUR_S), found)
    quality.put((LOAD, HOUR_S, START_S // HOUR_S), Tally({}, {}, 0, {5: (1, 0, 1)}))
    assert quality.measured("hour").samples == 2
