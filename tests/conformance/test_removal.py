"""What leaves a log beside deletions: authors who vanish (NIP-62), gift wraps by their recipient
(NIP-59), old events, what the operator erases.
"""

import asyncio

import pytest
from tests.conformance.engines import Opening, Stores
from tests.conformance.events import (
    ADDRESSABLE,
    ALICE,
    BOB,
    CAROL,
    REPLACEABLE,
    Words,
    a_deletion,
    a_vanishing,
    a_wrap,
    address,
    an_event,
)

from hanse.engines.storage.append import append_all
from hanse.engines.storage.database import Transaction
from hanse.engines.storage.removal import KEPT, STEP
from hanse.engines.storage.tag_hash import TagHash
from hanse.errors import HanseError, Restricted
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter


def everything_of_alice() -> list[Event]:
    """One event of every class, up to second 1000, and a wrap for her."""
    return [
        an_event(content="a note", tags=[["t", "x"]]),
        an_event(kind=kinds.PROFILE, content="a profile"),
        an_event(kind=REPLACEABLE),
        an_event(kind=ADDRESSABLE, tags=[["d", "x"]]),
        an_event(kind=kinds.RECEIPT),
        an_event(tags=[["expiration", "9999999999"]]),
        a_deletion(("e", "ff" * 32), created_at=1000),
        a_wrap(ALICE),
    ]


# --- to vanish (NIP-62) ---------------------------------------------------------------------------


async def test_who_asks_to_vanish_is_gone_and_others_stay(log: Words) -> None:
    others = [
        an_event(BOB, tags=[["p", ALICE.public]]),
        a_wrap(BOB),
        an_event(CAROL, kinds.REPORT, tags=[["p", ALICE.public]]),
    ]
    request = a_vanishing()
    await log.keep(*everything_of_alice(), *others)
    await log.keep(request)
    assert await log.all() == {request.id, *(event.id for event in others)}
    assert await log.log.total() == 4


@pytest.mark.parametrize("together", [True, False])
async def test_nothing_of_who_vanished_comes_back(log: Words, together: bool) -> None:
    request, gone = a_vanishing(), everything_of_alice()
    await log.keep(*gone)
    await log.keep(request)
    new = an_event(BOB, content="another's")
    if together:
        outcomes = await log.log.append_many([*gone, new])
        assert all(isinstance(found, Restricted) for found in outcomes[:-1])
        assert isinstance(outcomes[-1], int)
    else:
        for event in gone:
            with pytest.raises(Restricted):
                await log.append(event)
        await log.keep(new)
    assert await log.all() == {request.id, new.id}


async def test_a_request_in_a_batch_divides_it(log: Words) -> None:
    before, after, newer = (an_event(created_at=at) for at in (1000, 1001, 3000))
    outcomes = await log.log.append_many([before, a_vanishing(), after, newer])
    assert [isinstance(found, int) for found in outcomes] == [True, True, False, True]
    assert await log.all() == {a_vanishing().id, newer.id}


async def test_what_is_written_after_the_request_is_welcome(log: Words) -> None:
    request = a_vanishing(created_at=2000)
    at, after = an_event(created_at=2000), an_event(created_at=2001)
    await log.keep(request, after)
    with pytest.raises(Restricted):
        await log.append(at)
    assert await log.all() == {request.id, after.id}


async def test_an_older_request_does_not_lift_a_newer_one(log: Words) -> None:
    newer, older = a_vanishing(created_at=3000), a_vanishing(created_at=1000)
    await log.keep(newer, older)
    with pytest.raises(Restricted):
        await log.append(an_event(created_at=2500))
    assert await log.all() == {newer.id, older.id}


async def test_a_later_request_takes_what_came_since(log: Words) -> None:
    first, second = a_vanishing(created_at=2000), a_vanishing(created_at=3000)
    await log.keep(first, an_event(created_at=2500), second)
    assert await log.all() == {first.id, second.id}
    with pytest.raises(Restricted):
        await log.append(an_event(created_at=2700))


@pytest.mark.parametrize("deletion_first", [True, False])
async def test_a_deletion_does_nothing_to_a_request_to_vanish(
    log: Words, deletion_first: bool
) -> None:
    request = a_vanishing(created_at=2000)
    deletion = a_deletion(("e", request.id), created_at=3000)
    await log.keep(*([deletion, request] if deletion_first else [request, deletion]))
    assert await log.all() == {request.id, deletion.id}
    with pytest.raises(Restricted):
        await log.append(an_event())


async def test_deletions_by_who_vanished_still_forbid_what_they_took(log: Words) -> None:
    note = an_event(created_at=1000)
    await log.keep(note, a_deletion(("e", note.id), created_at=1500))
    await log.keep(a_vanishing(created_at=1200))
    with pytest.raises(Restricted):
        await log.append(note)


async def test_more_than_one_step_can_hold_vanishes(kept: Stores) -> None:
    log, many = Words(kept.log), 2 * STEP + 3
    await log.keep(*(an_event(content=str(number)) for number in range(many)))
    await log.keep(*(a_wrap(ALICE, created_at=number) for number in range(many)))
    stays = an_event(BOB)
    await log.keep(stays, a_vanishing())
    assert await log.all() == {stays.id, a_vanishing().id}
    assert await kept.log.vanish() == 0


async def test_a_vanishing_that_a_crash_interrupted_is_finished(reopened: Opening) -> None:
    """The request is committed, and the node dies before the first step."""
    async with reopened() as kept:
        log = Words(kept.log)
        await log.keep(*everything_of_alice(), an_event(BOB))

        def only_append(tx: Transaction) -> None:
            append_all(tx, [a_vanishing()], TagHash(bytes(range(32))))

        await kept.database.write(only_append)
        assert len(await log.all()) == 10
    async with reopened() as kept:
        log = Words(kept.log)
        with pytest.raises(Restricted):  # even before the rest is gone
            await log.append(an_event(content="new"))
        assert await kept.log.vanish() == 8
        assert await log.all() == {a_vanishing().id, an_event(BOB).id}
        assert await kept.log.vanish() == 0


async def test_many_who_vanish_at_once_are_all_gone(kept: Stores) -> None:
    log, people = Words(kept.log), [new_secret() for _ in range(25)]
    await log.keep(*(an_event(secret) for secret in people))
    await asyncio.gather(*(log.append(a_vanishing(secret)) for secret in people))
    assert await log.kept(Filter(kinds=frozenset({kinds.NOTE}))) == []
    assert await kept.log.total() == 25


# --- gift wraps (NIP-59) --------------------------------------------------------------------------


@pytest.mark.parametrize("deletion_first", [True, False])
async def test_a_gift_wrap_is_deleted_by_who_it_is_for(log: Words, deletion_first: bool) -> None:
    wrap = a_wrap(ALICE)
    deletion = a_deletion(("e", wrap.id), by=ALICE)
    if deletion_first:
        await log.keep(deletion)
    else:
        await log.keep(wrap, deletion)
    with pytest.raises(Restricted):
        await log.append(wrap)
    assert await log.all() == {deletion.id}


@pytest.mark.parametrize("deletion_first", [True, False])
async def test_nobody_else_deletes_a_gift_wrap(log: Words, deletion_first: bool) -> None:
    wrap = a_wrap(ALICE)
    deletion = a_deletion(("e", wrap.id), by=BOB)
    await log.keep(*([deletion, wrap] if deletion_first else [wrap, deletion]))
    assert await log.all() == {wrap.id, deletion.id}


async def test_being_named_in_an_event_that_is_no_wrap_gives_no_right_to_it(log: Words) -> None:
    event = an_event(BOB, tags=[["p", ALICE.public]])
    deletion = a_deletion(("e", event.id), by=ALICE)
    await log.keep(event, deletion, a_vanishing(ALICE))
    assert event.id in await log.all()


# --- by the operator ------------------------------------------------------------------------------


async def test_retention_takes_one_kind_before_a_time(kept: Stores) -> None:
    log = Words(kept.log)
    old, at, new = (an_event(created_at=at, content="word") for at in (999, 1000, 1001))
    other = an_event(kind=kinds.PROFILE, created_at=1)
    await log.keep(old, at, new, other)
    assert await kept.log.retain(kinds.NOTE, 1000) == 1
    assert await log.all() == {at.id, new.id, other.id}
    assert await log.kept(Filter(search="word")) == [new.id, at.id]
    assert await kept.log.retain(kinds.NOTE, 1000) == 0
    assert await log.append(old) is not None  # retention forbids nothing


@pytest.mark.parametrize("kind", sorted(KEPT))
async def test_retention_never_takes_what_others_refer_to(kept: Stores, kind: int) -> None:
    log = Words(kept.log)
    await log.keep(an_event(kind=kind, created_at=1))
    assert await kept.log.retain(kind, 2**40) == 0
    assert await kept.log.total() == 1


async def test_retention_and_sweeps_go_on_until_all_is_gone(kept: Stores) -> None:
    log = Words(kept.log)
    await log.keep(*(an_event(content=str(number)) for number in range(2 * STEP)))
    assert await kept.log.retain(kinds.NOTE, 2000) == 2 * STEP
    assert await kept.log.total() == 0


async def test_the_operator_erases_by_id_and_by_author(kept: Stores) -> None:
    log = Words(kept.log)
    one, two, deletion = an_event(), an_event(content="2"), a_deletion(("e", "ff" * 32))
    bobs = [an_event(BOB, content=str(number)) for number in range(STEP + 1)]
    await log.keep(one, two, deletion, *bobs)
    assert await kept.log.erase(ids=[one.id, deletion.id, one.id, "ee" * 32]) == 2
    assert await log.kept(Filter(authors=frozenset({ALICE.public}))) == [two.id]
    assert await kept.log.erase(ids=[two.id], pubkey=BOB.public) == STEP + 2
    assert await kept.log.total() == 0
    assert await log.append(one) is not None  # whether it may return is for admission to say


async def test_erasing_a_deletion_does_not_bring_its_target_back(kept: Stores) -> None:
    log, note = Words(kept.log), an_event()
    deletion = a_deletion(("e", note.id), address(REPLACEABLE))
    await log.keep(note, deletion)
    await kept.log.erase(ids=[deletion.id])
    outcomes = await kept.log.append_many([note, an_event(kind=REPLACEABLE)])
    assert all(isinstance(found, HanseError) for found in outcomes)
