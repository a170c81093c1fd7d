"""The optional alpha figures of kind 30085's first proposal, so that they can be compared.

Our levels do not rest on them: they need Lightning channels that a reader cannot check from events.
Amounts are in satoshi, as the proposal has them; days are days of 86,400 s.
"""

import math
from collections.abc import Sequence
from typing import Final

FLOOR_SAT: Final = 100_000.0
CAPACITY_FACTOR: Final = 10
DECAY_PER_DAY: Final = 0.0019
RECEIPT_RATE: Final = 5.0
UNVERIFIED_MAX: Final = 0.05
"""The commitment of funds that nobody can check, or that were spent since."""

FLOW_EPOCHS: Final = 100
DRIFT: Final = 0.1
THRESHOLD_DRIFT: Final = 0.115
_DAY_S: Final = 86_400


def threshold_sat(capacities_sat: Sequence[float]) -> float:
    """Where commitment saturates: ten times the median channel, never under the floor."""
    if not capacities_sat:
        return FLOOR_SAT
    found, middle = sorted(capacities_sat), len(capacities_sat) // 2
    median = found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
    return max(FLOOR_SAT, median * CAPACITY_FACTOR)


def drifted_threshold_sat(threshold: float, drift: float) -> float:
    """The threshold while the network's size drifts, never under the floor."""
    return max(FLOOR_SAT, threshold * math.exp(-THRESHOLD_DRIFT * drift))


def commitment(
    amount_sat: float, threshold: float, *, shared: int = 1, verified: bool = True
) -> float:
    """0 to 1, on a logarithmic scale up to the threshold; `shared` attestations rest on the same
    funds. 0 for a threshold that has no logarithm to divide by."""
    if threshold <= 1:
        return 0.0
    if not verified:
        return UNVERIFIED_MAX
    return min(1.0, math.log(amount_sat + 1) / math.log(threshold)) / max(1, shared)


def flow_commitment(epochs: int) -> float:
    """Of who has shown payments only, for so many epochs."""
    return min(UNVERIFIED_MAX, UNVERIFIED_MAX * math.log1p(epochs) / math.log1p(FLOW_EPOCHS))


def alpha(commitment: float, diversity: float) -> float:
    """Diversity counts the more, the less was committed."""
    return float(commitment * diversity ** (1 - commitment))


def decay_per_day(receipt_rate: float, drift: float = 0.0) -> float:
    """How fast alpha falls: faster for who is busy, and while the network changes."""
    base = DECAY_PER_DAY * (1 + math.log1p(receipt_rate / RECEIPT_RATE))
    return base * (1 + DRIFT * max(0.0, drift))


def decayed(alpha: float, per_day: float, days: float) -> float:
    """Alpha after some days."""
    return alpha * math.exp(-per_day * days)


def receipt_rate(times_s: Sequence[int], start_s: int, end_s: int) -> float:
    """Days with a receipt, as a share of the window's days."""
    days = {(at - start_s) // _DAY_S for at in times_s if start_s <= at <= end_s}
    return len(days) * _DAY_S / (end_s - start_s)
