"""A node that goes by levels: what relay, broker and registry ask of trust, in one place.

The table is the operator's, and so is the view: a level is what the node's operator thinks of
another. Nobody of the house is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from hanse.config import Config
from hanse.errors import Unavailable
from hanse.ports import Clock
from hanse.protocol.keys import PublicKey
from hanse.registry.welcome import Refused, Welcome
from hanse.servers.relay.policies.levels import ByLevel
from hanse.trust.model import Level
from hanse.trust.permissions import Action, may
from hanse.trust.permits import Permits
from hanse.trust.service import Trust

REVIEW_S: Final = 2.0
"""Offers are looked through for those of who may not publish any more no more often than this."""

REVIEW_MAX_S: Final = 60.0
"""And no more seldom: time alone changes levels, too."""


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
    ) -> None:
        self.on = config.by_level
        self._config = config
        self._trust = trust
        self._clock = clock
        self._operator = operator
        self._house = config.rules.members.keys | frozenset(own)
        self._allowed = allowed
        self.policy = ByLevel(config.levels, self._level)

    def permits(self) -> Permits | None:
        """Who may call what for how much."""
        if not self.on:
            return None
        return Permits(self._trust, self._clock, self._operator, self._house.__contains__)

    def publishing(self) -> Refused | None:
        """Why an operator may not publish offers now."""
        return self._refused if self.on else None

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
            version, until_ms = standings.version, clock.monotonic_ms() + REVIEW_MAX_S * 1000
            for _ in welcome.review():
                await asyncio.sleep(0)
            await asyncio.sleep(REVIEW_S)
            while standings.version == version and clock.monotonic_ms() < until_ms:
                await changed(REVIEW_MAX_S)

    def _level(self, key: PublicKey) -> Level:
        return self._trust.standings.standing(self._operator, key)

    def _refused(self, operator: PublicKey, bits: int) -> str:
        if operator in self._house or self._allowed(operator):
            return ""
        try:
            level = self._level(operator)
        except Unavailable as exc:
            return exc.text
        found = may(level, Action.PUBLISH, bits, table=self._config.levels)
        return "" if found is None else found.error().text
