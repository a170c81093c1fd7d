"""What enters the log: duplicates, newest versions, deletions and requests to vanish (NIP-01, 09,
62). Operations over a transaction, so that a receipt can be appended in the same commit as the
money it speaks of.

Events that replace and remove nothing, nearly all of them, go in together: a few statements for the
whole run, its rows sorted as the indexes want them. An engine may keep them aside for a while and
put many runs into the tables at once (`tail.py`).
"""

from hanse.engines.storage.columns import (
    LETTERS,
    address_key,
    address_of,
    decode_row,
    expiration_of,
    searched_text,
)
from hanse.engines.storage.database import Row, Transaction
from hanse.engines.storage.filter_sql import TagHash
from hanse.engines.storage.removal import remove
from hanse.engines.storage.tail import Run
from hanse.errors import Conflict, HanseError, Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event
from hanse.protocol.keys import is_hex
from hanse.protocol.kinds import KindClass, kind_class
from hanse.registry.compatibility import refuse_breaking_event

FOREVER = 2**53 - 1


Outcome = int | HanseError | None


def append_all(tx: Transaction, events: list[Event], hash: TagHash) -> list[Outcome]:
    """Append in order. For each: its sequence number, None for a duplicate, or the rule that
    refuses it. A refusal comes before the first change, so no savepoint is needed for each."""
    if len(events) == 1:
        return _append_run(tx, events, hash, defers=not stands_alone(events[0]))
    outcomes: list[Outcome] = []
    run: list[Event] = []
    for event in events:
        if stands_alone(event):
            outcomes += _append_run(tx, run, hash, defers=False)
            outcomes += _append_run(tx, [event], hash, defers=False)
            run = []
        else:
            run.append(event)
    return outcomes + _append_run(tx, run, hash, defers=not outcomes)


def append_plain(tx: Transaction, events: list[Event], hash: TagHash) -> list[Outcome]:
    """The same for events of which none stands alone."""
    return _append_run(tx, events, hash, defers=True)


def stands_alone(event: Event) -> bool:
    """Whether what comes after it depends on it, in the log or in our own books."""
    kind = event.kind
    return kind in kinds.BINDING or kind_class(kind) is not KindClass.REGULAR


def _append_run(
    tx: Transaction, events: list[Event], hash: TagHash, *, defers: bool
) -> list[Outcome]:
    """One that stands alone, or such as do not. `defers`: nothing needs to find these in the tables
    at once."""
    if not events:
        return []
    defers = defers and tx.defers
    if not defers:
        tx.settle()  # the numbers of what is kept aside come first
    # Of a kind that has one, an event stands alone.
    address = address_of(events[0]) if len(events) == 1 else None
    outcomes = _judged(tx, events, address, hash)
    fresh = [event for event, outcome in zip(events, outcomes, strict=True) if outcome == 0]
    if not fresh:
        return outcomes
    taken = tx.one("log_take", len(fresh))
    assert taken is not None
    first = int(taken[0]) - len(fresh) + 1
    run = prepared(fresh, first, hash, address)
    if defers:
        tx.defer(run)
    else:
        insert(tx, [run])
    numbers = iter(range(first, first + len(fresh)))
    outcomes = [next(numbers) if outcome == 0 else outcome for outcome in outcomes]
    if len(fresh) == 1:
        _act(tx, fresh[0], first, hash)
    tx.appended.extend(enumerate(fresh, first))
    return outcomes


def _judged(
    tx: Transaction, events: list[Event], address: str | None, hash: TagHash
) -> list[Outcome]:
    """0 for what may enter, else the outcome. Makes way for newer versions."""
    ids = [bytes.fromhex(event.id) for event in events]
    known = tx.known_among(ids)
    forbidden: dict[tuple[str, bytes], int] = {}
    vanished: dict[bytes, int] = {}
    removed = tx.one("removals_any")
    if removed is not None and removed[0]:
        targets = [event.id for event in events]
        if address is not None:
            targets.append(address)
        rows = tx.among("tombstones", targets)
        forbidden = {(target, bytes(pubkey)): until for target, pubkey, until in rows}
    if removed is not None and removed[1]:
        keys = {key for event in events for key in _owners(event)}
        vanished = {bytes(pubkey): until for pubkey, until in tx.among("vanished", keys)}
    outcomes: list[Outcome] = []
    for id, event in zip(ids, events, strict=True):
        if id in known:
            outcomes.append(None)
            continue
        try:
            expiration_of(event.tags)  # one that cannot be read is this event's fault alone
            if forbidden or vanished:
                _refuse_removed(event, address, forbidden, vanished)
            if address is not None:
                _make_way(tx, event, address, hash)
        except HanseError as exc:
            outcomes.append(exc)
        else:
            known.add(id)  # the same event twice in one run
            outcomes.append(0)
    return outcomes


def _refuse_removed(
    event: Event,
    address: str | None,
    forbidden: dict[tuple[str, bytes], int],
    vanished: dict[bytes, int],
) -> None:
    kind, at = event.kind, event.created_at
    if kind in kinds.LASTING:
        return  # NIP-62: nothing undoes a request to vanish, nor a deletion of it
    for key in _owners(event):
        if at <= vanished.get(key, -1):
            raise Restricted("its author, or who it is for, asked to vanish", field="event")
        if kind == kinds.DELETION:
            continue  # NIP-09: a deletion cannot be deleted, in either order
        for target in (event.id, address):
            if target is not None and at <= forbidden.get((target, key), -1):
                raise Restricted("its author, or who it is for, deleted it", field="event")


def _owners(event: Event) -> list[bytes]:
    """Whose deletion or vanishing takes the event: its author, and who a gift wrap is for
    (NIP-59)."""
    owners = [bytes.fromhex(event.pubkey)]
    if event.kind == kinds.GIFT_WRAP:
        owners += [bytes.fromhex(key) for key in event.values("p") if is_hex(key, 64)]
    return owners


def _make_way(tx: Transaction, event: Event, address: str, hash: TagHash) -> None:
    """Remove the version this one replaces, or refuse if that one is newer (lowest id wins within a
    second)."""
    found = tx.one("event_by_address", address)
    if found is None:
        return
    seq, id, _pubkey, created_at, json = found
    if (created_at, event.id) > (event.created_at, bytes(id).hex()):
        raise Conflict("a newer version is kept", field="event")
    if event.kind == kinds.OFFER:
        # Here, not at a door: only in this transaction is it sure which version is replaced.
        refuse_breaking_event(decode_row(json), event)
    remove(tx, [(seq, json)], hash)


def prepared(events: list[Event], first: int, hash: TagHash, address: str | None = None) -> Run:
    """Numbered from `first` on, as the tables take them. `address` is that of a single event."""
    rows: list[Row] = []
    tags: list[Row] = []
    seq = first
    for event in events:
        created_at, kind, expires = event.created_at, event.kind, None
        for tag in event.tags:
            if len(tag) > 1:
                name = tag[0]
                if name in LETTERS:
                    tags.append((hash(name, tag[1]), created_at, seq, kind))
                elif name == "expiration" and expires is None:
                    expires = expiration_of((tag,))
        rows.append(
            (
                seq,
                bytes.fromhex(event.id),
                bytes.fromhex(event.pubkey),
                created_at,
                kind,
                expires,
                address,
                encode_event(event),
            )
        )
        seq += 1
    return Run(rows, tags, events)


def insert(tx: Transaction, runs: list[Run]) -> None:
    """Put runs into the tables, in their order."""
    tags = [tag for run in runs for tag in run.tags]
    texts = [
        (row[0], searched_text(event))
        for run in runs
        for row, event in zip(run.rows, run.events, strict=True)
        if event.content and event.kind in kinds.SEARCHED
    ]
    # A tag that stands twice in one event gives its row twice: the second is ignored.
    tags.sort()  # the clustered table is written in its order: 12 % cheaper
    tx.enter([row for run in runs for row in run.rows])
    if tags:
        tx.many("tag_insert", tags)
    if texts:
        tx.many("text_insert", texts)


def _act(tx: Transaction, event: Event, seq: int, hash: TagHash) -> None:
    """What an event does to others."""
    if event.kind == kinds.DELETION:
        _delete(tx, event, seq, hash)
    elif event.kind == kinds.VANISH:
        tx.all("vanish_insert", bytes.fromhex(event.pubkey), event.created_at)


def _delete(tx: Transaction, deletion: Event, number: int, hash: TagHash) -> None:
    """NIP-09: remove the author's own targets and forbid their return. NIP-59 lets the recipient
    of a gift wrap delete it."""
    pubkey = bytes.fromhex(deletion.pubkey)
    forbidden: list[Row] = []
    gone: list[Row] = []
    ids = {bytes.fromhex(id): None for id in deletion.values("e") if is_hex(id, 64)}
    found = {bytes(row[1]): row for row in tx.among("events_by_ids", ids)}
    for id in ids:
        row = found.get(id)
        if row is None:
            forbidden.append((id.hex(), pubkey, FOREVER, number))
            continue
        seq, _, author, _, kind, json = row
        if kind == kinds.DELETION or kind in kinds.LASTING:
            continue
        if bytes(author) != pubkey and not _is_wrapped_for(deletion.pubkey, kind, json):
            continue
        forbidden.append((id.hex(), bytes(author), FOREVER, number))
        gone.append((seq, json))
    addresses = {address_key(text): None for text in deletion.values("a") if _is_of(text, deletion)}
    forbidden += [(address, pubkey, deletion.created_at, number) for address in addresses]
    for seq, created_at, json in tx.among("events_by_addresses", addresses):
        if created_at <= deletion.created_at:
            gone.append((seq, json))
    tx.many("tombstone_insert", forbidden)
    # One of them may be named by both its id and its address.
    remove(tx, list(dict(gone).items()), hash)


def _is_of(address: str, deletion: Event) -> bool:
    parts = address.split(":", 2)
    return len(parts) == 3 and parts[1] == deletion.pubkey


def _is_wrapped_for(pubkey: str, kind: int, json: bytes) -> bool:
    return kind == kinds.GIFT_WRAP and pubkey in decode_row(json).values("p")
