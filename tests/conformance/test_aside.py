"""Events that SQLite keeps aside: found before they are in the tables, there after a kill, in
every copy, and out of nobody's way."""

import asyncio
import io
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from tests.conformance.engines import Stores, stores
from tests.conformance.events import (
    ALICE,
    BOB,
    CAROL,
    Words,
    a_deletion,
    an_event,
)

from hanse.engines.storage import sqlite, tail
from hanse.engines.storage.append import append_all
from hanse.engines.storage.database import Job, Row, Transaction
from hanse.engines.storage.keeper import Keeper
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.pages import SqlitePages
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.tag_hash import TagHash
from hanse.errors import HanseError, Restricted, Unavailable
from hanse.operations.backup import back_up, restore
from hanse.operations.export import export
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter

TAGGED = Filter(tags=(("t", frozenset("a")),))


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Stores]:
    """A file."""
    async with stores("deferring", tmp_path / "data") as found:
        yield found


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """Where it is."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def notes(count: int, first: int = 0) -> list[Event]:
    return [
        an_event(created_at=number, content=f"note {number}", tags=[["t", "a"]])
        for number in range(first, first + count)
    ]


async def aside(kept: Stores) -> int:
    """How many events are in no table, where nothing was ever removed."""
    total = await kept.database.one("event_count")
    assert total is not None
    return await kept.log.last_seq() - int(total[0])


def keeper_of(kept: Stores) -> Keeper:
    """Who keeps aside."""
    found = cast(SqliteDatabase, kept.database)._keeper
    assert found is not None
    return found


def killed(folder: Path, to: Path) -> None:
    """The folder as a kill would leave it."""
    to.mkdir()
    for path in folder.iterdir():
        shutil.copy2(path, to / path.name)


async def test_a_plain_event_is_kept_aside_and_found_by_every_condition(kept: Stores) -> None:
    log = Words(kept.log)
    event = an_event(content="plain words", tags=[["t", "a"], ["word", "b"]])
    assert await log.append(event) == 1
    for found in (
        Filter(),
        Filter(ids=frozenset({event.id})),
        Filter(authors=frozenset({ALICE.public, BOB.public})),
        Filter(kinds=frozenset({kinds.NOTE})),
        TAGGED,
        Filter(since=event.created_at, until=event.created_at),
    ):
        assert await log.kept(found) == [event.id]
    assert await log.kept(Filter(authors=frozenset({BOB.public}))) == []
    assert await kept.log.event(event.id) == event
    assert await log.append(event) is None
    assert await aside(kept) == 1
    assert await log.kept(Filter(search="words")) == [event.id]  # which the tables answer
    assert await aside(kept) == 0
    assert await log.append(event) is None
    assert await log.kept() == [event.id]


async def test_an_answer_takes_the_newest_of_the_tables_and_of_what_is_aside(kept: Stores) -> None:
    log, events = Words(kept.log), notes(30)
    await log.keep(*events[::2])
    await kept.database.settle()
    await log.keep(*events[1::2])
    newest = [event.id for event in reversed(events)]
    for limit in (1, 5, 29, 30, 40):
        found = await kept.log.query([TAGGED], limit=limit, now_s=0)
        assert [row[2].hex() for row in found.rows] == newest[:limit]
        assert (found.more, found.seq) == (limit < 30, 30)
        both = await kept.log.query([TAGGED, Filter(limit=3)], limit=limit, now_s=0)
        assert [row[2].hex() for row in both.rows] == newest[: max(limit, min(limit, 3))]
    assert await kept.log.count([TAGGED], now_s=0) == 30


async def test_a_private_event_aside_goes_only_to_its_recipient(kept: Stores) -> None:
    log = Words(kept.log)
    wrap = an_event(ALICE, kinds.GIFT_WRAP, tags=[["p", BOB.public]])
    await log.keep(wrap)
    assert await aside(kept) == 1
    for asked in (Filter(), Filter(kinds=frozenset({kinds.GIFT_WRAP}))):
        assert await log.kept(asked) == []
        assert await log.kept(asked, reader=frozenset({CAROL.public})) == []
        assert await log.kept(asked, reader=frozenset({BOB.public})) == [wrap.id]


async def test_what_expires_or_is_deleted_is_gone_from_aside(kept: Stores) -> None:
    log = Words(kept.log)
    brief = an_event(content="brief", tags=[["expiration", "2000"]])
    unwanted = an_event(content="unwanted")
    await log.keep(brief, unwanted)
    assert await aside(kept) == 2
    assert set(await log.kept(now_s=1999)) == {brief.id, unwanted.id}
    assert await log.kept(now_s=2000) == [unwanted.id]
    deletion = a_deletion(("e", unwanted.id))
    await log.keep(deletion)
    assert await log.kept(now_s=2000) == [deletion.id]
    with pytest.raises(Restricted):
        await log.append(unwanted)
    assert await kept.log.sweep(2000) == 1
    assert await kept.log.total() == 1


async def test_what_our_books_depend_on_goes_into_the_tables_in_the_order_of_the_log(
    kept: Stores,
) -> None:
    log = Words(kept.log)
    statement = an_event(kind=kinds.KEY_STATEMENT, content="{}")
    numbers = await log.keep(*notes(3), statement, *notes(3, first=3))
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    rows = await kept.database.all("events_after", 0, 100)
    assert [row[0] for row in rows] == numbers


async def test_what_would_move_a_few_at_a_time_is_not_kept_aside(tmp_path: Path) -> None:
    async with stores("sqlite", tmp_path) as kept:
        log = Words(kept.log)
        assert (await log.keep(*notes(2)), await aside(kept)) == ([1, 2], 2)
        assert await log.append(an_event(kind=kinds.KEY_STATEMENT)) == 3
        while await log.keep(*notes(1, first=await kept.log.last_seq())) and await aside(kept):
            pass
        assert len(await log.kept(TAGGED)) == await kept.log.last_seq() - 1


async def test_enough_of_them_move_by_themselves(
    kept: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RUN_EVENTS", 50)
    log = Words(kept.log)
    for first in range(0, 60, 20):
        await log.keep(*notes(20, first))
    while await aside(kept):
        await asyncio.sleep(0.001)
    assert await kept.database.one("event_count") == (60,)
    assert len(await log.kept(TAGGED)) == 60


@pytest.mark.parametrize("copied", [False, True], ids=["as it was", "in a copy"])
async def test_moving_gives_way_to_who_waits_and_a_kill_then_loses_nothing(
    kept: Stores, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    monkeypatch.setattr(tail, "STEP_EVENTS", 10)
    monkeypatch.setattr(tail, "AGE_S", 60)
    monkeypatch.setattr(sqlite, "DEFER_S", 60)
    for first in range(0, 60, 5):
        await Words(kept.log).keep(*notes(5, first))
    if copied:  # what was aside is in a table of the copy
        back_up(folder, tmp_path / "copy", lambda *_: None)
        restore(tmp_path / "copy", tmp_path / "from", lambda *_: None)
    else:
        killed(folder, tmp_path / "from")
    async with stores("deferring", tmp_path / "from") as again:
        assert await aside(again) == 60
        ended = threading.Event()

        def copying(tx: Transaction) -> Row | None:
            killed(tmp_path / "from", tmp_path / "killed")
            return tx.one("event_count")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(again.database.write(lambda _tx: ended.wait(10)))
            await asyncio.sleep(0.05)
            monkeypatch.setattr(tail, "RUN_EVENTS", 50)
            waiting = tasks.create_task(again.database.write(copying))
            await asyncio.sleep(0.05)
            ended.set()
        assert waiting.result() == (10,)
        assert len(await Words(again.log).kept(TAGGED)) == 60
        assert await again.log.append_many(notes(60)) == [None] * 60
        monkeypatch.setattr(tail, "AGE_S", 0)
        async with asyncio.timeout(10):
            while await aside(again):
                await again.database.write(lambda _tx: None)
    async with stores("deferring", tmp_path / "killed") as again:
        assert len(await Words(again.log).kept(TAGGED)) == 60
        await again.database.settle()
        assert len(await Words(again.log).kept(TAGGED)) == 60
        assert await again.database.select("PRAGMA integrity_check", ()) == [("ok",)]


async def test_they_move_when_nothing_is_written_for_a_while(kept: Stores) -> None:
    log = Words(kept.log)
    await log.keep(*notes(2))
    assert await aside(kept) == 2
    async with asyncio.timeout(10):
        while await aside(kept):
            await asyncio.sleep(0.01)
    assert len(await log.kept(TAGGED)) == 2


async def test_a_killed_node_finds_what_was_aside_once(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    events = notes(7)
    await Words(kept.log).keep(*events[:3])
    await kept.database.settle()
    await Words(kept.log).keep(*events[3:5])
    await Words(kept.log).keep(*events[5:])
    killed(folder, tmp_path / "killed")
    for _ in range(2):  # and again from its own end, which leaves nothing aside
        async with stores("deferring", tmp_path / "killed") as again:
            log = Words(again.log)
            assert len(await log.kept(TAGGED)) == 7
            assert await again.log.append_many(events) == [None] * 7
            assert await again.log.last_seq() == 7
            assert len(await log.kept(Filter(search="note"))) == 7
            assert await aside(again) == 0
            assert await again.database.select("PRAGMA integrity_check", ()) == [("ok",)]
    async with stores("deferring", tmp_path / "killed") as again:
        assert await Words(again.log).append(an_event(content="next")) == 8


async def test_a_backup_and_an_export_hold_what_is_aside(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    events = notes(5)
    await Words(kept.log).keep(*events[:2])
    await kept.database.settle()
    await Words(kept.log).keep(*events[2:4])
    await Words(kept.log).keep(an_event(tags=[["expiration", "9"]]), events[4])
    out = io.BytesIO()
    async with SqlitePages(folder / "hanse.db") as opened:
        done = await export(opened, out, Filter(), 10, lambda *_: None)
    assert (done.events, done.last_seq) == (5, 6)
    assert out.getvalue().count(b"\n") == 5
    copied = back_up(folder, tmp_path / "copy", lambda *_: None)
    assert (copied.events, copied.last_seq) == (6, 6)
    assert await aside(kept) == 4
    restore(tmp_path / "copy", tmp_path / "restored", lambda *_: None)
    async with stores("deferring", tmp_path / "restored") as again:
        assert len(await Words(again.log).kept(TAGGED, now_s=0)) == 5
        assert await again.log.total() == 6


async def test_a_disk_that_takes_no_more_leaves_what_is_aside_readable(kept: Stores) -> None:
    def limit(tx: Transaction) -> None:
        tx.select("PRAGMA max_page_count = 1", ())

    log = Words(kept.log)
    events = [an_event(content=f"{n} " * 1000, tags=[["t", "a"]]) for n in range(50)]
    await log.keep(*events)
    await kept.database.write(limit)
    with pytest.raises(Unavailable):
        await kept.database.settle()
    with pytest.raises(Unavailable):
        await log.append(an_event(kind=kinds.KEY_STATEMENT))
    assert set(await log.kept(TAGGED)) == {event.id for event in events}
    assert await kept.log.count([TAGGED, Filter()], now_s=0) == 50
    assert len(await kept.log.outline(TAGGED, now_s=0, limit=100)) == 50
    assert len(await kept.log.outline(TAGGED, now_s=0, limit=7)) == 7
    assert await kept.log.pubkeys(TAGGED, now_s=0, limit=9) == [bytes.fromhex(ALICE.public)]
    assert await kept.log.known([events[0].id, "0" * 64]) == {events[0].id}

    def widen(tx: Transaction) -> None:
        tx.select("PRAGMA max_page_count = 1073741823", ())

    await kept.database.write(widen)
    await kept.database.settle()
    assert set(await log.kept(TAGGED)) == {event.id for event in events}
    assert await aside(kept) == 0


async def test_an_event_that_does_not_fit_beside_the_database_spares_its_neighbours(
    kept: Stores,
) -> None:
    log = Words(kept.log)
    await log.keep(*notes(1))
    keeper = cast(SqliteDatabase, kept.database)._keeper
    assert keeper is not None
    with keeper.order:
        keeper._file.execute("PRAGMA max_page_count = 1")
    sizes = [60_000 if number % 2 else 1 for number in range(8)]
    outcomes = await asyncio.gather(
        *(kept.log.append_many([an_event(content=f"{n}" * size)]) for n, size in enumerate(sizes)),
        return_exceptions=True,
    )
    fitted = [isinstance(found, list) for found in outcomes]
    assert fitted[1::2] == [False] * 4
    assert len(await log.kept()) == 1 + sum(fitted)
    with keeper.order:
        keeper._file.execute("PRAGMA max_page_count = 1073741823")
    numbers = await log.keep(*notes(3, first=5))
    assert numbers == list(range(2 + sum(fitted), 5 + sum(fitted)))


async def test_what_is_aside_and_the_tables_share_one_row_of_numbers(kept: Stores) -> None:
    log, told = Words(kept.log), list[int]()
    kept.log.follow(lambda seq, _event: told.append(seq))
    plain = [kept.log.append_many([event]) for event in notes(60)]
    binding = [
        kept.log.append_many([an_event(kind=kinds.KEY_STATEMENT, created_at=n)]) for n in range(20)
    ]
    asked = [kept.log.count([Filter()], now_s=0) for _ in range(20)]
    works = [work for three in zip(plain[::3], binding, asked, strict=True) for work in three]
    outcomes = await asyncio.gather(*works, *plain[1::3], *plain[2::3])
    given = [one for found in outcomes if isinstance(found, list) for one in found]
    assert sorted(seq for seq in given if isinstance(seq, int)) == told == sorted(told)
    assert await kept.log.last_seq() == told[-1] == len(told)
    assert len(await log.kept(TAGGED)) == 60
    assert await kept.log.total() == 80


async def test_an_operation_that_fails_takes_nothing_of_others_with_it(kept: Stores) -> None:
    """Of operations in one commit, some keep aside, some settle, and one fails after that."""
    log = Words(kept.log)
    await log.keep(*notes(2))

    def failing(tx: Transaction) -> None:
        kept.log.append_within(tx, an_event(content="lost"))
        tx.settle()
        raise Unavailable("of itself")

    outcomes = await asyncio.gather(
        kept.log.append_many(notes(2, first=2)),
        kept.database.write(failing),
        kept.log.append_many([an_event(kind=kinds.KEY_STATEMENT)]),
        kept.log.append_many(notes(2, first=4)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Unavailable)
    assert len(await log.kept(TAGGED)) == 6
    assert await kept.log.total() == 7
    assert await kept.database.select("SELECT count(DISTINCT seq) FROM event", ()) == [(7,)]


async def test_who_opens_both_files_and_fails_loses_nothing_of_what_is_aside(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    await Words(kept.log).keep(*notes(5))
    killed(folder, tmp_path / "killed")
    async with SqliteDatabase(str(tmp_path / "killed" / "hanse.db")):
        pass  # the log was never opened
    async with stores("deferring", tmp_path / "killed") as again:
        assert len(await Words(again.log).kept(TAGGED)) == 5
        await EventLog(again.database, lambda: b"").open()  # a second time changes nothing
        assert len(await Words(again.log).kept(TAGGED)) == 5
        assert await again.log.total() == 5


@pytest.mark.parametrize("count", [0, 3, 9])
async def test_what_another_database_left_is_refused_and_left_alone(
    kept: Stores, folder: Path, tmp_path: Path, count: int
) -> None:
    await Words(kept.log).keep(*notes(3))
    killed(folder, tmp_path / "killed")
    (tmp_path / "other").mkdir()
    async with SqliteDatabase(str(tmp_path / "other" / "hanse.db")) as other:
        log = EventLog(other, lambda: bytes(32))
        await log.open()
        await log.append_many(notes(count))
    for path in (tmp_path / "killed").glob("*-fresh*"):
        shutil.copy2(path, tmp_path / "other" / path.name)
    for _ in range(2):
        with pytest.raises(HanseError, match="belongs to another database"):
            async with SqliteDatabase(str(tmp_path / "other" / "hanse.db")) as other:
                await EventLog(other, lambda: bytes(32)).open()
    for path in (tmp_path / "other").glob("*-fresh*"):
        shutil.copy2(path, tmp_path / "killed" / path.name)
    async with stores("deferring", tmp_path / "killed") as again:
        assert len(await Words(again.log).kept(TAGGED)) == 3


async def test_an_older_database_beside_what_came_later_is_refused(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    await Words(kept.log).keep(*notes(3))
    old = tmp_path / "copy"
    back_up(folder, old, lambda *_: None)
    await Words(kept.log).keep(*notes(2, first=3))
    await kept.database.settle()
    await Words(kept.log).keep(*notes(2, first=5))  # and what has moved leaves the file
    killed(folder, tmp_path / "killed")
    for end in ("-wal", "-shm"):
        (tmp_path / "killed" / f"hanse.db{end}").unlink(missing_ok=True)
    shutil.copy2(old, tmp_path / "killed" / "hanse.db")
    with pytest.raises(HanseError, match="does not go on after its event 3"):
        async with stores("deferring", tmp_path / "killed"):
            pass


@pytest.mark.parametrize("at", [0, 4096])
async def test_a_damaged_file_beside_the_database_is_refused(
    kept: Stores, folder: Path, tmp_path: Path, at: int
) -> None:
    await Words(kept.log).keep(*notes(3))
    killed(folder, tmp_path / "killed")
    path = tmp_path / "killed" / "hanse.db-fresh"
    async with SqliteDatabase(str(tmp_path / "killed" / "hanse.db")):
        pass  # its log is written back
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 4096)
    size = path.stat().st_size
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"hanse\.db-fresh (is damaged|cannot be read)"):
            async with stores("deferring", tmp_path / "killed"):
                pass
    assert path.stat().st_size == size


async def test_without_the_file_that_may_have_the_newest_events_nobody_goes_on(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    events = notes(3)
    await Words(kept.log).keep(*events)
    killed(folder, tmp_path / "killed")
    database, fresh = tmp_path / "killed" / "hanse.db", tmp_path / "killed" / "hanse.db-fresh"
    away = {path: path.read_bytes() for path in database.parent.glob("*-fresh*")}
    for path in away:
        path.unlink()
    for _ in range(2):
        with pytest.raises(Unavailable, match="is missing: events that were acknowledged") as exc:
            async with stores("deferring", tmp_path / "killed"):
                pass
        assert exc.value.field == str(fresh)
        assert f"touch {fresh}" in exc.value.hint
        with pytest.raises(Unavailable, match="is missing"):
            back_up(tmp_path / "killed", tmp_path / "copy", lambda *_: None)
        async with SqlitePages(database) as opened:
            with pytest.raises(Unavailable, match="is missing"):
                await opened.last_seq()
    assert not fresh.exists()
    assert not (tmp_path / "copy").exists()
    for path, content in away.items():
        path.write_bytes(content)
    async with stores("deferring", tmp_path / "killed") as again:
        assert len(await Words(again.log).kept(TAGGED)) == 3


async def test_a_node_that_ended_needs_its_database_alone(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    killed(folder, tmp_path / "moved")
    for event in notes(2):
        async with stores("deferring", tmp_path / "moved") as again:
            await Words(again.log).keep(event)
        left = [path.name for path in (tmp_path / "moved").iterdir()]
        assert left == ["hanse.db"]


async def test_a_database_set_aside_without_its_newest_events_goes_on_to_say_so(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    back_up(folder, tmp_path / "copy", lambda *_: None)
    await Words(kept.log).keep(*notes(3))
    killed(folder, tmp_path / "killed")
    for path in (tmp_path / "killed").glob("*-fresh*"):
        path.unlink()
    restore(tmp_path / "copy", tmp_path / "killed", lambda *_: None, keep_old=True)
    async with stores("deferring", tmp_path / "killed") as again:
        assert await again.log.total() == 0
    (tmp_path / "old").mkdir()
    shutil.copy2(tmp_path / "killed" / "hanse.db.old", tmp_path / "old" / "hanse.db")
    with pytest.raises(Unavailable, match="is missing"):
        async with stores("deferring", tmp_path / "old"):
            pass


async def test_what_waited_for_its_commit_when_it_was_erased_does_not_stay(kept: Stores) -> None:
    unwanted = an_event(BOB, content="unwanted")
    for wanted in ({"ids": [unwanted.id]}, {"pubkey": BOB.public}):
        async with asyncio.TaskGroup() as tasks:
            with keeper_of(kept).order:
                tasks.create_task(kept.log.append_many([unwanted]))
                await asyncio.sleep(0)
                erasing = tasks.create_task(kept.log.erase(**wanted))
                await asyncio.wait({erasing}, timeout=0.05)
        assert erasing.result() == 1
        assert await Words(kept.log).kept() == []


async def test_an_export_misses_nothing_that_moves_while_it_reads(
    kept: Stores, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = notes(4)
    await Words(kept.log).keep(*events)
    keeper = keeper_of(kept)
    read = SqlitePages._kept

    def moving(self: SqlitePages, seq: int, last: int, now_s: int) -> list[Row]:
        found = read(self, seq, last, now_s)
        if keeper.deferred.runs and keeper.position < 5:
            # Between two reads all moves, and one more is kept aside.
            keeper._full()
            while keeper.deferred.runs:
                pass
            late, hash = [an_event(content="late")], TagHash(bytes(range(32)))
            keeper.jobs.put(Job(lambda tx: append_all(tx, late, hash), None))
            while keeper.position < 5:
                pass
        return found

    async with SqlitePages(folder / "hanse.db") as opened:
        monkeypatch.setattr(SqlitePages, "_kept", moving)
        seqs: list[int] = []
        while rows := await opened.after(seqs[-1] if seqs else 0, 5, 0):
            seqs += [row[0] for row in rows]
    assert seqs == [1, 2, 3, 4, 5]


async def test_a_copy_and_an_export_take_a_file_without_its_table_for_an_empty_one(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    await Words(kept.log).keep(*notes(2))
    await kept.database.settle()
    killed(folder, tmp_path / "killed")
    for path in (tmp_path / "killed").glob("*-fresh*"):
        path.unlink()
    (tmp_path / "killed" / "hanse.db-fresh").touch()
    assert back_up(tmp_path / "killed", tmp_path / "copy", lambda *_: None).events == 2
    async with SqlitePages(tmp_path / "killed" / "hanse.db") as opened:
        assert (await opened.last_seq(), len(await opened.after(0, 2, 0))) == (2, 2)


async def test_a_replaced_database_keeps_what_was_aside_with_it(
    kept: Stores, folder: Path, tmp_path: Path
) -> None:
    back_up(folder, tmp_path / "copy", lambda *_: None)
    await Words(kept.log).keep(*notes(3))
    killed(folder, tmp_path / "killed")
    restore(tmp_path / "copy", tmp_path / "killed", lambda *_: None, keep_old=True)
    async with stores("deferring", tmp_path / "killed") as again:
        assert await again.log.total() == 0
    (tmp_path / "old").mkdir()
    shutil.copy2(tmp_path / "killed" / "hanse.db.old", tmp_path / "old" / "hanse.db")
    async with stores("deferring", tmp_path / "old") as again:
        assert len(await Words(again.log).kept(TAGGED)) == 3


async def test_they_move_when_they_are_old_whatever_else_is_written(
    kept: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "AGE_S", 0.01)
    await Words(kept.log).keep(*notes(2))
    async with asyncio.timeout(10):
        while await aside(kept):
            await kept.database.write(lambda _tx: None)


async def test_an_answer_read_with_more_care_reaches_as_far_as_it_says(kept: Stores) -> None:
    same = [an_event(created_at=7, content=f"{number}", tags=[["t", "a"]]) for number in range(9)]
    await Words(kept.log).keep(*same[:8])
    await kept.database.settle()
    await Words(kept.log).keep(*same[8:])
    found = kept.log.at_once([TAGGED], limit=3, now_s=0)  # the limit cuts what is of one second
    whole = found if not asyncio.iscoroutine(found) else await found
    assert whole == await kept.log.query([TAGGED], limit=3, now_s=0)
    assert whole.seq == 9
    assert [row[2].hex() for row in whole.rows] == sorted(event.id for event in same)[:3]
