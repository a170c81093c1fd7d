"""The relay's verbs by HTTP: the same admission and the same answers as over the socket."""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.conftest import running_node
from tests.relay_peer import SEALED, Peer, a_peer

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth, kinds
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.api.twins import EVENTS_BYTES_MAX, EVENTS_MAX, MORE, NDJSON


@pytest.fixture(scope="module")
def operator() -> SecretKey:
    return new_secret()


@pytest.fixture(scope="module")
async def node(
    tmp_path_factory: pytest.TempPathFactory, operator: SecretKey
) -> AsyncIterator[Node]:
    """One node for all tests here: each publishes by keys of its own."""
    folder = tmp_path_factory.mktemp("node")
    async with running_node(folder, operator, query_limit_max=20) as found:
        yield found


class Browser:
    """Posts as a page of another site does, signing when it is given a key."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self._node = node
        self._session = session

    async def post(
        self, path: str, body: bytes, *, by: SecretKey | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """(status, JSON or text, headers)."""
        url = self._node.http_url + path
        headers["Origin"] = "https://page.example"
        if by is not None:
            headers["Authorization"] = http_auth.request_header(
                by,
                url=url,
                method="POST",
                body=body,
                now=int(time.time()),
                tags=(("salt", secrets.token_hex(8)),),
            )
        async with self._session.post(url, data=BytesIO(body), headers=headers) as found:
            assert found.headers["Access-Control-Allow-Origin"] == "*"
            raw = await found.read()
            if "json" not in found.content_type or found.content_type == NDJSON:
                return found.status, raw, found.headers
            return found.status, orjson.loads(raw), found.headers

    async def publish(self, *events: Event) -> Any:
        """Publish one, or several as a list; what became of them."""
        raws = [encode_event(event) for event in events]
        body = raws[0] if len(raws) == 1 else b"[" + b",".join(raws) + b"]"
        _, found, _ = await self.post("/events", body)
        return found

    async def ids(self, *filters: dict[str, Any], by: SecretKey | None = None) -> list[str]:
        """Ids of a query's answer."""
        status, found, _ = await self.post("/query", orjson.dumps(filters), by=by)
        assert status == 200, found
        return [event["id"] for event in found]


@pytest.fixture
async def browser(node: Node) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as session:
        yield Browser(node, session)


@pytest.fixture
async def peer(node: Node) -> AsyncIterator[Peer]:
    async with a_peer(node.url) as found:
        yield found


def note(by: SecretKey, content: str = "", **changes: Any) -> Event:
    fields: dict[str, Any] = {"kind": 1, "created_at": int(time.time()), "content": content}
    return sign_event(by, **(fields | changes))


# --- /events ----------------------------------------------------------------------------------


async def test_an_event_is_kept_and_goes_to_live_subscriptions(
    node: Node, browser: Browser, peer: Peer
) -> None:
    event = note(new_secret(), "by HTTP")
    await peer.say("REQ", "live", {"authors": [event.pubkey]})
    assert (await peer.hear())[:2] == ["EOSE", "live"]
    status, found, _ = await browser.post("/events", encode_event(event))
    assert (status, found) == (200, {"id": event.id, "accepted": True, "message": ""})
    heard = await peer.hear()
    assert (heard[0], heard[2]["id"]) == ("EVENT", event.id)
    again = await browser.publish(event)
    assert again["accepted"]
    assert again["message"].startswith("duplicate: ")


async def test_many_events_have_a_fate_each_in_order(browser: Browser) -> None:
    author = new_secret()
    good = [note(author, str(number)) for number in range(30)]
    bad = encode_event(good[3]).replace(b'"content":"3"', b'"content":"4"')
    raws = [encode_event(event) for event in good]
    body = b"[" + b",".join([*raws[:3], bad, b'{"id":1}', *raws[4:]]) + b"]"
    status, found, _ = await browser.post("/events", body)
    assert status == 200
    assert [one["accepted"] for one in found] == [True] * 3 + [False] * 2 + [True] * 26
    assert found[3]["id"] == good[3].id
    assert found[4]["id"] is None
    assert all(found[at]["message"].startswith("invalid: ") for at in (3, 4))
    assert set(await browser.ids({"authors": [author.public], "limit": 20})) <= {e.id for e in good}


async def test_a_refused_event_has_the_status_of_its_word(browser: Browser) -> None:
    author = new_secret()
    event = note(author)
    late = note(author, created_at=int(time.time()) + 3600)
    protected = note(author, tags=(("-",),))
    for body, status, word in (
        (encode_event(event).replace(b'"kind":1', b'"kind":2'), 400, "invalid"),
        (encode_event(late), 400, "invalid"),
        (encode_event(note(author, kind=kinds.CLIENT_AUTH)), 403, "restricted"),
        (b'{"id": "x"}', 400, "invalid"),
        (b"null", 400, "invalid"),
        (b"{", 400, "invalid"),
        (b"", 400, "invalid"),
    ):
        got, found, _ = await browser.post("/events", body)
        assert (got, found["accepted"]) == (status, False), found
        assert found["message"].startswith(f"{word}: ")
    got, found, headers = await browser.post("/events", encode_event(protected))
    assert (got, found["accepted"]) in ((401, False), (403, False))
    assert ("WWW-Authenticate" in headers) == (got == 401)
    assert await browser.ids({"authors": [author.public]}) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[1,", 400),
        (b"[" + b"1," * EVENTS_MAX + b"1]", 413),
        (b" " * (EVENTS_BYTES_MAX + 1), 413),
    ],
)
async def test_a_body_that_is_no_list_of_events_is_refused_whole(
    browser: Browser, body: bytes, status: int
) -> None:
    got, problem, headers = await browser.post("/events", body)
    assert (got, problem["field"]) == (status, "body")
    assert headers["Content-Type"] == "application/problem+json"


async def test_a_proof_of_identity_that_does_not_hold_publishes_nothing(
    node: Node, browser: Browser
) -> None:
    author = new_secret()
    event = encode_event(note(author))
    header = http_auth.request_header(
        author, url=node.http_url + "/events", method="POST", body=b"{}", now=int(time.time())
    )
    status, problem, _ = await browser.post("/events", event, Authorization=header)
    assert (status, problem["field"]) == (401, "Authorization.payload")
    assert await browser.ids({"authors": [author.public]}) == []


async def test_a_message_to_nobody_is_not_accepted_and_no_fault(browser: Browser) -> None:
    to = new_secret().public
    event = note(new_secret(), kind=kinds.RPC, tags=(("p", to),))
    status, found, _ = await browser.post("/events", encode_event(event))
    assert (status, found["accepted"]) == (200, False)
    assert found["message"].startswith("mute: ")


# --- /query -----------------------------------------------------------------------------------


async def test_a_query_answers_what_the_socket_answers(browser: Browser, peer: Peer) -> None:
    author = new_secret()
    now = int(time.time())
    events = [note(author, str(number), created_at=now - number % 3) for number in range(9)]
    await browser.publish(*events)
    asked: list[dict[str, Any]] = [{"authors": [author.public]}, {"ids": [events[0].id]}]
    await peer.say("REQ", "q", *asked)
    heard = []
    while (message := await peer.hear())[0] == "EVENT":
        heard.append(message[2])
    status, found, headers = await browser.post("/query", orjson.dumps(asked))
    assert (status, headers[MORE], headers["Content-Type"]) == (200, "false", "application/json")
    assert found == heard
    assert len(found) == 9
    one = orjson.dumps(asked[0])
    status, lines, headers = await browser.post("/query", one, Accept=NDJSON)
    assert (status, headers["Content-Type"]) == (200, NDJSON)
    assert [json.loads(line) for line in lines.splitlines()] == found


async def test_a_query_says_whether_there_is_more(browser: Browser) -> None:
    author = new_secret()
    now = int(time.time())
    events = [note(author, str(number), created_at=now - number) for number in range(25)]
    await browser.publish(*events)
    asked = {"authors": [author.public]}
    _, found, headers = await browser.post("/query", orjson.dumps(asked))
    assert [event["id"] for event in found] == [event.id for event in events[:20]]
    assert headers[MORE] == "true"
    rest = asked | {"until": found[-1]["created_at"] - 1}
    _, found, headers = await browser.post("/query", orjson.dumps(rest))
    assert [event["id"] for event in found] == [event.id for event in events[20:]]
    assert headers[MORE] == "false"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"1", "filter[0]"),
        (b'{"kinds": ["1"]}', "filter[0].kinds"),
        (b'[{}, {"ids": ["x"]}]', "filter[1].ids"),
        (b"[" + b"{}," * 20 + b"{}]", "body"),
    ],
)
@pytest.mark.parametrize("path", ["/query", "/count"])
async def test_a_bad_filter_is_refused_by_field(
    browser: Browser, path: str, body: bytes, field: str
) -> None:
    status, problem, _ = await browser.post(path, body)
    assert (status, problem["field"]) == (400, field)


async def test_private_events_go_to_their_proven_recipient_alone(browser: Browser) -> None:
    to, other = new_secret(), new_secret()
    wrap = note(new_secret(), SEALED, kind=kinds.GIFT_WRAP, tags=(("p", to.public),))
    await browser.publish(wrap)
    asked = orjson.dumps({"kinds": [kinds.GIFT_WRAP]})
    for path in ("/query", "/count"):
        status, problem, headers = await browser.post(path, asked)
        assert (status, problem["error"]) == (401, "auth-required")
        assert headers["WWW-Authenticate"] == "Nostr"
    assert await browser.ids({"ids": [wrap.id]}) == []
    assert await browser.ids({"ids": [wrap.id]}, by=other) == []
    assert await browser.ids({"ids": [wrap.id]}, by=to) == [wrap.id]
    mine = orjson.dumps({"ids": [wrap.id]})
    for by, count in ((None, 0), (other, 0), (to, 1)):
        _, found, _ = await browser.post("/count", mine, by=by)
        assert found["count"] == count


# --- /count -----------------------------------------------------------------------------------


async def test_a_count_is_of_all_that_match_beyond_any_limit(browser: Browser) -> None:
    author = new_secret()
    await browser.publish(*(note(author, str(number)) for number in range(25)))
    asked = [{"authors": [author.public]}, {"authors": [author.public], "kinds": [1]}]
    status, found, _ = await browser.post("/count", orjson.dumps(asked))
    assert (status, found["count"]) == (200, 25)


# --- whatever comes ---------------------------------------------------------------------------


async def test_no_body_whatever_it_is_makes_the_node_fail(browser: Browser) -> None:
    chance = random.Random(5)
    event = encode_event(note(new_secret(), "mutated", tags=(("t", "x"), ("expiration", "9"))))
    asked = orjson.dumps([{"kinds": [1], "#t": ["x"], "since": 1, "limit": 2}, {"ids": []}])
    bodies = [b"[" * 100_000, b'{"a":' * 5000, b'{"since":1e999}', b'{"#t":["\\ud800"]}', b"\xff"]
    for _ in range(150):
        mutant = bytearray(chance.choice((event, asked)))
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant))] = chance.choice(b'{}[]",:0\\\x00\xff')
        bodies.append(bytes(mutant))
    for body in bodies:
        for path in ("/events", "/query", "/count"):
            status, found, _ = await browser.post(path, body)
            assert status in (200, 400, 401, 403, 413), (path, body[:200], found)


# --- what browsers need -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/events", "/query", "/count", "/.well-known/nostr.json", "/"])
async def test_a_page_may_ask_before_it_posts(node: Node, path: str) -> None:
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.options(node.http_url + path, headers=headers) as found,
    ):
        assert found.status == 204
        assert found.headers["Access-Control-Allow-Origin"] == "*"
        assert "Authorization" in found.headers["Access-Control-Allow-Headers"]
        assert "POST" in found.headers["Access-Control-Allow-Methods"]


async def test_a_flood_by_http_is_answered_each_and_kept(browser: Browser) -> None:
    author = new_secret()
    events = [note(author, str(number)) for number in range(200)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(browser.publish(event)) for event in events]
    assert all(task.result()["accepted"] for task in made)
    _, found, _ = await browser.post("/count", orjson.dumps({"authors": [author.public]}))
    assert found["count"] == 200


async def test_a_denied_address_reads_nothing_by_http(node: Node, browser: Browser) -> None:
    node.admission.lists.denied_addresses["127.0.0.1"] = ""
    for path in ("/query", "/count"):
        status, problem, _ = await browser.post(path, b"{}")
        assert (status, problem["error"]) == (403, "restricted")
    del node.admission.lists.denied_addresses["127.0.0.1"]
    assert (await browser.post("/query", b"{}"))[0] == 200


async def test_one_request_s_filters_share_one_bound_on_values(browser: Browser) -> None:
    many = [{"#t": [f"{number} {n}" for n in range(900)]} for number in range(12)]
    status, problem, _ = await browser.post("/query", orjson.dumps(many))
    assert (status, problem["field"]) == (400, "filters")


async def test_a_draining_node_takes_no_events_by_http(tmp_path: Path, operator: SecretKey) -> None:
    async with running_node(tmp_path, operator) as node, aiohttp.ClientSession() as session:
        await node.ingest.drain()
        event = note(new_secret())
        status, found, headers = await Browser(node, session).post("/events", encode_event(event))
        assert (status, found["accepted"]) == (503, False)
        assert found["message"] == "error: the node is shutting down"
        assert "Retry-After" in headers
