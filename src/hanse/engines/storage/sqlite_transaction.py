"""A transaction over one SQLite connection, and how connections are opened."""

import functools
import hashlib
import re
import threading
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

import apsw
from apsw import carray

from hanse.engines.storage.append import insert, left_aside
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import SPAN, ConstraintBroken, Row
from hanse.engines.storage.overlay import Overlay
from hanse.engines.storage.parts import SMALL, Slices
from hanse.engines.storage.plain import padded
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Deferred, Run, in_steps
from hanse.errors import HanseError, Unavailable
from hanse.protocol.event import Event

_PRAGMAS = (
    "page_size=8192",  # of a new file: an event costs a tenth less to index than with 4096
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "recursive_triggers=ON",  # or REPLACE would delete a transfer past its trigger
    "temp_store=MEMORY",  # statement journals: in files they cost a fifth of an append
    "cache_size=-65536",
    "mmap_size=68719476736",  # 64 GiB: what is read as a file costs mentions half as much again
    "wal_autocheckpoint=2000",  # until it begins anew a write-ahead log grows, at twice the time
)

GROUP = 32
"""Tags and ids inserted by one statement: a third cheaper than one by one. Rows of events and
texts, which are larger, would cost more that way."""

_GROUPED = frozenset({"tag_insert", "id_insert"})
_VALUES = re.compile(r"(?<=VALUES )\(.*?\)")
_PARAMETER = re.compile(r"\$\d")

OTHER = "put back the hanse.db-fresh that belongs to this hanse.db, or move this one away"


class Aside(Protocol):
    """What is kept aside (`keeper.Keeper`), as far as a transaction deals with it."""

    order: threading.Lock
    """Held by who gives out numbers, until the loop was told: they are announced in order."""
    deferred: Deferred
    position: int
    """The newest number given out."""
    hash: TagHash
    """Of the database's tags."""

    def left(self, after: int, mark: int) -> list[Row]:
        """(last, count, lines) of what an earlier process kept aside after a number. `mark` tells
        one database from another. Raises HanseError for what another one left, Unavailable."""


class Ids(Protocol):
    """Which ids may be in the tables (`known.Known`)."""

    def add(self, ids: Iterable[bytes]) -> None:
        """These are about to enter."""

    def possible(self, ids: list[bytes]) -> list[bytes]:
        """Those that may be there: all others are not."""


class SqliteTransaction:
    """Implements `database.Transaction` over one connection."""

    defers = False

    def __init__(
        self,
        connection: apsw.Connection,
        remembered: dict[str, int],
        keeper: "Aside | None" = None,
        known: "Ids | None" = None,
        slices: Slices | None = None,
        engine: str = "sqlite",
    ) -> None:
        """`slices`: for one that writes. `engine`: whose queries it runs, see `load_queries`."""
        self._connection = connection
        self._slices = slices
        self._queries = load_queries(engine)
        self.keeper = keeper
        self.known = known
        self.remembered = remembered
        self.appended: list[tuple[int, Event]] = []
        self.kept_aside: list[Run] = []
        """What this transaction defers, or found deferred."""
        self.settled = False
        """Whether it moved into the tables all that was deferred before."""
        self.holds = False

    def all(self, name: str, *params: Any) -> list[Row]:
        """See `database.Transaction`."""
        return self._run(self._queries[name], params).fetchall()

    def one(self, name: str, *params: Any) -> Row | None:
        """See `database.Transaction`."""
        return self._run(self._queries[name], params).fetchone()

    def many(self, name: str, rows: Sequence[Row]) -> None:
        """See `database.Transaction`."""
        sql = self._queries[name]
        try:
            if name in _GROUPED:
                rows = self._grouped(sql, rows)
            self._connection.executemany(sql, rows)
        except apsw.ConstraintError as exc:
            raise ConstraintBroken(str(exc)) from exc

    def _grouped(self, sql: str, rows: Sequence[Row]) -> Sequence[Row]:
        """Insert GROUP rows by each statement; those that are left."""
        ends = range(GROUP, len(rows) + 1, GROUP)
        if not ends:
            return rows
        groups = (tuple(chain.from_iterable(rows[end - GROUP : end])) for end in ends)
        self._connection.executemany(_for_groups(sql), groups)
        return rows[ends[-1] :]

    def among(self, name: str, values: Iterable[Any]) -> list[Row]:
        """See `database.Transaction`."""
        sql, wanted = self._queries[name], list(values)
        if not wanted:
            return []
        if "carray($values)" in sql:  # one parameter, and each value has to differ
            ids = carray(tuple(dict.fromkeys(wanted)))
            return self._run(sql.replace("$values", "?"), (ids,)).fetchall()
        wanted = padded(wanted)
        marks = ",".join("?" * len(wanted))
        return self._run(sql.replace("$values", marks), wanted).fetchall()

    def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """See `database.Transaction`."""
        return self._connection.execute(sql, params).fetchall()

    def defer(self, run: Run) -> None:
        """See `database.Transaction`."""
        raise AssertionError("only `keeper.Keeper` keeps anything aside")

    def known_among(self, ids: list[bytes]) -> set[bytes]:
        """See `database.Transaction`."""
        possible = self.known.possible(ids) if self.known is not None else ids
        return {bytes(row[0]) for row in self.among("events_known", possible)}

    def enter(self, rows: Sequence[Row], tags: Sequence[Row], hash: TagHash) -> None:
        """See `database.Transaction`."""
        assert self._slices is not None
        if self.known is not None:
            self.known.add([row[1] for row in rows])
        for first, last in self._slices.due(rows[-1][0]):
            self.merge(first, last)
        self.many("event_insert", rows)
        # Clustered tables, written in their order: 12 % cheaper.
        self.many("id_insert", sorted([(SMALL, row[1][:8], row[0]) for row in rows]))
        authors = hash.authors([row[2].hex() for row in rows])
        found: list[Row] = [
            (author, row[3], row[0], row[4]) for author, row in zip(authors, rows, strict=True)
        ]
        found += tags
        ends = {row[0]: row[5] for row in rows if row[5] is not None}
        placed = [(SMALL, *tag, ends.get(tag[2])) for tag in found]
        self.many("tag_insert", sorted(placed))

    def merge(self, first: int, last: int) -> None:
        """Move a slice of the small part to the large one: the first and last of its hashes."""
        heads = first.to_bytes(8), last.to_bytes(8)
        hashes = first - (1 << 63), last - (1 << 63)
        self.all("slice_renew", *hashes)
        for table, bounds in (("id", heads), ("tag", hashes)):
            self.all(f"{table}_copy", *bounds)
            self.all(f"{table}_drop", *bounds)

    def leave(
        self, events: Sequence[tuple[int, Event]], tags: Sequence[Row], hash: TagHash
    ) -> None:
        """See `database.Transaction`."""
        authors = hash.authors([event.pubkey for _, event in events])
        found = [
            (author, event.created_at, seq)
            for author, (seq, event) in zip(authors, events, strict=True)
        ]
        self.many("tag_delete", sorted([*found, *tags]))
        self.many("id_delete", [(bytes.fromhex(event.id)[:8], seq) for seq, event in events])
        self.many("event_delete", [(seq,) for seq, _ in events])

    def author(self, pubkey: bytes, hash: TagHash) -> int:
        """See `database.Transaction`."""
        return hash.authors([pubkey.hex()])[0]

    def after(
        self, seq: int, kinds: Collection[int], most: int
    ) -> tuple[list[tuple[int, Event]], int, bool]:
        """See `database.Transaction`."""
        newest = self.one("event_last_seq")
        last = max(seq, int(newest[0])) if newest else seq
        until = min(seq + SPAN, last)
        rows = self.all("events_following", seq, until, carray(array("q", kinds)), most)
        found = [(at, decode_row(json)) for at, json in rows]
        if len(found) == most:
            return found, found[-1][0], True
        if until < last or self.keeper is None or self.settled:
            return found, until, until < last
        runs = self.keeper.deferred.runs
        for run in runs[bisect_right(runs, last, key=lambda run: run.last) :]:
            numbered = enumerate(run.events, run.rows[0][0])
            found += [(at, event) for at, event in numbered if event.kind in kinds and at > last]
            last = run.last
            if len(found) >= most:
                return found, last, True
        return found, last, False

    def settle(self) -> None:
        """See `database.Transaction`."""
        if self.keeper is None or self.settled:
            return
        self.hold()
        for step in in_steps(self.keeper.deferred.runs):
            self.move(step)
        self.all("fresh_clear")
        self.all("log_reach", self.keeper.position)
        self.settled = True

    def move(self, runs: list[Run]) -> None:
        """Put runs into the tables."""
        assert self.keeper is not None
        insert(self, runs, self.keeper.hash)
        self.all("fresh_drop", runs[-1].last)

    def resume(self, hash: TagHash) -> int:
        """See `database.Transaction`."""
        found = self.one("event_last_seq")
        newest = int(found[0]) if found else 0
        if self.keeper is None:
            return newest
        self.hold()
        self.keeper.hash = hash
        if self.keeper.position:
            return self.keeper.position  # it was done
        aside = Deferred()
        overlay = Overlay(self.among, aside)
        for last, count, lines in self.all("fresh_all") + self.keeper.left(newest, self._mark()):
            if last <= newest:
                continue
            events = [decode_row(line) for line in bytes(lines).split(b"\n")]
            if last - count != newest or len(events) != count:
                raise HanseError(
                    f"what is kept beside the database does not go on after its event {newest}: "
                    "both files must be of one moment",
                    hint=OTHER,
                )
            aside.add(left_aside(overlay.among, events, newest + 1, hash))
            newest = last
        self.kept_aside += aside.runs
        # Views follow what is aside, and that may be lost: a copy of one file, or of two moments.
        if self.all("trust_beyond", newest):
            self.all("trust_clear_events")
            self.all("trust_clear_follows")
        self.all("views_back", newest)
        self.keeper.position = newest
        return newest

    def _mark(self) -> int:
        (key,) = self.one("meta_get", "tag-key") or (b"",)
        return int.from_bytes(hashlib.blake2b(bytes(key), digest_size=3).digest()) + 1

    def hold(self) -> None:
        """Let nobody else give numbers until this transaction was told."""
        if self.keeper is not None and not self.holds:
            self.keeper.order.acquire()
            self.holds = True

    def let_go(self) -> None:
        """It was told, or is undone."""
        if self.keeper is not None and self.holds:
            self.holds = False
            self.keeper.order.release()

    def _run(self, sql: str, params: Sequence[Any]) -> apsw.Cursor:
        try:
            return self._connection.execute(sql, params)
        except apsw.ConstraintError as exc:
            raise ConstraintBroken(str(exc)) from exc


def connect(path: str, flags: int = 0) -> apsw.Connection:
    """Open a database as a node uses it; `flags` are SQLite's own, besides. Raises Unavailable."""
    flags |= apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(path, flags=flags, statementcachesize=512)
        connection.set_busy_timeout(5000)
        # Or each new value bound to a LIMIT plans the statement anew: 4 of a point read's 7 µs.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except (apsw.NotADBError, apsw.CorruptError) as exc:
        raise Unavailable(f"{path} is damaged: {exc}", hint="restore a backup") from exc
    except apsw.Error as exc:
        raise Unavailable(f"cannot open {path}: {exc}", hint="is the folder writable?") from exc
    return connection


@functools.cache
def _for_groups(sql: str) -> str:
    """The statement for GROUP rows."""
    return _VALUES.sub(lambda row: ", ".join([_PARAMETER.sub("?", row[0])] * GROUP), sql)
