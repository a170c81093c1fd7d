"""Calls whose own task does not reach its end: the money does not stay on hold."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import People, running_node
from tests.fakes.calls import CAPABILITY, Parties
from tests.fakes.offers import Stall

from hanse.agent import Agent
from hanse.broker.model import CallState, Fault, Order
from hanse.broker.service import Broker
from hanse.clock import SystemClock
from hanse.config import Config
from hanse.node import Node
from hanse.ports import Answered, Reply
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.principal import Principal
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.service import Registry


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """A bare relay."""
    async with running_node(tmp_path / "data", operator, doors=frozenset()) as found:
        yield found


class Stuck:
    """A provider whose work does not end before `enough` is set."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.asked = asyncio.Event()
        self.enough = asyncio.Event()

    async def work(self, text: str) -> str:
        """Work."""
        self.asked.set()
        await self.enough.wait()
        return text

    async def serve(self) -> dict[str, Any]:
        """Publish; the arguments of a call."""
        self.agent.provide(price="2sat")(self.work)
        event = await self.agent.serve()
        return {
            "offer": f"{event.kind}:{event.pubkey}:work",
            "capability": "work",
            "input": {"text": "a"},
            "deadline_ms": 100,
            "idempotency_key": "one",
        }


async def _cancelled_call(node: Node, people: People) -> tuple[Principal, dict[str, Any]]:
    """A call that was delivered, and whose task was then cancelled, as a door does it when its
    client takes the request back."""
    stuck = Stuck(await people.connected())
    arguments = await stuck.serve()
    caller = await people.connected(credits="5sat")
    who = Principal(caller.pubkey, caller.pubkey)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.desk.perform(who, "call_service", arguments))
        await stuck.asked.wait()
        task.cancel()
    stuck.enough.set()  # now an answer comes that nobody waits for
    assert node.broker.running == 0
    assert await node.payments.balance(who.agent) == (3000, 2000)
    return who, arguments


async def test_a_cancelled_call_is_refunded_when_its_key_comes_again(
    node: Node, people: People
) -> None:
    who, arguments = await _cancelled_call(node, people)
    found = await asyncio.gather(
        *(node.desk.perform(who, "call_service", arguments) for _ in range(4))
    )
    assert all(row == found[0] for row in found)
    assert (found[0]["status"], found[0]["fault"]) == ("refunded", "node-stopped")
    assert await node.payments.balance(who.agent) == (5000, 0)
    assert await node.calls.counts() == {"refunded": 1}


async def test_a_cancelled_call_expires_after_its_deadline(node: Node, people: People) -> None:
    who, arguments = await _cancelled_call(node, people)
    async with asyncio.timeout(5):
        while not await node.broker.expire():
            await asyncio.sleep(0.01)
    assert await node.broker.expire() == 0
    assert await node.payments.balance(who.agent) == (5000, 0)
    found = await node.desk.perform(who, "call_service", arguments)
    assert (found["status"], found["fault"]) == ("refunded", "node-stopped")


async def test_a_call_that_runs_does_not_expire(node: Node, people: People) -> None:
    stuck = Stuck(await people.connected())
    arguments = await stuck.serve()
    caller = await people.connected(credits="5sat")
    who = Principal(caller.pubkey, caller.pubkey)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.desk.perform(who, "call_service", arguments))
        await stuck.asked.wait()
        while not task.done():
            assert await node.broker.expire() == 0
            await asyncio.sleep(0.01)
    assert task.result()["fault"] == "deadline-below-promise"
    stuck.enough.set()


# --- an answer that cannot be judged --------------------------------------------------------------


class Prompt:
    """Implements `ports.Courier`: the answer is there at once."""

    def __init__(self, answer: Event) -> None:
        self._answer = answer

    async def ask(self, request: Event, to: PublicKey, timeout_ms: float) -> Reply:
        return Answered(self._answer)

    def stop(self) -> None:
        pass


async def test_an_answer_that_breaks_our_own_check_is_refunded(node: Node, tmp_path: Path) -> None:
    parties = Parties.new()
    key = hashlib.sha256(f"hanse:call:{parties.caller.public}:k".encode()).digest()
    call = msgspec.structs.replace(parties.call(), id=key)
    answer = parties.answer(call, result=parties.delivered(call))
    unusable = msgspec.structs.replace(CAPABILITY, output_schema={"const": object()})
    offer = _offer(parties, unusable)
    clock, stall = SystemClock(), Stall()
    stall.put(offer)
    broker = Broker(
        calls=node.calls,
        registry=Registry(stall.store, clock, stall.finder),
        courier=Prompt(answer),
        clock=clock,
        node=parties.node,
        fee=Config(data=tmp_path).fee,
        latch=asyncio.Event,
        ended=lambda call: None,
    )
    await node.payments.grant("g", call.caller, call.price, "")
    order = Order(
        caller=call.caller,
        operator=call.operator,
        key="k",
        offer=offer.address,
        capability=unusable.name,
        input={},
        input_sha256=digest_hex({}),
        max_price=None,
        deadline_ms=None,
    )
    ended = await broker.call(order)
    assert (ended.state, ended.fault) == (CallState.REFUNDED, Fault.MALFORMED)
    assert "TypeError" in ended.detail
    assert await node.payments.balance(call.caller) == (2000, 0)


def _offer(parties: Parties, capability: Capability) -> Offer:
    return Offer(
        provider=parties.provider.public,
        operator=parties.provider.public,
        identifier="greet",
        name="greet",
        summary="",
        capabilities=(capability,),
        promise=Promise(),
    )
