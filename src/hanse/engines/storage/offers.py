"""The offers' view: follows the log, keeps each live offer. `indexing.py` makes it searchable.

It may be thrown away: `rebuild` reads the log again from the start. `advance` applies what the log
got since; it is called after commits and at start, never by what reads a socket.
"""

import contextlib
from collections.abc import Sequence

import msgspec

from hanse.engines.storage.columns import address_of, decode_row
from hanse.engines.storage.database import Database, Transaction
from hanse.errors import Invalid
from hanse.ports import SOON_S
from hanse.protocol import kinds
from hanse.protocol.event import Event, expiration_of
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Offer
from hanse.registry.offer_event import read_offer

VIEW = "offers"

RULES = 2
"""How an event becomes an offer here. One more whenever `read_offer` finds more in an event than
before: what was kept by older rules is then read anew when a node starts."""
RULES_VIEW, ANEW_VIEW = "offers-rules", "offers-anew"
"""Rows that say by which rules all is kept, and how far those on the way to them came."""

STEP = 500
"""Events applied in one commit."""

_KINDS = frozenset({kinds.OFFER, kinds.DELETION, kinds.VANISH})

_decode = msgspec.json.Decoder(Offer).decode


class StoredOffers:
    """Implements `registry.store.OfferStore`, and keeps the view up to date."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ------------------------------------------------------------------------------

    async def offer(self, address: str, now_s: int) -> Offer | None:
        """See `registry.store.OfferStore`."""
        found = await self._database.one("offer_get", address, now_s)
        return _decode(found[0]) if found else None

    async def named(self, name: str, now_s: int) -> list[Offer]:
        """See `registry.store.OfferStore`."""
        rows = await self._database.all("offers_named", name, now_s)
        return [_decode(row[0]) for row in rows]

    async def count(self, now_s: int) -> int:
        """See `registry.store.OfferStore`."""
        found = await self._database.one("offer_count", now_s)
        return int(found[0]) if found else 0

    async def by_seq(self, seqs: Sequence[int], now_s: int) -> dict[int, Offer]:
        """See `registry.store.OfferStore`."""
        rows = await self._database.read(lambda tx: tx.among("offers_by_seq", list(seqs)))
        return {
            seq: _decode(document)
            for seq, expires, document in rows
            if expires is None or expires > now_s
        }

    async def at(self, addresses: Sequence[str]) -> list[tuple[str, int, int | None, Offer]]:
        """What is kept at these addresses: address, number, expiry, offer."""
        rows = await self._database.read(lambda tx: tx.among("offers_at", list(addresses)))
        return [(row[0], row[1], row[2], _decode(row[3])) for row in rows]

    async def after(self, seq: int, most: int) -> list[tuple[int, int | None, Offer]]:
        """The next offers in the order of the log: number, expiry, offer."""
        rows = await self._database.all("offers_after", seq, most)
        return [(row[0], row[1], _decode(row[2])) for row in rows]

    async def addresses_of(self, author: PublicKey) -> list[str]:
        """Where an author's offers are kept."""
        start = f"{kinds.OFFER}:{author}"
        rows = await self._database.all("offers_of", f"{start}:", f"{start};")
        return [address for (address,) in rows]

    # --- following the log --------------------------------------------------------------------

    def due_s(self, event: Event) -> float | None:
        """See `views.View`. Of deletions most are of something else: who waits for one that is of
        an offer knows that (`Indexing.due_s`)."""
        if event.kind == kinds.OFFER:
            return 0.0
        return SOON_S if event.kind in _KINDS else None

    async def advance(self) -> None:
        """Apply all that the log holds beyond this view."""
        while await self._database.write(self._step):
            pass

    async def open(self) -> None:
        """Bring the view up to date, and what it keeps to this version's rules. Call once, before
        anything is read: an update of the software may take some seconds here."""
        while await self._database.write(_read_anew):
            pass
        await self.advance()

    async def rebuild(self) -> None:
        """Throw the view away and build it again from the log."""
        await self._database.write(self._clear)
        await self.advance()

    async def prune(self) -> list[str]:
        """Forget offers that left the log without an event that says so: erased by the operator.
        Their addresses."""
        return await self._database.write(_prune)

    def _clear(self, tx: Transaction) -> None:
        for (address,) in tx.all("offer_addresses"):
            _forget(tx, address)
        tx.all("view_set", VIEW, 0)
        tx.all("view_set", RULES_VIEW, RULES)

    def _step(self, tx: Transaction) -> bool:
        seq = _at(tx, VIEW)
        rows, reached, more = tx.after(seq, _KINDS, STEP)
        for seq, event in rows:
            if event.kind == kinds.OFFER:
                _index(tx, seq, event)
            elif event.kind == kinds.DELETION:
                # An offer deleted by id leaves no address in the deletion, and whoever deletes it
                # by address is its author: ask each of the author's.
                for address in _offers_of(tx, event.pubkey):
                    tx.settle()
                    _drop_if_gone(tx, address)
            elif event.kind == kinds.VANISH:
                for address in _offers_of(tx, event.pubkey):
                    _drop_if_gone(tx, address, vanished_s=event.created_at)
        tx.all("view_set", VIEW, reached)
        return more


def _at(tx: Transaction, view: str) -> int:
    found = tx.one("view_seq", view)
    return int(found[0]) if found else 0


def _read_anew(tx: Transaction) -> bool:
    """Some offers more by this version's rules; whether others are left."""
    if _at(tx, RULES_VIEW) == RULES:
        return False
    rows = tx.all("offers_made", _at(tx, ANEW_VIEW), STEP)
    for seq, json in rows:
        _index(tx, seq, decode_row(json))
    if len(rows) == STEP:
        tx.all("view_set", ANEW_VIEW, rows[-1][0])
        return True
    tx.all("view_set", ANEW_VIEW, 0)
    tx.all("view_set", RULES_VIEW, RULES)
    return False


def _index(tx: Transaction, seq: int, event: Event) -> None:
    address = address_of(event)
    assert address is not None
    _forget(tx, address)
    # The door checks offers before they are kept; one kept by older rules is left out, not fatal.
    with contextlib.suppress(Invalid):
        offer = read_offer(event)
        tx.all(
            "offer_upsert",
            address,
            seq,
            offer.identifier,
            offer.name,
            offer.created_at,
            expiration_of(event.tags),
            msgspec.json.encode(offer),
        )


def _forget(tx: Transaction, address: str) -> None:
    tx.all("offer_delete", address)


def _prune(tx: Transaction) -> list[str]:
    gone = [address for (address,) in tx.all("offers_gone")]
    for address in gone:
        _forget(tx, address)
    return gone


def _offers_of(tx: Transaction, pubkey: str) -> list[str]:
    start = f"{kinds.OFFER}:{pubkey}"
    return [address for (address,) in tx.all("offers_of", f"{start}:", f"{start};")]


def _drop_if_gone(tx: Transaction, address: str, vanished_s: int = -1) -> None:
    """Who vanished takes a while to go: what is still kept up to that time counts as gone."""
    found = tx.one("event_by_address", address)
    if found is None or found[3] <= vanished_s:
        _forget(tx, address)
