"""What an agent says by itself of whom it paid: when, how often, and by which rule.

Only the payer can sign it, so it is done here and not by the node, which holds no agent's key. It
never delays or fails a call: it runs beside the next ones, a few at a time, and what cannot be said
is left unsaid.
"""

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from hanse.errors import HanseError
from hanse.protocol.event import Event

BY_RULE: Final = ("rated_by", "rule")
"""A field of the evidence: nobody weighed this rating, and the rule may replace it."""

CONFIDENCE: Final = 0.5
"""An answer that passed every check can still be of no use; only its reader knows."""

EACH_S: Final = 3600
"""One rating of a provider and capability is renewed this often, however many calls are made."""

REMEMBERED_MAX: Final = 4096
AT_ONCE_MAX: Final = 4
CLOSE_S: Final = 2.0
"""How long ratings under way may take when the agent closes."""


def wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether agents rate by themselves: yes, unless $HANSE_ATTEST is `no`."""
    found = (os.environ if environment is None else environment).get("HANSE_ATTEST", "")
    return found.strip().lower() not in ("no", "0", "false", "off")


def stars(call: Mapping[str, Any], promised_ms: int) -> int:
    """5 for a settled call within the promised p95, 4 for one that came later but in time."""
    latency = call.get("latency_ms")
    return 5 if latency is not None and latency <= promised_ms else 4


def may_replace(kept: Event | None, now_s: int) -> bool:
    """Whether the rule may speak: it has not within EACH_S, and no person did before."""
    if kept is None:
        return True
    name, value = BY_RULE
    return f'"{name}":"{value}"' in kept.content and now_s - kept.created_at >= EACH_S


class Ratings:
    """Ratings under way, and when each subject's turn is again. `rate` may raise HanseError."""

    def __init__(self, rate: Callable[[dict[str, Any]], Awaitable[Event | None]]) -> None:
        self._rate = rate
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._tasks: set[asyncio.Task[Event | None]] = set()

    def hear(self, call: dict[str, Any]) -> None:
        """A call ended: rate it beside what comes next, if it is due."""
        if len(self._tasks) < AT_ONCE_MAX and self._due(call):
            task = asyncio.get_running_loop().create_task(self._say(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def now(self, call: dict[str, Any]) -> Event | None:
        """Rate a call that ended, if it is due, and wait for it; None if nothing was said."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                return await self._say(call) if self._due(call) else None
        return None

    async def close(self) -> None:
        """Let what is under way end, up to CLOSE_S."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()

    def _due(self, call: dict[str, Any]) -> bool:
        if call["status"] != "settled" or not call["charged_msat"]:
            return False  # a gift proves nothing
        about, now = (call["provider"], call["capability"]), asyncio.get_running_loop().time()
        last = self._told.get(about)
        if last is not None and now - last < EACH_S:
            return False
        self._told[about] = now
        self._told.move_to_end(about)
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)
        return True

    async def _say(self, call: dict[str, Any]) -> Event | None:
        with contextlib.suppress(HanseError, TimeoutError):
            return await self._rate(call)
        return None
