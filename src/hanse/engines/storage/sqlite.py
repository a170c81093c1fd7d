"""The SQLite engine: one writer thread with group commit, readers on the loop and in threads.

Nearly all events are kept aside at first and move into the tables many at once: `tail.py` says why.

Operations that wait together share one COMMIT (synchronous=FULL), each in a savepoint of its own
if need be, so that one refusal does not undo its neighbours. `write` returns only after the commit
is on disk.

A read runs on the event loop first: a point read costs 7 µs there, a hop to a thread and back five
times that. One that has not ended after LOOP_MS is stopped and begun again in a reading thread,
where it may take `budget_ms`; then it is refused.
"""

import asyncio
import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import apsw

from hanse.counters import Commits
from hanse.engines.storage.append import Outcome, append_all, append_aside, stands_alone
from hanse.engines.storage.database import (
    QUEUE_MAX,
    Job,
    Reader,
    Row,
    Transaction,
    refusal,
    tell,
)
from hanse.engines.storage.filter_sql import SQLITE
from hanse.engines.storage.fresh import fresh_beside
from hanse.engines.storage.keeper import Keeper, gathered
from hanse.engines.storage.known import Known
from hanse.engines.storage.parts import Slices
from hanse.engines.storage.sqlite_schema import migrate, newest
from hanse.engines.storage.sqlite_transaction import SqliteTransaction, connect
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import DEFER_S, DIRECT_S, FEW, Run, Tail, in_steps
from hanse.errors import Closed, TooBroad, Unavailable
from hanse.protocol.event import Event

_log = logging.getLogger("hanse.storage")

P = ParamSpec("P")
T = TypeVar("T")

LOOP_MS = 4.0
"""How long a read may hold the event loop before it moves to a thread."""

LOOP_S = LOOP_MS / 1000

BUDGET_MS = 3000.0
"""Default bound on one read, wherever it runs."""

HOLD_AFTER_S = 0.05
"""So long after a commit no snapshot is held for several reads: one held whenever a commit ends
would keep the write-ahead log from ever beginning anew."""

READERS = 2
READS_WAITING_MAX = 64
"""Reads in threads or waiting for one; beyond it new ones are refused."""

WRITER_KIB = 192 << 10
"""The writer's cache: a page that moving dirties twice should not be written twice. A run dirties
160 MB in a log of four million."""

FREED_AT_ONCE = 10
"""Runs of events that one turn of the loop frees: under load some 50 events each."""

_STEPS = 4000
"""Virtual machine steps between two looks at the clock: about 0.1 ms."""

_USED = """
SELECT (pages.page_count - free.freelist_count) * size.page_size
FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size
"""


class _Refused(Exception):
    """One of the operations raised."""


class _Reading:
    """A connection that only reads, and stops what takes too long."""

    def __init__(self, path: str) -> None:
        # Used by one thread only: without SQLite's lock around each step a feed costs 5 % less.
        self.connection = connect(path, apsw.SQLITE_OPEN_NOMUTEX)
        self.cursor = self.connection.cursor()
        self._tx = SqliteTransaction(self.connection, {})
        self.until = 0.0
        self.holds = False
        """Whether a snapshot is held open for several reads."""
        self.connection.set_progress_handler(self._is_late, _STEPS)

    def run(self, operation: Callable[[Transaction], T], budget_ms: float, snapshot: bool) -> T:
        """Raises apsw.InterruptError when the budget is spent."""
        self.until = time.perf_counter() + budget_ms / 1000
        if self.holds or not snapshot:
            return operation(self._tx)
        self.connection.execute("BEGIN")
        try:
            return operation(self._tx)
        finally:
            self._end()

    def hold(self) -> None:
        """Have the reads until `let_go` see one snapshot: to lock it for each is half the cost of a
        small one. Raises apsw.Error."""
        self.until = math.inf
        self.connection.execute("BEGIN")
        self.holds = True

    def let_go(self) -> None:
        """The next read sees what was written since."""
        if self.holds:
            self.holds = False
            self._end()

    def _end(self) -> None:
        # Late or not, this has to run to its end: a snapshot that stays open shows old events for
        # ever, and each later BEGIN fails.
        self.until = math.inf
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")

    def _is_late(self) -> bool:
        return time.perf_counter() > self.until


class SqliteDatabase:
    """Owns the file. `async with` opens it, migrates it and starts the writer. ":memory:" keeps
    everything in this process and forgets it at the end. `direct_s`: see `tail.DIRECT_S`;
    `slices`: see `parts.py`, not necessarily the same each time."""

    dialect = SQLITE
    reads_wait = False

    def __init__(
        self,
        path: str,
        budget_ms: float = BUDGET_MS,
        *,
        direct_s: float = DIRECT_S,
        slices: Slices | None = None,
    ) -> None:
        # A shared name, or the readers would each see an empty database of their own.
        self.path = f"file:/hanse-{id(self)}?vfs=memdb" if path == ":memory:" else path
        # In memory a reader shuts the writer out: there no snapshot is ever held.
        self._holds_from = math.inf if path == ":memory:" else 0.0
        self._budget_ms = budget_ms
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._reads_waiting = 0
        self._followers: list[Reader] = []
        self._open = False
        self._remembered: dict[str, int] = {}
        self._elsewhere = threading.local()
        self._readers: list[_Reading] = []
        self.commits = Commits()
        self.tail = Tail()
        self._direct_s = direct_s
        self._direct_until_s = 0.0
        # In memory there are no pages to spare.
        aside = path != ":memory:"
        self._known = Known()
        self._slices = slices or Slices()
        self._keeper = Keeper(self.path, self._told, self._full, self._known) if aside else None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._writing = connect(self.path)
        self._writing.execute(f"PRAGMA cache_size=-{WRITER_KIB}").fetchall()
        try:
            migrate(self._writing)
            self._slices.open(newest(self._writing))
            if self._keeper is not None:
                self._keeper.open()
        except BaseException:  # whatever it was goes on; the file is let go
            self._writing.close()
            raise
        self._here = _Reading(self.path)
        self._readers.append(self._here)
        self._threads = ThreadPoolExecutor(READERS, "hanse-reader")
        self._thread = threading.Thread(target=self._run, name="hanse-writer", daemon=True)
        self._thread.start()
        self._known.open(self.path if self._keeper is not None else None)
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        if self._keeper is not None:
            await self._loop.run_in_executor(None, self._keeper.stop)
        self._jobs.put(None)
        self._here.let_go()
        await self._loop.run_in_executor(None, self._thread.join)
        await self._loop.run_in_executor(None, self._known.close)
        await self._loop.run_in_executor(None, self._threads.shutdown)
        for reader in self._readers:
            reader.connection.close()
        if self._keeper is not None:
            self._keeper.close()
        self._writing.close()

    # --- reading ------------------------------------------------------------------------------

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `database.Database`."""
        return await self._read(lambda tx: operation(tx, *args, **kwargs), snapshot=True)

    async def all(self, name: str, *params: Any) -> list[Row]:
        """See `database.Database`."""
        return await self._read(lambda tx: tx.all(name, *params), snapshot=False)

    async def one(self, name: str, *params: Any) -> Row | None:
        """See `database.Database`."""
        return await self._read(lambda tx: tx.one(name, *params), snapshot=False)

    async def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """See `database.Database`."""
        found = self.select_now(sql, params)
        if found is not None:
            return found
        # Not on the loop again: it would be held twice as long.
        return await self.read_aside(lambda tx: tx.select(sql, params))

    def select_now(self, sql: str, params: Sequence[Any]) -> list[Row] | None:
        """See `database.Database`. The hot path of every REQ: no closure, no second call."""
        if not self._open:
            raise Closed("the database is closed")
        here = self._here
        now = time.perf_counter()
        try:
            if not here.holds and now > self._holds_from:
                # For this turn of the loop: under load it has several of these.
                here.hold()
                self._loop.call_soon(here.let_go)
            here.until = now + LOOP_S
            return here.cursor.execute(sql, params).fetchall()
        except apsw.Error:
            return None  # late, or a fault: either is for a thread, and for more care

    def may_have(self, ids: Collection[str]) -> bool:
        """See `database.Database`."""
        return self._known.has_any(ids)

    async def _read(self, work: Callable[[Transaction], T], *, snapshot: bool) -> T:
        if not self._open:
            raise Closed("the database is closed")
        try:
            return self._here.run(work, LOOP_MS, snapshot)
        except apsw.InterruptError:
            pass  # it is a long one
        except apsw.Error as exc:
            raise refusal(exc) from exc
        return await self._aside(work)

    async def read_aside(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `database.Database`."""
        if not self._open:
            raise Closed("the database is closed")
        return await self._aside(lambda tx: operation(tx, *args, **kwargs))

    async def _aside(self, work: Callable[[Transaction], T]) -> T:
        if self._reads_waiting >= READS_WAITING_MAX:
            raise Unavailable("too many long queries are waiting", hint="narrow it, or try later")
        self._reads_waiting += 1
        try:
            return await self._loop.run_in_executor(self._threads, self._read_long, work)
        finally:
            self._reads_waiting -= 1

    def _read_long(self, work: Callable[[Transaction], T]) -> T:
        reader: _Reading | None = getattr(self._elsewhere, "reader", None)
        if reader is None:
            reader = self._elsewhere.reader = _Reading(self.path)
            self._readers.append(reader)
        try:
            return reader.run(work, self._budget_ms, True)
        except apsw.InterruptError as exc:
            raise TooBroad(
                f"takes more than {self._budget_ms / 1000:g} s", hint="narrow the filter"
            ) from exc
        except apsw.Error as exc:
            raise refusal(exc) from exc

    # --- writing, through the one thread ---------------------------------------------------------

    def follow(self, reader: Reader) -> None:
        """See `database.Database`."""
        self._followers.append(reader)

    def tell(self, teller: Callable[[int], None]) -> None:
        """See `database.Database`. A node alone on its file has nobody to tell."""

    def look(self, seq: int) -> None:
        """See `database.Database`. Nobody else writes to the file."""

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `database.Database`."""
        return await self._submit(self._jobs, lambda tx: operation(tx, *args, **kwargs))

    async def append(self, events: list[Event], hash: TagHash) -> list[Outcome]:
        """See `database.Database`."""
        keeper, work = self._keeper, partial(append_all, events=events, hash=hash)
        if keeper is None or keeper.stuck or time.monotonic() < self._direct_until_s:
            return await self._submit(self._jobs, work)
        if any(stands_alone(event) for event in events):
            # What waits is moved before, without holding up who keeps more aside meanwhile.
            return await self._submit(self._jobs, work, moves=True)
        return await self._submit(keeper.jobs, partial(append_aside, events=events, hash=hash))

    async def settle(self, *, queued: bool = False) -> None:
        """See `database.Database`."""
        if queued and self._keeper is not None:
            await self._submit(self._keeper.jobs, _nothing)
        if self.tail:
            await self._submit(self._jobs, _settle, moves=True)

    async def _submit(
        self,
        jobs: "queue.SimpleQueue[Job | None]",
        operation: Callable[[Transaction], T],
        *,
        moves: bool = False,
    ) -> T:
        if not self._open:
            raise Closed("the database is closed")
        if self._waiting >= QUEUE_MAX:
            raise Unavailable("too many writes are waiting", hint="try again soon")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        try:
            jobs.put(Job(operation, future, moves=moves))
            return await future  # a caller that gives up ends its wait, not the job
        finally:
            self._waiting -= 1

    @property
    def waiting(self) -> int:
        """Writes that wait for their commit."""
        return self._waiting

    async def size_bytes(self) -> int:
        """See `database.Database`."""
        names = (self.path, fresh_beside(self.path))
        files = [Path(f"{name}{end}") for name in names for end in ("", "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())

    async def used_bytes(self) -> int | None:
        """See `database.Database`."""
        rows = await self.select(_USED, ())
        return int(rows[0][0])

    def _run(self) -> None:
        """The writer thread."""
        last = False
        while not last and (first := self._next()) is not None:
            jobs, last = gathered(self._jobs, first)
            aside = self._keeper.deferred.count if self._keeper is not None else 0
            early = any(job.moves for job in jobs)
            if early:
                self._move()
            begun = time.perf_counter()
            tx = self._commit(jobs)
            self._told(jobs, tx, time.perf_counter() - begun)
            if tx is not None:
                early = early or (tx.settled and aside > 0)
                tx.let_go()
            if early and aside < FEW:
                self._direct_until_s = time.monotonic() + self._direct_s
        self._move()

    def _next(self) -> Job | None:
        """The next job; meanwhile what is kept aside moves when no more comes, or it is old."""
        keeper = self._keeper
        if keeper is None:
            return self._jobs.get()
        while True:
            before, runs = keeper.position, keeper.deferred.runs
            if runs and not keeper.stuck and (keeper.deferred.is_full or runs[0].is_old()):
                self._move(gives_way=True)
            try:
                return self._jobs.get(timeout=DEFER_S)
            except queue.Empty:
                runs = keeper.deferred.runs
                if runs and (keeper.position == before or keeper.stuck):
                    self._move(gives_way=True)

    def _move(self, *, gives_way: bool = False) -> None:
        """Move what is kept aside into the tables, while more is kept aside; if it `gives_way`,
        only the first of it when somebody waits."""
        keeper = self._keeper
        if keeper is None:
            return
        runs = keeper.to_move()
        if not runs:
            return
        tx = SqliteTransaction(self._writing, self._remembered, keeper, self._known, self._slices)
        moved: list[Run] = []
        try:
            with self._transaction():
                for step in in_steps(runs):
                    tx.move(step)
                    moved += step
                    if gives_way and not self._jobs.empty():
                        break
                tx.all("log_reach", moved[-1].last)
        # Whatever it is: it stays aside, and the writer lives. Who asked for it hears of it, since
        # their own operation meets it, too.
        except Exception as exc:
            if not keeper.stuck:
                _log.warning("events cannot be moved into the tables: %s", exc)
            keeper.stuck = True
            return
        with keeper.order:
            keeper.moved(moved[-1].last)
        self._loop.call_soon_threadsafe(self._dropped, moved)

    def _full(self) -> None:
        """Much is kept aside: the writer looks for that whenever something comes."""
        self._jobs.put(Job(_nothing, None))

    def _told(self, jobs: list[Job], tx: SqliteTransaction | None, took_s: float) -> None:
        self._loop.call_soon_threadsafe(self._finish, jobs, tx, took_s)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writing.execute("COMMIT")
        except BaseException:  # whatever it was goes on; nothing of it may stay
            self._remembered.clear()
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise

    def _commit(self, jobs: list[Job]) -> SqliteTransaction | None:
        """One transaction over the jobs, if it came to its end.

        Refusals are rare, and a savepoint costs two statements: first all run without, and only if
        one raises, everything is rolled back and runs again, each in a savepoint.
        """
        try:
            if len(jobs) > 1:
                with contextlib.suppress(_Refused):
                    return self._attempt(jobs, self._bare)
            return self._attempt(jobs, self._guarded)
        # Whatever it is: the writer must live, or every later write would wait for ever.
        except Exception as exc:
            failure = Unavailable(f"the database refused to write: {exc}")
            for job in jobs:
                job.error = job.error or failure
            return None

    def _attempt(
        self, jobs: list[Job], perform: Callable[[SqliteTransaction, Job], None]
    ) -> SqliteTransaction:
        keeper = self._keeper
        tx = SqliteTransaction(self._writing, self._remembered, keeper, self._known, self._slices)
        try:
            with self._transaction():
                for job in jobs:
                    perform(tx, job)
                found = tx.one("event_last_seq") if tx.settled else None
        except BaseException:  # whatever it was goes on
            tx.let_go()
            raise
        if keeper is not None:
            if found is not None:
                keeper.moved(keeper.position)
                keeper.position = int(found[0])
            for run in tx.kept_aside:
                keeper.deferred.add(run)
        return tx

    def _bare(self, tx: SqliteTransaction, job: Job) -> None:
        try:
            job.result = job.operation(tx)
        except Exception as exc:  # whatever it is, `_guarded` will meet it again
            raise _Refused from exc

    def _guarded(self, tx: SqliteTransaction, job: Job) -> None:
        execute = self._writing.execute
        mark, settled, aside = len(tx.appended), tx.settled, tx.kept_aside.copy()
        execute("SAVEPOINT job")
        try:
            job.result = job.operation(tx)
        # Whatever one operation raises is that caller's; the others must still commit.
        except Exception as exc:
            job.error = exc
            del tx.appended[mark:]
            tx.settled, tx.kept_aside = settled, aside
            self._remembered.clear()
            execute("ROLLBACK TO job")
        execute("RELEASE job")

    def _dropped(self, runs: list[Run]) -> None:
        """These are in the tables."""
        self._let_go()
        self.tail.drop(runs[-1].last)
        self._forget(runs)

    def _forget(self, runs: list[Run]) -> None:
        """Free them a few at a time: all at once would hold the loop for 8 ms."""
        del runs[-FREED_AT_ONCE:]
        if runs:
            self._loop.call_soon(self._forget, runs)

    def _let_go(self) -> None:
        """Who hears of a commit may look for it: no older snapshot is held."""
        self._here.let_go()
        if self._holds_from != math.inf:
            self._holds_from = time.perf_counter() + HOLD_AFTER_S

    def _finish(self, jobs: list[Job], tx: SqliteTransaction | None, took_s: float) -> None:
        self._let_go()
        self.commits.seconds.add(took_s)
        self.commits.writes.add(len(jobs))
        if tx is not None:
            # Before anybody hears of them: who asks from then on has to find them.
            if tx.settled:
                self.tail.drop()
            for run in tx.kept_aside:
                self.tail.add(run)
            for seq, event in tx.appended:
                tell(self._followers, seq, event)
        for job in jobs:
            job.finish()


def _settle(tx: Transaction) -> None:
    tx.settle()


def _nothing(_tx: Transaction) -> None:
    pass
