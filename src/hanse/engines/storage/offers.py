"""The offers' view: follows the log, keeps each live offer and the words of its capabilities.

It may be thrown away: `rebuild` reads the log again from the start. `advance` applies what the log
got since; it is called after commits and at start, never by what reads a socket.
"""

import contextlib
from collections import Counter

import msgspec

from hanse.engines.storage.columns import address_key, address_of, decode_row, expiration_of
from hanse.engines.storage.database import Database, Transaction
from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.words import shared_words, words_of
from hanse.registry.model import Match, Offer
from hanse.registry.offer_event import read_offer

VIEW = "offers"
LOOKED_AT = 2000
SHARE_MAX = 20
"""Matches of one provider in a search: no key can fill it with its own."""

STEP = 500
"""Events applied in one commit."""

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

    async def search(self, words: list[str], limit: int, now_s: int) -> list[Match]:
        """See `registry.store.OfferStore`. Relevance is half the text score (against the best hit)
        and half the share of the words that match."""
        if not words:
            return await self._newest(limit, now_s)
        asked = " OR ".join(f'"{word}"' for word in words)  # words hold letters and digits only
        rows = await self._database.all("capability_search", asked, now_s, LOOKED_AT)
        best = max((row[2] for row in rows), default=0.0)
        found: list[Match] = []
        offers: dict[str, Offer | None] = {}
        shares: Counter[str] = Counter()
        for name, address, score in rows:
            provider = address.split(":")[1]
            if shares[provider] >= SHARE_MAX or len(found) >= limit:
                continue
            shares[provider] += 1
            if address not in offers:
                offers[address] = await self.offer(address, now_s)
            offer = offers[address]
            if offer is None:
                continue
            shared = shared_words(words, " ".join(_texts(offer, name)))
            text = score / best if best > 0 else 0.0
            relevance = 0.5 * text + 0.5 * len(shared) / len(words)
            found.append(Match(offer, name, relevance, shared))
        return found

    async def _newest(self, limit: int, now_s: int) -> list[Match]:
        rows = await self._database.all("offers_newest", now_s, limit)
        offers = [_decode(row[0]) for row in rows]
        return [
            Match(offer, found.name, 1.0, ()) for offer in offers for found in offer.capabilities
        ][:limit]

    # --- following the log --------------------------------------------------------------------

    def cares_for(self, event: Event) -> bool:
        """Whether an appended event can change this view."""
        return event.kind in (kinds.OFFER, kinds.DELETION, kinds.VANISH)

    async def advance(self) -> None:
        """Apply all that the log holds beyond this view."""
        while await self._database.write(self._step):
            pass

    async def rebuild(self) -> None:
        """Throw the view away and build it again from the log."""
        await self._database.write(self._clear)
        await self.advance()

    async def prune(self) -> int:
        """Forget offers that left the log without an event that says so: erased by the operator.
        How many."""
        return await self._database.write(_prune)

    def _clear(self, tx: Transaction) -> None:
        for (address,) in tx.all("offer_addresses"):
            _forget(tx, address)
        tx.all("view_set", VIEW, 0)

    def _step(self, tx: Transaction) -> bool:
        found = tx.one("view_seq", VIEW)
        seq = int(found[0]) if found else 0
        rows = tx.all("events_after", seq, STEP)
        for seq, json in rows:
            event = decode_row(json)
            if event.kind == kinds.OFFER:
                _index(tx, seq, event)
            elif event.kind == kinds.DELETION:
                for address in event.values("a"):
                    _drop_if_gone(tx, address_key(address))
                # An offer deleted by id leaves no address in the deletion: ask each of the
                # author's.
                for address in _offers_of(tx, event.pubkey):
                    _drop_if_gone(tx, address)
            elif event.kind == kinds.VANISH:
                for address in _offers_of(tx, event.pubkey):
                    _drop_if_gone(tx, address, vanished_s=event.created_at)
        if rows:
            tx.all("view_set", VIEW, seq)
        return len(rows) == STEP


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
        for found in offer.capabilities:
            row = tx.one("capability_insert", address, found.name)
            assert row is not None
            tx.all("capability_text_insert", row[0], *_texts(offer, found.name))


def _forget(tx: Transaction, address: str) -> None:
    for (id,) in tx.all("capabilities_of", address):
        tx.all("capability_text_delete", id)
        tx.all("capability_delete", id)
    tx.all("offer_delete", address)


def _prune(tx: Transaction) -> int:
    gone = tx.all("offers_gone")
    for (address,) in gone:
        _forget(tx, address)
    return len(gone)


def _offers_of(tx: Transaction, pubkey: str) -> list[str]:
    start = f"{kinds.OFFER}:{pubkey}"
    return [address for (address,) in tx.all("offers_of", f"{start}:", f"{start};")]


def _drop_if_gone(tx: Transaction, address: str, vanished_s: int = -1) -> None:
    """Who vanished takes a while to go: what is still kept up to that time counts as gone."""
    found = tx.one("event_by_address", address)
    if found is None or found[3] <= vanished_s:
        _forget(tx, address)


def _texts(offer: Offer, name: str) -> tuple[str, str, str, str]:
    """What is searched of a capability: its name, description, the offer's words, its inputs."""
    found = offer.capability(name)
    assert found is not None
    properties = found.input_schema.get("properties", {})
    inputs = " ".join(properties) if isinstance(properties, dict) else ""
    topics = " ".join(offer.topics)
    return (
        " ".join(words_of(name)),
        " ".join(words_of(found.description)),
        " ".join(words_of(f"{offer.name} {offer.summary} {topics}")),
        " ".join(words_of(inputs)),
    )
