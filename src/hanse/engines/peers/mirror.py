"""Mirror: keep our log and one peer's together, for as long as the node runs.

    wait ─→ connect ─→ watch live ─→ sync since the resume point ─→ live, and sync now and then
      ↑                                                               │ anything fails
      └───────────────────────────────────────────────────────────────┘ with growing pauses

Loops cannot arise: what comes in passes the same admission as a client's event, so an event that is
here already is a duplicate and goes nowhere; and what came from a peer is not sent back to it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from hanse.engines.peers.link import Link, word_of
from hanse.engines.peers.ports import Kept, Notes, Submit
from hanse.engines.peers.sync import INVALID_MAX, Sync, Tally, is_unchecked
from hanse.errors import HanseError, Invalid, Unavailable
from hanse.protocol.event import Event, encode_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import Peer, Resume, Span, is_shared, merged

_log = logging.getLogger("hanse.peers")

QUEUE_MAX = 5000
QUEUE_BYTES_MAX = 32 << 20
RECENT_MAX = 20_000
BATCH = 100
SAVE_S = 10


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a mirror, in seconds. A sync begins `overlap_s` before the last one ended: events
    carry their authors' times, not that of their arrival. Every `whole_s` it begins at zero. Of one
    peer's events so many are taken a second, and at once."""

    pause_min_s: float = 1.0
    pause_max_s: float = 300.0
    resync_s: float = 900.0
    overlap_s: int = 3600
    whole_s: int = 86_400
    events_per_s: float = 1000.0
    events_burst: int = 10_000

    def __post_init__(self) -> None:
        if self.events_per_s <= 0 or self.events_burst < 1:
            raise Invalid.at("rate-peer", "must be positive")


class Mirror:
    """One peer, mirrored. `run` never returns; it is cancelled."""

    def __init__(
        self,
        peer: Peer,
        *,
        log: Kept,
        notes: Notes,
        submit: Submit,
        secret: SecretKey,
        now_s: Callable[[], int],
        jitter: Callable[[], float],
        pace: Pace,
    ) -> None:
        self.peer = peer
        self._log = log
        self._notes = notes
        self._submit = submit
        self._secret = secret
        self._now_s = now_s
        self._jitter = jitter
        self._pace = pace
        self._incoming = _Queue()
        self._outgoing = _Queue()
        self._recent: dict[str, None] = {}
        self._link: Link | None = None
        self._failures = 0
        self._invalid = 0
        self._was_through = False
        self.state = "connecting"
        self.reason = ""
        self.synced_at = 0
        self.pulled = 0
        self.pushed = 0
        self.refused = 0

    def status(self) -> dict[str, Any]:
        """How the peer is, in figures."""
        return self.peer.as_dict() | {
            "state": self.state,
            "reason": self.reason,
            "synced_at": self.synced_at,
            "pulled": self.pulled,
            "pushed": self.pushed,
            "refused": self.refused,
        }

    def appended(self, event: Event) -> None:
        """An event entered our log: send it on, unless the peer has it. Only a queue is touched."""
        if self._link is None or event.id in self._recent or not self._is_wanted(event):
            return
        if not self._outgoing.put(event, len(event.content)):
            self._link.fail("takes events slower than we have new ones")

    async def run(self) -> None:
        """Connect, follow, and try again, until cancelled."""
        while True:
            self.state, self.reason = "connecting", ""
            try:
                async with Link(self.peer.url, self._secret, self._now_s) as link:
                    await self._follow(link)
            # Whatever fails with one peer: the node and its other peers go on.
            except* Exception as group:
                self._failed(_first(group))
            self._link = None
            self.state = "waiting"
            self._failures += 1
            # Failures that repeat wait longer; a little chance keeps peers from coming all at once.
            pause = self._pace.pause_min_s * 2 ** min(self._failures - 1, 16)
            await asyncio.sleep(min(self._pace.pause_max_s, pause) * (0.5 + self._jitter() / 2))

    async def _follow(self, link: Link) -> None:
        self._incoming, self._outgoing = _Queue(), _Queue()
        self._invalid = 0
        if self.peer.direction.pulls:
            # Before the sync: what arrives there meanwhile must not fall between the two.
            live = [msgspec.structs.replace(found, limit=0) for found in self.peer.filters]
            link.watch(tuple(live), self._arrived)
        if self.peer.direction.pushes:
            self._link = link
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.until_lost())
            tasks.create_task(self._take())
            tasks.create_task(self._send(link))
            tasks.create_task(self._keep_up(link))

    def _failed(self, exc: BaseException) -> None:
        self.reason = exc.text if isinstance(exc, HanseError) else f"error: {type(exc).__name__}"
        if not isinstance(exc, HanseError):
            _log.error("mirroring %s failed", self.peer.url, exc_info=exc)

    # --- catching up ----------------------------------------------------------------------------

    async def _keep_up(self, link: Link) -> None:
        while True:
            self.state = "syncing"
            await self._catch_up(link)
            self.state, self.reason, self._failures = "live", "", 0
            await asyncio.sleep(self._pace.resync_s)

    async def _catch_up(self, link: Link) -> None:
        """Compare what is new and what an earlier sync left. What is done stays done, whatever
        ends it."""
        began = saved = self._now_s()
        before = await self._notes.load(self.peer)
        # What was broken off goes on first; what was only refused does not keep all from being due.
        due = began - before.whole >= self._pace.whole_s
        whole = due and (self._was_through or not before.left)
        since = 0 if whole else max(0, before.since - self._pace.overlap_s)
        spans = merged([(since, None), *(() if whole else before.left)])
        self._was_through = False

        async def save() -> None:
            nonlocal saved
            saved, left = self._now_s(), sync.left()
            if not left or left[0][1] is not None:
                resume = Resume(began, began if whole else before.whole, left)
                await self._notes.save(self.peer, resume)

        async def settled() -> None:
            if self._now_s() - saved >= SAVE_S:
                await save()

        direction, saw = self.peer.direction, self._remember
        sync = Sync(link, self._log, self._submit, direction, self._now_s, saw=saw, settled=settled)
        parts = [_within(found, span) for span in spans for found in self.peer.filters]
        try:
            await sync.run(*(found for found in parts if found is not None))
            self._was_through = True
        finally:
            self._count(sync.tally)
            await save()
        if sync.tally.complete:
            self.synced_at = began

    def _count(self, tally: Tally) -> None:
        self.pulled += tally.pulled
        self.pushed += tally.pushed
        self.refused += sum(tally.refused_here.values()) + sum(tally.refused_there.values())

    # --- live -----------------------------------------------------------------------------------

    def _arrived(self, event: Event, size: int) -> bool:
        if event.id in self._recent or not self._is_wanted(event):
            return True
        return self._incoming.put(event, size)

    def _is_wanted(self, event: Event) -> bool:
        return is_shared(event) and any(found.matches(event) for found in self.peer.filters)

    async def _take(self) -> None:
        while True:
            batch = await self._incoming.some()
            for event in batch:
                self._remember(event.id)
            outcomes = await asyncio.gather(*(self._submit(encode_event(one)) for one in batch))
            for event, (accepted, text) in zip(batch, outcomes, strict=True):
                if not accepted:
                    self.refused += 1
                    self._invalid += is_unchecked(event, word_of(text))
                elif not text.startswith("duplicate"):
                    self.pulled += 1
            if self._invalid > INVALID_MAX:
                raise Unavailable("sends events that are not valid")

    async def _send(self, link: Link) -> None:
        while True:
            batch = [found for found in await self._outgoing.some() if found.id not in self._recent]
            for event in batch:
                self._remember(event.id)
            sent = (link.publish(event.id, encode_event(event)) for event in batch)
            for accepted, text in await asyncio.gather(*sent):
                if not accepted:
                    self.refused += 1
                elif not text.startswith("duplicate"):
                    self.pushed += 1

    def _remember(self, id: str) -> None:
        """The peer has this event: it came from there, or is on its way."""
        self._recent[id] = None
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]


class _Queue:
    """Events that wait their turn, bounded in number and bytes."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()

    def put(self, event: Event, size: int) -> bool:
        """Add one; False when it is full."""
        if len(self._events) >= QUEUE_MAX or self._bytes + size > QUEUE_BYTES_MAX:
            return False
        self._events.append((event, size))
        self._bytes += size
        self._some.set()
        return True

    async def some(self) -> list[Event]:
        """The next few, as soon as there is one."""
        await self._some.wait()
        found = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
        self._bytes -= sum(size for _, size in found)
        if not self._events:
            self._some.clear()
        return [event for event, _ in found]


def _within(filter: Filter, span: Span) -> Filter | None:
    """What a filter finds in a span of time; None if it finds nothing there."""
    low, high = span
    since = max(low, filter.since or 0) or None
    ends = [end for end in (high, filter.until) if end is not None]
    until = min(ends, default=None)
    if until is not None and until < (since or 0):
        return None
    return msgspec.structs.replace(filter, since=since, until=until)


def _first(found: BaseException) -> BaseException:
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
