"""What a paid call asks of trust: may this caller call so often, may that provider take so much.

The node's operator judges the caller; the caller's own operator judges the provider, by all that is
known now. The table and the rule are those of permissions.py.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from hanse.errors import Invalid
from hanse.ports import Clock
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.trust.model import Level, check_domain
from hanse.trust.permissions import Action, may
from hanse.trust.service import Trust

MINUTE_MS: Final = 60_000
FRESH_MS: Final = 1000
"""How long a provider's level is remembered: a busy one has hundreds of receipts. A key that
moved or ended is seen at once all the same."""

LEVELS_MAX: Final = 10_000
CALLERS_MAX: Final = 100_000
"""Operators whose calls of this minute are counted one by one; the rest share one count."""


class Permits:
    """Asked before the money of a call is held. `level_of` is how a caller stands with the node's
    operator; `known` are keys that need no level here."""

    def __init__(
        self,
        trust: Trust,
        clock: Clock,
        level_of: Callable[[PublicKey], Awaitable[Level]],
        known: Callable[[PublicKey], bool],
    ) -> None:
        self._trust = trust
        self._clock = clock
        self._level_of = level_of
        self._known = known
        self._minute = 0
        self._calls: Counter[str] = Counter()
        self._levels: dict[tuple[str, str, str], tuple[int, Level]] = {}

    async def check(
        self,
        caller: PublicKey,
        provider: PublicKey,
        capability: str,
        price: Amount,
        *,
        confirmed: bool,
    ) -> None:
        """Both are operators. Raises Restricted or RateLimited: the level, what is missing, and the
        way there. The call counts for its caller's minute if it may be made."""
        await self._earn(caller, provider, capability, None if confirmed else price)
        await self._count(caller)

    async def _earn(
        self, caller: PublicKey, provider: PublicKey, capability: str, price: Amount | None
    ) -> None:
        """With a confirmation no price is too high; who is barred gets none."""
        if caller == provider:
            return
        level = await self._level(caller, provider, _domain(capability))
        refused = may(level, Action.EARN, table=self._trust.table, price=price)
        if refused is not None:
            raise refused.error()

    async def _level(self, caller: PublicKey, provider: PublicKey, domain: str) -> Level:
        if self._trust.standings.standing(caller, provider) is Level.BARRED:
            return Level.BARRED
        asked, now_ms = (caller, provider, domain), self._clock.now_ms()
        until_ms, level = self._levels.get(asked, (0, Level.BARRED))
        if now_ms >= until_ms:
            level = await self._trust.level(caller, provider, domain)
            if len(self._levels) >= LEVELS_MAX:
                self._levels.clear()
            self._levels[asked] = now_ms + FRESH_MS, level
        return level

    async def _count(self, caller: PublicKey) -> None:
        if self._known(caller):
            return
        level = await self._level_of(caller)
        minute = self._clock.now_ms() // MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._calls.clear()
        name = caller if caller in self._calls or len(self._calls) < CALLERS_MAX else ""
        refused = may(level, Action.CALL, table=self._trust.table, used=self._calls[name])
        if refused is not None:
            raise refused.error()
        self._calls[name] += 1


def _domain(capability: str) -> str:
    try:
        check_domain(capability)
    except Invalid:
        return ""
    return capability
