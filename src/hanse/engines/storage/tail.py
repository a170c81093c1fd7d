"""The end of the log that no index has yet: what it is in memory, and how a filter finds it.

To index an event dirties six pages, wherever its id, author and tags lie in the indexes. Of many
events at once, some share a page. So nearly all events are written in one row for each commit, in a
file beside the database (`keeper.py`), and later many of them move into the tables at once:

    commit ─→ row of `fresh` ─→ OK ┄┄ many commits later ┄┄→ event, tag, event_text
                   └──→ Tail: queries look here too ─────────────────┘ and no longer

What they replace or delete stays in the tables until then: `Run.gone` has its numbers, and no
reader is shown it any more.

A node that ends moves them too; one that was killed finds them when it starts (`resume`). A copy of
the database has them in a table of its own. `Tail` belongs to the event loop.
"""

import time
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

Row = tuple[Any, ...]

RUN_EVENTS = 32_768
"""Events that move into the tables together. In a log of a million, a quarter as many dirty twice
the pages each, and cost 0.02 ms more."""

RUN_BYTES = 64 << 20
"""Bytes of them, if that is reached before."""

STEP_EVENTS = 2048
"""After each so many of them moving gives way to who waits to write something else: who then waits
for the commit of what has moved, 0.1 to 0.5 s."""

RUNS_WAITING = 2
"""So many times that may be kept aside; more has to wait until some has moved."""

FEW = 512
DIRECT_S = 0.5
"""When fewer than so many had to move early, for something that needed them in the tables, nothing
is kept aside for as long: what moves a few at a time is written twice for nothing."""

DEFER_S = 0.5
"""When nothing is written for so long, what waits is moved."""

AGE_S = 5.0
"""No event waits longer."""


class Run(msgspec.Struct, frozen=True, gc=False):
    """Events of one commit, as the tables take them; the last of `rows` is the newest."""

    rows: list[Row]
    """seq, id, pubkey, created_at, kind, expires, address, json."""
    tags: list[Row]
    events: list[Event]
    gone: tuple[int, ...] = ()
    """Numbers of what these replace and delete, wherever it is."""
    forbidden: tuple[Row, ...] = ()
    """(target, pubkey, until) of what their deletions forbid."""
    at_s: float = msgspec.field(default_factory=time.monotonic)

    def is_old(self) -> bool:
        """Whether it has waited long enough."""
        return time.monotonic() - self.at_s > AGE_S

    @property
    def bytes(self) -> int:
        """About what it takes in memory besides the events, whose JSON is as large."""
        json = sum([len(row[7]) for row in self.rows])
        return json + 128 * (len(self.tags) + 2 * len(self.forbidden) + len(self.gone))

    @property
    def last(self) -> int:
        """The newest number."""
        return int(self.rows[-1][0])


class Deferred:
    """What `fresh` holds, as the writer knows it."""

    __slots__ = ("bytes", "count", "forbidden", "gone", "rows", "runs", "versions")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.rows: dict[bytes, Row] = {}
        """By id, all that was not replaced or deleted since."""
        self.versions: dict[str, Row] = {}
        """The same by address, of what has one."""
        self.gone: set[int] = set()
        """Numbers of what was, here and in the tables."""
        self.forbidden: dict[str, list[Row]] = {}
        """By target."""
        self.count = 0
        self.bytes = 0

    def drop(self, last: int) -> None:
        """Up to this number they are in the tables."""
        gone = [run for run in self.runs if run.last <= last]
        self.runs = [run for run in self.runs if run.last > last]
        for run in gone:
            for row in run.rows:
                self._forget(row)
            self.count -= len(run.rows)
            self.bytes -= run.bytes
        if any(run.gone for run in gone):
            self.gone = {seq for run in self.runs for seq in run.gone}
        if any(run.forbidden for run in gone):
            self.forbidden = {}
            for run in self.runs:
                self._forbid(run)

    def add(self, run: Run) -> None:
        """A commit wrote these."""
        self.runs.append(run)
        for row in run.rows:
            self.rows[row[1]] = row
            if row[6] is not None:
                self.versions[row[6]] = row
        for seq in run.gone:
            rows = self.runs[bisect_left(self.runs, seq, key=lambda run: run.last)].rows
            if seq >= rows[0][0]:  # if not, it is in the tables
                self._forget(rows[seq - rows[0][0]])
        self.gone.update(run.gone)
        self._forbid(run)
        self.count += len(run.rows)
        self.bytes += run.bytes

    def _forget(self, row: Row) -> None:
        """It moved, or went."""
        if self.rows.get(row[1]) is row:  # or it came again
            del self.rows[row[1]]
        if row[6] is not None and self.versions.get(row[6]) is row:
            del self.versions[row[6]]

    def _forbid(self, run: Run) -> None:
        for row in run.forbidden:
            self.forbidden.setdefault(row[0], []).append(row)

    @property
    def is_full(self) -> bool:
        """Whether they should move now."""
        return self.count >= RUN_EVENTS or self.bytes >= RUN_BYTES

    @property
    def is_too_much(self) -> bool:
        """Whether no more may be kept aside."""
        most = RUNS_WAITING
        return self.count >= most * RUN_EVENTS or self.bytes >= most * RUN_BYTES


def in_steps(runs: list[Run]) -> Iterator[list[Run]]:
    """The runs in order, at most STEP_EVENTS at a time, and what deletions name, or one run."""
    step: list[Run] = []
    count = 0
    for run in runs:
        size = len(run.rows) + len(run.forbidden)
        count += size
        if step and count > STEP_EVENTS:
            yield step
            step, count = [], size
        step.append(run)
    if step:
        yield step


Entry = tuple[int, int, Row, Event]
"""Of lists in which what a query wants first is last: when, and the lower id after the higher."""


class Tail:
    """What was announced and is not in the tables yet, as far as the loop knows: never less. Costs
    nothing until somebody asks."""

    __slots__ = ("_by", "_frozen", "_indexed", "_runs", "gone")

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self.gone: set[int] = set()
        """Numbers of what is replaced or deleted by what is here."""
        self._frozen: frozenset[int] = frozenset()
        self._forget()

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> None:
        """These are on disk."""
        self._runs.append(run)
        self.gone.update(run.gone)

    def drop(self, last: int | None = None) -> None:
        """Up to this number all is in the tables; without one, all that was added."""
        if self._runs:
            left = [run for run in self._runs if last is not None and run.last > last]
            if len(left) < len(self._runs):
                self._runs = left
                self.gone = {seq for run in left for seq in run.gone}
                self._frozen = frozenset()
                self._forget()

    def gone_now(self) -> frozenset[int]:
        """`gone` as it is: for who goes on with it in another thread, or later."""
        if len(self._frozen) != len(self.gone):  # both only grow, until all begins anew
            self._frozen = frozenset(self.gone)
        return self._frozen

    def event(self, id: str) -> Event | None:
        """The event of that id, if it is here."""
        for _, _, row, event in self._index().get(("ids", id), ()):
            if row[0] not in self.gone:
                return event
        return None

    def find(self, found: Filter, now_s: int, reader: frozenset[PublicKey], most: int) -> list[Row]:
        """(seq, created_at, id, json) of what a filter passes: the newest `most`, whatever its
        limit, and perhaps more, in any order."""
        by, gone = self._index(), self.gone
        rows: dict[int, Row] = {}
        for key in _keys(found):
            left = most
            for _, _, row, event in reversed(by.get(key, ())):
                if (
                    found.matches(event)
                    and row[0] not in gone
                    and (row[5] is None or row[5] > now_s)
                    and (event.kind not in kinds.PRIVATE or _is_for(event, reader))
                ):
                    rows[row[0]] = (row[0], row[3], row[1], row[7])
                    left -= 1
                    if left <= 0:
                        break
        return list(rows.values())

    def _forget(self) -> None:
        self._by: dict[tuple[str, object], list[Entry]] = {}
        self._indexed = 0

    def _index(self) -> dict[tuple[str, object], list[Entry]]:
        by = self._by
        for run in self._runs[self._indexed :]:
            for row, event in zip(run.rows, run.events, strict=True):
                entry = (row[3], -int.from_bytes(row[1], "big"), row, event)
                for key in (
                    ("ids", event.id),
                    ("authors", event.pubkey),
                    ("kinds", event.kind),
                    ("", None),
                    *{("#" + tag[0], tag[1]) for tag in event.tags if len(tag) > 1},
                ):
                    insort(by.setdefault(key, []), entry)
        self._indexed = len(self._runs)
        return by


def _keys(found: Filter) -> Iterable[tuple[str, object]]:
    """Under which an event that the filter passes must stand: its most selective condition."""
    if found.ids is not None:
        return [("ids", id) for id in found.ids]
    if found.tags:
        name, values = min(found.tags, key=lambda tag: len(tag[1]))
        return [("#" + name, value) for value in values]
    if found.authors is not None:
        return [("authors", author) for author in found.authors]
    if found.kinds is not None:
        return [("kinds", kind) for kind in found.kinds]
    return [("", None)]


def _is_for(event: Event, reader: frozenset[PublicKey]) -> bool:
    return bool(reader) and not reader.isdisjoint(event.values("p"))


def joined(rows: list[Row], news: Sequence[Row], reached: int) -> list[Row]:
    """Rows of the tables, which hold all up to the number `reached`, and of the tail, newest first,
    each once. What the tables had to have and do not give went, or comes after all they give."""
    both = {row[0]: row for row in rows}
    both.update((row[0], row) for row in news if row[0] > reached)
    if len(both) == len(rows):
        return rows
    return sorted(both.values(), key=lambda row: (-row[1], row[2]))
