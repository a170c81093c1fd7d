"""Names at a node's domain (NIP-05): who is answered, who may change them, by HTTP and in words."""

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.conftest import running_node
from tests.system.cli_home import Home

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth
from hanse.protocol.address import encode_npub
from hanse.protocol.keys import SecretKey

SHOPPER = new_secret()


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    agents = {"shopper": SHOPPER.public, "Loud": new_secret().public}
    async with running_node(tmp_path / "data", operator, agents=agents) as found:
        yield found


class Site:
    """Requests to one node, signed when given a key."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def ask(
        self, method: str, path: str, body: Any = None, by: SecretKey | None = None
    ) -> tuple[int, Any]:
        """(status, JSON)."""
        url, data = self.node.http_url + path, b"" if body is None else orjson.dumps(body)
        headers = {}
        if by is not None:
            salt = (("salt", secrets.token_hex(8)),)
            now = int(time.time())
            headers["Authorization"] = http_auth.request_header(
                by, url=url, method=method, body=data, now=now, tags=salt
            )
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, url, data=data or None, headers=headers, allow_redirects=False
            ) as found,
        ):
            if path.startswith("/.well-known"):
                assert found.headers["Access-Control-Allow-Origin"] == "*"
            return found.status, orjson.loads(await found.read())

    async def who_is(self, name: str) -> str | None:
        """Whose name it is; checked with its relays."""
        status, found = await self.ask("GET", f"/.well-known/nostr.json?name={name}")
        assert status == 200
        pubkey: str | None = found["names"].get(name.lower())
        if pubkey is None:
            assert found == {"names": {}}
        else:
            assert found["relays"] == {pubkey: [self.node.url]}
        return pubkey


async def test_the_operator_and_their_agents_have_names(node: Node, operator: SecretKey) -> None:
    site = Site(node)
    assert await site.who_is("_") == operator.public
    assert await site.who_is("shopper") == SHOPPER.public
    assert await site.who_is("SHOPPER") == SHOPPER.public
    assert await site.who_is("nobody") is None


@pytest.mark.parametrize(
    "query", ["", "?name=", "?name=a%20b", "?name=%C3%A9", "?name=" + "a" * 65]
)
async def test_a_name_that_cannot_be_is_refused(node: Node, query: str) -> None:
    status, problem = await Site(node).ask("GET", "/.well-known/nostr.json" + query)
    assert (status, problem["field"]) == (400, "query.name")


async def test_the_operator_gives_lists_and_takes_names(node: Node, operator: SecretKey) -> None:
    site, ada = Site(node), new_secret().public
    body = {"name": "Ada", "pubkey": encode_npub(ada)}
    status, found = await site.ask("POST", "/api/v1/handles", body, operator)
    assert (status, found["name"], found["pubkey"]) == (200, "ada", ada)
    assert await site.who_is("ada") == ada
    other = {"name": "ada", "pubkey": new_secret().public}
    status, problem = await site.ask("POST", "/api/v1/handles", other, operator)
    assert (status, problem["error"]) == (409, "conflict")
    _, found = await site.ask("GET", "/api/v1/handles", by=operator)
    rows = [(row["name"], row["kind"]) for row in found["handles"]]
    assert rows[:3] == [("ada", "given"), ("_", "own"), ("shopper", "own")]
    status, _ = await site.ask("DELETE", "/api/v1/handles/ada", by=operator)
    assert status == 200
    assert await site.who_is("ada") is None
    status, problem = await site.ask("DELETE", "/api/v1/handles/ada", by=operator)
    assert (status, problem["error"]) == (404, "not-found")


async def test_a_given_name_comes_before_an_agent_s(node: Node, operator: SecretKey) -> None:
    site, other = Site(node), new_secret().public
    await site.ask("POST", "/api/v1/handles", {"name": "shopper", "pubkey": other}, operator)
    assert await site.who_is("shopper") == other
    await site.ask("DELETE", "/api/v1/handles/shopper", by=operator)
    assert await site.who_is("shopper") == SHOPPER.public


async def test_nobody_else_gives_or_takes_names(node: Node, operator: SecretKey) -> None:
    site, eve = Site(node), new_secret()
    body = {"name": "eve", "pubkey": eve.public}
    for method, path, data in (
        ("GET", "/api/v1/handles", None),
        ("POST", "/api/v1/handles", body),
        ("DELETE", "/api/v1/handles/shopper", None),
    ):
        assert (await site.ask(method, path, data))[0] == 401
        assert (await site.ask(method, path, data, eve))[0] == 403
    assert await site.who_is("eve") is None


async def test_names_outlive_the_node(tmp_path: Path, operator: SecretKey) -> None:
    ada = new_secret().public
    async with running_node(tmp_path, operator) as node:
        body = {"name": "ada", "pubkey": ada}
        await Site(node).ask("POST", "/api/v1/handles", body, operator)
    async with running_node(tmp_path, operator) as node:
        assert await Site(node).who_is("ada") == ada


def test_names_are_given_listed_and_taken_in_words(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.run("init")
    ada = encode_npub(new_secret().public)
    with home.started("up", "--port", "0", "--json", "--log-level", "info") as running:
        running.line()
        assert home.json("handle", "add", "ada", ada)["npub"] == ada
        names = {row["name"]: row["kind"] for row in home.json("handle", "list")["handles"]}
        assert names == {"ada": "given", "_": "own", "default": "own"}
        assert ada in home.run("handle", "list").stdout
        assert "a-z" in home.refused("handle", "add", "a b", ada)
        assert home.json("handle", "remove", "ada") == {"removed": "ada"}
        assert "not-found" in str(home.json("handle", "remove", "ada", code=1))
    lines = [orjson.loads(line) for line in running.said.splitlines()]
    assert {"node.up", "http.request", "node.draining"} <= {line["event"] for line in lines}


def test_a_log_level_that_is_none_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.run("init")
    assert home.refused("up", "--log-level", "loud").startswith("invalid: log-level")
