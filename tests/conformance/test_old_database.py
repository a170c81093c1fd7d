"""A database that the first version made, with data, opened by this one."""

import time
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.conformance.events import ALICE, BOB, Words, a_deletion, an_event
from tests.fakes.offers import offer

from hanse.engines.storage.log import EventLog
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.upkeep import Keeping, Upkeep
from hanse.errors import Unavailable
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event
from hanse.protocol.filter import Filter
from hanse.registry.offer_event import offer_content, offer_tags

KEY = bytes(range(32))


def made_by_the_first_version(path: Path, events: list[Event], forbidden: str) -> None:
    """Its schema, filled as it filled it."""
    number, sql = migrations("sqlite")[0]
    connection, hash = apsw.Connection(str(path)), TagHash(KEY)
    with connection:
        connection.execute(sql)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("INSERT INTO meta VALUES ('tag-key', ?)", (KEY,))
        for event in events:
            row = (
                bytes.fromhex(event.id),
                bytes.fromhex(event.pubkey),
                event.created_at,
                event.kind,
                encode_event(event),
            )
            connection.execute(
                "INSERT INTO event (id, pubkey, created_at, kind, json) VALUES (?,?,?,?,?)", row
            )
            seq = connection.last_insert_rowid()
            for name, value, *_ in event.tags:
                connection.execute(
                    "INSERT INTO tag VALUES (?,?,?)", (hash(name, value), event.created_at, seq)
                )
        author = bytes.fromhex(ALICE.public)
        connection.execute("INSERT INTO tombstone VALUES (?,?,?)", (forbidden, author, 2**53 - 1))
        connection.execute("INSERT INTO account (name, kind) VALUES ('issue', 'issue')")
        connection.execute(
            "INSERT INTO call VALUES (?, 'a', 'b', 'c', 'd', 'e', x'00', 'f', 1, 0, 5, 1, "
            "'refunded', 'too-late', '', NULL, 2, ?, NULL, NULL, NULL)",
            (bytes(32), b'{"content":[]}'),
        )
    connection.close()


async def test_a_database_of_the_first_version_is_whole_and_searchable_here(tmp_path: Path) -> None:
    path = tmp_path / "hanse.db"
    gone = an_event(content="gone")
    events = [
        *(an_event(created_at=n, content=f"harbour {n}", tags=[["t", "a"]]) for n in range(1200)),
        an_event(BOB, kind=kinds.PROFILE, content='{"about":"Harbour master"}'),
        an_event(BOB, kind=7, content="harbour"),
        a_deletion(("e", gone.id)),
    ]
    made_by_the_first_version(path, events, gone.id)
    async with SqliteDatabase(str(path)) as database:
        log = EventLog(database, lambda: b"never asked for")
        await log.open()
        words = Words(log)
        tagged = Filter(tags=(("t", frozenset("a")),))
        assert len(await words.kept(tagged)) == 1200
        assert await log.last_seq() == await log.total() == len(events)
        assert await words.kept(Filter(search="harbour")) == []
        new = an_event(content="a new harbour")
        assert await words.append(new) == len(events) + 1
        await Upkeep(database, log, Keeping()).run(int(time.time()))
        found = await words.kept(Filter(search="harbour"))
        assert set(found) == {event.id for event in [*events[:1201], new]}
        assert await words.kept(Filter(search="harbour 77")) == [events[77].id]
        [outcome] = await log.append_many([gone])
        assert not isinstance(outcome, int)
        assert await database.all("calls_open") == []
        call = await database.one("call_get", bytes(32))
        assert call is not None
        assert call[17] is None  # its output was old
        assert await database.one("account_sum") == (0,)
    async with SqliteDatabase(str(path)) as database:  # and it is done once
        assert await database.one("view_seq", "words") == (0,)
        assert await database.select("PRAGMA integrity_check", ()) == [("ok",)]


async def test_offers_kept_by_the_first_version_say_how_they_are_paid(tmp_path: Path) -> None:
    path, now_s = tmp_path / "hanse.db", int(time.time())
    value = offer("harbour", "Finds a berth", payment_methods=("lightning",))
    address = f"{kinds.OFFER}:{ALICE.public}:harbour"
    event = an_event(
        kind=kinds.OFFER,
        tags=[list(tag) for tag in offer_tags(value, url="ws://127.0.0.1:1", node=BOB.public)],
        content=offer_content(value),
    )
    made_by_the_first_version(path, [event], "00" * 32)
    old = msgspec.to_builtins(value)
    del old["payment_methods"]  # it knew none
    with (connection := apsw.Connection(str(path))):
        connection.execute(
            "INSERT INTO offer VALUES (?, 1, 'harbour', 'harbour', 1, NULL, ?)",
            (address, msgspec.json.encode(old)),
        )
        connection.execute("INSERT INTO view VALUES ('offers', 1)")
    connection.close()
    async with SqliteDatabase(str(path)) as database:
        await EventLog(database, lambda: b"never asked for").open()
        offers = StoredOffers(database)
        (before,) = await offers.named("harbour", now_s)
        assert before.payment_methods == ()
        await offers.open()
        (after,) = await offers.named("harbour", now_s)
        assert after.payment_methods == ("hanse", "lightning")


async def test_an_old_log_of_more_than_a_million_keeps_each_event_and_its_tags(
    tmp_path: Path,
) -> None:
    path, before = tmp_path / "hanse.db", (1 << 20) - 7
    events = [an_event(created_at=n, tags=[["t", "ab"[n % 2]]]) for n in range(12)]
    made_by_the_first_version(path, events, "ab" * 32)
    with apsw.Connection(str(path)) as connection:
        for table in ("event", "tag", "sqlite_sequence"):
            connection.execute(f"UPDATE {table} SET seq = seq + {before}")
    newest = [event.id for event in reversed(events)]
    async with SqliteDatabase(str(path)) as database:
        log = EventLog(database, lambda: b"never asked for")
        await log.open()
        words = Words(log)
        for event in events:
            assert await words.kept(Filter(ids=frozenset({event.id}))) == [event.id]
            assert await words.append(event) is None
        assert await words.kept(Filter(tags=(("t", frozenset("a")),))) == newest[1::2]
        assert await words.kept(Filter(tags=(("t", frozenset("ab")),), limit=7)) == newest[:7]
        by_alice = Filter(authors=frozenset({ALICE.public}))
        assert await words.kept(by_alice) == newest
        for table, count in (("part", 2), ("event_id", 12), ("tag", 24), ("slice", 64)):
            assert await database.select(f"SELECT count(*) FROM {table}", ()) == [(count,)]
        known = "SELECT n, newest FROM slice WHERE newest > 0 ORDER BY n"
        moved = "SELECT hash >> 58, max(created_at) FROM tag WHERE part = 0 GROUP BY 1"
        assert len(await database.select(known, ())) >= 2
        assert await database.select(known, ()) == await database.select(moved, ())


async def test_what_cannot_be_made_newer_stays_as_it_was_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "hanse.db"
    made_by_the_first_version(path, [an_event()], "ab" * 32)
    with apsw.Connection(str(path)) as connection:
        connection.execute("CREATE TABLE part (unforeseen)")
    with pytest.raises(Unavailable, match=r"cannot become version 21: .*part already exists"):
        async with SqliteDatabase(str(path)):
            pass
    with apsw.Connection(str(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(20,)]
        assert connection.execute("SELECT count(*) FROM event").fetchall() == [(1,)]
