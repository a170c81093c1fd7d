"""Federation between real nodes: one registry from two, resume, rings without loops."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import People, running_node
from tests.fakes.foreign_relay import foreign_relay
from tests.relay_peer import SEALED, a_peer, now

from hanse.agent import Agent
from hanse.engines.peers.mirror import Pace
from hanse.errors import Conflict, Invalid, NotFound
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import Direction, Peer, read_peer

QUICK = Pace(pause_min_s=0.02, pause_max_s=0.1)
WAIT_S = 20.0


@pytest.fixture
async def nodes(tmp_path: Path, operator: SecretKey) -> AsyncIterator["Nodes"]:
    """Makes nodes; all that run when the test ends are stopped."""
    async with AsyncExitStack() as stack:
        yield Nodes(tmp_path, operator, stack)


class Nodes:
    """Nodes by name: each has a folder and a key, and may be stopped and started again."""

    def __init__(self, folder: Path, operator: SecretKey, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._operator = operator
        self._stack = stack
        self._secrets: dict[str, SecretKey] = {}
        self._ports: dict[str, int] = {}

    async def start(self, name: str) -> Node:
        """A node that runs until the test ends."""
        return await self._stack.enter_async_context(self.running(name))

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[Node]:
        """A node that runs until the block ends, where it ran before."""
        secret = self._secrets.setdefault(name, new_secret())
        async with running_node(
            self._folder / name,
            self._operator,
            secret,
            port=self._ports.get(name, 0),
            peer_pace=QUICK,
        ) as node:
            self._ports[name] = node.port
            yield node

    async def agent(self, node: Node) -> Agent:
        """An agent connected to a node."""
        return await People(node, self._stack).connected()


def peer(url: str, direction: str = "both", *filters: dict[str, Any]) -> Peer:
    return read_peer(url, direction, filters)


async def kept(node: Node, **asked: Any) -> set[str]:
    """Ids of a node's stored events, as a client reads them."""
    async with a_peer(node.url) as client:
        return set(await client.ask(asked))


async def until_kept(node: Node, wanted: set[str], **asked: Any) -> None:
    """Wait until a node has exactly these."""
    async with asyncio.timeout(WAIT_S):
        while (await kept(node, **asked)) != wanted:
            await asyncio.sleep(0.02)


async def until_state(node: Node, state: str, reason: str = "") -> dict[str, Any]:
    """Wait until a node's only peer is in this state; its status."""
    async with asyncio.timeout(WAIT_S):
        while True:
            (found,) = node.peers.statuses()
            if found["state"] == state and reason in found["reason"]:
                return found
            await asyncio.sleep(0.005)


async def publish(node: Node, count: int = 1, **changes: Any) -> list[Event]:
    """Publish notes at a node."""
    sealed = SEALED if changes.get("kind") == 1059 else ""
    async with a_peer(node.url) as client:
        return [
            await client.keep(client.note(sealed or secrets.token_hex(4), **changes))
            for _ in range(count)
        ]


def ids(events: list[Event]) -> set[str]:
    return {event.id for event in events}


# --- one registry -------------------------------------------------------------------------------


async def test_two_nodes_with_disjoint_agents_end_with_one_registry(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    at_a, at_b = await nodes.agent(a), await nodes.agent(b)

    @at_a.provide(price="1sat")
    def translate(text: str) -> str:
        "Translate a text to Latin."
        return text

    @at_b.provide(price="1sat")
    def weather(city: str) -> str:
        "Tell the weather forecast of a city."
        return city

    await at_a.serve()
    await at_b.serve()
    await a.peers.add(peer(b.url))
    async with asyncio.timeout(WAIT_S):
        while not (there := await at_a.find("weather forecast")):
            await asyncio.sleep(0.02)
        while not (here := await at_b.find("translate latin")):
            await asyncio.sleep(0.02)
    assert there[0].offer.split(":")[1] == at_b.pubkey
    assert here[0].offer.split(":")[1] == at_a.pubkey


async def test_what_comes_later_is_mirrored_both_ways(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await a.peers.add(peer(b.url))
    await until_state(a, "live")
    events = await publish(a, 30) + await publish(b, 30)
    await until_kept(a, ids(events))
    await until_kept(b, ids(events))


async def test_a_direction_is_one_way(nodes: Nodes) -> None:
    a, b, c = [await nodes.start(name) for name in "abc"]
    at_a, at_b = await publish(a, 3), await publish(b, 3)
    at_c = await publish(c, 3)
    await a.peers.add(peer(b.url, "in"))
    await a.peers.add(peer(c.url, "out"))
    await until_kept(c, ids(at_a + at_b + at_c))
    live = await publish(a)
    await until_kept(c, ids(at_a + at_b + at_c + live))
    assert await kept(a) == ids(at_a + at_b + live)
    assert await kept(b) == ids(at_b)


async def test_only_what_passes_a_filter_is_shared(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await publish(a, 2, kind=1)
    wanted = await publish(a, 2, kind=30)
    await a.peers.add(peer(b.url, "both", {"kinds": [30]}, {"kinds": [31]}))
    await until_state(a, "live")
    await publish(a, kind=1)
    await publish(b, kind=1)
    wanted += await publish(a, kind=31) + await publish(b, kind=31)
    await until_kept(b, ids(wanted), kinds=[30, 31])
    await until_kept(a, ids(wanted), kinds=[30, 31])
    assert len(await kept(a)) == 3 + len(wanted)
    assert len(await kept(b)) == 1 + len(wanted)


async def test_private_and_passing_events_are_not_shared(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    reader = new_secret()
    await publish(b, kind=1059, tags=[["p", reader.public]])
    await a.peers.add(peer(b.url))
    await until_state(a, "live")
    await publish(b, kind=1059, tags=[["p", reader.public]])
    marker = await publish(b)
    await until_kept(a, ids(marker))
    async with a_peer(a.url, reader) as client:
        assert (await client.prove())[0]
        assert await client.ask({"kinds": [1059]}) == []


# --- resume and return --------------------------------------------------------------------------


async def test_a_mirror_goes_on_where_it_was_after_its_node_stopped(nodes: Nodes) -> None:
    b = await nodes.start("b")
    async with nodes.running("a") as a:
        await a.peers.add(peer(b.url))
        before = await publish(b, 5)
        await until_kept(a, ids(before))
    while_away = await publish(b, 5)
    a = await nodes.start("a")
    await until_kept(a, ids(before + while_away))
    found = await until_state(a, "live")
    assert found["pulled"] == len(while_away)


async def test_a_peer_that_goes_away_and_comes_back_is_caught_up_with(nodes: Nodes) -> None:
    a = await nodes.start("a")
    async with nodes.running("b") as b:
        await a.peers.add(peer(b.url))
        await until_state(a, "live")
        first = await publish(b)
        await until_kept(a, ids(first))
    await until_state(a, "waiting")
    missed_there = await publish(a, 3)
    b = await nodes.start("b")
    await until_kept(b, ids(first + missed_there))
    missed_here = await publish(b, 3)
    await until_kept(a, ids(first + missed_there + missed_here))


async def test_a_deletion_and_a_replacement_reach_the_peer(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await a.peers.add(peer(b.url))
    author = new_secret()
    async with a_peer(a.url, author) as client:
        note = await client.keep(client.note("to go"))
        await client.keep(client.note("old", kind=0, created_at=now() - 10))
        await until_kept(b, await kept(a))
        profile = await client.keep(client.note("new", kind=0))
        gone = await client.keep(client.note(kind=5, tags=[["e", note.id]]))
    await until_kept(b, {profile.id, gone.id})


# --- rings --------------------------------------------------------------------------------------


async def test_three_nodes_in_a_ring_keep_each_event_once_and_fall_silent(nodes: Nodes) -> None:
    ring = [await nodes.start(name) for name in "abc"]
    for node, following in zip(ring, ring[1:] + ring[:1], strict=True):
        await node.peers.add(peer(following.url))
    for node in ring:
        await until_state(node, "live")
    appended: list[str] = []
    for node in ring:
        node.log.follow(lambda _seq, event: appended.append(event.id))
    events = [event for node in ring for event in await publish(node, 5)]
    for node in ring:
        await until_kept(node, ids(events))
    # One more round trip through the whole ring: what still circled would have come by.
    marker = await publish(ring[0])
    for node in ring:
        await until_kept(node, ids(events + marker))
    assert len(appended) == 3 * (len(events) + 1)
    moved = [found for node in ring for found in node.peers.statuses()]
    assert sum(found["pulled"] + found["pushed"] for found in moved) >= 2 * len(events)
    assert sum(found["refused"] for found in moved) == 0


# --- the list of peers --------------------------------------------------------------------------


async def test_peers_are_remembered_and_forgotten(nodes: Nodes) -> None:
    b = await nodes.start("b")
    async with nodes.running("a") as a:
        await a.peers.add(peer(b.url, "in", {"kinds": [1]}))
        await a.peers.add(peer(b.url, "out"))
        (found,) = a.peers.statuses()
        assert (found["direction"], found["filters"]) == ("out", [{}])
    async with nodes.running("a") as a:
        (found,) = a.peers.statuses()
        assert found["url"] == b.url
        await a.peers.remove(b.url)
        with pytest.raises(NotFound, match="url"):
            await a.peers.remove(b.url)
    async with nodes.running("a") as a:
        assert a.peers.statuses() == []


async def test_a_node_is_no_peer_of_itself(nodes: Nodes) -> None:
    a = await nodes.start("a")
    with pytest.raises(Invalid, match="itself"):
        await a.peers.add(peer(f"ws://localhost:{a.port}"))


async def test_a_peer_of_the_config_stays(tmp_path: Path, operator: SecretKey) -> None:
    fixed = Peer(url="ws://127.0.0.1:9")
    async with running_node(tmp_path, operator, peers=(fixed,), peer_pace=QUICK) as node:
        assert node.peers.statuses()[0]["source"] == "config"
        with pytest.raises(Conflict, match="config"):
            await node.peers.remove(fixed.url)
        with pytest.raises(Conflict, match="config"):
            await node.peers.add(fixed)
        await until_state(node, "waiting")


async def test_a_keys_own_relays_are_found_here_and_at_peers(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    author = new_secret()
    with pytest.raises(NotFound, match="10002"):
        await a.peers.relays(author.public)
    async with a_peer(b.url, author) as client:
        await client.keep(client.note(kind=10002, tags=[["r", "wss://one.example", "write"]]))
    await a.peers.add(peer(b.url, "in", {"kinds": [1]}))
    assert await a.peers.relays(author.public) == [("wss://one.example", Direction.IN)]


def relay_list(author: SecretKey, url: str, *tags: list[str], at_s: int) -> Event:
    """A key's list of one relay."""
    return sign_event(author, kind=10002, created_at=at_s, tags=[["r", url], *tags])


async def relays_told(nodes: Nodes, author: SecretKey, *lists: Event) -> list[str]:
    """The relays of a key for a node whose every peer has one of these lists."""
    node = await nodes.start("a")
    async with AsyncExitStack() as stack:
        for one in lists:
            relay = await stack.enter_async_context(foreign_relay(events=[one]))
            await node.peers.add(peer(relay.url, "in", {"kinds": [1]}))
        return [url for url, _ in await node.peers.relays(author.public)]


async def test_of_lists_of_relays_of_one_second_the_one_with_the_lowest_id_counts(
    nodes: Nodes,
) -> None:
    author, at_s = new_secret(), now()
    lists = [relay_list(author, f"wss://{n}.example", at_s=at_s) for n in range(3)]
    lowest = min(lists, key=lambda event: event.id)
    assert await relays_told(nodes, author, *lists) == [lowest.tag("r")]


async def test_a_list_of_relays_that_expired_does_not_count(nodes: Nodes) -> None:
    author, at_s = new_secret(), now()
    ends = [["expiration", text] for text in (str(at_s + 3600), str(at_s - 1), "soon")]
    good = relay_list(author, "wss://good.example", ends[0], at_s=at_s - 60)
    expired = relay_list(author, "wss://old.example", ends[1], at_s=at_s)
    unread = relay_list(author, "wss://odd.example", ends[2], at_s=at_s)
    assert await relays_told(nodes, author, expired, unread, good) == ["wss://good.example"]


async def test_who_has_expired_lists_of_relays_alone_has_none(nodes: Nodes) -> None:
    author, ends = new_secret(), ["expiration", str(now() - 1)]
    expired = relay_list(author, "wss://old.example", ends, at_s=now())
    with pytest.raises(NotFound, match="10002"):
        await relays_told(nodes, author, expired)
