"""Clients that mean harm, over real sockets: each is refused or ended within bounds, and nobody
else notices."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import running_node
from tests.relay_peer import WAIT_S, a_peer, eventually
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hanse.node import Node
from hanse.protocol import session
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.handshake import SPARE_CONNECTIONS, Places
from hanse.servers.relay.relay import SocketLimits

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@asynccontextmanager
async def a_stream(
    node: Node,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain TCP connection to the node."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What came until the node closed the connection; fails if it does not."""
    async with asyncio.timeout(WAIT_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


SLOW = {
    "nothing": b"",
    "half a request": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half an upgrade": UPGRADE,
    "half a body": b"POST /api/v1/call HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_request_that_never_ends_is_ended(
    tmp_path: Path, operator: SecretKey, name: str
) -> None:
    limits = SocketLimits(request_s=0.1)
    async with (
        running_node(tmp_path, operator, socket_limits=limits) as node,
        a_stream(node) as (reader, writer),
    ):
        writer.write(SLOW[name])
        await ends(reader)
        async with a_peer(node.url) as peer:
            await peer.keep(peer.note())


async def test_a_connection_that_became_a_websocket_is_not_ended_by_that(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = SocketLimits(request_s=0.05)
    async with (
        running_node(tmp_path, operator, socket_limits=limits) as node,
        a_peer(node.url) as peer,
    ):
        async with a_stream(node) as (reader, _):
            await ends(reader)  # by then our own time would be over, too
        await peer.keep(peer.note())


async def test_a_head_without_end_is_cut_off(node: Node) -> None:
    async with a_stream(node) as (reader, writer):
        writer.write(UPGRADE)
        for _ in range(200):
            writer.write(b"X-Filler: " + b"x" * 8000 + b"\r\n")
        await ends(reader)


def test_an_address_has_so_many_places_and_loopback_more() -> None:
    places = Places(SocketLimits(connections_max=3, of_one_address_max=2))
    assert [places.take("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert places.take("192.0.2.2")
    assert all(places.take("127.0.0.1") for _ in range(SPARE_CONNECTIONS))
    assert not places.take("::1")
    places.leave("192.0.2.1")
    assert places.take("192.0.2.1")
    assert not places.take("192.0.2.1")


async def test_places_are_given_back_whatever_a_connection_became(node: Node) -> None:
    places = node.entrance.places
    async with a_peer(node.url) as peer, a_stream(node) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.keep(peer.note())
        assert places.taken == 2
    await eventually(lambda: places.taken == 0)


async def test_a_compressed_frame_is_a_protocol_error(node: Node) -> None:
    async with connect(node.url) as socket, asyncio.timeout(WAIT_S):
        await socket.recv()
        socket.transport.write(bytes((0xC1, 0x82, 0, 0, 0, 0)) + b"[]")
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1002


async def test_a_million_tags_are_refused_in_one_message_or_many(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        event = other.note(tags=[["t"]] * 60_000)
        accepted, text = await other.publish(event)
        assert not accepted
        assert text.startswith("invalid: ")
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        fields["tags"] = [["t"]] * 1_000_000
        with contextlib.suppress(ConnectionClosed):  # it may close before all of it is sent
            await peer.say("EVENT", fields)
        assert await peer.close_code() == 1009
        await other.keep(other.note())


async def test_a_flood_of_requests_is_told_to_wait_and_others_are_served(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = session.Limits(requests_burst=50, requests_per_s=1)
    async with (
        running_node(tmp_path, operator, session_limits=limits) as node,
        a_peer(node.url) as peer,
        a_peer(node.url) as other,
    ):
        await other.keep(other.note())
        for _ in range(500):
            await peer.say("REQ", "a", {})
        assert len(await other.ask()) == 1
        refused = 0
        while refused < 400:
            verb, *rest = await peer.hear()
            if verb == "CLOSED":
                assert rest[1].startswith("rate-limited: ")
                refused += 1


async def test_pings_nobody_reads_the_answers_of_do_not_pile_up(node: Node) -> None:
    async with connect(node.url, max_queue=1) as slow, a_peer(node.url) as other:
        slow.transport.pause_reading()
        ping = bytes((0x89, 0x80 | 125, 0, 0, 0, 0)) + b"x" * 125
        for _ in range(50):
            slow.transport.write(ping * 1000)
            await other.nothing_more()
        waiting = [one.unsent_bytes for one in node.relay.connections]
        assert max(waiting) < 1 << 20
        slow.transport.abort()
        await other.keep(other.note())


async def test_a_client_on_a_slow_line_gets_every_answer_as_it_reads(
    tmp_path: Path, operator: SecretKey
) -> None:
    """Thirty answers of 2 MB are asked for in one breath: over what may wait unsent."""
    limits = SocketLimits(unsent_bytes_max=8 << 20)
    async with (
        running_node(tmp_path, operator, socket_limits=limits) as node,
        a_peer(node.url) as peer,
        a_peer(node.url, max_queue=1) as slow,
    ):
        events = [await peer.keep(peer.note(f"{number}" * 200_000)) for number in range(10)]
        for number in range(30):
            await slow.say("REQ", str(number), {})
        await peer.nothing_more()
        heard = 0
        while heard < 30 * (len(events) + 1):
            verb, *_ = await slow.hear()
            assert verb in ("EVENT", "EOSE")
            heard += 1


async def test_a_large_message_costs_memory_that_only_so_many_may_hold(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = SocketLimits(large_buffers_max=2)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            running_node(tmp_path, operator, socket_limits=limits)
        )
        first, second, third, small = [
            await stack.enter_async_context(a_peer(node.url)) for _ in range(4)
        ]
        for peer in (first, second, second, first):
            await peer.keep(peer.note("x" * 200_000))
        await small.keep(small.note())
        await third.keep(third.note("x" * 200_000))
        assert await first.close_code() == 1001
        for peer in (second, third, small):
            await peer.keep(peer.note())


async def test_the_same_event_from_a_hundred_connections_is_kept_once(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note("once")
        answers = []

        async def publish() -> None:
            async with a_peer(node.url) as one:
                answers.append(await one.publish(event))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(publish())
        assert all(accepted for accepted, _ in answers)
        assert [text for _, text in answers].count("") == 1
        assert await peer.ask() == [event.id]


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
async def test_any_bytes_after_the_handshake_end_well(
    node: Node, sent: list[bytes], framed: bool
) -> None:
    async with connect(node.url) as socket:
        await socket.recv()
        for data in sent:
            mask = secrets.token_bytes(4)
            head = bytes((0x81, 0x80 | 126)) + len(data).to_bytes(2, "big") + mask
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
            socket.transport.write(head + masked if framed and len(data) > 125 else data)
        socket.transport.write_eof()
        async with asyncio.timeout(WAIT_S):
            try:
                while True:
                    assert isinstance(json.loads(await socket.recv()), list)
            except ConnectionClosed:
                pass
    async with a_peer(node.url) as peer:
        await peer.nothing_more()
