"""Many nodes over one PostgreSQL and one NATS: what enters at one is there at all."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conftest import People, running_node
from tests.relay_peer import Peer, a_peer, eventually
from tests.servers import NatsServer, PostgresServer

from hanse.agent import Agent, Result
from hanse.broker.service import Bounds
from hanse.config import SecretUrl
from hanse.errors import HanseError, Invalid, NotFound, Unavailable
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth, kinds
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import Peer as Peered
from hanse.protocol.peer import read_peer

DAY = timedelta(days=1)

Starting = Callable[..., Awaitable[Node]]


class Cluster:
    """Starts nodes of one key on one database and one bus."""

    def __init__(self, folder: Path, database: str, bus: str, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.secret, self.operator = new_secret(), new_secret()
        self.settings: dict[str, Any] = {
            "database": SecretUrl(database),
            "bus": SecretUrl(bus),
            "broker_bounds": Bounds(foreign_grace_ms=200),
        }

    async def node(self, name: str) -> Node:
        """One more, until the test ends."""
        return await self.stack.enter_async_context(self.running(name))

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[Node]:
        """One more, until the block ends."""
        settings = self.settings | {"instance": name}
        async with running_node(self.folder / name, self.operator, self.secret, **settings) as node:
            yield node

    async def peer(self, node: Node, secret: SecretKey | None = None) -> Peer:
        """A plain client of one node."""
        return await self.stack.enter_async_context(a_peer(node.url, secret))

    async def agent(
        self, node: Node, credits: str | None = None, secret: SecretKey | None = None
    ) -> Agent:
        """An agent connected to one node."""
        return await People(node, self.stack).connected(credits, secret=secret)


@pytest.fixture
async def cluster(
    tmp_path: Path, postgres: PostgresServer, nats: NatsServer
) -> AsyncIterator[Cluster]:
    """A database of its own; node keys are new, so that the bus is its own, too."""
    async with AsyncExitStack() as stack:
        yield Cluster(tmp_path, await postgres.new_database(), nats.url, stack)


@pytest.fixture
async def two(cluster: Cluster) -> tuple[Node, Node]:
    """Two nodes that hear each other."""
    a, b = await cluster.node("a"), await cluster.node("b")
    await eventually(lambda: a.bus.others == 1 and b.bus.others == 1)
    return a, b


class Shop:
    """A provider at one node: `upper` costs 3 sat, and waits while the shop is closed."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.worked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.address = f"{kinds.OFFER}:{agent.pubkey}:upper"

    async def upper(self, text: str) -> str:
        """Write it in capitals."""
        self.worked += 1
        await self.open.wait()
        return text.upper()

    async def buy(self, agent: Agent, text: str = "a", **terms: Any) -> Result:
        """One call of it."""
        return await agent.call(self.address, {"text": text}, capability="upper", **terms)


async def a_shop(
    cluster: Cluster, at: Node, seen_from: Node, until: AsyncExitStack | None = None
) -> Shop:
    """A shop that serves at one node and can be found from another."""
    shop = Shop(await People(at, until or cluster.stack).connected())
    shop.agent.provide(price="3sat")(shop.upper)
    await shop.agent.serve()
    await eventually(lambda: seen_from.presence.is_present(shop.agent.pubkey))
    return shop


async def settled_books(node: Node) -> None:
    """Nothing is on hold and the books sum to zero."""
    found = await node.payments.books()
    assert found.sum_msat == 0
    assert await node.payments.totals() == (0, 0)


def peered(node: Node) -> list[str]:
    """The URLs that a node mirrors."""
    return [found["url"] for found in node.peers.statuses()]


def mirrored(node: Node) -> str:
    """How its only peer is."""
    (found,) = node.peers.statuses()
    return str(found["state"])


async def holds(node: Node, count: int) -> bool:
    """Whether so many events are in its log."""
    return await node.log.total() == count


# --- events ---------------------------------------------------------------------------------------


async def test_a_subscriber_at_one_node_hears_what_is_kept_at_another(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    here, there = await cluster.peer(two[0]), await cluster.peer(two[1])
    assert await there.ask({"kinds": [1]}) == []
    note = await here.keep(here.note("over there"))
    heard = await there.hear()
    assert (heard[0], heard[2]["id"]) == ("EVENT", note.id)
    assert await there.ask({"ids": [note.id]}, name="stored") == [note.id]


async def test_what_nodes_write_in_turn_comes_everywhere_once_and_in_one_order(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    listeners = [await cluster.peer(node) for node in two]
    for listener in listeners:
        await listener.ask({"kinds": [1]})
    writers = [await cluster.peer(node) for node in two]

    async def write(writer: Peer) -> None:
        for number in range(40):
            await writer.keep(writer.note(str(number)))

    await asyncio.gather(*(write(writer) for writer in writers))
    heard = [[(await found.hear())[2]["id"] for _ in range(80)] for found in listeners]
    assert heard[0] == heard[1]
    assert len(set(heard[0])) == 80
    for listener in listeners:
        await listener.nothing_more()


async def test_an_event_that_is_not_kept_passes_to_subscribers_at_every_node(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    here, there = await cluster.peer(two[0]), await cluster.peer(two[1])
    await there.ask({"kinds": [20_001]})
    passing = here.note("now", kind=20_001)
    assert await here.publish(passing) == (True, "")
    heard = await there.hear()
    assert (heard[0], heard[2]["id"]) == ("EVENT", passing.id)


async def test_a_gift_wrap_for_now_goes_only_to_its_recipient_wherever_it_is_connected(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    here, there, other = [await cluster.peer(node) for node in (two[0], two[1], two[1])]
    for peer in (there, other):
        assert (await peer.prove())[0]
        await peer.ask({"kinds": [kinds.EPHEMERAL_GIFT_WRAP]})
    await eventually(lambda: two[0].presence.is_present(there.secret.public))
    sealed = b64encode(bytes([2]) + bytes(98)).decode()
    wrap = here.note(sealed, kinds.EPHEMERAL_GIFT_WRAP, tags=[["p", there.secret.public]])
    assert await here.publish(wrap) == (True, "")
    assert (await there.hear())[2]["id"] == wrap.id
    await other.nothing_more()


async def test_the_same_event_at_both_nodes_at_once_is_kept_once(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    peers = [await cluster.peer(node) for node in two]
    for number in range(20):
        note = peers[0].note(f"twice {number}")
        answers = await asyncio.gather(*(peer.publish(note) for peer in peers))
        assert [accepted for accepted, _ in answers] == [True, True]
    assert await two[0].log.total() == 20


async def test_two_versions_at_two_nodes_at_once_leave_the_newer_one(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    secret = new_secret()
    peers = [await cluster.peer(node, secret) for node in two]
    for number in range(20):
        versions = [peers[0].note(f"{number} {n}", kind=10_000 + number) for n in range(2)]
        await asyncio.gather(
            *(peer.publish(event) for peer, event in zip(peers, versions, strict=True))
        )
        found = await peers[0].ask({"kinds": [10_000 + number]}, name=f"v{number}")
        assert found == [min(event.id for event in versions)]


# --- calls ----------------------------------------------------------------------------------------


async def test_a_provider_at_one_node_serves_a_call_that_enters_at_another(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    shop = await a_shop(cluster, a, seen_from=b)
    caller = await cluster.agent(b, "10sat")
    found = await shop.buy(caller, "hello")
    assert found.settled
    assert found.value == "HELLO"
    assert shop.worked == 1
    for node in two:
        assert await node.payments.balance(caller.pubkey) == (7000, 0)
        assert await node.payments.balance(shop.agent.pubkey) == (2970, 0)
        assert await node.calls.receipt(found.receipt) is not None
        await settled_books(node)
    elsewhere = await cluster.agent(a)
    assert (await elsewhere.receipt(found.call))["verified"] is True


async def test_one_key_used_at_two_nodes_at_once_runs_once(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    shop = await a_shop(cluster, a, seen_from=b)
    secret = new_secret()
    callers = [await cluster.agent(a, "10sat", secret), await cluster.agent(b, secret=secret)]
    shop.open.clear()
    calls = asyncio.gather(
        *(shop.buy(caller, key="one") for caller in callers), return_exceptions=True
    )
    await eventually(lambda: shop.worked == 1)
    shop.open.set()
    for found in await calls:  # the other waits, or is told that it runs elsewhere
        assert isinstance(found, Result | Unavailable)
    again = [await shop.buy(caller, key="one") for caller in callers]
    assert again[0].call == again[1].call
    assert shop.worked == 1
    assert await b.payments.balance(secret.public) == (7000, 0)


async def test_a_call_to_a_provider_that_is_nowhere_is_refunded_at_once(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    caller = await cluster.agent(b, "10sat")
    async with AsyncExitStack() as stack:
        shop = await a_shop(cluster, a, seen_from=b, until=stack)
    await eventually(lambda: not b.presence.is_present(shop.agent.pubkey))
    found = await shop.buy(caller, deadline_ms=60_000)
    assert found.fault == "provider-offline"
    await settled_books(a)


async def test_a_provider_that_leaves_during_a_call_from_another_node_costs_nothing(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    shop = await a_shop(cluster, a, seen_from=b)
    caller = await cluster.agent(b, "10sat")
    shop.open.clear()
    call = asyncio.gather(shop.buy(caller, deadline_ms=60_000))
    await eventually(lambda: shop.worked == 1)
    shop.agent._open._link._transport.disconnect()  # type: ignore[union-attr]
    assert (await call)[0].fault == "provider-died"
    assert await a.payments.balance(caller.pubkey) == (10_000, 0)


# --- nodes ----------------------------------------------------------------------------------------


async def test_a_node_that_stops_takes_its_agents_with_it_and_the_other_goes_on(
    cluster: Cluster,
) -> None:
    b = await cluster.node("b")
    async with cluster.running("a") as a, AsyncExitStack() as stack:
        agent = await People(a, stack).connected()
        await eventually(lambda: b.presence.is_present(agent.pubkey))
    assert not b.presence.is_present(agent.pubkey)
    assert b.bus.others == 0
    peer = await cluster.peer(b)
    await peer.keep(peer.note("alone"))


async def test_a_node_that_stops_does_not_wait_for_a_provider_at_another(cluster: Cluster) -> None:
    a = await cluster.node("a")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        async with cluster.running("b") as b:
            shop = await a_shop(cluster, a, seen_from=b)
            shop.open.clear()
            caller = await cluster.agent(b, "10sat")
            call = tasks.create_task(shop.buy(caller, deadline_ms=600_000))
            await eventually(lambda: shop.worked == 1)
        assert (await call).fault == "node-stopped"  # it heard so before its connection closed
    assert await a.payments.balance(caller.pubkey) == (10_000, 0)
    await settled_books(a)


async def test_what_the_operator_denies_at_one_node_is_denied_at_the_other_after_its_sweep(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    peer = await cluster.peer(b)
    await peer.keep(peer.note("before"))
    await a.moderation.deny_key(peer.secret.public, "spam")
    await b.moderation.refresh()
    assert (await peer.publish(peer.note("after")))[0] is False
    await a.moderation.forget("denied_keys", peer.secret.public)
    await b.moderation.refresh()
    await peer.keep(peer.note("again"))


async def test_a_signed_request_is_good_at_one_node_once(cluster: Cluster) -> None:
    cluster.settings["public_url"] = "wss://relay.example"
    nodes = [await cluster.node(name) for name in "ab"]
    body = b'{"method":"supportedmethods","params":[]}'
    proof = http_auth.request_header(
        cluster.operator,
        url="https://relay.example/",
        method="POST",
        body=body,
        now=int(time.time()),
    )
    headers = {"Authorization": proof, "Content-Type": "application/nostr+json+rpc"}
    statuses = []
    async with aiohttp.ClientSession() as session:
        for node in nodes:
            url = f"http://127.0.0.1:{node.port}/"
            async with session.post(url, data=body, headers=headers) as found:
                statuses.append(found.status)
    assert statuses == [200, 401]


async def test_a_peer_added_or_removed_at_one_node_is_so_at_the_other_after_its_sweep(
    cluster: Cluster,
) -> None:
    one, other = [Peered(url=f"ws://127.0.0.1:{port}") for port in (9, 19)]
    b = await cluster.node("b")
    async with cluster.running("a") as a:
        await a.peers.add(one)
        await b.peers.add(other)
        assert peered(b) == [other.url, one.url]
        await a.peers.refresh()
        assert peered(a) == [other.url, one.url]
        await a.peers.add(changed := read_peer(one.url, "out", [{"kinds": [1]}]))
        await b.peers.refresh()
        assert b.peers.statuses()[1].items() >= changed.as_dict().items()
        await b.peers.remove(one.url)
        with pytest.raises(NotFound, match="url: is no peer"):
            await a.peers.remove(one.url)
        await a.peers.refresh()
        assert peered(a) == peered(b) == [other.url]
    async with cluster.running("a") as a:
        assert peered(a) == [other.url]
        await a.peers.remove(other.url)
    await b.peers.refresh()
    assert peered(b) == []


async def test_every_node_mirrors_a_peer_and_what_comes_twice_is_kept_once(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    async with running_node(cluster.folder / "elsewhere", cluster.operator) as elsewhere:
        await two[0].peers.add(Peered(url=elsewhere.url))
        await two[1].peers.refresh()
        await eventually(lambda: [mirrored(node) for node in two] == ["live", "live"])
        assert len(elsewhere.relay.connections) == 2
        there, here = await cluster.peer(elsewhere), await cluster.peer(two[0])
        notes = [await there.keep(there.note(str(number))) for number in range(20)]
        notes.append(await here.keep(here.note("back")))
        await eventually(lambda: holds(two[1], 21))
        await eventually(lambda: holds(elsewhere, 21))
        assert set(await there.ask()) == set(await here.ask()) == {note.id for note in notes}
        await two[1].peers.remove(elsewhere.url)
        await two[0].peers.refresh()
        await eventually(lambda: len(elsewhere.relay.connections) == 1)  # the client above


async def test_a_node_that_another_took_for_a_peer_does_not_mirror_itself(
    cluster: Cluster, two: tuple[Node, Node]
) -> None:
    a, b = two
    await a.peers.add(Peered(url=b.url))
    await b.peers.refresh()
    assert peered(b) == []
    await b.peers.remove(b.url)
    await a.peers.refresh()
    assert peered(a) == []


async def test_without_a_bus_events_still_cross(cluster: Cluster) -> None:
    cluster.settings["bus"] = None
    a, b = await cluster.node("a"), await cluster.node("b")
    here, there = await cluster.peer(a), await cluster.peer(b)
    await there.ask({"kinds": [1]})
    note = await here.keep(here.note("slowly"))
    assert (await there.hear())[2]["id"] == note.id


async def test_a_node_starts_and_serves_while_nats_is_away(
    cluster: Cluster, nats: NatsServer
) -> None:
    nats.kill()
    try:
        a = await cluster.node("a")
        assert not a.bus.connected
        peer = await cluster.peer(a)
        await peer.keep(peer.note("alone"))
    finally:
        nats.start()
    b = await cluster.node("b")
    await eventually(lambda: a.bus.connected and a.bus.others == 1 and b.bus.others == 1)


@pytest.mark.heavy  # waits until an earlier process of that name had time to go
async def test_two_nodes_of_one_name_do_not_run_at_once(cluster: Cluster) -> None:
    await cluster.node("a")
    cluster.folder /= "elsewhere"
    with pytest.raises(Unavailable, match="another node called 'a'"):
        await cluster.node("a")


@pytest.mark.parametrize("password", ["s3cret", "s3:cret", "s3/cret"])
@pytest.mark.parametrize("setting", ["database", "bus"])
async def test_no_error_shows_a_password(cluster: Cluster, password: str, setting: str) -> None:
    scheme = {"database": "postgresql", "bus": "nats"}[setting]
    secret = SecretUrl(f"{scheme}://hanse:{password}@127.0.0.1:1/hanse")
    shown = [repr(secret), str(secret)]
    cluster.settings[setting] = secret
    try:
        node = await cluster.node("a")
    except HanseError as refused:
        shown += [refused.text, repr(refused.__cause__)]
    else:
        assert setting == "bus"  # a node goes on without NATS
        shown.append(repr(node.config))
    assert [text for text in shown if "cret" in text] == []


@pytest.mark.parametrize("text", ["mysql://x", "x@y", "http://127.0.0.1", "nats://[::1"])
async def test_a_url_of_another_kind_is_refused_by_its_name_alone(
    cluster: Cluster, text: str
) -> None:
    for setting in ("database", "bus"):
        settings = cluster.settings | {setting: SecretUrl(text)}
        with pytest.raises(Invalid) as refused:
            async with running_node(cluster.folder / "x", cluster.operator, **settings):
                pass
        assert refused.value.field == setting
        assert text not in refused.value.text


def certified(folder: Path, name: str) -> Path:
    """A key and a certificate that it signed itself, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.fromtimestamp(time.time(), UTC)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / name
    signed = builder.sign(key, hashes.SHA256())
    path.write_bytes(key.private_bytes(pem, *plain) + signed.public_bytes(pem))
    return path


async def test_a_database_whose_certificate_is_not_trusted_is_refused_with_the_reason(
    cluster: Cluster, tmp_path: Path
) -> None:
    own, other = certified(tmp_path, "own"), certified(tmp_path, "other")
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(own)

    async def offer_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readexactly(8)
            writer.write(b"S")  # PostgreSQL's word for yes
            await writer.start_tls(settings)

    async with await asyncio.start_server(offer_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://hanse:s3cret@127.0.0.1:{port}/x?sslmode=verify-ca&sslrootcert={other}"
        cluster.settings["database"] = SecretUrl(url)
        with pytest.raises(Unavailable, match="certificate verify failed") as refused:
            await cluster.node("a")
    assert "s3cret" not in refused.value.text


@pytest.mark.parametrize(("setting", "package"), [("database", "asyncpg"), ("bus", "nats")])
async def test_a_missing_package_is_named_with_the_command_that_brings_it(
    cluster: Cluster, setting: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = {"database": "hanse.engines.storage.postgres", "bus": "hanse.engines.bus.nats"}
    monkeypatch.delitem(sys.modules, engine[setting], raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # what Python does when there is none
    with pytest.raises(Unavailable) as refused:
        await cluster.node("a")
    assert refused.value.field == setting
    assert "pip install 'hanse[cluster]'" in refused.value.hint


def test_a_node_alone_loads_nothing_of_the_cluster() -> None:
    loads = "import sys, hanse.node, hanse.cli.up; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", loads], capture_output=True, check=True)
    loaded = set(found.stdout.decode().split())
    assert "hanse.node" in loaded
    assert loaded.isdisjoint({"asyncpg", "nats", "hanse.engines.bus.nats"})
