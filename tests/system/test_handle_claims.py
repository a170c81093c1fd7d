"""Handles between nodes: claimed with work or trust, looked up both ways, followed where they
moved, by HTTP, in the SDK and in words."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web as served
from tests.conftest import running_node
from tests.system.cli_home import Home
from tests.system.test_nip05 import Site

from hanse.agent import Agent
from hanse.clock import SystemClock
from hanse.engines.web.domains import WebDomains
from hanse.engines.web.reader import Refused, Web
from hanse.errors import (
    Conflict,
    HanseError,
    Invalid,
    NotFound,
    Restricted,
    Unavailable,
)
from hanse.identity.model import CLAIMS_MAX, FREE_LEVEL, GRACE_S, LIFE_S, Terms
from hanse.identity.resolver import Resolved, Resolver
from hanse.identity.statement import statement
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import attestation, kinds
from hanse.protocol.event import Event, Tags, encode_event, sign_event
from hanse.protocol.handle import read_handle
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.session import host_of
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.rules import Rates, Rules
from hanse.trust.rotation import Rotate, consent, statement_draft

BITS = 8
OPEN = Terms(open=True, bits=BITS)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
async def pair(tmp_path: Path, operator: SecretKey) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes of two operators that may look each other up."""
    ports = free_port(), free_port()
    near = tuple(f"127.0.0.1:{port}" for port in ports)
    async with (
        running_node(tmp_path / "a", operator, port=ports[0], near=near, handle_terms=OPEN) as one,
        running_node(
            tmp_path / "b", new_secret(), port=ports[1], near=near, handle_terms=OPEN
        ) as other,
    ):
        yield one, other


def agent_at(node: Node, secret: SecretKey | None = None) -> Agent:
    """A stranger's agent, its own operator."""
    return Agent(node.url, secret or new_secret())


def domain(node: Node) -> str:
    return host_of(node.url)


async def seen_from(node: Node, handle: str) -> Resolved:
    """What a look-up at a node gives that remembers none before."""
    resolver = Resolver(
        names=node.names,
        domains=WebDomains(node.config.near),
        clock=SystemClock(),
        hosts=frozenset({domain(node)}),
        url=node.url,
    )
    return await resolver.find(read_handle(handle), node.operator)


async def publish(node: Node, event: Event) -> None:
    found = await node.log.append_many([event])
    assert isinstance(found[0], int)


def profile(secret: SecretKey, nip05: str, at: int) -> Event:
    content = orjson.dumps({"nip05": nip05}).decode()
    return sign_event(secret, kind=kinds.PROFILE, created_at=at, content=content)


# --- claims -----------------------------------------------------------------------------------


async def test_names_are_not_claimed_unless_the_operator_opens_them(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path, operator) as node:
        with pytest.raises(Restricted, match="not claimed here"):
            await agent_at(node).handles.claim("ada")
        own = new_secret()
        tag = attestation.attest(operator, own.public).tag
        found = await Agent(node.url, own, tag).handles.claim("ada")
        assert found["pubkey"] == own.public
        assert await Site(node).who_is("ada") == own.public


async def test_a_stranger_claims_a_name_with_work_and_renews_it_without(
    pair: tuple[Node, Node],
) -> None:
    node, _ = pair
    ada = new_secret()
    handle = read_handle(f"ada@{domain(node)}")
    now = node.names._clock.now_s()
    plain = statement(ada, handle, now_s=now)
    status, problem = await post(node, plain)
    assert (status, problem["error"]) == (403, "work-needed")
    assert "statement.nonce" in problem["field"]
    found = await agent_at(node, ada).handles.claim("ada")
    assert (found["handle"], found["operator"]) == (str(handle), ada.public)
    assert found["until"] >= now + LIFE_S
    again, _ = await post(node, statement(ada, handle, now_s=now + 1))
    assert again == 200
    with pytest.raises(Conflict, match="another key's"):
        await agent_at(node).handles.claim("ada")
    with pytest.raises(Restricted, match="has 1 already"):
        await agent_at(node, ada).handles.claim("lovelace")


async def post(node: Node, event: Event) -> tuple[int, Any]:
    body = orjson.loads(encode_event(event))
    return await Site(node).ask("POST", "/api/v1/handles/statements", body)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("admin", "only the operator"),
        ("adm1n", "only the operator"),
        ("sup-port", "only the operator"),
        ("ab", "only the operator"),
        ("-ada", "begin and end"),
        ("pay.pa1", "looks like 'paypal'"),
        ("PAYPAI", "looks like 'paypal'"),
        ("shop_per", "looks like, one of the operator's own"),
    ],
)
async def test_names_that_mislead_are_refused(
    tmp_path: Path, operator: SecretKey, name: str, why: str
) -> None:
    agents = {"shopper": new_secret().public}
    async with running_node(tmp_path, operator, agents=agents, handle_terms=OPEN) as node:
        await agent_at(node).handles.claim("paypal")
        with pytest.raises((Restricted, Conflict), match=why):
            await agent_at(node).handles.claim(name)


async def test_statements_that_do_not_hold_change_nothing(pair: tuple[Node, Node]) -> None:
    node, other = pair
    now, ada = node.names._clock.now_s(), new_secret()
    here = read_handle(f"ada@{domain(node)}")

    def signed(tags: Tags, kind: int = kinds.HANDLE) -> Event:
        return sign_event(ada, kind=kind, created_at=now, tags=tags)

    good = statement(ada, here, now_s=now, bits=BITS)
    text = str(here)
    for event, field in (
        (statement(ada, here, now_s=now - 1000, bits=BITS), "statement.created_at"),
        (statement(ada, here, now_s=now + 1000, bits=BITS), "statement.created_at"),
        (statement(ada, read_handle(f"ada@{domain(other)}"), now_s=now, bits=BITS), "statement.d"),
        (signed((("d", text), ("v", "1.0.0")), kinds.NOTE), "statement.kind"),
        (signed((("d", text),)), "statement.v"),
        (signed((("d", text), ("v", "2.0.0"))), "statement.v"),
        (signed((("v", "1.0.0"),)), "statement.d"),
        (signed((("d", text), ("d", text), ("v", "1.0.0"))), "statement.d"),
        (signed((("d", "ADA@x.example"), ("v", "1.0.0"))), "statement.d"),
        (signed((("d", text), ("v", "1.0.0"), ("moved", text))), "statement.moved"),
        (signed((("d", text), ("v", "1.0.0"), ("moved", "x@y z"))), "statement.moved"),
        (statement(ada, here, now_s=now, moved=read_handle("a@b.example")), "statement.d"),
    ):
        status, problem = await post(node, event)
        assert (status >= 400, problem["field"]) == (True, field), problem
    forged = orjson.loads(encode_event(good)) | {"sig": "0" * 128}
    status, problem = await Site(node).ask("POST", "/api/v1/handles/statements", forged)
    assert (status, problem["field"]) == (400, "event.sig")
    status, _ = await Site(node).ask("POST", "/api/v1/handles/statements", {"x": "y" * 9000})
    assert status == 413
    assert await Site(node).who_is("ada") is None


async def test_a_name_is_given_back_by_its_key_or_operator_alone(pair: tuple[Node, Node]) -> None:
    node, _ = pair
    boss, ada = new_secret(), new_secret()
    tag = attestation.attest(boss, ada.public).tag
    agent = Agent(node.url, ada, tag)
    await agent.handles.claim("ada")
    with pytest.raises(Restricted):
        await agent_at(node).handles.release("ada")
    await agent_at(node, boss).handles.release("ada")
    await agent.handles.claim("ada")
    await agent.handles.release("ada")
    assert await Site(node).who_is("ada") is None


class Trusting:
    """Who thinks well of everybody."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        return FREE_LEVEL

    standing = level

    def current(self, key: PublicKey) -> PublicKey:
        return key


async def test_who_is_trusted_claims_without_work_and_more_names(pair: tuple[Node, Node]) -> None:
    node, ada = pair[0], new_secret()
    node.names._standing = Trusting()
    now = node.names._clock.now_s()
    for number in range(CLAIMS_MAX[FREE_LEVEL]):
        handle = read_handle(f"ada{'xyzuv'[number]}@{domain(node)}")
        assert (await post(node, statement(ada, handle, now_s=now)))[0] == 200
    handle = read_handle(f"adak@{domain(node)}")
    status, problem = await post(node, statement(ada, handle, now_s=now))
    assert (status, problem["error"], problem["field"]) == (403, "restricted", "handles")


async def test_work_rises_with_what_is_claimed_and_is_announced(pair: tuple[Node, Node]) -> None:
    node, _ = pair
    assert (await agent_at(node).handles.terms())["work_bits"] == BITS
    assert [OPEN.bits_now(count) - BITS for count in (0, 99, 100, 200, 400)] == [0, 0, 1, 2, 3]
    status, terms = await Site(node).ask("GET", "/api/v1/handles/terms")
    assert (status, terms["open"], terms["domain"]) == (200, True, domain(node))


class Later:
    """The node's clock, set forward."""

    def __init__(self, clock: Any, seconds: int) -> None:
        self._clock = clock
        self.seconds = seconds

    def now_s(self) -> int:
        return int(self._clock.now_s()) + self.seconds


async def test_a_claimed_name_lapses_unless_its_key_shows_life(
    pair: tuple[Node, Node], operator: SecretKey
) -> None:
    node, _ = pair
    site, ada, bob = Site(node), new_secret(), new_secret()
    await agent_at(node, ada).handles.claim("ada")
    await agent_at(node, bob).handles.claim("bob")
    given = new_secret().public
    await site.ask("POST", "/api/v1/handles", {"name": "eve", "pubkey": given}, operator)
    real = node.names._clock
    soon = real.now_s() + LIFE_S - 5
    await publish(node, sign_event(ada, kind=kinds.NOTE, created_at=soon, content="alive"))
    node.names._clock = Later(real, LIFE_S + 10)  # type: ignore[assignment]
    assert await site.who_is("ada") == ada.public
    assert await site.who_is("bob") is None
    assert await site.who_is("eve") == given
    assert await node.names.sweep() == 0  # bob may come back
    node.names._clock = Later(real, LIFE_S + GRACE_S + 10)  # type: ignore[assignment]
    assert await node.names.sweep() == 1
    assert [found.name for found in await node.names.handles()] == ["ada", "eve"]


# --- look-up ----------------------------------------------------------------------------------


@pytest.mark.requirement("NIP-05.back")
async def test_another_node_s_handle_is_found_and_checked_both_ways(
    pair: tuple[Node, Node], operator: SecretKey
) -> None:
    node, other = pair
    ada = new_secret()
    given = {"name": "ada", "pubkey": ada.public}
    await Site(node).ask("POST", "/api/v1/handles", given, operator)
    handle, seeker = f"ada@{domain(node)}", agent_at(other)
    found = await seeker.resolve(handle.upper())
    assert (found.pubkey, found.both, found.named_by) == (ada.public, False, "none")
    assert found.relays == (node.url,)
    # The profile is at the node that serves the handle: its relay hint leads there.
    await publish(node, profile(ada, handle, 1000))
    found = await seen_from(other, handle)
    assert (found.both, found.named_by, found.profile) == (True, "profile", handle)
    # What was found is told again for a while, without asking.
    await publish(node, profile(ada, "ada@elsewhere.example", 2000))
    assert (await seeker.resolve(handle)).named_by == "none"
    found = await seen_from(other, handle)
    assert (found.both, found.profile) == (False, "ada@elsewhere.example")
    with pytest.raises(NotFound, match="knows no 'nobody'"):
        await seeker.resolve(f"nobody@{domain(node)}")


async def test_a_claim_is_the_key_s_own_word(pair: tuple[Node, Node]) -> None:
    node, other = pair
    ada = new_secret()
    await agent_at(node, ada).handles.claim("ada")
    for seeker in (agent_at(node), agent_at(other)):
        found = await seeker.resolve(f"ada@{domain(node)}")
        assert (found.pubkey, found.both, found.named_by) == (ada.public, True, "claim")


async def test_the_domain_alone_is_its_operator(
    pair: tuple[Node, Node], operator: SecretKey
) -> None:
    node, other = pair
    found = await agent_at(other).resolve(domain(node))
    assert (found.pubkey, found.handle) == (operator.public, f"_@{domain(node)}")


async def test_the_old_domain_says_where_a_name_went(pair: tuple[Node, Node]) -> None:
    node, other = pair
    ada = new_secret()
    old, new = f"ada@{domain(node)}", f"lovelace@{domain(other)}"
    await agent_at(node, ada).handles.claim("ada")
    await agent_at(other, ada).handles.claim("lovelace")
    with pytest.raises(Restricted, match="only the key that has"):
        await agent_at(node).handles.move("ada", new)
    await agent_at(node, ada).handles.move("ada", new)
    for seeker in (agent_at(node), agent_at(other)):
        found = await seeker.resolve(old)
        assert (found.asked, found.handle, found.forwards) == (old, new, (new,))
        assert (found.pubkey, found.both) == (ada.public, True)
    # Others than us still find the key at the old domain.
    assert await Site(node).who_is("ada") == ada.public
    with pytest.raises(Conflict):
        await agent_at(node).handles.claim("ada")


async def test_an_older_statement_does_not_undo_a_move(pair: tuple[Node, Node]) -> None:
    node, other = pair
    ada, now = new_secret(), node.names._clock.now_s()
    here, there = read_handle(f"ada@{domain(node)}"), read_handle(f"ada@{domain(other)}")
    claim = statement(ada, here, now_s=now - 2, bits=BITS)
    assert (await post(node, claim))[0] == 200
    assert (await post(node, statement(ada, here, now_s=now, moved=there)))[0] == 200
    status, problem = await post(node, claim)
    assert (status, problem["error"]) == (400, "stale")
    assert (await node.names.handle("ada")).moved == str(there)  # type: ignore[union-attr]


async def test_a_move_to_another_key_or_in_a_circle_is_refused(pair: tuple[Node, Node]) -> None:
    node, other = pair
    ada, bob = new_secret(), new_secret()
    at_node, at_other = f"ada@{domain(node)}", f"ada@{domain(other)}"
    await agent_at(node, ada).handles.claim("ada")
    await agent_at(other, bob).handles.claim("ada")
    await agent_at(node, ada).handles.move("ada", at_other)
    with pytest.raises(Invalid, match="another key's"):
        await agent_at(other).resolve(at_node)
    await agent_at(other, bob).handles.release("ada")
    await agent_at(other, ada).handles.claim("ada")
    await agent_at(other, ada).handles.move("ada", at_node)
    with pytest.raises(Invalid, match="leads back"):
        await seen_from(other, at_node)


async def test_forwards_end_after_three(tmp_path: Path, operator: SecretKey) -> None:
    ada = new_secret()
    tag = attestation.attest(operator, ada.public).tag
    async with running_node(tmp_path, operator) as node:
        agent = Agent(node.url, ada, tag)
        names = [f"ada{letter}" for letter in "bcefg"]
        for name in names:
            await agent.handles.claim(name)
        for name, after in pairwise(names):
            await agent.handles.move(name, f"{after}@{domain(node)}")
        found = await agent.resolve(f"{names[1]}@{domain(node)}")
        assert (found.handle, len(found.forwards)) == (f"{names[-1]}@{domain(node)}", 3)
        with pytest.raises(Invalid, match="more than 3"):
            await agent.resolve(f"{names[0]}@{domain(node)}")


async def test_a_name_follows_its_identity_to_a_new_key(pair: tuple[Node, Node]) -> None:
    node, other = pair
    ada, new, site = new_secret(), new_secret(), Site(pair[0])
    await agent_at(node, ada).handles.claim("ada")
    now = node.names._clock.now_s()
    action = Rotate(to=new.public, consent=consent(new, ada.public))
    content, tags = statement_draft(ada.public, action)
    rotation = sign_event(
        ada, kind=kinds.KEY_STATEMENT, created_at=now - 1, content=content, tags=tags
    )
    await publish(node, rotation)
    async with asyncio.timeout(20):
        while await site.who_is("ada") != new.public:
            await asyncio.sleep(0.02)
    with pytest.raises(Restricted):
        await agent_at(node, ada).handles.release("ada")
    with pytest.raises(Restricted, match="given up"):
        await agent_at(node, ada).handles.move("ada", f"eve@{domain(other)}")
    assert (await agent_at(other).resolve(f"ada@{domain(node)}")).pubkey == new.public
    await agent_at(node, new).handles.claim("ada")
    found = await seen_from(other, f"ada@{domain(node)}")
    assert (found.pubkey, found.named_by) == (new.public, "claim")


# --- what strangers answer --------------------------------------------------------------------

Handler = Callable[[served.Request], Awaitable[served.StreamResponse]]


@asynccontextmanager
async def a_domain(handler: Handler) -> AsyncIterator[str]:
    """A web server on loopback that answers everything with `handler`; its `host:port`."""
    app = served.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = served.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await served.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.requirement("NIP-05.followed-nowhere")
async def test_documents_that_answer_badly_are_refused_by_reason(
    tmp_path: Path, operator: SecretKey
) -> None:
    key = new_secret().public
    documents: dict[str, Any] = {
        "none": {},
        "list": [],
        "names": {"names": 5},
        "npub": {"names": {"npub": "npub1abc"}},
        "upper": {"names": {"upper": key.upper()}},
        "odd": {
            "names": {"odd": key},
            "relays": {key: [5, "http://x", "ws://", "wss://" + "a" * 300, "wss://10.0.0.1/"]},
            "statements": {"odd": {"id": 5}},
        },
    }

    async def answer(request: served.Request) -> served.StreamResponse:
        name = request.query["name"]
        if name == "away":
            raise served.HTTPFound("/.well-known/nostr.json?name=odd")
        if name == "large":
            return served.Response(body=b" " * (1 << 20))
        return served.json_response(documents[name])

    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(a_domain(answer))
        node = await stack.enter_async_context(running_node(tmp_path, operator, near=(host,)))
        seeker = agent_at(node)
        for name, error in (
            ("none", Invalid),
            ("list", Invalid),
            ("names", Invalid),
            ("npub", Invalid),
            ("upper", Invalid),
            ("away", Unavailable),
            ("large", Invalid),
        ):
            with pytest.raises(error):
                await seeker.resolve(f"{name}@{host}")
        found = await seeker.resolve(f"odd@{host}")
        assert (found.pubkey, found.both) == (key, False)
        assert found.relays == ("wss://10.0.0.1/",)


async def test_look_ups_never_reach_into_our_own_network(node: Node) -> None:
    async def hidden(request: served.Request) -> served.StreamResponse:
        raise AssertionError("asked")

    async with a_domain(hidden) as host:
        for place in (host, "10.0.0.1", "169.254.169.254", f"localhost:{host.partition(':')[2]}"):
            with pytest.raises(Invalid):
                await agent_at(node).resolve(f"ada@{place}")
        relays = (f"ws://{host}/", f"wss://{host}/")
        assert await WebDomains().profile(PublicKey("0" * 64), relays) is None


async def test_a_relay_that_redirects_is_not_followed() -> None:
    asked: list[str] = []

    async def inside(request: served.Request) -> served.StreamResponse:
        asked.append(request.path)
        return served.Response()

    async with a_domain(inside) as hidden:

        async def away(request: served.Request) -> served.StreamResponse:
            raise served.HTTPFound(f"http://{hidden}/")

        async with a_domain(away) as start, Web(f"http://{start}/") as web:
            with pytest.raises((Refused, Unavailable)):
                async with web.socket(f"ws://{start}/"):
                    pass
    assert asked == []


async def test_look_ups_need_a_proof_and_are_few_at_once(
    tmp_path: Path, operator: SecretKey
) -> None:
    release = asyncio.Event()

    async def slow(request: served.Request) -> served.StreamResponse:
        await release.wait()
        return served.json_response({"names": {}})

    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(a_domain(slow))
        node = await stack.enter_async_context(running_node(tmp_path, operator, near=(host,)))
        status, _ = await Site(node).ask("GET", f"/api/v1/handles/find?handle=a%40{host}")
        assert status == 401
        seeker, many = agent_at(node), []

        async def one(number: int) -> HanseError:
            try:
                await seeker.resolve(f"a{number}@{host}")
            except HanseError as exc:
                if exc.slug == "rate-limited":
                    release.set()
                return exc
            raise AssertionError("found")

        many = await asyncio.gather(*(one(number) for number in range(5)))
        slugs = sorted(found.slug for found in many)
        assert slugs == ["not-found"] * 4 + ["rate-limited"]


async def test_who_looks_up_from_afar_is_limited_and_who_is_here_is_not(
    tmp_path: Path, operator: SecretKey
) -> None:
    rules, afar = Rules(rates=Rates(address=Rate(0.01, 3))), {"X-Forwarded-For": "203.0.113.7"}
    async with (
        running_node(tmp_path, operator, rules=rules) as node,
        aiohttp.ClientSession(node.http_url) as session,
    ):

        async def status(path: str, **headers: str) -> int:
            async with session.get(path, headers=headers) as found:
                return found.status

        asked = "/.well-known/nostr.json?name=_"
        assert [await status(asked, **afar) for _ in range(4)] == [200, 200, 200, 429]
        # A look-up elsewhere costs more than all that, and is counted before anything is asked.
        other = {"X-Forwarded-For": "203.0.113.8"}
        find = "/api/v1/handles/find?handle=ada%40example.com"
        assert [await status(find, **other) for _ in range(2)] == [401, 429]
        assert await status("/api/v1/handles/terms", **other) == 429
        assert [await status(asked) for _ in range(5)] == [200] * 5


# --- in words ---------------------------------------------------------------------------------


def test_names_are_claimed_found_and_moved_in_words(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "one"), Home(tmp_path / "two")
    home.run("init")
    other.run("init")
    ports = free_port(), free_port()
    near = [word for port in ports for word in ("--near", f"127.0.0.1:{port}")]
    more = ("--open-handles", "--handle-work", "8", *near, "--json")
    with (
        home.started("up", "--port", str(ports[0]), *more) as one,
        other.started("up", "--port", str(ports[1]), *more) as two,
    ):
        one.line()
        two.line()
        far = ("--node", f"ws://127.0.0.1:{ports[1]}")
        claimed = home.json("handle", "claim", "ada", *far)
        handle = f"ada@127.0.0.1:{ports[1]}"
        assert claimed["handle"] == handle
        found = home.json("handle", "find", handle)
        assert (found["pubkey"], found["named_by"]) == (claimed["pubkey"], "claim")
        assert "in a claim it signed" in home.run("handle", "find", handle).stdout
        assert home.json("find", "anything", "--provider", handle)["services"] == []
        home.json("handle", "claim", "ada")
        here = f"ada@127.0.0.1:{ports[0]}"
        assert home.json("handle", "move", "ada", here, *far)["moved"] == here
        assert other.json("handle", "find", handle)["handle"] == here
        assert "not-found" in str(home.json("call", f"{handle}/none", "x", code=1))
        assert "moved to" in other.run("handle", "list").stdout
        assert home.json("handle", "release", "ada", *far) == {"removed": "ada"}
        assert "domain" in home.refused("handle", "find", "a@b@c d")
