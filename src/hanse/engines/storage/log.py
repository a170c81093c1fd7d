"""The log's rules: append, replace, delete, expire (NIP-01, NIP-09, NIP-40), and answer filters.

`append_event` is an operation over a transaction, so that a receipt can be appended in the same
commit as the money it speaks of.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from hanse.engines.storage.filter_sql import filter_sql, tag_hash
from hanse.engines.storage.sqlite import SqliteDatabase, Transaction
from hanse.errors import Conflict, HanseError, Invalid, Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, encode_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import is_hex
from hanse.protocol.kinds import KindClass, kind_class

FOREVER = 2**53 - 1
SWEEP_MAX = 500


class Row(msgspec.Struct, frozen=True):
    """A stored event as an answer carries it: its own JSON, never re-encoded."""

    seq: int
    created_at: int
    id: bytes
    kind: int
    json: bytes


class EventLog:
    """The log over one database. Implements `ports.Log`."""

    def __init__(self, database: SqliteDatabase, new_key: Callable[[], bytes]) -> None:
        self._database = database
        self._new_key = new_key
        self._key = b""

    async def open(self) -> None:
        """Read, or make, this database's secret for tag hashes. Call once, before anything else."""

        def operation(tx: Transaction) -> bytes:
            found = tx.one("meta_get", "tag-key")
            if found is None:
                tx.all("meta_set", "tag-key", self._new_key())
                found = tx.one("meta_get", "tag-key")
            assert found is not None
            return bytes(found[0])

        self._key = await self._database.write(operation)

    async def append_many(self, events: list[Event]) -> list[int | HanseError | None]:
        """See `ports.Log`."""
        return await self._database.write(self._append_each, events)

    def follow(self, reader: Callable[[int, Event], None]) -> None:
        """See `ports.Log`."""
        self._database.follow(reader)

    def last_seq(self) -> int:
        """The newest sequence number a read sees now."""
        found = self._database.one("event_last_seq")
        return int(found[0]) if found else 0

    def count(self) -> int:
        """How many events are kept."""
        found = self._database.one("event_count")
        return int(found[0]) if found else 0

    def query(self, filters: Sequence[Filter], limit: int, now_s: int) -> tuple[list[Row], int]:
        """Stored events that pass any of the filters, newest first, each once; and the newest
        sequence number of the same snapshot. `limit` bounds each filter, as its own limit does."""
        with self._database.snapshot():
            return self._merge(filters, limit, now_s), self.last_seq()

    def _merge(self, filters: Sequence[Filter], limit: int, now_s: int) -> list[Row]:
        merged: dict[int, Row] = {}
        for found in filters:
            sql, params = filter_sql(found, self._key, limit, now_s)
            for values in self._database.select(sql, params):
                row = Row(*values)
                merged[row.seq] = row
        if len(filters) == 1:
            return list(merged.values())
        return sorted(merged.values(), key=lambda row: (-row.created_at, row.id))

    def event(self, id: str) -> Event | None:
        """One event by id."""
        found = self._database.one("event_by_id", bytes.fromhex(id))
        return msgspec.json.decode(found[4], type=Event) if found else None

    async def sweep(self, now_s: int) -> int:
        """Remove events that expired; how many went (at most SWEEP_MAX a call)."""
        return await self._database.write(self._sweep, now_s)

    # --- operations ---------------------------------------------------------------------------

    def _append_each(self, tx: Transaction, events: list[Event]) -> list[int | HanseError | None]:
        # A refusal comes before the first change, so no savepoint is needed for each.
        found: list[int | HanseError | None] = []
        for event in events:
            try:
                found.append(self.append_event(tx, event))
            except HanseError as exc:
                found.append(exc)
        return found

    def append_event(self, tx: Transaction, event: Event) -> int | None:
        """Append within a transaction: the sequence number, or None for a duplicate. Raises
        Restricted for a deleted event, Conflict for an older version of a kept one."""
        id, pubkey = bytes.fromhex(event.id), bytes.fromhex(event.pubkey)
        if tx.one("event_by_id", id) is not None:
            return None
        address, expires = address_of(event), expiration_of(event.tags)
        if event.kind != kinds.DELETION:  # NIP-09: a deletion cannot be deleted, in either order
            self._refuse_deleted(tx, event, pubkey, address)
        if address is not None:
            self._make_way(tx, event, address)
        found = tx.one(
            "event_insert",
            id,
            pubkey,
            event.created_at,
            event.kind,
            expires,
            address,
            encode_event(event),
        )
        assert found is not None
        seq = int(found[0])
        tx.many("tag_insert", self._tag_rows(event, seq))
        if event.kind == kinds.DELETION:
            self._delete(tx, event, pubkey)
        tx.appended.append((seq, event))
        return seq

    def _refuse_deleted(
        self, tx: Transaction, event: Event, pubkey: bytes, address: str | None
    ) -> None:
        found = tx.one("tombstone_until", event.id, address or event.id, pubkey)
        if found is not None and found[0] is not None and event.created_at <= found[0]:
            raise Restricted("its author deleted this event", field="event")

    def _make_way(self, tx: Transaction, event: Event, address: str) -> None:
        """Remove the version this one replaces, or refuse if that one is newer (lowest id wins
        within a second)."""
        found = tx.one("event_by_address", address)
        if found is None:
            return
        seq, id, _pubkey, created_at, json = found
        if (created_at, event.id) > (event.created_at, bytes(id).hex()):
            raise Conflict("a newer version is kept", field="event")
        self._remove(tx, seq, json)

    def _remove(self, tx: Transaction, seq: int, json: bytes) -> None:
        event = msgspec.json.decode(json, type=Event)
        tx.many("tag_delete", self._tag_rows(event, seq))
        tx.all("event_delete", seq)

    def _delete(self, tx: Transaction, deletion: Event, pubkey: bytes) -> None:
        """NIP-09: remove the author's own targets and forbid their return."""
        for id in deletion.values("e"):
            if not is_hex(id, 64):
                continue
            found = tx.one("event_by_id", bytes.fromhex(id))
            if found is not None and (bytes(found[1]) != pubkey or found[3] == kinds.DELETION):
                continue
            tx.all("tombstone_insert", id, pubkey, FOREVER)
            if found is not None:
                self._remove(tx, found[0], found[4])
        for address in deletion.values("a"):
            parts = address.split(":", 2)
            if len(parts) != 3 or parts[1] != deletion.pubkey:
                continue
            tx.all("tombstone_insert", address, pubkey, deletion.created_at)
            found = tx.one("event_by_address", address)
            if found is not None and found[3] <= deletion.created_at:
                self._remove(tx, found[0], found[4])

    def _sweep(self, tx: Transaction, now_s: int) -> int:
        rows = tx.all("events_expired", now_s, SWEEP_MAX)
        for seq, json in rows:
            self._remove(tx, seq, json)
        return len(rows)

    def _tag_rows(self, event: Event, seq: int) -> list[tuple[int, int, int]]:
        # Sorted, so that the clustered tag table is written in order (12 % cheaper).
        return sorted(
            (tag_hash(self._key, name, value), event.created_at, seq)
            for name, value in indexed_tags(event.tags)
        )


def indexed_tags(tags: Tags) -> Iterable[tuple[str, str]]:
    """The (letter, first value) pairs a filter can ask for, each once."""
    return {
        (tag[0], tag[1])
        for tag in tags
        if len(tag) > 1 and len(tag[0]) == 1 and tag[0].isascii() and tag[0].isalpha()
    }


def address_of(event: Event) -> str | None:
    """`kind:pubkey:d` for kinds of which only the newest is kept, else None."""
    match kind_class(event.kind):
        case KindClass.REPLACEABLE:
            return f"{event.kind}:{event.pubkey}:"
        case KindClass.ADDRESSABLE:
            return f"{event.kind}:{event.pubkey}:{event.tag('d') or ''}"
        case _:
            return None


def expiration_of(tags: Tags) -> int | None:
    """NIP-40's time in Unix seconds, or None. Raises Invalid for one that is not a number."""
    for tag in tags:
        if len(tag) > 1 and tag[0] == "expiration":
            if not (tag[1].isascii() and tag[1].isdigit() and len(tag[1]) <= 15):
                raise Invalid.at("event.tags.expiration", "must be Unix seconds")
            return int(tag[1])
    return None


def decode_row(json: Any) -> Event:
    """A stored event's JSON as a value."""
    return msgspec.json.decode(json, type=Event)
