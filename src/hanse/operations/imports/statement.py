"""What an import puts into the log: this operator's statements about services of others.

A statement is an offer's event (kind 31402) signed by the importing operator, never by a key that
would pass for the provider's. It says where it is from (`imported`), what of it was checked
(`verified`), and promises nothing. It is protected (NIP-70), so that it stays with this operator,
unless it is to be shared.

| tag | what |
|---|---|
| d | `imported:` and 32 hex digits of the source's and the listing's names: the same for good |
| imported | source, type there, the service's own name there |
| verified | how, and by what: a signature or the domain; absent if nothing was checked |
| r | the source, so that a source's statements can be asked for |
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from hanse.engines.storage.files import Report
from hanse.errors import HanseError
from hanse.operations.imports.listing import Listing, Reading
from hanse.operations.imports.sources import RELAY_PAGE, Source, listings_of, pages
from hanse.operations.intake import Outcome
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.model import NOTHING_PROMISED, Offer
from hanse.registry.offer_event import (
    FORMAT_VERSION,
    IMPORTED,
    VERIFIED,
    call_prices,
    offer_content,
    promise_tags,
    read_offer,
)

STATEMENTS_MAX = 100_000
A_SECOND = 200
"""Statements of one second: a relay gives a second's events in one page or not at all."""

BATCH = 100
PREFIX = "imported:"


class Plan(msgspec.Struct, kw_only=True):
    """What an import would change: events to keep, addresses to delete."""

    new: list[Event] = []
    changed: list[Event] = []
    unchanged: int = 0
    gone: list[str] = []
    refused: list[tuple[str, str]] = []


class Done(msgspec.Struct, kw_only=True):
    """What an import changed."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    dropped: int = 0
    refused: list[tuple[str, str]] = []


class Logbook(Protocol):
    """The log that statements go to."""

    async def fetch(self, filter: Filter, most: int) -> list[Event]:
        """Stored events, `most` at most."""

    async def append(self, events: list[Event]) -> list[Outcome]:
        """Keep them. For each: its number, None for a duplicate, or what refused it."""


def identifier(source: Source, listing: Listing) -> str:
    """The `d` tag of a listing's statement."""
    named = "\n".join((source.url, listing.type, listing.native_id))
    return PREFIX + hashlib.sha256(named.encode()).hexdigest()[:32]


def statement(
    source: Source, listing: Listing, operator: SecretKey, created_at: int, *, shared: bool
) -> Event:
    """The event of a listing. Raises Invalid, TooLarge for what no door would take."""
    offer = Offer(
        provider=operator.public,
        operator=operator.public,
        identifier=identifier(source, listing),
        name=listing.name,
        summary=listing.summary,
        capabilities=listing.capabilities,
        promise=NOTHING_PROMISED,
        topics=listing.topics,
        version=listing.version or "0.0.0",
    )
    tags: Tags = (
        ("d", offer.identifier),
        ("name", offer.name),
        ("summary", offer.summary),
        ("about", offer.summary),
        *(("url", url) for url in listing.urls or (source.url,)),
        *(("pmi", method) for method in listing.payment_methods or ("unknown",)),
        *call_prices(offer),
        *promise_tags(offer.promise),
        *((("terms", listing.terms),) if listing.terms else ()),
        (IMPORTED, source.url, listing.type, listing.native_id),
        *(((VERIFIED, *listing.verified.split(" ")),) if listing.verified else ()),
        ("r", source.url),
        *(("t", topic) for topic in offer.topics),
        ("alt", f"Imported: {offer.name}"),
        ("v", FORMAT_VERSION),
        *(() if shared else (("-",),)),
    )
    event = sign_event(
        operator,
        kind=kinds.OFFER,
        created_at=created_at,
        content=offer_content(offer),
        tags=tags,
    )
    read_offer(event)  # what our own door would refuse is refused here, with its reason
    return event


async def planned(
    source: Source,
    reading: Reading,
    logbook: Logbook,
    operator: SecretKey,
    now_s: int,
    report: Report,
    *,
    shared: bool,
) -> Plan:
    """What would change. Only statements about this very source are ever dropped, and only if the
    whole of it was read."""
    known = await _known(source, logbook, operator.public, report)
    plan = Plan(refused=list(reading.refused))
    listings = listings_of(reading)
    oldest_s = now_s - len(listings) // A_SECOND
    kept: set[str] = set()
    for number, listing in enumerate(listings):
        before = known.get(identifier(source, listing))
        kept.add(identifier(source, listing))
        try:
            event = statement(
                source,
                listing,
                operator,
                max(oldest_s + number // A_SECOND, before.created_at + 1 if before else 0),
                shared=shared,
            )
        except HanseError as exc:
            plan.refused.append((listing.native_id[:200], exc.text))
            continue
        if before is None:
            plan.new.append(event)
        elif (before.tags, before.content) == (event.tags, event.content):
            plan.unchanged += 1
        else:
            plan.changed.append(event)
    if reading.whole:
        plan.gone = [
            f"{kinds.OFFER}:{operator.public}:{name}" for name in known if name not in kept
        ]
    return plan


async def _known(
    source: Source, logbook: Logbook, operator: PublicKey, report: Report
) -> dict[str, Event]:
    """The statements about a source that the log has, by `d`."""
    wanted = Filter(
        kinds=frozenset({kinds.OFFER}),
        authors=frozenset({operator}),
        tags=(("r", frozenset({source.url})),),
        limit=RELAY_PAGE,
    )

    async def ask(filter: Filter) -> list[Event]:
        return await logbook.fetch(filter, RELAY_PAGE)

    found, _ = await pages(ask, wanted, STATEMENTS_MAX, report)
    return {
        name: event
        for event in found
        if (name := event.tag("d") or "").startswith(PREFIX) and event.tag(IMPORTED) == source.url
    }


async def carried_out(
    plan: Plan, logbook: Logbook, operator: SecretKey, now_s: int, report: Report
) -> Done:
    """Keep what is new or changed, delete what is gone."""
    done = Done(unchanged=plan.unchanged, refused=plan.refused)
    whole = len(plan.new) + len(plan.changed) + len(plan.gone)
    for events, name in ((plan.new, "new"), (plan.changed, "changed")):
        kept = await _kept(events, logbook.append, done, lambda n: report("keeping", n, whole))
        setattr(done, name, kept)
    for start in range(0, len(plan.gone), BATCH):
        part = plan.gone[start : start + BATCH]
        deletion = sign_event(
            operator,
            kind=kinds.DELETION,
            created_at=now_s,
            content="its source lists it no more",
            tags=(*(("a", address) for address in part), ("k", str(kinds.OFFER))),
        )
        if await _kept([deletion], logbook.append, done, lambda _: None):
            done.dropped += len(part)
    return done


async def _kept(
    events: list[Event],
    append: Callable[[list[Event]], Awaitable[list[Outcome]]],
    done: Done,
    report: Callable[[int], None],
) -> int:
    kept = 0
    for part in _parts(events):
        for event, outcome in zip(part, await append(part), strict=True):
            if isinstance(outcome, HanseError):
                done.refused.append((event.tag("name") or event.id, outcome.text))
            else:
                kept += 1
        report(kept)
    return kept


def _parts(events: list[Event]) -> Iterable[list[Event]]:
    return (events[start : start + BATCH] for start in range(0, len(events), BATCH))
