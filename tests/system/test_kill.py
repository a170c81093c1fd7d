"""Kill -9 of the node at 200 random points, under traffic that never stops: nothing that anybody
was told is lost, and every call ends in exactly one of settled and refunded.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.node_process import Settings
from tests.system.on_disk import opened

from hanse.agent import Agent, Result
from hanse.agent.connection import Connection
from hanse.agent.link import now_s
from hanse.broker.receipt import verify_receipt
from hanse.errors import Unavailable
from hanse.keyring import new_secret
from hanse.payments.model import ESCROW_NAME, FEES_NAME, ISSUE_NAME, TransferKind
from hanse.protocol import attestation, kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.quality import DAY_S, HOUR_S, LOAD, Tally

KILLS = int(os.environ.get("HANSE_KILLS", "200"))
LIFE_MAX_S = 0.06
"""Longest from a life's first delivered call to its end."""

CALLERS = 8
PUBLISHERS = 4
GRANT_MSAT = 1_000_000_000
PRICE_MSAT, FEE_MSAT = 2000, 20
PATIENCE_S = 30.0


class Lives:
    """The node's process: one life after another over the same data folder and port."""

    def __init__(self, settings: Settings, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.path = Path(settings.data) / "hanse.db"
        self.url = f"ws://127.0.0.1:{settings.port}"
        self.node = SecretKey.from_hex(settings.secret).public
        self.pid = 0

    async def start(self) -> None:
        """A new life; on return it serves."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"live\n")
        self.pid = await self._said("up")

    async def end(self, number: signal.Signals) -> None:
        """End this life by a signal; on return the process is gone."""
        os.kill(self.pid, number)
        assert await self._said("gone") == self.pid
        self.pid = 0

    async def _said(self, word: str) -> int:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await self._process.stdout.readline()).decode().split()
        assert line[:1] == [word], f"the node said {line}; see its errors above"
        return int(line[1])


@asynccontextmanager
async def lives(settings: Settings, folder: Path) -> AsyncIterator[Lives]:
    """The process that forks nodes; neither it nor a node of it is left."""
    file = folder / "settings.json"
    file.write_bytes(msgspec.json.encode(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fakes.node_process",
        str(file),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    found = Lives(settings, process)
    try:
        yield found
    finally:
        # With the node that it may just be starting: who waits for that one would wait for good.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


# --- traffic --------------------------------------------------------------------------------------


class Traffic:
    """Callers, providers and publishers that go on whatever happens to the node, and remember
    what they were told."""

    def __init__(self, agents: list[Agent], publisher: Connection, author: SecretKey) -> None:
        self.providers, self.callers = agents[:2], agents[2:]
        self._publisher = publisher
        self._author = author
        self.random = random.Random(7)
        self.delivered = asyncio.Event()
        self.ending = asyncio.Event()
        self.worked: Counter[str] = Counter()
        self.told: dict[tuple[int, str], Result] = {}
        self.acknowledged: list[str] = []

    async def open(self) -> None:
        """Publish both offers."""
        for agent, work in zip(self.providers, (self._at_once, self._slowly), strict=True):
            agent.provide(price="2sat", name="work")(work)
            await agent.serve(identifier="work")

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Go on until `ending` is set."""
        for number in range(CALLERS):
            tasks.create_task(self._call(number))
        for number in range(PUBLISHERS):
            tasks.create_task(self._publish(number))

    async def ask(self, number: int, key: str) -> Result:
        """A caller's one call under a key, until it is told how it ended: a node that dies this
        often can outlast an agent's own patience."""
        provider = self.providers[number % 2].pubkey
        while True:
            with contextlib.suppress(Unavailable):
                return await self.callers[number].call(
                    f"{kinds.OFFER}:{provider}:work",
                    {"text": f"{number} {key}"},
                    capability="work",
                    key=key,
                    deadline_ms=5000,
                )

    async def _call(self, number: int) -> None:
        count = 0
        while not self.ending.is_set():
            count += 1
            self.told[number, str(count)] = await self.ask(number, str(count))

    async def _publish(self, number: int) -> None:
        count = 0
        while not self.ending.is_set():
            count += 1
            text = f"note {number} {count}"
            event = sign_event(self._author, kind=kinds.NOTE, created_at=now_s(), content=text)
            try:
                await self._publisher.publish(event)
            except Unavailable:
                await asyncio.sleep(0.01)  # the node is dead: nothing was promised
            else:
                self.acknowledged.append(event.id)

    async def _at_once(self, text: str) -> str:
        """Work that takes no time."""
        self.worked[text] += 1
        self.delivered.set()
        return text.upper()

    async def _slowly(self, text: str) -> str:
        """Work that takes a few milliseconds."""
        self.worked[text] += 1
        self.delivered.set()
        await asyncio.sleep(self.random.uniform(0, 0.008))
        return text.upper()


@asynccontextmanager
async def traffic(node: Lives, keys: list[SecretKey]) -> AsyncIterator[Traffic]:
    """Connected agents, each of its own operator, and one connection to publish over."""
    async with AsyncExitStack() as stack:
        agents = []
        for key in keys:
            tag = attestation.attest(new_secret(), key.public).tag
            agent = Agent(node.url, key, tag, node_key=node.node)
            agents.append(await stack.enter_async_context(agent))
        author = new_secret()
        publisher = await stack.enter_async_context(Connection(node.url, author, (), node.node))
        found = Traffic(agents, publisher, author)
        await found.open()
        yield found


# --- the books, read from the file ----------------------------------------------------------------


class Stand(msgspec.Struct, frozen=True):
    """How many calls a dead node's books hold."""

    opened: int
    ended: int


class Books:
    """The database as it lies on the disk, read by nobody's code but SQLite's."""

    def __init__(self, path: Path) -> None:
        self._connection = opened(path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._connection.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        """The first value of a query."""
        return self.rows(sql)[0][0]

    def stand(self, born_ms: int) -> Stand:
        """Check what must hold at any moment; how many calls the last life left how."""
        assert self.one("SELECT sum(credits_posted - debits_posted) FROM account") == 0
        below = "SELECT count(*) FROM account WHERE kind <> 'issue' AND"
        assert self.one(f"{below} credits_posted - debits_posted - debits_pending < 0") == 0
        states = dict(self.rows("SELECT state, count(*) FROM call GROUP BY state"))
        resolved = dict(self.rows("SELECT kind, count(*) FROM transfer GROUP BY kind"))
        opened = int(states.get("open", 0))
        assert resolved.get(TransferKind.PENDING, 0) == sum(states.values())
        assert resolved.get(TransferKind.POST, 0) == states.get("settled", 0)
        returned = resolved.get(TransferKind.VOID, 0) + resolved.get(TransferKind.EXPIRE, 0)
        assert returned == states.get("refunded", 0)
        pending = self.rows("SELECT sum(debits_pending), sum(credits_pending) FROM account")
        assert pending == [(opened * PRICE_MSAT,) * 2]
        old = f"SELECT count(*) FROM call WHERE state = 'open' AND opened_ms < {born_ms}"
        assert self.one(old) == 0, "a call of an earlier life was not recovered"
        assert self.tallied(HOUR_S) == self.tallied(DAY_S) == self.counted()
        return Stand(opened, sum(states.values()) - opened)

    def counted(self) -> Counter[str]:
        """How the calls ended that measured quality has counted: up to a place in the log."""
        return Counter(
            dict(
                self.rows(
                    "SELECT coalesce(fault, state), count(*) FROM call "
                    "JOIN event ON event.id = call.receipt "
                    "WHERE event.seq <= (SELECT seq FROM view WHERE name = 'quality') GROUP BY 1"
                )
            )
        )

    def tallied(self, span: int) -> Counter[str]:
        """How calls ended as the tallies have it."""
        found = Counter[str]()
        # LOAD is all payers together once more.
        chosen = f"span = {span} AND payer <> '{LOAD}'"
        for (tally,) in self.rows(f"SELECT tally FROM quality WHERE {chosen}"):
            found.update(msgspec.msgpack.decode(tally, type=Tally).ends)
        return found


def look(path: Path, born_ms: int) -> Stand:
    """Look at the file, in one snapshot: the node may be at work in it."""
    books = Books(path)
    try:
        books.rows("BEGIN")
        return books.stand(born_ms)
    finally:
        books.close()


def assert_told_is_booked(books: Books, found: Traffic) -> None:
    """Every result a caller was told is what the books say, and the books hold no other call."""
    rows = books.rows("SELECT lower(hex(id)), state, fault, lower(hex(receipt)), output FROM call")
    booked = {row[0]: row[1:] for row in rows}
    assert len(found.told) == len(booked)
    for (number, key), result in found.told.items():
        state, fault, receipt, output = booked[result.call]
        assert (result.status, result.fault, result.receipt) == (state, fault, receipt)
        assert result.charged.msat == (PRICE_MSAT if state == "settled" else 0)
        text = f"{number} {key}"
        if state == "settled":
            assert msgspec.json.decode(output) == result.output
            assert result.value == text.upper()
            assert found.worked[text] == 1
        assert found.worked[text] <= 1


def assert_money_follows_calls(books: Books, agents: int) -> None:
    """Each call made exactly its own transfers, and the accounts are what the transfers add up
    to."""
    transfers = {bytes(row[0]): row[1:] for row in books.rows(TRANSFERS)}
    grants = [id for id, row in transfers.items() if row[0] == ISSUE_NAME]
    assert [transfers.pop(id)[2:] for id in grants] == [(GRANT_MSAT, 0)] * agents
    for id, caller, provider, state, fault in books.rows(CALLS):
        parts = {"hold": (caller, ESCROW_NAME, PRICE_MSAT, 1)}
        if state == "settled":
            parts["post"] = (caller, ESCROW_NAME, PRICE_MSAT, 2)
            parts["net"] = (ESCROW_NAME, provider, PRICE_MSAT - FEE_MSAT, 0)
            parts["fee"] = (ESCROW_NAME, FEES_NAME, FEE_MSAT, 0)
        else:
            assert state == "refunded"
            stopped = fault == "node-stopped"
            parts["void"] = (caller, ESCROW_NAME, 0, 4 if stopped else 3)
        for part, expected in parts.items():
            assert transfers.pop(bytes(id) + part.encode()) == expected
    assert transfers == {}
    assert books.rows(UNBALANCED) == []


CALLS = "SELECT id, caller, provider, state, fault FROM call"
TRANSFERS = """
SELECT transfer.id, debit.name, credit.name, amount, transfer.kind FROM transfer
JOIN account AS debit ON debit.id = transfer.debit
JOIN account AS credit ON credit.id = transfer.credit
"""
UNBALANCED = """
WITH moved AS (SELECT * FROM transfer WHERE kind <> 1)
SELECT name FROM account WHERE
    debits_pending <> 0 OR credits_pending <> 0
    OR debits_posted <> (SELECT coalesce(sum(amount), 0) FROM moved WHERE debit = account.id)
    OR credits_posted <> (SELECT coalesce(sum(amount), 0) FROM moved WHERE credit = account.id)
"""


def assert_log_is_whole(books: Books, found: Traffic, node: PublicKey) -> None:
    """Every acknowledged event is kept, and every call has its one receipt."""
    kept = {row[0] for row in books.rows(f"SELECT hex(id) FROM event WHERE kind = {kinds.NOTE}")}
    assert {id.upper() for id in found.acknowledged} <= kept
    states = dict(books.rows("SELECT lower(hex(receipt)), state FROM call"))
    rows = books.rows(f"SELECT json FROM event WHERE kind = {kinds.RECEIPT}")
    events = [msgspec.json.decode(row[0], type=Event) for row in rows]
    assert {event.id: verify_receipt(event, node).outcome for event in events} == states
    assert len(events) == len(found.told)
    assert books.one("PRAGMA integrity_check") == "ok"


# --- the test -------------------------------------------------------------------------------------


def settings_for(folder: Path, agents: list[SecretKey]) -> Settings:
    """A node on a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Settings(
        data=str(folder / "data"),
        port=port,
        secret=new_secret().reveal().hex(),
        operator=new_secret().public,
        agents=[agent.public for agent in agents],
        grant_msat=GRANT_MSAT,
    )


class Kill(msgspec.Struct, frozen=True):
    """What one kill hit: calls between hold and ending, and endings that no caller had heard of."""

    opened: int
    untold: int


async def kill_often(node: Lives, found: Traffic) -> list[Kill]:
    """Kill the running node KILLS times."""
    kills = []
    born_ms = 0
    for _ in range(KILLS):
        async with asyncio.timeout(PATIENCE_S):
            await found.delivered.wait()
        await asyncio.sleep(found.random.uniform(0, LIFE_MAX_S))
        await node.end(signal.SIGKILL)
        stand = look(node.path, born_ms)
        kills.append(Kill(stand.opened, stand.ended - len(found.told)))
        found.delivered.clear()
        born_ms = time.time_ns() // 1_000_000
        await node.start()
        look(node.path, born_ms)
    return kills


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_kill_9_at_any_point_loses_nothing_and_pays_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [new_secret() for _ in range(2 + CALLERS)]
    settings = settings_for(tmp_path, keys)
    started = time.monotonic()
    async with lives(settings, tmp_path) as node:
        await node.start()
        async with traffic(node, keys) as found:
            async with asyncio.TaskGroup() as tasks:
                found.start(tasks)
                kills = await kill_often(node, found)
                found.ending.set()
            took = time.monotonic() - started
            for number, key in found.random.sample(sorted(found.told), 100):
                assert await found.ask(number, key) == found.told[number, key]
        await node.end(signal.SIGTERM)
        books = Books(node.path)
        try:
            assert books.stand(0) == Stand(0, len(found.told))
            assert_told_is_booked(books, found)
            assert_money_follows_calls(books, len(keys))
            assert_log_is_whole(books, found, node.node)
            assert books.counted().total() > KILLS
        finally:
            books.close()
    endings = Counter(result.fault or result.status for result in found.told.values())
    with capsys.disabled():
        print(f"\n{told(kills, took)}; {dict(endings)}; {len(found.acknowledged)} events")  # noqa: T201
    assert len(kills) == KILLS
    assert endings["settled"] > KILLS
    assert sum(kill.opened for kill in kills) == endings["node-stopped"] > 0


def told(kills: list[Kill], took_s: float) -> str:
    """The figures, for whoever runs it."""
    hit = sum(kill.opened > 0 for kill in kills)
    late = sum(kill.untold > 0 for kill in kills)
    return (
        f"{len(kills)} kills in {took_s:.1f} s: {hit} found open calls "
        f"({sum(kill.opened for kill in kills)} in all), {late} found endings nobody had heard of"
    )
