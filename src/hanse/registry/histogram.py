"""Latencies in log-spaced buckets: small, mergeable in any order, percentiles within 2 %.

Bucket `i` holds what lies over GAMMA^(i-1) and up to GAMMA^i ms; its middle stands for all of
them. Adding two histograms adds their counts, so a merge is associative and commutative, and parts
of a window can be kept apart and weighed.
"""

import math
from collections.abc import Iterable, Mapping

GAMMA = 1.04
ERROR = (GAMMA - 1) / (GAMMA + 1)
"""The most a percentile may be off, as a share of it (a rounded millisecond comes on top)."""

_LOG = math.log(GAMMA)

Counts = Mapping[int, float]
"""How many values each bucket holds; weighed ones need not be whole."""


def bucket_of(latency_ms: int) -> int:
    """Where a latency belongs. What took no millisecond counts as one."""
    return math.ceil(math.log(latency_ms) / _LOG) if latency_ms > 1 else 0


def middle_ms(bucket: int) -> float:
    """What a bucket stands for: no value in it is further off than ERROR."""
    return float(2 * GAMMA**bucket / (GAMMA + 1)) if bucket > 0 else 1.0


def merged(parts: Iterable[tuple[Counts, float]]) -> dict[int, float]:
    """Several histograms as one, each times its weight."""
    found: dict[int, float] = {}
    for counts, weight in parts:
        for bucket, count in counts.items():
            found[bucket] = found.get(bucket, 0) + count * weight
    return found


def percentile(counts: Counts, share: float) -> int | None:
    """The nearest-rank percentile in ms, or None of nothing."""
    total = sum(counts.values())
    if total <= 0:
        return None
    # A hair less: sums of weights must not push a rank that is met into the next bucket.
    wanted, seen = share * total * (1 - 1e-9), 0.0
    last = 0
    for last in sorted(counts):
        seen += counts[last]
        if seen >= wanted:
            break
    return max(1, round(middle_ms(last)))


def share_within(counts: Counts, limit_ms: int) -> float | None:
    """The share of values up to a limit, by whole buckets, or None of nothing."""
    total = sum(counts.values())
    if total <= 0:
        return None
    most = bucket_of(limit_ms)
    return sum(count for bucket, count in counts.items() if bucket <= most) / total
