"""One connection of a real relay without a socket: frames go in, bytes come out, nothing waits.

The relay stands on a `MemoryLog`; a test decides when the log answers and when commits are told.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from picows import WSMsgType
from picows.picows import _make_test_ws_frame
from tests.fakes.memory_log import MemoryLog

from hanse.engines.bus.local import LocalBus
from hanse.engines.bus.presence import LocalPresence
from hanse.protocol import session
from hanse.protocol.keys import PublicKey
from hanse.protocol.signature import verify_packed
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.compare import CompareLimits
from hanse.servers.relay.context import House
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.lists import Lists
from hanse.servers.relay.reads import ReadLimits
from hanse.servers.relay.relay import Relay, SocketLimits
from hanse.servers.relay.rules import Rules
from hanse.servers.relay.socket import Connection
from hanse.servers.relay.watch import Watch

NOW = 1_700_000_000
CHALLENGE = "challenge"
HOST = "here"


class StoppedClock:
    """Implements `ports.Clock`: it is always NOW."""

    def now_s(self) -> int:
        return NOW

    def now_ms(self) -> int:
        return NOW * 1000

    def monotonic_ms(self) -> float:
        return 0.0


class SignaturesHere:
    """Implements `ports.Verifier`: checks them in this process, at once."""

    async def check(self, packed: Sequence[bytes]) -> bytes:
        return verify_packed(b"".join(packed))


@asynccontextmanager
async def a_relay(log: MemoryLog, **settings: Any) -> AsyncIterator[Relay]:
    """A relay over `log`. Commits are told by the test: `relay.watch.appended`."""
    clock = StoppedClock()
    nobody = PublicKey("00" * 32)
    house = House(frozenset(), nobody, frozenset({HOST}))
    admission = Admission(rules=Rules(), lists=Lists(), house=house, clock=clock)
    ingest = Ingest(log, LocalBus(), admission, SignaturesHere())
    found: dict[str, Any] = {
        "limit_max": 500,
        "session_limits": session.Limits(),
        "socket_limits": SocketLimits(),
        "read_limits": ReadLimits(),
        "compare_limits": CompareLimits(),
    } | settings
    relay = Relay(
        ingest=ingest,
        admission=admission,
        log=log,
        watch=Watch(),
        presence=LocalPresence(),
        clock=clock,
        hosts=frozenset({HOST}),
        new_challenge=lambda: CHALLENGE,
        **found,
    )
    async with ingest, relay:
        yield relay


class Transport:
    """What `Connection` uses of picows' transport and of asyncio's beneath it."""

    def __init__(self) -> None:
        self.underlying_transport = self
        self.is_close_frame_sent = False
        self.written: list[bytes] = []
        self.unread = 0
        self.ended: list[Any] = []
        self.pongs: list[bytes] = []

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def send_close(self, code: Any, reason: bytes = b"") -> None:
        self.is_close_frame_sent = True
        self.ended.append(int(code))

    def send_pong(self, data: bytes) -> None:
        self.pongs.append(data)

    def disconnect(self, graceful: bool = True) -> None:
        if not graceful:
            self.ended.append("dropped")


class Wire:
    """A client's end of one connection."""

    def __init__(self, relay: Relay, address: str = "") -> None:
        self.relay = relay
        self.connection = Connection(relay, address)
        self.transport = Transport()
        self.connection.on_ws_connected(self.transport)  # type: ignore[arg-type]
        assert self.heard() == [["AUTH", CHALLENGE]]

    def say(self, *parts: Any) -> None:
        """Send one message."""
        self.say_text(json.dumps(parts).encode())

    def say_text(self, text: bytes) -> None:
        """Send one text."""
        self.frame(WSMsgType.TEXT, text)

    def frame(
        self, kind: WSMsgType, payload: bytes = b"", fin: bool = True, compressed: bool = False
    ) -> None:
        """Send one frame."""
        frame = _make_test_ws_frame(kind, payload, fin, compressed)
        self.connection.on_ws_frame(self.transport, frame)  # type: ignore[arg-type]

    def prove(self, pubkey: PublicKey) -> None:
        """As if this key had been proved."""
        self.connection._session.identities |= {pubkey}

    def heard(self) -> list[Any]:
        """Every message since the last time, read out of the frames that were written."""
        self.relay.watch.flush()
        self.connection.flush()
        data = b"".join(self.transport.written)
        self.transport.written.clear()
        return [json.loads(text) for text in read_frames(data)]

    def leave(self) -> None:
        """The connection ends."""
        self.connection.on_ws_disconnected(self.transport)  # type: ignore[arg-type]


def read_frames(data: bytes) -> list[bytes]:
    """The texts of a row of whole, unmasked frames."""
    found = []
    while data:
        assert data[0] == 0x81, "an unfragmented text"
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
            assert size >= 126
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
            assert size >= 65536
        assert len(data) >= start + size
        found.append(data[start : start + size])
        data = data[start + size :]
    return found
