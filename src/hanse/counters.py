"""Figures that parts keep about themselves: plain integers, read when somebody asks.

A hot path adds to an integer and does nothing else; names, labels and text are made at the reading.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

Number = int | float


class Histogram:
    """How often a value fell under each bound. One writer at a time."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many were added."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, int]]:
        """(upper bound, how many were at or under it), as Prometheus counts them."""
        found, sum_ = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            sum_ += count
            found.append((bound, sum_))
        return found


class Tally:
    """Counts by a word from a small set, such as a refusal's."""

    __slots__ = ("counts",)

    def __init__(self, *words: str) -> None:
        self.counts = dict.fromkeys(words, 0)

    def add(self, word: str, count: int = 1) -> None:
        """`count` more of this word."""
        self.counts[word] = self.counts.get(word, 0) + count


class Commits:
    """A database's writes: how many shared a commit, and how long it took to be on disk."""

    __slots__ = ("seconds", "writes")

    def __init__(self) -> None:
        self.writes = Histogram(SIZES)
        self.seconds = Histogram(SECONDS)


class Family(msgspec.Struct, frozen=True):
    """One named figure as a monitor reads it. `label` names the key of `values`; a figure without
    a label has the one key ""."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    about: str
    values: Mapping[str, Number | Histogram]
    label: str = ""
