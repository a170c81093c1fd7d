"""Token buckets, one for each name: how often something may happen. Pure; time comes in.

A bucket is one number, the time at which it is full again. It holds `burst` tokens, of which
`per_s` come back each second. A full bucket says no more than none at all, so it is forgotten; when
more names than `names_max` have a bucket that is not full, the others share one.
"""

from collections.abc import Hashable

import msgspec

SHARED = object()
"""The name of the bucket that those without one of their own share."""

TIDY_MS = 1000.0
"""Full buckets are looked for at most this often: it takes a pass over all."""


class Rate(msgspec.Struct, frozen=True):
    """`per_s` events a second for as long as one likes, and `burst` of them at once."""

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_s <= 0 or self.burst < 1:
            raise ValueError("a rate and its burst must be positive")


class Buckets:
    """The buckets of one rate."""

    __slots__ = ("_full_ms", "_names_max", "_room_ms", "_step_ms", "_tidied_ms")

    def __init__(self, rate: Rate, names_max: int) -> None:
        self._step_ms = 1000.0 / rate.per_s
        self._room_ms = self._step_ms * (rate.burst - 1)
        self._names_max = names_max
        self._full_ms: dict[Hashable, float] = {}
        self._tidied_ms = -TIDY_MS

    def __len__(self) -> int:
        return len(self._full_ms)

    def take(self, name: Hashable, now_ms: float, count: int = 1) -> float:
        """Take a token; 0.0 if there was one, else the milliseconds until there is. Of several all
        are taken if there is one: what was not there is owed."""
        full = self._full_ms
        at = full.get(name)
        if at is None:
            if len(full) >= self._names_max:
                name = self._make_room(name, now_ms)
                at = full.get(name, now_ms)
            else:
                at = now_ms
        if at < now_ms:
            at = now_ms
        wait = at - now_ms - self._room_ms
        # Sums of fractions of a millisecond are not exact: less than a microsecond is no wait.
        if wait > 0.001:
            return wait
        full[name] = at + self._step_ms * count
        return 0.0

    def _make_room(self, name: Hashable, now_ms: float) -> Hashable:
        full = self._full_ms
        if now_ms - self._tidied_ms >= TIDY_MS:
            self._tidied_ms = now_ms
            for found in [found for found, at in full.items() if at <= now_ms]:
                del full[found]
        return name if len(full) < self._names_max else SHARED
