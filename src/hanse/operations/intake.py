"""Import: every line is read, checked and admitted as if it came in by a door, then kept.

    lines ─→ parse ─→ known? ─→ policies, id and signature ─→ append, a commit for each batch
             in a thread        in the same thread

One batch is checked while the one before it is written. One thread checks: a second would wait for
Python more than it checks (measured: two take twice as long as one). What is known already needs no
check, so an import that broke off is simply done again.
"""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Protocol

import msgspec

from hanse.engines.peers.link import Link, refusal
from hanse.engines.storage.files import Report
from hanse.engines.storage.log import EventLog
from hanse.errors import Conflict, HanseError, Invalid, TooLarge
from hanse.operations.lines import LINE_BYTES_MAX, Lines
from hanse.ports import Clock
from hanse.protocol.event import Event, check_event, encode_event, parse_event
from hanse.protocol.keys import PublicKey, is_hex
from hanse.protocol.kinds import KindClass, kind_class
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.context import House, Sender
from hanse.servers.relay.lists import Entry, Lists
from hanse.servers.relay.plugins import load_policies
from hanse.servers.relay.rules import Rules

PROBLEMS_MAX = 100
"""Bad lines that are named; the others are counted."""

PAUSES = 60
PAUSE_S = 1.0
"""How often, and after how long, an event is sent again that a node found too much at once."""

Outcome = int | HanseError | None
Read = tuple[int, Event | HanseError]
Batch = list[Read]


class Keeper(Protocol):
    """Where the events go."""

    def check(self, event: Event) -> None:
        """Raises what refuses it. Runs in a thread."""

    async def known(self, ids: list[str]) -> set[str]:
        """Which of them are here already, as far as that can be told."""

    async def append(self, events: list[Event]) -> list[Outcome]:
        """Keep them. For each: its number, None for a duplicate, or what refused it."""


class Taken(msgspec.Struct, kw_only=True):
    """What became of the lines. `older`: a newer version is kept. `problems` names the first
    PROBLEMS_MAX lines that were refused. `dry_run`: what is told as kept would be."""

    dry_run: bool = False
    lines: int = 0
    kept: int = 0
    duplicates: int = 0
    older: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    problems: list[tuple[int, str]] = msgspec.field(default_factory=list)

    @property
    def none_taken(self) -> bool:
        """Whether there were lines, and each was refused."""
        return 0 < self.lines == self.refused.total()

    def refuse(self, number: int, reason: HanseError) -> None:
        """One line is not taken."""
        self.refused[reason.word] += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append((number, reason.wire))


_KNOWN = Conflict("it is here already")


class _Anybody(frozenset[PublicKey]):
    """The operator vouches for what is imported, protected events (NIP-70) too."""

    def __contains__(self, _key: object) -> bool:
        return True


class Store:
    """The database itself: what a door checks of an event from a trusted address, under the
    operator's decisions (NIP-86), without rates. Implements `Keeper`."""

    def __init__(
        self, log: EventLog, entries: list[Entry], hosts: frozenset[str], clock: Clock
    ) -> None:
        self._log = log
        lists = Lists()
        for entry in entries:
            lists.put(entry)
        house = House(frozenset(), PublicKey(""), hosts)
        more = load_policies(())
        admission = Admission(rules=Rules(), lists=lists, house=house, clock=clock, more=more)
        self._context = admission.context(Sender("127.0.0.1", _Anybody()))
        self._policies = (*admission.early, *admission.late)

    def check(self, event: Event) -> None:
        """See `Keeper`."""
        for policy in self._policies:
            policy(event, self._context)
        check_event(event)

    async def known(self, ids: list[str]) -> set[str]:
        """See `Keeper`."""
        return await self._log.known(ids)

    async def append(self, events: list[Event]) -> list[Outcome]:
        """See `Keeper`."""
        return await self._log.append_many(events)


class Through:
    """A node that runs: it checks by itself. Implements `Keeper`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def check(self, event: Event) -> None:
        """See `Keeper`."""

    async def known(self, ids: list[str]) -> set[str]:
        """See `Keeper`."""
        return set()

    async def append(self, events: list[Event]) -> list[Outcome]:
        """See `Keeper`."""
        return list(await asyncio.gather(*map(self._publish, events)))

    async def _publish(self, event: Event) -> Outcome:
        text = ""
        for _ in range(PAUSES):
            accepted, text = await self._link.publish(event.id, encode_event(event))
            if accepted:
                return None if text.startswith("duplicate:") else 0
            if not text.startswith("rate-limited:"):
                break
            await asyncio.sleep(PAUSE_S)
        return Conflict(text) if text.startswith("duplicate:") else refusal(text)


async def take(
    stream: BinaryIO,
    size: int,
    keeper: Keeper,
    report: Report,
    *,
    stop_on_error: bool = False,
    dry_run: bool = False,
) -> Taken:
    """Read, check and keep every line. `size` is the stream's, 0 if unknown. With `stop_on_error`
    raises the first line's refusal, after what stood before it was kept. `dry_run`: the keeper
    keeps nothing. Raises Unavailable if nothing more can be kept."""
    lines, taken, begun = Lines(stream), Taken(dry_run=dry_run), time.monotonic()
    thread = ThreadPoolExecutor(1, "hanse-import")
    try:
        async with asyncio.TaskGroup() as tasks:
            ahead = tasks.create_task(_prepare(lines, keeper, thread))
            while batch := await ahead:
                read_bytes = lines.read_bytes
                ahead = tasks.create_task(_prepare(lines, keeper, thread))
                await _keep(batch, keeper, taken, stop_on_error)
                taken.lines += len(batch)
                per_s = taken.lines / max(time.monotonic() - begun, 0.001)
                report(f"{taken.lines} lines, {per_s:.0f} a second", read_bytes, size)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
    return taken


async def _prepare(lines: Lines, keeper: Keeper, thread: ThreadPoolExecutor) -> Batch:
    """The next lines, checked; what is known already is only marked as such."""
    loop = asyncio.get_running_loop()
    batch = await loop.run_in_executor(thread, _read, lines)
    events = [found.id for _, found in batch if isinstance(found, Event)]
    known = await keeper.known([id for id in events if is_hex(id, 64)])
    return await loop.run_in_executor(thread, _check, batch, known, keeper)


def _read(lines: Lines) -> Batch:
    found: Batch = []
    for number, line in lines.batch():
        try:
            if line is None:
                raise TooLarge(f"is over {LINE_BYTES_MAX} bytes", field="line")
            event = parse_event(line)
            if kind_class(event.kind) is KindClass.EPHEMERAL:
                raise Invalid.at("event.kind", "ephemeral events are not kept")
            found.append((number, event))
        except HanseError as exc:
            found.append((number, exc))
    return found


def _check(batch: Batch, known: set[str], keeper: Keeper) -> Batch:
    checked: Batch = []
    for number, found in batch:
        if isinstance(found, Event):
            if found.id in known:
                checked.append((number, _KNOWN))
                continue
            try:
                keeper.check(found)
            except HanseError as exc:
                checked.append((number, exc))
                continue
        checked.append((number, found))
    return checked


async def _keep(batch: Batch, keeper: Keeper, taken: Taken, stop_on_error: bool) -> None:
    good: list[tuple[int, Event]] = []
    stop: tuple[int, HanseError] | None = None
    for number, found in batch:
        if isinstance(found, Event):
            good.append((number, found))
        elif found is _KNOWN:
            taken.duplicates += 1
        elif stop_on_error:
            stop = (number, found)
            break
        else:
            taken.refuse(number, found)
    outcomes = await keeper.append([event for _, event in good]) if good else []
    for (number, _), outcome in zip(good, outcomes, strict=True):
        if outcome is None:
            taken.duplicates += 1
        elif isinstance(outcome, int):
            taken.kept += 1
        elif isinstance(outcome, Conflict):
            taken.older += 1
        elif stop_on_error and stop is None:
            stop = (number, outcome)
        else:
            taken.refuse(number, outcome)
    if stop is not None:
        number, why = stop
        hint = f"{taken.kept} events before it {'would be' if taken.dry_run else 'were'} kept"
        raise type(why)(why.text, field=f"line {number}", hint=hint)
