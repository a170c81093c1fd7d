"""Keeps the search index up to date: offers from their view, lessons from the calls that ended.

Both are views of the log, in memory: made when the node starts, a page at a time while it already
answers, and brought forward with what the log tells. Nothing here decides what is found.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from hanse.engines.storage.database import Database, Row, Transaction
from hanse.engines.storage.offers import StoredOffers
from hanse.errors import Unavailable
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.registry.entry import key_of
from hanse.registry.finder import Finder
from hanse.registry.lessons import Lesson
from hanse.registry.model import Offer

log = structlog.get_logger("hanse")

PAGE = 500
_REMOVING = frozenset({kinds.DELETION, kinds.VANISH})
CATCH_UP_S = 0.1
"""How long a search waits for offers that were just published."""
AT_ONCE = 20_000
"""Offers that are indexed before the node says it is up (two seconds); more go on behind."""
FIGURED = 5000
"""Offers whose figures are taken anew at a time, though nothing called them since."""
WAITING_MAX = 100_000
"""Offers remembered because they could not be embedded, to be tried again."""


class Indexing:
    """A `views.View`. One task at a time calls it: the node's follower, once it was filled."""

    def __init__(self, offers: StoredOffers, finder: Finder, database: Database) -> None:
        self._offers = offers
        self._finder = finder
        self._database = database
        self._addresses: set[str] = set()
        self._authors: set[PublicKey] = set()
        self._offering: dict[PublicKey, int] = {}
        """Whose offers were seen and may not be indexed yet: `_came` with the last of them."""
        self._plain: set[str] = set()
        self._seq = 0
        self._taught = 0
        self._turn = 0
        self._news = False
        self._came = self._through = 0
        self._round = asyncio.Event()
        self.whole = False
        """Whether all that is kept was indexed."""
        self._lock = asyncio.Lock()

    # --- starting -----------------------------------------------------------------------------

    async def fill(self) -> bool:
        """Index what is kept, up to AT_ONCE offers; whether that was all."""
        for _ in range(AT_ONCE // PAGE):
            if not await self._page():
                await self._done()
                return True
        self._finder.notes = ("offers are still being read",)
        await asyncio.to_thread(self._finder.publish)
        return False

    async def finish(self) -> None:
        """Index the rest."""
        total, pages, due = await self._offers.count(0), 0, AT_ONCE // PAGE
        while await self._page():
            pages += 1
            if pages % 20 == 0:
                done = len(self._finder.index)
                self._finder.notes = (f"offers are still being read: {done} of {total}",)
            if pages >= due:  # by halves more: what is found already is inverted again each time
                due = pages * 3 // 2
                await asyncio.to_thread(self._finder.publish)
        await self._done()

    async def _done(self) -> None:
        self._finder.notes = ()
        self.whole = True
        await asyncio.to_thread(self._finder.publish)
        await self._teach()

    async def _page(self) -> bool:
        async with self._lock:
            rows = await self._offers.after(self._seq, PAGE)
            if rows:
                self._seq = rows[-1][0]
                await self._put(rows)
            return len(rows) == PAGE

    # --- following ----------------------------------------------------------------------------

    def saw(self, _seq: int, event: Event) -> None:
        """A commit added this event: remember what it may have changed."""
        if event.kind == kinds.OFFER:
            self._offering[event.pubkey] = self._came + 1
            self._addresses.add(f"{kinds.OFFER}:{event.pubkey}:{event.tag('d') or ''}")
        elif event.kind in _REMOVING and not self._has_offers(event.pubkey):
            return
        elif event.kind == kinds.DELETION:
            self._addresses.update(event.values("a"))
            self._authors.add(event.pubkey)
        elif event.kind == kinds.VANISH:
            self._authors.add(event.pubkey)
        elif event.kind == kinds.RECEIPT:
            self._news = True
            return
        else:
            return
        self._came += 1

    async def caught_up(self) -> None:
        """Until what was committed before is indexed, but not long: who publishes and then searches
        finds it, and a stream of offers does not keep others waiting."""
        came = self._came
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                while self._through < came:
                    await self._round.wait()

    def due_s(self, event: Event) -> float | None:
        """See `views.View`."""
        if event.kind in (kinds.OFFER, kinds.RECEIPT):
            return 0.0
        removes = event.kind in _REMOVING and self._has_offers(event.pubkey)
        return 0.0 if removes else None

    def _has_offers(self, author: PublicKey) -> bool:
        """Whether an author may have offers: most deletions are of something else."""
        known = self._finder.index.keys.get(author) >= 0
        return known or not self.whole or author in self._offering

    async def advance(self) -> None:
        """Index what changed."""
        came = self._came
        addresses, self._addresses = self._addresses, set()
        authors, self._authors = self._authors, set()
        try:
            async with self._lock:
                if addresses or authors:
                    # Once more, after these were taken: what came since the view was last brought
                    # forward would be looked up too early, found missing, and stay so.
                    await self._offers.advance()
                if addresses:
                    await self._refresh(sorted(addresses))
                for author in sorted(authors):
                    await self._recheck(author)
                if addresses or authors:
                    await asyncio.to_thread(self._finder.publish)
            self._through = came
            self._offering = {who: at for who, at in self._offering.items() if at > came}
            ended, self._round = self._round, asyncio.Event()
            ended.set()
            touched, self._finder.touched = self._finder.touched, set()
            await self._figure(sorted(touched))
            if self._news:
                self._news = False
                await self._teach()
        except Unavailable:
            self._addresses |= addresses
            self._authors |= authors
            raise

    async def _refresh(self, addresses: Sequence[str]) -> None:
        for start in range(0, len(addresses), PAGE):
            asked = addresses[start : start + PAGE]
            rows = await self._offers.at(asked)
            there = {offer.address for _, _, _, offer in rows}
            self._finder.index.remove([key_of(one) for one in asked if one not in there])
            await self._put([row[1:] for row in rows])

    async def _recheck(self, author: PublicKey) -> None:
        """Let go of an author's offers that are kept no more."""
        known = self._finder.index.offers_of(author)
        if known:
            kept = {key_of(one) for one in await self._offers.addresses_of(author)}
            self._finder.index.remove(known - kept)

    async def forget(self, addresses: Sequence[str]) -> None:
        """These offers were taken out by the operator."""
        self._finder.index.remove([key_of(one) for one in addresses])

    async def _put(self, rows: list[tuple[int, int | None, Offer]]) -> None:
        if rows and not await asyncio.to_thread(self._finder.put, rows):
            self._plain.update(offer.address for _, _, offer in rows)
            while len(self._plain) > WAITING_MAX:
                self._plain.pop()

    async def tend(self, now_s: int) -> None:
        """What is due now and then: let expired rows go, embed what could not be, and weigh
        anew what calls and voices changed."""
        async with self._lock:
            self._finder.index.expire(now_s)
            self._finder.index.saw(self._finder.liveness.seen)
            if self._plain:
                again, self._plain = sorted(self._plain)[:PAGE], set(sorted(self._plain)[PAGE:])
                await self._refresh(again)
                await asyncio.to_thread(self._finder.publish)
        called = self._finder.everything_called()
        start = self._turn if self._turn < len(called) else 0
        self._turn = start + FIGURED
        await self._figure(called[start : start + FIGURED])

    async def _figure(self, addresses: Sequence[str]) -> None:
        for start in range(0, len(addresses), PAGE):
            rows = await self._offers.at(addresses[start : start + PAGE])
            self._finder.refigure(offer for _, _, _, offer in rows)

    # --- lessons ------------------------------------------------------------------------------

    async def _teach(self) -> None:
        while True:
            last, rows = await self._database.read(_lessons_after, self._taught)
            lessons = [_lesson(row) for row in rows]
            if lessons:
                await asyncio.to_thread(self._finder.teach, lessons)
            full = len(rows) == PAGE
            self._taught = int(rows[-1][0]) if full else last
            if not full:
                return


def _lessons_after(tx: Transaction, seq: int) -> tuple[int, list[Row]]:
    found = tx.one("event_last_seq")
    last = int(found[0]) if found else 0
    return last, tx.all("lessons_after", seq, last, PAGE)


def _lesson(row: Row) -> Lesson:
    _, id, offer, capability, words, payer, payee, provider, state, closed_ms = row
    return Lesson(
        id=bytes(id),
        address=offer,
        capability=capability,
        words=words,
        payer=payer,
        payee=payee or provider,
        settled=state == "settled",
        at_s=closed_ms // 1000,
    )
