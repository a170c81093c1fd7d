"""Offers at a node that goes by levels: shown while who answers for them may publish, no longer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conformance.test_trust_view import signed, vouch
from tests.conftest import People, running_node
from tests.system.test_levels_at_the_relay import publish
from tests.system.test_nip05 import Site

from hanse.agent import Agent
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.keys import SecretKey
from hanse.protocol.work import difficulty
from hanse.trust.permissions import read_levels
from hanse.trust.rotation import End, statement_draft

SELLER = new_secret()
TABLE = read_levels("[actions.publish]\nlevel = 2\nwork = 8\n[actions.write]\nlevel = 1\n")


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "data", operator, by_level=True, levels=TABLE) as found:
        yield found


@pytest.fixture
async def people(node: Node) -> AsyncIterator[People]:
    async with AsyncExitStack() as stack:
        yield People(node, stack)


@pytest.fixture
async def shop(node: Node, people: People, operator: SecretKey) -> Agent:
    """Somebody the operator vouches for, who sells."""
    site = Site(node)
    now_s = int(time.time())
    assert await publish(site, vouch(operator, SELLER.public, at_s=now_s - 60)) == ""
    provider = await people.connected(operator=SELLER)

    @provider.provide(price="2sat", latency_p95_ms=2000)
    def weather(town: str) -> str:
        "Tell the weather of a town."
        return town

    await provider.serve(identifier="shop")
    return provider


async def found(site: Site) -> dict[str, Any]:
    status, answer = await site.ask("GET", "/api/v1/services?words=weather")
    assert status == 200, answer
    assert isinstance(answer, dict)
    return answer


async def until(site: Site, holds: Callable[[Site], Awaitable[object]]) -> None:
    """Follow the node's own reviews of its offers until something holds, 15 s at most."""
    async with asyncio.timeout(15):
        while not await holds(site):
            for _ in site.node.registry.welcome.review():
                pass


async def names(site: Site) -> list[str]:
    return [hit["capability"] for hit in (await found(site))["services"]]


async def listed(site: Site) -> int:
    """How many offers other directories hear of."""
    agents = (await site.ask("GET", "/agents"))[1]["items"]
    servers = (await site.ask("GET", "/v0.1/servers"))[1]["servers"]
    assert len(agents) == len(servers)
    return len(agents)


async def test_offers_leave_with_the_permission_and_come_back_with_it(
    node: Node, shop: Agent, operator: SecretKey
) -> None:
    site, now_s = Site(node), int(time.time())
    assert await names(site) == ["weather"]
    assert await listed(site) == 1
    address = f"{kinds.OFFER}:{shop.pubkey}:shop"
    assert (await shop.perform("describe_service", {"offer": address}))["withheld"] == ""
    taken_back = vouch(operator, SELLER.public, grade=0, at_s=now_s - 30)
    assert await publish(site, taken_back) == ""
    gone = await found(site)  # at once, before any review
    assert gone["services"] == []
    assert gone["excluded_by"] == {"publish": 1}
    assert await listed(site) == 0
    shown = await shop.perform("describe_service", {"offer": address})
    assert "level 1 may not publish offers" in shown["withheld"]
    assert "vouch for you" in shown["withheld"]
    for _ in node.registry.welcome.review():
        pass
    assert (await found(site)) | {"notes": []} == gone | {"total": 0, "notes": []}
    again = vouch(operator, SELLER.public, at_s=now_s)
    assert await publish(site, again) == ""
    await until(site, names)
    assert await listed(site) == 1


async def test_offers_of_a_stolen_key_leave_at_once(node: Node, shop: Agent) -> None:
    site = Site(node)
    said = statement_draft(SELLER.public, End(reason="stolen"))
    ended = signed(SELLER, kinds.KEY_STATEMENT, said, int(time.time()))
    assert await publish(site, ended) == ""
    assert await names(site) == []


async def test_work_that_an_offer_came_with_counts_for_good(
    node: Node, shop: Agent, operator: SecretKey
) -> None:
    site = Site(node)
    offer = await node.registry.offer(f"{kinds.OFFER}:{shop.pubkey}:shop")
    taken_back = vouch(operator, SELLER.public, grade=0, at_s=int(time.time()) - 30)
    assert await publish(site, taken_back) == ""
    welcome = node.registry.welcome
    assert welcome.why_not(offer)
    worked = msgspec.structs.replace(offer, event_id="00" + offer.event_id[2:])
    assert difficulty(worked.event_id) >= 8
    assert welcome.why_not(worked) == ""


async def test_the_operator_s_own_agents_are_not_asked(
    node: Node, people: People, operator: SecretKey
) -> None:
    own = await people.connected(operator=operator)

    @own.provide(price="2sat", latency_p95_ms=2000)
    def weather(town: str) -> str:
        "Tell the weather of a town."
        return town

    await own.serve(identifier="own")
    assert await names(Site(node)) == ["weather"]
