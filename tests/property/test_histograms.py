"""Histograms: merged in any order they are the same, and no percentile is off by more than said."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hanse.registry.histogram import ERROR, bucket_of, merged, percentile, share_within
from hanse.registry.quality import Tally

latencies = st.lists(st.integers(0, 600_000), max_size=60)
shares = st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0])


def counted(values: list[int]) -> dict[int, int]:
    """The histogram of some values."""
    found: dict[int, int] = {}
    for value in values:
        found[bucket_of(value)] = found.get(bucket_of(value), 0) + 1
    return found


def tally(values: list[int]) -> Tally:
    """A tally of calls that took so long; those of 13 ms failed."""
    found = Tally({}, {}, 0)
    for value in values:
        found.add("settled" if value != 13 else "too-late", value, value)
    return found


@given(latencies, latencies, latencies)
def test_merging_is_associative_and_commutative(
    one: list[int], two: list[int], three: list[int]
) -> None:
    whole = tally(one + two + three)
    for order in ((one, two, three), (three, one, two), (two, three, one)):
        left = tally(order[0])
        left.merge(tally(order[1]))
        left.merge(tally(order[2]))
        inner = tally(order[1])
        inner.merge(tally(order[2]))
        right = tally(order[0])
        right.merge(inner)
        assert left == right == whole


@given(latencies.filter(bool), shares)
def test_a_percentile_is_within_the_error(values: list[int], share: float) -> None:
    exact = sorted(max(1, value) for value in values)[math.ceil(share * len(values) - 1e-9) - 1]
    found = percentile(counted(values), share)
    assert found is not None
    assert abs(found - exact) <= ERROR * exact * 1.0001 + 0.5


@given(latencies.filter(bool), shares, st.floats(0.01, 1))
def test_a_weight_on_everything_moves_no_percentile(
    values: list[int], share: float, weight: float
) -> None:
    plain = counted(values)
    assert percentile(merged([(plain, weight)]), share) == percentile(plain, share)


@given(latencies.filter(bool))
def test_all_is_within_the_most(values: list[int]) -> None:
    assert share_within(counted(values), max(values)) == 1
    assert percentile({}, 0.5) is None
    assert share_within({}, 5) is None
