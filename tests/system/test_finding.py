"""Searching through every door: all take the same question and give the same answer."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.conftest import People
from tests.system.cli_home import Home

from hanse.agent import Agent
from hanse.errors import HanseError
from hanse.node import Node

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
    # Who asks with a name also hears the level of trust that its operator has in each.
    for signed in (by_cli, by_agent):
        assert _unnamed(signed) == _unnamed(by_query)


def _unnamed(found: dict[str, Any]) -> dict[str, Any]:
    hits = [hit | {"level": None} for hit in found["services"]]
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
