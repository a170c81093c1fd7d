"""Ingest: from an event's bytes to OK. Parse and verify in threads, admit, append or pass on.

    pending (bounded) ─→ verify, in batches, off the loop ─→ admit ─┬→ append, one commit ─→ OK
                                                                     └→ ephemeral: bus ─→ OK

The C library releases the GIL while it verifies, so two threads use two cores. A lone event is
verified on the loop: 35 µs there, against twice that for the way to a thread and back.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from hanse.counters import Tally
from hanse.errors import Closed, HanseError, RateLimited
from hanse.ports import Bus, Clock, Log
from hanse.protocol import message
from hanse.protocol.event import Event, check_event, parse_event
from hanse.protocol.kinds import KindClass, kind_class
from hanse.servers.relay.admission import Context, Policy, Rules

_log = logging.getLogger("hanse.relay")

WAITING_BYTES_MAX = 64 << 20
BATCH_MAX = 128
INLINE_MAX = 2
THREADS = 2
DRAIN_CHECK_S = 0.005

Respond = Callable[[bytes], None]


class Refused:
    """An event that failed parsing or verification, with the message to answer."""

    __slots__ = ("answer", "word")

    def __init__(self, answer: bytes, word: str) -> None:
        self.answer = answer
        self.word = word


class Ingest:
    """Owns the verifying threads and the queue before them. `async with` starts and drains it."""

    def __init__(
        self,
        *,
        log: Log,
        bus: Bus,
        clock: Clock,
        policies: tuple[Policy, ...],
        rules: Rules,
        pending_max: int = 20_000,
    ) -> None:
        self._log = log
        self._bus = bus
        self._clock = clock
        self._policies = policies
        self._rules = rules
        self.waiting_max = pending_max
        self.outcomes = Tally("accepted", "duplicate", "passed", "mute")
        self._pending: list[tuple[bytes, Respond]] = []
        self._waiting_bytes = 0
        self._verifying = 0
        self._appending = 0
        self._scheduled = False
        self._closed = False

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(THREADS, "hanse-verify")
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tasks.__aexit__(None, None, None)
        self._threads.shutdown()

    @property
    def waiting(self) -> int:
        """Events not looked at yet."""
        return len(self._pending)

    @property
    def waiting_bytes(self) -> int:
        """Their bytes."""
        return self._waiting_bytes

    async def drain(self) -> None:
        """Take nothing more, and return once all that was taken has its answer."""
        self._closed = True
        while self._pending or self._verifying or self._appending:
            await asyncio.sleep(DRAIN_CHECK_S)

    def submit(self, raw: bytes, respond: Respond) -> None:
        """Take one event's JSON; `respond` gets its OK, or a NOTICE if it has no readable id."""
        if self._closed:
            self._turn_away(Closed("the node is shutting down"), respond)
            return
        if len(self._pending) >= self.waiting_max or self._waiting_bytes > WAITING_BYTES_MAX:
            busy = RateLimited("too many events are waiting", hint="try again soon")
            self._turn_away(busy, respond)
            return
        self._pending.append((raw, respond))
        self._waiting_bytes += len(raw)
        if not self._scheduled:
            # At the end of this turn of the loop: all frames read in it form one batch.
            self._scheduled = True
            self._loop.call_soon(self._kick)

    def _turn_away(self, reason: HanseError, respond: Respond) -> None:
        self.outcomes.add(reason.word)
        respond(message.notice(reason.wire))

    def _kick(self) -> None:
        self._scheduled = False
        if len(self._pending) <= INLINE_MAX and self._verifying == 0:
            batch, self._pending = self._pending, []
            self._waiting_bytes = 0
            self._admit(batch, [_verified(raw) for raw, _ in batch])
            return
        while self._pending and self._verifying <= THREADS:
            batch, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
            self._waiting_bytes -= sum(len(raw) for raw, _ in batch)
            self._verifying += 1
            self._tasks.create_task(self._verify(batch))

    async def _verify(self, batch: list[tuple[bytes, Respond]]) -> None:
        raws = [raw for raw, _ in batch]
        try:
            results = await self._loop.run_in_executor(self._threads, _verify_batch, raws)
        finally:
            self._verifying -= 1
        self._admit(batch, results)
        if self._pending:
            self._kick()

    def _admit(self, batch: list[tuple[bytes, Respond]], results: list[Event | Refused]) -> None:
        context = Context(self._clock.now_s(), self._rules)
        kept: list[tuple[Event, Respond]] = []
        for (_, respond), found in zip(batch, results, strict=True):
            if isinstance(found, Refused):
                self.outcomes.add(found.word)
                respond(found.answer)
                continue
            try:
                for policy in self._policies:
                    policy(found, context)
            except HanseError as exc:
                self.outcomes.add(exc.word)
                respond(message.ok(found.id, False, exc.wire))
                continue
            # The door's boundary: a check that fails by our fault refuses; the node goes on.
            except Exception:
                _log.exception("a policy failed")
                self.outcomes.add("error")
                respond(message.ok(found.id, False, "error: the event could not be checked"))
                continue
            if kind_class(found.kind) is KindClass.EPHEMERAL:
                respond(self._pass_on(found))
            else:
                kept.append((found, respond))
        if kept:
            self._appending += 1
            self._tasks.create_task(self._append(kept))

    def _pass_on(self, event: Event) -> bytes:
        if self._bus.publish(event):
            self.outcomes.counts["passed"] += 1
            return message.ok(event.id, True)
        self.outcomes.counts["mute"] += 1
        return message.ok(event.id, False, "mute: nobody is waiting for this event")

    async def _append(self, kept: list[tuple[Event, Respond]]) -> None:
        try:
            outcomes = await self._log.append_many([event for event, _ in kept])
        except HanseError as exc:
            outcomes = [exc] * len(kept)
        finally:
            self._appending -= 1
        counts = self.outcomes.counts
        for (event, respond), outcome in zip(kept, outcomes, strict=True):
            if isinstance(outcome, HanseError):
                self.outcomes.add(outcome.word)
                respond(message.ok(event.id, False, outcome.wire))
            elif outcome is None:
                counts["duplicate"] += 1
                respond(message.ok(event.id, True, "duplicate: it is here already"))
            else:
                counts["accepted"] += 1
                respond(message.ok(event.id, True))


def _verify_batch(raws: list[bytes]) -> list[Event | Refused]:
    return [_verified(raw) for raw in raws]


def _verified(raw: bytes) -> Event | Refused:
    try:
        event = parse_event(raw)
    except HanseError as exc:
        # Without a readable id there is nothing an OK could name (NIP-01).
        return Refused(message.notice(exc.wire), exc.word)
    try:
        check_event(event)
    except HanseError as exc:
        return Refused(message.ok(event.id, False, exc.wire), exc.word)
    return event
