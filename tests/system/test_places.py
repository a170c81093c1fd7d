"""Whose a connection is, where the connections of one address are bounded: who came by itself, or
whom a proxy of ours brought."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.conftest import running_node
from tests.fakes.elsewhere import seen_as
from tests.relay_peer import WAIT_S, Peer, a_peer, eventually
from websockets.exceptions import InvalidStatus

from hanse.node import Node
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.relay import SocketLimits
from hanse.servers.relay.rules import Rates, Rules

HERE, PROXY, CLIENT, OTHER, FAR = (
    *("127.0.0.1", "10.1.2.3"),
    *("203.0.113.7", "203.0.113.8", "198.51.100.9"),
)
OF_ONE = 2

TOO_MANY = 429, f"rate-limited: at most {OF_ONE} connections of one address\n"
HEAD = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not make a client too late for its answer."""
    monkeypatch.setattr("hanse.servers.relay.refusal.LINGER_S", 3600)


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """A node that gives few places to one address, and believes proxies here and in 10/8."""
    limits = SocketLimits(of_one_address_max=OF_ONE)
    rules = Rules(rates=Rates(proxies=("127.0.0.0/8", "10.0.0.0/8")))
    async with running_node(tmp_path, operator, socket_limits=limits, rules=rules) as found:
        yield found


class Clients:
    """Connects to one port of a node until the test ends."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self.port = port
        self._stack = stack

    async def socket(self, *forwarded: str) -> Peer:
        """A WebSocket, with these lines of X-Forwarded-For."""
        headers = [("X-Forwarded-For", line) for line in forwarded]
        url = f"ws://127.0.0.1:{self.port}"
        return await self._stack.enter_async_context(a_peer(url, additional_headers=headers))

    async def refused(self, *forwarded: str) -> None:
        """A WebSocket that there is no place for, which its client is told."""
        with pytest.raises(InvalidStatus) as caught:
            await self.socket(*forwarded)
        response = caught.value.response
        assert (response.status_code, response.body.decode()) == TOO_MANY

    async def connection(self) -> "Http":
        """One on which nothing was said yet."""
        streams = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.callback(streams[1].close)
        return Http(*streams)

    async def request(self, *forwarded: str, body: bool = True) -> "Http":
        """A request by HTTP, whose body comes or not."""
        http = await self.connection()
        http.ask(forwarded, body=body)
        return http


class Http:
    """One connection by HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def ask(self, forwarded: Sequence[str] = (), *, body: bool = True) -> None:
        """Send a request."""
        lines = [f"X-Forwarded-For: {line}\r\n" for line in forwarded]
        self.say(HEAD + ("".join(lines) + "\r\n" + "{}" * body).encode())

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def answer(self) -> tuple[int, str]:
        """The status, and the body."""
        async with asyncio.timeout(WAIT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.split("content-length: ")[1].split("\r\n")[0])
            return int(head.split()[1]), (await self._reader.readexactly(size)).decode()

    async def refusal(self) -> tuple[int, str]:
        """The answer that is the last of the connection."""
        found = await self.answer()
        async with asyncio.timeout(WAIT_S):
            assert await self._reader.read() == b""
        return found

    def close(self) -> None:
        """End it."""
        self._writer.close()

    async def end(self) -> bytes:
        """What came before the node ended it."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def clients(node: Node, address: str = HERE) -> AsyncIterator[Clients]:
    """Clients that connect from this address."""
    async with AsyncExitStack() as stack:
        port = node.port
        if address != HERE:
            port = await stack.enter_async_context(seen_as(node, address))
        yield Clients(port, await stack.enter_async_context(AsyncExitStack()))


def counted(node: Node, address: str) -> int:
    """How many connections count for an address."""
    return node.entrance.places._of.get(address, 0)


PROXIES = pytest.mark.parametrize("proxy", [HERE, PROXY])


@PROXIES
async def test_one_client_behind_a_proxy_has_the_places_of_one(node: Node, proxy: str) -> None:
    async with clients(node, proxy) as through:
        first = await through.socket(CLIENT)
        second = await through.socket(f"192.0.2.1, {CLIENT}")
        await through.refused(CLIENT)
        assert await (await through.request(CLIENT)).refusal() == TOO_MANY
        for peer in (first, second, await through.socket(OTHER)):
            await peer.keep(peer.note())
        await first.socket.close()
        await eventually(lambda: counted(node, CLIENT) == 1)
        await through.socket(CLIENT)
        await through.refused(CLIENT)
    await eventually(lambda: node.entrance.places.taken == 0)
    assert node.entrance.places._of == {}


@PROXIES
async def test_a_request_under_way_takes_its_clients_place_until_it_is_answered(
    node: Node, proxy: str
) -> None:
    async with clients(node, proxy) as through:
        slow = [await through.request(CLIENT, body=False) for _ in range(OF_ONE)]
        await eventually(lambda: counted(node, CLIENT) == OF_ONE)
        await through.refused(CLIENT)
        assert await (await through.request(CLIENT)).refusal() == TOO_MANY
        assert (await (await through.request(OTHER)).answer())[1]
        kept = [await through.socket(f"192.0.2.{number}") for number in range(3)]
        assert len(kept) == 3
    await eventually(lambda: node.entrance.places.taken == 0)
    assert node.entrance.places._of == {}
    assert len(slow) == OF_ONE


@PROXIES
async def test_a_connection_that_a_proxy_keeps_is_nobodys_between_two_requests(
    node: Node, proxy: str
) -> None:
    async with clients(node, proxy) as through:
        idle = []
        for _ in range(3 * OF_ONE):
            idle.append(http := await through.request(CLIENT))
            assert (await http.answer())[1]
        await eventually(lambda: counted(node, CLIENT) == 0)
        for number, http in enumerate(idle):
            http.ask([f"192.0.2.{number}"])
            assert (await http.answer())[1]
        await through.socket(CLIENT)


@PROXIES
async def test_the_connections_of_a_proxy_itself_are_everybodys(node: Node, proxy: str) -> None:
    async with clients(node, proxy) as through:
        for number in range(3 * OF_ONE):
            await through.socket(f"192.0.2.{number}")
            await through.socket()  # a check of its own, without a client


async def test_a_proxy_that_nobody_named_has_the_places_of_one_whomever_it_names(
    node: Node,
) -> None:
    async with clients(node, FAR) as strangers, clients(node) as through:
        kept = [await strangers.socket(CLIENT), await strangers.socket(OTHER)]
        await strangers.refused("192.0.2.1")
        assert await (await strangers.request(HERE)).refusal() == TOO_MANY
        assert [counted(node, found) for found in (FAR, CLIENT, OTHER)] == [OF_ONE, 0, 0]
        for _ in range(OF_ONE):  # and takes no place of who was named
            await through.socket(CLIENT)
        assert {client.address for client in node.relay.connections} == {FAR, CLIENT}
        assert len(kept) == OF_ONE


async def test_loopback_is_believed_only_as_a_proxy(tmp_path: Path, operator: SecretKey) -> None:
    limits = SocketLimits(of_one_address_max=OF_ONE)
    rules = Rules(rates=Rates(proxies=("10.0.0.0/8",)))
    async with (
        running_node(tmp_path, operator, socket_limits=limits, rules=rules) as node,
        clients(node) as near,
    ):
        for _ in range(3 * OF_ONE):
            await near.socket(CLIENT)
        assert {client.address for client in node.relay.connections} == {HERE}
        assert counted(node, CLIENT) == 0


async def test_the_line_that_a_proxy_added_below_its_clients_own_says_who_it_is(
    node: Node,
) -> None:
    async with clients(node) as through:
        await through.socket(HERE, CLIENT)
        await through.socket("192.0.2.1", f"192.0.2.2, {CLIENT}")
        await through.refused(HERE, CLIENT)
        assert [client.address for client in node.relay.connections] == [CLIENT, CLIENT]


async def test_a_proxy_is_known_however_its_address_is_written(node: Node) -> None:
    async with clients(node, f"::ffff:{PROXY}") as through:
        for _ in range(OF_ONE):
            await through.socket(CLIENT)
        await through.refused(CLIENT)
        for number in range(3 * OF_ONE):
            http = await through.request(client := f"192.0.2.{number}")
            assert await http.answer() == (200, client)


# --- refused --------------------------------------------------------------------------------------


@asynccontextmanager
async def a_full_house(node: Node) -> AsyncIterator[Clients]:
    """Clients of an address that has its connections already."""
    async with clients(node, FAR) as found:
        for _ in range(OF_ONE):
            await found.socket()
        yield found
    await eventually(lambda: node.entrance.refusals.under_way == 0)
    await eventually(lambda: node.entrance.places.taken == 0)


async def test_a_refused_client_hears_why_though_it_first_sends_all_it_has(node: Node) -> None:
    """The node reads on until the client ends it: a reset would take the answer away."""
    loop = asyncio.get_running_loop()
    async with a_full_house(node) as strangers, asyncio.timeout(WAIT_S):
        with socket.create_connection(("127.0.0.1", strangers.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, HEAD + b"\r\n")
            await eventually(lambda: select.select([client], [], [], 0)[0])  # answered
            await loop.sock_sendall(client, b"x" * (1 << 20))
            found = b""
            while more := await loop.sock_recv(client, 4096):
                found += more
        assert found.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert found.endswith(b"\r\n\r\n" + TOO_MANY[1].encode())


async def test_a_refused_client_is_answered_at_the_first_bytes_of_its_request(node: Node) -> None:
    async with a_full_house(node) as strangers:
        http = await strangers.connection()
        await eventually(lambda: node.entrance.refusals.under_way == 1)
        http.say(b"GET ")
        assert await http.refusal() == TOO_MANY


async def test_a_refused_client_that_asks_nothing_is_cut_off(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.servers.relay.refusal.LINGER_S", 0.05)
    async with a_full_house(node) as strangers:
        assert await (await strangers.connection()).end() == b""


async def test_a_refused_client_that_never_ends_is_cut_off(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.servers.relay.refusal.LINGER_BYTES_MAX", 1 << 20)
    async with a_full_house(node) as strangers:
        http = await strangers.request()
        assert await http.answer() == TOO_MANY
        await eventually(lambda: node.entrance.refusals.under_way == 1)
        http.say(b"x" * (2 << 20))
        await eventually(lambda: node.entrance.refusals.under_way == 0)


async def test_only_so_many_refused_clients_are_answered_at_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.servers.relay.refusal.AT_ONCE_MAX", 2)
    async with a_full_house(node) as strangers, clients(node) as through:
        quiet = [await strangers.connection() for _ in range(2)]
        await eventually(lambda: node.entrance.refusals.under_way == 2)
        assert await (await strangers.request()).end() == b""
        for _ in range(OF_ONE):
            await through.socket(CLIENT)
        assert await (await through.request(CLIENT)).end() == b""
        quiet[0].ask()
        assert await quiet[0].answer() == TOO_MANY
        quiet[0].close()
        await eventually(lambda: node.entrance.refusals.under_way == 1)
        assert await (await through.request(CLIENT)).refusal() == TOO_MANY


async def test_a_refusal_is_not_taken_for_the_answer_to_an_earlier_request(node: Node) -> None:
    """Both came in one piece: the earlier one is not answered yet."""
    async with clients(node, PROXY) as through:
        for _ in range(OF_ONE):
            await through.socket(CLIENT)
        http = await through.connection()
        ask = HEAD + b"X-Forwarded-For: %s\r\n\r\n{}"
        http.say(ask % OTHER.encode() + ask % CLIENT.encode())
        assert await http.end() == b""


async def test_a_blocked_address_is_told_so_before_it_has_a_websocket(node: Node) -> None:
    node.admission.lists.denied_addresses[CLIENT] = "flood"
    async with clients(node) as through:
        with pytest.raises(InvalidStatus) as caught:
            await through.socket(CLIENT)
        response = caught.value.response
        assert response.status_code == 403
        assert response.body == b"blocked: this address may not connect\n"
        await through.socket(OTHER)
    await eventually(lambda: node.entrance.places.taken == 0)
    assert node.entrance.refusals.under_way == 0
