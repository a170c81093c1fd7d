"""Reads of the store that may have to wait: started at once, carried on in a task only if they do.

A read that finishes without waiting (SQLite answers most on the spot) costs no task and is done in
the same turn of the loop. The first step of such a read runs outside any task; a store whose reads
all wait (PostgreSQL's driver uses what needs a task) has `reads_wait`, and gets one from the start.

Each connection has a Line: so many reads run at once, so many wait their turn, and what is over
that is refused. While the client does not take what it was sent, its reads wait, too.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any, Self, TypeVar

import msgspec

from hanse.errors import HanseError, RateLimited

_log = logging.getLogger("hanse.relay")

T = TypeVar("T")
Work = Coroutine[Any, Any, T]
Done = Callable[[T | HanseError], None]


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one connection's reads."""

    running_max: int = 8
    waiting_max: int = 64


def failure(exc: Exception) -> HanseError:
    """What a client hears of a read that raised. The door's boundary: a fault of the store's costs
    that request, not the connection."""
    if isinstance(exc, HanseError):
        return exc
    _log.error("a read failed", exc_info=exc)
    return HanseError("the relay could not read its log")


class Reads:
    """Owns the tasks of all reads that wait. `async with`; what runs at its end is cancelled."""

    def __init__(self, limits: ReadLimits, reads_wait: bool) -> None:
        self.limits = limits
        self.reads_wait = reads_wait
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def __len__(self) -> int:
        return len(self._tasks)

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Carry on in a task of this group."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Line:
    """The reads of one connection."""

    __slots__ = ("_paused", "_reads", "_running", "_waiting")

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._paused = False
        # Made when a read first has to wait: most connections never have one.
        self._running: dict[Hashable, asyncio.Task[None]] | None = None
        self._waiting: deque[tuple[Hashable, Work[Any], Done[Any]]] | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing runs or waits here, and nothing has to."""
        return not (self._running or self._waiting or self._paused)

    def read(self, key: Hashable, work: Work[T], done: Done[T]) -> None:
        """Do `work` and call `done` with its result, or with the error that ended it: now, or once
        it need not wait any more. A read under the same key is cancelled first."""
        if self.is_free:
            self._begin(key, work, done)
            return
        self.cancel(key)
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= self._reads.limits.waiting_max:
            work.close()
            done(RateLimited("too many requests are waiting for an answer", hint="wait 1 s"))
        else:
            self._waiting.append((key, work, done))
            self._next()

    def pause(self) -> None:
        """Begin no more reads: the client does not take what it was sent."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._next()

    def cancel(self, key: Hashable) -> None:
        """Stop the read under this key, if there is one; its `done` is not called any more."""
        if not (self._running or self._waiting):
            return
        task = self._running.pop(key, None) if self._running else None
        if task is not None:
            task.cancel()
            self._next()
            return
        for place, (other, work, _) in enumerate(self._waiting or ()):
            if other == key:
                work.close()
                del self._waiting[place]  # type: ignore[union-attr]  # it is not None: it has this
                return

    def close(self) -> None:
        """Stop all: the connection ended."""
        for _, work, _ in self._waiting or ():
            work.close()
        self._waiting = None
        running, self._running = self._running, None
        for task in (running or {}).values():
            task.cancel()

    def _begin(self, key: Hashable, work: Work[T], done: Done[T]) -> None:
        if self._reads.reads_wait:
            # Closed at its end, or one cancelled before its first step would count as forgotten.
            self._go_on(key, work, done).add_done_callback(lambda _: work.close())
            return
        try:
            waits_for = work.send(None)
        except StopIteration as ended:
            done(ended.value)
        except Exception as exc:  # see `failure`
            done(failure(exc))
        else:
            self._go_on(key, _Begun(work, waits_for), done)

    def _go_on(self, key: Hashable, rest: Awaitable[T], done: Done[T]) -> asyncio.Task[None]:
        if self._running is None:
            self._running = {}
        task = self._running[key] = self._reads.task(self._finish(key, rest, done))
        return task

    async def _finish(self, key: Hashable, rest: Awaitable[T], done: Done[T]) -> None:
        found: T | HanseError
        try:
            found = await rest
        except Exception as exc:  # see `failure`
            found = failure(exc)
        running = self._running
        if running is None or running.get(key) is not asyncio.current_task():
            return  # cancelled in the moment it was done
        del running[key]
        done(found)
        self._next()

    def _next(self) -> None:
        while self._waiting and not self._paused:
            if self._running and len(self._running) >= self._reads.limits.running_max:
                return
            self._begin(*self._waiting.popleft())


def _heard(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


class _Begun(Awaitable[T]):
    """The rest of a coroutine whose first step was taken and that now waits for `waits_for`."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Work[T], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for
        if waits_for is not None:
            # If it is cancelled before its next step, nobody else asks what became of it.
            waits_for.add_done_callback(_heard)

    def __await__(self) -> Generator[Any, Any, T]:
        work, waits_for = self._work, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    work.close()
                    raise
                except BaseException as exc:  # cancellation too: the read must hear of it
                    waits_for = work.throw(exc)
                else:
                    waits_for = work.send(sent)
        except StopIteration as ended:
            result: T = ended.value
            return result
