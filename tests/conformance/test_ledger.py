"""What every ledger holds to, whatever engine keeps it: `payments.store.Ledger` and the money side
of `broker.store.Calls`.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.conformance.engines import Opening, Stores, stores
from tests.fakes.calls import Parties

from hanse.broker.model import Call, CallState, Fault
from hanse.broker.receipt import receipt_event
from hanse.errors import Closed, Conflict, InsufficientFunds, Invalid
from hanse.payments.model import ESCROW_NAME, FEES_NAME, ISSUE_NAME
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.keys import PublicKey

PARTIES = Parties.new()
CALLER, PROVIDER = PARTIES.caller.public, PARTIES.provider.public


async def balances(kept: Stores) -> dict[str, tuple[int, int]]:
    """(balance, on hold) of every account; their sum is zero whenever one looks."""
    assert await kept.ledger.sum_msat() == 0
    return {row.name: (row.balance_msat, row.held_msat) for row in await kept.ledger.accounts()}


@pytest.fixture
async def kept(opened: Opening) -> AsyncIterator[Stores]:
    """Stores with 10 sat granted to the caller."""
    async with opened() as found:
        await grant(found, "start", 10_000)
        yield found


async def grant(
    kept: Stores, key: str, msat: int, to: PublicKey = CALLER, memo: str = "test"
) -> bool:
    """Grant test credits under a key."""
    id = hashlib.sha256(key.encode()).digest()
    return await kept.ledger.grant(id, to, Amount(msat), memo, 1)


def call(name: str = "one", msat: int = 2000, fee: int = 20, **change: Any) -> Call:
    """An open call of its own id and price."""
    id = hashlib.sha256(name.encode()).digest()
    found = msgspec.structs.replace(PARTIES.call(), id=id, price=Amount(msat), fee=Amount(fee))
    return msgspec.structs.replace(found, **change)


def ended(open_call: Call, *, well: bool) -> Call:
    """The call as it ended, with its receipt's id."""
    found = msgspec.structs.replace(
        open_call,
        state=CallState.SETTLED if well else CallState.REFUNDED,
        fault=None if well else Fault.TOO_LATE,
        closed_ms=open_call.opened_ms + 5,
        output={"content": []} if well else None,
    )
    receipt = receipt_event(PARTIES.node, found)
    return msgspec.structs.replace(found, receipt_id=receipt.id)


async def close(kept: Stores, open_call: Call, *, well: bool) -> Call:
    """Settle or refund."""
    found = ended(open_call, well=well)
    return await kept.calls.close_call(found, receipt_event(PARTIES.node, found))


# --- grants ---------------------------------------------------------------------------------------


async def test_a_grant_is_owed_by_the_issue_account(kept: Stores) -> None:
    assert await balances(kept) == {ISSUE_NAME: (-10_000, 0), CALLER: (10_000, 0)}


async def test_the_same_grant_twice_is_done_once(kept: Stores) -> None:
    assert await grant(kept, "start", 10_000) is False
    assert (await balances(kept))[CALLER] == (10_000, 0)


async def test_the_same_grant_many_times_at_once_is_done_once(kept: Stores) -> None:
    done = await asyncio.gather(*(grant(kept, "more", 500) for _ in range(20)))
    assert sorted(done) == [False] * 19 + [True]
    assert (await balances(kept))[CALLER] == (10_500, 0)


@pytest.mark.parametrize("change", [{"msat": 10_001}, {"to": PROVIDER}, {"memo": "other"}])
async def test_the_same_grant_with_other_content_is_refused(
    change: dict[str, Any], kept: Stores
) -> None:
    before = await balances(kept)
    with pytest.raises(Conflict) as refused:
        await grant(kept, "start", **({"msat": 10_000} | change))
    assert refused.value.field == "key"
    assert await balances(kept) == before


async def test_a_grant_that_no_number_can_hold_is_refused_and_changes_nothing(kept: Stores) -> None:
    assert await grant(kept, "half", AMOUNT_MAX_MSAT // 2)
    before = await balances(kept)
    with pytest.raises(Invalid, match="issues at most"):
        await grant(kept, "too much", AMOUNT_MAX_MSAT // 2)
    assert await balances(kept) == before
    assert await grant(kept, "little", 1)


async def test_there_is_no_account_before_its_first_grant(kept: Stores) -> None:
    assert await kept.ledger.account(PROVIDER) is None


async def test_books_are_the_same_after_a_restart(
    reopened: Opening,
) -> None:
    async with reopened() as kept:
        await grant(kept, "start", 10_000)
        await kept.calls.open_call(call())
        before = await balances(kept)
    async with reopened() as kept:
        assert await balances(kept) == before
        assert [found.id for found in await kept.calls.open_calls()] == [call().id]
        await close(kept, call(), well=True)
        assert (await balances(kept))[PROVIDER] == (1980, 0)


# --- holds ----------------------------------------------------------------------------------------


async def test_an_open_call_holds_its_price(kept: Stores) -> None:
    assert await kept.calls.open_call(call()) == call()
    assert (await balances(kept))[CALLER] == (10_000, 2000)
    assert (await balances(kept))[ESCROW_NAME] == (0, 0)
    found = await kept.ledger.account(CALLER)
    assert found is not None
    assert found.available_msat == 8000


async def test_a_settled_call_pays_provider_and_fee(kept: Stores) -> None:
    await kept.calls.open_call(call())
    await close(kept, call(), well=True)
    assert await balances(kept) == {
        ISSUE_NAME: (-10_000, 0),
        CALLER: (8000, 0),
        ESCROW_NAME: (0, 0),
        PROVIDER: (1980, 0),
        FEES_NAME: (20, 0),
    }


async def test_a_refunded_call_gives_the_whole_hold_back(kept: Stores) -> None:
    await kept.calls.open_call(call())
    await close(kept, call(), well=False)
    assert await balances(kept) == {
        ISSUE_NAME: (-10_000, 0),
        CALLER: (10_000, 0),
        ESCROW_NAME: (0, 0),
    }


async def test_the_same_call_opened_twice_is_held_once(kept: Stores) -> None:
    await kept.calls.open_call(call())
    other = call(msat=9000, fingerprint=b"\x01" * 32)
    assert await kept.calls.open_call(other) == call()
    assert (await balances(kept))[CALLER] == (10_000, 2000)


async def test_a_call_opened_again_after_its_end_comes_back_as_it_ended(kept: Stores) -> None:
    await kept.calls.open_call(call())
    await close(kept, call(), well=True)
    assert await kept.calls.open_call(call()) == ended(call(), well=True)
    assert (await balances(kept))[CALLER] == (8000, 0)


async def test_a_hold_over_what_is_available_is_refused_and_changes_nothing(kept: Stores) -> None:
    await kept.calls.open_call(call("first", 9000))
    before = await balances(kept)
    with pytest.raises(InsufficientFunds) as refused:
        await kept.calls.open_call(call("second", 1001))
    assert refused.value.field == "balance"
    assert await balances(kept) == before
    assert await kept.calls.call(call("second").id) is None
    await kept.calls.open_call(call("second", 1000))


async def test_a_stranger_can_hold_nothing_and_gets_no_account(kept: Stores) -> None:
    with pytest.raises(InsufficientFunds):
        await kept.calls.open_call(call(caller=PROVIDER, msat=1, fee=0))
    assert await kept.ledger.account(PROVIDER) is None


async def test_a_stranger_can_make_a_call_that_is_free(kept: Stores) -> None:
    free = call("free", 0, 0, caller=PROVIDER, provider=CALLER)
    await kept.calls.open_call(free)
    assert (await close(kept, free, well=True)).state is CallState.SETTLED
    assert (await balances(kept))[PROVIDER] == (0, 0)


async def test_an_agent_that_hires_itself_pays_only_the_fee(kept: Stores) -> None:
    own = call(provider=CALLER)
    await kept.calls.open_call(own)
    await close(kept, own, well=True)
    assert (await balances(kept))[CALLER] == (9980, 0)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
async def test_a_hold_resolves_once(first: bool, second: bool, kept: Stores) -> None:
    await kept.calls.open_call(call())
    await close(kept, call(), well=first)
    before, seq = await balances(kept), await kept.log.last_seq()
    assert await close(kept, call(), well=second) == ended(call(), well=first)
    assert await balances(kept) == before
    assert await kept.log.last_seq() == seq


async def test_endings_that_race_agree_on_one(kept: Stores) -> None:
    await kept.calls.open_call(call())
    found = await asyncio.gather(*(close(kept, call(), well=n % 2 == 1) for n in range(10)))
    assert set(map(id_and_state, found)) == {(call().id, CallState.REFUNDED)}
    assert (await balances(kept))[CALLER] == (10_000, 0)
    assert await kept.calls.counts() == {"refunded": 1}


def id_and_state(found: Call) -> tuple[bytes, CallState]:
    """What tells two endings apart."""
    return found.id, found.state


async def test_many_holds_at_once_never_exceed_the_balance(kept: Stores) -> None:
    async def attempt(number: int) -> bool:
        try:
            await kept.calls.open_call(call(f"call {number}", 300, 3))
        except InsufficientFunds:
            return False
        return True

    done = await asyncio.gather(*(attempt(number) for number in range(64)))
    assert sum(done) == 33
    assert (await balances(kept))[CALLER] == (10_000, 9900)
    assert len(await kept.calls.open_calls()) == 33


async def test_a_refusal_in_a_batch_undoes_only_itself(kept: Stores) -> None:
    outcomes = await asyncio.gather(
        grant(kept, "a", 100, PROVIDER),
        kept.calls.open_call(call("too dear", 50_000)),
        kept.calls.open_call(call("good", 1000)),
        grant(kept, "start", 77),
        grant(kept, "b", 200, PROVIDER),
        return_exceptions=True,
    )
    kinds = [type(found) for found in outcomes]
    assert kinds == [bool, InsufficientFunds, Call, Conflict, bool]
    assert (await balances(kept))[PROVIDER] == (300, 0)
    assert (await balances(kept))[CALLER] == (10_000, 1000)


async def test_an_ending_comes_with_its_receipt_in_the_same_commit(kept: Stores) -> None:
    heard: list[str] = []
    kept.log.follow(lambda _seq, event: heard.append(event.id))
    await kept.calls.open_call(call())
    assert await kept.calls.receipt(call().hex) is None
    stored = await close(kept, call(), well=True)
    assert stored.receipt_id is not None
    assert heard == [stored.receipt_id]
    for id in (stored.receipt_id, call().hex):
        event = await kept.calls.receipt(id)
        assert event is not None
        assert event.id == stored.receipt_id


async def test_counts_and_lists_follow_the_calls(kept: Stores) -> None:
    for name in ("a", "b", "c"):
        await kept.calls.open_call(call(name))
    await close(kept, call("b"), well=True)
    await close(kept, call("a"), well=False)
    assert await kept.calls.counts() == {"open": 1, "settled": 1, "refunded": 1}
    assert [found.id for found in await kept.calls.open_calls()] == [call("c").id]


# --- what SQLite itself refuses -------------------------------------------------------------------

FORBIDDEN = {
    "a changed amount": "UPDATE transfer SET amount = amount + 1",
    "a changed memo": "UPDATE transfer SET memo = 'x'",
    "a removed transfer": "DELETE FROM transfer",
    "a second resolution": "INSERT INTO transfer SELECT randomblob(32), debit, credit, amount, "
    "3, pending, '', 1 FROM transfer WHERE kind = 2",
    "a resolution of nothing": "INSERT INTO transfer SELECT randomblob(32), debit, credit, 1, "
    "2, NULL, '', 1 FROM transfer LIMIT 1",
    "a transfer to oneself": "INSERT INTO transfer VALUES (x'00', 1, 1, 1, 0, NULL, '', 1)",
    "a negative transfer": "INSERT INTO transfer VALUES (x'00', 1, 2, -1, 0, NULL, '', 1)",
    "an overdraft": "UPDATE account SET debits_posted = credits_posted + 1 WHERE kind <> 'issue'",
    "a hold over the balance": "UPDATE account SET debits_pending = credits_posted + 1 "
    "WHERE kind = 'agent'",
    "half a millisatoshi": "UPDATE account SET debits_posted = 0.5 WHERE kind = 'agent'",
    "an unknown kind of account": "UPDATE account SET kind = 'bank'",
    "a call in no state": "UPDATE call SET state = 'paid'",
}


@pytest.mark.parametrize("case", FORBIDDEN)
async def test_the_database_itself_refuses(case: str, tmp_path: Path) -> None:
    async with stores("sqlite", tmp_path) as kept:
        await grant(kept, "start", 10_000)
        await kept.calls.open_call(call())
        await close(kept, call(), well=True)
        before = await balances(kept)
        other = apsw.Connection(str(tmp_path / "hanse.db"))
        try:
            with pytest.raises(apsw.ConstraintError):
                other.execute(FORBIDDEN[case])
        finally:
            other.close()
        assert await balances(kept) == before


async def test_a_closed_ledger_refuses_by_name(opened: Opening) -> None:
    async with opened() as kept:
        pass
    for work in (grant(kept, "late", 1), kept.ledger.accounts(), kept.calls.open_call(call())):
        with pytest.raises(Closed):
            await work
