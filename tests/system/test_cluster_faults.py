"""What a cluster stands on is killed under load, and started again: nothing that anybody was told
is lost, nothing comes twice, clients keep their sockets, and no money stays on hold.
"""

import asyncio
import contextlib
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.node_process import Settings
from tests.relay_peer import Peer, eventually
from tests.servers import (
    NatsServer,
    PostgresServer,
    free_port,
    nats_server,
    postgres_server,
)
from tests.system.test_cluster import Cluster, Shop, a_shop, settled_books
from tests.system.test_kill import lives

from hanse.agent import Agent
from hanse.engines.storage.database import Transaction
from hanse.engines.storage.postgres import STUCK_S, PostgresDatabase
from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter

pytestmark = pytest.mark.heavy
MANY = Filter(kinds=frozenset({1}))
ROUNDS = 4
EACH = 150
"""Events acknowledged between two kills."""
LARGE = 200_000
"""Bytes of a note that soon fills a file."""
FILE_MAX = (16 << 20) + 8192
"""Of files on PostgreSQL's disk: just more than it has for what it writes ahead."""


class Servers(Cluster):
    """A cluster on servers of its own, to be killed."""

    postgres: PostgresServer
    nats: NatsServer


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Servers]:
    """No node yet."""
    with postgres_server() as postgres, nats_server() as nats:
        async with AsyncExitStack() as stack:
            found = Servers(tmp_path, await postgres.new_database(), nats.url, stack)
            found.postgres, found.nats = postgres, nats
            yield found


class Load:
    """Writers at every node that never stop, a listener at every node, and callers of a shop."""

    def __init__(self, nodes: list[Node], shop: Shop) -> None:
        self.nodes = nodes
        self.shop = shop
        self.acknowledged: list[str] = []
        self.heard = [Counter[str]() for _ in nodes]
        self.settled = 0
        self.unsettled: Counter[str] = Counter()
        self.ending = False

    async def write(self, peer: Peer, name: str) -> None:
        """One event after another."""
        number = 0
        while not self.ending:
            number += 1
            note = peer.note(f"{name} {number}")
            accepted, text = await peer.publish(note)
            if accepted:
                self.acknowledged.append(note.id)
            else:
                self.unsettled[text] += 1

    async def listen(self, peer: Peer, heard: Counter[str]) -> None:
        """Count what comes."""
        while True:
            message = await peer.socket.recv()
            found: list[Any] = msgspec.json.decode(message)
            assert found[0] == "EVENT", found
            heard[found[2]["id"]] += 1

    async def call(self, agent: Agent) -> None:
        """One call after another."""
        while not self.ending:
            try:
                found = await self.shop.buy(agent, deadline_ms=3000)
            except HanseError as refused:
                self.unsettled[refused.reason] += 1
                await asyncio.sleep(0.01)  # refused while something is away
            else:
                self.settled += found.settled
                self.unsettled[found.fault or "settled"] += 1

    async def more(self, count: int = EACH) -> None:
        """Until so many more events were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.01)

    def is_heard(self) -> bool:
        """Whether every listener has all that was acknowledged."""
        return all(heard.keys() >= set(self.acknowledged) for heard in self.heard)


@asynccontextmanager
async def under_load(cluster: Servers) -> AsyncIterator[Load]:
    """Two nodes at work until the block ends; then what must hold is looked at."""
    nodes = [await cluster.node("a"), await cluster.node("b")]
    await eventually(lambda: all(node.bus.others == 1 for node in nodes))
    shop = await a_shop(cluster, nodes[0], seen_from=nodes[1])
    load = Load(nodes, shop)
    callers = [await cluster.agent(node, "100000sat") for node in nodes]
    async with asyncio.TaskGroup() as tasks:
        listening = []
        for node, heard in zip(nodes, load.heard, strict=True):
            peer = await cluster.peer(node)
            await peer.ask({"kinds": [1]})
            listening.append(tasks.create_task(load.listen(peer, heard)))
        working = [
            tasks.create_task(load.write(await cluster.peer(node), f"{node.port} {number}"))
            for node in nodes
            for number in range(2)
        ]
        working += [tasks.create_task(load.call(agent)) for agent in callers]
        yield load
        load.ending = True
        await asyncio.wait(working, timeout=60)
        await eventually(load.is_heard)
        for task in listening:
            task.cancel()
    assert all(count == 1 for heard in load.heard for count in heard.values())
    stored = set()
    for row in (await nodes[0].log.query([MANY], limit=100_000, now_s=0)).rows:
        stored.add(row[2].hex())
    assert stored >= set(load.acknowledged)
    assert load.settled > 0
    await eventually(lambda: all(not node.broker.running for node in nodes))
    for node in nodes:
        await end_late_calls(node)
        await settled_books(node)
        assert await node.payments.balance(shop.agent.pubkey) == (2970 * await settled(node), 0)


async def end_late_calls(node: Node) -> None:
    """What the node's own sweep does every minute, as soon as no call is open any more."""

    async def none_open() -> bool:
        await node.broker.expire()
        return "open" not in await node.calls.counts()

    await eventually(none_open)


async def settled(node: Node) -> int:
    """How many calls were paid."""
    return (await node.calls.counts()).get("settled", 0)


async def restarted(server: PostgresServer | NatsServer) -> None:
    """Killed, and started again."""
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def test_postgres_killed_under_load_loses_nothing_and_no_client(cluster: Servers) -> None:
    async with under_load(cluster) as load:
        for _ in range(ROUNDS):
            await load.more()
            await restarted(cluster.postgres)
        await load.more()


async def test_nats_killed_under_load_loses_nothing_and_no_client(cluster: Servers) -> None:
    async with under_load(cluster) as load:
        for _ in range(ROUNDS):
            await load.more()
            await restarted(cluster.nats)
            await eventually(lambda: all(node.bus.connected for node in load.nodes))
        await load.more()


async def test_reads_are_refused_in_time_while_postgres_is_away_and_go_on_after(
    cluster: Servers,
) -> None:
    node = await cluster.node("a")
    peer = await cluster.peer(node)
    await peer.keep(peer.note("before"))
    postgres: PostgresServer = cluster.postgres
    postgres.kill()
    with pytest.raises(HanseError, match="away"):
        await node.log.total()
    postgres.start()
    await peer.keep(peer.note("after"))
    assert await node.log.total() == 2


async def test_calls_of_a_node_that_was_killed_are_refunded_by_the_other(cluster: Servers) -> None:
    b = await cluster.node("b")
    caller_keys = [new_secret() for _ in range(4)]
    settings = Settings(
        data=str(cluster.folder / "a"),
        port=free_port(),
        secret=cluster.secret.reveal().hex(),
        operator=cluster.operator.public,
        agents=[key.public for key in caller_keys],
        grant_msat=10_000,
        database=cluster.settings["database"].text,
        bus=cluster.settings["bus"].text,
        instance="a",
        grace_ms=200,
    )
    shop = await a_shop(cluster, b, seen_from=b)
    shop.open.clear()
    async with lives(settings, cluster.folder) as a, AsyncExitStack() as stack:
        await a.start()
        await eventually(lambda: b.bus.others == 1)
        callers = [
            await stack.enter_async_context(Agent(a.url, key, node_key=b.pubkey))
            for key in caller_keys
        ]
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(_lost(shop, agent)) for agent in callers]
            await eventually(lambda: shop.worked == len(callers))
            assert await b.payments.totals() == (0, 4 * 3000)
            assert await b.broker.expire() == 0  # they are another's, and may still end
            await a.end(signal.SIGKILL)
            for call in calls:
                call.cancel()
        shop.open.set()
    await end_late_calls(b)
    await settled_books(b)
    for key in caller_keys:
        assert await b.payments.balance(key.public) == (10_000, 0)
    assert await b.calls.counts() == {"refunded": 4}
    await eventually(lambda: b.bus.others == 0)


async def _lost(shop: Shop, agent: Agent) -> None:
    with contextlib.suppress(HanseError):
        await shop.buy(agent, deadline_ms=2000)


async def test_a_postgresql_that_can_grow_no_more_refuses_by_name_and_answers_and_recovers(
    cluster: Servers,
) -> None:
    node = await cluster.node("a")
    peer = await cluster.peer(node)

    def note() -> Event:
        return peer.note(secrets.token_hex(LARGE // 2))

    async def count(peer: Peer) -> int:
        await peer.say("COUNT", "c", {"authors": [peer.secret.public]})
        return int((await peer.hear())[2]["count"])

    kept = [(await peer.keep(note())).id]
    cluster.postgres.limit_files(FILE_MAX)
    for _ in range(3 * FILE_MAX // LARGE):
        event = note()
        accepted, text = await peer.publish(event)
        if not accepted:
            break
        kept.append(event.id)
    assert text.startswith("error: the database refused")
    assert "could not extend file" in text
    assert not (await peer.publish(note()))[0]
    assert await count(peer) == len(kept)
    assert await peer.ask({"ids": kept[-1:]}, name="last") == kept[-1:]
    await peer.say("CLOSE", "last")
    cluster.postgres.limit_files(-1)
    await peer.keep(event)
    assert await count(peer) == len(kept) + 1


async def test_a_node_stuck_in_a_commit_does_not_keep_the_others_from_writing(
    postgres: PostgresServer,
) -> None:
    url = await postgres.new_database()
    inside = threading.Event()

    def stuck(tx: Transaction) -> None:
        tx.one("event_last_seq")
        if not inside.is_set():  # tried again after its lock was taken away, it goes well
            inside.set()
            time.sleep(STUCK_S + 2)

    async def other() -> None:
        async with PostgresDatabase(url, "stuck") as database:
            await database.write(stuck)

    async with PostgresDatabase(url, "works") as database:
        thread = threading.Thread(target=lambda: asyncio.run(other()))
        thread.start()
        assert await asyncio.to_thread(inside.wait, 10)
        begun = time.monotonic()
        await database.write(lambda tx: tx.one("event_last_seq"))
        assert time.monotonic() - begun < STUCK_S + 1
        await asyncio.to_thread(thread.join)
