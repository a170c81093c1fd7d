"""Answering from the log: what is stored for a REQ, how many events a COUNT finds."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from hanse.counters import SECONDS, Histogram
from hanse.errors import HanseError
from hanse.ports import Clock, Found, Log, Row
from hanse.protocol import hyperloglog, kinds, message
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.servers.relay import frames

ANSWER_BYTES_MAX = 8 << 20
"""Event bytes in one answer: it is built in memory and written at once."""

AUTHORS_MAX = 100_000
"""Events whose authors go into one HyperLogLog; a COUNT of more is answered without."""

ENDS_KEPT = 512
"""Frames of EOSE that are kept: clients name their subscriptions alike."""

TIES_MAX = 5000
"""Events of one second that an answer is made longer for."""

SLICE = 5000
"""Authors put into it in one turn of the loop: about a millisecond."""


OFFERS = frozenset({kinds.OFFER})
PAGES_MAX = 4
"""Pages of the ranking that one REQ goes through for offers that meet its other conditions."""


class Ranking(Protocol):
    """Offers in the order of how well they answer words."""

    async def page(
        self, text: str, number: int, *, provider: PublicKey | None, topic: str | None
    ) -> tuple[list[str], bool] | None:
        """Ids of the offers' events on a page, best first, and whether another page follows; None
        if nothing is asked for, or it cannot be said now. Raises Invalid."""


class Answer:
    """Reads the log for the relay's clients. `reader`: the keys that the asking one has proved.
    With a `ranking`, a search of offers alone is answered in its order."""

    def __init__(
        self, log: Log, clock: Clock, limit_max: int, ranking: Ranking | None = None
    ) -> None:
        self._ranking = ranking
        self._log = log
        self._clock = clock
        self._limit_max = limit_max
        self.refused = 0
        self.seconds = Histogram(SECONDS)
        """Of every answer that was not refused."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How queries ended since the start."""
        return {"answered": self.seconds.count, "refused": self.refused}

    async def stored(self, filters: Sequence[Filter], reader: frozenset[PublicKey]) -> Found:
        """What is stored, for a REQ."""
        return await self._timed(self._find(filters, reader), time.perf_counter())

    def at_once(
        self, filters: Sequence[Filter], reader: frozenset[PublicKey]
    ) -> Found | Coroutine[Any, Any, Found]:
        """The same on the spot, if it need not wait; otherwise what is left to be awaited."""
        if filters[0].search is not None:
            return self.stored(filters, reader)
        began_s = time.perf_counter()
        try:
            found = self._log.at_once(
                filters, limit=self._limit_max, now_s=self._clock.now_s(), reader=reader
            )
        except HanseError:
            self.refused += 1
            raise
        if not isinstance(found, Found):
            return self._timed(self._awaited(found, filters, reader), began_s)
        if self._is_cut(found, filters):
            return self._timed(self._to_the_second(found, filters[0], reader), began_s)
        self.seconds.add(time.perf_counter() - began_s)
        return found

    async def _timed(self, work: Coroutine[Any, Any, Found], began_s: float) -> Found:
        try:
            found = await work
        except HanseError:
            self.refused += 1
            raise
        self.seconds.add(time.perf_counter() - began_s)
        return found

    async def _find(self, filters: Sequence[Filter], reader: frozenset[PublicKey]) -> Found:
        first = filters[0]
        if first.search is not None and first.kinds == OFFERS and len(filters) == 1:
            found = await self._ranked(first, reader)
            if found is not None:
                return found
        read = self._log.query(
            filters, limit=self._limit_max, now_s=self._clock.now_s(), reader=reader
        )
        return await self._awaited(read, filters, reader)

    async def _awaited(
        self,
        work: Coroutine[Any, Any, Found],
        filters: Sequence[Filter],
        reader: frozenset[PublicKey],
    ) -> Found:
        found = await work
        if self._is_cut(found, filters):
            return await self._to_the_second(found, filters[0], reader)
        return found

    def _is_cut(self, found: Found, filters: Sequence[Filter]) -> bool:
        """Whether our own bound ends the answer to one filter, not the limit that it names."""
        if not (found.more and found.rows) or len(filters) > 1:
            return False
        (asked,) = filters
        return asked.search is None and (asked.limit is None or asked.limit > self._limit_max)

    async def _to_the_second(
        self, found: Found, asked: Filter, reader: frozenset[PublicKey]
    ) -> Found:
        """The same with all of its oldest second (NIP-67): who pages by time would never hear of
        the rest, if one second holds more than an answer does."""
        now_s, last_s = self._clock.now_s(), found.rows[-1][1]
        second = msgspec.structs.replace(asked, since=last_s, until=last_s, limit=None)
        rest = await self._log.query([second], limit=TIES_MAX, now_s=now_s, reader=reader)
        rows = [row for row in found.rows if row[1] > last_s]
        # What came since it was read comes live.
        rows += [row for row in rest.rows if row[0] <= found.seq]
        if rest.more or last_s == 0:
            return Found(rows, found.seq, rest.more)
        before = msgspec.structs.replace(asked, until=last_s - 1, limit=1)
        older = await self._log.query([before], limit=1, now_s=now_s, reader=reader)
        return Found(rows, found.seq, bool(older.rows))

    async def _ranked(self, asked: Filter, reader: frozenset[PublicKey]) -> Found | None:
        """The offers that a search finds, best first; None if the log is to answer."""
        if self._ranking is None or asked.ids is not None or asked.limit == 0:
            return None
        await asyncio.sleep(0)  # from here on in a task: the ranking may wait with a time limit
        authors, topics = asked.authors or (), dict(asked.tags).get("t", ())
        provider = PublicKey(next(iter(authors))) if len(authors) == 1 else None
        topic = next(iter(topics)) if len(topics) == 1 else None
        limit = self._limit_max if asked.limit is None else min(asked.limit, self._limit_max)
        # Before the ranking is asked: what is committed meanwhile comes live, at worst twice.
        seq = await self._log.last_seq()
        rows: list[Row] = []
        more = True
        for number in range(PAGES_MAX):
            if len(rows) >= limit:
                break
            page = await self._ranking.page(
                asked.search or "", number, provider=provider, topic=topic
            )
            if page is None:
                return None
            ids, more = page
            rows += await self._in_order(ids, asked, reader, {row[2] for row in rows})
            if not more:
                break
        return Found(rows[:limit], seq, more or len(rows) > limit)

    async def _in_order(
        self, ids: list[str], asked: Filter, reader: frozenset[PublicKey], had: set[bytes]
    ) -> list[Row]:
        """The events of these ids that meet the other conditions, in this order."""
        exact = msgspec.structs.replace(asked, search=None, limit=None, ids=frozenset(ids))
        if not ids:
            return []
        found = await self._log.query(
            [exact], limit=len(ids), now_s=self._clock.now_s(), reader=reader
        )
        by_id = {row[2]: row for row in found.rows if row[2] not in had}
        return [by_id[key] for key in map(bytes.fromhex, ids) if key in by_id]

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
    if not rows:
        return _end(subscription, more)
    if len(rows) == 1:
        return frames.answer_of_one(prefix, rows[0][3], _end(subscription, more))
    bodies = [row[3] for row in rows]
    sizes = list(map(len, bodies))
    size = sum(sizes)
    while size > ANSWER_BYTES_MAX and len(bodies) > 1:
        more = True
        size -= sizes.pop()
        bodies.pop()
    return frames.answer(prefix, bodies, sizes, _end(subscription, more))


@lru_cache(ENDS_KEPT)
def _end(subscription: str, more: bool) -> bytes:
    return frames.frame(message.eose(subscription, more))
