"""What every store of handles holds to, whatever engine keeps it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.conformance.engines import Opening, Stores, named, stores
from tests.conformance.events import ALICE, CAROL, Words, a_vanishing
from tests.fakes.postgres_server import database_url

from hanse.engines.storage import handles as stored_handles
from hanse.engines.storage.handles import StoredHandles
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.postgres import PostgresDatabase
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Conflict, Restricted, Stale, TooLarge
from hanse.identity.statement import statement
from hanse.keyring import new_secret
from hanse.protocol.event import encode_event
from hanse.protocol.handle import Address, Handle
from hanse.protocol.keys import PublicKey, SecretKey

ADA, BOB = new_secret().public, new_secret().public


@pytest.fixture
def handles(kept: Stores) -> StoredHandles:
    return StoredHandles(kept.database)


def claimed(name: str, key: str, said_s: int = 1, until_s: int = 100, moved: str = "") -> Handle:
    return Handle(name, PublicKey(key), key, until_s, moved, said_s, b'{"a":1}')


async def test_a_name_is_kept_until_it_is_removed(handles: StoredHandles) -> None:
    await handles.add(Handle("bob", BOB))
    await handles.add(Handle("ada", ADA))
    await handles.add(Handle("ada", ADA))
    assert await handles.handle("ada") == Handle("ada", ADA)
    assert await handles.handles() == [Handle("ada", ADA), Handle("bob", BOB)]
    assert await handles.remove("ada")
    assert not await handles.remove("ada")
    assert await handles.handle("ada") is None
    assert await handles.handles() == [Handle("bob", BOB)]


async def test_a_name_never_changes_hands_by_itself(handles: StoredHandles) -> None:
    await handles.add(Handle("ada", ADA))
    with pytest.raises(Conflict) as caught:
        await handles.add(Handle("ada", BOB))
    assert caught.value.field == "handle ada"
    assert await handles.handle("ada") == Handle("ada", ADA)


async def test_a_full_store_refuses_new_names_and_keeps_the_old(
    handles: StoredHandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_handles, "HANDLES_MAX", 2)
    await handles.add(Handle("ada", ADA))
    await handles.add(Handle("bob", BOB))
    with pytest.raises(TooLarge):
        await handles.add(Handle("eve", BOB))
    await handles.add(Handle("ada", ADA))
    assert [found.name for found in await handles.handles()] == ["ada", "bob"]


async def test_a_claim_is_kept_as_it_was_said_and_renewed_by_a_newer(
    handles: StoredHandles,
) -> None:
    first, later = claimed("ada", ADA, 5), claimed("ada", ADA, 6, 200, "ada@b.example")
    await handles.claim(first, 1)
    assert await handles.handle("ada") == first
    await handles.claim(later, 1)
    assert await handles.handle("ada") == later
    with pytest.raises(Stale):
        await handles.claim(first, 1)
    with pytest.raises(Conflict):
        await handles.claim(claimed("ada", BOB, 9), 1)
    assert await handles.handle("ada") == later
    assert await handles.claimed() == 1


async def test_one_operator_claims_no_more_than_their_share(handles: StoredHandles) -> None:
    await handles.add(Handle("given", ADA))  # does not count
    await handles.claim(claimed("one", ADA), 2)
    await handles.claim(claimed("two", ADA), 2)
    with pytest.raises(Restricted) as caught:
        await handles.claim(claimed("three", ADA), 2)
    assert caught.value.field == "handles"
    await handles.claim(claimed("three", BOB), 1)
    assert await handles.remove("one")
    await handles.claim(claimed("four", ADA), 2)


async def test_claims_leave_room_for_the_operator(
    handles: StoredHandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_handles, "CLAIMED_MAX", 1)
    await handles.claim(claimed("one", ADA), 9)
    with pytest.raises(TooLarge):
        await handles.claim(claimed("two", ADA), 9)
    await handles.add(Handle("two", ADA))


async def test_a_name_that_looks_like_another_s_is_refused_however_it_comes(
    handles: StoredHandles,
) -> None:
    await handles.add(Handle("paypal", ADA))
    for name in ("paypa1", "pay-pal", "paypai"):
        with pytest.raises(Conflict, match="looks like 'paypal'"):
            await handles.add(Handle(name, BOB))
        with pytest.raises(Conflict, match="looks like 'paypal'"):
            await handles.claim(claimed(name, BOB), 9)
    await handles.claim(claimed("pay.pal", ADA), 9)  # its own


async def test_what_the_operator_gives_is_for_good_though_it_was_claimed(
    handles: StoredHandles,
) -> None:
    await handles.claim(claimed("ada", ADA), 1)
    await handles.add(Handle("ada", ADA))
    found = await handles.handle("ada")
    assert found is not None
    assert (found.until_s, found.statement) == (0, b'{"a":1}')
    assert await handles.claimed() == 0


@pytest.mark.parametrize("engine", named(lasting=True))
async def test_of_two_nodes_that_claim_at_once_exactly_one_has_the_name(
    engine: str, tmp_path: Path
) -> None:
    """Also names that look alike, and the last one that an operator may have."""

    async def race(first: Handle, second: Handle, most: int = 10) -> list[object]:
        # What is claimed at the same moment, by two nodes of one database where it can have two.
        told = await asyncio.gather(
            one.claim(first, most), two.claim(second, most), return_exceptions=True
        )
        return [type(found) for found in told if found is not None]

    async with AsyncExitStack() as stack:
        open_stores = stack.enter_async_context
        kept = await open_stores(stores(engine, tmp_path))
        other = kept.database  # of SQLite a second node is refused by its folder's lock
        if engine == "postgres":
            other = await open_stores(PostgresDatabase(await database_url(tmp_path), "two"))
        one, two = StoredHandles(kept.database), StoredHandles(other)
        for number in range(10):
            name = f"name{number:02}xyz"
            assert await race(claimed(name, ADA), claimed(name, BOB)) == [Conflict]
            assert await one.handle(name) == await two.handle(name) is not None
            alike = (f"alike{number}-l-q", f"alike{number}-1-q")
            assert await race(claimed(alike[0], ADA), claimed(alike[1], BOB), 20) == [Conflict]
            assert sum([await one.handle(name) is not None for name in alike]) == 1
            key = new_secret().public
            names = (f"first{number}w", f"second{number}w")
            assert await race(claimed(names[0], key), claimed(names[1], key), 1) == [Restricted]
            assert sum([await two.handle(name) is not None for name in names]) == 1
            for store in (one, two):
                for found in await store.handles():
                    await store.remove(found.name)


async def test_names_end_in_order_unless_they_are_renewed(handles: StoredHandles) -> None:
    await handles.add(Handle("given", ADA))
    for name, until_s in (("late", 30), ("soon", 10), ("next", 20)):
        await handles.claim(claimed(name, ADA, 1, until_s), 9)
    assert [found.name for found in await handles.lapsed(30, 9)] == ["soon", "next"]
    assert [found.name for found in await handles.lapsed(30, 1)] == ["soon"]
    await handles.renew("soon", BOB, 99)  # not theirs
    await handles.renew("given", ADA, 99)  # for good as it is
    await handles.renew("next", ADA, 99)
    await handles.renew("late", ADA, 5)  # never sooner
    assert [found.name for found in await handles.lapsed(50, 9)] == ["soon", "late"]
    assert await handles.handle("given") == Handle("given", ADA)


# --- of who asked to vanish (NIP-62) --------------------------------------------------------------


def signed(name: str, secret: SecretKey, said_s: int, moved: str = "") -> Handle:
    event = statement(secret, Address(name, "a.example"), now_s=said_s)
    key = secret.public
    return Handle(name, key, key, 9000, moved, said_s, encode_event(event))


async def test_who_vanishes_leaves_no_name_that_they_claimed(reopened: Opening) -> None:
    given = Handle("given", ALICE.public)
    later, other = signed("later", ALICE, 2001), signed("other", CAROL, 1000)
    heir = msgspec.structs.replace(signed("heir", ALICE, 1000), pubkey=CAROL.public)
    async with reopened() as kept:
        handles = StoredHandles(kept.database)
        await handles.add(given)
        said = msgspec.structs.replace(signed("given", ALICE, 1000, "x@b.example"), until_s=0)
        for one in (said, signed("ada", ALICE, 2000), heir, later, other):
            await handles.claim(one, 9)
        renewed = signed("twice", ALICE, 900)
        await handles.claim(renewed, 9)
        await handles.claim(signed("twice", ALICE, 1000), 9)
        await Words(kept.log).keep(a_vanishing(ALICE, 2000))
        # What the operator gave is the operator's word; what its key said of it is gone.
        left = [msgspec.structs.replace(given, operator=ALICE.public, said_s=1000), later, other]
        assert await handles.handles() == left
    async with reopened() as kept:
        handles = StoredHandles(kept.database)
        assert await handles.handles() == left
        for old in (signed("ada", ALICE, 2000), heir, renewed, said):
            with pytest.raises(Restricted, match="asked to vanish"):
                await handles.claim(old, 9)
        await handles.claim(signed("ada", ALICE, 2001), 9)
        await handles.claim(signed("twice", CAROL, 1), 9)


async def test_names_of_who_vanished_before_this_was_so_go_with_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "hanse.db"
    old, kept = signed("ada", ALICE, 1000), signed("bob", CAROL, 1000)
    connection = apsw.Connection(str(path))
    connection.create_scalar_function("author_hash", lambda *_: 0)
    with connection:
        for number, sql in migrations("sqlite"):
            if number < 24:
                connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {number}")
        for one in (old, kept):
            row = (one.name, one.pubkey, one.name, one.operator, one.until_s, one.moved)
            connection.execute(
                "INSERT INTO handle (name, pubkey, shape, operator, until, moved, said, statement)"
                " VALUES (?,?,?,?,?,?,?,?)",
                (*row, one.said_s, one.statement),
            )
        gone = bytes.fromhex(ALICE.public)
        connection.execute("INSERT INTO vanished VALUES (?, 2000, 1)", (gone,))
    connection.close()
    async with SqliteDatabase(str(path)) as database:
        handles = StoredHandles(database)
        assert await handles.handles() == [kept]
        log = EventLog(database, lambda: bytes(16))
        await log.open()
        await Words(log).keep(a_vanishing(CAROL, 1000))
        assert await handles.handles() == []


async def test_names_of_an_older_database_have_their_look_alikes(tmp_path: Path) -> None:
    path = tmp_path / "hanse.db"
    connection = apsw.Connection(str(path))
    with connection:
        for number, sql in migrations("sqlite"):
            if number < 14:
                connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("INSERT INTO handle VALUES ('paypal', ?)", (ADA,))
    connection.close()
    async with SqliteDatabase(str(path)) as database:
        handles = StoredHandles(database)
        assert await handles.handle("paypal") == Handle("paypal", ADA)
        with pytest.raises(Conflict, match="looks like"):
            await handles.claim(claimed("paypa1", BOB), 1)
