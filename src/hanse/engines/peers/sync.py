"""Sync: bring two logs together once, by comparing sets (NIP-77) or, if the relay cannot, by pages.

A filter whose events are too many to compare at once is halved in time until they are not, down to
a second, which is then read by pages. The newest part comes first, whichever filter it is of, so
that what is left is told by few spans of time. What we need is fetched by id and handed to
admission; what the relay needs is sent. Nothing a relay lists or sends makes this endless: what
brings nothing is counted, and so are rounds and ids.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count, takewhile
from typing import Any

import msgspec

from hanse.engines.peers.link import Link, NoComparison, TooMuchToCompare, word_of
from hanse.engines.peers.ports import Kept, Submit
from hanse.errors import Invalid, TooBroad, Unavailable
from hanse.protocol.event import Event, check_event, encode_event, parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.negentropy import Negentropy
from hanse.protocol.peer import Direction, Span, is_shared, merged

BATCH = 100
ITEMS_MAX = 200_000
FRAME_BYTES_MAX = 60_000
FRUITLESS_MAX = 256
"""Comparisons on end, for each filter, that were refused, or came upon no event of ours and brought
none that holds. Halving all time takes 31 to come to a second: who compares anything lets us find
one within some 100."""
CROWD_MAX = 5000
"""Events of one second that are asked for at once."""
ROUNDS_MAX = 1000
PAGES_MAX = 100_000
INVALID_MAX = 100
"""Events whose id or signature is wrong, that a relay sends before it is given up."""
BARREN_MAX = 3
FUTURE_S = 3600

_LATER = frozenset({"rate-limited", "error"})
_WALL = frozenset({"rate-limited", "auth-required", "restricted", "blocked"})


class Tally(msgspec.Struct):
    """How far a sync is: events to move, moved, known on the other side already, and refused by the
    word of the refusal. `crowded`: seconds that hold more than can be compared or read at once, of
    which some may be lacking. `complete`: nothing is left that another try would bring."""

    method: str = "negentropy"
    to_pull: int = 0
    to_push: int = 0
    pulled: int = 0
    pushed: int = 0
    known: int = 0
    missing: int = 0
    crowded: int = 0
    refused_here: dict[str, int] = msgspec.field(default_factory=dict)
    refused_there: dict[str, int] = msgspec.field(default_factory=dict)
    complete: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def _go_on() -> None:
    """Nobody wants to hear how far it is."""


class Sync:
    """One sync over an open link. `tally` counts, `tell` hears of progress; `settled` is awaited
    whenever less is `left`."""

    def __init__(
        self,
        link: Link,
        log: Kept,
        submit: Submit,
        direction: Direction,
        now_s: Callable[[], int],
        tell: Callable[[Tally], None] = lambda _tally: None,
        saw: Callable[[str], None] = lambda _id: None,
        settled: Callable[[], Awaitable[None]] = _go_on,
    ) -> None:
        self.tally = Tally()
        self._link = link
        self._log = log
        self._submit = submit
        self._pulls = direction.pulls
        self._pushes = direction.pushes
        self._now_s = now_s
        self._tell = tell
        self._saw = saw
        self._settled = settled
        self._parts: list[tuple[float, int, Filter]] = []
        self._numbers = count()
        self._again: list[Span] = []
        self._put_off = False
        self._useful = False
        self._compares = False
        self._fruitless = 0
        self._fruitless_max = 0
        self._fullest = 0
        self._invalid = 0

    async def run(self, *filters: Filter) -> None:
        """Bring both sides' events of these filters together. Raises Unavailable when the relay is
        gone or no use; what is `left` then can be done by another."""
        self._fruitless_max = FRUITLESS_MAX * len(filters)
        for found in filters:
            heapq.heappush(self._parts, self._entry(found))
        while self._parts:
            part = self._parts[0][-1]
            try:
                ours = await self._outline(part)
                self._useful = bool(ours)
                if not ours and not self._pulls:
                    await self._settle(part)
                elif self.tally.method == "paging":
                    await self._page(part, ours)
                else:
                    await self._move(*await self._compare(part, ours))
                    await self._settle(part)
                    self._count(self._useful)
            except TooMuchToCompare as exc:
                await self._divide(part, exc)
            except NoComparison:
                self.tally.method = "paging"

    def left(self) -> tuple[Span, ...]:
        """The times that are not settled, newest first. It ends in None: not even what is new."""
        parts = [(part.since or 0, part.until) for _, _, part in self._parts]
        return merged([*parts, *self._again])

    def _entry(self, part: Filter) -> tuple[float, int, Filter]:
        newest = float("inf") if part.until is None else part.until
        return -newest, next(self._numbers), part

    async def _settle(self, part: Filter, down_to: int | None = None) -> None:
        """The newest part is done, or what is of `down_to` and later of it."""
        if self._put_off:
            self._again.append((down_to or part.since or 0, self._end(part)))
            self._put_off = False
        if down_to is None:
            heapq.heappop(self._parts)
        else:
            older = msgspec.structs.replace(part, until=down_to - 1)
            heapq.heapreplace(self._parts, self._entry(older))
        await self._settled()

    def _count(self, fruitful: bool) -> None:
        self._fruitless = 0 if fruitful else self._fruitless + 1
        most = self._fruitless_max
        if self._fruitless > most:
            raise Unavailable(f"{self._link.url}: over {most} comparisons on end bring nothing")

    async def _outline(self, part: Filter) -> list[tuple[int, bytes]]:
        try:
            found = await self._log.outline(part, now_s=self._now_s(), limit=ITEMS_MAX + 1)
        except TooBroad as exc:
            raise TooMuchToCompare(exc.reason) from exc
        if len(found) > ITEMS_MAX:
            raise TooMuchToCompare(f"over {ITEMS_MAX} events here")
        return found

    async def _divide(self, part: Filter, why: TooMuchToCompare) -> None:
        """Halve a part in time; a second that is too much is read by pages."""
        low, high = part.since or 0, self._end(part)
        if low < high:
            self._count(False)
            middle = (low + high) // 2
            older = msgspec.structs.replace(part, until=middle)
            newer = msgspec.structs.replace(part, since=middle + 1)
            heapq.heapreplace(self._parts, self._entry(older))
            heapq.heappush(self._parts, self._entry(newer))
        elif self.tally.method == "negentropy" and not self._compares:
            # It never compared anything, not even the seconds to come: it does not compare.
            self.tally.method = "paging"
        else:
            await self._page(part, await self._crowd_here(part, why))

    def _end(self, part: Filter) -> int:
        return self._now_s() + FUTURE_S if part.until is None else part.until

    async def _crowd_here(self, part: Filter, why: TooMuchToCompare) -> list[tuple[int, bytes]]:
        """Our own events of a crowded second, as far as we look at them at once."""
        try:
            found = await self._log.outline(part, now_s=self._now_s(), limit=ITEMS_MAX + 1)
        except TooBroad as exc:
            raise Unavailable(f"{self._link.url}: {why.reason}, within one second") from exc
        self.tally.crowded += len(found) > ITEMS_MAX
        return found[:ITEMS_MAX]

    # --- comparing ------------------------------------------------------------------------------

    async def _compare(
        self, part: Filter, ours: list[tuple[int, bytes]]
    ) -> tuple[list[bytes], list[bytes]]:
        """(ids only we have, ids only they have)."""
        side = Negentropy(())

        def begin() -> bytes:
            nonlocal side
            side = Negentropy(ours, frame_bytes_max=FRAME_BYTES_MAX)
            return side.initiate()

        # In a thread: over many items each step is milliseconds that the loop has no time for.
        asked = await asyncio.to_thread(begin)
        have: dict[bytes, None] = {}  # an id may be told more than once
        need: dict[bytes, None] = {}
        heard = await self._link.compare(asked, part)
        self._compares = True
        for _ in range(ROUNDS_MAX):
            try:
                step = await asyncio.to_thread(side.reconcile, heard)
            except Invalid as exc:
                raise NoComparison(exc.text) from exc
            have |= dict.fromkeys(step.have)
            need |= dict.fromkeys(step.need)
            if len(need) > ITEMS_MAX:
                self._link.end_comparison()
                raise TooMuchToCompare(f"over {ITEMS_MAX} events there")
            if step.reply is None:
                self._link.end_comparison()
                return list(have), list(need)
            heard = await self._link.compare_on(step.reply)
        raise Unavailable(f"{self._link.url}: a comparison took over {ROUNDS_MAX} rounds")

    async def _move(self, have: list[bytes], need: list[bytes]) -> None:
        if self._pulls:
            self.tally.to_pull += len(need)
            await self._pull(need)
        if self._pushes:
            self.tally.to_push += len(have)
            await self._push(have)

    # --- pulling --------------------------------------------------------------------------------

    async def _pull(self, need: list[bytes]) -> None:
        barren = 0
        for batch in _batches(need):
            wanted = {id.hex() for id in batch}
            while wanted:
                # An answer may be cut short by its size: what did not come is asked for again.
                found = await self._link.fetch(Filter(ids=frozenset(wanted)), len(wanted))
                wanted -= {event.id for event in found}
                barren = 0 if found else barren + 1
                if barren >= BARREN_MAX:
                    raise Unavailable(f"{self._link.url}: does not send what it lists")
                if not found:
                    self.tally.missing += len(wanted)
                    break
                await self._take(found)

    async def _take(self, events: list[Event]) -> None:
        shared = [event for event in events if is_shared(event)]
        if len(shared) < len(events):
            _add(self.tally.refused_here, "not-shared", len(events) - len(shared))
        for event in shared:
            self._saw(event.id)
        if not self._useful:  # what is refused here is of use too, if the relay did not make it up
            part = self._parts[0][-1]
            inside = next((event for event in events if part.matches(event)), None)
            self._useful = inside is not None and holds(inside)
        outcomes = await asyncio.gather(*(self._submit(encode_event(found)) for found in shared))
        for event, (accepted, text) in zip(shared, outcomes, strict=True):
            if accepted and text.startswith("duplicate"):
                self.tally.known += 1
            elif accepted:
                self.tally.pulled += 1
            else:
                self._refused(event, word_of(text))
        self._tell(self.tally)
        if self._invalid > INVALID_MAX:
            raise Unavailable(f"{self._link.url}: sends events that are not valid")

    def _refused(self, event: Event, word: str) -> None:
        _add(self.tally.refused_here, word, 1)
        self._invalid += is_unchecked(event, word)
        if word in _LATER:
            self._put_it_off()

    def _put_it_off(self) -> None:
        self._put_off = True
        self.tally.complete = False

    # --- pushing --------------------------------------------------------------------------------

    async def _push(self, have: list[bytes]) -> None:
        for batch in _batches(have):
            ids = Filter(ids=frozenset(id.hex() for id in batch))
            found = await self._log.query([ids], limit=BATCH, now_s=self._now_s())
            bodies = [bytes(row[3]) for row in found.rows]
            sent = [
                (event.id, body)
                for event, body in zip(map(parse_event, bodies), bodies, strict=True)
                if is_shared(event)
            ]
            for id, _ in sent:
                self._saw(id)
            outcomes = await asyncio.gather(*(self._link.publish(*pair) for pair in sent))
            words = [word_of(text) for accepted, text in outcomes if not accepted]
            for word in words:
                _add(self.tally.refused_there, word, 1)
                if word in _LATER:
                    self._put_it_off()
            known = sum(accepted and text.startswith("duplicate") for accepted, text in outcomes)
            self.tally.known += known
            self.tally.pushed += len(outcomes) - len(words) - known
            self._tell(self.tally)
            if words and len(words) == len(outcomes) and _WALL.issuperset(words):
                return  # it wants none of ours now: asking on is no use

    # --- paging, when the relay does not compare ------------------------------------------------

    async def _page(self, part: Filter, ours: list[tuple[int, bytes]]) -> None:
        """Read all that matches, newest first, page by page; send what was not among it."""
        ids = {id: time for time, id in ours}
        lacking = dict(ids)  # newest first
        useful, fruitless = bool(ids), 0
        until = part.until
        while True:
            page = await self._read(msgspec.structs.replace(part, until=until))
            await self._take_page(page, ids, lacking)
            useful, fruitless = useful or self._useful, 0 if self._useful else fruitless + 1
            if fruitless > PAGES_MAX:
                raise Unavailable(f"{self._link.url}: over {PAGES_MAX} pages on end bring nothing")
            # The page's last second may have more: ask for it again, unless it was all of the page.
            oldest = min((event.created_at for event in page), default=0)
            newest = max((event.created_at for event in page), default=0)
            until = oldest if newest > oldest else oldest - 1
            if not page or until < (part.since or 0):
                break
            await self._send_newer(lacking, until)
            rest = msgspec.structs.replace(part, until=self._end(part))
            part = msgspec.structs.replace(part, until=until)
            await self._settle(rest, down_to=until + 1)
        await self._send_newer(lacking, -1)
        await self._settle(part)
        self._count(useful)

    async def _read(self, part: Filter) -> list[Event]:
        """The newest of a part. If they are all of one second, all of that second."""
        page = await self._link.fetch(msgspec.structs.replace(part, limit=BATCH), BATCH)
        self._fullest = max(self._fullest, len(page))
        seconds = {event.created_at for event in page}
        if len(seconds) != 1 or len(page) < self._fullest:
            return page
        (second,) = seconds
        # Whoever gives older ones too had no more of this second.
        wanted = msgspec.structs.replace(part, since=None, until=second, limit=CROWD_MAX)
        found = await self._link.fetch(wanted, CROWD_MAX)
        crowd = {event.id: event for event in [*page, *found] if event.created_at == second}
        if all(event.created_at == second for event in found):
            self.tally.crowded += len(crowd) >= BATCH or await self._has_older(part, second)
        return list(crowd.values())

    async def _has_older(self, part: Filter, second: int) -> bool:
        wanted = msgspec.structs.replace(part, since=None, until=second - 1, limit=1)
        return second > 0 and bool(await self._link.fetch(wanted, 1))

    async def _take_page(
        self, page: list[Event], ids: dict[bytes, int], lacking: dict[bytes, int]
    ) -> None:
        for event in page:
            lacking.pop(_raw_id(event), None)
        fresh = [event for event in page if _raw_id(event) not in ids]
        self._useful = len(fresh) < len(page)
        if self._pulls:
            self.tally.to_pull += len(fresh)
            for at in range(0, len(fresh), BATCH):
                await self._take(fresh[at : at + BATCH])

    async def _send_newer(self, lacking: dict[bytes, int], until: int) -> None:
        """Send what is newer than the last page reached, and was not told."""
        newer = [id for id, _ in takewhile(lambda pair: pair[1] > until, lacking.items())]
        for id in newer:
            del lacking[id]
        if self._pushes and newer:
            self.tally.to_push += len(newer)
            await self._push(newer)


def holds(event: Event) -> bool:
    """Whether its id and signature do."""
    try:
        check_event(event)
    except Invalid:
        return False
    return True


def is_unchecked(event: Event, word: str) -> bool:
    """Whether an event that we refused shows that its relay checks nothing. What holds and is
    `invalid` here is so by our own policies: its relay may well have others."""
    return word == "invalid" and not holds(event)


def _raw_id(event: Event) -> bytes:
    try:
        return bytes.fromhex(event.id)
    except ValueError:
        return b""  # admission will refuse it by name


def _batches(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (ids[at : at + BATCH] for at in range(0, len(ids), BATCH))


def _add(counts: dict[str, int], word: str, more: int) -> None:
    """Count a word; strangers choose them, so only so many are told apart."""
    key = word if word in counts or len(counts) < 16 else "other"
    counts[key] = counts.get(key, 0) + more
