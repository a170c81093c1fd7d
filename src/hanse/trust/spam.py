"""What a relay refused of somebody as spam, as evidence of its operator's own.

Counted by day. A little is noise; beyond it a day weighs in proportion, up to one bad dealing. It
only ever lowers: it is blame, and its rater is not one more who knows the subject.
"""

import heapq
import itertools
from collections.abc import Iterable, Mapping
from typing import Final

from hanse.trust.model import Cause, Operator, Outcome

DAY_S: Final = 86_400
QUIET: Final = 100
"""Refused events of one day that weigh nothing: a client that has not learned the rules yet."""

EVENTS_A_DEALING: Final = 1_000
"""Refused events that weigh as one bad dealing of weight one."""

DAY_MAX: Final = 1.0
"""What one day weighs at most, however many they were."""

KEPT_DAYS: Final = 365
"""Older days count for nothing, and are forgotten."""

NAMES_MAX: Final = 10_000
"""Names counted at once in memory."""


def weight_of(count: int) -> float:
    """What so many refused events of one day weigh."""
    return 0.0 if count < QUIET else min(DAY_MAX, count / EVENTS_A_DEALING)


def spam_outcomes(
    days: Mapping[int, int], *, by: Operator, of: Operator, now_s: int
) -> list[Outcome]:
    """One outcome for each day (since 1970) on which the relay of `by` refused much of `of`."""
    today = now_s // DAY_S
    return [
        Outcome(
            rater=by,
            subject=of,
            bad=weight_of(count),
            at_s=day * DAY_S,
            cause=Cause.SPAM,
            count=count,
        )
        for day, count in sorted(days.items())
        if today - KEPT_DAYS < day <= today and weight_of(count)
    ]


class Refusals:
    """Refused events by name, since they were last taken out. Of more than `names_max` names the
    louder half stays: nobody is ever charged with more than they did."""

    __slots__ = ("_counts", "_names_max")

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._counts: dict[Operator, int] = {}
        self._names_max = names_max

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, name: Operator, count: int = 1) -> None:
        """So many more of this name."""
        counts = self._counts
        known = counts.get(name)
        if known is None and len(counts) >= self._names_max:
            loud = heapq.nlargest(
                len(counts) // 2, counts.items(), key=lambda one: (one[1], one[0])
            )
            counts.clear()
            counts.update(loud)
        counts[name] = count + (known or 0)

    def take(self, limit: int = NAMES_MAX) -> list[tuple[Operator, int]]:
        """Some of them, by name; they begin anew."""
        found = sorted(itertools.islice(self._counts.items(), limit))
        for name, _ in found:
            del self._counts[name]
        return found

    def put_back(self, counts: Iterable[tuple[Operator, int]]) -> None:
        """What was taken and could not be kept."""
        for name, count in counts:
            self.add(name, count)
