"""A relay for the agent's connection to live through: each new connection meets the next mood.

It speaks just enough: challenge, OK, EOSE, and what its moods do wrong.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol


class Mood(Enum):
    """What it does to a connection; after the last mood of its list it is well."""

    WELL = auto()
    HANGS_UP = auto()
    """In the middle of the handshake."""
    SAYS_NOTHING = auto()
    """No handshake, no end."""
    REFUSES_UPGRADE = auto()
    SENDS_ELSEWHERE = auto()
    REFUSES_PROOF = auto()
    ENDS_INBOX = auto()
    """Once it was open."""
    NO_INBOX = auto()
    """It never opens."""
    CLOSES = auto()
    """By WebSocket's close, once the inbox is open."""
    ENDLESS_FRAGMENTS = auto()
    EMPTY_FRAGMENTS = auto()
    IS_DEAD = auto()
    """Once the inbox is open it neither reads nor writes, and its socket stays."""


class MoodyRelay:
    """`reached` counts connections, `heard` is what it was told, `open` the sockets it has now."""

    def __init__(self, moods: Sequence[Mood]) -> None:
        self._moods = list(moods)
        self.port = 0
        self.reached = 0
        self.over = asyncio.Event()
        self.open: set[asyncio.StreamWriter] = set()
        self.heard: list[list[object]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client ends it."""
        mood = self._moods[self.reached] if self.reached < len(self._moods) else Mood.WELL
        self.reached += 1
        self.open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._meet(mood, reader, writer)
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    async def _meet(
        self, mood: Mood, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if mood is Mood.HANGS_UP:
            return
        if mood is Mood.SAYS_NOTHING:
            await reader.read()
            return
        if mood in (Mood.REFUSES_UPGRADE, Mood.SENDS_ELSEWHERE):
            line = "503 Busy" if mood is Mood.REFUSES_UPGRADE else "302 Found"
            place = f"location: {self.url}/other\r\n"
            writer.write(f"HTTP/1.1 {line}\r\n{place}content-length: 0\r\n\r\n".encode())
            await reader.read()
            return
        socket = ServerProtocol()
        socket.receive_data(head)
        socket.send_response(socket.accept(socket.events_received()[0]))  # type: ignore[arg-type]
        _say(socket, "AUTH", "challenge")
        while True:
            for part in socket.data_to_send():
                writer.write(part)
            data = await reader.read(1 << 16)
            if not data:
                return
            socket.receive_data(data)
            for frame in socket.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    self._answer(mood, socket, json.loads(bytes(frame.data)))
            if mood is Mood.IS_DEAD and self.heard[-1][0] == "REQ":
                writer.writelines(socket.data_to_send())
                await self.over.wait()

    def _answer(self, mood: Mood, socket: ServerProtocol, found: list[object]) -> None:
        self.heard.append(found)
        verb, about = found[0], found[1]
        if verb in ("AUTH", "EVENT"):
            assert isinstance(about, dict)
            refused = mood is Mood.REFUSES_PROOF and verb == "AUTH"
            _say(socket, "OK", about["id"], not refused, "restricted: not you" if refused else "")
        elif verb == "REQ" and mood is not Mood.NO_INBOX:
            _say(socket, "EOSE", about)
            if mood is Mood.ENDS_INBOX:
                _say(socket, "CLOSED", about, "error: too much came in")
            elif mood is Mood.CLOSES:
                socket.send_close(1001, "the relay is stopping")
            elif mood is Mood.ENDLESS_FRAGMENTS:
                _begin_a_message(socket, 17, bytes(1 << 16))
            elif mood is Mood.EMPTY_FRAGMENTS:
                _begin_a_message(socket, 5000, b"")


def _say(socket: ServerProtocol, *message: object) -> None:
    if socket.state is State.OPEN:
        socket.send_text(json.dumps(message).encode())


def _begin_a_message(socket: ServerProtocol, fragments: int, payload: bytes) -> None:
    socket.send_text(payload, fin=False)
    for _ in range(fragments):
        socket.send_continuation(payload, fin=False)


@asynccontextmanager
async def moody_relay(*moods: Mood) -> AsyncIterator[MoodyRelay]:
    """A relay with these moods on a free port."""
    relay = MoodyRelay(moods)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        relay.over.set()
        for writer in list(relay.open):
            writer.transport.abort()
        server.close()
