"""Measured quality: what the broker's own calls say, shrunk toward the promise.

With few samples the promise counts as `PRIOR_SAMPLES` imagined calls, so that one lucky call
proves little and one broken promise is felt at once.
"""

from collections import deque

import msgspec

from hanse.registry.model import Promise

WINDOW = 256
"""Calls remembered per capability: enough for a p95, small enough to follow a change."""

PRIOR_SAMPLES = 5


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Figures from real calls. Latencies in ms over successful calls; None before the first."""

    samples: int = 0
    success_rate: float | None = None
    latency_p50_ms: int | None = None
    latency_p95_ms: int | None = None
    last_seen_s: int | None = None


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Measured figures shrunk toward the promise: what a caller should count on."""

    success_rate: float
    latency_p95_ms: int


class Quality:
    """The last calls of one capability."""

    __slots__ = ("_latencies", "_outcomes", "last_seen_s", "samples")

    def __init__(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self._latencies: deque[int] = deque(maxlen=WINDOW)
        self.samples = 0
        self.last_seen_s: int | None = None

    def record(self, success: bool, latency_ms: int, at_s: int) -> None:
        """Add one finished call."""
        self._outcomes.append(success)
        self.samples += 1
        if success:
            self._latencies.append(latency_ms)
            self.last_seen_s = at_s

    def measured(self) -> Measured:
        """The figures over the window."""
        if not self._outcomes:
            return Measured()
        ordered = sorted(self._latencies)
        return Measured(
            samples=self.samples,
            success_rate=sum(self._outcomes) / len(self._outcomes),
            latency_p50_ms=percentile(ordered, 0.50),
            latency_p95_ms=percentile(ordered, 0.95),
            last_seen_s=self.last_seen_s,
        )

    def expected(self, promise: Promise) -> Expected:
        """The figures to count on, given what was promised."""
        return expect(self.measured(), promise, len(self._outcomes), sum(self._outcomes))


def percentile(ordered: list[int], share: float) -> int | None:
    """The nearest-rank percentile of sorted values, or None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100 * len(ordered)) // 100) - 1))]


def expect(measured: Measured, promise: Promise, calls: int, successes: int) -> Expected:
    """Shrink measured figures toward the promise by `PRIOR_SAMPLES` imagined calls."""
    prior = PRIOR_SAMPLES
    rate = (successes + prior * promise.success_rate) / (calls + prior)
    seen = measured.latency_p95_ms
    if seen is None:
        return Expected(success_rate=rate, latency_p95_ms=promise.latency_p95_ms)
    weight = successes / (successes + prior)
    latency = weight * seen + (1 - weight) * promise.latency_p95_ms
    return Expected(success_rate=rate, latency_p95_ms=round(latency))
