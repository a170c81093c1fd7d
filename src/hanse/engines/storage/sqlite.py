"""The SQLite database: one writer thread with group commit, one reading connection on the loop.

An operation is a plain function over a `Transaction`. Operations that wait together share one
COMMIT (synchronous=FULL), each in a savepoint of its own, so that one refusal does not undo its
neighbours. `write` returns only after the commit is on disk.

Reads run on the event loop: a point read costs 7 µs here, a hop to a thread and back five times
that.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import apsw

from hanse.engines.storage.queries import load_queries
from hanse.errors import Closed, HanseError, Unavailable
from hanse.protocol.event import Event

P = ParamSpec("P")
T = TypeVar("T")

Row = tuple[Any, ...]
Reader = Callable[[int, Event], None]

REMEMBERED_MAX = 100_000

BATCH_MAX = 512
"""Operations in one commit: bounds how long the first one waits for the last."""

QUEUE_MAX = 20_000
"""Operations waiting; beyond it new ones are refused, not queued."""

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "recursive_triggers=ON",  # or REPLACE would delete a transfer past its trigger
    "cache_size=-65536",
    "mmap_size=268435456",
    "wal_autocheckpoint=8000",
)


class Transaction:
    """What an operation may do: run named queries, and say which events it appended."""

    def __init__(self, connection: apsw.Connection, remembered: dict[str, int]) -> None:
        self._connection = connection
        self._queries = load_queries()
        self.remembered = remembered
        """Row numbers that never change once made, by name; forgotten at any rollback."""
        self.appended: list[tuple[int, Event]] = []

    def all(self, name: str, *params: Any) -> list[Row]:
        """Run a named query, all rows."""
        return self._connection.execute(self._queries[name], params).fetchall()

    def one(self, name: str, *params: Any) -> Row | None:
        """Run a named query, its first row or None."""
        return self._connection.execute(self._queries[name], params).fetchone()

    def many(self, name: str, rows: Sequence[Row]) -> None:
        """Run a named query once per row."""
        self._connection.executemany(self._queries[name], rows)


class _Job:
    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Callable[[Transaction], Any], future: asyncio.Future[Any]):
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class _Refused(Exception):
    """One of the operations raised."""


class SqliteDatabase:
    """Owns the file. `async with` opens it, migrates it and starts the writer."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._readers: list[Reader] = []
        self._open = False
        self._remembered: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._writing = _connect(self.path)
        try:
            _migrate(self._writing)
        except BaseException:
            self._writing.close()
            raise
        self._reading = _connect(self.path)
        self._queries = load_queries()
        self._thread = threading.Thread(target=self._run, name="hanse-writer", daemon=True)
        self._thread.start()
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._reading.close()
        self._writing.close()

    # --- reading, on the loop ---------------------------------------------------------------

    def all(self, name: str, *params: Any) -> list[Row]:
        """Run a named reading query, all rows."""
        return self._reading.execute(self._queries[name], params).fetchall()

    def one(self, name: str, *params: Any) -> Row | None:
        """Run a named reading query, its first row or None."""
        return self._reading.execute(self._queries[name], params).fetchone()

    def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """Run a query that `filter_sql` built. Raises Unavailable if the database refuses it."""
        try:
            return self._reading.execute(sql, params).fetchall()
        except apsw.Error as exc:
            raise Unavailable(f"the database refused to read: {exc}") from exc

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads inside see one state of the database."""
        self._reading.execute("BEGIN")
        try:
            yield
        finally:
            self._reading.execute("COMMIT")

    # --- writing, through the one thread ---------------------------------------------------------

    def follow(self, reader: Reader) -> None:
        """Call `reader(seq, event)` on the loop for every appended event, after its commit."""
        self._readers.append(reader)

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in the next commit; its result, once that is on disk.

        Raises what the operation raised (then it changed nothing), Unavailable if the disk refuses,
        Closed after the end.
        """
        if not self._open:
            raise Closed("the database is closed")
        if self._waiting >= QUEUE_MAX:
            raise Unavailable("too many writes are waiting", hint="try again soon")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        try:
            self._jobs.put(_Job(lambda tx: operation(tx, *args, **kwargs), future))
            return await asyncio.shield(future)
        finally:
            self._waiting -= 1

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = [first], False
            while len(jobs) < BATCH_MAX:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                    break
                jobs.append(job)
            appended = self._commit(jobs)
            self._loop.call_soon_threadsafe(self._finish, jobs, appended)
            if last:
                return

    def _commit(self, jobs: list[_Job]) -> list[tuple[int, Event]]:
        """One transaction over the jobs. Returns what was appended, in order.

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
            refusal = Unavailable(f"the database refused to write: {exc}")
            for job in jobs:
                job.error = job.error or refusal
            return []

    def _attempt(
        self, jobs: list[_Job], perform: Callable[[Transaction, _Job], None]
    ) -> list[tuple[int, Event]]:
        tx = Transaction(self._writing, self._remembered)
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                perform(tx, job)
            self._writing.execute("COMMIT")
        except BaseException:
            self._remembered.clear()
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise
        return tx.appended

    def _bare(self, tx: Transaction, job: _Job) -> None:
        try:
            job.result = job.operation(tx)
        except Exception as exc:  # whatever it is, `_guarded` will meet it again
            raise _Refused from exc

    def _guarded(self, tx: Transaction, job: _Job) -> None:
        execute = self._writing.execute
        mark = len(tx.appended)
        execute("SAVEPOINT job")
        try:
            job.result = job.operation(tx)
        # Whatever one operation raises is that caller's; the others must still commit.
        except Exception as exc:
            job.error = exc
            del tx.appended[mark:]
            self._remembered.clear()
            execute("ROLLBACK TO job")
        execute("RELEASE job")

    def _finish(self, jobs: list[_Job], appended: list[tuple[int, Event]]) -> None:
        for seq, event in appended:
            for reader in self._readers:
                reader(seq, event)
        for job in jobs:
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(_translated(job.error))


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, apsw.Error):
        refusal = Unavailable(f"the database refused to write: {error}")
        refusal.__cause__ = error
        return refusal
    return error


def _connect(path: str) -> apsw.Connection:
    try:
        connection = apsw.Connection(path)
        connection.set_busy_timeout(5000)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except apsw.Error as exc:
        raise Unavailable(f"cannot open {path}: {exc}", hint="is the folder writable?") from exc
    return connection


def _migrate(connection: apsw.Connection) -> None:
    """Apply each numbered migration once, in order, each in its own transaction."""
    found = connection.execute("PRAGMA user_version").fetchone()
    done = int(found[0]) if found else 0
    for number, sql in migrations():
        if number <= done:
            continue
        with connection:
            connection.execute(sql)
            connection.execute(f"PRAGMA user_version = {number}")
    if done > len(migrations()):
        raise HanseError(f"the database is of a newer version ({done})", hint="upgrade hanse")


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    folder = resources.files("hanse.engines.storage") / "migrations"
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [(int(file.name.split("_")[0]), file.read_text(encoding="utf-8")) for file in files]
