"""From what matched to a ranked, explained list.

score = relevance × quality × price × presence        each factor 0 to 1

relevance  how well the words fit (the store's figure)
quality    expected success rate to the fourth power × 1 while the expected p95 is inside the
           promise, promise / expected beyond it × 0.4 unproven to 1 proven (`quality.figure`)
price      1 / (1 + log10(1 + sat) / 4): ten times the price costs about a quarter
presence   1 if the provider is connected, 0.05 if not
"""

import math
from typing import Literal

from hanse.registry.model import Capability, Match
from hanse.registry.quality import Expected, Measured, Quality, figure
from hanse.registry.search import Constraints, Hit

OFFLINE_FACTOR = 0.05

Excluded = Literal["price", "latency", "success"]


def judge(
    match: Match, quality: Quality, constraints: Constraints, *, online: bool
) -> Hit | Excluded:
    """Score one match, or say which constraint it fails."""
    capability = match.offer.capability(match.capability)
    assert capability is not None  # the store indexes only capabilities of the offer it returns
    measured, expected = quality.measured(), quality.expected(match.offer.promise)
    if constraints.max_price is not None and capability.price > constraints.max_price:
        return "price"
    if (
        constraints.latency_p95_ms is not None
        and expected.latency_p95_ms > constraints.latency_p95_ms
    ):
        return "latency"
    # Shrunk figures rarely reach the promise exactly: a hair of rounding must not exclude it.
    if (
        constraints.success_rate is not None
        and expected.success_rate + 1e-9 < constraints.success_rate
    ):
        return "success"
    return Hit(
        offer=match.offer,
        capability=capability,
        score=_score(match, capability, expected, online),
        measured=measured,
        expected=expected,
        online=online,
        reasons=_reasons(match, capability, measured, expected, constraints, online),
    )


def _score(match: Match, capability: Capability, expected: Expected, online: bool) -> float:
    price = 1 / (1 + math.log10(1 + capability.price.msat / 1000) / 4)
    presence = 1.0 if online else OFFLINE_FACTOR
    score = match.relevance * figure(expected, match.offer.promise) * price * presence
    return round(score, 6)


def _reasons(
    match: Match,
    capability: Capability,
    measured: Measured,
    expected: Expected,
    constraints: Constraints,
    online: bool,
) -> tuple[str, ...]:
    promise = match.offer.promise
    found = [f"matches {', '.join(match.words)}" if match.words else "matches by related words"]
    if measured.samples and measured.success_rate is not None:
        calls = "call" if measured.samples == 1 else "calls"
        found.append(
            f"success {measured.success_rate:.1%} over {measured.samples} {calls} "
            f"(promised {promise.success_rate:.1%}), count on {expected.success_rate:.1%}"
        )
        if measured.latency_p95_ms is not None:
            found.append(
                f"p50 {measured.latency_p50_ms} ms, p95 {measured.latency_p95_ms} ms "
                f"(promised {promise.latency_p95_ms} ms)"
            )
    else:
        found.append(
            f"no calls measured yet; promises {promise.success_rate:.1%} "
            f"within {promise.latency_p95_ms} ms"
        )
    cap = f", your cap is {constraints.max_price}" if constraints.max_price is not None else ""
    found.append(f"price {capability.price} a call{cap}")
    found.append("provider is connected" if online else "provider is not connected now")
    return tuple(found)
