"""The PostgreSQL engine: the same operations over a server that many nodes share.

Writes go by one connection in batches, as with SQLite, and a batch holds the database's one writer
lock until its commit: what an operation has read stays true until then, whichever node it runs on,
and sequence numbers become visible in their order. A batch whose connection broke is tried again:
every operation is safe to repeat (same event, same call, same transfer), so a commit whose answer
was lost does no harm.

What other nodes appended is read from the log: `look` says that there may be something, and a slow
beat looks anyway.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import asyncpg

from hanse.counters import Commits
from hanse.engines.storage.append import Outcome, append_all
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import (
    BATCH_MAX,
    QUEUE_MAX,
    Job,
    Reader,
    Row,
    Transaction,
    tell,
)
from hanse.engines.storage.filter_sql import POSTGRES
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.postgres_transaction import (
    PostgresTransaction,
    check_texts,
    in_greenlet,
)
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Tail
from hanse.errors import Closed, HanseError, Invalid, TooBroad, Unavailable
from hanse.protocol.event import Event

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 8
READS_WAITING_MAX = 1024
BUDGET_MS = 3000
LOOK_S = 1.0
"""How often to look for what others appended when nobody says so."""

STEP = 500
CONNECT_S = 5.0
PAUSE_S = 0.05
RETRY_S = 30.0
"""How long a batch is tried again when the server is away; then it is refused."""

READ_RETRY_S = 3.0
"""The same for a read."""

STUCK_S = 5.0
"""A node that stops in the middle of a commit loses the writer lock after this time."""

LOCK_S = 2 * STUCK_S
"""How long one attempt waits for the lock."""

NAME_S = 8.0
"""How long a starting node waits for an earlier one of its name to be gone."""

_MIGRATING = 0x48414E5345
"""Advisory lock: of nodes that start together, one migrates."""

_WRITING = 0x48414E5346
"""Advisory lock: one node writes at a time."""

_NAMES = 0x4841
"""Advisory locks (two numbers): one live node to an instance name."""

_AWAY = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke within an answer
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TransactionRollbackError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, until it is promoted
)
"""What passes: the batch is tried again over a new connection."""


class PostgresDatabase:
    """A pool of connections to one database. `async with` migrates it and starts the writer.

    `instance` names this node among those that share the database: no two live ones have the same.
    The URL may hold a password, so no error and no log line shows it.
    """

    dialect = POSTGRES
    reads_wait = True

    def __init__(self, url: str, instance: str = "", budget_ms: int = BUDGET_MS) -> None:
        self._url = url
        self._instance = instance
        self._budget_ms = budget_ms
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._waiting = 0
        self._reads_waiting = 0
        self._followers: list[Reader] = []
        self._tellers: list[Callable[[int], None]] = []
        self._remembered: dict[str, int] = {}
        self._news = asyncio.Event()
        self._announced = 0
        self._open = False
        self._writing: Any = None
        self.commits = Commits()
        self.tail = Tail()

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            # A certificate that is not trusted is both: its text is OpenSSL's.
            if isinstance(exc, ValueError) and not isinstance(exc, OSError):
                # Without its text, which may quote the URL.
                raise Invalid.at("database", "is not a PostgreSQL URL that can be read") from exc
            text = f"cannot open the database: {said(exc)}"
            raise Unavailable(text, field="database", hint="does the server run?") from exc
        self._announced = int((await self._pool.fetchval(_named("event_last_seq"))) or 0)
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._running = [
            self._tasks.create_task(self._write()),
            self._tasks.create_task(self._follow()),
        ]
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        while self._waiting:
            await asyncio.sleep(0.005)
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        self._hang_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._pool.close()  # in order, or asyncpg's own tasks end with an error
        self._pool.terminate()

    async def _connect(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=CONNECTIONS,
            timeout=CONNECT_S,
            # Over the server's own bound: this one is for a server that is not there any more.
            command_timeout=self._budget_ms / 1000 + CONNECT_S,
            server_settings={"statement_timeout": str(self._budget_ms), "jit": "off"},
        )
        try:
            await self._migrate()
            await self._take_name()
        except BaseException:  # whatever it was goes on; the pool must not
            self._pool.terminate()
            raise

    # --- reading ------------------------------------------------------------------------------

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `database.Database`."""

        async def work(connection: Any) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                tx = PostgresTransaction(connection, {})
                return await in_greenlet(lambda: operation(tx, *args, **kwargs))

        return await self._read(work)

    read_aside = read

    async def all(self, name: str, *params: Any) -> list[Row]:
        """See `database.Database`."""
        return await self.select(_named(name), params)

    async def one(self, name: str, *params: Any) -> Row | None:
        """See `database.Database`."""
        found = await self.select(_named(name), params)
        return found[0] if found else None

    async def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """See `database.Database`."""
        check_texts(params)

        async def work(connection: Any) -> list[Row]:
            return [tuple(row) for row in await connection.fetch(sql, *params)]

        return await self._read(work)

    def select_now(self, sql: str, params: Sequence[Any]) -> list[Row] | None:
        """See `database.Database`: here every read waits."""
        return None

    def may_have(self, ids: Collection[str]) -> bool:
        """See `database.Database`: other nodes, too, write there."""
        return True

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Over a connection of the pool; again over another while the server is away."""
        if not self._open:
            raise Closed("the database is closed")
        if self._reads_waiting >= READS_WAITING_MAX:
            raise Unavailable("too many queries are waiting", hint="try again soon")
        self._reads_waiting += 1
        until = time.monotonic() + READ_RETRY_S
        try:
            while True:
                try:
                    async with self._pool.acquire(timeout=CONNECT_S) as connection:
                        return await work(connection)
                except asyncpg.QueryCanceledError as exc:
                    raise TooBroad(
                        f"takes more than {self._budget_ms / 1000:g} s", hint="narrow the filter"
                    ) from exc
                except _AWAY as exc:
                    if time.monotonic() > until or not self._open:
                        text = f"the database is away: {said(exc)}"
                        raise Unavailable(text, hint="try again soon") from exc
                except asyncpg.PostgresError as exc:
                    raise Unavailable(f"the database refused to read: {said(exc)}") from exc
                await asyncio.sleep(PAUSE_S)
        finally:
            self._reads_waiting -= 1

    # --- writing ------------------------------------------------------------------------------

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `database.Database`."""
        if not self._open:
            raise Closed("the database is closed")
        if self._waiting >= QUEUE_MAX:
            raise Unavailable("too many writes are waiting", hint="try again soon")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        future.add_done_callback(self._wrote)
        self._jobs.put_nowait(Job(lambda tx: operation(tx, *args, **kwargs), future))
        return await asyncio.shield(future)

    async def append(self, events: list[Event], hash: TagHash) -> list[Outcome]:
        """See `database.Database`."""
        return await self.write(append_all, events, hash)

    async def settle(self, *, queued: bool = False) -> None:
        """See `database.Database`. Nothing is kept aside."""

    def _wrote(self, _future: "asyncio.Future[Any]") -> None:
        self._waiting -= 1

    @property
    def waiting(self) -> int:
        """Writes that wait for their commit."""
        return self._waiting

    async def size_bytes(self) -> int:
        """See `database.Database`."""
        rows = await self.select("SELECT pg_database_size(current_database())", ())
        return int(rows[0][0])

    async def used_bytes(self) -> int | None:
        """See `database.Database`. What was removed counts until a vacuum, so it says too much."""
        return None

    async def _write(self) -> None:
        while True:
            jobs = [await self._jobs.get()]
            while len(jobs) < BATCH_MAX and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            begun = time.perf_counter()
            appended = await self._commit(jobs)
            self.commits.seconds.add(time.perf_counter() - begun)
            self.commits.writes.add(len(jobs))
            if appended:
                self._appended(appended)
            for job in jobs:
                job.finish()

    async def _commit(self, jobs: list[Job]) -> list[tuple[int, Event]]:
        """One transaction over the jobs, tried again while the server is away."""
        until = time.monotonic() + RETRY_S
        pause = PAUSE_S
        while True:
            for job in jobs:
                job.error = job.result = None
            try:
                await self._connected()
                if len(jobs) > 1:
                    with contextlib.suppress(_Refused):
                        return await self._attempt(jobs, self._bare)
                return await self._attempt(jobs, self._guarded)
            except _AWAY as exc:
                failure: Exception = exc
                # If it was the commit whose answer got lost, what it appended must still be told.
                self._news.set()
            # Whatever it is: the writer must live, or every later write would wait for ever.
            except Exception as exc:
                failure = exc
                until = 0.0
            self._hang_up()
            if time.monotonic() > until or not self._open:
                for job in jobs:
                    job.error = Unavailable(
                        f"the database refused to write: {said(failure)}", hint="try again soon"
                    )
                return []
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _connected(self) -> None:
        if self._writing is None or self._writing.is_closed():
            self._hang_up()
            await self._take_name()

    async def _take_name(self) -> None:
        """Connect for writing. The connection holds the name: two nodes of one name would refund
        each other's calls."""
        settings = {
            "jit": "off",
            "statement_timeout": str(round(LOCK_S * 1000)),
            # A node that is stopped or cut off must not keep the lock from the others.
            "idle_in_transaction_session_timeout": str(round(STUCK_S * 1000)),
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
        }
        writing = await asyncpg.connect(
            self._url,
            timeout=CONNECT_S,
            command_timeout=LOCK_S + CONNECT_S,
            server_settings=settings,
        )
        until = time.monotonic() + NAME_S
        try:
            while not await writing.fetchval(
                f"SELECT pg_try_advisory_lock({_NAMES}, hashtext($1))", self._instance
            ):
                if time.monotonic() > until:
                    raise Unavailable(
                        f"another node called {self._instance!r} runs on this database",
                        field="instance",
                        hint="give each its own --instance",
                    )
                await asyncio.sleep(PAUSE_S)
        except BaseException:  # whatever it was goes on; the connection must not
            writing.terminate()
            raise
        self._writing = writing

    def _hang_up(self) -> None:
        self._remembered.clear()
        if self._writing is not None:
            self._writing.terminate()
            self._writing = None

    async def _attempt(
        self,
        jobs: list[Job],
        perform: Callable[[PostgresTransaction, Job], Awaitable[None]],
    ) -> list[tuple[int, Event]]:
        execute = self._writing.execute
        tx = PostgresTransaction(self._writing, self._remembered)
        try:
            await execute(f"BEGIN; SELECT pg_advisory_xact_lock({_WRITING})")
            for job in jobs:
                await perform(tx, job)
            ended = await execute("COMMIT")
        except _Refused:
            self._remembered.clear()
            await execute("ROLLBACK")
            raise
        if ended != "COMMIT":  # an operation went on after a statement had failed
            raise asyncpg.InternalServerError("the transaction had failed before its commit")
        return tx.appended

    async def _bare(self, tx: PostgresTransaction, job: Job) -> None:
        try:
            job.result = await in_greenlet(lambda: job.operation(tx))
        except _AWAY:
            raise
        except Exception as exc:  # whatever it is, `_guarded` will meet it again
            raise _Refused from exc

    async def _guarded(self, tx: PostgresTransaction, job: Job) -> None:
        execute = self._writing.execute
        mark = len(tx.appended)
        await execute("SAVEPOINT job")
        try:
            job.result = await in_greenlet(lambda: job.operation(tx))
        except _AWAY:
            raise
        # Whatever one operation raises is that caller's; the others must still commit.
        except Exception as exc:
            job.error = exc
            del tx.appended[mark:]
            self._remembered.clear()
            await execute("ROLLBACK TO job")
        await execute("RELEASE job")

    # --- following ----------------------------------------------------------------------------

    def follow(self, reader: Reader) -> None:
        """See `database.Database`. Also what other nodes appended comes here."""
        self._followers.append(reader)

    def tell(self, teller: Callable[[int], None]) -> None:
        """See `database.Database`."""
        self._tellers.append(teller)

    def look(self, seq: int) -> None:
        """See `database.Database`."""
        if seq > self._announced:
            self._news.set()

    def _appended(self, appended: list[tuple[int, Event]]) -> None:
        first, last = appended[0][0], appended[-1][0]
        if first == self._announced + 1:
            self._announce(appended)
        else:
            self._news.set()  # others came between: all are read in order
        for teller in self._tellers:
            teller(last)

    def _announce(self, appended: Iterable[tuple[int, Event]]) -> None:
        for seq, event in appended:
            if seq <= self._announced:
                continue
            self._announced = seq
            tell(self._followers, seq, event)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            self._news.clear()
            try:
                while rows := await self.all("events_after", self._announced, STEP):
                    self._announce((seq, decode_row(json)) for seq, json in rows)
            except HanseError:
                await asyncio.sleep(LOOK_S)  # it is away: the next look finds what was missed

    # --- schema -------------------------------------------------------------------------------

    async def _migrate(self) -> None:
        """Apply each numbered migration once, in order, each in its own transaction."""
        connection = await asyncpg.connect(self._url, timeout=CONNECT_S)
        try:
            await connection.execute(f"SELECT pg_advisory_lock({_MIGRATING})")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS migration (number int PRIMARY KEY)"
            )
            done = await connection.fetchval("SELECT coalesce(max(number), 0) FROM migration")
            known = migrations("postgres")
            if done > known[-1][0]:
                raise HanseError(
                    f"the database is of a newer version ({done})", hint="upgrade hanse"
                )
            for number, sql in known:
                if number > done:
                    async with connection.transaction():
                        await connection.execute(sql)
                        await connection.execute("INSERT INTO migration VALUES ($1)", number)
        finally:
            connection.terminate()


class _Refused(Exception):
    """One of the operations raised."""


def said(exc: BaseException) -> str:
    """What a failure says, in one line; its kind if it says nothing."""
    return " ".join(str(exc).split())[:300] or type(exc).__name__


def _named(name: str) -> str:
    return load_queries("postgres")[name]
