"""Answering from the log: what is stored for a REQ, how many events a COUNT finds."""

import asyncio
from collections.abc import Sequence

from hanse.counters import SECONDS, Histogram, Tally
from hanse.errors import HanseError
from hanse.ports import Clock, Found, Log
from hanse.protocol import hyperloglog, message
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.servers.relay import frames

ANSWER_BYTES_MAX = 8 << 20
"""Event bytes in one answer: it is built in memory and written at once."""

AUTHORS_MAX = 100_000
"""Events whose authors go into one HyperLogLog; a COUNT of more is answered without."""

SLICE = 5000
"""Authors put into it in one turn of the loop: about a millisecond."""


class Answer:
    """Reads the log for the relay's clients. `reader`: the keys that the asking one has proved."""

    def __init__(self, log: Log, clock: Clock, limit_max: int) -> None:
        self._log = log
        self._clock = clock
        self._limit_max = limit_max
        self.outcomes = Tally("answered", "refused")
        self.seconds = Histogram(SECONDS)

    async def stored(self, filters: Sequence[Filter], reader: frozenset[PublicKey]) -> Found:
        """What is stored, for a REQ."""
        started = self._clock.monotonic_ms()
        try:
            found = await self._log.query(
                filters, limit=self._limit_max, now_s=self._clock.now_s(), reader=reader
            )
        except HanseError:
            self.outcomes.add("refused")
            raise
        self.outcomes.add("answered")
        self.seconds.add((self._clock.monotonic_ms() - started) / 1000)
        return found

    async def count(
        self, filters: Sequence[Filter], target: str | None, reader: frozenset[PublicKey]
    ) -> tuple[int, str | None]:
        """How many events match and, if the filter names a `target`, the HyperLogLog of their
        authors in hex (NIP-45)."""
        now_s = self._clock.now_s()
        found = await self._log.count(filters, now_s=now_s, reader=reader)
        if target is None or found > AUTHORS_MAX:
            return found, None
        pubkeys = await self._log.pubkeys(filters[0], now_s=now_s, reader=reader, limit=AUTHORS_MAX)
        registers = hyperloglog.NONE
        for start in range(0, len(pubkeys), SLICE):
            if start:
                await asyncio.sleep(0)  # others, too, want their answers
            part = hyperloglog.registers_of(target, pubkeys[start : start + SLICE])
            registers = hyperloglog.merge(registers, part)
        return found, registers.hex()


def answer_frames(subscription: str, prefix: bytes, found: Found) -> bytes:
    """The stored events and EOSE, as the bytes to write. What is over ANSWER_BYTES_MAX is left out
    and EOSE says that there is more (NIP-67): the client asks on with `until`."""
    rows, more = found.rows, found.more
    size = sum([len(row[3]) for row in rows])
    if size > ANSWER_BYTES_MAX:
        more = True
        keep = len(rows)
        while size > ANSWER_BYTES_MAX and keep > 1:
            keep -= 1
            size -= len(rows[keep][3])
        rows = rows[:keep]
    return frames.answer(prefix, rows, message.eose(subscription, more))
