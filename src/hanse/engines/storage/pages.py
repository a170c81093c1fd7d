"""The log read from outside a node, page by page in its order, without a long transaction.

Nothing is migrated or written: any version of the schema will do.
"""

from pathlib import Path
from typing import Any, Protocol, Self

import apsw

from hanse.engines.storage.database import Row
from hanse.engines.storage.queries import load_queries
from hanse.errors import NotFound, Unavailable

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

    async def __aenter__(self) -> Self:
        if not self._path.is_file():
            hint = "name its folder with --data"
            raise NotFound("is not there", field=str(self._path), hint=hint)
        try:
            self._connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(5000)
        except apsw.Error as exc:
            raise Unavailable(f"cannot be opened: {exc}", field=str(self._path)) from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.close()

    async def last_seq(self) -> int:
        """See `Pages`."""
        found = list(self._rows("events_last"))
        return int(found[0][0])

    async def after(self, seq: int, last: int, now_s: int) -> list[Row]:
        """See `Pages`."""
        found: list[Row] = []
        room = PAGE_BYTES_MAX
        for row in self._rows("events_between", seq, last, now_s, PAGE):
            found.append(row)
            room -= len(row[1])
            if room < 0:
                break
        return found

    def _rows(self, name: str, *params: int) -> Any:
        try:
            yield from self._connection.execute(load_queries()[name], params)
        except apsw.Error as exc:
            raise Unavailable(f"cannot be read: {exc}", field=str(self._path)) from exc


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
