"""Paid calls at a node that goes by levels: the price a provider may take unasked, and the rate."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.conformance.test_trust_view import signed, vouch
from tests.conftest import People, running_node
from tests.system.test_nip05 import Site
from tests.system.test_trust_doors import publish

from hanse.agent import Agent
from hanse.agent.link import now_s
from hanse.errors import RateLimited, Restricted
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.rules import Members, Rules
from hanse.trust.permissions import read_levels
from hanse.trust.rotation import End, statement_draft

SELLER = new_secret()
TABLE = "[levels.0]\ncalls_per_minute = 0\n[levels.1]\ncalls_per_minute = 3\n"


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    rules = Rules(members=Members(keys=frozenset({SELLER.public})))
    async with running_node(
        tmp_path / "data", operator, by_level=True, rules=rules, levels=read_levels(TABLE)
    ) as found:
        yield found


@pytest.fixture
async def people(node: Node) -> AsyncIterator[People]:
    async with AsyncExitStack() as stack:
        yield People(node, stack)


async def seller(people: People) -> tuple[Agent, str]:
    """Somebody who sells at 2 and at 20 sat."""
    provider = await people.connected(operator=SELLER)

    @provider.provide(price="2sat", latency_p95_ms=2000)
    def cheap(name: str) -> str:
        "Greet somebody by name."
        return name

    @provider.provide(price="20sat", latency_p95_ms=2000)
    def dear(name: str) -> str:
        "Greet somebody at length."
        return name

    await provider.serve(identifier="shop")
    return provider, f"{kinds.OFFER}:{provider.pubkey}:shop"


async def test_a_stranger_takes_a_small_price_unasked_and_a_larger_one_with_a_word(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, shop = await seller(people)
    caller = await people.connected(credits="100sat", operator=operator)
    assert (await caller.call(shop, {"name": "a"}, capability="cheap")).settled
    with pytest.raises(Restricted) as refused:
        await caller.call(shop, {"name": "a"}, capability="dear")
    told = str(refused.value)
    assert "level 1 may not be called without a confirmation: 20000 msat is over 10000" in told
    assert "confirmed: true" in told
    assert "reach level 2" in told
    assert (await caller.balance()).msat == 98_000
    assert (await caller.call(shop, {"name": "a"}, capability="dear", confirmed=True)).settled


async def test_whom_the_callers_own_operator_trusts_takes_more(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, shop = await seller(people)
    caller = await people.connected(credits="100sat", operator=operator)
    assert (await publish(Site(node), vouch(operator, SELLER.public, at_s=now_s())))["accepted"]
    assert (await caller.call(shop, {"name": "a"}, capability="dear")).settled
    other = await people.connected(credits="100sat")
    with pytest.raises(Restricted, match="without a confirmation"):
        await other.call(shop, {"name": "a"}, capability="dear")


async def test_a_stolen_key_is_paid_nothing_from_the_next_call_on(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, shop = await seller(people)
    caller = await people.connected(credits="100sat", operator=operator)
    assert (await publish(Site(node), vouch(operator, SELLER.public, at_s=now_s())))["accepted"]
    assert (await caller.call(shop, {"name": "a"}, capability="cheap")).settled
    ended = statement_draft(SELLER.public, End(reason="stolen"))
    said = signed(SELLER, kinds.KEY_STATEMENT, ended, now_s())
    assert (await publish(Site(node), said))["accepted"]
    await node.trust.standings.advance()
    with pytest.raises(Restricted, match="level 0"):
        await caller.call(shop, {"name": "a"}, capability="cheap", confirmed=True)


async def test_a_stranger_calls_so_often_a_minute_and_the_house_as_it_likes(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, shop = await seller(people)
    stranger = await people.connected(credits="100sat")

    async def call_eight_times() -> None:  # the minute may turn once among them
        for _ in range(8):
            assert (await stranger.call(shop, {"name": "a"}, capability="cheap")).settled

    with pytest.raises(RateLimited) as refused:
        await call_eight_times()
    assert "3 calls a minute are made" in str(refused.value)
    own = await people.connected(credits="100sat", operator=operator)
    for _ in range(8):
        assert (await own.call(shop, {"name": "a"}, capability="cheap")).settled
