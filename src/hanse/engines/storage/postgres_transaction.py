"""An operation's transaction on PostgreSQL, and the greenlet it runs in.

Operations are plain functions that ask and get rows at once. Asking leaves the greenlet for the
event loop, which comes back with the rows. So one set of operations serves an engine that answers
in the call and one that answers over a network.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import asyncpg
import greenlet

from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import SPAN, ConstraintBroken, Row
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Run
from hanse.errors import Invalid
from hanse.protocol.event import Event

T = TypeVar("T")


class PostgresTransaction:
    """Implements `database.Transaction` inside a greenlet."""

    defers = False

    def __init__(self, connection: Any, remembered: dict[str, int]) -> None:
        self._connection = connection
        self._queries = load_queries("postgres")
        self.remembered = remembered
        self.appended: list[tuple[int, Event]] = []

    def all(self, name: str, *params: Any) -> list[Row]:
        """See `database.Transaction`."""
        return self.select(self._queries[name], params)

    def one(self, name: str, *params: Any) -> Row | None:
        """See `database.Transaction`."""
        found = self.select(self._queries[name], params)
        return found[0] if found else None

    def many(self, name: str, rows: Sequence[Row]) -> None:
        """See `database.Transaction`."""
        sql = self._queries[name]
        if not rows:
            return
        if "[]" in sql:  # it takes an array for each column: one statement, whatever it carries
            self.select(sql, [list(column) for column in zip(*rows, strict=True)])
        else:
            for row in rows:
                check_texts(row)
            _wait(_translated(self._connection.executemany(sql, rows)))

    def among(self, name: str, values: Iterable[Any]) -> list[Row]:
        """See `database.Transaction`."""
        wanted = list(values)
        if not wanted:
            return []
        sql = self._queries[name].replace("IN ($values)", "= ANY($1)")
        return self.select(sql, [wanted])

    def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """See `database.Transaction`."""
        check_texts(params)
        found: list[Row] = _wait(_translated(self._connection.fetch(sql, *params)))
        return [tuple(row) for row in found]

    def defer(self, run: Run) -> None:
        """See `database.Transaction`."""
        raise AssertionError("nothing is kept aside: other nodes read the tables")

    def known_among(self, ids: list[bytes]) -> set[bytes]:
        """See `database.Transaction`."""
        return {row[0] for row in self.among("events_known", ids)}

    def enter(self, rows: Sequence[Row], tags: Sequence[Row], _hash: TagHash) -> None:
        """See `database.Transaction`."""
        self.many("event_insert", rows)
        if tags:
            self.many("tag_insert", tags)

    def leave(
        self, events: Sequence[tuple[int, Event]], tags: Sequence[Row], _hash: TagHash
    ) -> None:
        """See `database.Transaction`."""
        self.many("tag_delete", tags)
        self.many("event_delete", [(seq,) for seq, _ in events])

    def author(self, pubkey: bytes, _hash: TagHash) -> bytes:
        """See `database.Transaction`."""
        return pubkey

    def after(
        self, seq: int, kinds: Collection[int], most: int
    ) -> tuple[list[tuple[int, Event]], int, bool]:
        """See `database.Transaction`."""
        newest = self.one("event_last_seq")
        last = max(seq, int(newest[0])) if newest else seq
        until = min(seq + SPAN, last)
        rows = self.all("events_following", seq, until, list(kinds), most)
        reached = rows[-1][0] if len(rows) == most else until
        return [(at, decode_row(json)) for at, json in rows], reached, reached < last

    def settle(self) -> None:
        """See `database.Transaction`."""

    def resume(self, _hash: TagHash) -> int:
        """See `database.Transaction`."""
        found = self.one("event_last_seq")
        return int(found[0]) if found else 0


def check_texts(params: Sequence[Any]) -> None:
    """PostgreSQL's text holds no NUL. Raises Invalid before it is asked: its own refusal would
    break the transaction for whoever goes on without what was refused."""
    for found in params:
        for text in found if isinstance(found, list) else (found,):
            if isinstance(text, str) and "\0" in text:
                raise Invalid("has a NUL character, which the database does not keep", field="text")


async def _translated(work: Awaitable[T]) -> T:
    try:
        return await work
    except asyncpg.IntegrityConstraintViolationError as exc:
        raise ConstraintBroken(str(exc)) from exc


def _wait(work: Awaitable[T]) -> T:
    """Inside a greenlet: let the loop await, and come back with the result."""
    found: T = greenlet.getcurrent().parent.switch(work)
    return found


async def in_greenlet(work: Callable[[], T]) -> T:
    """Run a function whose `_wait` calls are awaited here."""
    inner = greenlet.greenlet(work)
    found = inner.switch()
    while not inner.dead:
        try:
            answer = await found
        # It belongs to whoever waits inside; `BaseException`, so that a cancelled one unwinds.
        except BaseException as exc:
            found = inner.throw(exc)
        else:
            found = inner.switch(answer)
    result: T = found
    return result
