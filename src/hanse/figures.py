"""How the node is, in figures: for /api/v1/status, /metrics and /ready.

Reads what its parts count; knows their names and words, so that no part has to.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from hanse import __version__
from hanse.broker.model import Call
from hanse.broker.service import Broker
from hanse.counters import Family, Histogram, Number, Tally
from hanse.engines.storage.calls import StoredCalls
from hanse.engines.storage.database import Database, Transaction
from hanse.errors import HanseError
from hanse.payments.service import Payments
from hanse.ports import Attendance, Bus, Log
from hanse.registry.service import Registry
from hanse.servers.relay.answer import Answer
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.relay import Relay
from hanse.servers.relay.watch import Watch
from hanse.trust.service import Trust

T = TypeVar("T")

FRESH_S = 1.0
"""Figures that cost a query are asked for once in this time, however many want them."""

FRESH_TIMES = 50
"""And a reading that takes long is kept so many times as long: it is never over 2 % of the work."""

PROBE_S = 2.0
"""How long a write may take on a node that is ready."""

BEHIND_MAX_S = 10.0
"""How far the registry may be behind the log on a node that is ready."""


class Carrier(Bus, Protocol):
    """A bus, and what it counts."""

    @property
    def connected(self) -> bool:
        """Whether it can carry."""

    @property
    def others(self) -> int:
        """How many other nodes it hears."""

    @property
    def dropped(self) -> int:
        """What it could not carry."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted."""

    database: Database
    log: Log
    ingest: Ingest
    answer: Answer
    watch: Watch
    relay: Relay
    bus: Carrier
    presence: Attendance
    registry: Registry
    broker: Broker
    calls: StoredCalls
    payments: Payments
    behind_s: Callable[[], float]
    trust: Trust


class Kept(msgspec.Struct, frozen=True):
    """Figures that cost a query each."""

    events: int
    last_seq: int
    bytes: int
    offers: int
    calls: dict[str, int]
    ledger_sum_msat: int
    held_msat: int


class Figures:
    """Reads the parts of one node. `starting` and `draining` are the node's to set."""

    def __init__(self, parts: Parts, about: dict[str, Any]) -> None:
        self._parts = parts
        self._about = about
        self.starting = True
        self.draining = False
        self.ended = Tally("settled")
        self._kept = Fresh(self._read_kept)
        self._probed = Fresh(self._probe, times=0)  # a wait is no work, and 503 must not outlive it

    def call_ended(self, call: Call) -> None:
        """Count how a call ended."""
        self.ended.add(call.fault.value if call.fault else "settled")

    async def status(self) -> dict[str, Any]:
        """What /api/v1/status says."""
        parts, kept = self._parts, await self._kept.get()
        return self._about | {
            "version": __version__,
            "events": kept.events,
            "offers": kept.offers,
            "connections": len(parts.relay.connections),
            "agents_connected": len(parts.presence),
            "subscriptions": len(parts.watch),
            "calls_running": parts.broker.running,
            "calls": kept.calls,
            "ledger_sum_msat": kept.ledger_sum_msat,
        }

    async def reasons(self) -> list[str]:
        """Why the node should get no work now; none when it is ready."""
        if self.starting:
            return ["starting"]
        found = ["draining"] if self.draining else []
        ingest, behind_s = self._parts.ingest, self._parts.behind_s()
        if ingest.waiting > ingest.waiting_max // 2:
            found.append(f"{ingest.waiting} events wait to be verified")
        if behind_s > BEHIND_MAX_S:
            found.append(f"the registry is {behind_s:.0f} s behind the log")
        if not self._parts.trust.ready:
            found.append("what operators say of each other is still being read")
        fault = await self._probed.get()
        return [*found, fault] if fault else found

    async def families(self) -> list[Family]:
        """What /metrics says."""
        parts, kept = self._parts, await self._kept.get()
        ingest, answer = parts.ingest, parts.answer
        outcomes: dict[str, Number] = {**ingest.outcomes.counts}
        return [
            _labelled("counter", "hanse_events", _EVENTS, "outcome", outcomes),
            _plain("gauge", "hanse_ingest_waiting_events", _WAITING, ingest.waiting),
            _plain("gauge", "hanse_ingest_waiting_bytes", _WAITING_BYTES, ingest.waiting_bytes),
            _plain("histogram", "hanse_commit_writes", _WRITES, parts.database.commits.writes),
            _plain("histogram", "hanse_commit_seconds", _COMMITS, parts.database.commits.seconds),
            _labelled("counter", "hanse_queries", _QUERIES, "outcome", {**answer.outcomes}),
            _plain("histogram", "hanse_query_seconds", _QUERY_SECONDS, answer.seconds),
            _plain("counter", "hanse_deliveries", _DELIVERIES, parts.watch.delivered),
            _plain("gauge", "hanse_connections", _CONNECTIONS, len(parts.relay.connections)),
            _plain("gauge", "hanse_subscriptions", _SUBSCRIPTIONS, len(parts.watch)),
            _plain("gauge", "hanse_agents_connected", _AGENTS, len(parts.presence)),
            _plain("counter", "hanse_slow_readers_dropped", _SLOW, parts.relay.slow_readers),
            _plain("gauge", "hanse_log_events", _LOG_EVENTS, kept.events),
            _plain("gauge", "hanse_log_bytes", _LOG_BYTES, kept.bytes),
            _plain("gauge", "hanse_log_last_seq", _LOG_SEQ, kept.last_seq),
            _plain("gauge", "hanse_offers", _OFFERS, kept.offers),
            _plain("gauge", "hanse_registry_behind_seconds", _BEHIND, parts.behind_s()),
            _labelled("counter", "hanse_calls", _CALLS, "outcome", {**self.ended.counts}),
            _plain("gauge", "hanse_calls_running", _RUNNING, parts.broker.running),
            _plain("gauge", "hanse_ledger_sum_msat", _LEDGER, kept.ledger_sum_msat),
            _plain("gauge", "hanse_holds_msat", _HOLDS, kept.held_msat),
            _plain("gauge", "hanse_bus_connected", _BUS, int(parts.bus.connected)),
            _plain("gauge", "hanse_bus_other_nodes", _BUS_NODES, parts.bus.others),
            _plain("counter", "hanse_bus_dropped", _BUS_DROPPED, parts.bus.dropped),
            _plain("gauge", "hanse_draining", _DRAINING, int(self.draining)),
        ]

    async def _read_kept(self) -> Kept:
        parts = self._parts
        sum_msat, held_msat = await parts.payments.totals()
        return Kept(
            events=await parts.log.total(),
            last_seq=await parts.log.last_seq(),
            bytes=await parts.database.size_bytes(),
            offers=await parts.registry.offers(),
            calls=await parts.calls.counts(),
            ledger_sum_msat=sum_msat,
            held_msat=held_msat,
        )

    async def _probe(self) -> str:
        """Why the database does not take a write, or nothing."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self._parts.database.write(_probe)
        except HanseError as exc:
            return exc.text
        except TimeoutError:
            return f"the database took over {PROBE_S:.0f} s for a write"
        return ""


class Fresh(Generic[T]):
    """A figure that is read again once it is old; those who ask meanwhile share one reading."""

    def __init__(self, read: Callable[[], Awaitable[T]], times: int = FRESH_TIMES) -> None:
        self._read = read
        self._times = times
        self._lock = asyncio.Lock()
        self._found: T | None = None
        self._until = 0.0

    async def get(self) -> T:
        """The figure."""
        async with self._lock:
            if self._found is None or time.monotonic() >= self._until:
                started = time.monotonic()
                self._found = await self._read()
                ended = time.monotonic()
                self._until = ended + max(FRESH_S, self._times * (ended - started))
            return self._found


def _probe(tx: Transaction) -> None:
    tx.all("meta_set", "probe", b"")


def _plain(kind: Any, name: str, about: str, value: Number | Histogram) -> Family:
    return Family(kind, name, about, {"": value})


def _labelled(kind: Any, name: str, about: str, label: str, values: dict[str, Number]) -> Family:
    return Family(kind, name, about, values, label)


_EVENTS = "Events that came in, by what became of them"
_WAITING = "Events waiting to be verified"
_WAITING_BYTES = "Bytes of the events waiting to be verified"
_WRITES = "Writes that shared one commit"
_COMMITS = "Time of one commit until it is on disk"
_QUERIES = "Stored queries answered, by outcome"
_QUERY_SECONDS = "Time to answer a stored query"
_DELIVERIES = "Events delivered to live subscriptions"
_CONNECTIONS = "WebSocket connections"
_SUBSCRIPTIONS = "Live subscriptions"
_AGENTS = "Keys with a connection that proved them"
_SLOW = "Connections dropped because they did not read"
_LOG_EVENTS = "Events kept"
_LOG_BYTES = "Bytes of the database on disk"
_LOG_SEQ = "The newest sequence number of the log"
_OFFERS = "Offers that can be found"
_BEHIND = "How long the oldest change waits for the registry"
_CALLS = "Calls that ended, by outcome"
_RUNNING = "Calls under way"
_LEDGER = "Sum of all accounts: zero, always"
_HOLDS = "Money on hold for calls under way"
_BUS = "1 while the bus between nodes is there; a node alone has its own"
_BUS_NODES = "Other nodes of the cluster that are heard"
_BUS_DROPPED = "Passing events that the bus could not carry"
_DRAINING = "1 while the node is stopping"
