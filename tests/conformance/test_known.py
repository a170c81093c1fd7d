"""The filter that spares looking for new ids: it never denies one that is kept."""

import asyncio
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.engines import stores
from tests.conformance.events import an_event

from hanse.engines.storage import known
from hanse.engines.storage.known import Known
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.parts import Slices
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.sqlite_transaction import SqliteTransaction, connect
from hanse.ports import Found
from hanse.protocol.filter import Filter

pytestmark = pytest.mark.anyio


def ids(count: int, seed: int) -> list[bytes]:
    draw = random.Random(seed)
    return [draw.randbytes(32) for _ in range(count)]


def empty(tmp_path: Path) -> str:
    path = str(tmp_path / "hanse.db")

    async def make() -> None:
        async with SqliteDatabase(path):
            pass

    asyncio.run(make())
    return path


def filled(found: Known, path: str) -> Known:
    found.open(path)
    assert found._thread is not None
    found._thread.join()
    assert found.filled
    return found


def test_what_was_added_is_always_possible_and_hardly_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "LEAST", 1024)
    found = filled(Known(), empty(tmp_path))
    there, elsewhere = ids(20_000, 1), ids(20_000, 2)
    for first in range(0, len(there), 700):
        found.add(there[first : first + 700])  # layer by layer
    assert set(found.possible(there)) == set(there)
    # Each of six layers is wrong about 1 in 70 when it is full.
    assert len(set(found.possible(elsewhere))) < 20_000 * 6 / 70


def test_until_all_was_read_every_id_is_possible() -> None:
    found = Known()
    assert found.possible(ids(9, 3)) == ids(9, 3)
    found.close()


async def test_ids_of_an_earlier_process_and_of_this_one_stay_duplicates(tmp_path: Path) -> None:
    events = [an_event(created_at=number, content=str(number)) for number in range(300)]
    folder = tmp_path / "data"
    folder.mkdir()
    async with stores("deferring", folder) as kept:
        assert None not in await kept.log.append_many(events[:200])
    async with stores("deferring", folder) as kept:
        # While the ids are read, and after it.
        assert await kept.log.append_many(events[:100]) == [None] * 100
        assert None not in await kept.log.append_many(events[200:])
        assert isinstance(kept.database, SqliteDatabase)
        async with asyncio.timeout(20):
            while not kept.database._known.filled:
                await asyncio.sleep(0.01)
        assert await kept.log.append_many(events) == [None] * 300
        await kept.database.settle()
        assert await kept.log.append_many(events) == [None] * 300


async def test_ids_that_move_while_they_are_read_are_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ends the writer while the ids of earlier processes are read, a page at a time."""
    monkeypatch.setattr(known, "PAGE", 2)
    path = str(tmp_path / "hanse.db")
    events = [an_event(created_at=number) for number in range(60)]
    async with SqliteDatabase(path) as database:
        log = EventLog(database, lambda: bytes(32))
        await log.open()
        await log.append_many(events)
    moving, reading = connect(path), connect(path)
    parts = "SELECT part, count(*) FROM event_id GROUP BY part"
    assert moving.execute(parts).fetchall() == [(1, 60)]
    tx, slices = SqliteTransaction(moving, {}), Slices(16, 1)

    class Moving(threading.Event):
        """Whom it asks between two pages whether to go on moves a slice meanwhile."""

        asked = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.asked += 1
            for first, last in slices.due(self.asked):
                tx.merge(first, last)
            return False

    found = Known()
    found._stop = Moving()
    found._read(reading)
    assert moving.execute(parts).fetchall() == [(0, 60)]
    wanted = [bytes.fromhex(event.id) for event in events]
    assert found.filled
    assert set(found.possible(wanted)) == set(wanted)
    for connection in (moving, reading):
        connection.close()


async def test_an_id_that_is_kept_nowhere_is_answered_without_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [an_event(created_at=number, content=str(number)) for number in range(30)]
    folder = tmp_path / "data"
    folder.mkdir()
    async with stores("deferring", folder) as kept:
        await kept.log.append_many(events[:10])
    async with stores("deferring", folder) as kept:
        database = kept.database
        assert isinstance(database, SqliteDatabase)
        async with asyncio.timeout(20):
            while not database._known.filled:
                await asyncio.sleep(0.01)
        await kept.log.append_many(events[10:20])
        await database.settle()
        await kept.log.append_many(events[20:])  # these stay aside
        assert database.tail
        looked = 0
        select_now = database.select_now

        def counting(sql: str, params: Sequence[Any]) -> list[Any] | None:
            nonlocal looked
            looked += 1
            return select_now(sql, params)

        monkeypatch.setattr(database, "select_now", counting)

        def found(id: str) -> list[bytes]:
            answer = kept.log.at_once([Filter(ids=frozenset({id}))], limit=5, now_s=100)
            assert isinstance(answer, Found)
            return [row[2] for row in answer.rows]

        for event in events:
            assert found(event.id) == [bytes.fromhex(event.id)]
        assert looked < 30
        looked = 0
        for id in ids(200, 4):
            assert found(id.hex()) == []
        assert looked < 20


async def test_ids_that_cannot_be_read_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: str) -> None:
        raise OSError("no more files")

    monkeypatch.setattr(known, "connect", broken)
    event = an_event()
    folder = tmp_path / "data"
    folder.mkdir()
    async with stores("deferring", folder) as kept:
        assert await kept.log.append_many([event]) != [None]
        assert await kept.log.append_many([event]) == [None]
        answer = kept.log.at_once([Filter(ids=frozenset({event.id}))], limit=5, now_s=100)
        assert isinstance(answer, Found)
        assert len(answer.rows) == 1
        assert isinstance(kept.database, SqliteDatabase)
        assert not kept.database._known.filled
