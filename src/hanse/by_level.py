"""A node that goes by levels: what relay, broker and registry ask of trust, in one place.

The table is the operator's, and so is the view: a level is what the node's operator thinks of
another. Nobody of the house is asked. What the relay refused as spam is kept here, too.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from hanse.config import Config
from hanse.engines.storage.database import Database
from hanse.engines.storage.refusals import StoredRefusals
from hanse.errors import HanseError, Unavailable
from hanse.ports import Clock
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.registry.welcome import AT_ONCE, Refused, Welcome
from hanse.servers.relay.context import Context, Policy
from hanse.servers.relay.plugins import load_policies
from hanse.servers.relay.policies.ended import refuse_ended
from hanse.servers.relay.policies.levels import ALWAYS, ByLevel
from hanse.servers.relay.policies.standing import known, operator_of
from hanse.trust.model import Level
from hanse.trust.permissions import Action, may
from hanse.trust.permits import Permits
from hanse.trust.service import Trust

log = structlog.get_logger("hanse")

REVIEW_S: Final = 2.0
"""Offers are looked through for those of who may not publish any more no more often than this."""

REVIEW_MAX_S: Final = 60.0
"""And no more seldom: time alone changes levels, too."""

SPAM_S: Final = 10.0
"""How often what was refused as spam is written."""

LAST_S: Final = 2.0
"""How long a stopping node waits for the last of it: the database may be away."""

FRESH_MS: Final = 1_000
KEPT_MS: Final = 120_000
"""When a level is computed anew for who comes again, and how long it stands if that is not done."""

LEARNED_MAX: Final = 10_000
STRANGERS_PER_S: Final = 50
"""Of whom memory knows nothing, so many levels are computed in a second; others are strangers."""


class ByLevels:
    """Asks `trust` as the operator. `own` are the node's, the operator's and their agents' keys;
    `allowed` says whom the operator let in by name."""

    def __init__(
        self,
        config: Config,
        trust: Trust,
        clock: Clock,
        operator: PublicKey,
        own: Iterable[PublicKey],
        allowed: Callable[[PublicKey], bool],
        database: Database,
    ) -> None:
        self.on = config.by_level
        self._config = config
        self._trust = trust
        self._clock = clock
        self._operator = operator
        self._house = config.rules.members.keys | frozenset(own)
        self._allowed = allowed
        # By operator: when, its standing in memory then, and the level by all evidence.
        self._learned: OrderedDict[PublicKey, tuple[int, Level, Level]] = OrderedDict()
        self._second, self._strangers = 0, 0
        self.policy = ByLevel(config.levels, self.level)
        self.refusals = StoredRefusals(database)

    def blame(self, operator: PublicKey) -> None:
        """The relay refused an event of this operator as spam."""
        self.refusals.counted.add(operator)

    def policies(self) -> tuple[Policy, ...]:
        """The relay's last ones: whose keys ended, what levels permit, the operator's own."""
        return (
            refuse_ended(self._trust.standings.spoke),
            *((self.policy,) if self.on else ()),
            *load_policies(self._config.policies),
        )

    def permits(self) -> Permits | None:
        """Who may call what for how much."""
        if not self.on:
            return None
        return Permits(self._trust, self._clock, self.learn, self._house.__contains__)

    def publishing(self) -> Refused | None:
        """Why an operator may not publish offers now."""
        return self._refused if self.on else None

    async def run(
        self,
        welcome: Welcome,
        known: asyncio.Event,
        changed: Callable[[float], Awaitable[None]],
    ) -> None:
        """Review offers, and keep what was refused as spam, until cancelled: then once more."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.review(welcome, known, changed))
            tasks.create_task(self._keep_refusals())

    async def _keep_refusals(self) -> None:
        try:
            while True:
                await asyncio.sleep(SPAM_S)
                await self._keep()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._keep()

    async def _keep(self) -> None:
        try:
            await self.refusals.keep(self._clock.now_s())
        except HanseError as exc:
            log.warning("refusals.not_kept", reason=exc.text)

    async def review(
        self,
        welcome: Welcome,
        known: asyncio.Event,
        changed: Callable[[float], Awaitable[None]],
    ) -> None:
        """Let the offers that are shown follow whom the operator trusts, until cancelled: from when
        that is `known`. `changed` waits for what may change it, at most so many seconds."""
        await known.wait()
        standings, clock = self._trust.standings, self._clock
        while self.on:
            await self._learn_offering(welcome)
            version, until_ms = standings.version, clock.monotonic_ms() + REVIEW_MAX_S * 1000
            for _ in welcome.review():
                await asyncio.sleep(0)
            await asyncio.sleep(REVIEW_S)
            while standings.version == version and clock.monotonic_ms() < until_ms:
                await changed((until_ms - clock.monotonic_ms()) / 1000)

    def level(self, key: PublicKey) -> Level:
        """The level of an operator: by all evidence if it was learned, else as memory knows it.
        Raises Unavailable before all is read."""
        standing = self._trust.standings.standing(self._operator, key)
        at_ms, then, level = self._learned.get(key, (-KEPT_MS, standing, standing))
        if then is not standing or self._clock.monotonic_ms() - at_ms > KEPT_MS:
            return standing
        return level

    async def learn(self, key: PublicKey) -> Level:
        """The same, computed anew unless that was just done. Records of dealings are read for it;
        betrayals, and who is no operator's key any more, memory knows at once."""
        standing = self._trust.standings.standing(self._operator, key)
        now_ms = round(self._clock.monotonic_ms())
        at_ms, then, _ = self._learned.get(key, (-KEPT_MS, standing, standing))
        fresh = then is standing and now_ms - at_ms < FRESH_MS
        if fresh or standing in (Level.BARRED, Level.CIRCLE) or not self._may_learn(standing):
            return self.level(key)
        level = await self._trust.level(self._operator, key)
        self._learned[key] = now_ms, standing, level
        self._learned.move_to_end(key)
        if len(self._learned) > LEARNED_MAX:
            self._learned.popitem(last=False)
        return level

    def forget(self) -> None:
        """Learn all levels anew."""
        self._learned.clear()

    async def prepare(self, event: Event, context: Context) -> None:
        """Learn the level of who wrote this, so that the policy can be asked. Raises what the
        policy would."""
        if event.kind not in ALWAYS and not known(event, context):
            await self.learn(operator_of(event, context) or event.pubkey)

    def _may_learn(self, standing: Level) -> bool:
        if standing is not Level.STRANGER:
            return True
        second = round(self._clock.monotonic_ms()) // 1000
        if second != self._second:
            self._second, self._strangers = second, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_S

    async def _learn_offering(self, welcome: Welcome) -> None:
        """Of who offers something, the levels of those the operator's circle accepts."""
        standings = self._trust.standings
        for number, key in enumerate(welcome.operators()):
            if standings.standing(self._operator, key) is Level.ACCEPTED:
                await self.learn(key)
            elif number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _refused(self, operator: PublicKey, bits: int) -> str:
        if operator in self._house or self._allowed(operator):
            return ""
        try:
            level = self.level(operator)
        except Unavailable as exc:
            return exc.text
        found = may(level, Action.PUBLISH, bits, table=self._config.levels)
        return "" if found is None else found.error().text
