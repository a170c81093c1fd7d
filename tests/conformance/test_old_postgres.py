"""A PostgreSQL database that an earlier version made, with data, opened by this one."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from tests.conformance.events import ALICE, BOB, CAROL, Words, a_deletion, a_vanishing, an_event
from tests.fakes.calls import Parties
from tests.fakes.offers import offer
from tests.fakes.postgres_server import empty_url

from hanse.broker.receipt import receipt_event
from hanse.engines.storage.calls import StoredCalls
from hanse.engines.storage.columns import (
    address_of,
    indexed_tags,
    searched_text,
)
from hanse.engines.storage.handles import StoredHandles
from hanse.engines.storage.ledger import StoredLedger
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.postgres import PostgresDatabase
from hanse.engines.storage.quality import StoredQuality
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.trust import StoredTrust
from hanse.engines.storage.upkeep import Keeping, Upkeep
from hanse.errors import Conflict, HanseError, Restricted
from hanse.payments.model import ISSUE_NAME
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import encode_event, expiration_of, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.handle import Handle
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.trust.endorsement import endorsement_draft

pytestmark = pytest.mark.heavy

KEY = bytes(range(32))
KNOWN = migrations("postgres")
NOW_S = int(time.time())
GRANTED = 5000

SCHEMA = {
    "columns": """
        SELECT table_name, ordinal_position, column_name, data_type, collation_name, is_nullable,
               column_default, identity_generation
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        ORDER BY 1, 2""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal ORDER BY 1, 2""",
    "functions": """
        SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1""",
    "storage": """
        SELECT relname, reloptions, attname, attstorage FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1, 3""",
    "migrations": "SELECT number FROM migration ORDER BY 1",
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A plain connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def made(url: str, last: int, history: "History | None" = None) -> None:
    """Make a database as the versions up to `last` did, and what a node kept meanwhile."""
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE migration (number int PRIMARY KEY)")
        for number, sql in KNOWN:
            if number > last:
                break
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute("INSERT INTO migration VALUES ($1)", number)
            if history is not None and number in history.MEANWHILE:
                await history.MEANWHILE[number](history, connection)


class History:
    """What a node kept in a database while that was of earlier versions."""

    def __init__(self) -> None:
        self.parties = Parties(node=CAROL, caller=ALICE, provider=BOB)
        self.call = self.parties.settled()
        self.receipt = receipt_event(CAROL, self.call)
        value = offer("harbour", "Finds a berth", payment_methods=("lightning",))
        self.offer = value
        self.offered = an_event(
            kind=kinds.OFFER,
            tags=[list(tag) for tag in offer_tags(value, url="ws://127.0.0.1:1", node=BOB.public)],
            content=offer_content(value),
        )
        content, tags = endorsement_draft(ALICE.public, BOB.public, "", 5, created_at=NOW_S)
        self.vouched = sign_event(
            ALICE, kind=kinds.ENDORSEMENT, created_at=NOW_S, content=content, tags=tags
        )
        self.gone = an_event(content="gone")
        self.vanishing = a_vanishing(by=BOB, created_at=500)
        self.notes = [
            an_event(created_at=1000 + n, content=f"harbour {n}", tags=[["t", "ab"[n % 2]]])
            for n in range(600)
        ]
        self.profile = an_event(BOB, kind=kinds.PROFILE, content='{"about":"Harbour master"}')
        self.passing = an_event(tags=[["expiration", str(NOW_S - 10)]])
        self.events = [
            *(*self.notes, self.profile, self.passing, a_deletion(("e", self.gone.id))),
            *(self.vanishing, self.offered, self.vouched, self.receipt),
        ]

    async def at_first(self, connection: Any) -> None:
        """Version 1: the log, the books, offers."""
        await self._keep_events(connection)
        await connection.execute("INSERT INTO meta VALUES ('tag-key', $1)", KEY)
        author = bytes.fromhex(ALICE.public)
        await connection.execute(
            "INSERT INTO tombstone VALUES ($1, $2, $3)", self.gone.id, author, 2**53 - 1
        )
        await connection.execute(
            "INSERT INTO vanished VALUES ($1, 500, 1)", bytes.fromhex(BOB.public)
        )
        await self._keep_books(connection)
        address = address_of(self.offered)
        old = msgspec.to_builtins(self.offer)
        del old["payment_methods"]  # it knew none
        await connection.execute(
            "INSERT INTO offer VALUES ($1, $2, 'harbour', 'harbour', 1000, NULL, $3)",
            *(address, self.events.index(self.offered) + 1, msgspec.json.encode(old)),
        )
        await connection.execute("INSERT INTO capability (address, name) VALUES ($1, 'a')", address)
        await connection.execute("INSERT INTO capability_text VALUES (1, 'berth'::tsvector)")
        await connection.execute("INSERT INTO view VALUES ('offers', $1)", len(self.events))

    async def _keep_events(self, connection: Any) -> None:
        hash = TagHash(KEY)
        for seq, event in enumerate(self.events, 1):
            await connection.execute(
                "INSERT INTO event VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                *(seq, bytes.fromhex(event.id), bytes.fromhex(event.pubkey), event.created_at),
                *(event.kind, expiration_of(event.tags), address_of(event), encode_event(event)),
            )
            for name, value in indexed_tags(event.tags):
                await connection.execute(
                    "INSERT INTO tag VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                    *(hash(name, value), event.created_at, seq, event.kind),
                )
            if event.kind in kinds.SEARCHED and event.content:
                await connection.execute(
                    "INSERT INTO event_text VALUES ($1, array_to_tsvector($2::text[]))",
                    *(seq, searched_text(event).split()),
                )
        await connection.execute("UPDATE position SET seq = $1", len(self.events))

    async def _keep_books(self, connection: Any) -> None:
        account = "INSERT INTO account (name, kind, debits_posted, credits_posted) VALUES "
        await connection.execute(f"{account} ($1, 'issue', $2, 0)", ISSUE_NAME, GRANTED)
        await connection.execute(f"{account} ($1, 'agent', 0, $2)", ALICE.public, GRANTED)
        issue, agent = await connection.fetch("SELECT id FROM account ORDER BY id")
        await connection.execute(
            "INSERT INTO transfer VALUES ($1, $2, $3, $4, 0, NULL, 'test', 1)",
            *(bytes(32), issue[0], agent[0], GRANTED),
        )
        call = self.call
        assert call.output is not None
        await connection.execute(
            "INSERT INTO call VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'settled',"
            " NULL, '', $13, $14, $15, $16, $17, $18, '')",
            *(call.id, call.caller, call.operator, call.provider, call.offer, call.capability),
            *(call.fingerprint, call.input_sha256, call.price.msat, call.fee.msat),
            *(call.deadline_ms, call.opened_ms, call.latency_ms, call.closed_ms),
            *(msgspec.json.encode(call.output), call.output_sha256, call.delivery),
            bytes.fromhex(self.receipt.id),
        )

    async def with_handles(self, connection: Any) -> None:
        """Version 4: names that the operator gave."""
        await connection.execute("INSERT INTO handle VALUES ('harbour', $1)", ALICE.public)

    async def with_trust(self, connection: Any) -> None:
        """Version 8: a view of the log, which is read by other rules now."""
        await connection.execute(
            "INSERT INTO trust_event VALUES ('old', 1, 1, $1, $1, $1, '', 1, 9, 'x', 'x')",
            ALICE.public,
        )
        await connection.execute("INSERT INTO trust_follow VALUES ($1, $1)", BOB.public)
        await connection.execute("INSERT INTO view VALUES ('trust', $1)", len(self.events))

    async def with_claims(self, connection: Any) -> None:
        """Version 20: names that were claimed, one by a key that had asked to vanish since."""
        for name, secret in (("early", BOB), ("claimed", ALICE)):
            # JSON that PostgreSQL's own reader of it does not take.
            said = an_event(secret, kinds.HANDLE, 400, tags=[["d", name], ["x", '\0"pubkey":"']])
            await connection.execute(
                "INSERT INTO handle VALUES ($1, $2, $1, $2, 9000, '', 400, $3)",
                *(name, secret.public, encode_event(said)),
            )

    MEANWHILE = {1: at_first, 4: with_handles, 8: with_trust, 20: with_claims}  # noqa: RUF012  read, never changed


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """An empty database."""
    return await empty_url(tmp_path / "old")


async def schema(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that a database is made of."""
    async with connected(url) as connection:
        return {
            name: [tuple(row) for row in await connection.fetch(sql)]
            for name, sql in SCHEMA.items()
        }


@pytest.mark.parametrize("last", [number for number, _ in KNOWN])
async def test_a_database_of_any_version_with_data_becomes_what_a_new_one_is(
    url: str, tmp_path: Path, last: int
) -> None:
    await made(url, last, History())
    new = await empty_url(tmp_path / "new")
    for found in (url, url, new):
        async with PostgresDatabase(found):
            pass
    wanted = await schema(new)
    assert all(wanted.values())
    assert await schema(url) == wanted


async def test_the_log_of_the_first_version_is_whole_and_searchable_here(url: str) -> None:
    history = History()
    await made(url, 1, history)
    async with PostgresDatabase(url) as database:
        log = EventLog(database, lambda: b"never asked for")
        await log.open()
        words, notes, count = Words(log), history.notes, len(history.events)
        assert await log.last_seq() == await log.total() == count
        newest = [event.id for event in reversed(notes)]
        tagged = Filter(kinds=frozenset({kinds.NOTE}), tags=(("t", frozenset("a")),))
        assert await words.kept(tagged) == newest[1::2]
        both = Filter(tags=(("t", frozenset("ab")),), limit=7)
        assert await words.kept(both) == newest[:7]
        named = {event.id for event in (*notes, history.profile, history.offered)}
        assert set(await words.kept(Filter(search="harbour"))) == named
        assert await words.kept(Filter(search="harbour 77")) == [notes[77].id]
        profile = Filter(authors=frozenset({BOB.public}), kinds=frozenset({kinds.PROFILE}))
        assert await words.kept(profile) == [history.profile.id]
        for event in history.events[::50]:
            assert await words.append(event) is None
        assert await words.append(an_event(content="a new harbour")) == count + 1
        newer = an_event(BOB, kind=kinds.PROFILE, created_at=1001, content="{}")
        assert await words.append(newer) == count + 2
        assert await words.kept(profile) == [newer.id]
        assert await log.sweep(NOW_S) == 1  # what had expired
        await Upkeep(database, log, Keeping()).run(NOW_S)
        with pytest.raises(Restricted):
            await words.append(history.gone)
        with pytest.raises(HanseError):
            await words.append(an_event(BOB, created_at=499))
        bounds = Keeping(tombstones_max=1, vanished_max=1)
        later = a_deletion(("e", "ab" * 32), created_at=2001)
        await words.append(later)
        await log.erase(ids=[later.id])
        assert (await Upkeep(database, log, bounds).run(NOW_S))["tombstones"] == 1
        assert isinstance(await words.append(history.gone), int)  # the oldest went


async def test_the_books_of_the_first_version_go_on(url: str) -> None:
    history = History()
    await made(url, 1, history)
    async with PostgresDatabase(url) as database:
        log, ledger = EventLog(database, lambda: KEY), StoredLedger(database)
        await log.open()
        calls, quality = StoredCalls(database, log), StoredQuality(database)
        call = msgspec.structs.replace(history.call, receipt_id=history.receipt.id)
        assert await calls.call(call.id) == call
        assert await calls.receipt(history.call.hex) == history.receipt
        await quality.advance(call.opened_ms // 1000 + 60)
        tallies = await database.select("SELECT address, capability, payer FROM quality", ())
        assert {*tallies} >= {(call.offer, call.capability, call.operator)}
        assert await database.all("outside_by_operator") == [(ALICE.public, GRANTED)]
        account = await ledger.account(ALICE.public)
        assert account is not None
        assert account.balance_msat == GRANTED
        assert await ledger.sum_msat() == 0
        amount = Amount(GRANTED)
        assert not await ledger.grant(bytes(32), ALICE.public, amount, "test", 1)
        assert await ledger.grant(bytes([1]) * 32, ALICE.public, amount, "test", 1)
        assert await database.all("outside_by_operator") == [(ALICE.public, 2 * GRANTED)]
        assert await ledger.sum_msat() == 0


async def test_offers_and_trust_of_the_first_version_are_read_anew(url: str) -> None:
    history = History()
    await made(url, 1, history)
    async with PostgresDatabase(url) as database:
        await EventLog(database, lambda: KEY).open()
        offers, trust = StoredOffers(database), StoredTrust(database)
        [before] = await offers.named("harbour", NOW_S)
        assert before.payment_methods == ()
        await offers.open()
        [after] = await offers.named("harbour", NOW_S)
        assert after.payment_methods == ("hanse", "lightning")
        await trust.advance()
        [said] = await trust.endorsements_by(ALICE.public, NOW_S)
        assert (said.of, said.grade) == (BOB.public, 5)


async def test_names_and_views_of_versions_between_are_carried_over(url: str) -> None:
    await made(url, 13, History())
    async with PostgresDatabase(url) as database:
        await EventLog(database, lambda: KEY).open()
        handles, trust = StoredHandles(database), StoredTrust(database)
        assert await handles.handles() == [Handle("harbour", ALICE.public)]
        with pytest.raises(Conflict):
            await handles.add(Handle("harb0ur", BOB.public))  # it looks alike
        await trust.advance()
        rows = await database.select("SELECT kind FROM trust_event WHERE name = 'old'", ())
        assert rows == await database.select("SELECT 1 FROM trust_follow", ()) == []
        assert len(await trust.endorsements_by(ALICE.public, NOW_S)) == 1


async def test_names_that_were_claimed_know_who_signed_them(url: str) -> None:
    await made(url, 20, History())
    async with PostgresDatabase(url) as database:
        log, handles = EventLog(database, lambda: KEY), StoredHandles(database)
        await log.open()
        assert [one.name for one in await handles.handles()] == ["claimed", "harbour"]
        await Words(log).append(a_vanishing(by=ALICE, created_at=400))
        assert await handles.handles() == [Handle("harbour", ALICE.public)]


async def test_a_database_of_a_newer_version_is_refused_and_stays(url: str) -> None:
    async with PostgresDatabase(url):
        pass
    async with connected(url) as connection:
        await connection.execute("INSERT INTO migration VALUES (999)")
    before = await schema(url)
    with pytest.raises(HanseError, match=r"of a newer version \(999\)"):
        async with PostgresDatabase(url):
            pass
    assert await schema(url) == before


async def test_what_cannot_be_made_newer_stays_at_the_last_version_that_it_became(
    url: str,
) -> None:
    history = History()
    await made(url, 1, history)
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE trade (unforeseen int)")
    with pytest.raises(HanseError, match=r"trade.* already exists"):
        async with PostgresDatabase(url):
            pass
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT max(number) FROM migration") == 5
        assert await connection.fetchval("SELECT count(*) FROM event") == len(history.events)
        await connection.execute("DROP TABLE trade")
    async with PostgresDatabase(url) as database:
        await EventLog(database, lambda: KEY).open()
        assert await database.all("outside_by_operator") == [(ALICE.public, GRANTED)]
