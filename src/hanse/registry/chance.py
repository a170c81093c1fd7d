"""What chance explains: bounds of a rate that was seen so often, and whether two rates differ."""

import math

Z = 1.96
"""Both bounds and trends: 19 of 20 times right."""


def wilson(good: float, total: float) -> tuple[float, float]:
    """Bounds of a rate, given how often it was seen: Wilson's interval, which needs no whole
    counts and stays within 0 and 1."""
    if total <= 0:
        return 0.0, 1.0
    rate, square = good / total, Z * Z
    middle = rate + square / (2 * total)
    half = Z * math.sqrt(max(0.0, rate * (1 - rate) / total + square / (4 * total * total)))
    below = 1 + square / total
    return max(0.0, (middle - half) / below), min(1.0, (middle + half) / below)


def differ(one: float, weight_one: float, two: float, weight_two: float) -> bool:
    """Whether two rates differ by more than chance explains (two-proportion z test)."""
    if weight_one <= 0 or weight_two <= 0:
        return False
    both = (one * weight_one + two * weight_two) / (weight_one + weight_two)
    spread = both * (1 - both) * (1 / weight_one + 1 / weight_two)
    return spread > 0 and abs(one - two) > Z * math.sqrt(spread)
