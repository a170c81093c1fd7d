"""The bus between the nodes of a cluster, over NATS: sequence numbers, passing events, presence.

Nothing here is kept. What must not be lost is in the log; NATS says "the log has reached N" and
each node reads on from where it stands. So a NATS that is away delays the others' events until the
database's own beat, and passing events (and calls to providers elsewhere) wait for its return, or
are dropped and counted.

One subject carries it all, so that things arrive in the order in which a node said them. A message
is lines, the first letter of each says what it is: `S` a sequence number, `E` an event, `P` a word
of `cluster`. Who may publish on the subject is trusted as a node is: see docs/deployment.md.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import msgspec
import nats.errors
from nats.aio.client import Client

from hanse.engines.bus.cluster import ClusterPresence, Word
from hanse.ports import Listener
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event
from hanse.protocol.keys import PublicKey

_log = logging.getLogger("hanse.bus")

BEAT_S = 1.5
CONNECT_S = 2
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0
HELD_S = 5.0
"""How long a passing event may wait for NATS to come back."""

QUEUE_MAX = 20_000
QUEUE_BYTES_MAX = 32 << 20
MESSAGE_BYTES = 256 << 10
"""Lines share a message up to here; an event may be longer and has one to itself."""

_FAILURES = (OSError, nats.errors.Error)

_event = msgspec.json.Decoder(Event).decode
_word = msgspec.json.Decoder(Word).decode


class NatsBus:
    """Implements `ports.Bus` for one node of many. `async with` connects it and keeps it so; it
    starts without NATS too. `name` is this process's, new with every start."""

    def __init__(self, servers: str, node: PublicKey, name: str) -> None:
        self._servers = servers.split(",")
        self._node = node
        self._subject = f"hanse.{node[:16]}"
        self.presence = ClusterPresence(name, self._speak)
        self._name = name
        self._everywhere: list[Listener] = []
        self._here: list[Listener] = []
        self._on_news: list[Callable[[int], None]] = []
        self._seq = self._said_seq = 0
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._client: Client | None = None
        self.dropped = 0
        """Passing events that could not be carried, or came and could not be read."""

    @property
    def connected(self) -> bool:
        """Whether NATS is there."""
        return self._client is not None

    @property
    def others(self) -> int:
        """How many other nodes live, as far as this one hears."""
        return self.presence.others

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._running = [
            self._tasks.create_task(self._keep_connected()),
            self._tasks.create_task(self._send()),
            self._tasks.create_task(self._beat()),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._ready.wait()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.presence.end()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*_FAILURES):
                while self._queue:
                    await client.publish(self._subject, self._message())
                await client.flush(1)
                await client.close()

    # --- the bus, as the node uses it ---------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """See `ports.Bus`."""
        self._everywhere.append(listener)

    def listen_here(self, listener: Listener) -> None:
        """See `ports.Bus`."""
        self._here.append(listener)

    def publish(self, event: Event) -> int:
        """See `ports.Bus`. The other nodes count as one."""
        reached = sum(listener(event) for listener in self._everywhere)
        reached += sum(listener(event) for listener in self._here)
        if self.presence.others and self._concerns_others(event, reached):
            reached += self._put(b"E" + encode_event(event))
        return reached

    def _concerns_others(self, event: Event, reached: int) -> bool:
        """Private kinds only go where a recipient is. The node itself is everywhere: what is said
        to it is done with once heard here, and else may be the answer that another waits for."""
        if event.kind not in kinds.PRIVATE:
            return True
        recipients = event.values("p")
        if event.kind == kinds.RPC and self._node in recipients:
            return not reached
        return any(self.presence.is_elsewhere(PublicKey(key)) for key in recipients)

    def say(self, seq: int) -> None:
        """The log has reached `seq`: tell the others."""
        self._seq = max(self._seq, seq)
        self._wake.set()

    def when_news(self, tell: Callable[[int], None]) -> None:
        """Call `tell(seq)` when another node says how far the log is."""
        self._on_news.append(tell)

    # --- sending ------------------------------------------------------------------------------

    def _speak(self, word: Word) -> None:
        self._put(b"P" + msgspec.json.encode(word))

    def _put(self, line: bytes) -> bool:
        if len(self._queue) >= QUEUE_MAX or self._queued_bytes > QUEUE_BYTES_MAX:
            self.dropped += 1
            return False
        self._queue.append((time.monotonic(), line))
        self._queued_bytes += len(line)
        self._wake.set()
        return True

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._client is not None and (self._queue or self._seq > self._said_seq):
                message = self._message()
                try:
                    await self._client.publish(self._subject, message)
                except nats.errors.MaxPayloadError:
                    self.dropped += 1
                except _FAILURES:
                    # It is gone; `_keep_connected` wakes us when it is back.
                    self._queue.appendleft((time.monotonic(), message))
                    self._queued_bytes += len(message)
                    break

    def _message(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        if self._seq > self._said_seq:
            self._said_seq = self._seq
            lines.append(b"S%d" % self._seq)
        while self._queue and (not size or size + len(self._queue[0][1]) < MESSAGE_BYTES):
            _at_s, line = self._queue.popleft()
            self._queued_bytes -= len(line)
            lines.append(line)
            size += len(line)
        return b"\n".join(lines)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            now_s = time.monotonic()
            while self._queue and now_s > self._queue[0][0] + HELD_S:
                self._queued_bytes -= len(self._queue.popleft()[1])
                self.dropped += 1
            self.presence.beat(now_s)

    # --- hearing ------------------------------------------------------------------------------

    async def _hear(self, message: Any) -> None:
        for line in message.data.split(b"\n"):
            try:
                match line[:1]:
                    case b"E":
                        event = _event(line[1:])
                        for listener in self._everywhere:
                            listener(event)
                    case b"S":
                        for tell in self._on_news:
                            tell(int(line[1:]))
                    case b"P":
                        self.presence.hear(_word(line[1:]), time.monotonic())
            except (msgspec.MsgspecError, ValueError):
                self.dropped += 1

    # --- staying connected --------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        pause, quiet = PAUSE_MIN_S, False
        while True:
            lost = asyncio.Event()
            try:
                client = await self._connect(lost)
            except _FAILURES as exc:
                if not quiet:
                    _log.warning("NATS is away: %s", type(exc).__name__)
                quiet = True
                self._servers.append(self._servers.pop(0))
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)
                continue
            if quiet:
                _log.warning("NATS is back")
            pause, quiet = PAUSE_MIN_S, False
            self._client = client
            self._ready.set()
            self._said_seq = 0  # whoever comes back is told how far we are
            self.presence.begin(time.monotonic())
            self._wake.set()
            await lost.wait()
            self._client = None
            quiet = True
            _log.warning("NATS is away: the connection broke")
            with contextlib.suppress(*_FAILURES):
                await client.close()

    async def _connect(self, lost: asyncio.Event) -> Client:
        async def ended() -> None:
            lost.set()

        async def failed(_exc: Exception) -> None:
            """What ends the connection comes by `ended`."""

        client = Client()
        try:
            await client.connect(
                servers=[self._servers[0]],
                name=self._name,
                allow_reconnect=False,  # we do that, and know when
                no_echo=True,
                connect_timeout=CONNECT_S,
                ping_interval=2,
                max_outstanding_pings=2,
                closed_cb=ended,
                disconnected_cb=ended,
                error_cb=failed,
            )
            await client.subscribe(self._subject, cb=self._hear)
            await client.flush(CONNECT_S)
        except BaseException:  # whatever it was goes on; the client must not
            with contextlib.suppress(*_FAILURES):
                await client.close()
            raise
        return client
