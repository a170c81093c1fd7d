"""How many calls a minute a capability settled, and whether it turned callers away too early.

A call belongs to the minute in which it ended. The most that settled in one minute bounds from
below what a provider can do: nobody knows more until somebody asks for more. A promise of n calls
a second is one of 60 n in any minute, however they come; so calls refused as too many in a minute
in which no more were asked for break it, and silence breaks nothing.

Calls of the provider's own operator are load, never proof.
"""

from collections.abc import Iterable, Mapping

import msgspec

MINUTE_S = 60

Minute = tuple[int, int, int]
"""Calls that settled for others, that the provider refused as too many, that ended at all."""

PEAKS = 5
"""Minutes of a day that are kept: its best. An hour's are kept all."""
RUNNING = 2
"""Minutes that may still go on."""

REFUSED_SURE = 3
"""So many calls refused below the promised rate are no accident."""

BUSY = "rate-limited:"
"""How a provider's answer begins that refuses a call because there are too many."""


def count(minutes: dict[int, Minute], at_s: int, *, settled: bool, busy: bool) -> None:
    """Add one call that ended."""
    was = minutes.get(at_s // MINUTE_S, (0, 0, 0))
    minutes[at_s // MINUTE_S] = (was[0] + settled, was[1] + busy, was[2] + 1)


def merge(minutes: dict[int, Minute], others: Mapping[int, Minute]) -> None:
    """Add the calls of others."""
    for minute, more in others.items():
        was = minutes.get(minute, (0, 0, 0))
        minutes[minute] = (was[0] + more[0], was[1] + more[1], was[2] + more[2])


def trim(minutes: dict[int, Minute]) -> None:
    """Keep the best minutes, and those that may go on. The same in whatever steps calls came, as
    long as they came in the order in which they ended."""
    if len(minutes) <= PEAKS + RUNNING:
        return
    over = sorted(minutes)[:-RUNNING]
    over.sort(key=lambda minute: (-minutes[minute][0], minute))
    for minute in over[PEAKS:]:
        del minutes[minute]


class Load(msgspec.Struct, frozen=True):
    """A window: the most calls settled in one minute, and each minute with calls refused as too
    many: how many, of how many that were asked."""

    most: int = 0
    refused: tuple[tuple[int, int], ...] = ()

    @property
    def refusals(self) -> int:
        """Calls refused as too many."""
        return sum(busy for busy, _ in self.refused)

    def below(self, promised_per_s: float) -> int:
        """Calls refused in minutes in which no more were asked than were promised."""
        most = promised_per_s * MINUTE_S * (1 + 1e-9)
        return sum(busy for busy, asked in self.refused if asked <= most)


NOTHING = Load()


def load_of(best: Iterable[Minute], whole: Iterable[Minute]) -> Load:
    """What minutes amount to: `best` may leave some out, `whole` may not, since what was asked in
    a minute must be all of it."""
    most = max((settled for settled, _, _ in best), default=0)
    return Load(most, tuple(sorted((busy, asked) for _, busy, asked in whole if busy)))


def judge(load: Load, voice: float, promised_per_s: float) -> tuple[bool | None, bool]:
    """Whether a promise was kept (None: nobody asked for so much), and whether that is sure.
    `voice` is what the window's calls count on average, 0 to 1."""
    refused = load.below(promised_per_s)
    if refused >= REFUSED_SURE:
        return False, True
    if load.most >= promised_per_s * MINUTE_S * (1 - 1e-9):
        return True, voice * load.most >= promised_per_s * MINUTE_S * (1 - 1e-9)
    return (False if refused else None), False
