"""What every engine holds to beneath the stores: commits, refusals, sequence numbers, opening
again.
"""

import asyncio
from typing import Any, cast

import pytest
from tests.conformance.engines import Opening, Stores
from tests.conformance.events import (
    ADDRESSABLE,
    ALICE,
    BOB,
    REPLACEABLE,
    Words,
    a_deletion,
    address,
    an_event,
)

from hanse.engines.storage.append import append_all
from hanse.engines.storage.database import Transaction
from hanse.engines.storage.tag_hash import TagHash
from hanse.errors import Closed, Invalid, NotFound, Restricted, Unavailable
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter


async def rows_left(kept: Stores) -> tuple[int, int]:
    """How many rows find events by their tags and by their words."""
    await kept.database.settle()
    tags = await kept.database.select("SELECT 1 FROM tag", ())
    texts = await kept.database.select("SELECT 1 FROM event_text", ())
    # Where authors stand among the tags, each event has one of them.
    authors = await kept.log.total() if kept.database.dialect.parted else 0
    return len(tags) - authors, len(texts)


async def test_an_operation_that_fails_undoes_only_itself(kept: Stores) -> None:
    log = Words(kept.log)
    told: list[str] = []
    kept.log.follow(lambda _seq, event: told.append(event.id))

    def failing(tx: Transaction) -> None:
        kept.log.append_within(tx, an_event(content="lost"))
        raise Restricted("changed its mind")

    events = [an_event(content=str(number)) for number in range(20)]
    writes = [log.append(event) for event in events]
    writes[10:10] = [kept.database.write(failing)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, int)] == [outcomes[10]]
    assert isinstance(outcomes[10], Restricted)
    assert set(await log.kept()) == set(told) == {event.id for event in events}


async def test_a_statement_the_database_refuses_is_unavailable_and_undone(kept: Stores) -> None:
    def failing(tx: Transaction) -> None:
        kept.log.append_within(tx, an_event(content="lost"))
        tx.all("meta_set", "name", None)  # NOT NULL

    log = Words(kept.log)
    outcomes = await asyncio.gather(
        log.append(an_event()), kept.database.write(failing), return_exceptions=True
    )
    assert isinstance(outcomes[1], Unavailable)
    assert await log.kept() == [an_event().id]


async def test_many_reads_and_writes_at_once_all_end_well(kept: Stores) -> None:
    log = Words(kept.log)
    events = [an_event(content=str(number), tags=[["t", "a"]]) for number in range(200)]
    tagged = Filter(tags=(("t", frozenset("a")),))
    answers = await asyncio.gather(
        *(log.append(event) for event in events),
        *(log.kept(tagged) for _ in range(100)),
        *(kept.log.count([tagged, Filter()], now_s=0) for _ in range(100)),
    )
    assert sorted(answers[:200]) == list(range(1, 201))  # type: ignore[type-var]
    assert len(await log.kept(tagged)) == 200


async def test_a_reading_operation_sees_one_state_and_its_own_refusal(kept: Stores) -> None:
    log = Words(kept.log)
    await log.keep(an_event())
    await kept.database.settle()

    def refusing(tx: Transaction) -> None:
        assert tx.one("event_count") == (1,)
        raise NotFound("is not here")

    with pytest.raises(NotFound):
        await kept.database.read(refusing)
    assert await log.kept() == [an_event().id]


async def test_what_goes_leaves_no_tags_or_words_behind(kept: Stores) -> None:
    log = Words(kept.log)
    tags = [["t", "old"], ["p", "x"], ["t", "old"]]
    await log.keep(an_event(kind=kinds.PROFILE, tags=tags, content="some words"))
    assert await rows_left(kept) == (2, 1)
    await log.keep(an_event(kind=kinds.PROFILE, created_at=1001, tags=[["t", "new"]]))
    assert await rows_left(kept) == (1, 0)
    assert await log.kept(Filter(tags=(("t", frozenset({"old"})),))) == []
    gone = an_event(content="more words", tags=[["expiration", "2000"], ["e", "x"]])
    await log.keep(gone)
    assert await rows_left(kept) == (2, 1)
    assert await kept.log.sweep(2000) == 1
    assert await rows_left(kept) == (1, 0)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "९", "9" * 16])
async def test_an_expiration_that_is_no_time_is_refused(kept: Stores, text: str) -> None:
    log = Words(kept.log)
    with pytest.raises(Invalid) as caught:
        await log.append(an_event(tags=[["expiration", text]]))
    assert caught.value.field == "event.tags.expiration"
    assert await log.log.total() == 0


async def test_a_sequence_number_is_never_used_again(reopened: Opening) -> None:
    async with reopened() as kept:
        log, event = Words(kept.log), an_event()
        assert await log.keep(an_event(content="0"), event) == [1, 2]
        assert await log.keep(a_deletion(("e", event.id))) == [3]
        await log.keep(an_event(created_at=1, tags=[["expiration", "2"]]))
        assert await kept.log.sweep(2) == 1
    async with reopened() as kept:
        assert await Words(kept.log).keep(an_event(content="next")) == [5]
        assert await kept.log.erase(ids=[an_event(content="next").id]) == 1
        assert await kept.log.last_seq() == 5
    async with reopened() as kept:
        assert await kept.log.last_seq() == 5
        assert (await kept.log.query([Filter()], limit=1, now_s=0)).seq == 5
        assert await Words(kept.log).keep(an_event(content="last")) == [6]


async def test_opening_again_finds_everything(reopened: Opening) -> None:
    events = [
        an_event(content=f"word{n}", created_at=n, tags=[["t", str(n % 3)]]) for n in range(9)
    ]
    newer = an_event(kind=REPLACEABLE, created_at=2000)
    gone = events.pop()
    async with reopened() as kept:
        log = Words(kept.log)
        await log.keep(*events, gone, newer, a_deletion(("e", gone.id)))
        before = await log.kept()
    async with reopened() as kept:
        log = Words(kept.log)
        assert await log.kept() == before
        assert [await log.append(event) for event in events] == [None] * len(events)
        with pytest.raises(Restricted):
            await log.append(gone)
        # The key of the tag index is the database's own: made once, read again.
        assert set(await log.kept(Filter(tags=(("t", frozenset("1")),)))) == {
            event.id for event in events if event.tag("t") == "1"
        }
        assert await log.kept(Filter(search="word3")) == [events[3].id]


async def test_a_write_after_the_end_is_refused_and_one_before_it_is_kept(
    reopened: Opening,
) -> None:
    async with reopened() as kept, asyncio.TaskGroup() as tasks:
        log = Words(kept.log)
        writes = [tasks.create_task(log.append(an_event(content=str(n)))) for n in range(100)]
    assert sorted(write.result() or 0 for write in writes) == list(range(1, 101))
    with pytest.raises(Closed):
        await log.append(an_event())
    with pytest.raises(Closed):
        await log.kept()
    async with reopened() as kept:
        assert await kept.log.total() == 100


async def test_a_reader_that_fails_keeps_nothing_from_the_writer_or_from_other_readers(
    kept: Stores,
) -> None:
    def failing(_seq: int, _event: Event) -> None:
        raise ValueError("a fault in a reader")

    told: list[str] = []
    kept.log.follow(failing)
    kept.log.follow(lambda _seq, event: told.append(event.id))
    log = Words(kept.log)
    events = [an_event(content=str(number)) for number in range(2)]
    async with asyncio.timeout(10):
        for event in events:
            assert isinstance(await log.append(event), int)
    assert told == [event.id for event in events]


class Counting:
    """A transaction that counts what is asked of it."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tx, name)
        if name in ("all", "one", "many", "among", "select"):
            self.asked += 1
        return found


async def test_a_deletion_asks_no_more_often_for_many_targets(kept: Stores) -> None:
    """Over a network each question is a wait, while the log's counter is locked for every node."""
    log = Words(kept.log)
    mine = [an_event(content=str(number)) for number in range(50)]
    mine += [an_event(kind=ADDRESSABLE, tags=[["d", str(number)]]) for number in range(50)]
    await kept.log.append_many([*mine, other := an_event(BOB, content="not hers")])
    targets = [("e", event.id) for event in [*mine[:51], other]]  # one by its address, too
    targets += [address(ADDRESSABLE, ALICE, str(number)) for number in range(50)]
    targets += [("e", "ee" * 32), ("e", mine[0].id), ("e", "no id")]
    hash = TagHash(b"key")

    def asked(tx: Transaction) -> int:
        counting = Counting(tx)
        few = a_deletion(("e", "dd" * 32), ("a", f"{ADDRESSABLE}:{ALICE.public}:z"))
        append_all(cast(Transaction, counting), [few], hash)
        return counting.asked

    few = await kept.database.write(asked)

    def many(tx: Transaction) -> int:
        counting = Counting(tx)
        append_all(cast(Transaction, counting), [a_deletion(*targets, created_at=2000)], hash)
        return counting.asked

    assert await kept.database.write(many) <= few + 1  # and what is forbidden by now
    left = set(await log.kept())
    assert left.isdisjoint(event.id for event in mine)
    assert other.id in left


async def test_a_nul_in_a_text_is_refused_by_name_or_finds_nothing_and_stops_nobody(
    kept: Stores,
) -> None:
    async def asked(work: Any) -> None:
        found: Any = (await asyncio.gather(work, return_exceptions=True))[0]
        assert not found or (isinstance(found, Invalid) and "NUL" in found.text)

    await asked(kept.offers.named("a\0b", 5))
    await asked(kept.offers.offer(f"{kinds.OFFER}:{ALICE.public}:a\0b", 5))
    await asked(kept.database.read(lambda tx: tx.among("tombstones", ["a", "a\0b"])))
    written = await asyncio.gather(
        kept.log.append_many([an_event(content="a\0b", tags=[["t", "a\0b"]])]),
        kept.database.write(lambda tx: tx.all("meta_set", "a\0b", b"1")),
        kept.database.write(lambda tx: tx.many("meta_set", [("c", b"1"), ("a\0b", b"1")])),
        kept.log.append_many([an_event(content="another")]),
        return_exceptions=True,
    )
    assert [
        isinstance(found, Exception) and not isinstance(found, Invalid) for found in written
    ] == [False] * 4
    assert await kept.log.total() == 2
