"""The relay's side of NIP-77: comparing a client's set of events with what the log has.

A comparison keeps (created_at, id) of every event its filter finds until it is closed, so their
number is bounded for one and for all together, and one that goes quiet is dropped. Large ones are
read one after another, each no further than there is room, and computed in a thread: the loop goes
on, and small ones do not wait for them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import msgspec

from hanse.errors import Blocked
from hanse.ports import Clock, Log
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.protocol.negentropy import Negentropy

FRAME_BYTES_MAX = 60_000
"""One answer's bytes before hex: less than the 128 KiB that the tightest relays take."""

INLINE_MAX = 2_000
"""Events up to which a comparison is small: computed on the loop in about a millisecond."""

INLINE_BYTES_MAX = 4_000
"""A message's bytes before hex up to which it is: each of its ranges may be three bytes and takes
2 µs, however few events there are."""

T = TypeVar("T")


class CompareLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on comparisons; the number on one connection is in `session.Limits`."""

    items_max: int = 500_000
    items_of_all_max: int = 1_000_000
    idle_s: float = 120.0


class Comparer:
    """What all comparisons of this relay share: the log, the thread and the bound on items."""

    def __init__(self, log: Log, clock: Clock, limits: CompareLimits) -> None:
        self.log = log
        self.clock = clock
        self.limits = limits
        self.items = 0
        """Items kept by all open comparisons."""
        self._reading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "hanse-compare")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def read(self, found: Filter, reader: frozenset[PublicKey]) -> list[tuple[int, bytes]]:
        """What a filter finds, counted in `items` for the caller. Raises Blocked over a bound."""
        items = await self._outline(found, reader, INLINE_MAX)
        if len(items) > INLINE_MAX:
            items = []
            async with self._reading:
                most = min(self.limits.items_max, self._room)
                items = await self._outline(found, reader, most)
                self._take(len(items))
        else:
            self._take(len(items))
        return items

    @property
    def _room(self) -> int:
        return self.limits.items_of_all_max - self.items

    async def _outline(
        self, found: Filter, reader: frozenset[PublicKey], most: int
    ) -> list[tuple[int, bytes]]:
        return await self.log.outline(
            found, now_s=self.clock.now_s(), reader=reader, limit=most + 1
        )

    def _take(self, count: int) -> None:
        most = self.limits.items_max
        if count > most:
            raise Blocked(f"over {most} events", field="filter", hint="ask for fewer")
        if count > self._room:
            raise Blocked("too many events are being compared", hint="try again later")
        self.items += count

    async def compute(self, size: int, message_bytes: int, work: Callable[[], T]) -> T:
        """Here if it is small, else in the thread."""
        if size <= INLINE_MAX and message_bytes <= INLINE_BYTES_MAX:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Comparison:
    """One comparison of one connection, until `close`. `went_quiet` is called if a client does."""

    __slots__ = ("_alarm", "_comparer", "_machine", "_open", "_size", "_went_quiet")

    def __init__(self, comparer: Comparer, went_quiet: Callable[[], None]) -> None:
        self._comparer = comparer
        self._went_quiet = went_quiet
        self._machine: Negentropy | None = None
        self._size = 0
        self._open = True
        self._alarm: asyncio.TimerHandle | None = None

    async def begin(self, found: Filter, text: bytes, reader: frozenset[PublicKey]) -> bytes:
        """Read what the filter finds and answer the first message. Raises Blocked over a bound."""
        comparer = self._comparer
        items = await comparer.read(found, reader)
        if not self._open:
            comparer.items -= len(items)
            raise Blocked("the comparison was closed")
        self._size = len(items)
        self._machine = await comparer.compute(
            len(items), 0, lambda: Negentropy(items, frame_bytes_max=FRAME_BYTES_MAX)
        )
        return await self.advance(text)

    async def advance(self, text: bytes) -> bytes:
        """Answer the next message. Raises Invalid for one that is malformed."""
        machine = self._machine
        if machine is None:
            raise Blocked("the comparison has not begun", hint="wait for its first answer")
        self._stay_awake()
        return await self._comparer.compute(self._size, len(text), lambda: machine.respond(text))

    def close(self) -> None:
        """Free what it keeps."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._comparer.items -= self._size
        self._size = 0
        self._open = False
        self._machine = None

    def _stay_awake(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._open:
            idle_s = self._comparer.limits.idle_s
            self._alarm = asyncio.get_running_loop().call_later(idle_s, self._went_quiet)
