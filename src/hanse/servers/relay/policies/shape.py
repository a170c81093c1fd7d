"""What can be seen on an event without knowing who its author is: size, kind, time, marks.

All of it runs before the signature is checked: nothing here changes anything. What is refused is
the message as it came, so nothing is said of whose name it bears.
"""

from hanse.errors import AuthRequired, Blocked, Invalid, Restricted, Stale, TooLarge
from hanse.protocol import kinds
from hanse.protocol.event import Event, expiration_of
from hanse.servers.relay.context import Context, Policy


def size(event: Event, context: Context) -> None:
    """Bounds on the number of tags and the content."""
    rules = context.rules.size
    if len(event.tags) > rules.tags_max:
        raise TooLarge(f"more than {rules.tags_max}", field="event.tags")
    if len(event.content) > rules.content_max:
        raise TooLarge(f"over {rules.content_max} characters", field="event.content")


def kind(event: Event, context: Context) -> None:
    """Proofs of identity are for one reader, so no relay takes them; other kinds as the operator
    wants. The operator's own agents offer, call and rate here whatever others may."""
    number = event.kind
    if number in kinds.NEVER_PUBLISHED:
        raise Restricted("a proof of identity is not published", field="event.kind")
    if context.lists.takes(number, context.rules.kinds) or _is_own(event, context):
        return
    raise Blocked(f"kind {number} is not taken here", field="event.kind")


def _is_own(event: Event, context: Context) -> bool:
    own, source = context.house.own, context.source
    if event.pubkey in own or source.operators.get(event.pubkey) in own:
        return True
    if event.kind not in (kinds.GIFT_WRAP, kinds.EPHEMERAL_GIFT_WRAP):
        return False
    # Signed by a key made for it (NIP-59): what counts is who brings it.
    return not own.isdisjoint(source.identities) or not own.isdisjoint(source.operators.values())


def denied(event: Event, context: Context) -> None:
    """Keys, events and addresses that the operator banned. A request to vanish is still heard
    (NIP-62: regardless of the user's status)."""
    lists = context.lists
    if event.id in lists.denied_events:
        raise Blocked("this event was removed", field="event.id")
    if event.pubkey in lists.denied_keys and event.kind != kinds.VANISH:
        raise Blocked("this key may not publish here", field="event.pubkey")
    if context.source.address in lists.denied_addresses:
        raise Blocked("this address may not publish here")


def time_window(event: Event, context: Context) -> None:
    """Not from the future; an ephemeral event also not from the past: nobody waits for it. A gift
    wrap may hide its time (NIP-59), and who wants to vanish may have said so long ago (NIP-62)."""
    rules, age_s = context.rules.times, context.now_s - event.created_at
    if -age_s > rules.future_s:
        raise Stale(f"is over {rules.future_s} s in the future", field="event.created_at")
    if rules.past_s is not None and age_s > rules.past_s and event.kind != kinds.VANISH:
        raise Stale(f"is over {rules.past_s} s old", field="event.created_at")
    if event.kind == kinds.EPHEMERAL_GIFT_WRAP and 0 <= age_s <= kinds.WRAP_SHIFT_S:
        return
    if 20000 <= event.kind < 30000 and abs(age_s) > rules.ephemeral_window_s:
        raise Stale(f"is over {rules.ephemeral_window_s} s from now", field="event.created_at")


def marks(event: Event, context: Context) -> None:
    """Tags that bind the relay, whatever the kind."""
    for tag in event.tags:
        if tag and tag[0] in _BY_MARK:
            _BY_MARK[tag[0]](event, context)


def _expiry(event: Event, context: Context) -> None:
    """NIP-40: an event that has expired is not taken."""
    expires = expiration_of(event.tags)
    if expires is not None and expires <= context.now_s:
        raise Invalid.at("event.tags.expiration", "has passed")


def _protected(event: Event, context: Context) -> None:
    """NIP-70: only its author may publish it, and has to prove to be that."""
    identities = context.source.identities
    if event.pubkey in identities:
        return
    if not identities:
        raise AuthRequired("only its author may publish a protected event", field="event.tags")
    raise Restricted("only its author may publish a protected event", field="event.tags")


_BY_MARK: dict[str, Policy] = {"expiration": _expiry, "-": _protected}

EARLY: tuple[Policy, ...] = (size, kind, denied, time_window, marks)
