"""A log in memory, built on `Filter.matches`: the model that every engine's log is held against.

Simple and slow on purpose. It keeps what the engines keep: newest versions only, deletions,
requests to vanish and what they forbid, expiry, private kinds for their recipients. Nothing waits
here, unless a test sets `gate`: then every read waits for it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from hanse.errors import Conflict, HanseError, Restricted
from hanse.ports import Found, Row
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.protocol.kinds import KindClass, kind_class

NOBODY: frozenset[PublicKey] = frozenset()


class MemoryLog:
    """Implements `ports.Log`."""

    reads_wait = False

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self._events: dict[int, Event] = {}
        self._seq = 0
        self._deleted_ids: set[tuple[str, str]] = set()
        self._vanished: dict[str, int] = {}
        self._deleted_until: dict[str, int] = {}
        self._readers: list[Callable[[int, Event], None]] = []

    # --- writing ----------------------------------------------------------------------------

    async def append_many(self, events: list[Event]) -> list[int | HanseError | None]:
        """See `ports.Log`."""
        found = [self._append(event) for event in events]
        for event, seq in zip(events, found, strict=True):
            if isinstance(seq, int):
                for reader in self._readers:
                    reader(seq, event)
        return found

    def follow(self, reader: Callable[[int, Event], None]) -> None:
        """See `ports.Log`."""
        self._readers.append(reader)

    async def sweep(self, now_s: int) -> int:
        """Remove events that expired; how many went."""
        gone = [seq for seq, event in self._events.items() if has_expired(event, now_s)]
        for seq in gone:
            del self._events[seq]
        return len(gone)

    def _append(self, event: Event) -> int | HanseError | None:
        if any(kept.id == event.id for kept in self._events.values()):
            return None
        address = address_of(event)
        if self._is_removed(event):
            return Restricted("its author, or who it is for, removed it", field="event")
        older = [
            seq for seq, kept in self._events.items() if address and address_of(kept) == address
        ]
        for seq in older:
            kept = self._events[seq]
            # The newest stays; within a second the lowest id (NIP-01).
            if (-kept.created_at, kept.id) < (-event.created_at, event.id):
                return Conflict("a newer version is kept", field="event")
            del self._events[seq]
        self._seq += 1
        self._events[self._seq] = event
        if event.kind == kinds.DELETION:
            self._delete(event)
        if event.kind == kinds.VANISH:
            before = self._vanished.get(event.pubkey, 0)
            self._vanished[event.pubkey] = max(event.created_at, before)
        for seq, kept in list(self._events.items()):
            if self._is_removed(kept):
                del self._events[seq]
        return self._seq

    def _is_removed(self, event: Event) -> bool:
        """NIP-62 takes all but the requests themselves and key statements; NIP-09 all but those and
        deletions."""
        if event.kind in kinds.LASTING:
            return False
        owners = owners_of(event)
        if any(event.created_at <= self._vanished.get(key, -1) for key in owners):
            return True
        if event.kind == kinds.DELETION:
            return False
        if any((key, event.id) in self._deleted_ids for key in owners):
            return True
        address = address_of(event)
        return address is not None and event.created_at <= self._deleted_until.get(address, -1)

    def _delete(self, deletion: Event) -> None:
        author, until = deletion.pubkey, deletion.created_at
        self._deleted_ids.update((author, id) for id in deletion.values("e"))
        for address in deletion.values("a"):
            if address.split(":", 2)[1:2] == [author]:
                self._deleted_until[address] = max(until, self._deleted_until.get(address, until))

    # --- reading ----------------------------------------------------------------------------

    async def query(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
    ) -> Found:
        """See `ports.Log`."""
        await self._pass()
        return self._find(filters, limit, now_s, reader)

    def at_once(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
    ) -> Found | Coroutine[Any, Any, Found]:
        """See `ports.Log`."""
        if self.gate is not None:
            return self.query(filters, limit=limit, now_s=now_s, reader=reader)
        return self._find(filters, limit, now_s, reader)

    def _find(
        self, filters: Sequence[Filter], limit: int, now_s: int, reader: frozenset[PublicKey]
    ) -> Found:
        more = False
        chosen: dict[int, Event] = {}
        for one in filters:
            most = limit if one.limit is None else min(limit, one.limit)
            passing = self._passing([one], now_s, reader)
            more = more or len(passing) > most
            chosen.update(passing[:most])
        rows = [row_of(seq, event) for seq, event in newest_first(chosen.items())]
        return Found(rows, self._seq, more)

    async def count(
        self, filters: Sequence[Filter], *, now_s: int, reader: frozenset[PublicKey] = NOBODY
    ) -> int:
        """See `ports.Log`."""
        await self._pass()
        return len(self._passing(filters, now_s, reader))

    async def pubkeys(
        self,
        filter: Filter,
        *,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
        limit: int,
    ) -> list[bytes]:
        """See `ports.Log`."""
        await self._pass()
        found = self._passing([filter], now_s, reader)[:limit]
        return [bytes.fromhex(event.pubkey) for _, event in found]

    async def outline(
        self,
        filter: Filter,
        *,
        now_s: int,
        reader: frozenset[PublicKey] = NOBODY,
        limit: int,
    ) -> list[tuple[int, bytes]]:
        """See `ports.Log`."""
        await self._pass()
        found = self._passing([filter], now_s, reader)[:limit]
        return [(event.created_at, bytes.fromhex(event.id)) for _, event in found]

    async def event(self, id: str) -> Event | None:
        """See `ports.Log`."""
        await self._pass()
        return next((event for event in self._events.values() if event.id == id), None)

    async def total(self) -> int:
        """See `ports.Log`."""
        return len(self._events)

    async def last_seq(self) -> int:
        """See `ports.Log`."""
        return self._seq

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate.wait()

    def _passing(
        self, filters: Sequence[Filter], now_s: int, reader: frozenset[PublicKey]
    ) -> list[tuple[int, Event]]:
        return newest_first(
            (seq, event)
            for seq, event in self._events.items()
            if not has_expired(event, now_s)
            and may_read(event, reader)
            and any(one.matches(event) for one in filters)
        )


def newest_first(found: Iterable[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """NIP-01's order: created_at descending, then id ascending."""
    return sorted(found, key=lambda pair: (-pair[1].created_at, pair[1].id))


def row_of(seq: int, event: Event) -> Row:
    """The event as a store hands it out."""
    return (seq, event.created_at, bytes.fromhex(event.id), encode_event(event))


def may_read(event: Event, reader: frozenset[PublicKey]) -> bool:
    """A private kind goes only to a recipient that proved itself."""
    return event.kind not in kinds.PRIVATE or not reader.isdisjoint(event.values("p"))


def owners_of(event: Event) -> list[str]:
    """Whose deletion or vanishing takes it: its author, and who a gift wrap is for (NIP-59)."""
    return [event.pubkey, *(event.values("p") if event.kind == kinds.GIFT_WRAP else ())]


def has_expired(event: Event, now_s: int) -> bool:
    """NIP-40."""
    found = event.tag("expiration")
    return found is not None and int(found) <= now_s


def address_of(event: Event) -> str | None:
    """What names an event of which only the newest version is kept, else None."""
    match kind_class(event.kind):
        case KindClass.REPLACEABLE:
            return f"{event.kind}:{event.pubkey}:"
        case KindClass.ADDRESSABLE:
            return f"{event.kind}:{event.pubkey}:{event.tag('d') or ''}"
        case _:
            return None
