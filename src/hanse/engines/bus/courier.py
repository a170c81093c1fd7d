"""The courier: one request to a connected key, and the wait for its answer.

An answer counts only if its author is the one asked and its `e` tag names the request. A second
answer, one for another call, or one after the deadline finds nobody waiting and goes nowhere.
"""

import asyncio

from hanse.ports import Absent, Answered, Attendance, Bus, Gone, Reply, Stopped, TimedOut
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey


class BusCourier:
    """Implements `ports.Courier` over a bus."""

    def __init__(self, bus: Bus, presence: Attendance, node: PublicKey) -> None:
        self._bus = bus
        self._node = node
        self._waiting: dict[str, tuple[PublicKey, asyncio.Future[Reply]]] = {}
        self._asked: dict[PublicKey, set[str]] = {}
        self._stopped = False
        bus.listen(self._hear)
        presence.when_gone(self._gone)

    async def ask(self, request: Event, to: PublicKey, timeout_ms: float) -> Reply:
        """See `ports.Courier`."""
        if self._stopped:
            return Stopped()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting[request.id] = (to, future)
        self._asked.setdefault(to, set()).add(request.id)
        alarm = loop.call_later(timeout_ms / 1000, _settle, future, TimedOut())
        try:
            if self._bus.publish(request) == 0:
                return Absent()
            return await future
        finally:
            alarm.cancel()
            del self._waiting[request.id]
            asked = self._asked[to]
            asked.discard(request.id)
            if not asked:
                del self._asked[to]

    def stop(self) -> None:
        """See `ports.Courier`."""
        self._stopped = True
        for _, future in self._waiting.values():
            _settle(future, Stopped())

    def _hear(self, event: Event) -> int:
        if event.kind != kinds.RPC or self._node not in event.values("p"):
            return 0
        waiting = self._waiting.get(event.tag("e") or "")
        if waiting is None or waiting[0] != event.pubkey:
            return 0
        return _settle(waiting[1], Answered(event))

    def _gone(self, pubkey: PublicKey) -> None:
        for id in self._asked.get(pubkey, ()):
            _settle(self._waiting[id][1], Gone())


def _settle(future: "asyncio.Future[Reply]", reply: Reply) -> int:
    """The first to come decides; 1 if it was this one."""
    if future.done():
        return 0
    future.set_result(reply)
    return 1
