"""What all connections of one relay share, and what looks after them."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol, Self

import msgspec

from hanse.ports import Clock, Log, Presence
from hanse.protocol import session
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.answer import Answer, Ranking
from hanse.servers.relay.compare import CompareLimits, Comparer
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.reads import ReadLimits, Reads
from hanse.servers.relay.shares import Shares
from hanse.servers.relay.turns import Turns
from hanse.servers.relay.watch import Watch

LOOKED_AFTER_AT_ONCE = 200
"""Connections looked after in one turn of the loop: that many pings take a millisecond."""


class SocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on connections, their bytes and the values in their filters. Those of one address are
    not for loopback, where a proxy stands for everybody, nor, of connections, for a proxy's own."""

    message_bytes_max: int = 1 << 20
    unsent_bytes_max: int = 16 << 20
    connections_max: int = 10_000
    of_one_address_max: int = 256
    large_buffers_max: int = 512
    values_max: int = 50_000
    values_of_address_max: int = 500_000
    values_of_all_max: int = 4_000_000
    request_s: float = 20.0
    request_head_bytes_max: int = 64 << 10
    ping_s: float = 30.0


class Client(Protocol):
    """A connection, as far as the relay looks after it."""

    @property
    def unsent_bytes(self) -> int:
        """What waits to be read by the client."""

    @property
    def address(self) -> str:
        """Its network address."""

    def turn_out(self, reason: str) -> None:
        """End it: the operator does not want this client."""

    def look_after(self) -> None:
        """Ping it if it is quiet; drop it if it does not answer."""


class Relay:
    """Everything that a connection needs and does not own. `async with` opens and closes it."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        admission: Admission,
        log: Log,
        watch: Watch,
        presence: Presence,
        clock: Clock,
        hosts: frozenset[str],
        new_challenge: Callable[[], str],
        limit_max: int,
        session_limits: session.Limits,
        socket_limits: SocketLimits,
        read_limits: ReadLimits,
        compare_limits: CompareLimits,
        ranking: Ranking | None = None,
    ) -> None:
        self.ingest = ingest
        self.admission = admission
        self.watch = watch
        self.presence = presence
        self.clock = clock
        self.hosts = hosts
        self.new_challenge = new_challenge
        self.session_limits = session_limits
        self.limits = socket_limits
        self.answer = Answer(log, clock, limit_max, ranking)
        self.shares = Shares(
            socket_limits.values_max,
            socket_limits.values_of_address_max,
            socket_limits.values_of_all_max,
        )
        self.reads = Reads(read_limits, log.reads_wait)
        self.comparer = Comparer(log, clock, compare_limits)
        self.connections: set[Client] = set()
        self.slow_readers = 0
        self.draining = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.turns = Turns()
        await self._stack.enter_async_context(self.comparer)
        await self._stack.enter_async_context(self.reads)
        self.reads.task(self._look_after())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def turn_out(self, address: str) -> None:
        """End every connection from an address."""
        for client in [found for found in self.connections if found.address == address]:
            client.turn_out("this address may not connect")

    async def _look_after(self) -> None:
        """One task for all clients: a task and a timer for each would cost 3 KiB a connection."""
        while True:
            await asyncio.sleep(self.limits.ping_s)
            clients = list(self.connections)
            for start in range(0, len(clients), LOOKED_AFTER_AT_ONCE):
                for client in clients[start : start + LOOKED_AFTER_AT_ONCE]:
                    client.look_after()
                await asyncio.sleep(0)
