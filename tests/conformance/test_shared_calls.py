"""Two nodes over one database: a call belongs to the node that holds it. The other one answers for
it only once it ended, or once that node had its time and more.
"""

import asyncio

import orjson
import pytest
from tests.conformance.engines import Stores
from tests.fakes.calls import CAPABILITY, NOW_S, Parties
from tests.fakes.offers import Stall

from hanse.broker.model import Call, CallState, Fault, Order
from hanse.broker.service import Bounds, Broker
from hanse.errors import Unavailable
from hanse.payments.model import Fee
from hanse.ports import Answered, Reply
from hanse.protocol.amount import Amount
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Offer, Promise
from hanse.registry.service import Registry

PARTIES = Parties.new()
GRACE_MS = Bounds().foreign_grace_ms
DEADLINE_MS = 2000
GRACE_MS = Bounds().foreign_grace_ms


class Clock:
    """Implements `ports.Clock`: it goes when the test says so."""

    def __init__(self) -> None:
        self.ms = NOW_S * 1000

    def now_s(self) -> int:
        return self.ms // 1000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> float:
        return self.ms


OFFER = Offer(
    provider=PARTIES.provider.public,
    operator=PARTIES.provider.public,
    identifier="greet",
    name="greet",
    summary="",
    capabilities=(CAPABILITY,),
    promise=Promise(),
)


class Provider:
    """Implements `ports.Courier`: answers well when the test lets it."""

    def __init__(self, kept: Stores) -> None:
        self._calls = kept.calls
        self.asked = asyncio.Event()
        self.times = 0
        self.may_answer = asyncio.Event()

    async def ask(self, request: Event, to: PublicKey, timeout_ms: float) -> Reply:
        self.times += 1
        self.asked.set()
        await self.may_answer.wait()
        call = await self._calls.call(bytes.fromhex(orjson.loads(request.content)["id"]))
        assert call is not None
        return Answered(PARTIES.answer(call, result=PARTIES.delivered(call)))

    def stop(self) -> None:
        pass


class Nodes:
    """Two brokers over one database, one clock and one provider."""

    def __init__(self, kept: Stores) -> None:
        self.kept = kept
        self.clock = Clock()
        self.provider = Provider(kept)
        stall = Stall()
        stall.put(OFFER)
        self.registry = Registry(stall.store, self.clock, stall.finder)
        self.one, self.two = self.node("one"), self.node("two")

    def node(self, instance: str) -> Broker:
        return Broker(
            calls=self.kept.calls,
            registry=self.registry,
            courier=self.provider,
            clock=self.clock,
            node=PARTIES.node,
            fee=Fee(),
            latch=asyncio.Event,
            ended=lambda _call: None,
            instance=instance,
        )

    async def balances(self) -> tuple[int, int, int]:
        """Caller, on hold, provider."""
        caller = await self.kept.ledger.account(PARTIES.caller.public)
        provider = await self.kept.ledger.account(PARTIES.provider.public)
        assert await self.kept.ledger.sum_msat() == 0
        assert caller is not None
        return caller.balance_msat, caller.held_msat, provider.balance_msat if provider else 0


def order(key: str = "k") -> Order:
    return Order(
        caller=PARTIES.caller.public,
        operator=PARTIES.caller.public,
        key=key,
        offer=PARTIES.call().offer,
        capability=CAPABILITY.name,
        input={"name": "Ada"},
        input_sha256=digest_hex({"name": "Ada"}),
        max_price=None,
        deadline_ms=DEADLINE_MS,
    )


@pytest.fixture
async def nodes(kept: Stores) -> Nodes:
    """With 10 sat for the caller."""
    await kept.ledger.grant(bytes(32), PARTIES.caller.public, Amount(10_000), "test", 1)
    return Nodes(kept)


async def test_a_call_open_at_another_node_is_not_run_again(nodes: Nodes) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(nodes.one.call(order()))
        await nodes.provider.asked.wait()
        with pytest.raises(Unavailable, match="another node"):
            await nodes.two.call(order())
        assert await nodes.balances() == (10_000, 2000, 0)
        nodes.provider.may_answer.set()
    ended = running.result()
    assert (ended.state, ended.holder) == (CallState.SETTLED, "one")
    assert nodes.provider.times == 1
    assert await nodes.two.call(order()) == ended
    paid = 2000 - ended.fee.msat
    assert await nodes.balances() == (8000, 0, paid)


async def test_the_same_call_at_both_nodes_at_once_is_run_by_one(nodes: Nodes) -> None:
    nodes.provider.may_answer.set()
    outcomes = await asyncio.gather(
        nodes.one.call(order()), nodes.two.call(order()), return_exceptions=True
    )
    settled = [found for found in outcomes if isinstance(found, Call)]
    assert all(isinstance(found, Call | Unavailable) for found in outcomes)
    assert {found.state for found in settled} == {CallState.SETTLED}
    assert nodes.provider.times == 1
    assert (await nodes.balances())[:2] == (8000, 0)


async def abandoned(nodes: Nodes, holder: str = "one", key: str = "k") -> Call:
    """A call whose node died while it was open."""
    node = nodes.node(holder)
    running = asyncio.TaskGroup()
    async with running as tasks:
        task = tasks.create_task(node.call(order(key)))
        await nodes.provider.asked.wait()
        task.cancel()
    nodes.provider.asked.clear()
    stored = await nodes.kept.calls.call(order(key).call_id)
    assert stored is not None
    assert (stored.state, stored.holder) == (CallState.OPEN, holder)
    return stored


async def test_a_dead_nodes_call_is_given_back_after_its_deadline_and_a_grace(
    nodes: Nodes,
) -> None:
    call = await abandoned(nodes)
    nodes.clock.ms = call.opened_ms + DEADLINE_MS + GRACE_MS
    with pytest.raises(Unavailable):
        await nodes.two.call(order())
    assert await nodes.two.expire() == 0
    assert await nodes.balances() == (10_000, 2000, 0)
    nodes.clock.ms += 1
    ended = await nodes.two.call(order())
    assert (ended.state, ended.fault) == (CallState.REFUNDED, Fault.NODE_STOPPED)
    assert await nodes.balances() == (10_000, 0, 0)
    assert await nodes.two.expire() == 0


async def test_the_sweep_of_any_node_gives_back_what_a_dead_one_left(nodes: Nodes) -> None:
    call = await abandoned(nodes)
    nodes.clock.ms = call.opened_ms + DEADLINE_MS + GRACE_MS + 1
    assert 1 in await asyncio.gather(nodes.one.expire(), nodes.two.expire())
    assert await nodes.balances() == (10_000, 0, 0)
    assert await nodes.kept.calls.counts() == {"refunded": 1}


async def test_a_starting_node_recovers_only_its_own_calls(nodes: Nodes) -> None:
    for holder in ("one", "two"):
        await abandoned(nodes, holder, key=holder)
    assert await nodes.node("three").recover() == 0
    assert await nodes.node("two").recover() == 1
    left = [call.holder for call in await nodes.kept.calls.open_calls()]
    assert left == ["one"]
    assert await nodes.balances() == (10_000, 2000, 0)


async def test_an_ending_that_comes_after_it_was_given_back_changes_nothing(nodes: Nodes) -> None:
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(nodes.one.call(order()))
        await nodes.provider.asked.wait()
        nodes.clock.ms += DEADLINE_MS + GRACE_MS + 1
        given_back = await nodes.two.call(order())
        nodes.provider.may_answer.set()
    assert slow.result() == given_back
    assert given_back.state is CallState.REFUNDED
    assert await nodes.balances() == (10_000, 0, 0)
    assert await nodes.kept.log.total() == 1
