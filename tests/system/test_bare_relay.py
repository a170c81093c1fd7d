"""A node without doors beside its relay (`hanse up --doors ''`): what it answers by HTTP."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import orjson
import pytest
from tests.conftest import running_node
from tests.relay_peer import a_peer
from tests.system.test_management import RPC, info

from hanse.node import Node
from hanse.protocol.event import encode_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.info import SUPPORTED


@pytest.fixture
async def bare(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "bare", operator, doors=frozenset()) as found:
        yield found


async def asked(
    node: Node, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
) -> tuple[int, bytes, Mapping[str, str]]:
    """(status, body, headers)."""
    headers = {"Content-Type": content_type, "Accept": "application/nostr+json"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, node.http_url + path, data=body, headers=headers) as found,
    ):
        return found.status, await found.read(), found.headers


async def test_its_document_claims_nothing_that_needs_the_api(bare: Node, node: Node) -> None:
    claimed = (await info(bare))["supported_nips"]
    assert claimed == [nip for nip in SUPPORTED if nip not in (86, 98)]
    assert (await info(node))["supported_nips"] == list(SUPPORTED)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
        ("POST", "/health", 405),
        ("POST", "/ready", 405),
        ("POST", "/events", 404),
        ("GET", "/events", 404),
        ("OPTIONS", "/events", 404),
        ("POST", "/query", 404),
        ("GET", "/metrics", 404),
        ("GET", "/api/v1/status", 404),
        ("POST", "/mcp", 404),
        ("GET", "/.well-known/nostr.json", 404),
        ("GET", "//", 404),
    ],
)
async def test_what_it_does_not_serve_is_no_success(
    bare: Node, method: str, path: str, status: int
) -> None:
    found, body, headers = await asked(bare, method, path, b"{}")
    assert found == status
    assert headers["Content-Type"] == "application/problem+json"
    problem = orjson.loads(body)
    assert (problem["status"], problem["field"]) == (status, "method" if status == 405 else "path")
    assert ("Allow" in headers) == (status == 405)


async def test_who_publishes_or_manages_by_http_is_not_told_that_it_worked(bare: Node) -> None:
    async with a_peer(bare.url) as peer:
        event = peer.note("by HTTP")
        assert (await asked(bare, "POST", "/events", encode_event(event)))[0] == 404
        assert await peer.ask({"ids": [event.id]}) == []
    body = orjson.dumps({"method": "supportedmethods", "params": []})
    assert (await asked(bare, "POST", "/", body, RPC))[0] == 405


async def test_its_document_is_there_for_whoever_asks(bare: Node) -> None:
    for path in ("/", "/?query"):
        status, body, headers = await asked(bare, "GET", path)
        assert status == 200
        assert headers["Content-Type"] == "application/nostr+json"
        assert orjson.loads(body)["self"] == bare.pubkey
    status, body, _ = await asked(bare, "HEAD", "/")
    assert (status, body) == (200, b"")
    status, body, headers = await asked(bare, "OPTIONS", "/")
    assert (status, body) == (204, b"")
    assert "POST" not in headers["Access-Control-Allow-Methods"]


async def test_its_document_says_what_was_decided_since_it_started(bare: Node) -> None:
    assert "allowed_kinds" not in (await info(bare))["limitation"]
    await bare.moderation.allow_kind(1)
    assert (await info(bare))["limitation"]["allowed_kinds"] == [1]
