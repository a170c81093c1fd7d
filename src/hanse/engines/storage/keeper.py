"""Puts events on disk beside the database, in a thread of its own: `tail.py` says why.

    HANSE.db-fresh     one row for each commit; what has moved into the tables goes with the next

The writer of the tables moves them, many at once, while this thread goes on. Who gives numbers to
events, this thread or an operation that appends, holds `order` until the loop was told, so that
they are announced in their order and the tables always hold the beginning of the log.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import apsw

from hanse.engines.storage.database import BATCH_MAX, Job, Row
from hanse.engines.storage.fresh import HAS, HAS_NONE, fresh_beside, refuse_if_lost
from hanse.engines.storage.known import Known
from hanse.engines.storage.overlay import Overlay
from hanse.engines.storage.sqlite_transaction import OTHER, SqliteTransaction, connect
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Deferred, Run
from hanse.errors import HanseError, Unavailable

Told = Callable[[list[Job], SqliteTransaction | None, float], None]

BUSY = 24
GATHER_S = 0.004
"""After a commit of so many events the writer lets as long pass before the next: under load a
commit of 100 events costs a fifth less for each than one of 50, for pages are written once."""

WAL_PAGES = 500
"""Pages in the file's write-ahead log before it begins anew (about). One that overwrites what it
has is on disk in half the time of one that grows: 0.12 ms a commit, and 0.23."""

ROOM_S = 0.1
"""How often a thread that waits for room looks whether moving still goes on."""

_TABLE = """
CREATE TABLE IF NOT EXISTS fresh (
    last INTEGER PRIMARY KEY, count INTEGER NOT NULL, events BLOB NOT NULL
) STRICT
"""


def gathered(jobs: "queue.SimpleQueue[Job | None]", first: Job) -> tuple[list[Job], bool]:
    """What waits for one commit, and whether it is the last."""
    found = [first]
    while len(found) < BATCH_MAX:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            break
        if job is None:
            return found, True
        found.append(job)
    return found, False


class _Keeping(SqliteTransaction):
    """Reads the tables, writes beside them."""

    defers = True

    def __init__(self, keeper: "Keeper", reading: apsw.Connection) -> None:
        super().__init__(reading, {}, keeper, keeper.known)
        self.taken = keeper.position
        self._write = keeper.execute
        self._possible = keeper.known.possible
        self._own, self._before = Deferred(), keeper.deferred
        self._overlay = Overlay(super().among, self._before, self._own)

    def one(self, name: str, *params: Any) -> Row | None:
        """See `database.Transaction`. Numbers are not taken from the table: it lags behind."""
        if name == "log_take":
            self.taken += params[0]
            return (self.taken,)
        found = super().one(name, *params)
        if name == "removals_any" and found is not None and self._overlay.forbids:
            return (1, *found[1:])
        return found

    def among(self, name: str, values: Iterable[Any]) -> list[Row]:
        """See `database.Transaction`."""
        return self._overlay.among(name, values)

    def defer(self, run: Run) -> None:
        """See `database.Transaction`."""
        lines = b"\n".join([row[7] for row in run.rows])
        self._write("fresh_insert", run.last, len(run.rows), lines)
        self.kept_aside.append(run)
        self._own.add(run)

    def known_among(self, ids: list[bytes]) -> set[bytes]:
        """See `database.Transaction`."""
        found = [(bytes(id), seq) for id, seq in super().among("events_known", self._possible(ids))]
        for kept in (self._before, self._own):
            found += [(id, kept.rows[id][0]) for id in ids if id in kept.rows]
        return {id for id, seq in found if not self._overlay.has_lost(seq)}

    def settle(self) -> None:
        """See `database.Transaction`. Not from here."""
        raise Unavailable("this has to be written to the tables")


class Keeper:
    """The file and its thread. Implements `sqlite_transaction.Aside`."""

    def __init__(self, path: str, told: Told, full: Callable[[], None], known: Known) -> None:
        self._path = path
        self.known = known
        self._told = told
        self._full = full
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.order = threading.Lock()
        self.deferred = Deferred()
        self.position = 0
        self.hash: TagHash
        """The database's, once its key was read."""
        self.stuck = False
        """Whether the tables take no more: then nothing more is kept aside."""
        self._room = threading.Condition(self.order)
        self._moved = self._cleared = 0
        self._asked = False

    def open(self) -> None:
        """Open the file and start the thread. Raises Unavailable if it is lost."""
        self._reading = connect(self._path)
        try:
            refuse_if_lost(self._reading, self._path)
            self._file = connect(str(fresh_beside(self._path)))
        except BaseException:  # whatever it was goes on; the database is let go
            self._reading.close()
            raise
        self._file.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}").fetchall()
        self._file.execute(_TABLE)
        with contextlib.suppress(apsw.Error):  # a full disk is no reason not to start
            self._reading.execute(HAS)
        self._thread = threading.Thread(target=self._run, name="hanse-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end. May wait."""
        self.jobs.put(None)
        self._thread.join()

    def close(self) -> None:
        """Let go of the file, and remove it if all of it has moved. Nothing else: whoever opened it
        may have failed before it was read."""
        empty = False
        with contextlib.suppress(apsw.Error):  # a full disk: then it leaves at the next start
            self.execute("fresh_drop", self._moved)
            empty = self.execute("fresh_last") == [(0,)]
        self._file.close()
        with contextlib.suppress(apsw.Error):
            if empty:
                self._reading.execute(HAS_NONE)
                fresh_beside(self._path).unlink(missing_ok=True)
        self._reading.close()

    def execute(self, name: str, *params: Any) -> list[Row]:
        """Run a named query on the file."""
        return SqliteTransaction(self._file, {}).all(name, *params)

    def left(self, after: int, mark: int) -> list[Row]:
        """See `sqlite_transaction.Aside`."""
        path = fresh_beside(self._path)
        try:
            ((last,),) = self.execute("fresh_last")
            ((found,),) = self._file.execute("PRAGMA application_id").fetchall()
            if last and found not in (0, mark):
                raise HanseError(f"{path} belongs to another database", hint=OTHER)
            rows = self.execute("fresh_after", after)
        except apsw.Error as exc:
            raise Unavailable(f"{path} cannot be read: {exc}", hint="restore a backup") from exc
        if found != mark:
            with contextlib.suppress(apsw.Error):  # a full disk is no reason not to start
                self._file.execute(f"PRAGMA application_id = {mark}")
        self._moved = after
        return rows

    def to_move(self) -> list[Run]:
        """All that is kept aside, which somebody is about to move."""
        with self.order:
            runs = self.deferred.runs.copy()
            self._asked = bool(runs)  # no more need to ask: that would only interrupt
        return runs

    def moved(self, last: int) -> None:
        """Up to this number all is in the tables. `order` is held."""
        self.deferred.drop(last)
        self.stuck = self._asked = False
        self._moved = last
        self._room.notify_all()

    def _run(self) -> None:
        busy, last = False, False
        while not last and (first := self.jobs.get()) is not None:
            if busy:
                time.sleep(GATHER_S)
            jobs, last = gathered(self.jobs, first)
            with self.order:
                while self.deferred.is_too_much and not self.stuck:
                    self._room.wait(ROOM_S)
                busy = self._turn(jobs) >= BUSY
            if self.deferred.is_full and not self._asked:
                self._asked = True
                self._full()

    def _turn(self, jobs: list[Job]) -> int:
        """One commit, told to the loop; how many events it holds."""
        began = time.perf_counter()
        try:
            tx = self._attempt(jobs)
        # Whatever it is, it is that job's: the others must still commit, and the thread live.
        except Exception as exc:
            if len(jobs) > 1:
                return sum([self._turn([job]) for job in jobs])
            if isinstance(exc, apsw.Error):
                jobs[0].error = Unavailable(f"the database refused to write: {exc}")
            else:
                jobs[0].error = exc
            self._told(jobs, None, time.perf_counter() - began)
            return 0
        self._told(jobs, tx, time.perf_counter() - began)
        return len(tx.appended)

    def _attempt(self, jobs: list[Job]) -> _Keeping:
        tx = _Keeping(self, self._reading)
        self._file.execute("BEGIN IMMEDIATE")
        try:
            moved = self._moved
            if moved > self._cleared:
                self.execute("fresh_drop", moved)
            for job in jobs:
                job.result = job.operation(tx)
            self._file.execute("COMMIT")
        except BaseException:  # whatever it was goes on; nothing of it may stay
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
        self._cleared = moved
        self.position = tx.taken
        for run in tx.kept_aside:
            self.deferred.add(run)
        return tx
