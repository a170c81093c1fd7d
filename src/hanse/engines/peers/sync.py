"""Sync: bring two logs together once, by comparing sets (NIP-77) or, if the relay cannot, by pages.

A filter whose events are too many to compare at once is halved in time until they are not. What we
need is fetched by id and handed to admission; what the relay needs is sent. Nothing a relay lists
or sends makes this endless: comparisons, rounds, ids, pages and fruitless questions are counted.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from hanse.engines.peers.link import Link, NoComparison, TooMuchToCompare, word_of
from hanse.engines.peers.ports import Kept, Submit
from hanse.errors import Invalid, TooBroad, Unavailable
from hanse.protocol.event import Event, encode_event, parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.negentropy import Negentropy
from hanse.protocol.peer import Direction, is_shared

T = TypeVar("T")

BATCH = 100
ITEMS_MAX = 200_000
FRAME_BYTES_MAX = 60_000
COMPARISONS_MAX = 256
ROUNDS_MAX = 1000
PAGES_MAX = 100_000
INVALID_MAX = 100
BARREN_MAX = 3
FUTURE_S = 3600

_LATER = frozenset({"rate-limited", "error"})
_WALL = frozenset({"rate-limited", "auth-required", "restricted", "blocked"})


class Tally(msgspec.Struct):
    """How far a sync is: events to move, moved, known on the other side already, and refused by the
    word of the refusal. `complete`: nothing is left that another try would bring."""

    method: str = "negentropy"
    to_pull: int = 0
    to_push: int = 0
    pulled: int = 0
    pushed: int = 0
    known: int = 0
    missing: int = 0
    refused_here: dict[str, int] = msgspec.field(default_factory=dict)
    refused_there: dict[str, int] = msgspec.field(default_factory=dict)
    complete: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class Sync:
    """One sync over an open link. `run` per filter; `tally` counts, `tell` hears of progress."""

    def __init__(
        self,
        link: Link,
        log: Kept,
        submit: Submit,
        direction: Direction,
        now_s: Callable[[], int],
        tell: Callable[[Tally], None] = lambda _tally: None,
        saw: Callable[[str], None] = lambda _id: None,
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
        self._comparisons = 0
        self._invalid = 0

    async def run(self, filter: Filter) -> None:
        """Bring both sides' events of this filter together. Raises Unavailable when the relay is
        gone or no use."""
        parts = [filter]
        while parts:
            part = parts.pop()
            self._comparisons += 1
            if self._comparisons > COMPARISONS_MAX:
                raise Unavailable(f"{self._link.url}: over {COMPARISONS_MAX} comparisons")
            try:
                ours = await self._outline(part)
                if self.tally.method == "paging":
                    await self._page(part, ours)
                else:
                    have, need = await self._compare(part, ours)
                    await self._move(have, need)
            except TooMuchToCompare as exc:
                parts += self._halves(part, exc)
            except NoComparison:
                self.tally.method = "paging"
                parts.append(part)

    async def _outline(self, part: Filter) -> list[tuple[int, bytes]]:
        try:
            found = await self._log.outline(part, now_s=self._now_s(), limit=ITEMS_MAX + 1)
        except TooBroad as exc:
            raise TooMuchToCompare(exc.reason) from exc
        if len(found) > ITEMS_MAX:
            raise TooMuchToCompare(f"over {ITEMS_MAX} events here")
        return found

    def _halves(self, part: Filter, why: TooMuchToCompare) -> list[Filter]:
        low = part.since or 0
        high = self._now_s() + FUTURE_S if part.until is None else part.until
        if low >= high:
            raise Unavailable(f"{self._link.url}: {why.reason}, within one second") from why
        middle = (low + high) // 2
        older = msgspec.structs.replace(part, until=middle)
        return [older, msgspec.structs.replace(part, since=middle + 1)]  # the newer one comes first

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
        outcomes = await asyncio.gather(*(self._submit(encode_event(found)) for found in shared))
        for accepted, text in outcomes:
            if accepted and text.startswith("duplicate"):
                self.tally.known += 1
            elif accepted:
                self.tally.pulled += 1
            else:
                self._refused(word_of(text))
        self._tell(self.tally)
        if self._invalid > INVALID_MAX:
            raise Unavailable(f"{self._link.url}: sends events that are not valid")

    def _refused(self, word: str) -> None:
        _add(self.tally.refused_here, word, 1)
        self._invalid += word == "invalid"
        if word in _LATER:
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
                self.tally.complete &= word not in _LATER
            known = sum(accepted and text.startswith("duplicate") for accepted, text in outcomes)
            self.tally.known += known
            self.tally.pushed += len(outcomes) - len(words) - known
            self._tell(self.tally)
            if words and len(words) == len(outcomes) and _WALL.issuperset(words):
                return  # it wants none of ours now: asking on is no use

    # --- paging, when the relay does not compare ------------------------------------------------

    async def _page(self, part: Filter, ours: list[tuple[int, bytes]]) -> None:
        """Read all that matches, newest first, page by page; then send what was not among it."""
        ids = {id: time for time, id in ours}
        lacking = dict(ids)
        until = part.until
        for _ in range(PAGES_MAX):
            asked = msgspec.structs.replace(part, until=until, limit=BATCH)
            page = await self._link.fetch(asked, BATCH)
            for event in page:
                lacking.pop(_raw_id(event), None)
            if self._pulls:
                fresh = [event for event in page if _raw_id(event) not in ids]
                self.tally.to_pull += len(fresh)
                await self._take(fresh)
            if not page:
                break
            # The page's last second may have more: ask for it again, unless it was all of the page.
            oldest = min(event.created_at for event in page)
            newest = max(event.created_at for event in page)
            until = oldest if newest > oldest else oldest - 1
            if until < (part.since or 0):
                break
        else:
            raise Unavailable(f"{self._link.url}: over {PAGES_MAX} pages")
        if self._pushes:
            self.tally.to_push += len(lacking)
            await self._push(list(lacking))


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
