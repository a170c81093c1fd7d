"""Filters for kinds of which one version is kept: it is found by its address."""

from pathlib import Path

import apsw
import msgspec
import pytest
from tests.conformance.events import ALICE, BOB, CAROL, Words, a_deletion, address, an_event

from hanse.engines.storage.addressed import ADDRESSES_MAX, addresses_of
from hanse.engines.storage.filter_sql import SQLITE, FilterSql
from hanse.engines.storage.plain import alike
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.keyring import new_secret
from hanse.protocol.filter import Filter

PEOPLE = (ALICE, BOB, CAROL)
EVERYBODY = frozenset(secret.public for secret in PEOPLE)
PROFILE, CONTACTS, RELAYS = 0, 3, 10_002


def of(*wanted: int, authors: frozenset[str] = EVERYBODY, limit: int | None = None) -> Filter:
    return Filter(authors=authors, kinds=frozenset(wanted), limit=limit)


async def test_the_newest_versions_are_found_among_all_that_authors_wrote(log: Words) -> None:
    versions = [
        an_event(secret, kind, created_at=1000 + 10 * n + place)
        for n, kind in enumerate((PROFILE, CONTACTS, RELAYS))
        for place, secret in enumerate(PEOPLE)
    ]
    await log.keep(*(an_event(secret, PROFILE, created_at=900) for secret in PEOPLE))
    await log.keep(*versions)
    await log.keep(*(an_event(ALICE, created_at=n) for n in range(20)))
    newest = [event.id for event in reversed(versions)]
    assert await log.kept(of(PROFILE, CONTACTS, RELAYS)) == newest
    assert await log.kept(of(PROFILE, authors=frozenset({BOB.public}))) == [versions[1].id]
    assert await log.kept(of(PROFILE, RELAYS, limit=4)) == [*newest[:3], newest[6]]
    since = msgspec.structs.replace(of(PROFILE, CONTACTS, RELAYS), since=1002, until=1011)
    assert await log.kept(since) == [versions[n].id for n in (4, 3, 2)]
    assert await log.log.count([of(CONTACTS)], now_s=0) == 3
    assert await log.kept(of(10_003)) == []
    await log.keep(a_deletion(address(PROFILE, BOB), by=BOB))
    assert await log.kept(of(PROFILE)) == [versions[2].id, versions[0].id]


async def test_versions_of_one_second_come_in_the_order_of_their_ids(log: Words) -> None:
    people = [new_secret() for _ in range(9)]
    profiles = [an_event(secret, PROFILE, created_at=1000) for secret in people]
    await log.keep(*profiles)
    authors = frozenset(secret.public for secret in people)
    ids = sorted(event.id for event in profiles)
    for limit in (1, 4, 9, 20):
        assert await log.kept(of(PROFILE, authors=authors, limit=limit)) == ids[:limit]
    assert await log.kept(of(PROFILE, authors=authors), of(1)) == ids


async def test_one_that_expired_is_not_shown_and_other_kinds_are_found_as_ever(log: Words) -> None:
    expiring = an_event(ALICE, PROFILE, tags=[["expiration", "1400"]])
    note, draft = an_event(ALICE, created_at=1001), an_event(ALICE, 30_023, tags=[["d", "x"]])
    await log.keep(expiring, note, draft)
    assert await log.kept(of(PROFILE)) == []
    assert await log.kept(of(PROFILE), now_s=1399) == [expiring.id]
    assert await log.kept(of(PROFILE, 1, 30_023)) == [note.id, draft.id]


@pytest.mark.parametrize(
    "found",
    [
        of(PROFILE, 1),
        of(30_023),
        msgspec.structs.replace(of(PROFILE), tags=(("t", frozenset("a")),)),
        msgspec.structs.replace(of(PROFILE), ids=frozenset({"ab" * 32})),
        msgspec.structs.replace(of(PROFILE), search="words"),
        Filter(kinds=frozenset({PROFILE})),
        Filter(authors=EVERYBODY),
        of(PROFILE, *range(10_000, 10_000 + ADDRESSES_MAX // 3)),
    ],
)
def test_what_can_be_elsewhere_or_at_too_many_addresses_has_none(found: Filter) -> None:
    assert addresses_of(found) == []


async def test_the_index_of_addresses_is_what_is_read(tmp_path: Path) -> None:
    async with SqliteDatabase(str(tmp_path / "hanse.db")):
        pass
    sql = FilterSql(b"key", SQLITE)
    connection = apsw.Connection(str(tmp_path / "hanse.db"))
    for found in (of(PROFILE), of(PROFILE, CONTACTS, RELAYS, limit=2)):
        first = sql.first(found, 9, 0, frozenset())
        assert first is not None
        one, params = first
        assert alike(next(sql.rows(found, 9, 0, frozenset())).params, params)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {one.sql}", params)]
        assert plan[0] == "SEARCH event USING INDEX event_by_address (address=?)"
