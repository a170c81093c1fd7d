"""What is found is the same at every door, in order and figures; what is gone is gone at all."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import orjson
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.conftest import People
from tests.fakes.offers import offer
from tests.relay_peer import a_peer
from tests.system.cli_home import Home

from hanse.agent import Agent
from hanse.errors import NotFound
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.offer_event import offer_content, offer_tags

WORDS = "write a greeting"
FIGURES = ("offer", "capability", "price_msat", "promise", "measured", "expected", "reasons")
"""What no door may tell otherwise; a level and a score are each viewer's own."""


class Doors:
    """The same question by each of them."""

    def __init__(self, node: Node, agent: Agent, session: aiohttp.ClientSession, mcp: Client):
        self.node, self.agent, self.session, self.mcp = node, agent, session, mcp

    async def hits(self, home: Home) -> dict[str, list[dict[str, Any]]]:
        """The services that each names, best first."""
        asked: dict[str, Any] = {"words": WORDS, "limit": 10}
        url = f"{self.node.http_url}/api/v1/services"
        async with self.session.get(url, params=asked) as found:
            by_http = (await found.json())["services"]
        by_mcp = (await self.mcp.call_tool("find_services", asked)).structured_content
        assert by_mcp is not None
        words = ("find", WORDS, "--limit", "10", "--node", self.node.url)
        by_cli = await asyncio.to_thread(home.json, *words)
        return {
            "http": by_http,
            "mcp": by_mcp["services"],
            "cli": by_cli["services"],
            "sdk": [found.raw for found in await self.agent.find(WORDS, limit=10)],
        }

    async def addresses(self) -> dict[str, list[str]]:
        """The offers at the doors that have no figures, in their order."""
        asked = {"kinds": [kinds.OFFER], "search": WORDS}
        async with a_peer(self.node.url) as peer:
            by_nostr = await peer.ask(asked)
        async with self.session.post(f"{self.node.http_url}/query", json=asked) as found:
            by_query = [row["id"] for row in orjson.loads(await found.read())]
        return {"nostr": by_nostr, "query": by_query}

    async def lists(self) -> str:
        """What the directories and the offers' own pages hold, as one text."""
        base, parts = self.node.http_url, []
        for path in ("/.well-known/ai-catalog.json", "/v0.1/servers", "/agents"):
            async with self.session.get(f"{base}{path}") as found:
                assert found.status == 200, path
                parts.append(await found.text())
        body = {"query": {"text": WORDS}}
        async with self.session.post(f"{base}/search", json=body) as found:
            parts.append(await found.text())
        return "\n".join(parts)


@asynccontextmanager
async def doors(node: Node, agent: Agent) -> AsyncIterator[Doors]:
    """All open."""
    async with (
        aiohttp.ClientSession() as session,
        httpx2.AsyncClient(timeout=20) as http,
        Client(streamable_http_client(f"{node.http_url}/mcp", http_client=http)) as mcp,
    ):
        yield Doors(node, agent, session, mcp)


async def greeter(people: People, name: str, price: str, text: str) -> Agent:
    """A provider of one capability of that name."""
    agent = await people.connected()

    def greet(name: str) -> str:
        return f"Hello, {name}"

    greet.__doc__ = text
    agent.provide(price=price, name=name)(greet)
    await agent.serve(identifier=name)
    return agent


async def kept(
    node: Node, secret: SecretKey, name: str, text: str, *, at_s: int = 0, end_s: int = 0
) -> None:
    """An offer of that key, as an event of its own making."""
    value = offer(name, text)
    event = sign_event(
        secret,
        kind=kinds.OFFER,
        created_at=at_s or int(time.time()),
        tags=(
            *offer_tags(value, url=node.url, node=node.pubkey),
            *((("expiration", str(end_s)),) if end_s else ()),
        ),
        content=offer_content(value),
    )
    async with a_peer(node.url) as peer:
        await peer.keep(event)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of its own for the command line."""
    found = Home(tmp_path / "home")
    found.json("init")
    return found


async def test_order_and_figures_are_the_same_at_every_door(
    node: Node, people: People, home: Home
) -> None:
    caller = await people.connected("100sat")
    await greeter(people, "greet", "1sat", "Write a friendly greeting for somebody.")
    await greeter(people, "greet_dear", "90sat", "Write a friendly greeting for somebody.")
    await greeter(people, "card", "1sat", "Print a card with a greeting")
    best = (await caller.find(WORDS))[0]
    assert (await caller.call(best, {"name": "Ada"})).settled
    async with doors(node, caller) as ask:
        found = await ask.hits(home)
        events = await ask.addresses()
    told = {
        door: [{key: hit[key] for key in FIGURES} for hit in hits] for door, hits in found.items()
    }
    for rows in told.values():  # a level is told to who asks with a name
        for row in rows:
            row["reasons"] = [one for one in row["reasons"] if not one.startswith("your level")]
    assert told["mcp"] == told["http"] == told["cli"] == told["sdk"]
    assert [hit["capability"] for hit in told["http"]] == ["greet", "greet_dear", "card"]
    assert told["http"][0]["measured"]["samples"] == 1
    assert told["http"][0]["measured"]["throughput_per_s"] == pytest.approx(1 / 60)
    offers = [hit["offer"] for hit in told["http"]]
    by_id = {(await node.registry.offer(one)).event_id: one for one in offers}
    assert [[by_id[id] for id in ids] for ids in events.values()] == [offers, offers]


async def test_what_is_withdrawn_or_replaced_leaves_every_door_at_once(
    node: Node, people: People, home: Home
) -> None:
    caller = await people.connected("100sat")
    gone = await greeter(people, "greet_gone", "1sat", "Write a greeting once.")
    other = new_secret()
    await kept(node, other, "verse", "Write a greeting, nineteenthly.")
    await greeter(people, "greet_stays", "1sat", "Write a greeting twice.")
    (first,) = [one for one in await caller.find(WORDS) if one.capability == "greet_gone"]
    async with doors(node, caller) as ask:
        listed = await ask.lists()
        assert "greet_gone" in listed
        assert "nineteenthly" in listed
        await gone.withdraw("greet_gone")
        await kept(node, other, "verse", "Paint a wall.", at_s=int(time.time()) + 1)
        found, events = await ask.hits(home), await ask.addresses()
        for hits in found.values():
            assert [hit["capability"] for hit in hits] == ["greet_stays"]
        assert [len(ids) for ids in events.values()] == [1, 1]
        listed = await ask.lists()
        assert "greet_gone" not in listed
        assert "nineteenthly" not in listed
        with pytest.raises(NotFound):
            await caller.perform("describe_service", {"offer": first.offer})
        with pytest.raises(NotFound):
            await caller.call(first, {"name": "Ada"})
        async with ask.session.get(f"{node.http_url}/api/v1/offers/{first.offer}") as answer:
            assert answer.status == 404


async def test_what_expires_leaves_every_door_at_once(
    node: Node, people: People, home: Home
) -> None:
    caller, end_s = await people.connected("100sat"), int(time.time()) + 4
    await kept(node, new_secret(), "greet_late", "Write a greeting while it lasts.", end_s=end_s)
    async with doors(node, caller) as ask, asyncio.timeout(20):
        assert "greet_late" in await ask.lists()
        while time.time() < end_s:
            await asyncio.sleep(0.05)
        assert not any((await ask.hits(home)).values())
        assert not any((await ask.addresses()).values())
        assert "greet_late" not in await ask.lists()
