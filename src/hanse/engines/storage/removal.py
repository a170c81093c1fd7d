"""What leaves the log: expired, old, erased and vanished events. Operations over a transaction.

Whatever the settings say, an age, a bound or an expiry never takes the receipts of our calls, what
these name by `e` or `a`, or the offer of an open call. Readers are shown none of it that expired.

Each step takes at most STEP events and says whether there may be more, so that a long removal goes
in many short commits.
"""

import enum

from hanse.engines.storage.columns import decode_row, indexed_tags
from hanse.engines.storage.database import Row, Transaction
from hanse.engines.storage.tag_hash import TagHash
from hanse.protocol import kinds
from hanse.protocol.event import Event

STEP = 500

_STAYING = (kinds.VANISH, kinds.KEY_STATEMENT)
_NO_KINDS = (-1, -1)

Place = tuple[int, int]
"""Where a walk over the events has come to: created_at, or when they expire, and seq."""

START: Place = (-1, 0)

KEPT = frozenset({kinds.RECEIPT, kinds.OFFER, kinds.DELETION}) | kinds.LASTING
"""Kinds that no age takes, and a bound only when nothing else is left: receipts, the offers they
speak of, what forbids a return, and where identities went. What a deletion or a request to vanish
forbids is remembered apart from it, and stays forbidden without it, within a bound."""


class Reach(enum.IntEnum):
    """What a bound may take, the least missed first."""

    REGULAR = 0
    REPLACEABLE = 1
    """Also kinds of which one version is kept: they say how things are now, however old."""
    KEPT = 2
    """Also `KEPT`, which anybody can publish."""


def remove(tx: Transaction, rows: list[Row], hash: TagHash) -> None:
    """Remove events, given as (seq, json), with all that finds them."""
    gone: list[tuple[int, Event]] = []
    tags: list[Row] = []
    texts: list[Row] = []
    deletions: list[Row] = []
    requests: list[Row] = []
    for seq, json in rows:
        event = decode_row(json)
        gone.append((seq, event))
        tags += [
            (hash(name, value), event.created_at, seq) for name, value in indexed_tags(event.tags)
        ]
        if event.kind in kinds.SEARCHED and event.content:
            texts.append((seq,))
        if event.kind == kinds.DELETION:
            deletions.append((seq,))
        elif event.kind == kinds.VANISH:
            requests.append((bytes.fromhex(event.pubkey), event.created_at))
    tx.many("tombstone_alone", deletions)
    tx.many("vanished_alone", requests)
    tx.many("text_delete", texts)
    tx.leave(gone, tags, hash)


def remove_expired(
    tx: Transaction, now_s: int, place: Place, *, hash: TagHash
) -> tuple[int, Place | None]:
    """One step of NIP-40: how many went, and where to go on."""
    rows = tx.all("events_expired", now_s, *place, STEP)
    return _take(tx, rows, hash), _next(rows)


def remove_old(
    tx: Transaction, kind: int, before_s: int, place: Place, *, hash: TagHash
) -> tuple[int, Place | None]:
    """One step of retention: how many went, and where to go on."""
    if kind in KEPT:
        return 0, None
    rows = tx.all("events_old", kind, before_s, *place, STEP)
    return _take(tx, rows, hash), _next(rows)


def remove_oldest(
    tx: Transaction, most: int, reach: Reach, place: Place, *, hash: TagHash
) -> tuple[int, Place | None]:
    """One step of keeping the log within its bound: takes at most `most`, within `reach`."""
    rows = tx.all("events_oldest", *place, STEP)
    wanted = [row for row in rows if _reach_of(row[3], row[4]) <= reach]
    return _take(tx, wanted, hash, most), _next(rows)


def _reach_of(kind: int, address: str | None) -> Reach:
    if kind in KEPT:
        return Reach.KEPT
    return Reach.REGULAR if address is None else Reach.REPLACEABLE


def erase_author(tx: Transaction, pubkey: bytes, *, hash: TagHash) -> tuple[int, bool]:
    """One step of removing all that an author wrote."""
    author = tx.author(pubkey, hash)
    return _removed(tx, tx.all("events_of_author", author, 2**53 - 1, *_NO_KINDS, STEP), hash)


def erase_ids(tx: Transaction, ids: list[str], hash: TagHash) -> int:
    """Remove events by id; how many there were."""
    found = [tx.one("event_by_id", bytes.fromhex(id)) for id in dict.fromkeys(ids)]
    rows = [(row[0], row[4]) for row in found if row is not None]
    remove(tx, rows, hash)
    return len(rows)


def vanish_step(tx: Transaction, *, hash: TagHash) -> tuple[int, bool]:
    """One step of NIP-62: the events of authors who asked to vanish, deletions with them, and gift
    wraps addressed to them. Their requests stay, to say so, and their key statements."""
    gone = 0
    for pubkey, until in tx.all("vanishing"):
        rows = tx.all("events_of_author", tx.author(pubkey, hash), until, *_STAYING, STEP)
        tag = hash("p", bytes(pubkey).hex())
        wraps = tx.all("events_tagged", tag, until, kinds.GIFT_WRAP, STEP)
        remove(tx, rows + [row for row in wraps if row not in rows], hash)
        gone += len(rows) + len(wraps)
        if not rows and not wraps:
            tx.all("vanish_done", pubkey)
        if gone >= STEP:
            break  # many ask at once: each step stays short
    return gone, bool(tx.all("vanishing"))


def _take(tx: Transaction, rows: list[Row], hash: TagHash, most: int = STEP) -> int:
    """Remove of (seq, id, when, kind, address) those that nothing of ours refers to."""
    names: dict[int, int] = {}
    receipts: dict[bytes, int] = {}
    offers: dict[str, int] = {}
    for seq, id, _, kind, address in rows:
        names[hash("e", bytes(id).hex())] = seq
        if address is not None:
            names[hash("a", address)] = seq
        if kind == kinds.RECEIPT:
            receipts[bytes(id)] = seq
        elif kind == kinds.OFFER and address is not None:
            offers[address] = seq
    held = {names[row[0]] for row in tx.among("receipts_naming", names)}
    held |= {receipts[bytes(row[0])] for row in tx.among("receipts_booked", receipts)}
    held |= {offers[row[0]] for row in tx.among("offers_called", offers)}
    free = [row[0] for row in rows if row[0] not in held][:most]
    remove(tx, tx.among("events_at", free), hash)
    return len(free)


def _next(rows: list[Row]) -> Place | None:
    return (rows[-1][2], rows[-1][0]) if len(rows) == STEP else None


def _removed(tx: Transaction, rows: list[Row], hash: TagHash) -> tuple[int, bool]:
    remove(tx, rows, hash)
    return len(rows), len(rows) == STEP
