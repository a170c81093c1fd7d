"""Searching through every door: all take the same question and give the same answer."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import orjson
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.conftest import People, running_node
from tests.system.cli_home import Home

from hanse.agent import Agent
from hanse.errors import Blocked, HanseError
from hanse.node import Node
from hanse.protocol.keys import SecretKey
from hanse.servers.api.watches import WATCHES_OF_ONE_MAX
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.rules import Rates, Rules

ASKED: dict[str, Any] = {
    "words": "write a greeting",
    "max_price_msat": 2000,
    "weights": {"price": 3.0},
    "limit": 3,
}
QUERY = "words=write%20a%20greeting&max_price_msat=2000&limit=3&weights=%7B%22price%22:3.0%7D"


@pytest.fixture
async def provider(node: Node, people: People) -> Agent:
    """Serves a greeting for 2 sat and a poem for 5 sat."""
    agent = await people.connected()

    @agent.provide(price="2sat", latency_p95_ms=500)
    def greet(name: str) -> str:
        "Write a friendly greeting for somebody."
        return f"Hello, {name}"

    @agent.provide(price="5sat")
    def rhyme(about: str) -> str:
        "Write a poem."
        return about

    await agent.serve()
    async with asyncio.timeout(5):
        while not await node.registry.offers():
            await asyncio.sleep(0.005)
    return agent


async def test_every_door_gives_the_same_answer(
    node: Node, people: People, provider: Agent, tmp_path: Path
) -> None:
    async with aiohttp.ClientSession() as session:
        found = await session.get(f"{node.http_url}/api/v1/services?{QUERY}")
        by_query = await found.json()
        found = await session.post(f"{node.http_url}/api/v1/services/search", json=ASKED)
        by_body = await found.json()
    async with (
        httpx2.AsyncClient(timeout=20) as http,
        Client(streamable_http_client(f"{node.http_url}/mcp", http_client=http)) as client,
    ):
        by_mcp = (await client.call_tool("find_services", ASKED)).structured_content
    home = Home(tmp_path / "home")
    await asyncio.to_thread(home.json, "init")
    words = ("find", "write a greeting", "--max-price", "2sat", "--limit", "3")
    by_cli = await asyncio.to_thread(home.json, *words, "--weight", "price=3", "--node", node.url)
    agent = await people.connected()
    by_agent = await agent.perform("find_services", ASKED)
    assert [hit["capability"] for hit in by_query["services"]] == ["greet"]
    assert by_query["excluded_by"] == {"price": 1}
    assert by_body == by_query
    assert by_mcp == by_query
    # Who asks with a name sees each operator as its own does: a level, and a score to match.
    for signed in (by_cli, by_agent):
        assert _unnamed(signed) == _unnamed(by_query)


async def a_late_greeter(people: People) -> Agent:
    """Has a service that a watched search will hear of, once it serves."""
    late = await people.connected()

    @late.provide(price="1sat")
    def greet_again(name: str) -> str:
        "Write a friendly greeting once more."
        return f"Hello again, {name}"

    return late


async def test_a_watched_search_tells_what_is_there_and_then_what_comes(
    node: Node, people: People, provider: Agent
) -> None:
    late = await a_late_greeter(people)

    url = f"{node.http_url}/api/v1/services/watch?words=friendly%20greeting"
    async with aiohttp.ClientSession() as session, session.get(url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (await _heard(stream))[0] == "listed"
        assert (await _heard(stream))[1]["capability"] == "greet"
        await late.serve()
        heard = [await _heard(stream)]
        while heard[-1][1]["capability"] != "greet_again":
            heard.append(await _heard(stream))
        assert "greet" not in [hit["capability"] for _, hit in heard]  # told once


async def test_an_agent_watches_and_hears_each_service_once(
    node: Node, people: People, provider: Agent
) -> None:
    agent, late = await people.connected("10sat"), await a_late_greeter(people)

    heard: list[str] = []
    async with asyncio.timeout(10):
        async for service in agent.watch("friendly greeting", limit=1):
            heard.append(service.capability)
            break
        await late.serve()
        async for service in agent.watch("friendly greeting", max_price_msat=1000):
            result = await agent.call(service, {"name": "Ada"})
            assert result.value == "Hello again, Ada"
            break
        else:
            pytest.fail("nothing came")
    assert heard == ["greet"]


async def test_a_watched_search_does_not_keep_a_node_from_stopping(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with aiohttp.ClientSession() as session:
        async with running_node(tmp_path, operator) as node:
            stream = await session.get(f"{node.http_url}/api/v1/services/watch?words=x")
            assert (await _heard(stream))[0] == "listed"
            began = time.monotonic()
        assert time.monotonic() - began < 10


async def test_no_address_and_no_operator_takes_every_place(node: Node) -> None:
    url = f"{node.http_url}/api/v1/services/watch"
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:

        async def asked(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return (await stack.enter_async_context(session.get(url, headers=headers))).status

        places = [await asked("203.0.113.7") for _ in range(WATCHES_OF_ONE_MAX + 1)]
        assert places == [200] * WATCHES_OF_ONE_MAX + [429]
        assert await asked("203.0.113.8") == 200


async def _heard(stream: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(10):
        while not (line := await stream.content.readline()).startswith(b"event: "):
            pass
        data = await stream.content.readline()
    return line[7:].decode().strip(), orjson.loads(data.removeprefix(b"data: "))


async def test_an_address_that_searches_without_end_is_told_to_wait(
    tmp_path: Path, operator: SecretKey
) -> None:
    rules = Rules(rates=Rates(address=Rate(1, 8), trusted=()))
    async with (
        running_node(tmp_path, operator, rules=rules) as node,
        aiohttp.ClientSession() as session,
    ):
        asked = [await session.get(f"{node.http_url}/api/v1/services") for _ in range(3)]
    assert [found.status for found in asked] == [200, 200, 429]
    assert int(asked[-1].headers["Retry-After"]) >= 1


async def test_a_watched_search_ends_when_its_key_is_banned(
    node: Node, people: People, provider: Agent
) -> None:
    agent, late = await people.connected("10sat"), await a_late_greeter(people)

    heard: list[str] = []

    async def listen() -> None:
        async for service in agent.watch("friendly greeting", capability="greet"):
            heard.append(service.capability)
            await node.moderation.deny_key(agent.pubkey, "spam")
            await late.serve()  # something changes

    with pytest.raises(Blocked, match="banned"):
        await asyncio.wait_for(listen(), 20)
    assert heard == ["greet"]


async def test_a_banned_key_begins_no_watch(node: Node, people: People) -> None:
    agent = await people.connected("10sat")
    await node.moderation.deny_key(agent.pubkey, "spam")
    with pytest.raises(Blocked):
        await asyncio.wait_for(anext(aiter(agent.watch("anything"))), 10)


async def test_a_question_that_cannot_be_asked_cannot_be_watched(node: Node) -> None:
    async with aiohttp.ClientSession() as session:
        found = await session.get(f"{node.http_url}/api/v1/services/watch?level=5")
        problem = await found.json(content_type=None)
    assert (found.status, problem["field"]) == (400, "level")


def _unnamed(found: dict[str, Any]) -> dict[str, Any]:
    seen = ("level", "score", "figures", "reasons")
    hits = [{name: hit[name] for name in hit if name not in seen} for hit in found["services"]]
    return found | {"services": hits}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"takes": {}}, "takes"),
        ({"returns": {"id": "string"}}, "returns.id"),
        ({"regions": ["US"] * 21}, "regions"),
        ({"offset": 501}, "offset"),
        ({"weights": {"luck": 1}}, "weights.luck"),
        ({"side_effects": ["magic"]}, "side_effects[0]"),
        ({"operator": "me"}, "operator"),
        ({"level": 5}, "level"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_refused_by_the_name_of_its_argument(
    node: Node, people: People, asked: dict[str, Any], field: str
) -> None:
    agent = await people.connected()
    with pytest.raises(HanseError) as refused:
        await agent.perform("find_services", asked)
    assert (refused.value.slug, refused.value.field) == ("invalid", field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=1&limit=2", "query.limit"),
        ("takes=city", "query.takes"),
        ("max_price=3sat", "query.max_price"),
    ],
)
async def test_a_query_string_that_cannot_be_read_is_refused_by_the_name_of_its_parameter(
    node: Node, query: str, field: str
) -> None:
    async with aiohttp.ClientSession() as session:
        found = await session.get(f"{node.http_url}/api/v1/services?{query}")
        problem = await found.json(content_type=None)
    assert (found.status, problem["field"]) == (400, field)
