"""Token buckets against their promise: so many a second, so many at once, in so much memory."""

from hypothesis import given
from hypothesis import strategies as st

from hanse.servers.relay.buckets import Buckets, Rate

RATES = st.builds(
    Rate,
    per_s=st.floats(0.1, 5000, allow_nan=False, allow_infinity=False),
    burst=st.integers(1, 200),
)
STEPS = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 3000)), max_size=300)


@given(rate=RATES, steps=STEPS)
def test_no_window_lets_through_more_than_its_time_and_a_burst(
    rate: Rate, steps: list[tuple[int, float]]
) -> None:
    buckets, now, taken = Buckets(rate, 100), 0.0, dict[int, list[float]]()
    for name, passed in steps:
        now += passed
        if not buckets.take(name, now):
            taken.setdefault(name, []).append(now)
    for times in taken.values():
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                allowed = rate.burst + rate.per_s * (times[last] - start) / 1000
                assert last - first + 1 <= allowed + 0.01


@given(rate=RATES, names=st.lists(st.integers(), max_size=300), room=st.integers(1, 20))
def test_memory_is_bounded_whoever_comes(rate: Rate, names: list[int], room: int) -> None:
    buckets = Buckets(rate, room)
    for moment, name in enumerate(names):
        buckets.take(name, float(moment))
        assert len(buckets) <= room + 1


@given(rate=RATES, steps=STEPS)
def test_who_waits_as_long_as_told_is_let_through(
    rate: Rate, steps: list[tuple[int, float]]
) -> None:
    buckets, now = Buckets(rate, 100), 0.0
    for name, passed in steps:
        now += passed
        wait = buckets.take(name, now)
        if wait:
            now += wait
            assert not buckets.take(name, now)


def test_names_beyond_the_memory_share_one_bucket() -> None:
    buckets = Buckets(Rate(1, 2), 2)
    assert not any(buckets.take(name, 0) for name in ("a", "b"))
    assert [bool(buckets.take(name, 0)) for name in ("c", "d", "e")] == [False, False, True]
    assert not buckets.take("a", 0)


def test_a_full_bucket_makes_room_for_another() -> None:
    buckets = Buckets(Rate(1, 1), 2)
    assert not any(buckets.take(name, 0) for name in ("a", "b"))
    assert not buckets.take("c", 5000)
    assert len(buckets) == 1


def test_who_takes_several_at_once_owes_what_was_not_there() -> None:
    buckets = Buckets(Rate(1, 2), 2)
    assert not buckets.take("a", 0, 5)
    assert buckets.take("a", 0) == 4000
    assert buckets.take("a", 3999)
    assert not buckets.take("a", 4000)
