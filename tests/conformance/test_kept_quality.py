"""Measured quality on every engine: what is kept is what the calls were."""

import asyncio
import hashlib
import random

import msgspec
import pytest
from tests.conformance.engines import Opening, Stores
from tests.fakes.calls import CAPABILITY, NOW_S, Parties

from hanse.broker.model import Call, CallState, Fault
from hanse.broker.receipt import receipt_event
from hanse.engines.storage.quality import StoredQuality
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.observed import Observed
from hanse.registry.quality import DAY_S

PARTIES = Parties.new()
ADDRESS = PARTIES.call().offer
LATER_S = NOW_S + 60
FAULTS = [None, None, None, Fault.TOO_LATE, Fault.DECLINED, Fault.NODE_STOPPED, Fault.ERROR]
BUSY = "rate-limited: the provider is busy"


def a_call(name: str, *, at_s: int = NOW_S, operator: str = "") -> Call:
    """An open call of its own."""
    call = PARTIES.call()
    return msgspec.structs.replace(
        call,
        id=hashlib.sha256(name.encode()).digest(),
        operator=PublicKey(operator or PARTIES.caller.public),
        opened_ms=at_s * 1000,
    )


async def end(kept: Stores, call: Call, fault: Fault | None = None, latency_ms: int = 20) -> Call:
    """Open and end it; the ended call."""
    await kept.calls.open_call(call)
    settled = PARTIES.settled() if fault is None else PARTIES.refunded()
    ended = msgspec.structs.replace(
        call,
        state=settled.state,
        fault=fault,
        detail=BUSY if fault is Fault.ERROR else "",
        latency_ms=latency_ms,
        closed_ms=call.opened_ms + latency_ms,
        output=settled.output,
        output_sha256=settled.output_sha256,
        delivery=PARTIES.delivery(call) if fault is None else None,
    )
    receipt = receipt_event(PARTIES.node, ended)
    return await kept.calls.close_call(ended, receipt)


async def paid(kept: Stores) -> None:
    """Money for the caller."""
    await kept.ledger.grant(bytes(32), PARTIES.caller.public, Amount(10**9), "test", 1)


async def seen(kept: Stores, now_s: int = LATER_S) -> Observed:
    """What a node that starts now knows."""
    found = Observed(PARTIES.node.public, lambda: now_s)
    await kept.quality.load(found)
    return found


def state(observed: Observed) -> object:
    """All that it knows, to be compared."""
    rows = {key: dict(sorted(found.tallies.items())) for key, found in observed.each()}
    return msgspec.to_builtins([sorted(rows), [rows[key] for key in sorted(rows)]])


async def test_what_was_kept_is_what_was_learned_live(kept: Stores) -> None:
    await paid(kept)
    live = await seen(kept)
    chance = random.Random(7)
    for number in range(60):
        call = a_call(f"c{number}", at_s=NOW_S + number)
        live.record((await end(kept, call, chance.choice(FAULTS), number * 7)).learned())
        if number % 17 == 0:
            await kept.quality.advance(LATER_S)
        if number % 11 == 0:
            await kept.quality.catch_up(live)
    before = state(await seen(kept))  # some calls not in the kept tallies yet
    await kept.quality.advance(LATER_S)
    again = await seen(kept)
    await kept.quality.rebuild(LATER_S)
    assert state(live) == before == state(again) == state(await seen(kept))
    quality = live.quality(ADDRESS, CAPABILITY.name)
    measured = quality.measured()
    assert measured.samples + measured.refunds["node-stopped"] == 60
    assert measured.turned_away == measured.refunds[Fault.ERROR.value] > 0


async def test_counting_again_counts_nothing_twice(kept: Stores) -> None:
    await paid(kept)
    await end(kept, a_call("one"))
    for _ in range(3):
        await kept.quality.advance(LATER_S)
    observed = await seen(kept)
    for _ in range(3):
        await kept.quality.catch_up(observed)
    await end(kept, a_call("two"))
    await asyncio.gather(*(kept.quality.catch_up(observed) for _ in range(3)))
    observed.record((await end(kept, a_call("three"))).learned())
    await asyncio.gather(*(kept.quality.catch_up(observed) for _ in range(3)))
    assert observed.quality(ADDRESS, CAPABILITY.name).measured().samples == 3


async def test_a_call_is_learned_once_whether_the_end_or_the_log_comes_first(kept: Stores) -> None:
    await paid(kept)
    observed = await seen(kept)
    ended = (await end(kept, a_call("one"))).learned()
    observed.record(ended)
    observed.record(ended)
    await kept.quality.catch_up(observed)
    early = (await end(kept, a_call("two"))).learned()
    await kept.quality.catch_up(observed)
    observed.record(early)  # the log came first
    await kept.quality.catch_up(observed)
    assert observed.quality(ADDRESS, CAPABILITY.name).measured().samples == 2


async def test_two_nodes_that_count_at_once_count_each_call_once(reopened: Opening) -> None:
    async with reopened() as one:
        await paid(one)
        for number in range(30):
            await end(one, a_call(f"c{number}"))
        await asyncio.gather(*(one.quality.advance(LATER_S) for _ in range(5)))
    async with reopened() as two:
        observed = await seen(two)
    assert observed.quality(ADDRESS, CAPABILITY.name).measured().samples == 30


async def test_a_new_major_version_starts_with_figures_of_its_own(kept: Stores) -> None:
    await paid(kept)
    await end(kept, a_call("old"), Fault.TOO_LATE)
    await end(kept, msgspec.structs.replace(a_call("new"), version="2.0.1"))
    observed = await seen(kept)
    rates = [
        observed.quality(ADDRESS, CAPABILITY.name, version).measured().success_rate
        for version in ("1.4.0", "2.9.9", "3.0.0", "")
    ]
    assert rates == [0.0, 1.0, None, 1.0]


async def test_old_tallies_go_and_the_calls_stay(kept: Stores) -> None:
    await paid(kept)
    await end(kept, a_call("one"))
    await kept.quality.advance(NOW_S + 100 * DAY_S)
    observed = await seen(kept, NOW_S + 100 * DAY_S)
    assert observed.quality(ADDRESS, CAPABILITY.name).measured().samples == 0
    assert await kept.calls.counts() == {"settled": 1}
    await kept.quality.rebuild(LATER_S)
    assert (await seen(kept)).quality(ADDRESS, CAPABILITY.name).measured().samples == 1


async def test_grants_and_trades_are_known_by_operator_after_a_restart(kept: Stores) -> None:
    await paid(kept)
    payee = PARTIES.provider.public
    await end(kept, a_call("one", operator="boss"))
    await kept.quality.advance(LATER_S)
    voices = (await seen(kept)).voices
    assert voices.backing("boss", payee) == 1.0
    assert voices.backing(PARTIES.caller.public, payee) == 0.0
    assert voices.weight("boss", payee) == 1.0
    assert voices.weight(payee, payee) == 0.0


async def test_another_nodes_receipts_are_that_nodes_word_alone(kept: Stores) -> None:
    await paid(kept)
    other = Parties.new()
    theirs = [other.settled(), other.refunded()]
    forged = msgspec.structs.replace(theirs[0], id=bytes(32))
    await kept.log.append_many([receipt_event(other.node, call) for call in [*theirs, forged]])
    await end(kept, a_call("own"))
    await kept.quality.advance(LATER_S)
    said = await kept.quality.said(other.node.public)
    ((key, tally),) = said.items()
    assert key == (other.call().offer, CAPABILITY.name, 1)
    assert tally.ends == {"settled": 1, "too-late": 1}
    assert await kept.quality.said(PARTIES.node.public) == {}
    assert (await seen(kept)).quality(*key[:2]).measured().samples == 0


async def test_a_long_log_is_looked_through_in_strides(kept: Stores) -> None:
    await paid(kept)
    store = StoredQuality(kept.database, stride=3)
    for number in range(20):
        await end(kept, a_call(f"c{number}"))
    await store.advance(LATER_S)
    observed = Observed(PARTIES.node.public, lambda: LATER_S)
    await store.load(observed)
    for number in range(20, 30):
        await end(kept, a_call(f"c{number}"))
    await store.catch_up(observed)
    assert observed.quality(ADDRESS, CAPABILITY.name).measured().samples == 30
    assert observed.seq == await kept.log.last_seq()


async def test_a_call_that_is_open_is_not_counted(kept: Stores) -> None:
    await paid(kept)
    call = await kept.calls.open_call(a_call("open"))
    assert call.state is CallState.OPEN
    await kept.quality.advance(LATER_S)
    assert (await seen(kept)).quality(ADDRESS, CAPABILITY.name).measured().samples == 0


@pytest.mark.heavy
async def test_many_calls_are_counted_page_by_page(kept: Stores) -> None:
    await paid(kept)
    for number in range(1200):
        await end(kept, a_call(f"c{number}", operator=f"o{number % 700}"))
    await kept.quality.advance(LATER_S)
    observed = await seen(kept)
    measured = observed.quality(ADDRESS, CAPABILITY.name).measured()
    assert measured.samples + measured.unheard == 1200
