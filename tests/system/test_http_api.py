"""The HTTP API against a real node: every route, both proofs of identity, and each refusal."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest
from tests.conftest import People, running_node
from tests.system.test_directories import DIRECTORY_ROUTES

from hanse.agent import Agent
from hanse.broker.receipt import verify_receipt
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import attestation, http_auth
from hanse.protocol.amount import Amount
from hanse.protocol.event import Tags, parse_event
from hanse.protocol.keys import SecretKey
from hanse.registry.schema import check_schema
from hanse.servers.api.reply import BODY_BYTES_MAX

ROUTES = DIRECTORY_ROUTES | {
    *((verb, "/") for verb in ("get", "post")),
    ("get", "/api/v1/status"),
    ("get", "/api/v1/services"),
    *(("get", f"/api/v1/trust/{rest}") for rest in ("graph", "{subject}")),
    ("post", "/api/v1/endorsements/drafts"),
    ("post", "/api/v1/services/search"),
    ("get", "/api/v1/services/watch"),
    ("get", "/api/v1/offers/{offer}"),
    ("get", "/api/v1/receipts/{id}"),
    ("get", "/api/v1/balance"),
    ("get", "/api/v1/whoami"),
    ("post", "/api/v1/calls"),
    ("get", "/api/v1/books"),
    ("post", "/api/v1/grants"),
    *(("get", f"/api/v1/handles{rest}") for rest in ("", "/find", "/terms")),
    *(("post", f"/api/v1/handles{rest}") for rest in ("", "/statements")),
    ("delete", "/api/v1/handles/{name}"),
    ("get", "/.well-known/nostr.json"),
    *(("post", f"/{verb}") for verb in ("events", "query", "count", "search")),
    *(("get", f"/{name}") for name in ("health", "ready", "metrics")),
    *((verb, "/api/v1/peers") for verb in ("get", "post", "delete")),
    ("post", "/api/v1/sync"),
}
CALL = {"offer": "greet", "capability": "greet", "input": {"name": "Ada"}}


class Http:
    """An HTTP client that signs for a key."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self._node = node
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        header: str = "",
    ) -> tuple[int, Any, str]:
        """(status, JSON, content type) of one request."""
        headers = {"Content-Type": "application/json"}
        if header:
            headers["Authorization"] = header
        url = self._node.http_url + path
        async with self._session.request(method, url, data=body, headers=headers) as found:
            return found.status, orjson.loads(await found.read()), found.content_type

    def signed(
        self,
        secret: SecretKey,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        tags: Tags = (),
        ago_s: int = 0,
    ) -> str:
        """A NIP-98 header."""
        url = self._node.http_url + path
        now = int(time.time()) - ago_s
        # Salted, or the same request within one second would be the same event: a replay.
        salted = (*tags, ("salt", secrets.token_hex(8)))
        return http_auth.request_header(
            secret, url=url, method=method, body=body, now=now, tags=salted
        )

    async def signed_ask(
        self, secret: SecretKey, method: str, path: str, body: Any = None
    ) -> tuple[int, Any]:
        """One request with a NIP-98 signature."""
        data = orjson.dumps(body) if body is not None else b""
        header = self.signed(secret, method, path, data)
        status, found, _ = await self.ask(method, path, data or None, header=header)
        return status, found

    async def refused(
        self,
        status: int,
        error: str,
        method: str,
        path: str,
        body: bytes | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The problem document of a request that must be refused with `status` and `error`."""
        got, problem, content_type = await self.ask(method, path, body, **more)
        assert (got, problem["error"]) == (status, error), problem
        assert content_type == "application/problem+json"
        assert problem["status"] == status
        assert problem["type"] == f"urn:hanse:error:{error}"
        assert problem["reason"]
        assert problem["reason"] in problem["detail"]
        return dict(problem)


@pytest.fixture(scope="module")
def operator() -> SecretKey:
    """The key of the node's operator."""
    return new_secret()


@pytest.fixture(scope="module")
async def node(
    tmp_path_factory: pytest.TempPathFactory, operator: SecretKey
) -> AsyncIterator[Node]:
    """One node for all tests here: each uses keys of its own and compares before with after."""
    async with running_node(tmp_path_factory.mktemp("node"), operator) as found:
        yield found


@pytest.fixture
async def http(node: Node) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(node, session)


@pytest.fixture(scope="module")
async def provider(node: Node) -> AsyncIterator[Agent]:
    """A provider whose `greet` costs 2 sat and whose `anything` takes any object."""
    async with AsyncExitStack() as stack:
        agent = await People(node, stack).connected()
        await offer(agent)
        async with asyncio.timeout(5):
            while not await node.registry.offers():
                await asyncio.sleep(0.005)
        yield agent


async def offer(agent: Agent) -> None:
    """Publish what `provider` serves."""

    @agent.provide(price="2sat", latency_p95_ms=500)
    def greet(name: str) -> str:
        "Greet somebody by name."
        return f"Hello, {name}"

    @agent.provide(price="2sat", latency_p95_ms=500)
    def anything(value: dict[str, Any]) -> str:
        "Take anything."
        return str(len(value))

    await agent.serve()


@pytest.fixture
async def caller(node: Node) -> SecretKey:
    """A key with 10 sat of test credits."""
    secret = new_secret()
    await node.payments.grant(secrets.token_hex(8), secret.public, Amount.parse("10sat"), "test")
    return secret


def token(node: Node, secret: SecretKey, *, life_s: int = 60, ago_s: int = 0) -> str:
    now = int(time.time()) - ago_s
    return "Bearer " + http_auth.token(secret, node=node.pubkey, now=now, life_s=life_s)


async def standing(node: Node) -> tuple[Any, ...]:
    """All that a refused request must leave as it was."""
    return (
        await node.payments.books(),
        await node.calls.counts(),
        await node.log.total(),
        node.broker.running,
    )


# --- what is answered -------------------------------------------------------------------------


async def test_anyone_may_ask_how_the_node_is_and_what_there_is(
    node: Node, http: Http, provider: Agent
) -> None:
    status, found, _ = await http.ask("GET", "/api/v1/status")
    assert (status, found["node"], found["offers"]) == (200, node.pubkey, 1)
    assert found["ledger_sum_msat"] == 0
    path = "/api/v1/services?words=greet%20somebody&max_price_msat=2000&limit=1"
    status, found, _ = await http.ask("GET", path)
    assert status == 200
    (hit,) = found["services"]
    assert (hit["capability"], hit["price_msat"], hit["online"]) == ("greet", 2000, True)
    status, offer, _ = await http.ask("GET", f"/api/v1/offers/{hit['offer']}")
    assert (status, offer["offer"]) == (200, hit["offer"])
    assert {row["capability"] for row in offer["capabilities"]} == {"greet", "anything"}
    for row in offer["capabilities"]:
        check_schema(row["input_schema"], "input")
    status, same, _ = await http.ask("GET", f"/api/v1/offers/{offer['naddr']}")
    assert (status, same) == (200, offer)
    path = "/api/v1/services?words=greet&max_price_msat=1999"
    _, found, _ = await http.ask("GET", path)
    assert (found["services"], found["excluded_by"]) == ([], {"price": 2})


async def test_a_call_by_token_settles_and_its_receipt_can_be_fetched(
    node: Node, http: Http, provider: Agent, caller: SecretKey
) -> None:
    header = token(node, caller)
    status, result, _ = await http.ask("POST", "/api/v1/calls", orjson.dumps(CALL), header=header)
    assert (status, result["status"], result["charged_msat"]) == (200, "settled", 2000)
    assert result["output"]["structuredContent"] == {"result": "Hello, Ada"}
    assert result["untrusted"]["from"] == provider.pubkey
    for id in (result["receipt"], result["call"]):
        status, found, _ = await http.ask("GET", f"/api/v1/receipts/{id}")
        assert status == 200
        receipt = verify_receipt(parse_event(orjson.dumps(found["receipt"])), node.pubkey)
        assert (receipt.call, receipt.paid_msat) == (result["call"], 1980)
        assert "output" not in found
    _, own, _ = await http.ask("GET", f"/api/v1/receipts/{result['call']}", header=header)
    assert own["output"] == result["output"]
    _, balance, _ = await http.ask("GET", "/api/v1/balance", header=header)
    assert (balance["available_msat"], balance["held_msat"]) == (8000, 0)


async def test_a_call_by_signed_request_settles_and_one_key_pays_once(
    node: Node, http: Http, provider: Agent, caller: SecretKey
) -> None:
    body = CALL | {"idempotency_key": "once"}
    status, first = await http.signed_ask(caller, "POST", "/api/v1/calls", body)
    assert (status, first["status"]) == (200, "settled")
    status, again = await http.signed_ask(caller, "POST", "/api/v1/calls", body)
    assert (status, again) == (200, first)
    assert await node.payments.balance(caller.public) == (8000, 0)
    other = body | {"input": {"name": "Bob"}}
    status, problem = await http.signed_ask(caller, "POST", "/api/v1/calls", other)
    assert (status, problem["error"], problem["field"]) == (409, "conflict", "idempotency_key")
    assert await node.payments.balance(caller.public) == (8000, 0)


async def test_whoami_names_the_agent_and_the_operator_who_answers_for_it(
    node: Node, http: Http
) -> None:
    owner, agent = new_secret(), new_secret()
    tag = attestation.attest(owner, agent.public).tag
    header = http.signed(agent, "GET", "/api/v1/whoami", tags=(tag,))
    status, found, _ = await http.ask("GET", "/api/v1/whoami", header=header)
    assert (status, found["agent"], found["operator"]) == (200, agent.public, owner.public)
    assert found["node"] == node.pubkey


async def test_the_operator_grants_once_per_key_and_reads_the_books(
    node: Node, http: Http, operator: SecretKey
) -> None:
    to = new_secret().public
    body = {"to": to, "amount_msat": 5000, "key": "first", "memo": "welcome"}
    status, found = await http.signed_ask(operator, "POST", "/api/v1/grants", body)
    assert (status, found["granted"]) == (200, True)
    status, found = await http.signed_ask(operator, "POST", "/api/v1/grants", body)
    assert (status, found["granted"]) == (200, False)
    assert await node.payments.balance(to) == (5000, 0)
    status, problem = await http.signed_ask(
        operator, "POST", "/api/v1/grants", body | {"amount_msat": 6000}
    )
    assert (status, problem["error"]) == (409, "conflict")
    status, books = await http.signed_ask(operator, "GET", "/api/v1/books")
    assert (status, books["sum_msat"]) == (200, 0)
    rows = {row["name"]: row for row in books["accounts"]}
    assert rows[to]["available_msat"] == 5000
    assert sum(row["balance_msat"] for row in rows.values()) == 0


async def test_the_description_is_openapi_and_lists_every_route(http: Http) -> None:
    status, found, _ = await http.ask("GET", "/openapi.json")
    assert status == 200
    assert found["openapi"].startswith("3.1")
    listed = {(method, path) for path, verbs in found["paths"].items() for method in verbs}
    assert listed == ROUTES
    assert all(verb["summary"] for verbs in found["paths"].values() for verb in verbs.values())
    for path in ("/api/v1/calls", "/api/v1/grants"):
        body = found["paths"][path]["post"]["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        check_schema(schema, path)
        assert schema["additionalProperties"] is False
    answers = [verb["responses"] for verbs in found["paths"].values() for verb in verbs.values()]
    assert all("422" not in one and "default" in one for one in answers)
    for name, schema in found.get("components", {}).get("schemas", {}).items():
        check_schema(schema | {"components": found["components"]}, name)


async def test_the_root_is_the_relay_s_document_or_words(node: Node, http: Http) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(node.http_url) as found:
            assert (found.status, found.content_type) == (200, "text/plain")
        accept = {"Accept": "application/nostr+json"}
        async with session.get(node.http_url, headers=accept) as found:
            assert found.headers["Access-Control-Allow-Origin"] == "*"
            assert orjson.loads(await found.read())["self"] == node.pubkey


# --- who may ----------------------------------------------------------------------------------


async def test_without_proof_of_identity_nothing_is_done(
    node: Node, http: Http, provider: Agent
) -> None:
    before = await standing(node)
    grant = orjson.dumps({"to": provider.pubkey, "amount_msat": 1, "key": "k"})
    for method, path, body in (
        ("GET", "/api/v1/balance", None),
        ("GET", "/api/v1/whoami", None),
        ("GET", "/api/v1/books", None),
        ("POST", "/api/v1/calls", orjson.dumps(CALL)),
        ("POST", "/api/v1/grants", grant),
    ):
        await http.refused(401, "auth-required", method, path, body)
    assert await standing(node) == before


async def test_only_the_operator_sees_the_books_and_grants(
    node: Node, http: Http, caller: SecretKey
) -> None:
    before = await standing(node)
    body = orjson.dumps({"to": caller.public, "amount_msat": 10**9, "key": "mine"})
    for method, path, data in (
        ("GET", "/api/v1/books", b""),
        ("POST", "/api/v1/grants", body),
    ):
        header = http.signed(caller, method, path, data)
        await http.refused(403, "restricted", method, path, data or None, header=header)
        await http.refused(
            403, "restricted", method, path, data or None, header=token(node, caller)
        )
    assert await standing(node) == before


async def test_an_operator_s_agent_is_not_the_operator(
    node: Node, http: Http, operator: SecretKey
) -> None:
    agent = new_secret()
    tag = attestation.attest(operator, agent.public).tag
    header = http.signed(agent, "GET", "/api/v1/books", tags=(tag,))
    await http.refused(403, "restricted", "GET", "/api/v1/books", header=header)


async def test_a_signed_request_is_for_one_use(
    node: Node, http: Http, provider: Agent, caller: SecretKey
) -> None:
    body = orjson.dumps(CALL)
    header = http.signed(caller, "POST", "/api/v1/calls", body)
    status, _, _ = await http.ask("POST", "/api/v1/calls", body, header=header)
    assert status == 200
    before = await standing(node)
    problem = await http.refused(401, "auth-required", "POST", "/api/v1/calls", body, header=header)
    assert "used before" in problem["reason"]
    assert await standing(node) == before


async def test_a_signature_for_another_request_is_refused(
    node: Node, http: Http, provider: Agent, caller: SecretKey
) -> None:
    before, path = await standing(node), "/api/v1/calls"
    body, other = orjson.dumps(CALL), orjson.dumps(CALL | {"max_price_msat": 1})
    elsewhere = http_auth.request_header(
        caller,
        url="http://other.example" + path,
        method="POST",
        body=body,
        now=int(time.time()),
    )
    for header, field in (
        (http.signed(caller, "POST", path, other), "Authorization.payload"),
        (http.signed(caller, "POST", path), "Authorization.payload"),
        (http.signed(caller, "PUT", path, body), "Authorization.method"),
        (http.signed(caller, "POST", "/api/v1/grants", body), "Authorization.u"),
        (http.signed(caller, "POST", path + "?a=1", body), "Authorization.u"),
        (http.signed(caller, "POST", path, body, ago_s=120), "Authorization.created_at"),
        (http.signed(caller, "POST", path, body, ago_s=-120), "Authorization.created_at"),
        (elsewhere, "Authorization.u"),
    ):
        problem = await http.refused(401, "auth-required", "POST", path, body, header=header)
        assert problem["field"] == field
    assert await standing(node) == before


async def test_a_bad_token_or_header_is_refused_with_its_field(
    node: Node, http: Http, caller: SecretKey
) -> None:
    good = token(node, caller)
    foreign = "Bearer " + http_auth.token(
        caller, node=new_secret().public, now=int(time.time()), life_s=60
    )
    forged = good[:-40] + ("A" * 40 if good[-40:] != "A" * 40 else "B" * 40)
    for header, field in (
        (token(node, caller, life_s=30, ago_s=60), "Authorization.exp"),
        (token(node, caller, ago_s=-300), "Authorization.created_at"),
        (foreign, "Authorization.aud"),
        (forged, "Authorization"),
        ("Bearer ", "Authorization"),
        ("Bearer !!!", "Authorization"),
        ("Bearer " + "A" * 9000, "Authorization"),
        ("Basic dXNlcjpwYXNz", "Authorization"),
        (good.replace("Bearer", "Nostr"), "Authorization.u"),
    ):
        problem = await http.refused(401, "auth-required", "GET", "/api/v1/balance", header=header)
        assert problem["field"].startswith(field)


async def test_a_false_attestation_is_refused(http: Http) -> None:
    agent = new_secret()
    wrong = attestation.attest(new_secret(), new_secret().public).tag
    header = http.signed(agent, "GET", "/api/v1/whoami", tags=(wrong,))
    problem = await http.refused(400, "invalid", "GET", "/api/v1/whoami", header=header)
    assert problem["field"] == "auth"


# --- what is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "error", "field"),
    [
        (b"", 400, "invalid", "body"),
        (b"{", 400, "invalid", "body"),
        (b"[1]", 400, "invalid", "body"),
        (b'{"offer": "\xff"}', 400, "invalid", "body"),
        (b"{}", 400, "invalid", "offer"),
        (orjson.dumps(CALL | {"offer": 1}), 400, "invalid", "offer"),
        (orjson.dumps(CALL | {"input": "Ada"}), 400, "invalid", "input"),
        (orjson.dumps(CALL | {"max_price": 1}), 400, "invalid", "max_price"),
        (orjson.dumps(CALL | {"max_price_msat": -1}), 400, "invalid", "max_price_msat"),
        (orjson.dumps(CALL | {"deadline_ms": 0}), 400, "invalid", "deadline_ms"),
        (orjson.dumps(CALL | {"deadline_ms": "1s"}), 400, "invalid", "deadline_ms"),
        (orjson.dumps(CALL | {"offer": "nobody"}), 404, "not-found", "offer"),
        (orjson.dumps(CALL | {"offer": "naddr1qqqq"}), 400, "invalid", "offer"),
        (orjson.dumps(CALL | {"capability": "shout"}), 404, "not-found", "capability"),
        (orjson.dumps(CALL | {"input": {}}), 400, "invalid", "input"),
        (orjson.dumps(CALL | {"input": {"name": 5}}), 400, "invalid", "input"),
        (orjson.dumps(CALL | {"input": {"name": "A", "x": 1}}), 400, "invalid", "input"),
        (orjson.dumps(CALL | {"max_price_msat": 1999}), 402, "over-cap", "max_price"),
        (orjson.dumps(CALL | {"input": {"name": "x" * 70_000}}), 413, "too-large", "input"),
        (b" " * (BODY_BYTES_MAX + 1), 413, "too-large", "body"),
    ],
)
async def test_a_bad_call_is_refused_and_changes_nothing(
    node: Node,
    http: Http,
    provider: Agent,
    caller: SecretKey,
    body: bytes,
    status: int,
    error: str,
    field: str,
) -> None:
    before = await standing(node)
    problem = await http.refused(
        status, error, "POST", "/api/v1/calls", body, header=token(node, caller)
    )
    assert problem.get("field", "").startswith(field)
    assert await standing(node) == before


@pytest.mark.parametrize("depth", [58, 100, 260, 5000])
async def test_an_input_nested_too_deeply_is_refused_before_money_moves(
    node: Node, http: Http, provider: Agent, caller: SecretKey, depth: int
) -> None:
    before = await standing(node)
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"offer":"greet","capability":"anything","input":{"value":' + deep + b"}}"
    status, problem, _ = await http.ask("POST", "/api/v1/calls", body, header=token(node, caller))
    assert status in (400, 413)
    assert problem["field"] in ("input", "body")
    assert await standing(node) == before


async def test_an_input_as_deep_as_allowed_reaches_the_provider(
    node: Node, http: Http, provider: Agent, caller: SecretKey
) -> None:
    depth = node.config.broker_bounds.input_depth_max - 1
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"offer":"greet","capability":"anything","input":{"value":' + deep + b"}}"
    _, result, _ = await http.ask("POST", "/api/v1/calls", body, header=token(node, caller))
    assert result["status"] == "settled", result


async def test_a_body_without_a_length_is_cut_off_at_its_bound(
    node: Node, http: Http, caller: SecretKey
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 * BODY_BYTES_MAX // 65536):
            yield b" " * 65536

    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{node.http_url}/api/v1/calls",
            data=endless(),
            headers={"Authorization": token(node, caller)},
        ) as found,
    ):
        assert found.status == 413
        assert orjson.loads(await found.read())["field"] == "body"


async def test_a_call_over_the_balance_is_refused_and_holds_nothing(
    node: Node, http: Http, provider: Agent
) -> None:
    poor = new_secret()
    before = await standing(node)
    problem = await http.refused(
        402,
        "insufficient-funds",
        "POST",
        "/api/v1/calls",
        orjson.dumps(CALL),
        header=token(node, poor),
    )
    assert problem["reason"]
    assert await standing(node) == before


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/api/v1/services?limit=abc", 400, "query.limit"),
        ("/api/v1/services?limit=0", 400, "limit"),
        ("/api/v1/services?limit=51", 400, "limit"),
        ("/api/v1/services?success_rate=2", 400, "success_rate"),
        ("/api/v1/services?max_price_msat=-1", 400, "max_price_msat"),
        ("/api/v1/services?words=" + "x" * 1001, 400, "words"),
        ("/api/v1/offers/nobody", 404, "offer"),
        ("/api/v1/offers/" + "x" * 2001, 400, "offer"),
        ("/api/v1/offers/31402:x:y", 404, "offer"),
        ("/api/v1/receipts/zz", 404, "id"),
        ("/api/v1/receipts/" + "0" * 64, 404, "id"),
        ("/api/v1/nothing", 404, "path"),
        ("/api/v2/status", 404, "path"),
    ],
)
async def test_a_bad_question_is_a_problem_with_field_and_reason(
    node: Node, http: Http, path: str, status: int, field: str
) -> None:
    error = "not-found" if status == 404 else "invalid"
    problem = await http.refused(status, error, "GET", path)
    assert problem["field"] == field


async def test_a_method_a_route_does_not_have_is_a_problem_too(http: Http) -> None:
    problem = await http.refused(405, "invalid", "DELETE", "/api/v1/status")
    assert problem["field"] == "method"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "nobody"}, "to"),
        ({"to": "npub1qqqq"}, "to"),
        ({"to": 5}, "body.to"),
        ({"amount_msat": 0}, "body.amount_msat"),
        ({"amount_msat": -5}, "body.amount_msat"),
        ({"amount_msat": 1.5}, "body.amount_msat"),
        ({"amount_msat": 9 * 10**18}, "body.amount_msat"),
        ({"memo": "x" * 201}, "body.memo"),
        ({"key": ""}, "body.key"),
        ({"extra": 1}, "body.extra"),
    ],
)
async def test_a_bad_grant_is_refused_and_grants_nothing(
    node: Node, http: Http, operator: SecretKey, change: dict[str, Any], field: str
) -> None:
    before = await standing(node)
    body = orjson.dumps({"to": operator.public, "amount_msat": 1000, "key": "k"} | change)
    header = http.signed(operator, "POST", "/api/v1/grants", body)
    problem = await http.refused(400, "invalid", "POST", "/api/v1/grants", body, header=header)
    assert problem["field"] == field
    assert await standing(node) == before


async def test_pages_of_other_sites_cannot_read_answers(node: Node) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"Origin": "https://evil.example"}
        async with session.get(f"{node.http_url}/api/v1/status", headers=headers) as found:
            assert "Access-Control-Allow-Origin" not in found.headers
