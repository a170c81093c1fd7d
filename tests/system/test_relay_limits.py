"""The relay door at its bounds: offers that are none, readers that do not read, costly filters."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import running_node
from tests.relay_peer import WAIT_S, a_peer, eventually, now
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hanse.node import Node
from hanse.protocol import attestation, kinds
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.ingest import BATCH_MAX
from hanse.servers.relay.relay import SocketLimits

AGENT = SecretKey(bytes([5]) * 32)
TAGS: dict[str, list[list[str]]] = {
    "d": [["d", "echo"]],
    "name": [["name", "Echo"]],
    "summary": [["summary", "Says it back"]],
    "url": [["url", "ws://127.0.0.1:7447"]],
    "pmi": [["pmi", "hanse", "00" * 32]],
    "price": [["price", "echo", "2", "sat"]],
    "promise": [["promise", "latency_p95_ms", "500"], ["promise", "success_rate", "0.99"]],
}
ECHO: dict[str, Any] = {"name": "echo", "description": "Echo.", "schema": {"type": "object"}}


def an_offer(tags: dict[str, list[list[str]]] | None = None, **content: Any) -> Event:
    """A good offer with some tags exchanged and some of its content."""
    body = {"capabilities": [ECHO]} | content
    return sign_event(
        AGENT,
        kind=kinds.OFFER,
        created_at=now(),
        tags=[tag for rows in (TAGS | (tags or {})).values() for tag in rows],
        content=content.get("raw") or orjson.dumps(body).decode(),
    )


def capability(**changes: Any) -> list[dict[str, Any]]:
    return [ECHO | changes]


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"not": found}
    return found


async def test_a_good_offer_is_taken_and_can_be_found(node: Node) -> None:
    async with a_peer(node.url) as peer:
        await peer.keep(an_offer())

        async def can_be_found() -> bool:
            return await node.registry.offers() == 1

        await eventually(can_be_found)


BAD_OFFERS: dict[str, tuple[Event, str]] = {
    "no identifier": (an_offer({"d": []}), "tags.d"),
    "blank identifier": (an_offer({"d": [["d", " "]]}), "tags.d"),
    "long identifier": (an_offer({"d": [["d", "x" * 256]]}), "tags.d"),
    "no name": (an_offer({"name": []}), "tags.name"),
    "no url": (an_offer({"url": []}), "tags.url"),
    "many urls": (an_offer({"url": TAGS["url"] * 11}), "tags.url"),
    "url of a script": (an_offer({"url": [["url", " JavaScript:x"]]}), "tags.url"),
    "url with a line": (an_offer({"url": [["url", "ws://a\nb"]]}), "tags.url"),
    "no payment method": (an_offer({"pmi": []}), "tags.pmi"),
    "long summary": (an_offer({"summary": [["summary", "x" * 4097]]}), "tags.summary"),
    "long topic": (an_offer({"t": [["t", "x" * 65]]}), "tags.t"),
    "no price": (an_offer({"price": []}), "content.capabilities[0].name"),
    "short price": (an_offer({"price": [["price", "echo", "2"]]}), "tags.price"),
    "negative price": (an_offer({"price": [["price", "echo", "-2", "sat"]]}), "tags.price"),
    "broken price": (an_offer({"price": [["price", "echo", "0.5", "sat"]]}), "tags.price"),
    "huge price": (an_offer({"price": [["price", "echo", "9" * 17, "sat"]]}), "tags.price"),
    "other money": (an_offer({"price": [["price", "echo", "2", "usd"]]}), "tags.price"),
    "two prices": (an_offer({"price": TAGS["price"] * 2}), "tags.price"),
    "no latency": (an_offer({"promise": [["promise", "latency_p95_ms", "0"]]}), "latency_p95_ms"),
    "word latency": (an_offer({"promise": [["promise", "latency_p95_ms", "x"]]}), "tags.promise"),
    "over 100 %": (an_offer({"promise": [["promise", "success_rate", "1.1"]]}), "success_rate"),
    "no number": (an_offer({"promise": [["promise", "success_rate", "nan"]]}), "success_rate"),
    "other version": (an_offer({"v": [["v", "2.0.0"]]}), "tags.v"),
    "no JSON": (an_offer(raw="{"), "content"),
    "a list": (an_offer(raw="[]"), "content"),
    "deep": (an_offer(capabilities=capability(schema=deep(30))), "content"),
    "large": (an_offer(version="x" * 70_000), "content"),
    "no capability": (an_offer(capabilities=[]), "content.capabilities"),
    "no list": (an_offer(capabilities={}), "content.capabilities"),
    "text": (an_offer(capabilities=["echo"]), "content.capabilities[0]"),
    "twice": (an_offer(capabilities=[ECHO, ECHO]), "content.capabilities[1].name"),
    "no tool name": (an_offer(capabilities=capability(name=5)), "content.capabilities[0].name"),
    "description": (
        an_offer(capabilities=capability(description=5)),
        "content.capabilities[0].description",
    ),
    "schema": (
        an_offer(capabilities=capability(schema={"type": "nonsense"})),
        "content.capabilities[0].schema",
    ),
    "schema elsewhere": (
        an_offer(capabilities=capability(schema={"$ref": "http://evil.example/"})),
        "content.capabilities[0].schema",
    ),
    "output schema": (
        an_offer(capabilities=capability(outputSchema="object")),
        "content.capabilities[0].outputSchema",
    ),
    "owner": (an_offer({"auth": [["auth", "00" * 32, "", "00" * 64]]}), "auth"),
    "owner twice": (
        an_offer({"auth": [list(attestation.attest(SecretKey(b"o" * 32), AGENT.public).tag)] * 2}),
        "auth",
    ),
}


async def test_an_offer_that_is_none_is_refused_with_field_and_reason(node: Node) -> None:
    found: dict[str, str] = {}
    async with a_peer(node.url) as peer:
        for name, (event, _) in BAD_OFFERS.items():
            accepted, text = await peer.publish(event)
            word, field, reason = text.split(": ", 2)
            assert (accepted, word) == (False, "invalid")
            assert reason
            found[name] = field.removeprefix("promise.")
    assert found == {name: field for name, (_, field) in BAD_OFFERS.items()}
    assert (await node.log.total(), await node.registry.offers()) == (0, 0)


async def test_a_reader_that_does_not_read_is_dropped_and_nobody_waits(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = SocketLimits(unsent_bytes_max=1 << 18)
    content = "x" * 390_000
    async with (
        running_node(tmp_path, operator, socket_limits=limits) as node,
        a_peer(node.url) as peer,
        connect(node.url, max_queue=1, max_size=None) as slow,
    ):
        await slow.send('["REQ","a",{"kinds":[20001]}]')
        await eventually(lambda: len(node.watch) == 1)
        assert len(node.relay.connections) == 2
        async with asyncio.timeout(60):
            # What the kernel holds for both ends comes on top of our bound: some MB.
            while (await peer.publish(peer.note(content, 20_001)))[0]:
                assert node.relay.connections
        assert (len(node.relay.connections), len(node.watch)) == (1, 0)
        await peer.keep(peer.note())
        slow.transport.abort()


async def test_a_filter_of_very_many_values_is_refused_and_the_connection_goes_on(
    node: Node,
) -> None:
    letters = [chr(code) for code in range(ord("A"), ord("z")) if chr(code) not in "ep"]
    wanted = {f"#{c}": [f"{n:x}" for n in range(1000)] for c in letters if c.isalpha()}
    async with a_peer(node.url) as peer:
        await peer.say("REQ", "a", wanted)
        verb, name, text = await peer.hear()
        assert (verb, name) == ("CLOSED", "a")
        assert text.startswith("invalid: filter[0]: ")
        await peer.keep(peer.note())


async def test_the_most_values_a_filter_may_have_are_answered(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note(tags=[[c, "1"] for c in "abcdfghijk"]))
        wanted = {f"#{c}": [f"{n:x}" for n in range(1000)] for c in "abcdfghijk"}
        assert await peer.ask(wanted) == [event.id]


async def test_one_connection_too_many_is_refused_and_a_free_place_is_taken_again(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = SocketLimits(connections_max=1)
    async with running_node(tmp_path, operator, socket_limits=limits) as node:
        async with a_peer(node.url) as peer:
            with pytest.raises((InvalidStatus, ConnectionClosed, EOFError)):
                async with connect(node.url):
                    pass
            await peer.keep(peer.note())
        await eventually(lambda: not node.relay.connections)
        async with a_peer(node.url) as peer:
            await peer.keep(peer.note())


async def test_a_burst_of_good_and_bad_events_is_answered_one_by_one(node: Node) -> None:
    """Over the size at which events are verified in batches, off the event loop."""
    async with a_peer(node.url) as peer, asyncio.timeout(WAIT_S * 3):
        events = [peer.note(str(number)) for number in range(3 * BATCH_MAX)]
        good = {event.id: number % 3 != 0 for number, event in enumerate(events)}
        for event in events:
            sig = event.sig if good[event.id] else "00" * 64
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            await peer.say("EVENT", fields | {"sig": sig})
        answers = {}
        for _ in events:
            verb, id, accepted, _ = await peer.hear()
            assert verb == "OK"
            answers[id] = accepted
        assert answers == good
        assert await node.log.total() == sum(good.values())


@pytest.mark.parametrize("size", [125, 126, 127])
async def test_a_short_message_where_the_frame_header_changes_arrives_whole(
    node: Node, size: int
) -> None:
    async with a_peer(node.url) as peer:
        await peer.say("REQ", "a", {"unknown condition": 1})
        shortest = len(orjson.dumps(await peer.hear()))
        await peer.say("REQ", "a" * (size - shortest + 1), {"unknown condition": 1})
        assert len(orjson.dumps(await peer.hear())) == size


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
async def test_a_long_message_where_the_frame_header_changes_arrives_whole(
    node: Node, size: int
) -> None:
    async with a_peer(node.url) as peer:
        empty = await peer.keep(peer.note(""))
        base = len(b'["EVENT","a",' + encode_event(empty) + b"]")
        long = await peer.keep(peer.note("x" * (size - base)))
        await peer.say("REQ", "a", {"ids": [long.id]})
        heard = await peer.hear()
        assert heard[2]["id"] == long.id
        assert len(orjson.dumps(heard)) == size


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((0x80,), id="a continuation of nothing"),
        pytest.param((0x01, 0x81), id="a text inside a fragmented text"),
    ],
)
async def test_frames_out_of_order_end_the_connection(node: Node, frames: tuple[int, ...]) -> None:
    """RFC 6455 5.4: fragments of one message come together."""
    async with connect(node.url) as socket, asyncio.timeout(WAIT_S):
        await socket.recv()
        # A client's frames are masked; a mask of zeros leaves the payload readable.
        for first in frames:
            socket.transport.write(bytes((first, 0x82, 0, 0, 0, 0)) + b"[]")
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1002
