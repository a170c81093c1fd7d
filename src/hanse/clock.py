"""The system's clock: the one place that reads the time for the inside."""

import time


class SystemClock:
    """Implements `ports.Clock`."""

    def now_s(self) -> int:
        """See `ports.Clock`."""
        return int(time.time())

    def now_ms(self) -> int:
        """See `ports.Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """See `ports.Clock`."""
        return time.perf_counter() * 1000
