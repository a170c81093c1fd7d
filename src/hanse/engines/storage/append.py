"""What enters the log: duplicates, newest versions, deletions and requests to vanish (NIP-01, 09,
62). Operations over a transaction, so that a receipt can be appended in the same commit as the
money it speaks of.

Nearly all events go in together: a few statements for the whole run, its rows sorted as the indexes
want them. An engine may keep them aside for a while and put many runs into the tables at once
(`tail.py`). What they replace and delete leaves the tables only then: `leaving` says at once what
that is.
"""

import msgspec

from hanse.engines.storage.columns import (
    LETTERS,
    address_key,
    address_of,
    decode_row,
    searched_text,
)
from hanse.engines.storage.database import Row, Transaction
from hanse.engines.storage.handles import forget_handles
from hanse.engines.storage.overlay import Among
from hanse.engines.storage.removal import remove
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Run
from hanse.errors import Conflict, HanseError, Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event, expiration_of
from hanse.protocol.keys import is_hex
from hanse.registry.compatibility import refuse_breaking_event

FOREVER = 2**53 - 1

_ALONE = (kinds.BINDING - {kinds.DELETION}) | {kinds.OFFER}


Outcome = int | HanseError | None

Version = tuple[int, int, bytes]
"""The event that is kept of an address: its number, created_at, id."""


def append_all(tx: Transaction, events: list[Event], hash: TagHash) -> list[Outcome]:
    """Append in order. For each: its sequence number, None for a duplicate, or the rule that
    refuses it. A refusal comes before the first change, so no savepoint is needed for each."""
    if len(events) == 1:
        return _append_run(tx, events, hash, defers=not stands_alone(events[0]))
    outcomes: list[Outcome] = []
    run: list[Event] = []
    for event in events:
        if stands_alone(event) or event.kind == kinds.DELETION:
            outcomes += _append_run(tx, run, hash, defers=False)
            outcomes += _append_run(tx, [event], hash, defers=False)
            run = []
        else:
            run.append(event)
    return outcomes + _append_run(tx, run, hash, defers=not outcomes)


def append_aside(tx: Transaction, events: list[Event], hash: TagHash) -> list[Outcome]:
    """The same for events of which none stands alone, to be kept aside."""
    outcomes: list[Outcome] = []
    run: list[Event] = []
    for event in events:
        if event.kind == kinds.DELETION:  # what follows may be what it forbids
            outcomes += _append_run(tx, run, hash, defers=True)
            outcomes += _append_run(tx, [event], hash, defers=True)
            run = []
        else:
            run.append(event)
    return outcomes + _append_run(tx, run, hash, defers=True)


def stands_alone(event: Event) -> bool:
    """Whether what comes after it depends on it in the tables: in our own books or the registry."""
    return event.kind in _ALONE


def _append_run(
    tx: Transaction, events: list[Event], hash: TagHash, *, defers: bool
) -> list[Outcome]:
    """One that stands alone or deletes, or such as do not. `defers`: nothing needs to find these in
    the tables at once."""
    if not events:
        return []
    defers = defers and tx.defers
    if not defers:
        tx.settle()  # the numbers of what is kept aside come first
    addresses = [address_of(event) for event in events]
    versions = _versions(tx.among, addresses)
    outcomes = _judged(tx, events, addresses, versions.copy())
    fresh = [event for event, outcome in zip(events, outcomes, strict=True) if outcome == 0]
    if not fresh:
        return outcomes
    taken = tx.one("log_take", len(fresh))
    assert taken is not None
    first = int(taken[0]) - len(fresh) + 1
    run = prepared(fresh, first, hash)
    if defers:
        tx.defer(leaving(tx.among, run, versions))
    else:
        insert(tx, [run], hash)
    numbers = iter(range(first, first + len(fresh)))
    outcomes = [next(numbers) if outcome == 0 else outcome for outcome in outcomes]
    if len(fresh) == 1 and fresh[0].kind == kinds.VANISH:
        tx.all("vanish_insert", bytes.fromhex(fresh[0].pubkey), fresh[0].created_at)
        forget_handles(tx, fresh[0].pubkey, fresh[0].created_at)
    tx.appended.extend(enumerate(fresh, first))
    return outcomes


def _versions(among: Among, addresses: list[str | None]) -> dict[str, Version]:
    """What is kept at these addresses."""
    named = [address for address in addresses if address is not None]
    rows = among("versions", named) if named else ()
    return {address: (seq, created_at, bytes(id)) for seq, address, created_at, id in rows}


def _judged(
    tx: Transaction,
    events: list[Event],
    addresses: list[str | None],
    versions: dict[str, Version],
) -> list[Outcome]:
    """0 for what may enter, else the outcome. `versions`: see `_versions`; changed here."""
    ids = [bytes.fromhex(event.id) for event in events]
    # Of an address at most one event is kept: whether this one is known is seen from that.
    known = tx.known_among([id for id, at in zip(ids, addresses, strict=True) if at is None])
    forbidden: dict[tuple[str, bytes], int] = {}
    vanished: dict[bytes, int] = {}
    removed = tx.one("removals_any")
    if removed is not None and removed[0]:
        targets = [event.id for event in events]
        targets += [address for address in addresses if address is not None]
        for target, pubkey, until in tx.among("tombstones", targets):
            name = (target, bytes(pubkey))
            forbidden[name] = max(until, forbidden.get(name, until))
    if removed is not None and removed[1]:
        keys = {key for event in events for key in _owners(event)}
        vanished = {bytes(pubkey): until for pubkey, until in tx.among("vanished", keys)}
    outcomes: list[Outcome] = []
    for id, address, event in zip(ids, addresses, events, strict=True):
        here = versions.get(address) if address is not None else None
        if id in known or (here is not None and here[2] == id):
            outcomes.append(None)
            continue
        try:
            expiration_of(event.tags)  # one that cannot be read is this event's fault alone
            if forbidden or vanished:
                _refuse_removed(event, address, forbidden, vanished)
            if here is not None:
                _refuse_older(tx, event, here)
        except HanseError as exc:
            outcomes.append(exc)
        else:
            # The same event, or an older version, twice in one run.
            if address is None:
                known.add(id)
            else:
                versions[address] = (0, event.created_at, id)
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


def _refuse_older(tx: Transaction, event: Event, here: Version) -> None:
    """Refuse what is older than the version that is kept (lowest id wins within a second)."""
    _, created_at, id = here
    if (created_at, event.id) > (event.created_at, id.hex()):
        raise Conflict("a newer version is kept", field="event")
    if event.kind == kinds.OFFER:
        # Here, not at a door: only in this transaction is it sure which version is replaced.
        found = tx.one("event_by_id", id)
        assert found is not None  # an offer stands alone: what it replaces is in the tables
        refuse_breaking_event(decode_row(found[4]), event)


def prepared(events: list[Event], first: int, hash: TagHash) -> Run:
    """Numbered from `first` on, as the tables take them."""
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
                address_of(event),
                encode_event(event),
            )
        )
        seq += 1
    return Run(rows, tags, events)


def left_aside(among: Among, events: list[Event], first: int, hash: TagHash) -> Run:
    """The run that an earlier process kept aside under these numbers."""
    run = prepared(events, first, hash)
    return leaving(among, run, _versions(among, [row[6] for row in run.rows]))


def leaving(among: Among, run: Run, versions: dict[str, Version]) -> Run:
    """The run, saying what it replaces of these versions, and what its deletion takes and forbids
    if it has one: then that is its only event. Nothing is changed."""
    if run.events[0].kind == kinds.DELETION:
        rows, forbidden = _targets(among, run.events[0])
        gone = tuple(dict.fromkeys([seq for seq, _ in rows]))
        return msgspec.structs.replace(run, gone=gone, forbidden=tuple(forbidden))
    replaced: list[int] = []
    for row in run.rows:
        address = row[6]
        if address is not None:
            here = versions.get(address)
            if here is not None and here[0] < row[0]:  # or it is this one, which just moved
                replaced.append(here[0])
            versions[address] = (row[0], row[3], row[1])
    return msgspec.structs.replace(run, gone=tuple(replaced)) if replaced else run


def insert(tx: Transaction, runs: list[Run], hash: TagHash) -> None:
    """Put runs into the tables, in their order, and take out what they replace and delete."""
    rows = [row for run in runs for row in run.rows]
    newest = {row[6]: row[0] for row in rows if row[6] is not None}
    replaced: set[int] = set()
    if newest:
        older = tx.among("events_by_addresses", newest)
        remove(tx, [(seq, json) for seq, _, _, json in older], hash)
        replaced = {row[0] for row in rows if row[6] is not None and newest[row[6]] != row[0]}
    if replaced:
        rows = [row for row in rows if row[0] not in replaced]
    tags = [tag for run in runs for tag in run.tags if tag[2] not in replaced]
    texts = [
        (row[0], searched_text(event))
        for run in runs
        for row, event in zip(run.rows, run.events, strict=True)
        if event.content and event.kind in kinds.SEARCHED and row[0] not in replaced
    ]
    # A tag that stands twice in one event gives its row twice: the second is ignored.
    tx.enter(rows, tags, hash)
    if texts:
        tx.many("text_insert", texts)
    for run in runs:
        if run.events[0].kind == kinds.DELETION:
            _delete(tx, run.events[0], run.last, hash)


def _delete(tx: Transaction, deletion: Event, number: int, hash: TagHash) -> None:
    rows, forbidden = _targets(tx.among, deletion)
    tx.many("tombstone_insert", [(*row, number) for row in forbidden])
    # One of them may be named by both its id and its address.
    remove(tx, list(dict(rows).items()), hash)


def _targets(among: Among, deletion: Event) -> tuple[list[Row], list[Row]]:
    """NIP-09: (seq, json) of the author's own targets, and (target, pubkey, until) of what is
    forbidden so that they do not return. NIP-59 lets the recipient of a gift wrap delete it."""
    pubkey = bytes.fromhex(deletion.pubkey)
    forbidden: list[Row] = []
    gone: list[Row] = []
    ids = {bytes.fromhex(id): None for id in deletion.values("e") if is_hex(id, 64)}
    found = {bytes(row[1]): row for row in among("events_by_ids", ids)}
    for id in ids:
        row = found.get(id)
        if row is None:
            forbidden.append((id.hex(), pubkey, FOREVER))
            continue
        seq, _, author, _, kind, json = row
        if kind == kinds.DELETION or kind in kinds.LASTING:
            continue
        if bytes(author) != pubkey and not _is_wrapped_for(deletion.pubkey, kind, json):
            continue
        forbidden.append((id.hex(), bytes(author), FOREVER))
        gone.append((seq, json))
    addresses = {address_key(text): None for text in deletion.values("a") if _is_of(text, deletion)}
    forbidden += [(address, pubkey, deletion.created_at) for address in addresses]
    for seq, _, created_at, json in among("events_by_addresses", addresses):
        if created_at <= deletion.created_at:
            gone.append((seq, json))
    return gone, forbidden


def _is_of(address: str, deletion: Event) -> bool:
    parts = address.split(":", 2)
    return len(parts) == 3 and parts[1] == deletion.pubkey


def _is_wrapped_for(pubkey: str, kind: int, json: bytes) -> bool:
    return kind == kinds.GIFT_WRAP and pubkey in decode_row(json).values("p")
