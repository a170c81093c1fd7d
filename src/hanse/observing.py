"""What a node does by itself to know its directory: counts calls, probes, listens to other nodes,
says what it measured, and tells what changed.

One object, a few steps, each with its own pace; the rules stand in `registry/`, what is kept in
`engines/storage`. A step that fails is tried again the next time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import orjson
import structlog

from hanse.broker.model import Call, Fault
from hanse.broker.probe import Prober, probe_example
from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.database import Database
from hanse.engines.storage.liveness import Probed, StoredLiveness
from hanse.engines.storage.quality import StoredQuality
from hanse.errors import HanseError, Invalid
from hanse.ports import Attendance, Bus, Clock, Courier, Log
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.liveness import Bounds, Liveness
from hanse.registry.model import Offer
from hanse.registry.observed import Observed
from hanse.registry.offer_event import read_offer
from hanse.registry.quality import UNREACHED, major_of
from hanse.registry.store import OfferStore, Standing
from hanse.registry.summary import Heard, Summaries, is_summary

log = structlog.get_logger("hanse")

COUNT_S = 10.0
"""How often calls are added to what is kept of measured quality."""
ROUND_S = 60.0
"""How often offers are looked at, probed and spoken of."""
AGAIN_S = 3600.0
"""How often all summaries are read again: trust may have changed."""
PAGE = 500
"""Offers looked at in one round."""
SUMMARIES_READ = 5000
NEWS_MAX = 1000
"""Things to tell that wait; older ones are dropped and counted."""
NEWS_A_ROUND = 50
PROBES_AT_ONCE = 8
PRICE_REFUSED = "error: price_msat:"
"""How a provider's refusal begins when the offer's price is not the one it asks for."""


class Observing:
    """Runs beside the doors. `open` before calls are taken, `run` while they are."""

    def __init__(
        self,
        *,
        database: Database,
        log_: Log,
        clock: Clock,
        node: SecretKey,
        operator: PublicKey,
        standing: Standing | None,
        quality_max: int,
        bounds: Bounds,
        auth: tuple[str, ...],
        new_id: Callable[[], str],
    ) -> None:
        self.quality = StoredQuality(database)
        self.kept = StoredLiveness(database)
        self.observed = Observed(operator, clock.now_s, standing, quality_max)
        self.liveness = Liveness(bounds)
        self.heard = Heard(operator, node.public, self.observed.voices.standing)
        self._summaries = Summaries(node, auth)
        self._log = log_
        self._clock = clock
        self._node = node
        self._bounds = bounds
        self._new_id = new_id
        self._offers_seen: deque[Offer] = deque(maxlen=10_000)
        self._news: deque[dict[str, object]] = deque(maxlen=NEWS_MAX)
        self._dropped = 0
        self._next = ""
        self._broken: dict[tuple[str, str], frozenset[str]] = {}
        self._left: dict[str, int] = {}

    async def open(self, *, rebuild: bool = False) -> None:
        """Read what earlier calls showed. Before anything is recorded."""
        now_s = self._clock.now_s()
        await (self.quality.rebuild(now_s) if rebuild else self.quality.advance(now_s))
        await self.quality.load(self.observed)
        await self.kept.load(self.liveness, self.observed, now_s)

    def join(self, bus: Bus, presence: Attendance, courier: Courier, offers: OfferStore) -> None:
        """The parts that come later."""
        self._bus, self._presence, self._offers = bus, presence, offers
        self.prober = Prober(courier, self._clock, self._node)
        presence.when_gone(self._gone)
        self._log.follow(self.saw)

    # --- hearing ------------------------------------------------------------------------------

    def saw(self, _seq: int, event: Event) -> None:
        """The log got an event."""
        if event.kind == kinds.OFFER:
            try:
                offer = read_offer(event)
            except Invalid:
                return
            self._offers_seen.append(offer)
            self._tell("offer", offer.address, detail=offer.version)
        elif event.kind == kinds.QUALITY and is_summary(event):
            self._summaries.published(event)  # perhaps another node's with our key
            self.heard.saw(event)
        elif event.kind == kinds.DELETION:
            for address in event.values("a"):
                if address.startswith(f"{kinds.OFFER}:{event.pubkey}:"):
                    self._tell("gone", address)

    def ended(self, call: Call) -> None:
        """A call ended here."""
        if call.fault is Fault.ERROR and call.detail.startswith(PRICE_REFUSED):
            self.liveness.overcharged(call.offer, call.capability, self._clock.now_s())

    def _gone(self, pubkey: PublicKey) -> None:
        if pubkey in self.liveness.seen:  # a provider: others are not remembered
            self._left[pubkey] = self._clock.now_s()
            self.liveness.saw(pubkey, self._left[pubkey])

    def _tell(self, what: str, address: str, capability: str = "", detail: str = "") -> None:
        if not self._bounds.telemetry:
            return
        if len(self._news) == NEWS_MAX:
            self._dropped += 1
        row = {"type": what, "offer": address, "capability": capability, "detail": detail}
        self._news.append({key: value for key, value in row.items() if value})

    # --- steps --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._paced(COUNT_S, self.count))
            tasks.create_task(self._paced(ROUND_S, self.round))
            tasks.create_task(self._paced(AGAIN_S, self.listen, at_once=True))

    async def _paced(
        self, pause_s: float, step: Callable[[], Awaitable[None]], at_once: bool = False
    ) -> None:
        while True:
            if not at_once:
                await asyncio.sleep(pause_s)
            at_once = False
            try:
                await step()
            except HanseError as exc:
                log.warning("observing.behind", reason=exc.text)

    async def count(self) -> None:
        """Keep measured quality, and learn of calls that other nodes ended."""
        await self.quality.advance(self._clock.now_s())
        await self.quality.catch_up(self.observed)
        self.heard.apply(self.observed, self._clock.now_s())
        self._publish_news()

    async def round(self) -> None:
        """Look at some offers: who is there, what it costs, does it answer; say what is due."""
        now_s = self._clock.now_s()
        page = await self.kept.offers(self._next, now_s, PAGE)
        self._next = page[-1].address if len(page) == PAGE else ""
        for offer in page:
            if self._presence.is_present(offer.provider):
                self.liveness.saw(offer.provider, now_s)
                self._left[offer.provider] = now_s
        probed = await self._probe(page, now_s)
        fresh = [self._offers_seen.popleft() for _ in range(len(self._offers_seen))]
        left, self._left = self._left, {}
        for address, name, change in await self.kept.keep(left, probed, [*fresh, *page]):
            self.liveness.priced(address, name, change)
            detail = f"{change.before_msat} to {change.after_msat} msat"
            self._tell("price", address, name, detail)
        await self.kept.forget(now_s)
        self.observed.refresh()  # money came in, somebody is trusted now, an hour passed
        await self._look_at_promises()
        if self._bounds.summaries:
            await self._say(now_s)

    async def listen(self) -> None:
        """Read all summaries that the log holds."""
        until: int | None = None
        read = 0
        while read < SUMMARIES_READ * 20:
            wanted = Filter(kinds=frozenset({kinds.QUALITY}), until=until)
            found = await self._log.query([wanted], limit=500, now_s=self._clock.now_s())
            for _, created_at, _, json in found.rows:
                event = decode_row(json)
                self._summaries.published(event)
                self.heard.saw(event)
                until = created_at
            read += len(found.rows)
            if not found.more or len(found.rows) < 2:
                break
        self.heard.apply(self.observed, self._clock.now_s(), everything=True)
        self.observed.refresh()

    # --- parts of a round -----------------------------------------------------------------------

    async def _probe(self, page: list[Offer], now_s: int) -> list[Probed]:
        """Free probes that are due, of those connected; who is not there did not answer."""
        wanted: list[tuple[Offer, str]] = []
        for offer in page:
            for capability in offer.capabilities:
                last_s = self.liveness.last_probe(offer.address, capability.name)
                due = now_s - last_s >= self._bounds.probe_every_s
                if due and probe_example(offer, capability.name) is not None:
                    wanted.append((offer, capability.name))
        gate = asyncio.Semaphore(PROBES_AT_ONCE)

        async def one(offer: Offer, name: str) -> Probed | None:
            found = probe_example(offer, name)
            assert found is not None
            async with gate:
                end = await self.prober.probe(offer, *found, self._new_id())
            if end == Fault.NODE_STOPPED.value:
                return None
            at_s = self._clock.now_s()
            major = major_of(offer.version)
            self.liveness.probed(offer.address, name, end, at_s)
            self.observed.probed(offer.address, name, major, end, at_s)
            if end not in ("settled", *UNREACHED):
                self._tell("probe", offer.address, name, end)
            return Probed(address=offer.address, capability=name, major=major, end=end, at_s=at_s)

        most = self._bounds.probes_a_minute
        found = await asyncio.gather(*(one(offer, name) for offer, name in wanted[:most]))
        return [probed for probed in found if probed is not None]

    async def _look_at_promises(self) -> None:
        """Tell of promises that were broken or kept again, as far as the last day's calls say."""
        since_s = self._clock.now_s() - int(2 * ROUND_S)
        looked = 0
        for (address, name, _), quality in self.observed.each():
            if quality.latest_s < since_s or looked >= NEWS_A_ROUND:
                continue
            looked += 1
            offer = await self._offers.offer(address, self._clock.now_s())
            if offer is None:
                continue
            kept = quality.kept(offer.promise, "day")
            broken = frozenset(key for key, row in kept.items() if row.sure and row.kept is False)
            before = self._broken.pop((address, name), frozenset())
            if broken:
                self._broken[address, name] = broken
            for key in sorted(broken - before):
                self._tell("promise-broken", address, name, key)
            for key in sorted(before - broken):
                self._tell("promise-kept", address, name, key)

    async def _say(self, now_s: int) -> None:
        events = self._summaries.due(self.observed, now_s)
        if events:
            await self._log.append_many(events)

    def _publish_news(self) -> None:
        rows = [self._news.popleft() for _ in range(min(NEWS_A_ROUND, len(self._news)))]
        if not rows:
            return
        content = {"changes": rows, "waiting": len(self._news), "dropped": self._dropped}
        self._dropped = 0
        self._bus.publish(
            sign_event(
                self._node,
                kind=kinds.TELEMETRY,
                created_at=self._clock.now_s(),
                content=orjson.dumps(content).decode(),
                tags=(("type", "registry-telemetry"), ("v", "1.0.0")),
            )
        )
