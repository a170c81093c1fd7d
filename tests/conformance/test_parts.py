"""What finds events, in a large part and a small one (`parts.py`): all is found, once and in order,
wherever it has moved."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.conformance.events import ALICE, BOB, Words, an_event

from hanse.engines.storage.database import Transaction
from hanse.engines.storage.filter_sql import SQLITE, FilterSql
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.parts import EVERY, SLICES, Slices
from hanse.engines.storage.selection import spread
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Conflict
from hanse.keyring import new_secret
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter

TAGGED = Filter(tags=(("t", frozenset("a")),))
EITHER = Filter(tags=(("t", frozenset("ab")),))


def limited(found: Filter, limit: int) -> Filter:
    return Filter(tags=found.tags, limit=limit)


def newest_first(events: list[Event]) -> list[str]:
    return [event.id for event in sorted(events, key=lambda event: (-event.created_at, event.id))]


@asynccontextmanager
async def parted(
    path: Path | str, slices: int = 3, every: int = 2
) -> AsyncIterator[tuple[SqliteDatabase, Words]]:
    """A log in which so many slices of what finds events move, one with every few of them."""
    async with SqliteDatabase(str(path), slices=Slices(slices, every)) as database:
        log = EventLog(database, lambda: bytes(range(32)))
        await log.open()
        yield database, Words(log)


async def rows(database: SqliteDatabase, table: str) -> int:
    [(count,)] = await database.select(f"SELECT count(*) FROM {table}", ())
    return int(count)


# --- over every engine --------------------------------------------------------------------------


@pytest.mark.parametrize("found", [TAGGED, EITHER], ids=["one value", "two"])
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 9, 14, 15, 40])
async def test_a_limit_that_falls_within_one_second_leaves_the_lowest_ids(
    log: Words, found: Filter, limit: int
) -> None:
    times = [1000, 1003, *[1001] * 12, 1002]
    events = [
        an_event(created_at=at, content=str(n), tags=[["t", "a"], ["t", "b"]])
        for n, at in enumerate(times)
    ]
    await log.keep(*events)
    others = [an_event(created_at=1001, content=str(n), tags=[["t", "c"]]) for n in range(9)]
    await log.keep(*others)
    assert await log.kept(limited(found, limit)) == newest_first(events)[:limit]
    outline = await log.log.outline(found, now_s=1500, limit=limit)
    assert [id.hex() for _, id in outline] == newest_first(events)[:limit]


async def test_what_comes_late_stands_where_its_time_says(log: Words) -> None:
    times = [5, 90, 17, 60, 3, 55, 54, 12, 80, 1, 2, 70, 9]
    events = [
        an_event(created_at=at, tags=[["t", "ab"[n % 2]], ["p", BOB.public]])
        for n, at in enumerate(times)
    ]
    await log.keep(*events)
    to_bob = (("p", frozenset({BOB.public})),)
    for asked in (EITHER, Filter(tags=to_bob), Filter(authors=frozenset({ALICE.public}))):
        assert await log.kept(asked) == newest_first(events)
    some = Filter(tags=to_bob, since=9, until=60, limit=4)
    assert await log.kept(some) == newest_first([e for e in events if e.created_at <= 60])[:4]
    both = Filter(tags=(*TAGGED.tags, *to_bob))
    assert await log.kept(both) == newest_first(events[::2])


async def test_many_kinds_of_a_tag_are_all_looked_for_and_no_others(log: Words) -> None:
    events = [
        an_event(kind=kind, created_at=kind, tags=[["t", "a"], ["t", "b"]])
        for kind in range(40, 100, 3)
    ]
    await log.keep(*events)
    for tags in (TAGGED.tags, EITHER.tags):
        for count in (15, 16, 17, 1000):
            asked = Filter(tags=tags, kinds=frozenset(range(46, 46 + count)), limit=50)
            passes = [event for event in events if 46 <= event.kind < 46 + count]
            assert await log.kept(asked) == newest_first(passes)
            assert await log.kept(asked, Filter(kinds=frozenset({3}))) == newest_first(passes)


async def test_a_feed_finds_who_fell_silent_long_ago_and_nobody_else(log: Words) -> None:
    """Of many, of few, dated in their order, against it and in none."""
    keys = [new_secret() for _ in range(90)]
    silent, loud = keys[:30], keys[30:]
    events = [an_event(key, created_at=at) for at, key in enumerate(silent, 10)]
    events += [
        an_event(key, kind=kind, created_at=at)
        for n, key in enumerate(loud)
        for kind, at in ((1, 1000 + n), (3, 900 - n), (1, 500 + n * 37 % 60))
    ]
    for first in range(20):  # many at once would all be in the small part
        await log.keep(*events[first::20])
    for asked, limit in ((keys, 7), (keys, 130), (keys, 500), (silent, 5), (keys[25:35], 40)):
        for kind in (None, 1, 3):
            passes = [
                event
                for event in events
                if event.pubkey in {key.public for key in asked} and kind in (None, event.kind)
            ]
            found = Filter(
                authors=frozenset(key.public for key in asked),
                kinds=None if kind is None else frozenset({kind}),
                limit=limit,
            )
            assert await log.kept(found) == newest_first(passes)[:limit]
            within = msgspec.structs.replace(found, since=15, until=1020)
            passes = [event for event in passes if 15 <= event.created_at <= 1020]
            assert await log.kept(within) == newest_first(passes)[:limit]
            assert await log.kept(within, Filter(ids=frozenset())) == newest_first(passes)[:limit]
            proven = frozenset({silent[0].public})
            assert await log.kept(within, reader=proven) == newest_first(passes)[:limit]


# --- over parts of a few events -----------------------------------------------------------------


async def test_what_is_opened_again_finds_each_event_in_its_part(tmp_path: Path) -> None:
    events = [an_event(created_at=n, tags=[["t", "a"]]) for n in range(21)]
    by_alice = Filter(authors=frozenset({ALICE.public}))
    async with parted(tmp_path / "hanse.db") as (_, log):
        await log.keep(*events[:18])
    async with parted(tmp_path / "hanse.db") as (database, log):
        for event in events[:18]:
            assert await log.kept(Filter(ids=frozenset({event.id}))) == [event.id]
            assert await log.append(event) is None
        for asked in (TAGGED, by_alice):
            assert await log.kept(asked) == newest_first(events[:18])
        await log.keep(*events[18:])
        await database.settle(queued=True)
        assert await log.kept(Filter(ids=frozenset(e.id for e in events))) == newest_first(events)
        for asked in (TAGGED, by_alice):
            assert (
                await log.kept(msgspec.structs.replace(asked, limit=5))
                == (newest_first(events)[:5])
            )
        assert [await rows(database, table) for table in ("event_id", "tag")] == [21, 42]


@pytest.mark.parametrize("together", [1, 2, 3, 5, 19])
async def test_all_moves_to_the_large_part_within_a_round(tmp_path: Path, together: int) -> None:
    events = [an_event(content=str(n), tags=[["t", "a"], ["t", str(n)]]) for n in range(100)]
    async with parted(tmp_path / "hanse.db", slices=4, every=3) as (database, log):
        for start in range(0, len(events), together):
            await log.keep(*events[start : start + together])
            await database.settle(queued=True)
            for table in ("event_id", "tag"):
                small = f"SELECT count(*), min(seq) FROM {table} WHERE part = 1"
                [(count, oldest)] = await database.select(small, ())
                assert count > 0
                assert oldest >= start + 1 - 4 * 3 - together
        assert [await rows(database, table) for table in ("event_id", "tag")] == [100, 300]
        for n, event in enumerate(events):
            own = Filter(tags=(("t", frozenset({str(n)})),))
            assert await log.kept(own) == [event.id]
        assert await log.kept(TAGGED) == newest_first(events)


@pytest.mark.parametrize("slices", [1, 3, 64, 100])
async def test_of_each_slice_it_is_known_how_new_the_large_part_is(
    tmp_path: Path, slices: int
) -> None:
    times = [1 + n * 37 % 101 for n in range(100)]
    events = [an_event(created_at=at, tags=[["t", str(at)], ["t", str(at % 7)]]) for at in times]
    async with parted(tmp_path / "hanse.db", slices=slices, every=1) as (database, log):
        for start in range(0, 100, 9):
            await log.keep(*events[start : start + 9])
            await database.settle(queued=True)
            known = "SELECT n, newest FROM slice WHERE newest > 0"
            moved = "SELECT hash >> 58, max(created_at) FROM tag WHERE part = 0 GROUP BY 1"
            assert await database.select(f"{known} EXCEPT {moved}", ()) == []
            assert await database.select(f"{moved} EXCEPT {known}", ()) == []
        assert await rows(database, "tag WHERE part = 0") > 100
        assert await rows(database, "slice") == SLICES
        assert isinstance(log.log, EventLog)
        await log.log.erase(ids=[event.id for event in events if event.created_at > 50])
        too_new = "tag CROSS JOIN slice WHERE part = 0 AND n = hash >> 58 AND created_at > newest"
        assert await rows(database, too_new) == 0


async def test_what_an_undone_write_moved_stays_where_it_was(tmp_path: Path) -> None:
    events = [an_event(created_at=n, tags=[["t", "a"]]) for n in range(40)]

    def fails(tx: Transaction) -> None:
        tx.settle()
        raise Conflict("not now")

    async with parted(tmp_path / "hanse.db") as (database, log):
        for start in range(0, 40, 3):
            await log.keep(*events[start : start + 3])
            with pytest.raises(Conflict):
                await database.write(fails)
            assert await log.kept(TAGGED) == newest_first(events[: start + 3])
        await database.settle(queued=True)
        assert [await rows(database, table) for table in ("event_id", "tag")] == [40, 80]
        assert await log.kept(TAGGED) == newest_first(events)


async def test_what_leaves_the_log_leaves_nothing_in_its_part(tmp_path: Path) -> None:
    events = [an_event(created_at=n, tags=[["t", "a"], ["t", "b"]]) for n in range(10)]
    async with parted(tmp_path / "hanse.db") as (database, log):
        await log.keep(*events)
        assert isinstance(log.log, EventLog)
        assert await log.log.erase(ids=[event.id for event in events[2:]]) == 8
        tables = ("event", "event_id", "tag")
        assert [await rows(database, table) for table in tables] == [2, 2, 6]
        assert set(await log.kept(EITHER)) == {event.id for event in events[:2]}
        assert await log.log.erase(pubkey=ALICE.public) == 2
        assert [await rows(database, table) for table in tables] == [0, 0, 0]


async def test_ids_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    events = [an_event(created_at=n) for n in range(6)]
    async with parted(tmp_path / "hanse.db") as (database, log):
        await log.keep(*events)
        await database.settle(queued=True)
        known = events[0].id
        likes = [known[:16] + f"{n:048x}" for n in range(3)]
        for like in likes:
            assert await log.kept(Filter(ids=frozenset({like}))) == []
        assert await log.kept(Filter(ids=frozenset({known, *likes}))) == [known]
        await database.write(lambda tx: tx.all("id_insert", 0, bytes.fromhex(known)[:8], 2))
        assert await log.kept(Filter(ids=frozenset({known}))) == [known]
        assert await log.append(events[0]) is None


async def test_an_author_is_no_tag_that_anybody_can_write(tmp_path: Path) -> None:
    """`=` and the key is what an author is hashed as."""
    async with parted(tmp_path / "hanse.db") as (_, log):
        likes = [
            an_event(BOB, tags=[["=", ALICE.public], ["a", ALICE.public], ["", ALICE.public]]),
            an_event(BOB, tags=[["=" + ALICE.public[0], ALICE.public[1:]]]),
        ]
        await log.keep(*likes)
        assert await log.kept(Filter(authors=frozenset({ALICE.public}))) == []
        assert await log.kept(Filter(authors=frozenset({BOB.public}))) == newest_first(likes)


def test_a_round_moves_every_hash_once() -> None:
    slices, start = Slices(), EVERY * 1000
    slices.open(start)
    assert slices.due(start + EVERY - 1) == []
    moved = [due for n in range(1, SLICES + 1) for due in slices.due(start + EVERY * n)]
    assert slices.due(start) == slices.due(start + EVERY * SLICES) == []
    assert len(moved) == SLICES
    ends = sorted(moved)
    assert (ends[0][0], ends[-1][1]) == (0, 2**64 - 1)
    assert all(last + 1 == first for (_, last), (first, _) in itertools.pairwise(ends))
    # However much enters at once, no slice is due twice.
    assert sorted(slices.due(start + EVERY * SLICES * 9)) == ends


@pytest.mark.parametrize(
    "found", [TAGGED, Filter(authors=frozenset({ALICE.public}))], ids=["tag", "author"]
)
async def test_a_limited_read_sorts_nothing(tmp_path: Path, found: Filter) -> None:
    async with parted(tmp_path / "hanse.db"):
        pass
    sql = FilterSql(b"key", SQLITE)
    one = next(sql.rows(msgspec.structs.replace(found, limit=9), 9, 0, frozenset()))
    connection = apsw.Connection(str(tmp_path / "hanse.db"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {one.sql}", one.params)]
    assert sum("tag USING PRIMARY KEY (part=? AND hash=?" in step for step in plan) == 2
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN event")]


def test_a_statement_is_no_longer_for_having_many_kinds() -> None:
    sql = FilterSql(b"key", SQLITE)
    for found in (TAGGED, EITHER, Filter(authors=frozenset({ALICE.public}))):
        asked = msgspec.structs.replace(found, kinds=frozenset(range(1000)))
        (one,) = sql.rows(asked, 9, 0, frozenset())
        assert max(len(one.sql), len(one.exact)) < 2000


def test_a_statement_is_written_out_for_each_part_with_the_same_parameters() -> None:
    assert spread("SELECT ? FROM ([[x OF $part WHERE y = ?]]) LIMIT ?7") == (
        "SELECT ?1 FROM (x OF 0 WHERE y = ?2 UNION ALL x OF 1 WHERE y = ?2) LIMIT ?7"
    )
