"""The log over a database: appends and answers. Implements `ports.Log`.

What may enter and what it replaces stands in `append.py`, what leaves in `removal.py`, what a
filter finds in `filter_sql.py`.
"""

import contextlib
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from hanse.engines.storage.append import append_all
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import Database, Row, Transaction
from hanse.engines.storage.filter_sql import WINDOW, FilterSql
from hanse.engines.storage.removal import (
    START,
    Place,
    Reach,
    erase_author,
    erase_ids,
    remove_expired,
    remove_old,
    remove_oldest,
    vanish_step,
)
from hanse.engines.storage.selection import Try
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import joined
from hanse.errors import HanseError, Unavailable
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

NOBODY: frozenset[PublicKey] = frozenset()


class Aside(msgspec.Struct, frozen=True):
    """What was kept aside when a question was asked."""

    news: Sequence[list[Row]]
    """Of each filter what it passes, as `tail.Tail.find` has it; empty if nothing was aside."""
    gone: frozenset[int]
    """See `tail.Run.gone`."""
    announced: int
    """The newest number that was told; what is above it comes live."""


class EventLog:
    """The log over one database."""

    def __init__(
        self, database: Database, new_key: Callable[[], bytes], *, window: int = WINDOW
    ) -> None:
        self._database = database
        self._new_key = new_key
        self._window = window
        self._announced = 0
        self._trimmed: dict[Reach, Place] = {}
        """Where `trim` goes on: what it left behind it need not be looked at every time."""

    @property
    def reads_wait(self) -> bool:
        """See `ports.Log`."""
        return self._database.reads_wait

    async def open(self) -> None:
        """Read, or make, this database's secret for tag hashes. Call once, before anything else."""

        def operation(tx: Transaction) -> tuple[bytes, int]:
            found = tx.one("meta_get", "tag-key")
            if found is None:
                tx.all("meta_set", "tag-key", self._new_key())
                found = tx.one("meta_get", "tag-key")
            assert found is not None
            key = bytes(found[0])
            return key, tx.resume(TagHash(key))

        key, self._announced = await self._database.write(operation)
        database = self._database
        self._sql = FilterSql(key, database.dialect, self._window)
        self._database.follow(self._saw)

    def _saw(self, seq: int, _event: Event) -> None:
        self._announced = seq

    # --- writing ------------------------------------------------------------------------------

    async def append_many(self, events: list[Event]) -> list[int | HanseError | None]:
        """See `ports.Log`."""
        found = await self._database.append(events, self._sql.hash)
        if any(event.kind == kinds.VANISH for event in events):
            # They are committed, whatever becomes of this: what stays undone, the next request or
            # the next start takes.
            with contextlib.suppress(HanseError):
                await self.vanish()
        return found

    def append_within(self, tx: Transaction, event: Event) -> int | None:
        """Append in somebody's transaction: the sequence number, or None for a duplicate. Raises
        Restricted or Conflict."""
        (found,) = append_all(tx, [event], self._sql.hash)
        if isinstance(found, HanseError):
            raise found
        return found

    def follow(self, reader: Callable[[int, Event], None]) -> None:
        """See `ports.Log`."""
        self._database.follow(reader)

    async def vanish(self) -> int:
        """Remove what authors who asked to vanish wrote (NIP-62), in steps; how many events went.
        Also called at start: a step that a crash left undone is taken then."""
        await self._move()
        return await self._in_steps(vanish_step)

    async def sweep(self, now_s: int) -> int:
        """Remove events that expired (NIP-40); how many went. What receipts or the books refer to
        stays, unseen: see `removal.KEPT`."""
        await self._move()
        return await self._walk(remove_expired, now_s)

    async def retain(self, kind: int, before_s: int) -> int:
        """Remove events of a kind from before a time; how many went. Never those that receipts or
        the books refer to: see `removal.KEPT`."""
        await self._move()
        return await self._walk(remove_old, kind, before_s)

    async def trim(self, most: int) -> int:
        """Remove the oldest events by their own time, at most so many; how many went. What is least
        missed goes first (`removal.Reach`), and nothing that receipts or the books refer to."""
        await self._move()
        total = 0
        for reach in Reach:
            place: Place | None = self._trimmed.get(reach, START)
            while place is not None and total < most:
                self._trimmed[reach] = place
                gone, place = await self._database.write(
                    remove_oldest, most - total, reach, place, hash=self._sql.hash
                )
                total += gone
            if place is None:
                self._trimmed.pop(reach, None)  # the end: the next time from the start
        return total

    async def erase(self, *, ids: Sequence[str] = (), pubkey: PublicKey | None = None) -> int:
        """Remove events by the operator's order; how many went. Nothing forbids their return:
        that is for admission."""
        # Not less: what is aside would come back, though somebody was told that it went.
        await self._database.settle(queued=True)
        gone = 0
        if ids:
            gone += await self._database.write(erase_ids, list(ids), self._sql.hash)
        if pubkey is not None:
            gone += await self._in_steps(erase_author, bytes.fromhex(pubkey))
        return gone

    async def _move(self) -> None:
        """What asks the tables alone has to find all there. A disk that takes no more is no reason
        not to read what is there."""
        with contextlib.suppress(Unavailable):
            await self._database.settle()

    async def _in_steps(self, step: Callable[..., tuple[int, bool]], *args: object) -> int:
        """Other writes go between the steps: nobody waits for a long removal."""
        total, more = 0, True
        while more:
            gone, more = await self._database.write(partial(step, hash=self._sql.hash), *args)
            total += gone
        return total

    async def _walk(self, step: Callable[..., tuple[int, Place | None]], *args: object) -> int:
        """The same, from place to place."""
        total = 0
        place: Place | None = START
        while place is not None:
            walk = partial(step, hash=self._sql.hash)
            gone, place = await self._database.write(walk, *args, place)
            total += gone
        return total

    # --- reading ------------------------------------------------------------------------------

    async def query(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
    ) -> Found:
        """See `ports.Log`."""
        tail = self._database.tail
        if _is_search(filters):
            await self._move()  # by words only the tables are searched
        # Taken before the tables are read: what moves there meanwhile is found twice, not missed.
        announced = self._announced
        news = (
            [tail.find(one, now_s, reader, _wanted(one, limit) + 1) for one in filters]
            if tail
            else ()
        )
        aside = Aside(news, tail.gone_now(), announced)
        if len(filters) == 1 and not _is_search(filters):
            # A filter that one statement answers, without a transaction around it.
            wanted = _wanted(filters[0], limit)
            first = self._sql.first(filters[0], wanted + 1, now_s, reader)
            if first is None:
                return Found([], announced, False)
            one, params = first
            rows = await self._database.select(one.sql, params)
            found = _settled(one, rows, wanted, announced)
            if found is None and one.then is not None:
                one, params = one.then, self._sql.then(filters[0], wanted + 1, now_s)
                rows = await self._database.select(one.sql, params)
                found = _settled(one, rows, wanted, announced)
            if found is not None and news:
                found = _with(found, rows, news[0], wanted, aside.gone)
            if found is not None:
                return found
        run = self._database.read_aside if _is_search(filters) else self._database.read
        return await self._carefully(run, filters, limit, now_s, reader, aside)

    async def _carefully(
        self,
        run: Callable[..., Coroutine[Any, Any, Found]],
        filters: Sequence[Filter],
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey],
        aside: Aside,
    ) -> Found:
        """`_query`; what was announced is in the tables or aside."""
        found = await run(self._query, filters, limit, now_s, reader, aside)
        if found.seq >= aside.announced:
            return found
        return msgspec.structs.replace(found, seq=aside.announced)

    def at_once(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
    ) -> Found | Coroutine[Any, Any, Found]:
        """See `ports.Log`."""
        asked = filters[0]
        if len(filters) != 1 or asked.search is not None or self._database.reads_wait:
            return self.query(filters, limit=limit, now_s=now_s, reader=reader)
        tail = self._database.tail
        wanted = _wanted(asked, limit)
        news = [tail.find(asked, now_s, reader, wanted + 1)] if tail else ()
        announced = self._announced
        if asked.ids is not None and not self._database.may_have(asked.ids):
            here = joined([], news[0], 0) if news else []
            return Found(here[:wanted], announced, len(here) > wanted)
        first = self._sql.first(asked, wanted + 1, now_s, reader)
        if first is None:
            return Found([], announced, False)
        one, params = first
        rows = self._database.select_now(one.sql, params)
        found = None if rows is None else _settled(one, rows, wanted, announced)
        if found is None and rows is not None and one.then is not None:
            params = self._sql.then(asked, wanted + 1, now_s)
            rows = self._database.select_now(one.then.sql, params)
            found = None if rows is None else _settled(one.then, rows, wanted, announced)
        run = self._database.read_aside
        if rows is not None:
            if found is not None and news:
                found = _with(found, rows, news[0], wanted, tail.gone)
            if found is not None:
                return found
            run = self._database.read
        aside = Aside(news, tail.gone_now(), announced)
        return self._carefully(run, filters, limit, now_s, reader, aside)

    def _query(
        self,
        tx: Transaction,
        filters: Sequence[Filter],
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey],
        aside: Aside,
    ) -> Found:
        last = tx.one("event_covered")
        reached, news = int(last[0]) if last else 0, aside.news
        merged: dict[int, Row] = {}
        more = False
        rows: list[Row] = []
        for index, found in enumerate(filters):
            wanted = _wanted(found, limit)
            rows = self._careful_rows(tx, found, wanted, now_s, reader, aside.gone)
            if news and found.search is not None:  # best first; what came just now, last
                rows = rows + [row for row in news[index] if row[0] > reached]
            elif news:
                rows = joined(rows, news[index], reached)
            more = more or len(rows) > wanted
            rows = rows[:wanted]
            if len(filters) > 1:
                merged.update({row[0]: row for row in rows})
        if len(filters) > 1:
            rows = sorted(merged.values(), key=lambda row: (-row[1], row[2]))
        return Found(rows, reached, more)

    def _careful_rows(
        self,
        tx: Transaction,
        found: Filter,
        wanted: int,
        now_s: int,
        reader: frozenset[PublicKey],
        gone: frozenset[int],
    ) -> list[Row]:
        """The first rows in the tables that a filter passes, one more than wanted; none is gone."""
        most = wanted + 1
        while True:
            rows: list[Row] = []
            for one in self._sql.rows(found, most, now_s, reader):
                rows = tx.select(one.sql, one.params)
                if one.exact and not _in_order(rows, most - 1):
                    rows = tx.select(one.exact, one.params)
                if one.complete or (len(rows) >= most and not _cuts_a_tie(rows, most - 1)):
                    break
            left = [row for row in rows if row[0] not in gone] if gone else rows
            if len(left) > wanted or len(rows) < most:
                return left
            most += len(rows) - len(left)

    async def count(
        self, filters: Sequence[Filter], *, now_s: int, reader: frozenset[PublicKey] = NOBODY
    ) -> int:
        """See `ports.Log`."""
        await self._move()
        gone = self._database.tail.gone
        rows, news = await self._select(
            filters, *self._sql.count(filters, now_s, reader, gone), now_s, reader
        )
        return int(rows[0][0]) + len(news)

    async def pubkeys(
        self, filter: Filter, *, now_s: int, reader: frozenset[PublicKey] = NOBODY, limit: int
    ) -> list[bytes]:
        """See `ports.Log`."""
        await self._move()
        sql, params = self._sql.pubkeys(filter, limit, now_s, reader, self._database.tail.gone)
        rows, news = await self._select([filter], sql, params, now_s, reader)
        keys = [pubkey for (pubkey,) in rows]
        keys += [bytes.fromhex(decode_row(row[3]).pubkey) for row in news]
        return list(dict.fromkeys(keys))[:limit] if news else keys

    async def outline(
        self, filter: Filter, *, now_s: int, reader: frozenset[PublicKey] = NOBODY, limit: int
    ) -> list[tuple[int, bytes]]:
        """See `ports.Log`."""
        await self._move()
        sql, params = self._sql.outline(filter, limit, now_s, reader, self._database.tail.gone)
        rows, news = await self._select([filter], sql, params, now_s, reader)
        if news:
            rows = sorted([*rows, *(row[1:3] for row in news)], key=lambda row: (-row[0], row[1]))
        return rows[: _wanted(filter, limit)]

    async def _select(
        self,
        filters: Sequence[Filter],
        sql: str,
        params: list[Any],
        now_s: int,
        reader: frozenset[PublicKey],
    ) -> tuple[list[Row], list[Row]]:
        """What the tables give, and what passes the filters and is in no table: on a full disk."""
        tail = self._database.tail
        read = self._database.read_aside if _is_search(filters) else self._database.read
        if not tail:
            if not _is_search(filters):
                return await self._database.select(sql, params), []
            return await read(lambda tx: tx.select(sql, params)), []
        aside = {
            row[0]: row for one in filters for row in tail.find(one, now_s, reader, sys.maxsize)
        }
        rows, last = await read(lambda tx: (tx.select(sql, params), tx.one("event_last_seq")))
        reached = int(last[0]) if last else 0
        return rows, [row for seq, row in aside.items() if seq > reached]

    async def event(self, id: str) -> Event | None:
        """See `ports.Log`."""
        tail = self._database.tail
        here = tail.event(id)
        if here is not None:
            return here
        found = await self._database.one("event_by_id", bytes.fromhex(id))
        if found is None or found[0] in tail.gone:
            return None
        return msgspec.json.decode(found[4], type=Event)

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are kept."""
        await self._move()
        aside = {id for id in ids if self._database.tail.event(id) is not None}
        wanted = [bytes.fromhex(id) for id in ids]
        gone = self._database.tail.gone
        rows = await self._database.read(lambda tx: tx.among("events_known", wanted))
        return aside | {bytes(id).hex() for id, seq in rows if seq not in gone}

    async def total(self) -> int:
        """See `ports.Log`."""
        await self._move()
        found = await self._database.one("event_count")
        return int(found[0]) if found else 0

    async def last_seq(self) -> int:
        """See `ports.Log`."""
        found = await self._database.one("event_last_seq")
        return max(int(found[0]), self._announced) if found else 0


def _with(
    found: Found, rows: list[Row], news: list[Row], wanted: int, gone: Collection[int]
) -> Found | None:
    """The same with what is kept aside, and without what is `gone`. None if others may have to take
    the place of those. `rows` are all that the tables gave, in their order."""
    if gone:
        left = [row for row in rows if row[0] not in gone]
        if len(left) < len(rows) > wanted:
            return None
        rows = left
    elif not news:
        return found
    rows = joined(rows, news, max([row[0] for row in rows], default=0))
    return Found(rows[:wanted], found.seq, len(rows) > wanted)


def _is_search(filters: Sequence[Filter]) -> bool:
    """Whether words are looked up: FTS5 walks the lists of common ones within one step of SQLite's
    machine, where no budget is looked at (0.1 ms for each 1,000 events that have them)."""
    return any(found.search is not None for found in filters)


def _wanted(asked: Filter, limit: int) -> int:
    return limit if asked.limit is None or asked.limit > limit else asked.limit


def _settled(first: Try, rows: list[Row], wanted: int, announced: int) -> Found | None:
    """The answer, if these rows are all of it and in order. What was announced before they were
    read is in them, and so is all up to the newest of them."""
    if first.capped:
        if not rows or rows[0][0] is not None:
            return None
        del rows[0]
    more = len(rows) > wanted
    if not (more or first.complete):
        return None
    if len(rows) > 1 and first.exact and not _in_order(rows, wanted):
        return None
    for row in rows:
        if row[0] > announced:
            announced = row[0]
    return Found(rows[:wanted] if more else rows, announced, more)


def _in_order(rows: list[Row], wanted: int) -> bool:
    """Sorts ties in time by id, in place. False if a tie lies across the limit: then the rows that
    belong may not be among these."""
    if len({row[1] for row in rows}) == len(rows):
        return True
    if _cuts_a_tie(rows, wanted):
        return False
    rows.sort(key=lambda row: (-row[1], row[2]))
    return True


def _cuts_a_tie(rows: list[Row], wanted: int) -> bool:
    return len(rows) > wanted > 0 and bool(rows[wanted - 1][1] == rows[wanted][1])
