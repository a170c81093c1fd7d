"""The log read from outside a node, page by page in its order, without a long transaction.

No row is written and nothing is migrated: any version of the schema will do. What is kept aside and
takes something out of the tables has taken it here, too.
"""

from pathlib import Path
from typing import Any, Protocol, Self

import apsw

from hanse.engines.storage.append import left_aside
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import Row
from hanse.engines.storage.fresh import has_fresh, has_table, left_beside
from hanse.engines.storage.overlay import Overlay
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.sqlite_transaction import SqliteTransaction
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Deferred
from hanse.errors import NotFound, Unavailable
from hanse.protocol.event import expiration_of

PAGE = 1000
PAGE_BYTES_MAX = 8 << 20
POSTGRES_PAGE = 100
"""Rows come all at once from there; one may have half a MiB."""


class Pages(Protocol):
    """One log, open."""

    async def last_seq(self) -> int:
        """The newest sequence number."""

    async def after(self, seq: int, last: int, now_s: int) -> list[Row]:
        """Some (seq, json) of those after `seq` up to `last` that have not expired; none at the
        end."""


class SqlitePages:
    """A database file. `async with` opens it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gone: set[int] = set()

    async def __aenter__(self) -> Self:
        if not self._path.is_file():
            hint = "name its folder with --data"
            raise NotFound("is not there", field=str(self._path), hint=hint)
        try:
            self._connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(5000)
            self._defers = has_fresh(self._connection)
        except apsw.Error as exc:
            raise Unavailable(f"cannot be opened: {exc}", field=str(self._path)) from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.close()

    async def last_seq(self) -> int:
        """See `Pages`."""
        (last,) = (int(row[0]) for row in self._rows("events_last"))
        if self._defers:
            rows = self._aside(last)
            self._gone = self._taken_by(rows)
            # Once more: it may have moved there just now.
            (moved,) = (int(row[0]) for row in self._rows("events_last"))
            last = max(moved, rows[-1][0] if rows else 0)
        return last

    def _taken_by(self, rows: list[tuple[int, int, bytes]]) -> set[int]:
        """Numbers of what is replaced or deleted by what is aside."""
        aside = Deferred()
        # Older versions had an index of whole ids, for which what all engines say will do.
        engine = "sqlite" if has_table(self._connection, "event_id") else ""
        overlay = Overlay(SqliteTransaction(self._connection, {}, engine=engine).among, aside)
        try:
            for newest, count, lines in rows:
                events = [decode_row(line) for line in lines.split(b"\n")]
                aside.add(left_aside(overlay.among, events, newest - count + 1, TagHash(b"")))
        except apsw.Error as exc:
            raise Unavailable(f"cannot be read: {exc}", field=str(self._path)) from exc
        return aside.gone

    async def after(self, seq: int, last: int, now_s: int) -> list[Row]:
        """See `Pages`."""
        found = self._kept(seq, last, now_s)
        if not found and self._defers:
            # What is not in the tables yet. Read before them: it may move there just now.
            aside = self._aside(seq)
            (reached,) = (row[0] for row in self._rows("event_last_seq"))
            found = self._kept(seq, last, now_s)
            if not found:
                lines = _lines(aside, max(seq, reached), last, now_s)
                found = [row for row in lines if row[0] not in self._gone]
        return found

    def _aside(self, after: int) -> list[tuple[int, int, bytes]]:
        try:
            return left_beside(self._connection, self._path, after)
        except apsw.Error as exc:
            raise Unavailable(f"cannot be read: {exc}", field=str(self._path)) from exc

    def _kept(self, seq: int, last: int, now_s: int) -> list[Row]:
        found: list[Row] = []
        while not found:
            room, read = PAGE_BYTES_MAX, seq
            for row in self._rows("events_between", seq, last, now_s, PAGE):
                seq = row[0]
                if seq not in self._gone:
                    found.append(row)
                room -= len(row[1])
                if room < 0:
                    break
            if seq == read:
                break
        return found

    def _rows(self, name: str, *params: int) -> Any:
        try:
            yield from self._connection.execute(load_queries()[name], params)
        except apsw.Error as exc:
            raise Unavailable(f"cannot be read: {exc}", field=str(self._path)) from exc


def _lines(aside: list[tuple[int, int, bytes]], after: int, last: int, now_s: int) -> list[Row]:
    found: list[Row] = []
    for newest, count, lines in aside:
        for at, line in enumerate(lines.split(b"\n"), newest - count + 1):
            if after < at <= last and not _has_expired(line, now_s):
                found.append((at, line))
    return found


def _has_expired(json: bytes, now_s: int) -> bool:
    expires = expiration_of(decode_row(json).tags)
    return expires is not None and expires <= now_s


class PostgresPages:
    """A PostgreSQL database. `async with` connects."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        import asyncpg

        self._errors = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
        try:
            self._connection = await asyncpg.connect(self._url)
        except self._errors as exc:
            hint = "does the server run?"
            raise Unavailable(f"cannot connect: {exc}", field="HANSE_DATABASE", hint=hint) from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.terminate()

    async def last_seq(self) -> int:
        """See `Pages`."""
        rows = await self._rows("events_last")
        return int(rows[0][0])

    async def after(self, seq: int, last: int, now_s: int) -> list[Row]:
        """See `Pages`."""
        return await self._rows("events_between", seq, last, now_s, POSTGRES_PAGE)

    async def _rows(self, name: str, *params: int) -> list[Row]:
        try:
            sql = load_queries("postgres")[name]
            return [tuple(row) for row in await self._connection.fetch(sql, *params)]
        except self._errors as exc:
            raise Unavailable(f"cannot be read: {exc}", field="HANSE_DATABASE") from exc
