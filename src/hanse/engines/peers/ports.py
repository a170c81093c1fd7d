"""What peers need of the node they belong to: its log, its admission, and a place to remember."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from hanse.ports import Found
from hanse.protocol.filter import Filter
from hanse.protocol.message import parse_relay_message
from hanse.protocol.peer import Peer, Resume

Submit = Callable[[bytes], Awaitable[tuple[bool, str]]]
"""Gives an event's JSON to admission, as a client's EVENT is: whether it was accepted, and why."""


FATE_S = 30.0
"""How long one event may wait for its OK."""


def submitting(ingest: Callable[[bytes, Callable[[bytes], None]], None]) -> Submit:
    """A Submit over the relay's own way in, which answers by a callback with OK or NOTICE."""

    async def submit(raw: bytes) -> tuple[bool, str]:
        fate: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ingest(raw, lambda text: None if fate.done() else fate.set_result(text))
        try:
            async with asyncio.timeout(FATE_S):
                found = parse_relay_message(await fate)
        except TimeoutError:
            return False, "error: admission did not answer"
        if found.verb == "OK":
            return bool(found.arguments[1]), str(found.arguments[2])
        return False, str(found.arguments[-1])

    return submit


class Paced:
    """A Submit for one peer's events: `burst` at once, then `per_s` a second. One that comes sooner
    waits, in its turn: a peer that sends faster is read more slowly, and nothing is lost."""

    def __init__(self, submit: Submit, per_s: float, burst: int) -> None:
        self._submit = submit
        self._step_s = 1 / per_s
        self._room_s = self._step_s * (burst - 1)
        self._full_s = 0.0
        self._turn = asyncio.Lock()

    async def __call__(self, raw: bytes) -> tuple[bool, str]:
        """See `Submit`."""
        async with self._turn:
            now_s = asyncio.get_running_loop().time()
            full_s = max(self._full_s, now_s)
            early_s = full_s - self._room_s - now_s
            if early_s > 0:
                await asyncio.sleep(early_s)
            self._full_s = full_s + self._step_s
        return await self._submit(raw)


class Kept(Protocol):
    """The node's own log, as far as it is read here."""

    async def query(self, filters: Sequence[Filter], *, limit: int, now_s: int) -> Found:
        """See `ports.Log`."""

    async def outline(self, filter: Filter, *, now_s: int, limit: int) -> list[tuple[int, bytes]]:
        """See `ports.Log`."""


class Notes(Protocol):
    """What is remembered of peers between two runs of the node."""

    async def peers(self) -> list[Peer]:
        """The peers that were added."""

    async def put(self, peer: Peer, most: int) -> list[Peer]:
        """Remember one, in place of an older one of its URL; all there are then. Raises TooLarge
        for a new one if there are `most` already."""

    async def remove(self, url: str) -> list[Peer]:
        """Forget one, and its resume point; all there are then."""

    async def load(self, peer: Peer) -> Resume:
        """Up to when this peer's log and ours were compared, as it is shared now."""

    async def save(self, peer: Peer, resume: Resume) -> None:
        """Remember it."""
