"""The node: builds every part, starts them in order, stops them in reverse. No logic of its own.

database → log, ledger, calls, offers → bus, presence, courier → registry, payments, broker
→ doors (relay, ContextVM, HTTP, MCP) → one port
"""

import asyncio
import contextlib
import random
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cached_property
from typing import Any, Self

import structlog

from hanse.application import Behind, application, described
from hanse.broker.desk import Desk
from hanse.broker.model import Call
from hanse.broker.service import Broker
from hanse.by_level import ByLevels
from hanse.clock import SystemClock
from hanse.config import Config
from hanse.engines.bus.courier import BusCourier
from hanse.engines.bus.local import LocalBus
from hanse.engines.bus.presence import LocalPresence
from hanse.engines.embedders.choice import Searches, chosen
from hanse.engines.peers.peers import Peers
from hanse.engines.peers.ports import submitting
from hanse.engines.storage.calls import StoredCalls
from hanse.engines.storage.catalog import StoredCatalog
from hanse.engines.storage.database import Database
from hanse.engines.storage.folder import alone
from hanse.engines.storage.indexing import Indexing
from hanse.engines.storage.ledger import StoredLedger
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.moderation import StoredModeration
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.peers import StoredPeers
from hanse.engines.storage.proofs import StoredProofs
from hanse.engines.storage.replacement import in_place
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.trust import StoredTrust
from hanse.engines.storage.upkeep import Upkeep
from hanse.engines.verifier.process import VerifierProcess
from hanse.errors import HanseError, Unavailable
from hanse.figures import Carrier, Figures, Parts
from hanse.identity.resolver import Resolver
from hanse.identity.service import Names
from hanse.naming import Place, names, resolver
from hanse.observing import Observing
from hanse.payments.service import Payments
from hanse.ports import Attendance
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.finder import Finder
from hanse.registry.service import Registry
from hanse.servers.contextvm.announcement import announce
from hanse.servers.contextvm.door import ContextVmDoor
from hanse.servers.port import bind, serving
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.context import House, Sender
from hanse.servers.relay.handshake import Entrance
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.lists import Lists
from hanse.servers.relay.moderation import Moderation
from hanse.servers.relay.relay import Relay
from hanse.servers.relay.watch import Watch
from hanse.tasks import Tasks
from hanse.trust.service import Trust
from hanse.views import Follower, View

log = structlog.get_logger("hanse")

SWEEP_S = 60.0
LOAD_WAIT_S = 1.0
"""How long a start waits for what operators say of each other; after that it is read meanwhile."""


class Node:
    """A running node. `async with` starts it; `url` says where."""

    def __init__(
        self,
        config: Config,
        secret: SecretKey,
        operator: PublicKey,
        *,
        rebuild: bool = False,
        auth: tuple[str, ...] = (),
        agents: Mapping[str, PublicKey] | None = None,
    ) -> None:
        self.config = config
        self.pubkey = secret.public
        self.operator = operator
        self.agents = dict(agents or {})
        """The operator's own, by name."""
        self._secret = secret
        self._rebuild = rebuild
        self._auth = auth
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._known = asyncio.Event()
        self._clock = SystemClock()
        self.port = 0
        self.recovered = 0

    @property
    def url(self) -> str:
        """The relay's WebSocket URL as agents should use it."""
        return self.config.public_url or self._local_url

    @property
    def _local_url(self) -> str:
        return f"ws://{self._shown_host}:{self.port}"

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
        listening = bind(config.host, config.port)
        self._stack.callback(listening.close)
        self.port = listening.getsockname()[1]
        hosts = config.hosts(self.port)
        self._stack.enter_context(alone(config.data, self._local_url))
        self._database = database = await enter(self._engine())
        self.log = EventLog(database, lambda: secrets.token_bytes(32))
        await self.log.open()
        await self.log.vanish()  # what a crash left undone
        self.calls = StoredCalls(database, self.log)
        self.offers = StoredOffers(database)
        self.trust = await self._trusting()
        bus = await self._joined()
        courier = BusCourier(bus, self.presence, self.pubkey)
        self.registry = await self._directory(bus, courier)
        self.payments = Payments(StoredLedger(database), self._clock)
        self.broker = Broker(
            calls=self.calls,
            registry=self.registry,
            courier=courier,
            clock=self._clock,
            node=self._secret,
            fee=config.fee,
            latch=asyncio.Event,
            ended=self._call_ended,
            bounds=config.broker_bounds,
            instance=self._instance,
            permits=self.by_level.permits(),
        )
        self.desk = self._staffed()
        self.log.follow(self.indexing.saw)
        self.recovered = await self.broker.recover()
        self._follower = follower = Follower(await self._viewed())
        tasks = await enter(Tasks())
        self.log.follow(follower.saw)
        tasks.start(follower.run())
        tasks.start(self._finish())
        tasks.start(self._sweep())
        tasks.start(self.observing.run())
        tasks.start(self._know())
        tasks.start(self.by_level.run(self.registry.welcome, self._known, follower.changed))
        tasks.start(self._keep(Upkeep(database, self.log, config.keeping)))
        self.watch = self._watching(bus)
        self.admission = self._admission(hosts)
        verifier = await enter(VerifierProcess())
        self.ingest = await enter(Ingest(self.log, bus, self.admission, verifier))
        await enter(
            ContextVmDoor(
                bus=bus, desk=self.desk, node=self._secret, clock=self._clock, name=config.name
            )
        )
        await self._announce()
        self.relay = await enter(self._door(hosts))
        self._info = described(config, self.pubkey, self.operator)
        self._announce_work(self.by_level.policy.bits)
        self.moderation = self._moderation()
        await self.moderation.refresh()
        self.figures = self._counted()
        self.entrance = Entrance(self.relay)
        self.peers = self._federated(hosts)
        app = application(self._behind(), hosts, tasks.start)
        await enter(serving(app, self.entrance, listening, list(config.rules.rates.proxies)))
        await enter(self.peers)
        await self._known_or_late()
        self.figures.starting = False
        log.info("node.up", url=self.url, node=self.pubkey, refunded_on_start=self.recovered)

    async def _known_or_late(self) -> None:
        """Until trust knows what operators say of each other; not for long: `ready` says so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), LOAD_WAIT_S)

    async def _viewed(self) -> list[View]:
        """The views of the log, up to date."""
        await (self.offers.rebuild() if self._rebuild else self.offers.open())
        await self.evidence.advance()
        await self.indexing.fill()
        return [self.offers, self.indexing, self.evidence, self.trust.standings]

    def _watching(self, bus: Carrier) -> Watch:
        watch = Watch()
        self.log.follow(watch.appended)
        bus.listen(watch.passing)
        return watch

    async def _trusting(self) -> Trust:
        """What is known of whom, for any viewer; who the operator is now, and what they permit."""
        self.evidence = StoredTrust(self._database)
        await (self.evidence.rebuild() if self._rebuild else self.evidence.advance())
        trust = Trust(
            self.evidence,
            self._clock,
            node=self.pubkey,
            operator=self.operator,
            table=self.config.levels,
            aside=asyncio.to_thread,
        )
        self.operator = await trust.heir(self.operator)
        self._own = frozenset({self.pubkey, self.operator, *self.agents.values()})
        self.by_level = ByLevels(
            self.config,
            trust,
            self._clock,
            self.operator,
            self._own,
            lambda key: key in self.admission.lists.allowed_keys,
            self._database,
        )
        return trust

    def _staffed(self) -> Desk:
        """The desk, over the rooms below."""
        return Desk(
            registry=self.registry,
            broker=self.broker,
            payments=self.payments,
            calls=self.calls,
            trust=self.trust,
            resolve=lambda handle, who: self._resolver.find(handle, who),
            node=self.pubkey,
            new_key=lambda: secrets.token_hex(16),
        )

    async def _directory(self, bus: Carrier, courier: BusCourier) -> Registry:
        """The registry, with all that earlier calls showed."""
        config = self.config
        self.observing = Observing(
            database=self._database,
            log_=self.log,
            clock=self._clock,
            node=self._secret,
            operator=self.operator,
            standing=self.trust.standings,
            quality_max=config.quality_max,
            bounds=config.liveness,
            auth=self._auth,
            new_id=lambda: secrets.token_hex(16),
        )
        await self.observing.open(rebuild=self._rebuild)
        self.observing.join(bus, self.presence, courier, self.offers)
        finder = Finder(
            store=self.offers,
            presence=self.presence,
            clock=self._clock,
            observed=self.observing.observed,
            liveness=self.observing.liveness,
            embedder=chosen(config.embeddings),
            standing=self.trust.standings,
            refused=self.by_level.publishing(),
            run=Searches(aside=config.embeddings is not None).run,
        )
        self.indexing = Indexing(self.offers, finder, self._database)
        finder.caught_up = self.indexing.caught_up
        return Registry(self.offers, self._clock, finder)

    async def _finish(self) -> None:
        """Index what was too much to wait for."""
        while not self.indexing.whole:
            try:
                await self.indexing.finish()
            except Unavailable as exc:
                log.warning("index.behind", reason=exc.reason)
                await asyncio.sleep(1)

    async def _announce(self) -> None:
        """Say on Nostr that this node is there, if others can reach it."""
        config = self.config
        await announce(self.log, self._secret, self._clock, config.name, config.public_url)

    def _admission(self, hosts: frozenset[str]) -> Admission:
        config = self.config
        return Admission(
            rules=config.rules,
            lists=Lists(),
            house=House(self._own, self.operator, hosts),
            clock=self._clock,
            prepare=self.by_level.prepare if self.by_level.on else None,
            more=self.by_level.policies(),
            blame=self.by_level.blame,
        )

    def pass_minute(self) -> None:
        """What strangers' work costs follows the minute that passed."""
        self._announce_work(self.by_level.policy.minute())

    def _announce_work(self, bits: int) -> None:
        """NIP-11 says what writing takes now."""
        if self.by_level.on:
            limitation = self._info["limitation"]
            limitation["min_pow_difficulty"] = max(bits, self.config.rules.work.bits)
            limitation["restricted_writes"] = True

    def _moderation(self) -> Moderation:
        return Moderation(
            store=StoredModeration(self._database),
            node=self.pubkey,
            own=self._own,
            lists=self.admission.lists,
            rules=self.config.rules.kinds,
            log=self.log,
            erase=self._erase,
            clock=self._clock,
            info=self._info,
            blocked=self.relay.turn_out,
        )

    @property
    def _instance(self) -> str:
        """This node among those that share its database; nothing for one that is alone."""
        if self.config.database is None:
            return ""
        return self.config.instance or f"{socket.gethostname()}:{self.port}"

    def _engine(self) -> AbstractAsyncContextManager[Database]:
        if self.config.database is None:
            return SqliteDatabase(str(in_place(self.config.data)))
        try:
            from hanse.engines.storage.postgres import PostgresDatabase
        except ImportError as exc:
            raise _not_installed("database") from exc
        return PostgresDatabase(self.config.database.text, self._instance)

    async def _joined(self) -> Carrier:
        """The bus and who is present: of this process, or of all nodes on the database."""
        self.presence: Attendance = LocalPresence()
        self.bus: Carrier = LocalBus()
        if self.config.bus is None:
            return self.bus
        try:
            from hanse.engines.bus.nats import NatsBus
        except ImportError as exc:
            raise _not_installed("bus") from exc
        name = f"{self._instance}/{secrets.token_hex(4)}"
        bus = await self._stack.enter_async_context(
            NatsBus(self.config.bus.text, self.pubkey, name)
        )
        self.bus, self.presence = bus, bus.presence
        self._database.tell(bus.say)
        bus.when_news(self._database.look)
        return bus

    def _door(self, hosts: frozenset[str]) -> Relay:
        config = self.config
        return Relay(
            ingest=self.ingest,
            admission=self.admission,
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
            ranking=self.registry,
        )

    async def _erase(self, *, ids: Sequence[str] = (), pubkey: PublicKey | None = None) -> int:
        gone = await self.log.erase(ids=ids, pubkey=pubkey)
        await self.indexing.forget(await self.offers.prune())
        await self.evidence.prune()
        return gone

    def _federated(self, hosts: frozenset[str]) -> Peers:
        peers = Peers(
            log=self.log,
            notes=StoredPeers(self._database),
            submit=submitting(
                lambda raw, respond: self.ingest.submit(raw, respond, Sender(door="peer"))
            ),
            secret=self._secret,
            hosts=hosts,
            now_s=self._clock.now_s,
            jitter=random.random,
            fixed=self.config.peers,
            pace=self.config.peer_pace,
        )
        self.log.follow(peers.appended)
        return peers

    def _behind(self) -> Behind:
        return Behind(
            config=self.config,
            node=self.pubkey,
            operator=self.operator,
            is_operator=lambda key: self.trust.speaks_for(self.operator, key),
            agents=self.agents,
            url=self.url,
            info=self._info,
            clock=self._clock,
            desk=self.desk,
            trust=self.trust,
            payments=self.payments,
            figures=self.figures,
            ingest=self.ingest,
            admission=self.admission,
            relay=self.relay,
            moderation=self.moderation,
            peers=self.peers,
            names=self.names,
            resolver=self._resolver,
            catalog=StoredCatalog(self._database),
            proofs=StoredProofs(self._database),
            registry=self.registry,
            secret=self._secret,
            changed=self._follower.changed,
        )

    @property
    def _place(self) -> Place:
        return Place(self.config, self.operator, self.agents, self.url)

    @cached_property
    def names(self) -> Names:
        """The handles at this node."""
        kept, clock, lists = self._database, self._clock, self.admission.lists
        return names(self._place, kept, self.log, clock, self.trust, lists)

    @cached_property
    def _resolver(self) -> Resolver:
        return resolver(self._place, self.names, self._clock, self.config.hosts(self.port))

    def _counted(self) -> Figures:
        about = {
            "name": self.config.name,
            "node": self.pubkey,
            "operator": self.operator,
            "url": self.url,
        }
        parts = Parts(
            database=self._database,
            log=self.log,
            ingest=self.ingest,
            answer=self.relay.answer,
            watch=self.watch,
            relay=self.relay,
            bus=self.bus,
            presence=self.presence,
            registry=self.registry,
            broker=self.broker,
            calls=self.calls,
            payments=self.payments,
            behind_s=self._follower.behind_s,
            trust=self.trust,
        )
        return Figures(parts, about)

    # --- living -------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """How the node is, in figures."""
        return await self.figures.status()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.log.sweep(self._clock.now_s())
                await self.indexing.tend(self._clock.now_s())
                await self.evidence.sweep(self._clock.now_s())
                await self.broker.expire()
                self.pass_minute()
                await self.names.sweep()
                if self.config.database is not None:  # what was decided at other nodes
                    await asyncio.gather(self.moderation.refresh(), self.peers.refresh())
            except Unavailable as exc:
                log.warning("sweep.failed", reason=exc.reason)

    async def _know(self) -> None:
        """Read what operators say of each other, beside all else."""
        while not self.trust.ready:
            try:
                await self.trust.load()
                await self.trust.standings.watch([self.operator])
            except HanseError as exc:
                log.warning("trust.not_read", reason=exc.text)
                await asyncio.sleep(1)
        self._known.set()

    async def _keep(self, upkeep: Upkeep) -> None:
        """Apart from `_sweep`: a first run over a large log takes long, and calls must expire."""
        while True:
            try:
                gone = await upkeep.run(self._clock.now_s())
                if gone["trimmed"]:
                    await self.offers.prune()  # of those that nobody has called
                    await self.evidence.prune()
                if gone:
                    log.info("sweep.removed", **gone)
            except HanseError as exc:
                log.warning("sweep.failed", reason=exc.text)
            await asyncio.sleep(SWEEP_S)

    async def _drain(self) -> None:
        """Take nothing new; let calls under way end well, then give every event taken its answer.

        Events are taken until the calls have ended: a provider's answer is one.
        """
        if not hasattr(self, "figures"):
            return
        log.info("node.draining", calls=self.broker.running, events=self.ingest.waiting)
        self.figures.draining = self.relay.draining = True
        self.broker.stop_taking()
        end = time.monotonic() + self.config.drain_s
        while self.broker.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self.broker.give_up()
        try:
            async with asyncio.timeout(self.config.drain_s):
                while self.broker.running:
                    await asyncio.sleep(0.02)
                await self.ingest.drain()
        except TimeoutError:
            log.warning("drain.cut_short", events=self.ingest.waiting)

    def _call_ended(self, call: Call) -> None:
        if hasattr(self, "figures"):  # `recover` ends calls before there are any
            self.figures.call_ended(call)
            self.observing.ended(call)
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


def _not_installed(field: str) -> Unavailable:
    return Unavailable(
        "needs packages that are not installed", field=field, hint="pip install 'hanse[cluster]'"
    )
