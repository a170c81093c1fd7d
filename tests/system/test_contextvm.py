"""The node as an MCP server over signed events (kind 25910), spoken to in raw events."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest
from tests.conftest import People, running_node

from hanse.agent.connection import Connection
from hanse.broker.tools import TOOLS
from hanse.errors import NotFound
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import attestation, kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, Tags, check_event, encode_event, parse_event, sign_event
from hanse.protocol.keys import SecretKey

WAIT_S = 5.0
CALL = {
    "name": "call_service",
    "arguments": {"offer": "greet", "capability": "greet", "input": {"name": "Ada"}},
}


class Wire:
    """One WebSocket to the node, authenticated as a key, that speaks in raw events."""

    def __init__(self, node: Node, secret: SecretKey, socket: Any) -> None:
        self.node = node
        self.secret = secret
        self._socket = socket
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        """Prove the key and open the inbox."""
        _, challenge = await self._next("AUTH")
        tags = (("relay", self.node.url), ("challenge", challenge))
        proof = self.event("", kind=kinds.CLIENT_AUTH, tags=tags)
        await self.say("AUTH", proof)
        filter_ = {"kinds": [kinds.RPC], "#p": [self.secret.public], "limit": 0}
        await self._socket.send_str(orjson.dumps(["REQ", "inbox", filter_]).decode())
        await self._next("EOSE")

    def event(
        self, content: Any, *, kind: int = kinds.RPC, tags: Tags | None = None, more: Tags = ()
    ) -> Event:
        """A signed event, by default to the node; content that is not text is written as JSON."""
        text = content if isinstance(content, str) else orjson.dumps(content).decode()
        to: Tags = (("p", self.node.pubkey),) if tags is None else tags
        return sign_event(
            self.secret, kind=kind, created_at=int(time.time()), content=text, tags=(*to, *more)
        )

    def request(self, method: Any, params: Any = None, *, id: Any = "", more: Tags = ()) -> Event:
        """A signed JSON-RPC request to the node."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        body |= {"id": id or next(self._numbers)} if id is not None else {}
        body |= {"params": params} if params is not None else {}
        return self.event(body, more=more)

    async def say(self, verb: str, event: Event) -> None:
        """Send an event."""
        await self._socket.send_str(f'["{verb}",{encode_event(event).decode()}]')

    async def ok(self, event: Event) -> tuple[bool, str]:
        """Send an event and return the relay's OK."""
        await self.say("EVENT", event)
        while True:
            _, id, accepted, text = await self._next("OK")
            if id == event.id:
                return accepted, text

    async def answer(self, event: Event) -> dict[str, Any]:
        """Send a request; the JSON-RPC body of the node's signed answer to it."""
        await self.say("EVENT", event)
        while True:
            found = parse_event(orjson.dumps((await self._next("EVENT"))[2]))
            check_event(found)
            assert found.pubkey == self.node.pubkey
            assert found.tag("p") == self.secret.public
            if found.tag("e") == event.id:
                body: dict[str, Any] = orjson.loads(found.content)
                assert body["jsonrpc"] == "2.0"
                return body

    async def error(self, event: Event) -> dict[str, Any]:
        """Send a request that must be refused; the error object."""
        body = await self.answer(event)
        assert "result" not in body, body
        error: dict[str, Any] = body["error"]
        assert isinstance(error["code"], int)
        assert error["message"]
        return error | {"id": body["id"]}

    async def _next(self, verb: str) -> list[Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                found = orjson.loads(await self._socket.receive_str())
                if found[0] == verb:
                    return list(found)


@pytest.fixture(scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """One node for all tests here: each uses keys of its own and compares before with after."""
    async with running_node(tmp_path_factory.mktemp("node"), new_secret()) as found:
        yield found


@pytest.fixture
async def wire(node: Node) -> AsyncIterator[Wire]:
    """A client with 10 sat of test credits."""
    secret = new_secret()
    await node.payments.grant(secrets.token_hex(8), secret.public, Amount.parse("10sat"), "test")
    async with aiohttp.ClientSession() as session, session.ws_connect(node.url) as socket:
        found = Wire(node, secret, socket)
        await found.begin()
        yield found


@pytest.fixture(scope="module")
async def all_calls(node: Node) -> AsyncIterator[list[str]]:
    """The names a provider's `greet` was called with."""
    seen: list[str] = []
    async with AsyncExitStack() as stack:
        agent = await People(node, stack).connected()

        @agent.provide(price="2sat", latency_p95_ms=500)
        def greet(name: str) -> str:
            "Greet somebody by name."
            seen.append(name)
            return f"Hello, {name}"

        await agent.serve()
        async with asyncio.timeout(WAIT_S):
            while not await node.registry.offers():
                await asyncio.sleep(0.005)
        yield seen


@pytest.fixture
def calls(all_calls: list[str]) -> list[str]:
    """The names `greet` was called with in this test."""
    all_calls.clear()
    return all_calls


async def test_a_client_initializes_lists_and_pings(wire: Wire) -> None:
    body = await wire.answer(
        wire.request("initialize", {"protocolVersion": "2025-06-18"}, id="first")
    )
    assert body["id"] == "first"
    assert body["result"]["capabilities"] == {"tools": {}}
    assert body["result"]["serverInfo"]["name"] == "hanse"
    listed = (await wire.answer(wire.request("tools/list")))["result"]["tools"]
    assert [row["name"] for row in listed] == [tool.name for tool in TOOLS]
    for row, tool in zip(listed, TOOLS, strict=True):
        assert (row["description"], row["inputSchema"]) == (tool.description, tool.input_schema())
    assert await wire.answer(wire.request("ping", id=7)) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {},
    }


async def test_a_call_settles_and_its_event_pays_once(
    node: Node, wire: Wire, calls: list[str]
) -> None:
    request = wire.request("tools/call", CALL)
    first = (await wire.answer(request))["result"]
    assert first["structuredContent"]["status"] == "settled"
    assert first["structuredContent"]["output"]["structuredContent"] == {"result": "Hello, Ada"}
    again = (await wire.answer(request))["result"]
    assert again == first
    assert calls == ["Ada"]
    assert await node.payments.balance(wire.secret.public) == (8000, 0)


async def test_the_signer_of_the_event_is_who_acts(node: Node, wire: Wire) -> None:
    owner = new_secret()
    tag = attestation.attest(owner, wire.secret.public).tag
    whoami = {"name": "whoami", "arguments": {}}
    plain = (await wire.answer(wire.request("tools/call", whoami)))["result"]
    assert plain["structuredContent"]["operator"] == wire.secret.public
    attested = (await wire.answer(wire.request("tools/call", whoami, more=(tag,))))["result"]
    assert attested["structuredContent"]["agent"] == wire.secret.public
    assert attested["structuredContent"]["operator"] == owner.public


async def test_the_sdk_s_own_connection_speaks_the_same(node: Node) -> None:
    async with Connection(node.url, new_secret(), ()) as connection:
        assert await connection.request("ping", {}, WAIT_S) == {}
        params = {"name": "describe_service", "arguments": {"offer": "nobody"}}
        with pytest.raises(NotFound) as caught:
            await connection.request("tools/call", params, WAIT_S)
    assert caught.value.field == "offer"


async def test_a_method_the_node_does_not_have_is_named(wire: Wire) -> None:
    for method in ("resources/list", "tools/", "", "x" * 10_000):
        error = await wire.error(wire.request(method))
        assert error["code"] == -32601
        assert len(error["message"]) < 300


async def test_a_notification_gets_no_answer(wire: Wire) -> None:
    for content in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    ):
        accepted, _ = await wire.ok(wire.event(content))
        assert accepted
    # `answer` would return an answer to either first, and fail on its `e` tag only by timeout.
    pinged = wire.request("ping", id="after")
    assert (await wire.answer(pinged))["id"] == "after"


async def test_a_call_nobody_could_get_the_answer_of_is_not_made(
    node: Node, wire: Wire, calls: list[str]
) -> None:
    error = await wire.error(wire.request("tools/call", CALL, id=None))
    assert (error["code"], error["data"]["field"]) == (-32602, "content.id")
    assert calls == []
    assert await node.payments.balance(wire.secret.public) == (10_000, 0)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("not json", "content"),
        ("", "content"),
        ("[]", "content.jsonrpc"),
        ('"text"', "content.jsonrpc"),
        ('{"method": "ping", "id": 1}', "content.jsonrpc"),
        ('{"jsonrpc": "1.0", "method": "ping", "id": 1}', "content.jsonrpc"),
        ('{"jsonrpc": "2.0", "method": 5, "id": 1}', "content.method"),
        ('{"jsonrpc": "2.0", "method": "ping", "id": true}', "content.id"),
        ('{"jsonrpc": "2.0", "method": "ping", "id": {}}', "content.id"),
        ('{"jsonrpc": "2.0", "method": "ping", "id": 1e999}', "content"),
        ('{"jsonrpc": "2.0", "method": "ping", "id": 1, "params": []}', "content.params"),
        ('{"jsonrpc": "2.0", "id": 1}', "content"),
        ('{"jsonrpc": "2.0", "id": 1, "result": {}}', "content.method"),
        ("[" * 100 + "]" * 100, "content"),
        ('{"a":' * 10_000, "content"),
    ],
)
async def test_what_is_not_a_request_is_refused_with_field_and_reason(
    wire: Wire, content: str, field: str
) -> None:
    error = await wire.error(wire.event(content))
    assert error["code"] == -32602
    assert error["data"]["field"] == field
    assert error["data"]["reason"]
    assert "result" in await wire.answer(wire.request("ping"))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.name"),
        ({"name": 1}, "params.name"),
        ({"name": "ping", "arguments": []}, "params.arguments"),
        ({"name": "ping", "arguments": None}, "params.arguments"),
        ({"name": "transfer"}, "name"),
        ({"name": "get_balance", "arguments": {"of": "x"}}, "of"),
        ({"name": "call_service", "arguments": {}}, "offer"),
        ({"name": "find_services", "arguments": {"words": 5}}, "words"),
    ],
)
async def test_wrong_types_are_refused_with_field_and_reason(
    node: Node, wire: Wire, params: dict[str, Any], field: str
) -> None:
    before = await node.calls.counts()
    error = await wire.error(wire.request("tools/call", params, id="mine"))
    assert (error["code"], error["id"]) == (-32602, "mine")
    assert error["data"]["field"] == field
    assert error["data"]["reason"]
    assert await node.calls.counts() == before


async def test_a_false_claim_of_an_owner_is_refused_and_nothing_is_done(
    node: Node, wire: Wire, calls: list[str]
) -> None:
    owner, other = new_secret(), new_secret()
    good = attestation.attest(owner, wire.secret.public).tag
    now = int(time.time())
    conditional = {
        text: attestation.attest(owner, wire.secret.public, text).tag
        for text in ("kind=1", f"created_at<{now - 100}", f"created_at>{now + 100}")
    }
    bad: list[Tags] = [
        (attestation.attest(owner, other.public).tag,),
        ((*good[:3], "0" * 128),),
        (("auth", other.public, *good[2:]),),
        (good[:3],),
        (("auth",),),
        (good, good),
        *((tag,) for tag in conditional.values()),
    ]
    for more in bad:
        error = await wire.error(wire.request("tools/call", CALL, more=more))
        assert (error["code"], error["data"]["field"]) == (-32602, "auth"), more
    assert calls == []
    assert await node.payments.balance(wire.secret.public) == (10_000, 0)


async def test_a_claim_whose_conditions_hold_is_taken(wire: Wire) -> None:
    text = f"kind={kinds.RPC}&created_at<{int(time.time()) + 100}"
    owner = new_secret()
    tag = attestation.attest(owner, wire.secret.public, text).tag
    whoami = wire.request("tools/call", {"name": "whoami"}, more=(tag,))
    found = (await wire.answer(whoami))["result"]["structuredContent"]
    assert found["operator"] == owner.public


async def test_an_expired_request_is_not_run(node: Node, wire: Wire, calls: list[str]) -> None:
    before = await node.calls.counts()
    past = (("expiration", str(int(time.time()) - 1)),)
    accepted, text = await wire.ok(wire.request("tools/call", CALL, more=past))
    assert not accepted
    assert "expiration" in text
    assert calls == []
    assert await node.calls.counts() == before


async def test_a_stale_or_forged_request_never_reaches_the_door(
    node: Node, wire: Wire, calls: list[str]
) -> None:
    before = await node.calls.counts()
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL})
    for ago_s, says in ((300, "created_at"), (-1200, "created_at")):
        stale = sign_event(
            wire.secret,
            kind=kinds.RPC,
            created_at=int(time.time()) - ago_s,
            content=body.decode(),
            tags=(("p", node.pubkey),),
        )
        accepted, text = await wire.ok(stale)
        assert (accepted, says in text) == (False, True)
    good = wire.request("tools/call", CALL)
    forged = parse_event(encode_event(good).replace(b"Ada", b"Eve"))
    accepted, text = await wire.ok(forged)
    assert (accepted, text.startswith("invalid: event.id")) == (False, True)
    assert calls == []
    assert await node.calls.counts() == before


async def test_a_request_to_somebody_else_is_not_the_node_s_to_answer(
    node: Node, wire: Wire, calls: list[str]
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}
    accepted, text = await wire.ok(wire.event(body, tags=(("p", new_secret().public),)))
    assert (accepted, text.startswith("mute:")) == (False, True)
    assert calls == []


async def test_what_nobody_expected_ends_one_request_and_not_the_door(wire: Wire) -> None:
    for text in ("\x00", "\u2028", "'; DROP TABLE offers; --", "naddr1" + "q" * 1000, '"' * 500):
        for name, key in (
            ("describe_service", "offer"),
            ("get_receipt", "id"),
            ("find_services", "words"),
        ):
            params = {"name": name, "arguments": {key: text}}
            body = await wire.answer(wire.request("tools/call", params))
            assert ("result" in body) != ("error" in body)
    assert "result" in await wire.answer(wire.request("ping"))
