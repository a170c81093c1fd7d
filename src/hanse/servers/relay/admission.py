"""Admission: which checked events may enter, as a list of small policies.

A policy is a function `(event, context) -> None` that raises what it refuses with. They run in
order, cheap ones first, after the signature is known to be good.
"""

from collections.abc import Callable

import msgspec

from hanse.errors import Invalid, Restricted, Stale, TooLarge
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.kinds import KindClass, kind_class
from hanse.registry.offer_event import read_offer


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the policies; shown in NIP-11. Times in seconds."""

    tags_max: int = 2000
    content_max: int = 400_000
    future_s: int = 900
    ephemeral_window_s: int = 120


class Context(msgspec.Struct, frozen=True):
    """What a policy may look at beside the event."""

    now_s: int
    rules: Rules


Policy = Callable[[Event, Context], None]


def size(event: Event, context: Context) -> None:
    """Bounds on the number of tags and the content."""
    if len(event.tags) > context.rules.tags_max:
        raise TooLarge(f"more than {context.rules.tags_max}", field="event.tags")
    if len(event.content) > context.rules.content_max:
        raise TooLarge(f"over {context.rules.content_max} characters", field="event.content")


def time_window(event: Event, context: Context) -> None:
    """Not from the future; an ephemeral event also not from the past: nobody waits for it."""
    rules = context.rules
    if event.created_at > context.now_s + rules.future_s:
        raise Stale(f"is over {rules.future_s} s in the future", field="event.created_at")
    if (
        kind_class(event.kind) is KindClass.EPHEMERAL
        and abs(context.now_s - event.created_at) > rules.ephemeral_window_s
    ):
        raise Stale(f"is over {rules.ephemeral_window_s} s from now", field="event.created_at")


def expiry(event: Event, context: Context) -> None:
    """NIP-40: an event that has expired is not taken."""
    found = event.tag("expiration")
    if found is None:
        return
    if not (found.isascii() and found.isdigit() and len(found) <= 15):
        raise Invalid.at("event.tags.expiration", "must be Unix seconds")
    if int(found) <= context.now_s:
        raise Invalid.at("event.tags.expiration", "has passed")


def proofs_stay_private(event: Event, context: Context) -> None:
    """Authentication events are for one reader; whoever relays one gives it away."""
    if event.kind in kinds.NEVER_PUBLISHED:
        raise Restricted("a proof of identity is not published", field="event.kind")


def protected(event: Event, context: Context) -> None:
    """NIP-70: an event marked `-` goes only to relays its author chose; refused by default."""
    if any(tag == ("-",) for tag in event.tags):
        raise Restricted("protected events are not taken here", field="event.tags")


def offers_hold(event: Event, context: Context) -> None:
    """An offer must be one: schemas, prices and promises are checked before anybody can find it."""
    if event.kind == kinds.OFFER:
        read_offer(event)


POLICIES: tuple[Policy, ...] = (
    size,
    proofs_stay_private,
    time_window,
    expiry,
    protected,
    offers_hold,
)
