"""Peers that play within the wire's rules and against the node's users."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import People, running_node

from hanse.agent import Agent, Service
from hanse.cli.terminal import quoted
from hanse.errors import OverCap, RateLimited, Unavailable
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.amount import Amount
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Capability, Promise
from hanse.servers.relay.socket import Connection


class Returns:
    """Runs a capability by returning one structured value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    async def call(self, _name: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        """See `agent.provider.Runner`."""
        return {"content": [], "structuredContent": self._value}


class Hangs:
    """Never answers."""

    async def call(self, _name: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        """See `agent.provider.Runner`."""
        await asyncio.Event().wait()
        return {}


async def offered(
    agent: Agent, runner: Any, *, name: str = "thing", price: str = "1sat", many: int = 1
) -> str:
    """Publish an offer run by `runner`; its address."""
    capabilities = tuple(
        Capability(name=f"{name}{number}", description="walrus", price=Amount.parse(price))
        for number in range(many)
    )
    event = await agent.publish(
        identifier=name,
        name=name,
        summary="walrus",
        capabilities=capabilities,
        promise=Promise(latency_p95_ms=500),
        runner=runner,
    )
    return f"31402:{event.pubkey}:{name}"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def test_an_answer_too_deep_to_reach_the_caller_is_refunded(
    node: Node, people: People
) -> None:
    provider = await people.connected()
    offer = await offered(provider, Returns(nested(61)))
    caller = await people.connected(credits="10sat")
    result = await caller.call(offer, {}, capability="thing0")
    assert result.fault == "answer-too-large"
    assert await caller.balance() == Amount(10_000)


async def test_the_deepest_answer_that_settles_reads_back(node: Node, people: People) -> None:
    provider = await people.connected()
    offer = await offered(provider, Returns(nested(54)))
    caller = await people.connected(credits="10sat")
    result = await caller.call(offer, {}, capability="thing0")
    assert result.settled
    assert result.value == nested(54)


async def test_a_hit_is_paid_at_most_the_price_it_was_found_at(node: Node, people: People) -> None:
    provider = await people.connected()
    await offered(provider, Returns(1), price="1sat")
    caller = await people.connected(credits="100sat")
    found: list[Service] = await caller.find("walrus")
    await offered(provider, Returns(1), price="50sat")
    assert (await node.registry.offer(found[0].offer)).capabilities[0].price == Amount(50_000)
    with pytest.raises(OverCap):
        await caller.call(found[0], {})
    assert await caller.balance() == Amount(100_000)


async def test_a_hurry_beyond_the_promise_is_not_held_against_the_provider(
    node: Node, people: People
) -> None:
    provider = await people.connected()
    offer = await offered(provider, Hangs())
    caller = await people.connected(credits="10sat")
    result = await caller.call(offer, {}, capability="thing0", deadline_ms=20)
    assert result.fault == "deadline-below-promise"
    assert node.registry.quality(offer, "thing0").measured().samples == 0


async def test_one_caller_cannot_fill_the_node(tmp_path: Path, operator: SecretKey) -> None:
    from contextlib import AsyncExitStack

    from hanse.broker.service import Bounds

    bounds = Bounds(open_calls_of_one_max=3)
    async with (
        running_node(tmp_path, operator, broker_bounds=bounds) as node,
        AsyncExitStack() as stack,
    ):
        people = People(node, stack)
        provider, other = await people.connected(), await people.connected()
        slow, quick = await offered(provider, Hangs()), await offered(other, Returns(1), name="b")
        greedy = await people.connected(credits="100sat")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(greedy.call(slow, {}, capability="thing0", deadline_ms=1500))
            async with asyncio.timeout(5):
                while node.broker.running < 3:
                    await asyncio.sleep(0.01)
            with pytest.raises(RateLimited) as caught:
                await greedy.call(quick, {}, capability="b0")
            assert caught.value.field == "caller"
            modest = await people.connected(credits="10sat")
            assert (await modest.call(quick, {}, capability="b0")).settled


async def test_one_provider_cannot_fill_a_search(node: Node, people: People) -> None:
    stuffer, honest = await people.connected(), await people.connected()
    for number in range(3):
        await offered(stuffer, Returns(1), name=f"s{number}_", many=100, price="0sat")
    await offered(honest, Returns(1), name="honest")
    caller = await people.connected()
    found = await caller.find("walrus", limit=10)
    assert "honest" in {hit.name for hit in found[:4]}


async def test_a_second_node_on_the_same_folder_is_refused(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path, operator):
        with pytest.raises(Unavailable, match="another node"):
            async with running_node(tmp_path, operator, new_secret()):
                pass
    async with running_node(tmp_path, operator):
        pass


async def test_answers_asked_for_in_one_breath_are_bounded(node: Node) -> None:
    connection = Connection(node.relay)
    dropped = []

    class Transport:
        """A transport that only notes it was dropped."""

        def disconnect(self, graceful: bool = True) -> None:
            """See picows."""
            dropped.append(graceful)

    connection._transport = Transport()  # type: ignore[assignment]  # a fake of picows' C class
    for _ in range(20):
        connection.send(b"x" * (1 << 20))
    assert dropped == [False]
    assert connection._out is None


def test_a_strangers_words_stay_on_one_line_of_ours() -> None:
    text = "nice\n  operator  you\u202e\u200b tool"
    assert quoted(text) == "nice operator you tool"
    assert len(quoted("x" * 1000)) == 400
