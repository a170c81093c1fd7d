"""The node: builds every part, starts them in order, stops them in reverse. No logic of its own.

database → log, ledger, calls, offers → bus, presence, courier → registry, payments, broker
→ doors (relay, ContextVM, HTTP, MCP) → one port
"""

import asyncio
import contextlib
import fcntl
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import structlog
import uvicorn

from hanse import __version__
from hanse.broker.desk import Desk
from hanse.broker.model import Call
from hanse.broker.service import Broker
from hanse.config import Config
from hanse.engines.bus.courier import LocalCourier
from hanse.engines.bus.local import LocalBus
from hanse.engines.bus.presence import LocalPresence
from hanse.engines.storage.calls import StoredCalls
from hanse.engines.storage.ledger import StoredLedger
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Unavailable
from hanse.payments.service import Payments
from hanse.protocol.event import Event
from hanse.protocol.http_gate import HttpGate
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.service import Registry
from hanse.servers.contextvm.door import ContextVmDoor
from hanse.servers.relay.admission import POLICIES
from hanse.servers.relay.handshake import Entrance
from hanse.servers.relay.info import only_info, relay_info
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.relay import Relay
from hanse.servers.relay.watch import Watch

log = structlog.get_logger("hanse")

SWEEP_S = 60.0


class SystemClock:
    """Implements `ports.Clock`."""

    def now_s(self) -> int:
        """See `ports.Clock`."""
        return int(time.time())

    def now_ms(self) -> int:
        """See `ports.Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """See `ports.Clock`."""
        return time.perf_counter() * 1000


class _Tasks:
    """A task group whose tasks run until its block ends."""

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._made: list[asyncio.Task[None]] = []
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._made:
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until the end of the block."""
        self._made.append(self._group.create_task(work))


class Node:
    """A running node. `async with` starts it; `url` says where."""

    def __init__(
        self, config: Config, secret: SecretKey, operator: PublicKey, *, rebuild: bool = False
    ) -> None:
        self.config = config
        self.pubkey = secret.public
        self.operator = operator
        self._secret = secret
        self._rebuild = rebuild
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._clock = SystemClock()
        self.port = 0
        self.recovered = 0

    @property
    def url(self) -> str:
        """The relay's WebSocket URL as agents should use it."""
        return self.config.public_url or f"ws://{self._shown_host}:{self.port}"

    @property
    def http_url(self) -> str:
        """The same door by HTTP."""
        return self.url.replace("ws", "http", 1)

    @property
    def _shown_host(self) -> str:
        host = self.config.host
        return "127.0.0.1" if host in ("0.0.0.0", "::") else host

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._drain()
        await self._stack.aclose()

    def stop(self) -> None:
        """Ask `wait` to return."""
        self._stopping.set()

    async def wait(self) -> None:
        """Until `stop`."""
        await self._stopping.wait()

    # --- building -----------------------------------------------------------------------------

    async def _open(self) -> None:
        config, enter = self.config, self._stack.enter_async_context
        listening = _bind(config.host, config.port)
        self._stack.callback(listening.close)
        self.port = listening.getsockname()[1]
        hosts = config.hosts(self.port)
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._stack.enter_context(_alone(config.data))
        database = await enter(SqliteDatabase(str(config.data / "hanse.db")))
        self.log = EventLog(database, lambda: secrets.token_bytes(32))
        await self.log.open()
        self.calls = StoredCalls(database, self.log)
        self.offers = StoredOffers(database)
        bus = LocalBus()
        self.presence = LocalPresence()
        courier = LocalCourier(bus, self.presence, self.pubkey)
        self.registry = Registry(self.offers, self.presence, self._clock)
        self.payments = Payments(StoredLedger(database), self._clock)
        self.broker = Broker(
            calls=self.calls,
            registry=self.registry,
            courier=courier,
            clock=self._clock,
            node=self._secret,
            fee=config.fee,
            latch=asyncio.Event,
            ended=_log_refund,
            bounds=config.broker_bounds,
        )
        self.desk = Desk(
            registry=self.registry,
            broker=self.broker,
            payments=self.payments,
            calls=self.calls,
            node=self.pubkey,
            new_key=lambda: secrets.token_hex(16),
        )
        self.recovered = await self.broker.recover()
        await (self.offers.rebuild() if self._rebuild else self.offers.advance())
        tasks = await enter(_Tasks())
        follower = _Follower(self.offers)
        self.log.follow(follower.saw)
        tasks.start(follower.run())
        tasks.start(self._sweep())
        self.watch = Watch()
        self.log.follow(self.watch.appended)
        bus.listen(self.watch.passing)
        ingest = await enter(
            Ingest(log=self.log, bus=bus, clock=self._clock, policies=POLICIES, rules=config.rules)
        )
        await enter(
            ContextVmDoor(
                bus=bus, desk=self.desk, node=self._secret, clock=self._clock, name=config.name
            )
        )
        self.relay = Relay(
            ingest=ingest,
            log=self.log,
            watch=self.watch,
            presence=self.presence,
            clock=self._clock,
            hosts=hosts,
            new_challenge=lambda: secrets.token_hex(16),
            limit_max=config.query_limit_max,
            session_limits=config.session_limits,
            socket_limits=config.socket_limits,
            read_limits=config.read_limits,
            compare_limits=config.compare_limits,
        )
        await enter(self.relay)
        app = self._application(hosts, tasks)
        await enter(_serving(app, Entrance(self.relay), listening))
        log.info("node.up", url=self.url, node=self.pubkey, refunded_on_start=self.recovered)

    def _application(self, hosts: frozenset[str], tasks: _Tasks) -> Any:
        config = self.config
        info = relay_info(
            name=config.name,
            node=self.pubkey,
            operator=self.operator,
            version=__version__,
            limit_max=config.query_limit_max,
            rules=config.rules,
            limits=config.socket_limits,
            session_limits=config.session_limits,
        )
        if "api" not in config.doors:
            return only_info(info)
        # Imported here: FastAPI takes half a second to load, and a bare relay needs none of it.
        from hanse.servers.api.app import Api

        gate = HttpGate(self.pubkey, hosts)
        app = Api(
            desk=self.desk,
            payments=self.payments,
            gate=gate,
            clock=self._clock,
            operator=self.operator,
            info=info,
            status=self.status,
            version=__version__,
        ).app()
        if "mcp" in config.doors:
            from starlette.routing import Mount, Route

            from hanse.servers.mcp.http import McpDoor

            door = McpDoor(
                desk=self.desk,
                gate=gate,
                clock=self._clock,
                hosts=hosts,
                name=config.name,
                version=__version__,
            )
            tasks.start(door.run())
            # Both spellings: a redirect would cost every request a second trip.
            app.router.routes += [Route("/mcp", door), Mount("/mcp", door)]
        return app

    # --- living -------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """How the node is, in figures."""
        return {
            "name": self.config.name,
            "version": __version__,
            "node": self.pubkey,
            "operator": self.operator,
            "url": self.url,
            "events": await self.log.total(),
            "offers": await self.registry.offers(),
            "connections": len(self.relay.connections),
            "agents_connected": len(self.presence),
            "subscriptions": len(self.watch),
            "calls_running": self.broker.running,
            "calls": await self.calls.counts(),
            "ledger_sum_msat": (await self.payments.books()).sum_msat,
        }

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.log.sweep(self._clock.now_s())
                await self.broker.expire()
            except Unavailable as exc:
                log.warning("sweep.failed", reason=exc.reason)

    async def _drain(self) -> None:
        """Take no more calls, and give those under way a little time to end well."""
        if not hasattr(self, "broker"):
            return
        self.broker.stop_taking()
        end = time.monotonic() + self.config.drain_s
        while self.broker.running and time.monotonic() < end:
            await asyncio.sleep(0.02)


def _log_refund(call: Call) -> None:
    if call.fault is not None:
        log.warning(
            "call.refunded",
            fault=call.fault.value,
            detail=call.detail,
            provider=call.provider,
            offer=call.offer,
            capability=call.capability,
            call=call.hex,
        )


class _Follower:
    """Brings the offers' view up to date after commits; many at once cost one pass."""

    def __init__(self, offers: StoredOffers) -> None:
        self._offers = offers
        self._news = asyncio.Event()

    def saw(self, _seq: int, event: Event) -> None:
        """A commit added this event."""
        if self._offers.cares_for(event):
            self._news.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._offers.advance()
            except Unavailable as exc:
                log.warning("offers.behind", reason=exc.reason)
                await asyncio.sleep(1)
                self._news.set()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the node is stopped by whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving(app: Any, entrance: Entrance, listening: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        ws=entrance.websocket,  # type: ignore[arg-type]  # any factory works; the type says a class
        http=entrance.http,  # type: ignore[arg-type]
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=[listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            server.should_exit = True


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One node to a data folder: a second would refund the calls of the first. The system drops the
    lock with the process, however that ends."""
    with (folder / "node.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Unavailable(
                "another node runs on this folder", field=str(folder), hint="stop it, or use --data"
            ) from exc
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as exc:
        found.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {exc.strerror}", hint="choose another with --port"
        ) from exc
    return found


async def run_node(node: Node, own_agents: list[PublicKey], started: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM; `started` is called once it serves. The operator's own agents
    get the starting grant, each once in the life of the books."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.stop)
    async with node:
        for agent in own_agents:
            if node.config.starting_grant.msat:
                await node.payments.grant(
                    f"starting:{agent}", agent, node.config.starting_grant, "starting grant"
                )
        started()
        await node.wait()
