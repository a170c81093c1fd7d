"""What others list, read into listings: shapes as they are published, and what is not taken."""

import itertools
from typing import Any

import orjson
import pytest

from hanse.errors import Invalid
from hanse.operations.imports import a2a, announced, ard, mcp, openapi, sources, x402
from hanse.operations.imports.listing import Reading, line, prose, tool_name, urls_of
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.schema import violation

SECRET = SecretKey(bytes(31) + b"\x05")
OTHER = SecretKey(bytes(31) + b"\x06")


def reasons(reading: Reading) -> str:
    return "; ".join(f"{what}: {why}" for what, why in reading.refused)


# --- OpenAPI --------------------------------------------------------------------------------------


def an_api(paths: dict[str, Any], version: str = "3.1.0", **more: Any) -> dict[str, Any]:
    return {
        "openapi": version,
        "info": {"title": "Tides", "version": "2.0.1"},
        "paths": paths,
    } | more


def answering(schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}}


def test_an_operation_takes_its_parameters_and_its_body_and_returns_the_first_good_answer() -> None:
    item = {
        "parameters": [
            {"name": "port", "in": "path", "required": True, "schema": {"type": "string"}}
        ],
        "post": {
            "operationId": "planBerth",
            "summary": "Plan a berth",
            "description": "Finds one that is free.",
            "parameters": [
                {"name": "days", "in": "query", "schema": {"type": "integer", "minimum": 1}},
                {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ship"}}},
            },
            "responses": {"201": answering({"type": "object"})["200"], "400": {}},
        },
    }
    ship = {"type": "object", "properties": {"length": {"type": "number"}}, "required": ["length"]}
    document = an_api({"/ports/{port}": item}, components={"schemas": {"Ship": ship}})
    reading = openapi.read(document, at="https://api.example.com/openapi.json")
    (found,) = reading.listings
    (one,) = found.capabilities
    assert (found.name, found.version) == ("Tides", "2.0.1")
    assert (one.name, one.title, one.idempotent) == ("planBerth", "Plan a berth", None)
    assert "POST /ports/{port}" in one.description
    assert one.input_schema == {
        "type": "object",
        "properties": {
            "port": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "body": {"$ref": "#/$defs/Ship"},
        },
        "required": ["port", "body"],
        "$defs": {"Ship": ship},
    }
    assert one.output_schema == {"type": "object"}
    assert violation(one.input_schema, {"port": "x", "body": {"length": 3}}) is None
    assert violation(one.input_schema, {"port": "x", "body": {}}) is not None


def test_a_servers_address_does_not_grow_by_names_within_names() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    variables = {
        one: {"default": f"{{{following}}}" * 100} for one, following in itertools.pairwise(letters)
    }
    servers = [{"url": "https://{a}/", "variables": variables}, {"url": "https://tides.example"}]
    paths = {"/now": {"get": {"responses": answering({"type": "object"})}}}
    (found,) = openapi.read(an_api(paths, servers=servers)).listings
    assert found.urls == ("https://tides.example",)


def test_a_large_schema_that_every_operation_refers_to_is_not_copied_for_each() -> None:
    vast = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(50_000)}}
    refers = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Vast"}}}}
    paths = {f"/{n}": {"post": {"requestBody": refers, "responses": {}}} for n in range(100)}
    reading = openapi.read(an_api(paths, components={"schemas": {"Vast": vast}}))
    assert (reading.listings, len(reading.refused)) == ([], 101)
    assert "holds over 10000 values" in reading.refused[0][1]


def test_the_schemas_of_openapi_3_0_are_told_in_the_words_of_2020_12() -> None:
    schema = {
        "type": "object",
        "properties": {
            "depth": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
            "flag": {"type": "string", "enum": ["a"], "nullable": True, "example": "a"},
            "ship": {"allOf": [{"type": "object"}], "nullable": True, "x-internal": 1},
        },
    }
    document = an_api({"/d": {"get": {"responses": answering(schema)}}}, "3.0.3")
    (found,) = openapi.read(document).listings
    told = found.capabilities[0].output_schema
    assert told is not None
    assert told["properties"] == {
        "depth": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "flag": {"type": ["string", "null"], "enum": ["a", None]},
        "ship": {"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
    }
    assert violation(told, {"depth": None, "flag": None, "ship": None}) is None
    assert violation(told, {"depth": 0}) is not None


def test_a_schema_that_refers_to_itself_is_written_out_to_two_levels() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    paths = {"/n": {"get": {"responses": answering({"$ref": "#/components/schemas/Node"})}}}
    document = an_api(paths, components={"schemas": {"Node": node}})
    (found,) = openapi.read(document).listings
    first = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node.2"}}}
    last = {"type": "object", "properties": {"next": {}}}
    written = {"$ref": "#/$defs/Node", "$defs": {"Node": first, "Node.2": last}}
    assert found.capabilities[0].output_schema == written


REFERENCES = ["https://evil.example/s.json", "other.yaml#/X", "#/components/schemas/None"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_that_leads_out_of_the_document_costs_its_operation_alone(
    reference: str,
) -> None:
    body = {"content": {"application/json": {"schema": {"$ref": reference}}}}
    paths = {"/bad": {"post": {"requestBody": body}}, "/good": {"get": {"operationId": "good"}}}
    reading = openapi.read(an_api(paths))
    assert [one.name for one in reading.listings[0].capabilities] == ["good"]
    assert "/bad" in reasons(reading)


@pytest.mark.parametrize("reference", [*REFERENCES, "#/components/schemas/Vast"])
def test_an_answer_that_cannot_be_told_is_left_out_and_said(reference: str) -> None:
    vast = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(2000)}}
    paths = {"/a": {"get": {"operationId": "a", "responses": answering({"$ref": reference})}}}
    reading = openapi.read(an_api(paths, components={"schemas": {"Vast": vast}}))
    (one,) = reading.listings[0].capabilities
    assert (one.name, one.output_schema) == ("a", None)
    assert "left out" in reasons(reading)


def test_a_large_document_becomes_several_offers_by_its_tags() -> None:
    paths = {
        f"/{tag}/{number}": {"get": {"operationId": f"{tag}{number}", "tags": [tag]}}
        for tag in ("ships", "ports")
        for number in range(130)
    }
    reading = openapi.read(an_api(paths), native_id="https://a.example/openapi.json")
    assert [(one.name, len(one.capabilities)) for one in reading.listings] == [
        ("Tides: ships", 100),
        ("Tides: ships 2", 30),
        ("Tides: ports", 100),
        ("Tides: ports 2", 30),
    ]
    assert len({one.native_id for one in reading.listings}) == 4


def test_a_document_of_another_version_is_refused_with_a_hint() -> None:
    with pytest.raises(Invalid, match=r"3\.0 or 3\.1"):
        openapi.read({"openapi": "2.0", "paths": {}})


# --- MCP ------------------------------------------------------------------------------------------


def a_server(name: str = "com.example/tides", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": "Tides of a port.", "version": "1.2.0"} | more


def test_a_server_json_is_a_listing_whose_one_capability_is_the_server() -> None:
    found = a_server(
        title="Tides",
        remotes=[{"type": "streamable-http", "url": "https://tides.example.com/mcp"}],
        packages=[{"registryType": "npm", "identifier": "@x/tides; rm -rf /"}],
        repository={"url": "https://git.example.com/tides", "source": "git"},
    )
    (listing,) = mcp.read(found).listings
    assert (listing.native_id, listing.name, listing.version) == (
        "com.example/tides",
        "Tides",
        "1.2.0",
    )
    assert listing.urls == ("https://tides.example.com/mcp", "https://git.example.com/tides")
    assert [one.name for one in listing.capabilities] == ["tides"]
    assert not listing.capabilities[0].by_call  # nobody said what it costs
    assert "rm -rf" not in repr(listing)  # packages name commands: they are not taken


def test_tools_that_a_card_or_a_publisher_tells_of_are_capabilities() -> None:
    tools = [{"name": "get_tide", "description": "d", "inputSchema": {"type": "object"}}]
    (card,) = mcp.read(a_server(tools=tools)).listings
    meta: dict[str, Any] = {"_meta": {mcp.PROVIDED: {"tools": tools}}}
    (published,) = mcp.read({"server": a_server(**meta)}).listings
    old = {"serverInfo": {"name": "t", "version": "1"}, "tools": tools, "transport": {}}
    (before,) = mcp.read(old).listings
    assert [one.capabilities[0].name for one in (card, published, before)] == ["get_tide"] * 3


def test_of_a_registrys_page_the_latest_version_counts_and_the_deleted_are_gone() -> None:
    def row(name: str, version: str, **official: Any) -> dict[str, Any]:
        return {"server": a_server(name, version=version), "_meta": {mcp.OFFICIAL: official}}

    page = {
        "servers": [
            row("a/x", "2.0.0", isLatest=True, publishedAt="2026-01-02T00:00:00Z"),
            row("a/x", "1.0.0", isLatest=False, publishedAt="2026-01-01T00:00:00Z"),
            row("a/gone", "1.0.0", status="deleted"),
            {"server": {"description": "no name"}},
        ],
        "metadata": {"nextCursor": "abc", "count": 4},
    }
    reading = mcp.read_page(page)
    assert [(one.native_id, one.version) for one in reading.listings] == [("a/x", "2.0.0")]
    assert "name: is missing" in reasons(reading)
    assert mcp.next_cursor(page) == "abc"
    assert mcp.next_cursor({"servers": [], "metadata": {"nextCursor": None}}) == ""


# --- A2A ------------------------------------------------------------------------------------------


def a_card(**more: Any) -> dict[str, Any]:
    return {
        "name": "Harbour Pilot",
        "description": "Plans berths.",
        "version": "2.1.0",
        "supportedInterfaces": [
            {
                "url": "https://pilot.example.com/a2a",
                "protocolBinding": "JSONRPC",
                "protocolVersion": "1.0",
            }
        ],
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["application/json"],
        "skills": [
            {
                "id": "berth plan",
                "name": "Plan a berth",
                "description": "Finds a free berth.",
                "tags": ["port", "ships"],
                "examples": ["A berth for 120 m"],
            }
        ],
    } | more


async def test_a_card_of_1_0_and_one_of_0_3_say_the_same() -> None:
    (new,) = (await a2a.read(a_card())).listings
    old = a_card(url="https://pilot.example.com/a2a", protocolVersion="0.3.0")
    del old["supportedInterfaces"]
    (before,) = (await a2a.read(old)).listings
    assert new == before
    (one,) = new.capabilities
    assert (one.name, one.title) == ("berth_plan", "Plan a berth")
    assert one.input_schema["properties"] == {"message": {"type": "string"}}
    assert one.examples[0].input == {"message": "A berth for 120 m"}
    assert violation(one.input_schema, {"message": "hello"}) is None
    assert violation(one.input_schema, {}) is not None
    assert {"a2a", "port", "ships"} <= set(new.topics)


@pytest.mark.parametrize("missing", ["name", "supportedInterfaces", "skills"])
async def test_a_card_without_what_it_needs_is_refused(missing: str) -> None:
    card = a_card()
    del card[missing]
    with pytest.raises(Invalid, match=missing):
        await a2a.read(card)


# --- ARD ------------------------------------------------------------------------------------------


def a_catalog(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"specVersion": "1.0", "host": {"displayName": "Acme"}, "entries": list(entries)}


def an_entry(kind: str, name: str = "x", **more: Any) -> dict[str, Any]:
    found = {"identifier": f"urn:air:acme.example:{name}", "displayName": name, "type": kind}
    return found | more


async def test_a_catalogs_entries_are_read_by_their_types_and_nested_ones_followed() -> None:
    inner = a_catalog(an_entry("application/mcp-server-card+json", "deep", data=a_server()))
    web = {"https://acme.example/card.json": a_card(), "https://acme.example/inner.json": inner}

    async def fetch(url: str) -> Any:
        return web[url]

    catalog = a_catalog(
        an_entry(
            "application/a2a-agent-card+json",
            "pilot",
            url="https://acme.example/card.json",
            tags=["Harbour"],
            representativeQueries=["find me a berth", "where can my ship lie"],
        ),
        an_entry("application/ai-catalog+json", "more", url="https://acme.example/inner.json"),
        an_entry("application/ai-registry+json", "registry", url="https://acme.example/api/"),
        an_entry("application/parquet", "data", url="https://acme.example/x.parquet"),
        an_entry("application/mcp-server-card+json", "both", url="https://a.example", data={}),
    )
    reading = await ard.read(catalog, fetch=fetch)
    assert [one.native_id for one in reading.listings] == [
        "urn:air:acme.example:pilot",
        "urn:air:acme.example:deep",
    ]
    pilot = reading.listings[0]
    assert "harbour" in pilot.topics
    assert "where can my ship lie" in pilot.summary
    for part in ("registry to be asked", "is not one we read", "one of url and data"):
        assert part in reasons(reading)
    assert reading.whole


async def test_catalogs_within_catalogs_end_somewhere() -> None:
    catalog = a_catalog()
    for depth in range(10):
        catalog = a_catalog(an_entry("application/ai-catalog+json", f"c{depth}", data=catalog))
    assert "nested over 3 levels" in reasons(await ard.read(catalog))


async def test_a_catalog_that_names_itself_is_read_once() -> None:
    asked: list[str] = []

    async def fetch(url: str) -> Any:
        asked.append(url)
        return catalog

    entries = [
        an_entry("application/ai-catalog+json", f"c{n}", url="https://acme.example/c")
        for n in range(300)
    ]
    catalog = a_catalog(*entries)
    reading = await ard.read(catalog, fetch=fetch)
    assert (asked, reading.listings) == (["https://acme.example/c"], [])


async def test_catalogs_hold_so_many_entries_together() -> None:
    async def fetch(_url: str) -> Any:
        return a_catalog(*[an_entry("application/parquet", f"d{n}", url="x") for n in range(999)])

    kind, at = "application/ai-catalog+json", "https://acme.example"
    entries = [an_entry(kind, f"c{n}", url=f"{at}/{n}") for n in range(50)]
    assert not (await ard.read(a_catalog(*entries), fetch=fetch)).whole


async def test_an_entry_that_cannot_be_had_makes_the_reading_less_than_whole() -> None:
    entry = an_entry("application/a2a-agent-card+json", url="https://acme.example/card.json")
    reading = await ard.read(a_catalog(entry))
    assert (reading.listings, reading.whole) == ([], False)


# --- x402 -----------------------------------------------------------------------------------------


def accepted(**more: Any) -> dict[str, Any]:
    return {
        "scheme": "exact",
        "network": "eip155:8453",
        "amount": "10000",
        "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
        "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"},
    } | more


def a_resource(**more: Any) -> dict[str, Any]:
    return {
        "resource": "https://api.example.com/v1/weather",
        "type": "http",
        "x402Version": 2,
        "accepts": [accepted()],
        "lastUpdated": 1_767_000_000,
    } | more


def test_a_bazaars_resource_tells_what_it_costs_in_its_own_money_and_has_no_price_of_ours() -> None:
    old = accepted(
        description="Weather of a city",
        outputSchema={
            "input": {
                "type": "http",
                "method": "GET",
                "queryParams": {
                    "city": {"type": "string", "description": "Which", "required": True},
                    "unit": "c or f",
                },
            },
            "output": {"type": "object", "properties": {"celsius": {"type": "number"}}},
        },
    )
    page = {"x402Version": 1, "items": [a_resource(accepts=[old], x402Version=1)]}
    (found,) = x402.read_page(page).listings
    (one,) = found.capabilities
    assert one.name == "get_v1_weather"
    assert one.input_schema == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Which"},
            "unit": {"description": "c or f"},
        },
        "required": ["city"],
    }
    assert one.output_schema == {"type": "object", "properties": {"celsius": {"type": "number"}}}
    assert (one.by_call, one.price) == (False, Amount(0))
    assert found.payment_methods == ("x402",)
    assert "10000 units of USDC" in found.terms
    assert "eip155:8453" in found.terms


def test_what_the_bazaar_extension_says_of_an_endpoint_or_a_tool_is_its_schema() -> None:
    query = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    http = a_resource(
        extensions={
            "bazaar": {
                "info": {"input": {"type": "http", "method": "GET", "queryParams": {"city": "X"}}},
                "schema": {"properties": {"input": {"properties": {"queryParams": query}}}},
            }
        }
    )
    takes = {"type": "object", "properties": {"ticker": {"type": "string"}}}
    tool = a_resource(
        type="mcp",
        accepts=[
            accepted(
                outputSchema={"input": {"type": "mcp", "tool": "analyse", "inputSchema": takes}}
            )
        ],
    )
    found = x402.read_page({"x402Version": 2, "items": [http, tool]}).listings
    assert found[0].capabilities[0].input_schema == query
    assert (found[1].capabilities[0].name, found[1].capabilities[0].input_schema) == (
        "analyse",
        takes,
    )
    assert found[1].native_id.endswith("#analyse")


def test_a_resource_may_be_told_of_by_an_object() -> None:
    row = a_resource(resource={"url": "https://api.example.com/v1/x", "description": "Of x."})
    (found,) = x402.read_page({"x402Version": 2, "items": [row]}).listings
    assert (found.urls, found.summary) == (("https://api.example.com/v1/x",), "Of x.")


def test_a_resource_that_is_no_address_or_that_nobody_can_pay_is_refused() -> None:
    rows = [a_resource(resource="file:///etc/passwd"), a_resource(accepts=[])]
    reading = x402.read_page({"x402Version": 2, "items": rows})
    assert reading.listings == []
    assert "must be an address" in reasons(reading)
    assert "nobody could pay" in reasons(reading)


@pytest.mark.parametrize(
    ("count", "total", "asked", "following"),
    [(100, 250, 0, 100), (50, 250, 200, None), (0, 250, 100, None), (10, None, 0, None)],
)
def test_a_bazaar_is_read_to_its_end(
    count: int, total: int | None, asked: int, following: int | None
) -> None:
    page = {"items": [{}] * count, "pagination": {"limit": 100, "offset": asked, "total": total}}
    assert x402.next_offset(page, asked) == following


# --- Nostr ----------------------------------------------------------------------------------------


def announced_by(kind: int, content: Any, *tags: tuple[str, ...], at: int = 1000) -> Event:
    text = content if isinstance(content, str) else orjson.dumps(content).decode()
    return sign_event(SECRET, kind=kind, created_at=at, content=text, tags=tags)


def test_a_contextvm_server_is_its_tools_prompts_and_templates_at_its_prices() -> None:
    tool = {"name": "tide", "description": "d", "inputSchema": {"type": "object"}}
    events = [
        announced_by(
            kinds.SERVER_ANNOUNCEMENT,
            {"serverInfo": {"name": "tides", "version": "3"}, "instructions": "Ask away."},
            ("name", "Tides"),
            ("about", "All tides"),
            ("cap", "tool:tide", "100", "sats"),
            ("cap", "prompt:ask", "1-5", "sats"),
            ("pmi", "bitcoin-lightning-bolt11"),
        ),
        announced_by(kinds.TOOLS_ANNOUNCEMENT, {"tools": [tool]}),
        announced_by(kinds.RESOURCES_ANNOUNCEMENT, {"resources": [{"uri": "a"}, {"uri": "b"}]}),
        announced_by(
            kinds.TEMPLATES_ANNOUNCEMENT,
            {"resourceTemplates": [{"name": "log", "uriTemplate": "log://{day}"}]},
        ),
        announced_by(
            kinds.PROMPTS_ANNOUNCEMENT,
            {"prompts": [{"name": "ask", "arguments": [{"name": "q", "required": True}]}]},
        ),
    ]
    (found,) = announced.read(events).listings
    assert (found.name, found.version, found.native_id) == ("Tides", "3", SECRET.public)
    assert found.verified == f"signature {encode_npub(SECRET.public)}"
    assert "It has 2 resources." in found.summary
    prices = {one.name: one.price if one.by_call else None for one in found.capabilities}
    assert prices == {"tide": Amount(100_000), "resource/log": None, "prompt/ask": None}
    assert found.capabilities[2].input_schema["required"] == ["q"]


def test_a_handler_has_a_capability_for_each_kind_and_jobs_take_their_parameters() -> None:
    about = {
        "name": "Translator",
        "about": "Translates.",
        "nip90Params": {"language": {"required": False, "values": ["en", "de"]}},
    }
    event = announced_by(
        kinds.HANDLER, about, ("d", "1"), ("k", "5002"), ("k", "31337"), ("k", "x"), ("t", "Text")
    )
    (found,) = announced.read([event]).listings
    job, other = found.capabilities
    assert (job.name, other.name) == ("kind-5002", "kind-31337")
    assert job.input_schema["properties"]["language"] == {"type": "string", "enum": ["en", "de"]}
    assert found.native_id == f"31990:{SECRET.public}:1"
    assert "text" in found.topics


def test_of_two_announcements_the_newer_counts_and_a_forged_one_none() -> None:
    tools = [{"name": "new"}]
    old = announced_by(kinds.TOOLS_ANNOUNCEMENT, {"tools": [{"name": "old"}]}, at=1)
    new = announced_by(kinds.TOOLS_ANNOUNCEMENT, {"tools": tools}, at=2)
    forged = Event("0" * 64, OTHER.public, 9, kinds.TOOLS_ANNOUNCEMENT, (), new.content, new.sig)
    reading = announced.read([new, old, forged])
    assert [one.capabilities[0].name for one in reading.listings] == ["new"]
    assert len(reading.refused) == 1


# --- a stranger's words ---------------------------------------------------------------------------


def test_names_lose_what_could_order_a_terminal_about() -> None:
    assert line("a\x1b[31m\u202eb\nc", 100) == "a[31mb c"
    assert prose("one\r\ntwo\x00\u2028three", 100) == "one\ntwo\nthree"
    assert tool_name("get /users/{id}") == "get_/users/_id"
    assert tool_name("…") == "call"
    assert urls_of(["javascript:alert(1)", "file:///etc", "https://a b", "https://ok.example"]) == (
        "https://ok.example",
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://evil.example/schema"},
        {"properties": {"x": {"pattern": "(a+)+$" * 20000}}},
        [],
    ],
)
def test_a_schema_that_cannot_be_used_costs_its_tool_alone(schema: Any) -> None:
    tools = [{"name": "bad", "inputSchema": schema}, {"name": "good"}]
    reading = mcp.read(a_server(tools=tools))
    names = [one.name for one in reading.listings[0].capabilities]
    assert "good" in names
    assert ("bad" in names) == (schema == [])  # no schema at all is any object


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (an_api({}), "openapi"),
        (a_catalog(), "ard"),
        ({"x402Version": 2, "items": []}, "x402"),
        ({"servers": []}, "mcp"),
        (a_server(remotes=[]), "mcp"),
        (a_card(), "a2a"),
        ({"kind": 1, "content": "", "tags": []}, None),
        ([], None),
    ],
)
def test_a_document_is_known_by_what_it_holds(document: Any, kind: str | None) -> None:
    assert sources.kind_of(document) == kind
