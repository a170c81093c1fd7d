"""What only SQLite has: its file, settings and migrations, reads on the loop and in threads."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.conformance.engines import Stores, stores
from tests.conformance.events import (
    ADDRESSABLE,
    ALICE,
    ANY,
    BOB,
    REPLACEABLE,
    Words,
    an_event,
)
from tests.fakes.calls import Parties

from hanse.engines.storage.columns import address_of, indexed_tags
from hanse.engines.storage.database import Transaction
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.words import fill_words
from hanse.errors import HanseError, Restricted, TooBroad, Unavailable
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event, expiration_of
from hanse.protocol.filter import Filter

LONG = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) "
    "SELECT max(x) FROM n"
)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Stores]:
    async with stores("sqlite", tmp_path) as found:
        yield found


# --- reads on the loop and in threads -------------------------------------------------------------


async def test_a_long_read_goes_on_in_a_thread_and_the_loop_stays_free(kept: Stores) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as tasks:
        turning = tasks.create_task(turn())
        [(found,)] = await kept.database.select(LONG, [1_000_000])
        during = turns
        turning.cancel()
    assert found == 1_000_000
    assert during > 100


async def test_a_short_read_ends_before_anything_else_runs(kept: Stores) -> None:
    read = kept.database.select("SELECT 1", ())
    with pytest.raises(StopIteration) as ended:
        read.send(None)
    assert ended.value.value == [(1,)]


async def test_words_are_never_looked_up_on_the_loop(kept: Stores) -> None:
    """FTS5 walks the lists of common words within one step, where no budget is looked at."""
    await kept.log.append_many([an_event(content="ships and harbours")])
    turns: list[int] = []
    found = Filter(search="ships")
    for read in (
        kept.log.query([found], limit=10, now_s=0),
        kept.log.query([found, Filter()], limit=10, now_s=0),
        kept.log.count([found], now_s=0),
        kept.log.pubkeys(found, now_s=0, limit=10),
        kept.log.outline(found, now_s=0, limit=10),
    ):
        turns.clear()
        asyncio.get_running_loop().call_soon(turns.append, 1)
        assert await read
        assert turns == [1]  # the loop turned meanwhile


async def test_a_read_beyond_its_budget_is_too_broad(tmp_path: Path) -> None:
    async with SqliteDatabase(str(tmp_path / "hanse.db"), budget_ms=20) as database:
        with pytest.raises(TooBroad, match=r"more than 0\.02 s"):
            await database.select(LONG, [10**12])
        with pytest.raises(TooBroad):
            await database.read(lambda tx: tx.select(LONG, [10**12]))
        assert await database.select("SELECT 2", ()) == [(2,)]
        assert await database.read(lambda tx: tx.select("SELECT 3", ())) == [(3,)]


async def test_a_read_that_is_stopped_leaves_no_snapshot_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock is looked at in every step, those of COMMIT too: else it is in one of a thousand.
    monkeypatch.setattr("hanse.engines.storage.sqlite._STEPS", 1)
    async with SqliteDatabase(str(tmp_path / "hanse.db"), budget_ms=20) as database:
        for _ in range(3):
            with pytest.raises(TooBroad):
                await database.read(lambda tx: tx.select(LONG, [10**12]))
            assert not any(reader.connection.in_transaction for reader in database._readers)
            assert await database.read(lambda tx: tx.select("SELECT 3", ())) == [(3,)]


async def test_reads_of_one_turn_share_a_snapshot_until_a_commit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.engines.storage.sqlite.HOLD_AFTER_S", 0.0)
    async with stores("sqlite", tmp_path) as kept:
        here = kept.database._here  # type: ignore[attr-defined]
        found: list[Found] = []
        find = partial(kept.log.at_once, ANY, limit=10, now_s=0)

        def read(*_: object) -> None:
            answer = find()
            assert isinstance(answer, Found)
            found.append(answer)

        read()
        assert here.holds
        await asyncio.sleep(0)
        assert not here.holds

        here.hold()  # as if the turn in which a commit is told had begun with a read
        read()
        kept.log.follow(read)
        await kept.log.append_many([event := an_event(ALICE)])
        assert [len(answer.rows) for answer in found] == [0, 0, 1]
        assert found[-1].rows[0][2].hex() == event.id
        assert found[-1].seq == 1


async def test_long_reads_beyond_what_may_wait_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.engines.storage.sqlite.READS_WAITING_MAX", 2)
    async with SqliteDatabase(str(tmp_path / "hanse.db"), budget_ms=50) as database:
        outcomes = await asyncio.gather(
            *(database.select(LONG, [10**12]) for _ in range(4)), return_exceptions=True
        )
        assert sorted(type(found).__name__ for found in outcomes) == [
            *["TooBroad"] * 2,
            *["Unavailable"] * 2,
        ]
        assert await database.select("SELECT 1", ()) == [(1,)]


async def test_a_read_the_database_refuses_is_unavailable(kept: Stores) -> None:
    wanted = frozenset(f"{number:064x}" for number in range(40_000))
    tagged = (("t", frozenset("a")),)
    with pytest.raises(Unavailable):
        await kept.log.query([Filter(authors=wanted, tags=tagged)], limit=10, now_s=1500)
    assert await kept.log.query(ANY, limit=10, now_s=1500) == Found([], 0, False)


# --- settings and files ---------------------------------------------------------------------------


async def test_a_commit_is_on_disk_before_it_is_told(kept: Stores) -> None:
    settings = {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1, "page_size": 8192}
    for setting, value in settings.items():
        found = await kept.database.write(
            lambda tx, name=setting: tx.select(f"PRAGMA {name}", ())  # type: ignore[misc]
        )
        assert found == [(value,)], setting


async def test_the_log_written_ahead_begins_anew_before_it_is_large(kept: Stores) -> None:
    count, page = 1500, 8192
    for number in range(count):  # each writes a page at least
        await kept.log.append_many([an_event(created_at=number, content="x" * 4000)])
    assert isinstance(kept.database, SqliteDatabase)
    logs = [Path(f"{kept.database.path}{end}").stat().st_size for end in ("-wal", "-fresh-wal")]
    assert 0 < max(logs) < count * page / 2


async def test_two_databases_in_memory_share_nothing() -> None:
    async with stores("memory", Path()) as one, stores("memory", Path()) as other:
        await Words(one.log).keep(an_event())
        assert (await one.log.total(), await other.log.total()) == (1, 0)
    async with stores("memory", Path()) as again:
        assert await again.log.total() == 0


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.write_text("x" * 9999)]
)
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "hanse.db")
    with pytest.raises(Unavailable, match=r"hanse\.db"):
        async with stores("sqlite", tmp_path):
            pass


# --- migrations and queries -----------------------------------------------------------------------


async def test_migrations_are_applied_once(tmp_path: Path) -> None:
    for _ in range(2):
        async with stores("sqlite", tmp_path) as kept:
            [(version,)] = await kept.database.select("PRAGMA user_version", ())
            assert version == migrations("sqlite")[-1][0]
    numbers = [number for number, _ in migrations("sqlite")]
    assert numbers == sorted(set(numbers))


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with stores("sqlite", tmp_path) as kept:
        await Words(kept.log).keep(an_event())
    newer = migrations("sqlite")[-1][0] + 1
    with contextlib.closing(apsw.Connection(str(tmp_path / "hanse.db"))) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(HanseError, match=rf"newer version \({newer}\)"):
        async with stores("sqlite", tmp_path):
            pass
    with contextlib.closing(apsw.Connection(str(tmp_path / "hanse.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchall() == [(1,)]
        assert connection.execute("PRAGMA user_version").fetchall() == [(newer,)]


def first_schema(path: Path, events: list[Event], key: bytes) -> None:
    """A database as the first version left it, with rows in every table; its last event is gone."""
    hash = TagHash(key)
    with contextlib.closing(apsw.Connection(str(path))) as connection, connection:
        (number, sql), *_ = migrations("sqlite")
        connection.execute(sql)
        connection.execute(f"PRAGMA user_version = {number}")
        run = connection.execute
        for seq, event in enumerate(events, 1):
            row = (seq, bytes.fromhex(event.id), bytes.fromhex(event.pubkey), event.created_at)
            rest = (event.kind, expiration_of(event.tags), address_of(event), encode_event(event))
            run("INSERT INTO event VALUES (?,?,?,?,?,?,?,?)", row + rest)
            for name, value in indexed_tags(event.tags):
                run("INSERT INTO tag VALUES (?,?,?)", (hash(name, value), event.created_at, seq))
        gone = events[-1]
        run("DELETE FROM event WHERE seq = ?", (len(events),))
        run("DELETE FROM tag WHERE seq = ?", (len(events),))
        forbidden = (gone.id, bytes.fromhex(gone.pubkey), 2**53 - 1)
        run("INSERT INTO tombstone VALUES (?,?,?)", forbidden)
        run("INSERT INTO meta VALUES ('tag-key', ?)", (key,))
        run("INSERT INTO account VALUES (1, 'issue', 'issue', 0, 5000, 0, 0)")
        run(f"INSERT INTO account VALUES (2, '{ALICE.public}', 'agent', 2000, 0, 0, 5000)")
        run("INSERT INTO account VALUES (3, 'escrow', 'escrow', 0, 0, 2000, 0)")
        run("INSERT INTO transfer VALUES (x'01', 1, 2, 5000, 0, NULL, 'start', 1)")
        call = Parties.new().call()
        run("INSERT INTO transfer VALUES (?, 2, 3, 2000, 1, NULL, '', 1)", (call.id + b"hold",))
        run(
            "INSERT INTO call (id, caller, operator, provider, offer, capability, fingerprint, "
            "input_sha256, price_msat, fee_msat, deadline_ms, opened_ms, state) "
            f"VALUES (?, '{ALICE.public}', '{ALICE.public}', '{BOB.public}', 'o', 'c', x'00', 'i', "
            "2000, 20, 1000, 1, 'open')",
            (call.id,),
        )
        run("INSERT INTO view VALUES ('offers', 1)")
        run("INSERT INTO offer VALUES ('address', 1, 'clock', 'Clock', 1, NULL, x'7b7d')")
        run("INSERT INTO capability VALUES (1, 'address', 'tell')")
        run("INSERT INTO capability_text (rowid, name) VALUES (1, 'tell the time')")


async def test_a_database_of_the_first_version_is_taken_over_with_all_it_holds(
    tmp_path: Path,
) -> None:
    events = [
        an_event(content=f"word{number} thing", created_at=1000 + number, tags=[["t", "a"]])
        for number in range(1100)
    ]
    events += [
        an_event(kind=REPLACEABLE, content="word0", tags=[["expiration", "2000"]]),
        an_event(BOB, kinds.GIFT_WRAP, tags=[["p", ALICE.public]]),
        an_event(kind=ADDRESSABLE, tags=[["d", "x"], ["e", "y"]]),
    ]
    gone = an_event(BOB, content="gone")
    first_schema(tmp_path / "hanse.db", [*events, gone], bytes([7]) * 32)
    for _ in range(2):
        async with stores("sqlite", tmp_path) as kept:
            log = Words(kept.log)
            await fill_words(kept.database)
            assert await log.all() == {event.id for event in events}
            tagged = await log.kept(Filter(tags=(("t", frozenset("a")),)))
            assert tagged == [event.id for event in reversed(events[:1100])]
            assert await log.kept(Filter(search="word7")) == [events[7].id]
            assert await log.kept(Filter(search="word1099 thing")) == [events[1099].id]
            assert await log.kept(Filter(search="word0")) == [events[0].id]
            reader = frozenset({ALICE.public})
            wraps = Filter(kinds=frozenset({kinds.GIFT_WRAP}))
            assert await log.kept(wraps, reader=reader) == [events[1101].id]
            assert [await log.append(event) for event in (events[0], events[-1])] == [None, None]
            with pytest.raises(Restricted):
                await log.append(gone)
            assert await kept.log.last_seq() == len(events) + 1
            account = await kept.ledger.account(ALICE.public)
            assert account is not None
            assert (account.balance_msat, account.held_msat) == (5000, 2000)
            assert await kept.ledger.sum_msat() == 0
            [call] = await kept.calls.open_calls()
            assert (call.caller, call.price.msat, call.holder) == (ALICE.public, 2000, "")
            assert await kept.offers.count(1000) == 1
    async with stores("sqlite", tmp_path) as kept:
        assert await Words(kept.log).keep(an_event(content="new")) == [len(events) + 2]
        assert await kept.log.erase(pubkey=ALICE.public) == len(events)
        assert await kept.database.select("SELECT count(*) FROM event_text", ()) == [(0,)]


async def test_every_query_is_good_sql_for_this_schema(kept: Stores) -> None:
    def explain(tx: Transaction, sql: str) -> None:
        sql = sql.replace("$values", "$1")
        places = len(set(re.findall(r"\$\d+", sql)))
        tx.select(f"EXPLAIN {sql}", (None,) * places)

    for sql in load_queries().values():
        await kept.database.write(explain, sql)
