"""SIGTERM while 2,000 events are in flight: what was OK'd is kept, and nothing is kept by half."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.conftest import People
from tests.system.on_disk import ids_aside, opened
from tests.system.test_kill import lives, settings_for

from hanse.config import Config
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import message
from hanse.protocol.event import Event, check_event, parse_event, sign_event
from hanse.protocol.keys import SecretKey

EVENTS = 2000
AUTHORS = 4
PATIENCE_S = 30


def notes() -> Iterator[Event]:
    """Signed events, each with a tag of its own, by several authors."""
    authors, now = [new_secret() for _ in range(AUTHORS)], int(time.time())
    for number in range(EVENTS):
        tags = (("t", f"drain-{number}"),)
        yield sign_event(authors[number % AUTHORS], kind=1, created_at=now, tags=tags)


class Told:
    """What a client heard of its events."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.refused: list[str] = []
        self.code: int | None = None

    async def hear(self, socket: aiohttp.ClientWebSocketResponse, enough: asyncio.Event) -> None:
        """Listen until the node closes; `enough` is set with the first OK."""
        async for found in socket:
            heard = json.loads(found.data)
            if heard[0] == "OK" and heard[2]:
                self.accepted.add(heard[1])
                enough.set()
            elif heard[0] != "AUTH":
                assert heard[0] == "OK", heard  # nothing else was asked
                self.refused.append(heard[3])
        self.code = socket.close_code


async def flood(url: str, events: list[Event], told: Told, enough: asyncio.Event) -> None:
    """Send all, however the node takes it, and listen to the end."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, max_msg_size=0) as socket,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(told.hear(socket, enough))
        with contextlib.suppress(ConnectionError):  # the node may close before the last is sent
            for number, event in enumerate(events):
                await socket.send_str(message.publish(event).decode())
                if number == EVENTS // 2:
                    await enough.wait()  # the signal comes with the second half on its way
                elif number % 10 == 0:
                    await asyncio.sleep(0)


async def test_every_answered_event_outlives_sigterm_and_none_is_kept_by_half(
    tmp_path: Path,
) -> None:
    events = list(notes())
    settings = settings_for(tmp_path, [])
    told, enough = Told(), asyncio.Event()
    async with lives(settings, tmp_path) as node:
        await node.start()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(flood(node.url, events, told, enough))
            await enough.wait()
            await node.end(signal.SIGTERM)
        assert told.accepted
        assert told.code == 1001
        assert all(text.startswith("error: ") for text in told.refused)
        await node.start()
        await assert_kept(node.url, told.accepted)
        await node.end(signal.SIGTERM)
    kept = stored(node.path)
    assert told.accepted <= kept
    # Whatever was committed was also answered: the node ends only after its last OK has left.
    assert kept == told.accepted


async def assert_kept(url: str, accepted: set[str]) -> None:
    """The node, started anew, answers each by its id and by its tag."""
    ids = sorted(accepted)
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
        for start in range(0, len(ids), 200):
            await socket.send_json(["REQ", "q", {"ids": ids[start : start + 200]}])
            found: dict[str, str] = {}
            async for one in socket:
                heard = json.loads(one.data)
                if heard[0] == "EVENT":
                    found[heard[2]["id"]] = heard[2]["tags"][0][1]
                elif heard[0] == "EOSE":
                    break
            assert set(found) == set(ids[start : start + 200])
            await socket.send_json(["REQ", "q", {"#t": list(found.values())}])
            by_tag = set()
            async for one in socket:
                heard = json.loads(one.data)
                if heard[0] == "EVENT":
                    by_tag.add(heard[2]["id"])
                elif heard[0] == "EOSE":
                    break
            assert by_tag == set(found)


def stored(path: Path) -> set[str]:
    """Ids in the files, each of a whole and valid event."""
    connection = opened(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows: list[Any] = connection.execute("SELECT lower(hex(id)), json FROM event").fetchall()
        for id, raw in rows:
            event = parse_event(bytes(raw))
            check_event(event)
            assert event.id == id
        return {str(id) for id, _ in rows} | set(ids_aside(connection, path))
    finally:
        connection.close()


async def test_a_draining_node_ends_its_calls_and_takes_no_new_connection(
    tmp_path: Path, operator: SecretKey
) -> None:
    config = Config(data=tmp_path, port=0)
    node = Node(config, new_secret(), operator.public)
    up, asked, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with node:
            up.set()
            await node.wait()

    async def slow(text: str) -> str:
        "Answer when told to."
        asked.set()
        await go_on.wait()
        return text.upper()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        living = tasks.create_task(live())
        await up.wait()
        async with AsyncExitStack() as stack, aiohttp.ClientSession() as http:
            people = People(node, stack)
            provider, caller = await people.connected(), await people.connected("10sat")
            provider.provide(price="2sat", latency_p95_ms=20_000)(slow)
            offer = await provider.serve()
            while not await node.registry.offers():
                await asyncio.sleep(0.005)
            address = f"{offer.kind}:{offer.pubkey}:{offer.tag('d')}"
            call = tasks.create_task(caller.call(address, {"text": "a"}, capability="slow"))
            await asked.wait()
            node.stop()
            while not node.figures.draining:
                await asyncio.sleep(0.005)
            async with http.get(f"{node.http_url}/ready") as found:
                assert (found.status, (await found.json())["reasons"]) == (503, ["draining"])
            with pytest.raises(aiohttp.ClientError):
                await http.ws_connect(node.url)
            go_on.set()
            assert (await call).value == "A"
        await living


@pytest.mark.heavy
async def test_it_holds_again_and_again(tmp_path: Path) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        await test_every_answered_event_outlives_sigterm_and_none_is_kept_by_half(folder)
