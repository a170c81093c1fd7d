"""Throws spoiled messages, frames and requests at a node's process and watches what it does.

    python -m tests.fuzz.socket --seconds 600 [--seed N] [--keep FOLDER]

What must hold, whatever is sent: every connection gets protocol messages or is closed, and never
hangs; HTTP answers are HTTP and none is a 500; the node's log shows no traceback; the node still
takes a good event at the end. What breaks this is written out with the bytes that did it.
"""

import argparse
import asyncio
import logging
import os
import random
import socket as sockets
import struct
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import orjson
from tests.fakes.node_process import Settings
from tests.fuzz.mutate import SECRETS, Source

from hanse.keyring import new_secret
from hanse.protocol.event import encode_event, sign_event

ANSWER_S = 15.0
"""An answer that takes longer is a hang."""

CONNECTIONS = 4
MESSAGES_PER_ROUND = 12
HEAD_MAX = 1 << 20
VERBS = {"AUTH", "OK", "EVENT", "EOSE", "CLOSED", "NOTICE", "COUNT", "NEG-MSG", "NEG-ERR"}
SIZES = {"OK": {4}, "EVENT": {3}, "EOSE": {2, 3}, "CLOSED": {3}, "NOTICE": {2}, "AUTH": {2}}
FAULTS = (b"the database refused", b"could not be checked", b"could not read its log")
"""What a node says when it is at fault itself."""

TROUBLE = (b"Traceback", b"never retrieved", b'"error"', b'"critical"', b"Fatal")


class Broken(Exception):
    """Something that must hold did not."""


class Report(msgspec.Struct):
    """What was sent and what came of it."""

    sent: Counter[str]
    heard: Counter[str]
    broken: list[str]

    @property
    def text(self) -> str:
        """For people."""
        lines = [f"sent  {dict(self.sent)}", f"heard {dict(self.heard)}"]
        return "\n".join([*lines, *(f"BROKEN {found}" for found in self.broken)])


# --- a client that need not follow the rules --------------------------------------------------


class Client:
    """A WebSocket client over plain bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Client":
        """Connected, with the handshake done."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=HEAD_MAX)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % port
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise Broken(f"the handshake was answered {head!r}")
        return cls(reader, writer)

    def send(self, payload: bytes, opcode: int = 1, fin: int = 0x80, mask: bool = True) -> None:
        """One frame."""
        size, flag = len(payload), 0x80 if mask else 0
        head = bytes([fin | opcode])
        if size < 126:
            head += bytes([flag | size])
        elif size < 1 << 16:
            head += bytes([flag | 126]) + struct.pack(">H", size)
        else:
            head += bytes([flag | 127]) + struct.pack(">Q", size)
        self.writer.write(head + (bytes(4) if mask else b"") + payload)

    async def hear(self) -> bytes | None:
        """The next text message; None once the relay has closed."""
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    one, two = await self.reader.readexactly(2)
                    size = two & 0x7F
                    if size >= 126:
                        wide = await self.reader.readexactly(2 if size == 126 else 8)
                        size = int.from_bytes(wide)
                    payload = await self.reader.readexactly(size)
                    opcode = one & 0x0F
                    if opcode == 8:
                        return None
                    if opcode == 1:
                        return payload
                    if opcode not in (9, 10):
                        raise Broken(f"a frame with opcode {opcode} came")
        except TimeoutError as exc:
            raise Broken(f"no answer within {ANSWER_S} s") from exc
        except (ConnectionError, asyncio.IncompleteReadError):
            return None


def check_blame(text: bytes) -> None:
    """Raises Broken if the node says that it is at fault."""
    if any(fault in text for fault in FAULTS):
        raise Broken(f"the node is at fault: {text[:400]!r}")


def read_message(text: bytes) -> list[object]:
    """A relay's message. Raises Broken if it is none, or tells of a fault of the node's."""
    check_blame(text)
    try:
        found = orjson.loads(text)
    except ValueError as exc:
        raise Broken(f"what came is no JSON: {text[:200]!r}") from exc
    if not isinstance(found, list) or not found or found[0] not in VERBS:
        raise Broken(f"what came is no message: {text[:200]!r}")
    if len(found) not in SIZES.get(found[0], {len(found)}):
        raise Broken(f"a {found[0]} of {len(found)} parts: {text[:200]!r}")
    return found


# --- what is thrown -----------------------------------------------------------------------------


class Thrower:
    """One connection after another at one node; `report` is shared by all of them."""

    def __init__(self, seed: int, port: int, report: Report) -> None:
        self.source = Source(seed, int(time.time()))
        self.source.relay = f"ws://127.0.0.1:{port}"
        self.random = random.Random(seed)
        self.port = port
        self.report = report
        self.last: deque[bytes] = deque(maxlen=MESSAGES_PER_ROUND + 1)

    async def throw(self, until: float) -> None:
        """Go on until that time of the loop."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            self.last.clear()
            self.source.now = int(time.time())
            try:
                await self.random.choice([self._texts, self._texts, self._frames, self._request])()
            except Broken as exc:
                shown = b" | ".join(part[:600] for part in self.last)
                self.report.broken.append(f"{exc}; sent: {shown!r}")
                if len(self.report.broken) > 20:
                    return
            except (OSError, asyncio.IncompleteReadError):
                self.report.heard["reset"] += 1

    async def _texts(self) -> None:
        """Messages, each in a good frame; then one that must be answered."""
        client = await Client.open(self.port)
        try:
            await self._greeted(client)
            for round in range(self.random.choice([1, 1, 8])):
                for _ in range(MESSAGES_PER_ROUND):
                    text = self.source.text()
                    self.last.append(text)
                    self.report.sent["text"] += 1
                    client.send(text)
                if not await self._answered(client, f"marker {round}"):
                    return
        finally:
            client.writer.close()

    async def _greeted(self, client: Client) -> None:
        text = await client.hear()
        if text is None:
            raise Broken("closed before anything was said")
        self.source.challenge = str(read_message(text)[1])

    async def _answered(self, client: Client, name: str) -> bool:
        """Whether the relay still answers; False if it closed instead."""
        client.send(orjson.dumps(["REQ", name, {"limit": 0}]))
        while (text := await client.hear()) is not None:
            verb, *rest = read_message(text)
            self.report.heard[str(verb)] += 1
            if verb in ("EOSE", "CLOSED") and rest[0] == name:
                client.send(orjson.dumps(["CLOSE", name]))
                return True
        self.report.heard["close"] += 1
        return False

    async def _frames(self) -> None:
        """Frames that break the rules of WebSocket, or bytes that are none."""
        client, draw = await Client.open(self.port), self.random
        try:
            await self._greeted(client)
            for _ in range(draw.choice([1, 3, 10])):
                payload = self.source.message()
                self.last.append(payload)
                self.report.sent["frame"] += 1
                if draw.random() < 0.3:
                    client.writer.write(self.source.scratch(payload))
                else:
                    client.send(
                        payload[: draw.choice([0, 1, 125, 126, 4000])],
                        opcode=draw.randrange(16),
                        fin=draw.choice([0x80, 0x80, 0, 0xC0, 0xF0]),
                        mask=draw.random() < 0.9,
                    )
            if draw.random() < 0.5:
                client.writer.write_eof()
                while (text := await client.hear()) is not None:
                    read_message(text)
                self.report.heard["close"] += 1
        finally:
            # Half of the time the relay sees the end in the middle of a frame.
            client.writer.close()

    async def _request(self) -> None:
        """One HTTP request; the answer must be one, and not a fault of the node."""
        data = self.source.request(f"127.0.0.1:{self.port}")
        self.last.append(data)
        self.report.sent["request"] += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(ANSWER_S):
                answer = await reader.read(HEAD_MAX)
        except TimeoutError as exc:
            raise Broken(f"no HTTP answer within {ANSWER_S} s") from exc
        finally:
            writer.close()
        if not answer:
            self.report.heard["close"] += 1
            return
        check_blame(answer)
        line = answer.split(b"\r\n", 1)[0].split()
        if len(line) < 2 or not line[0].startswith(b"HTTP/1."):
            raise Broken(f"what came is no HTTP: {answer[:200]!r}")
        if line[1] in (b"500", b"501"):
            raise Broken(f"answered {answer[:300]!r}")
        self.report.heard[line[1].decode()] += 1


# --- the node -----------------------------------------------------------------------------------


@asynccontextmanager
async def a_node(folder: Path) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """A node's process with all doors: its port and itself. Its log is `folder`/log."""
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        data=str(folder / "data"),
        port=port,
        secret=new_secret().reveal().hex(),
        operator=SECRETS[0].public,
        agents=[],
        grant_msat=0,
        doors=["api", "mcp"],
    )
    (folder / "settings.json").write_bytes(msgspec.json.encode(settings))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.node_process", str(folder / "settings.json")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    pid = 0
    try:
        process.stdin.write(b"live\n")
        async with asyncio.timeout(60):
            word, number = (await process.stdout.readline()).split()
        assert word == b"up"
        pid = int(number)
        yield port, process
    finally:
        if pid:
            os.kill(pid, 15)
        process.stdin.close()
        async with asyncio.timeout(60):
            await process.wait()


async def still_takes_events(port: int) -> None:
    """A good event is kept. Raises Broken."""
    event = sign_event(new_secret(), kind=1, created_at=int(time.time()), content="after all that")
    client = await Client.open(port)
    try:
        await client.hear()
        client.send(b'["EVENT",' + encode_event(event) + b"]")
        text = await client.hear()
        if text is None or read_message(text)[:3] != ["OK", event.id, True]:
            raise Broken(f"the node no longer takes an event: {text!r}")
    finally:
        client.writer.close()


async def fuzz(seconds: float, seed: int, folder: Path) -> Report:
    """Fuzz a node of its own for so long."""
    report = Report(Counter(), Counter(), [])
    async with a_node(folder) as (port, process):
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS):
                tasks.create_task(Thrower(seed * 100 + number, port, report).throw(until))
        try:
            await still_takes_events(port)
        except (Broken, OSError, asyncio.IncompleteReadError) as exc:
            report.broken.append(f"{exc!r}; the node ended: {process.returncode}")
    log = (folder / "log").read_bytes()
    for sign in TROUBLE:
        at = log.find(sign)
        if at >= 0:
            shown = log[max(0, at - 500) : at + 2500].decode(errors="replace")
            report.broken.append(f"the log has {log.count(sign)}x {sign.decode()}:\n{shown}")
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.socket", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the node's folder here")
    asked = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of writes to a closed socket
    with tempfile.TemporaryDirectory() as folder:
        place = asked.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(fuzz(asked.seconds, asked.seed, place))
    sys.stdout.write(report.text + "\n")
    sys.exit(bool(report.broken))


if __name__ == "__main__":
    main()
