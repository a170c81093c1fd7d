"""What other directories read of a node: cards, a catalog, an MCP registry, announcements; and that
our own import reads the same capabilities back."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from tests.conftest import People, running_node

from hanse.agent import Agent
from hanse.engines.web.reader import Web
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.operations.imports import a2a, announced, sources
from hanse.operations.imports.listing import Listing
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, parse_event, sign_event
from hanse.protocol.filter import Filter
from hanse.registry.model import Capability, Offer, Promise
from hanse.servers.api import shown
from hanse.servers.api.wellknown import CARD_BYTES_MAX, agent_card
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.rules import Rates, Rules

OFFERS = 7

DIRECTORY_ROUTES = {
    *(("get", f"/.well-known/{name}.json") for name in ("agent-card", "jwks", "ai-catalog")),
    ("get", "/agents"),
    ("get", "/agents/{who}/.well-known/agent-card.json"),
    ("get", "/agents/{who}/server-card.json"),
    *(
        ("get", f"/{root}/servers{rest}")
        for root in ("v0", "v0.1")
        for rest in ("", "/{name}/versions", "/{name}/versions/{version}")
    ),
}

# The names that A2A 1.0's protocol buffers give a card, and those that may not be missing.
CARD_FIELDS = {
    "name",
    "description",
    "supportedInterfaces",
    "provider",
    "version",
    "documentationUrl",
    "capabilities",
    "securitySchemes",
    "securityRequirements",
    "defaultInputModes",
    "defaultOutputModes",
    "skills",
    "signatures",
    "iconUrl",
}
CARD_REQUIRED = {
    "name",
    "description",
    "supportedInterfaces",
    "version",
    "capabilities",
    "defaultInputModes",
    "defaultOutputModes",
    "skills",
}
SKILL_FIELDS = {"id", "name", "description", "tags", "examples", "inputModes", "outputModes"}


class Site:
    """Plain requests to a node."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self.node = node
        self._session = session

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        """A JSON answer."""
        async with self._session.get(self.node.http_url + path, headers=headers) as found:
            body = await found.read()
            assert found.status == status, (path, body)
            self.headers = found.headers
            return orjson.loads(body) if body else None

    async def search(self, status: int = 200, **body: Any) -> Any:
        """An answer of POST /search."""
        async with self._session.post(f"{self.node.http_url}/search", json=body) as found:
            answer = orjson.loads(await found.read())
            assert found.status == status, answer
            return answer


@pytest.fixture(scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """One node for all tests here; nothing changes it but its offers."""
    async with running_node(tmp_path_factory.mktemp("node"), new_secret(), name="Lübeck") as found:
        yield found


@pytest.fixture(scope="module")
async def provider(node: Node) -> AsyncIterator[Agent]:
    """A provider with some offers, one of them with two capabilities and an odd name."""
    async with AsyncExitStack() as stack:
        agent = await People(node, stack).connected()

        @agent.provide(price="2sat")
        def tide(port: str, days: int = 1) -> list[float]:
            """The heights of a port's tides."""
            return [float(len(port) + days)]

        @agent.provide(price="1500msat")
        def berth(length: float) -> dict[str, Any]:
            """Finds a free berth for a ship."""
            return {"quay": length}

        for number in range(OFFERS - 1):
            await agent.serve(name=f"Harbour {number}", identifier=f"harbour-{number}")
        await agent.serve(name="Odd one", identifier="odd/name ü")
        yield agent


@pytest.fixture
async def site(node: Node, provider: Agent) -> AsyncIterator[Site]:
    async with aiohttp.ClientSession() as session:
        yield Site(node, session)


def shapes(found: tuple[Capability, ...]) -> list[tuple[Any, ...]]:
    """What must come back the same."""
    rows = [
        (one.name, one.description, one.input_schema, one.output_schema, one.price, one.by_call)
        for one in found
    ]
    return sorted(rows, key=lambda row: str(row[0]))


async def offered(site: Site, provider: Agent) -> list[tuple[Any, ...]]:
    found = await site.node.registry.offer(f"{kinds.OFFER}:{provider.pubkey}:harbour-0")
    return shapes(found.capabilities)


async def imported(url: str) -> list[Listing]:
    async with Web(url) as web:
        _, reading = await sources.of_url(url, None, web, lambda *_: None, 1000)
    return reading.listings


# --- agent cards ----------------------------------------------------------------------------------


async def test_a_card_has_the_fields_of_a2a_and_none_of_them_is_empty(
    site: Site, provider: Agent
) -> None:
    npub = encode_npub(provider.pubkey)
    for path in (
        "/.well-known/agent-card.json",
        f"/agents/{npub}/.well-known/agent-card.json",
        f"/agents/{provider.pubkey}/.well-known/agent-card.json",
    ):
        card = await site.get(path)
        assert card.keys() <= CARD_FIELDS
        assert card.keys() >= CARD_REQUIRED
        assert site.headers["Access-Control-Allow-Origin"] == "*"
        assert site.headers["Cache-Control"] == "public, max-age=60"
        for skill in card["skills"]:
            assert {"id", "name", "description", "tags"} <= skill.keys() <= SKILL_FIELDS
        for place in card["supportedInterfaces"]:
            assert place.keys() == {"url", "protocolBinding", "protocolVersion"}
            # What the node does not speak is not claimed.
            assert place["protocolBinding"] not in ("JSONRPC", "GRPC", "HTTP+JSON")
        assert a2a._filled(card, 0) == card  # a reader that drops what is empty drops nothing


async def test_a_card_is_signed_by_the_node_and_read_back_to_the_same_capabilities(
    site: Site, provider: Agent
) -> None:
    npub = encode_npub(provider.pubkey)
    card = await site.get(f"/agents/{npub}/.well-known/agent-card.json")
    async with Web(site.node.http_url) as web:
        listings = (await a2a.read(card, fetch=web.json)).listings
    assert len(listings) == OFFERS
    (one,) = (found for found in listings if found.native_id.endswith(":harbour-0"))
    assert shapes(one.capabilities) == await offered(site, provider)
    assert one.verified == f"signature {encode_npub(site.node.pubkey)} at 127.0.0.1"
    assert {one.verified for one in (await a2a.read(card)).listings} == {""}  # nobody was asked
    keys = await site.get("/.well-known/jwks.json")
    assert [key["kid"] for key in keys["keys"]] == [encode_npub(site.node.pubkey)]


async def test_an_answer_is_not_sent_again_unchanged(site: Site) -> None:
    await site.get("/.well-known/agent-card.json")
    tag = site.headers["ETag"]
    assert await site.get("/.well-known/agent-card.json", 304, **{"If-None-Match": tag}) is None
    await site.get("/.well-known/agent-card.json", 200, **{"If-None-Match": '"other"'})


async def test_who_offers_nothing_has_no_card(site: Site) -> None:
    for who in (encode_npub(new_secret().public), "nobody", "_"):
        found = await site.get(f"/agents/{who}/.well-known/agent-card.json", 404)
        assert found["error"] == "not-found"
    await site.get("/agents/npub1zzz/.well-known/agent-card.json", 400)


# --- ARD ------------------------------------------------------------------------------------------


async def test_the_catalog_is_read_back_to_the_same_capabilities(
    site: Site, provider: Agent
) -> None:
    catalog = await site.get("/.well-known/ai-catalog.json")
    assert catalog["specVersion"] == "1.0"
    assert catalog["host"]["displayName"] == "Lübeck"
    types = [entry["type"] for entry in catalog["entries"]]
    assert types[:2] == ["application/ai-registry+json", "application/a2a-agent-card+json"]
    assert types[2:] == ["application/mcp-server-card+json"] * OFFERS
    names = [entry["identifier"] for entry in catalog["entries"]]
    assert len(set(names)) == len(names)
    for entry in catalog["entries"]:
        assert ("url" in entry) != ("data" in entry)
        assert entry["identifier"].startswith("urn:air:127.0.0.1:")
    listings = await imported(site.node.http_url)
    (one,) = (found for found in listings if found.name == "Harbour 0")
    assert shapes(one.capabilities) == await offered(site, provider)
    (odd,) = (found for found in listings if found.name == "Odd one")
    assert shapes(odd.capabilities) == await offered(site, provider)


async def test_searching_as_ard_asks_answers_with_entries_and_whole_scores(site: Site) -> None:
    found = await site.search(query={"text": "free berth for a ship"}, pageSize=3)
    assert len(found["results"]) == 3
    for row in found["results"]:
        assert type(row["score"]) is int
        assert 0 <= row["score"] <= 100
        assert row["source"] == f"{site.node.http_url}/"
        assert row["displayName"].startswith(("Harbour", "Odd"))
    more = await site.search(
        query={"text": "free berth for a ship"}, pageSize=50, pageToken=found["pageToken"]
    )
    names = [row["identifier"] for row in (*found["results"], *more["results"])]
    assert len(set(names)) == OFFERS


async def test_a_search_is_narrowed_by_any_field_of_an_entry(site: Site, provider: Agent) -> None:
    text = "tides berth"
    none = {"type": ["application/a2a-agent-card+json"]}
    assert (await site.search(query={"text": text, "filter": none}))["results"] == []
    for narrow in (
        {"capabilities": ["berth", "nothing"]},
        {"publisher": "127.0.0.1"},
        {"metadata.provider": encode_npub(provider.pubkey)},
    ):
        found = await site.search(query={"text": text, "filter": narrow}, federation="referrals")
        assert found["results"]
        assert found["referrals"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": {}},
        {"query": {"text": ""}},
        {"query": {"text": "x"}, "pageSize": 0},
        {"query": {"text": "x"}, "pageSize": 101},
        {"query": {"text": "x"}, "federation": "all"},
        {"query": {"text": "x"}, "pageToken": "-1"},
        {"query": {"text": "x", "filter": {"a": ["b"] * 51}}},
        {"query": {"text": "x"}, "more": 1},
    ],
)
async def test_a_search_that_is_none_is_refused_with_the_field(
    site: Site, body: dict[str, Any]
) -> None:
    found = await site.search(400, **body)
    assert found["error"] in ("invalid", "too-large")
    assert found["reason"]


async def test_every_offer_is_reached_page_by_page(site: Site) -> None:
    names: list[str] = []
    token = ""
    for _ in range(OFFERS):
        page = await site.get(f"/agents?pageSize=3{token}")
        names += [row["displayName"] for row in page["items"]]
        if "pageToken" not in page:
            break
        token = f"&pageToken={page['pageToken']}"
    assert sorted(names) == sorted([*(f"Harbour {n}" for n in range(OFFERS - 1)), "Odd one"])
    await site.get("/agents?pageToken=nonsense", 400)
    await site.get("/agents?filter=type%20%3D%20x", 400)
    await site.get("/agents?pageSize=1000", 400)


# --- MCP registry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["/v0", "/v0.1"])
async def test_a_server_has_the_fields_that_the_registry_demands(site: Site, root: str) -> None:
    page = await site.get(f"{root}/servers?limit=100")
    assert page["metadata"] == {"count": OFFERS}
    for row in page["servers"]:
        server = row["server"]
        assert {"name", "description", "version"} <= server.keys()
        namespace, _, name = server["name"].partition("/")
        assert namespace == "localhost"
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert 3 <= len(server["name"]) <= 200
        assert 1 <= len(server["description"]) <= 100
        assert 1 <= len(server["title"]) <= 100
        assert server["remotes"][0]["type"] == "streamable-http"
        official = row["_meta"]["io.modelcontextprotocol.registry/official"]
        assert official.keys() == {"status", "publishedAt", "updatedAt", "isLatest"}
        for version in ("latest", server["version"]):
            path = f"{root}/servers/{quote(server['name'], safe='')}/versions"
            assert (await site.get(f"{path}/{version}"))["server"] == server
            (only,) = (await site.get(path))["servers"]
            assert only["server"] == server


async def test_the_registry_is_read_back_to_the_same_capabilities(
    site: Site, provider: Agent
) -> None:
    listings = await imported(f"{site.node.http_url}/v0.1/servers")
    assert len(listings) == OFFERS
    for one in listings:
        assert shapes(one.capabilities) == await offered(site, provider)


async def test_the_registry_pages_searches_and_tells_what_is_new(site: Site) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = await site.get(f"/v0.1/servers?limit=2{cursor}")
        seen += [row["server"]["name"] for row in page["servers"]]
        following = page["metadata"].get("nextCursor")
        if not following:
            break
        cursor = f"&cursor={following}"
    assert len(seen) == len(set(seen)) == OFFERS
    found = await site.get("/v0.1/servers?search=HARBOUR-3")
    assert [row["server"]["title"] for row in found["servers"]] == ["Harbour 3"]
    assert (await site.get("/v0.1/servers?version=9.9.9"))["servers"] == []
    assert len((await site.get("/v0.1/servers?version=latest"))["servers"]) == OFFERS
    hour = quote(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 3600)))
    assert (await site.get(f"/v0.1/servers?updated_since={hour}"))["servers"] == []
    since = "/v0.1/servers?updated_since=2020-01-01T00:00:00.5Z"
    assert len((await site.get(since))["servers"]) == OFFERS


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v0.1/servers?cursor=x", 400),
        ("/v0.1/servers?cursor=" + "A" * 600, 400),
        ("/v0.1/servers?limit=0", 400),
        ("/v0.1/servers?limit=1000", 400),
        ("/v0.1/servers?updated_since=yesterday", 400),
        ("/v0.1/servers?updated_since=2026-01-01T00:00:00", 400),
        ("/v0.1/servers/nobody/versions", 404),
        ("/v0.1/servers/localhost%2Fnpub1x.y/versions/latest", 400),
        ("/v0.1/servers/com.other%2Fx/versions/latest", 404),
    ],
)
async def test_what_the_registry_cannot_answer_it_refuses_with_the_field(
    site: Site, path: str, status: int
) -> None:
    found = await site.get(path, status)
    assert found["reason"]
    assert found["field"]


# --- who is shown, and announcements --------------------------------------------------------------


async def test_an_imported_offer_is_not_shown_to_other_directories(
    node: Node, site: Site, people: People
) -> None:
    event = sign_event(
        node._secret,
        kind=kinds.OFFER,
        created_at=int(time.time()),
        content=orjson.dumps({"capabilities": [{"name": "foreign"}]}).decode(),
        tags=(
            ("d", "imported:1"),
            ("name", "Foreign"),
            ("url", "https://foreign.example"),
            ("pmi", "unknown"),
            ("imported", "https://foreign.example", "mcp", "x"),
        ),
    )
    await node.log.append_many([event])
    await node.offers.advance()
    offer = await node.registry.offer("Foreign")
    assert offer.source == "https://foreign.example"
    assert not offer.capabilities[0].by_call
    page = await site.get("/v0.1/servers?limit=100")
    assert "Foreign" not in [row["server"]["title"] for row in page["servers"]]
    catalog = await site.get("/.well-known/ai-catalog.json")
    assert "Foreign" not in [row["displayName"] for row in catalog["entries"]]
    found = await site.search(query={"text": "foreign"}, pageSize=100)
    assert "Foreign" not in [row["displayName"] for row in found["results"]]
    await site.get(f"/agents/{node.pubkey}/.well-known/agent-card.json", 404)


async def announcements(node: Node) -> list[Event]:
    wanted = Filter(kinds=kinds.SERVER_ANNOUNCEMENTS, authors=frozenset({node.pubkey}))
    found = await node.log.query([wanted], limit=10, now_s=int(time.time()))
    return [parse_event(json) for _, _, _, json in found.rows]


async def test_a_node_that_can_be_reached_announces_the_tools_that_it_answers_with(
    node: Node, tmp_path: Path
) -> None:
    assert await announcements(node) == []  # nobody else can reach it
    url = "wss://node.example.com"
    async with running_node(tmp_path, new_secret(), name="Lübeck", public_url=url) as reached:
        events = await announcements(reached)
    assert {event.kind for event in events} == {
        kinds.SERVER_ANNOUNCEMENT,
        kinds.TOOLS_ANNOUNCEMENT,
    }
    (found,) = announced.read(events).listings
    assert found.name == "Lübeck"
    assert {one.name for one in found.capabilities} >= {"find_services", "call_service"}


async def test_a_node_that_starts_again_says_nothing_twice(tmp_path: Any) -> None:
    operator, secret = new_secret(), new_secret()
    seen = []
    for name in ("one", "one", "two"):
        async with running_node(
            tmp_path, operator, secret, name=name, public_url="wss://node.example.com"
        ) as node:
            seen.append({event.kind: event.id for event in await announcements(node)})
    assert seen[0] == seen[1]
    assert seen[1][kinds.TOOLS_ANNOUNCEMENT] == seen[2][kinds.TOOLS_ANNOUNCEMENT]
    assert seen[1][kinds.SERVER_ANNOUNCEMENT] != seen[2][kinds.SERVER_ANNOUNCEMENT]


async def test_who_asks_from_afar_is_limited_and_who_is_here_is_not(tmp_path: Path) -> None:
    rules, afar = Rules(rates=Rates(address=Rate(0.01, 3))), {"X-Forwarded-For": "203.0.113.7"}
    async with (
        running_node(tmp_path, new_secret(), rules=rules) as node,
        aiohttp.ClientSession() as session,
    ):
        site = Site(node, session)
        await site.get("/agents", 200, **afar)
        await site.get("/v0.1/servers", 429, **afar)
        for _ in range(5):
            await site.get("/agents")


def test_a_card_holds_as_many_offers_as_its_bytes_allow() -> None:
    text = "x" * 4000
    rows = tuple(Capability(name=f"c{n}", description=text, price=Amount(1000)) for n in range(14))
    key = new_secret()
    offers = [
        Offer(
            provider=key.public,
            operator=key.public,
            identifier=str(n),
            name=str(n),
            summary="",
            capabilities=rows,
            promise=Promise(),
        )
        for n in range(40)
    ]
    place = shown.Site(
        name="n", version="1", http_url="https://n.example", relay_url="wss://n.example", node=key
    )
    card = agent_card(place, key.public, offers)
    carried = card["capabilities"]["extensions"][0]["params"]["offers"]
    assert 1 < len(carried) < 40
    assert sum(map(len, carried)) <= CARD_BYTES_MAX
    assert len(card["skills"]) == 14 * len(carried)
