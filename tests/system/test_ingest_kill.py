"""Kill -9 of a node 50 times while eight connections publish: what was OK'd is there after each
start, and whatever is there is whole."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from tests.system.test_drain import stored
from tests.system.test_kill import Lives, lives, settings_for

from hanse.keyring import new_secret
from hanse.protocol import message
from hanse.protocol.event import Event, check_event, parse_event, sign_event

pytestmark = pytest.mark.heavy

KILLS = int(os.environ.get("HANSE_INGEST_KILLS", "50"))
LIFE_MAX_S = 0.08
"""Longest from a life's first OK to its end."""

CONNECTIONS = 8
WINDOW = 16
AUTHORS = [new_secret() for _ in range(CONNECTIONS)]
PATIENCE_S = 30.0
ASKED_AT_ONCE = 200


class Publishers:
    """What one life's connections sent and were told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sent: list[Event] = []
        self.accepted: set[str] = set()
        self.refused: list[str] = []
        self.first = asyncio.Event()

    async def run(self, number: int) -> None:
        """One connection with so many events on their way, until the node is gone."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with aiohttp.ClientSession() as http, http.ws_connect(self._url) as socket:
                for _ in range(WINDOW):
                    await self._send(number, socket)
                async for found in socket:
                    heard = json.loads(found.data)
                    if heard[0] != "OK":
                        continue
                    if heard[2]:
                        self.accepted.add(heard[1])
                        self.first.set()
                    else:
                        self.refused.append(heard[3])
                    await self._send(number, socket)

    async def _send(self, number: int, socket: aiohttp.ClientWebSocketResponse) -> None:
        count = len(self.sent)
        # Every fifth is a version of one address: a kill must not leave two, nor none.
        kind, tags = (30000, (("d", str(number)),)) if count % 5 == 4 else (1, (("t", "kill"),))
        event = sign_event(
            AUTHORS[number],
            kind=kind,
            created_at=int(time.time()),
            tags=tags,
            content=f"{time.monotonic_ns()} " + "x" * (count % 7 * 300),
        )
        self.sent.append(event)
        await socket.send_str(message.publish(event).decode())


async def live_and_be_killed(node: Lives, draw: random.Random) -> Publishers:
    """One life under traffic, ended at a random moment of it."""
    await node.start()
    found = Publishers(node.url)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        for number in range(CONNECTIONS):
            tasks.create_task(found.run(number))
        await found.first.wait()
        await asyncio.sleep(draw.uniform(0, LIFE_MAX_S))
        await node.end(signal.SIGKILL)
    return found


async def answered(url: str, ids: list[str]) -> dict[str, Event]:
    """What the node has of these, each checked."""
    found: dict[str, Event] = {}
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
        for start in range(0, len(ids), ASKED_AT_ONCE):
            await socket.send_json(["REQ", "q", {"ids": ids[start : start + ASKED_AT_ONCE]}])
            async for one in socket:
                heard = json.loads(one.data)
                if heard[0] == "EVENT":
                    event = parse_event(json.dumps(heard[2]))
                    check_event(event)
                    found[event.id] = event
                elif heard[0] == "EOSE":
                    break
    return found


@pytest.mark.requirement("NIP-01.ok-after-commit")
async def test_every_event_that_was_accepted_outlives_kill_9_and_none_is_half(
    tmp_path: Path,
) -> None:
    draw = random.Random(11)
    accepted: set[str] = set()
    replaced: set[str] = set()
    sent: dict[str, Event] = {}
    async with lives(settings_for(tmp_path, []), tmp_path) as node:
        for number in range(KILLS):
            life = await live_and_be_killed(node, draw)
            assert all(text.startswith("duplicate: ") for text in life.refused), life.refused
            sent |= {event.id: event for event in life.sent}
            accepted |= {id for id in life.accepted if sent[id].kind == 1}
            replaced |= {id for id in life.accepted if sent[id].kind != 1}
            if number % 10 == 9:
                assert accepted <= stored(node.path)  # as a file, before anything repairs it
            await node.start()
            here = await answered(node.url, [event.id for event in life.sent])
            assert {event.id: event for event in life.sent if event.id in here} == here
            assert {id for id in life.accepted if sent[id].kind == 1} <= set(here)
            await node.end(signal.SIGKILL)
        await node.start()
        found = await answered(node.url, list(sent))
        assert accepted <= set(found)
        # Of an address one version is left: the newest that was accepted, or one sent later.
        for secret in AUTHORS:
            of_author = [one for one in found.values() if one.pubkey == secret.public]
            versions = [one for one in of_author if one.kind == 30000]
            told = [sent[id] for id in replaced if sent[id].pubkey == secret.public]
            assert len(versions) == bool(told)
            assert all(rank(versions[0]) >= rank(one) for one in told)
        await node.end(signal.SIGTERM)
    assert stored(node.path) == set(found)
    assert len(accepted) > KILLS * WINDOW


def rank(event: Event) -> tuple[int, int]:
    """Later versions are greater (NIP-01: of one second, the lowest id)."""
    return event.created_at, -int(event.id, 16)
