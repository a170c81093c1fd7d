"""The log's rules, over a real file: what is kept, replaced, deleted, expired."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from hanse.engines.storage.database import Transaction
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.queries import load_queries
from hanse.engines.storage.removal import STEP
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Closed, Conflict, HanseError, Invalid, Restricted, Unavailable
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

ALICE, BOB = SecretKey(bytes([1]) * 32), SecretKey(bytes([2]) * 32)
ANY = (Filter(),)
ADDRESSABLE, REPLACEABLE = 30_000, 10_000


def an_event(
    secret: SecretKey = ALICE,
    kind: int = kinds.NOTE,
    created_at: int = 1000,
    content: str = "",
    tags: Iterable[Iterable[str]] = (),
) -> Event:
    return sign_event(secret, kind=kind, created_at=created_at, content=content, tags=tags)


def a_deletion(*tags: tuple[str, str], by: SecretKey = ALICE, created_at: int = 2000) -> Event:
    return an_event(by, kinds.DELETION, created_at, tags=tags)


def address(kind: int, secret: SecretKey = ALICE, identifier: str = "") -> tuple[str, str]:
    return ("a", f"{kind}:{secret.public}:{identifier}")


class Opened:
    """A log and its database, with words for what tests do."""

    def __init__(self, database: SqliteDatabase, log: EventLog) -> None:
        self.database = database
        self.log = log

    async def append(self, event: Event) -> int | None:
        """Its sequence number, None for a duplicate; raises the refusal."""
        [found] = await self.log.append_many([event])
        if isinstance(found, HanseError):
            raise found
        return found

    async def keep(self, *events: Event) -> list[int]:
        found = await self.log.append_many(list(events))
        assert all(isinstance(one, int) for one in found)
        return [one for one in found if isinstance(one, int)]

    async def kept(self, *filters: Filter, now_s: int = 1500) -> list[str]:
        found = await self.log.query(filters or ANY, limit=10_000, now_s=now_s)
        return [row[2].hex() for row in found.rows]

    async def tag_rows(self) -> int:
        return len(await self.database.select("SELECT 1 FROM tag", ()))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Opened]:
    async with SqliteDatabase(str(folder / "hanse.db")) as database:
        log = EventLog(database, lambda: bytes(32))
        await log.open()
        yield Opened(database, log)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as found:
        yield found


# --- appending --------------------------------------------------------------------------------


async def test_an_event_is_kept_once_and_comes_back_as_it_was(log: Opened) -> None:
    event = an_event(content="é\x00🦀", tags=[["t", "a"], [], ["t", "a"]])
    assert await log.append(event) == 1
    assert await log.append(event) is None
    assert await log.log.event(event.id) == event
    assert await log.log.total() == await log.log.last_seq() == 1


async def test_a_duplicate_within_one_batch_is_kept_once(log: Opened) -> None:
    event = an_event()
    assert await log.log.append_many([event, event, an_event(content="x")]) == [1, None, 2]


async def test_an_event_that_is_not_here_is_none(log: Opened) -> None:
    assert await log.log.event("00" * 32) is None


async def test_appended_events_are_told_in_order_after_they_can_be_read(log: Opened) -> None:
    told: list[tuple[int, str]] = []
    reads: list[asyncio.Task[Event | None]] = []

    def reader(seq: int, event: Event) -> None:
        told.append((seq, event.id))
        reads.append(tasks.create_task(log.log.event(event.id)))

    log.log.follow(reader)
    events = [an_event(content=str(number)) for number in range(50)]
    async with asyncio.TaskGroup() as tasks:
        await asyncio.gather(*(log.append(event) for event in [*events, *events]))
    assert [seq for seq, _ in told] == list(range(1, 51))
    assert {id for _, id in told} == {event.id for event in events}
    found = [read.result() for read in reads]
    assert [event.id for event in found if event] == [id for _, id in told]


async def test_a_refusal_in_a_batch_does_not_undo_its_neighbours(log: Opened) -> None:
    newer, older = (an_event(kind=REPLACEABLE, created_at=at) for at in (2000, 1000))
    first, second, third = await log.log.append_many([newer, older, an_event()])
    assert (first, third) == (1, 2)
    assert isinstance(second, Conflict)
    assert set(await log.kept()) == {newer.id, an_event().id}


async def test_an_operation_that_fails_undoes_only_itself(log: Opened) -> None:
    told: list[str] = []
    log.log.follow(lambda _seq, event: told.append(event.id))

    def failing(tx: Transaction) -> None:
        log.log.append_within(tx, an_event(content="lost"))
        raise Restricted("changed its mind")

    events = [an_event(content=str(number)) for number in range(20)]
    writes = [log.append(event) for event in events]
    writes[10:10] = [log.database.write(failing)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, int)] == [outcomes[10]]
    assert isinstance(outcomes[10], Restricted)
    assert set(await log.kept()) == set(told) == {event.id for event in events}


async def test_a_statement_the_database_refuses_is_unavailable_and_undone(log: Opened) -> None:
    def failing(tx: Transaction) -> None:
        log.log.append_within(tx, an_event(content="lost"))
        tx.all("meta_set", "name", None)  # NOT NULL

    outcomes = await asyncio.gather(
        log.append(an_event()), log.database.write(failing), return_exceptions=True
    )
    assert isinstance(outcomes[1], Unavailable)
    assert await log.kept() == [an_event().id]


async def test_a_caller_that_gives_up_does_not_undo_its_write(log: Opened) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await log.append(an_event())
    await log.append(an_event(content="next"))
    assert an_event().id in await log.kept()


async def test_an_event_that_passes_twice_counts_once_toward_the_limit(log: Opened) -> None:
    twice = an_event(created_at=1001, tags=[["t", "a"], ["t", "b"]])
    once = an_event(tags=[["t", "a"]])
    await log.keep(twice, once)
    assert await log.kept(Filter(tags=(("t", frozenset("ab")),), limit=2)) == [twice.id, once.id]


# --- replaceable and addressable ----------------------------------------------------------------

KEPT_ONCE = [
    (0, ()),
    (3, ()),
    (REPLACEABLE, ()),
    (19_999, (("d", "ignored"),)),
    (ADDRESSABLE, (("d", "x"),)),
    (39_999, ()),
    (kinds.OFFER, (("d", "é:with:colons"),)),
]


@pytest.mark.parametrize(("kind", "tags"), KEPT_ONCE)
async def test_a_newer_version_takes_the_place_of_the_older(
    log: Opened, kind: int, tags: tuple[tuple[str, str], ...]
) -> None:
    old, new = (an_event(kind=kind, created_at=at, tags=tags) for at in (1000, 1001))
    await log.keep(old, new)
    assert await log.kept() == [new.id]
    with pytest.raises(Conflict):
        await log.append(old)
    assert await log.kept() == [new.id]


@pytest.mark.parametrize(("kind", "tags"), KEPT_ONCE)
@pytest.mark.parametrize("lowest_first", [True, False])
async def test_within_one_second_the_lowest_id_stays(
    log: Opened, kind: int, tags: tuple[tuple[str, str], ...], lowest_first: bool
) -> None:
    pair = [an_event(kind=kind, content=text, tags=tags) for text in ("a", "b")]
    low, high = sorted(pair, key=lambda event: event.id)
    if lowest_first:
        await log.keep(low)
        with pytest.raises(Conflict):
            await log.append(high)
    else:
        await log.keep(high, low)
    assert await log.kept() == [low.id]


async def test_versions_of_different_addresses_do_not_touch(log: Opened) -> None:
    events = [
        an_event(kind=ADDRESSABLE, tags=[["d", "x"]]),
        an_event(kind=ADDRESSABLE, tags=[["d", "X"]]),
        an_event(kind=ADDRESSABLE, tags=[["d", ""]]),
        an_event(kind=ADDRESSABLE + 1, tags=[["d", "x"]]),
        an_event(BOB, ADDRESSABLE, tags=[["d", "x"]]),
        an_event(kind=REPLACEABLE),
        an_event(BOB, REPLACEABLE),
    ]
    await log.keep(*events)
    assert set(await log.kept()) == {event.id for event in events}


@pytest.mark.parametrize("tags", [[], [["d"]], [["d", ""]], [["d", "", "x"]]])
async def test_no_d_tag_and_an_empty_one_are_one_address(
    log: Opened, tags: list[list[str]]
) -> None:
    await log.keep(an_event(kind=ADDRESSABLE, tags=[["d", ""]], content="old"))
    newest = an_event(kind=ADDRESSABLE, created_at=1001, tags=tags)
    await log.keep(newest)
    assert await log.kept() == [newest.id]


async def test_a_version_that_is_replaced_leaves_no_tags_behind(log: Opened) -> None:
    await log.keep(an_event(kind=REPLACEABLE, tags=[["t", "old"], ["p", "x"]]))
    await log.keep(an_event(kind=REPLACEABLE, created_at=1001, tags=[["t", "new"]]))
    assert await log.tag_rows() == 1
    assert await log.kept(Filter(tags=(("t", frozenset({"old"})),))) == []


# --- deletion (NIP-09) ------------------------------------------------------------------------


async def test_a_deletion_by_id_removes_the_event_and_forbids_its_return(log: Opened) -> None:
    event = an_event(tags=[["t", "a"]])
    deletion = a_deletion(("e", event.id))
    await log.keep(event, deletion)
    assert await log.kept() == [deletion.id]
    assert await log.tag_rows() == 1  # the deletion's own
    with pytest.raises(Restricted):
        await log.append(event)
    assert await log.kept() == [deletion.id]


async def test_a_deletion_that_arrives_first_forbids_what_it_names(log: Opened) -> None:
    event = an_event()
    await log.keep(a_deletion(("e", event.id), created_at=500))
    with pytest.raises(Restricted):
        await log.append(event)


@pytest.mark.parametrize("deletion_first", [True, False])
async def test_nobody_deletes_anothers_event(log: Opened, deletion_first: bool) -> None:
    note, version = an_event(), an_event(kind=ADDRESSABLE, tags=[["d", "x"]])
    deletion = a_deletion(
        ("e", note.id), ("e", version.id), address(ADDRESSABLE, ALICE, "x"), by=BOB
    )
    order = [note, version]
    await log.keep(*([deletion, *order] if deletion_first else [*order, deletion]))
    assert set(await log.kept()) == {note.id, version.id, deletion.id}


@pytest.mark.parametrize(("kind", "identifier"), [(REPLACEABLE, ""), (ADDRESSABLE, "a:b")])
async def test_a_deletion_by_address_removes_versions_up_to_its_own_time(
    log: Opened, kind: int, identifier: str
) -> None:
    tags = [["d", identifier]]
    old, same, new = (an_event(kind=kind, created_at=at, tags=tags) for at in (1000, 2000, 2001))
    deletion = a_deletion(address(kind, ALICE, identifier), created_at=2000)
    await log.keep(old, deletion)
    assert await log.kept() == [deletion.id]
    for event in (old, same):
        with pytest.raises(Restricted):
            await log.append(event)
    await log.keep(new)
    assert set(await log.kept()) == {new.id, deletion.id}


async def test_a_deletion_by_address_leaves_a_newer_version(log: Opened) -> None:
    version = an_event(kind=REPLACEABLE, created_at=3000)
    deletion = a_deletion(address(REPLACEABLE), created_at=2000)
    await log.keep(version, deletion)
    assert set(await log.kept()) == {version.id, deletion.id}


async def test_an_older_deletion_does_not_lift_a_newer_one(log: Opened) -> None:
    await log.keep(
        a_deletion(address(REPLACEABLE), created_at=3000),
        a_deletion(address(REPLACEABLE), created_at=1000),
    )
    with pytest.raises(Restricted):
        await log.append(an_event(kind=REPLACEABLE, created_at=2500))


@pytest.mark.parametrize("last_first", [True, False])
async def test_a_deletion_cannot_be_deleted_in_either_order(log: Opened, last_first: bool) -> None:
    event = an_event()
    deletion = a_deletion(("e", event.id))
    second = a_deletion(("e", deletion.id), created_at=3000)
    await log.keep(*([second, deletion] if last_first else [deletion, second]))
    assert set(await log.kept()) == {deletion.id, second.id}
    with pytest.raises(Restricted):
        await log.append(event)


async def test_targets_of_a_deletion_that_make_no_sense_are_passed_over(log: Opened) -> None:
    event = an_event()
    deletion = a_deletion(
        ("e", "not hex"),
        ("e", event.id.upper()),
        ("e", ""),
        ("a", "30000"),
        ("a", f"x:{ALICE.public}:"),
        ("a", ""),
        ("k", "1"),
    )
    await log.keep(event, deletion)
    assert set(await log.kept()) == {event.id, deletion.id}


# --- expiration (NIP-40) ------------------------------------------------------------------------


async def test_an_event_is_served_until_its_last_second_and_not_at_it(log: Opened) -> None:
    event = an_event(tags=[["expiration", "2000"], ["t", "a"]])
    await log.keep(event)
    for found in (
        Filter(),
        Filter(ids=frozenset({event.id})),
        Filter(tags=(("t", frozenset("a")),)),
    ):
        assert await log.kept(found, now_s=1999) == [event.id]
        assert await log.kept(found, now_s=2000) == []


async def test_what_expired_is_swept_with_its_tags_and_the_rest_stays(log: Opened) -> None:
    stays = an_event(tags=[["expiration", "3000"]])
    await log.keep(an_event(tags=[["expiration", "2000"], ["t", "a"]]), stays)
    assert await log.log.sweep(1999) == 0
    assert await log.log.sweep(2000) == 1
    assert await log.log.sweep(2000) == 0
    assert await log.kept() == [stays.id]
    assert await log.tag_rows() == 0


async def test_a_sweep_goes_on_until_all_that_expired_is_gone(log: Opened) -> None:
    tags = [["expiration", "2000"]]
    await log.keep(*(an_event(content=str(n), tags=tags) for n in range(STEP + 1)))
    assert [await log.log.sweep(2000), await log.log.sweep(2000)] == [STEP + 1, 0]


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "९", "9" * 16])
async def test_an_expiration_that_is_no_time_is_refused(log: Opened, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        await log.append(an_event(tags=[["expiration", text]]))
    assert caught.value.field == "event.tags.expiration"
    assert await log.log.total() == 0


# --- sequence numbers and files -----------------------------------------------------------------


async def test_a_sequence_number_is_never_used_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        event = an_event()
        assert await log.keep(an_event(content="0"), event) == [1, 2]
        deletion = a_deletion(("e", event.id))
        assert await log.keep(deletion) == [3]
        await log.keep(an_event(created_at=1, tags=[["expiration", "2"]]))
        assert await log.log.sweep(2) == 1
    async with opened(tmp_path) as log:
        assert await log.keep(an_event(content="next")) == [5]


async def test_opening_again_finds_everything(tmp_path: Path) -> None:
    events = [an_event(content=str(n), created_at=n, tags=[["t", str(n % 3)]]) for n in range(30)]
    gone = events.pop()
    async with opened(tmp_path) as log:
        await log.keep(*events, gone, a_deletion(("e", gone.id)))
        before = await log.kept()
    async with opened(tmp_path) as log:
        assert await log.kept() == before
        assert [await log.append(event) for event in events] == [None] * len(events)
        with pytest.raises(Restricted):
            await log.append(gone)
        # The key of the tag index is the database's own: made once, read again.
        wanted = Filter(tags=(("t", frozenset({"1"})),))
        assert set(await log.kept(wanted)) == {
            event.id for event in events if event.tag("t") == "1"
        }


async def test_a_write_after_the_end_is_refused_and_one_before_it_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, asyncio.TaskGroup() as tasks:
        writes = [tasks.create_task(log.append(an_event(content=str(n)))) for n in range(100)]
    assert sorted(write.result() or 0 for write in writes) == list(range(1, 101))
    with pytest.raises(Closed):
        await log.append(an_event())
    async with opened(tmp_path) as again:
        assert await again.log.total() == 100


async def test_migrations_are_applied_once(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path) as log:
            [(version,)] = await log.database.select("PRAGMA user_version", ())
            assert version == migrations("sqlite")[-1][0]
    numbers = [number for number, _ in migrations("sqlite")]
    assert numbers == sorted(set(numbers))


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.keep(an_event())
    newer = migrations("sqlite")[-1][0] + 1
    with contextlib.closing(apsw.Connection(str(tmp_path / "hanse.db"))) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(HanseError, match=rf"newer version \({newer}\)"):
        async with opened(tmp_path):
            pass
    with contextlib.closing(apsw.Connection(str(tmp_path / "hanse.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchall() == [(1,)]
        assert connection.execute("PRAGMA user_version").fetchall() == [(newer,)]


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.write_text("x" * 9999)]
)
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "hanse.db")
    with pytest.raises(Unavailable, match=r"hanse\.db"):
        async with opened(tmp_path):
            pass


async def test_a_commit_is_on_disk_before_it_is_told(log: Opened) -> None:
    for setting, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
        found = await log.database.write(
            lambda tx, name=setting: tx.select(f"PRAGMA {name}", ())  # type: ignore[misc]
        )
        assert found == [(value,)], setting


async def test_a_read_the_database_refuses_is_unavailable(log: Opened) -> None:
    wanted = frozenset(f"{number:064x}" for number in range(40_000))
    with pytest.raises(Unavailable):
        await log.log.query([Filter(ids=wanted)], limit=10, now_s=1500)
    assert await log.log.query(ANY, limit=10, now_s=1500) == Found([], 0, False)


# --- the queries themselves ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_parameters_first_appear_in_order(name: str) -> None:
    found = [int(number) for number in re.findall(r"\$(\d+)", load_queries()[name])]
    first_seen = list(dict.fromkeys(found))
    assert first_seen == list(range(1, len(first_seen) + 1))


async def test_every_query_is_good_sql_for_this_schema(log: Opened) -> None:
    def explain(tx: Transaction, sql: str) -> None:
        sql = sql.replace("$values", "$1")
        places = len(set(re.findall(r"\$\d+", sql)))
        tx.select(f"EXPLAIN {sql}", (None,) * places)

    for sql in load_queries().values():
        await log.database.write(explain, sql)
