"""Ingest: from an event's bytes to OK. Parse, verify aside, admit, append or pass on.

    arrive ─→ pending (bounded) ─→ parse, early policies ─→ verify ─→ late policies ─┬→ append ─→ OK
                                   in batches               aside                    └→ bus ─→ OK

Which policy is early or late stands in `admission.py`. A lone event is verified on the loop: 35 µs
there, against twice that for the way to another process and back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Self

from hanse.counters import Tally
from hanse.errors import Closed, HanseError, PolicyFailed, RateLimited
from hanse.ports import Bus, Log, Verifier
from hanse.protocol import kinds, message
from hanse.protocol.event import Event, digest_of, forged, id_in, packed, parse_event
from hanse.protocol.kinds import KindClass, kind_class
from hanse.protocol.signature import BAD, GOOD, verify_packed
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.context import Context, Policy, Prepare, Source

_log = logging.getLogger("hanse.relay")

WAITING_BYTES_MAX = 64 << 20
BATCH_MAX = 32
BATCH_BYTES = 256 << 10
"""So much is parsed in one turn of the loop, or one event."""
VERIFYING_MAX = 8
"""Batches that are verified at a time; meanwhile what comes makes larger ones."""
INLINE_MAX = 2
VERIFIED_MAX = 10_000
"""Signatures remembered as good: the same event often comes from many relays."""

DRAIN_CHECK_S = 0.005

Respond = Callable[[bytes], None]
Waiting = tuple[bytes, Respond, Source]


class Refused:
    """An event that failed parsing or verification, with the message to answer."""

    __slots__ = ("answer", "word")

    def __init__(self, answer: bytes, word: str) -> None:
        self.answer = answer
        self.word = word


class Ingest:
    """Owns the queue before the verifier. `async with` starts and drains it."""

    def __init__(
        self,
        log: Log,
        bus: Bus,
        admission: Admission,
        verifier: Verifier,
        *,
        pending_max: int = 20_000,
    ) -> None:
        self._log = log
        self._bus = bus
        self._admission = admission
        self._verifier = verifier
        self._verified = Verified()
        self.waiting_max = pending_max
        self.outcomes = Tally("accepted", "duplicate", "passed", "mute")
        self._pending: list[Waiting] = []
        self._waiting_bytes = 0
        self._verifying = 0
        self._appending = 0
        self._scheduled = False
        self._closed = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tasks.__aexit__(None, None, None)

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

    def submit(self, raw: bytes, respond: Respond, source: Source) -> None:
        """Take one event's JSON; `respond` gets its OK, or a NOTICE if it has no readable id."""
        try:
            self._open_for(source)
        except HanseError as exc:
            self.outcomes.add(exc.word)
            respond(_refusal(raw, exc))
            return
        self._pending.append((raw, respond, source))
        self._waiting_bytes += len(raw)
        self._kick_soon()

    def _open_for(self, source: Source) -> None:
        if self._closed:
            raise Closed("the node is shutting down")
        if len(self._pending) >= self.waiting_max or self._waiting_bytes > WAITING_BYTES_MAX:
            raise RateLimited("too many events are waiting", hint="wait 1 s")
        self._admission.arrive(source)

    def _kick_soon(self) -> None:
        # At the end of this turn of the loop: all frames read in it form one batch.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._kick)

    def _kick(self) -> None:
        self._scheduled = False
        if not self._pending or self._verifying >= VERIFYING_MAX:
            return  # a batch that comes back goes on
        batch = self._taken()
        context = self._admission.context(batch[0][2])
        found, unchecked = self._looked_at(batch, context)
        alone = self._verifying == 0 and not self._pending and self._admission.prepare is None
        if alone and len(batch) <= INLINE_MAX:
            _refuse_forged(found, unchecked, verify_packed(b"".join(unchecked.values())))
            self._admit(batch, found, context)
            return
        self._verifying += 1
        self._tasks.create_task(self._verify(batch, found, unchecked, context))
        if self._pending:
            self._kick_soon()

    def _taken(self) -> list[Waiting]:
        """The next batch."""
        count = size = 0
        for raw, _, _ in self._pending[:BATCH_MAX]:
            size += len(raw)
            if count and size > BATCH_BYTES:
                size -= len(raw)
                break
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        self._waiting_bytes -= size
        return batch

    def _looked_at(
        self, batch: list[Waiting], context: Context
    ) -> tuple[list[Event | Refused], dict[int, bytes]]:
        """What each is, and by its place what is left to check of its signature."""
        found: list[Event | Refused] = []
        unchecked: dict[int, bytes] = {}
        early, verified = self._admission.early, self._verified
        for place, (raw, _, source) in enumerate(batch):
            context.source = source
            found.append(_parsed(raw, context, early))
            event = found[-1]
            if isinstance(event, Event) and not verified.has(event):
                try:
                    unchecked[place] = packed(event)
                except HanseError as exc:
                    found[-1] = _refused(event, exc)
        return found, unchecked

    async def _verify(
        self,
        batch: list[Waiting],
        found: list[Event | Refused],
        unchecked: dict[int, bytes],
        context: Context,
    ) -> None:
        try:
            if unchecked:
                marks = await self._verifier.check(list(unchecked.values()))
                _refuse_forged(found, unchecked, marks)
            if self._admission.prepare is not None:
                await self._prepare(self._admission.prepare, batch, found, context)
        finally:
            self._verifying -= 1
        self._admit(batch, found, context)
        if self._pending:
            self._kick_soon()

    async def _prepare(
        self,
        prepare: Prepare,
        batch: list[Waiting],
        results: list[Event | Refused],
        context: Context,
    ) -> None:
        for (_, _, source), found in zip(batch, results, strict=True):
            if isinstance(found, Event):
                context.source = source
                with contextlib.suppress(HanseError):  # the policies say the same, as a refusal
                    await prepare(found, context)

    def _admit(
        self, batch: list[Waiting], results: list[Event | Refused], context: Context
    ) -> None:
        kept: list[tuple[Event, Respond]] = []
        late = self._admission.late
        for (_, respond, source), found in zip(batch, results, strict=True):
            if isinstance(found, Refused):
                self.outcomes.add(found.word)
                respond(found.answer)
                continue
            self._verified.add(found)
            context.source = source
            refusal = _refused_by(late, found, context)
            if refusal is not None:
                self.outcomes.add(refusal.word)
                self._admission.refused(found, refusal, context)
                respond(message.ok(found.id, False, refusal.wire))
                continue
            if kind_class(found.kind) is KindClass.EPHEMERAL:
                respond(self._pass_on(found))
            else:
                if found.kind == kinds.VANISH:
                    # By itself, in its turn: nobody else's OK waits until its author's are gone.
                    self._append_soon(kept)
                    self._append_soon([(found, respond)])
                    kept = []
                else:
                    kept.append((found, respond))
        self._append_soon(kept)

    def _append_soon(self, kept: list[tuple[Event, Respond]]) -> None:
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
            outcomes = await self._kept([event for event, _ in kept])
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

    async def _kept(self, events: list[Event]) -> Sequence[int | HanseError | None]:
        """What became of them. None was kept of a batch that fails: if it was by our fault or the
        store's, each is tried by itself, so that only the one it fails on is refused."""
        try:
            return await self._log.append_many(events)
        except HanseError as exc:
            return [exc] * len(events)
        # The door's boundary: whatever a store raises costs this event, not the node.
        except Exception:
            if len(events) > 1:
                return [outcome for event in events for outcome in await self._kept([event])]
            _log.exception("an event could not be kept")
            return [HanseError("the relay could not keep it", field="event")]


class Verified:
    """The newest good signatures by event id, in two halves: when one is full, the older goes."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def add(self, event: Event) -> None:
        """Its signature is good."""
        if len(self._new) >= VERIFIED_MAX // 2:
            self._old, self._new = self._new, {}
        self._new[event.id] = event.sig

    def has(self, event: Event) -> bool:
        """Whether just this event was found good before: its id still has to be that of its
        content."""
        sig = self._new.get(event.id) or self._old.get(event.id)
        if sig is None or sig != event.sig:
            return False
        digest = digest_of(event.pubkey, event.created_at, event.kind, event.tags, event.content)
        return digest.hex() == event.id


def _parsed(raw: bytes, context: Context, early: tuple[Policy, ...]) -> Event | Refused:
    try:
        event = parse_event(raw)
    except HanseError as exc:
        return Refused(_refusal(raw, exc), exc.word)
    refusal = _refused_by(early, event, context)
    return event if refusal is None else _refused(event, refusal)


def _refuse_forged(found: list[Event | Refused], unchecked: dict[int, bytes], marks: bytes) -> None:
    """`marks`: whether the signatures of `unchecked` are good. Without one for each, none is."""
    if len(marks) != len(unchecked):
        marks = bytes([BAD]) * len(unchecked)
    for place, mark in zip(unchecked, marks, strict=True):
        event = found[place]
        if mark != GOOD and isinstance(event, Event):
            found[place] = _refused(event, forged())


def _refused(event: Event, reason: HanseError) -> Refused:
    return Refused(message.ok(event.id, False, reason.wire), reason.word)


def _refused_by(policies: tuple[Policy, ...], event: Event, context: Context) -> HanseError | None:
    try:
        for policy in policies:
            policy(event, context)
    except HanseError as exc:
        return exc
    # The door's boundary: a check that fails by our fault refuses; the node goes on.
    except Exception:
        _log.exception("a policy failed")
        return PolicyFailed()
    return None


def _refusal(raw: bytes, reason: HanseError) -> bytes:
    """What an event is answered that nobody looks at further: an OK (NIP-01) if it can name it."""
    id = id_in(raw)
    if id is not None:
        return message.ok(id, False, reason.wire)
    return message.notice(reason.wire)
