"""What a node stops keeping, and what it always keeps, whatever engine keeps it."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.conformance.engines import Opening, Stores
from tests.conformance.events import (
    ALICE,
    ANY,
    BOB,
    CAROL,
    Words,
    a_deletion,
    a_vanishing,
    address,
    an_event,
)

from hanse.broker.model import Call, CallState, Fault
from hanse.broker.receipt import receipt_event
from hanse.engines.storage.removal import STEP
from hanse.engines.storage.upkeep import DAY_S, Keeping, Upkeep
from hanse.errors import HanseError, Invalid, Restricted, Unavailable
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

NODE = SecretKey(bytes([9]) * 32)
NOW_S = 100 * DAY_S
ARTICLE = 30_023


class Kept(Words):
    """An engine's stores, with words for what tests do."""

    def __init__(self, stores: Stores) -> None:
        super().__init__(stores.log)
        self.stores = stores
        self.database = stores.database

    async def rows(self, table: str) -> int:
        """How many rows a table has."""
        [(count,)] = await self.database.select(f"SELECT count(*) FROM {table}", ())
        return int(count)


@pytest.fixture
async def log(opened: Opening) -> AsyncIterator[Kept]:
    async with opened() as found:
        yield Kept(found)


async def swept(log: Kept, now_s: int = NOW_S, **keeping: object) -> dict[str, int]:
    rules = Keeping(**keeping)  # type: ignore[arg-type]
    return dict(await Upkeep(log.database, log.stores.log, rules).run(now_s))


async def refused(log: Kept, *events: Event) -> None:
    """Each is taken by nobody."""
    found = await log.log.append_many(list(events))
    assert [type(one) for one in found] == [Restricted] * len(events)


def a_call(number: int, offer: str, closed_ms: int = 5000, output: object = None) -> Call:
    return Call(
        id=bytes([number]) * 32,
        caller=ALICE.public,
        operator=ALICE.public,
        provider=BOB.public,
        offer=offer,
        capability="c",
        fingerprint=b"f",
        input_sha256="0" * 64,
        price=Amount(1000),
        fee=Amount(0),
        deadline_ms=closed_ms,
        opened_ms=closed_ms - 1,
        state=CallState.REFUNDED,
        fault=Fault.TOO_LATE,
        detail="",
        closed_ms=closed_ms,
        output=output,  # type: ignore[arg-type]
    )


async def ended(log: Kept, call: Call, receipt: Event | None = None) -> Event:
    """The call happens in the books; its receipt, which is in the log."""
    calls = log.stores.calls
    await log.stores.ledger.grant(call.id, ALICE.public, Amount(1000), "test", 1)
    await calls.open_call(msgspec.structs.replace(call, state=CallState.OPEN, fault=None))
    receipt = receipt or receipt_event(NODE, call)
    await calls.close_call(call, receipt)
    return receipt


# --- retention ----------------------------------------------------------------------------------


async def test_each_kind_goes_at_its_own_age_and_no_other_does(log: Kept) -> None:
    def aged(kind: int, days: int) -> Event:
        return an_event(kind=kind, created_at=NOW_S - days * DAY_S, content=f"{days} days")

    events = [aged(kind, days) for kind in (1, 7, 9) for days in (5, 40, 95)]
    await log.keep(*events)
    gone = await swept(log, ages_s=((1, 90 * DAY_S), (7, 30 * DAY_S)))
    assert gone == {"retained": 3}
    left = {(event.kind, event.content) for event in events if event.id in await log.kept()}
    assert left == {
        *((1, "5 days"), (1, "40 days"), (7, "5 days")),
        *((9, "5 days"), (9, "40 days"), (9, "95 days")),
    }
    assert await swept(log, ages_s=((1, 90 * DAY_S), (7, 30 * DAY_S))) == {}


async def test_what_goes_takes_its_tags_and_its_words_along(log: Kept) -> None:
    await log.keep(an_event(content="unforgettable", tags=[["t", "a"]]))
    assert await swept(log, ages_s=((1, 1),)) == {"retained": 1}
    assert (await log.rows("tag"), await log.rows("event_text")) == (0, 0)


async def test_retention_passes_over_all_that_receipts_name_however_much_that_is(
    log: Kept,
) -> None:
    named = [an_event(created_at=n, content=f"named {n}") for n in range(STEP + 20)]
    others = [an_event(created_at=n, content=f"other {n}") for n in range(0, 2 * STEP, 5)]
    article = an_event(kind=ARTICLE, tags=[["d", "x"]], content="named by address")
    await log.keep(*named, *others, article)
    tags = [["e", event.id] for event in named] + [["a", f"{ARTICLE}:{ALICE.public}:x"]]
    receipt = sign_event(NODE, kind=kinds.RECEIPT, created_at=5, content="{}", tags=tags)
    await ended(log, a_call(1, f"{ARTICLE}:{ALICE.public}:x"), receipt)
    gone = await swept(log, ages_s=((1, 1), (ARTICLE, 1)))
    assert gone == {"retained": len(others)}
    assert set(await log.kept()) == {receipt.id, article.id} | {event.id for event in named}


async def test_what_expires_is_kept_unseen_while_a_receipt_names_it(log: Kept) -> None:
    until = [["expiration", "50"]]
    offer = an_event(BOB, kind=kinds.OFFER, tags=[["d", "greet"], *until])
    called = an_event(BOB, kind=kinds.OFFER, tags=[["d", "wave"], *until])
    others = [an_event(content=str(n), tags=until) for n in range(STEP + 20)]
    await log.keep(offer, called, *others)
    receipt = await ended(log, a_call(1, f"{kinds.OFFER}:{BOB.public}:greet"))
    await log.stores.ledger.grant(b"more", ALICE.public, Amount(1000), "test", 1)
    open_call = a_call(2, f"{kinds.OFFER}:{BOB.public}:wave")
    await log.stores.calls.open_call(
        msgspec.structs.replace(open_call, state=CallState.OPEN, fault=None)
    )
    assert await log.log.sweep(60) == len(others)
    assert await log.all() == {offer.id, called.id, receipt.id}
    assert await log.kept(now_s=60) == [receipt.id]
    assert await log.log.sweep(60) == 0


async def test_what_only_looks_like_a_receipt_keeps_nothing_else(log: Kept) -> None:
    note = an_event()
    await log.keep(note, an_event(BOB, kind=kinds.RECEIPT, tags=[["e", note.id]]))
    assert await swept(log, ages_s=((1, 1),)) == {"retained": 1}


async def test_a_call_keeps_its_receipt_and_the_offer_it_names(log: Kept) -> None:
    offer = an_event(BOB, kind=kinds.OFFER, tags=[["d", "greet"]])
    note = an_event()
    await log.keep(offer, note)
    receipt = await ended(log, a_call(1, f"{kinds.OFFER}:{BOB.public}:greet"))
    await swept(log, events_max=1)
    assert set(await log.kept()) == {offer.id, receipt.id}
    [(sum_msat,)] = await log.database.all("account_sum")
    assert sum_msat == 0


@pytest.mark.parametrize("kind", [kinds.RECEIPT, kinds.OFFER, kinds.DELETION, kinds.VANISH])
def test_kinds_that_are_always_kept_have_no_age(kind: int) -> None:
    with pytest.raises(Invalid, match=f"retain: kind {kind} is always kept"):
        Keeping(ages_s=((kind, 1),))


def test_ages_and_bounds_that_make_no_sense_are_named() -> None:
    with pytest.raises(Invalid, match="retain: kind 20001 is never kept"):
        Keeping(ages_s=((20_001, 1),))
    with pytest.raises(Invalid, match="retain: an age"):
        Keeping(ages_s=((1, 0),))
    with pytest.raises(Invalid, match="events_max"):
        Keeping(events_max=0)


# --- the log's bound ----------------------------------------------------------------------------


async def test_over_its_bound_the_log_loses_its_oldest_notes_but_no_profile(log: Kept) -> None:
    profile = an_event(kind=kinds.PROFILE, created_at=1, content="{}")
    notes = [an_event(created_at=10 + n, content=str(n)) for n in range(50)]
    await log.keep(profile, *reversed(notes))
    assert await swept(log, events_max=11) == {"trimmed": 40}
    assert set(await log.kept()) == {profile.id} | {event.id for event in notes[40:]}
    assert await swept(log, events_max=11) == {}
    await log.keep(an_event(created_at=5000))
    assert await swept(log, events_max=11) == {"trimmed": 1}


async def test_the_bound_holds_when_only_replaceable_events_are_left(log: Kept) -> None:
    articles = [an_event(kind=ARTICLE, created_at=n, tags=[["d", str(n)]]) for n in range(20)]
    await log.keep(an_event(created_at=900), *articles)
    assert await swept(log, events_max=5) == {"trimmed": 16}
    assert set(await log.kept()) == {event.id for event in articles[15:]}


async def test_what_strangers_publish_of_kinds_that_are_kept_is_bounded_too(log: Kept) -> None:
    called = an_event(BOB, kind=kinds.OFFER, tags=[["d", "called"]])
    running = an_event(BOB, kind=kinds.OFFER, tags=[["d", "running"]])
    deleted, gone = an_event(content="deleted"), an_event(CAROL, content="of one who vanished")
    await log.keep(called, running, deleted)
    receipt = await ended(log, a_call(1, f"{kinds.OFFER}:{BOB.public}:called"))
    await log.stores.ledger.grant(b"more", ALICE.public, Amount(1000), "test", 1)
    open_call = a_call(2, f"{kinds.OFFER}:{BOB.public}:running")
    await log.stores.calls.open_call(
        msgspec.structs.replace(open_call, state=CallState.OPEN, fault=None)
    )
    flood = [an_event(kind=kinds.RECEIPT, content=str(n), created_at=n) for n in range(20)]
    flood += [an_event(kind=kinds.OFFER, tags=[["d", str(n)]]) for n in range(20)]
    flood += [a_deletion(("e", f"{n:064x}")) for n in range(20)]
    await log.keep(*flood, a_deletion(("e", deleted.id)), a_vanishing(CAROL, 9000))
    note, profile = an_event(created_at=9000), an_event(kind=kinds.PROFILE, created_at=9000)
    await log.keep(note, profile)

    await swept(log, events_max=10)
    left = set(await log.kept())
    assert len(left) == 10
    assert {called.id, running.id, receipt.id} < left
    assert not {note.id, profile.id} & left  # last of all go the kinds that are kept
    await swept(log, events_max=1)
    assert set(await log.kept()) == {called.id, running.id, receipt.id}
    # What was deleted, and who vanished, does not come back for that.
    refused = await log.log.append_many([deleted, gone])
    assert [isinstance(found, HanseError) for found in refused] == [True, True]


async def test_what_arrives_behind_the_last_trim_goes_in_its_turn(log: Kept) -> None:
    await log.keep(*(an_event(created_at=1000 + n, content=str(n)) for n in range(30)))
    await swept(log, events_max=10)
    upkeep = Upkeep(log.database, log.stores.log, Keeping(events_max=10))
    await log.keep(*(an_event(created_at=n, content=str(n)) for n in range(15)))
    await upkeep.run(NOW_S)
    await upkeep.run(NOW_S)
    assert await log.log.total() == 10


async def test_a_bound_in_bytes_is_come_down_to_and_then_kept(log: Kept) -> None:
    if await log.database.used_bytes() is None:
        with pytest.raises(Unavailable, match="bound it by events"):
            await swept(log, bytes_max=1)
        return
    await log.keep(*(an_event(created_at=n, content=f"{n} " * 200) for n in range(2000)))
    await log.database.settle()
    used = await log.database.used_bytes()
    assert used is not None
    bound = used // 2
    for _ in range(12):
        await swept(log, bytes_max=bound)
    assert (await log.database.used_bytes() or 0) <= bound
    assert await log.log.total() > 500
    assert await swept(log, bytes_max=bound) == {}


# --- the node's own tables ------------------------------------------------------------------------


async def test_the_oldest_deletions_that_left_the_log_are_forgotten_over_the_bound(
    log: Kept,
) -> None:
    notes = [an_event(content=str(n)) for n in range(6)]
    deletions = [a_deletion(("e", note.id)) for note in notes]
    for deletion in deletions:
        await log.keep(deletion)
    await log.stores.log.erase(ids=[deletion.id for deletion in deletions])
    assert await swept(log, tombstones_max=2) == {"tombstones": 4}
    outcomes = await log.log.append_many(notes)
    assert [isinstance(found, int) for found in outcomes] == [True] * 4 + [False] * 2


@pytest.mark.requirement("NIP-09.stays-gone")
async def test_nobody_pushes_out_a_deletion_that_is_in_the_log(log: Kept) -> None:
    note, article = an_event(), an_event(kind=ARTICLE, tags=[["d", "x"]])
    named = address(ARTICLE, identifier="x")
    await log.keep(note, article)
    await log.keep(a_deletion(("e", note.id), named))
    made_up = [("e", f"{n:064x}") for n in range(40)]
    passing = a_deletion(*made_up[20:], ("expiration", "2500"), by=BOB)
    await log.keep(a_deletion(*made_up[:20], by=BOB), passing)
    assert await log.stores.log.sweep(NOW_S) == 1  # whose targets only then are over a bound
    assert await swept(log, tombstones_max=1) == {"tombstones": 19}
    await refused(log, note, article)
    assert await log.rows("tombstone") == 2 + 20 + 1


async def test_a_deletion_said_again_is_not_forgotten_with_the_first(log: Kept) -> None:
    note = an_event()
    first, again = (a_deletion(("e", note.id), created_at=at) for at in (2000, 2001))
    await log.keep(first, again)
    await log.stores.log.erase(ids=[first.id])
    other = a_deletion(("e", "ab" * 32), ("e", "cd" * 32), by=BOB)
    await log.keep(other)
    await log.stores.log.erase(ids=[other.id])
    assert await swept(log, tombstones_max=1) == {"tombstones": 1}
    await refused(log, note)


async def test_the_oldest_requests_that_left_the_log_are_forgotten_over_the_bound(
    log: Kept,
) -> None:
    secrets = [SecretKey(bytes([n + 1]) * 32) for n in range(4)]
    requests = [a_vanishing(secret, 100 + number) for number, secret in enumerate(secrets)]
    await log.keep(*requests)
    await log.stores.log.erase(ids=[request.id for request in requests])
    assert await swept(log, vanished_max=1) == {"vanished": 3}
    outcomes = await log.log.append_many([an_event(secret, created_at=5) for secret in secrets])
    assert [isinstance(found, int) for found in outcomes] == [True, True, True, False]


@pytest.mark.requirement("NIP-62.stays-gone")
async def test_nobody_pushes_out_a_request_to_vanish_that_is_in_the_log(log: Kept) -> None:
    await log.keep(a_vanishing(ALICE, 2000))
    await log.keep(*(a_vanishing(SecretKey(bytes([n]) * 32), 3000) for n in range(10, 20)))
    assert await swept(log, vanished_max=1) == {}
    await refused(log, an_event())


async def test_outputs_go_when_they_are_old_and_the_calls_stay(log: Kept) -> None:
    offer = f"{kinds.OFFER}:{BOB.public}:greet"
    output = {"content": [], "structuredContent": {"a": 1}}
    old = a_call(1, offer, 1000, output)
    new = a_call(2, offer, NOW_S * 1000 - 5000, output)
    for call in (old, new):
        await ended(log, call)
    assert await swept(log) == {"outputs": 1}
    calls = log.stores.calls
    kept = [await calls.call(call.id) for call in (old, new)]
    assert [found and found.output for found in kept] == [None, output]
    assert kept[0] is not None
    assert kept[0].state is CallState.REFUNDED
    assert await swept(log) == {}


# --- words of old events --------------------------------------------------------------------------


async def test_events_without_words_get_them_and_new_ones_keep_theirs(log: Kept) -> None:
    events = [an_event(created_at=n, content=f"word{n} everywhere") for n in range(STEP + 100)]
    await log.keep(*events)
    await log.database.write(lambda tx: tx.select("DELETE FROM event_text", ()))
    await log.database.write(lambda tx: tx.all("view_set", "words", len(events)))
    new = an_event(content="newword everywhere")
    await log.keep(new)
    await swept(log)
    for word, found in (("word7", events[7]), ("word599", events[599]), ("newword", new)):
        assert await log.kept(Filter(search=word)) == [found.id]
    assert len(await log.kept(Filter(search="everywhere"))) == len(events) + 1
    assert await log.database.one("view_seq", "words") == (0,)
    await log.stores.log.erase(pubkey=ALICE.public)
    assert await log.kept(*ANY) == []
