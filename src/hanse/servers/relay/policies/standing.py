"""What depends on who the author is: work, membership, rates.

The operator is the unit of trust: an agent counts as known when an operator that is known attested
it (NIP-OA), on the event or when the agent proved its key.
"""

import math

from hanse.errors import RateLimited, Restricted, WorkNeeded
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.work import difficulty, shortfall
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.context import Context


def operator_of(event: Event, context: Context) -> PublicKey | None:
    """The operator who attested the author, None if nobody did. Raises Invalid for an `auth` tag
    that does not hold."""
    for tag in event.tags:
        if tag and tag[0] == "auth":
            return context.books.owner(event, tag)
    return context.source.operators.get(event.pubkey)


def _is_known(key: PublicKey, context: Context) -> bool:
    return (
        key in context.house.own
        or key in context.rules.members.keys
        or key in context.lists.allowed_keys
    )


def known(event: Event, context: Context) -> bool:
    """Whether the event is by somebody known here. Raises Invalid for an `auth` tag that does not
    hold."""
    return _known_by_key(event, context) or (
        (operator := operator_of(event, context)) is not None and _is_known(operator, context)
    )


def _known_by_key(event: Event, context: Context) -> bool:
    if _is_known(event.pubkey, context):
        return True
    if event.kind == kinds.GIFT_WRAP or event.kind == kinds.EPHEMERAL_GIFT_WRAP:
        # Signed by a key made for it (NIP-59): what counts is who brings it.
        source = context.source
        return any(_is_known(key, context) for key in source.identities) or any(
            _is_known(key, context) for key in source.operators.values()
        )
    return False


def bearer_of(event: Event, context: Context) -> PublicKey | None:
    """The operator who sends this, None unless its key was proved by the sender: anybody may bring
    what others signed, or lift it from another relay. A wrap's is the only one who could be."""
    source = context.source
    if event.pubkey in source.identities:
        return operator_of(event, context) or event.pubkey
    if event.kind == kinds.GIFT_WRAP or event.kind == kinds.EPHEMERAL_GIFT_WRAP:
        found = {source.operators.get(key, key) for key in source.identities}
        return found.pop() if len(found) == 1 else None
    return None


# --- work -----------------------------------------------------------------------------------------


def work_of_strangers(event: Event, context: Context) -> None:
    """NIP-13, before the signature check: who makes no claim to be known must have worked."""
    if (
        event.kind == kinds.VANISH
        or _known_by_key(event, context)
        or event.pubkey in context.source.operators
        or any(tag and tag[0] == "auth" for tag in event.tags)
    ):
        return
    _check_work(event, context)


def work_of_agents(event: Event, context: Context) -> None:
    """NIP-13, after it: an agent's operator has to be known, too."""
    if event.kind != kinds.VANISH and not known(event, context):
        _check_work(event, context)


def _check_work(event: Event, context: Context) -> None:
    bits = context.rules.work.bits
    reason = shortfall(event.id, event.tags, bits)
    if reason is None:
        return
    found = difficulty(event.id)
    if found < bits:
        raise WorkNeeded(f"{bits} bits are needed, the event has {found}", hint="NIP-13")
    raise WorkNeeded(f"{bits} bits are needed: {reason}", hint="NIP-13")


# --- membership -----------------------------------------------------------------------------------


def membership(event: Event, context: Context) -> None:
    """Only members and the agents they attest. Anybody may ask to be forgotten (NIP-62)."""
    if event.kind != kinds.VANISH and not known(event, context):
        raise Restricted("only members of this relay may publish", hint="ask its operator")


# --- rates ----------------------------------------------------------------------------------------


def rate(event: Event, context: Context) -> None:
    """Events of one key, and of all agents of one operator. This node's own are not counted, nor
    what comes from a trusted address."""
    books, house = context.books, context.house
    if event.pubkey in house.own or books.trusted.has(context.source.address):
        return
    operator = operator_of(event, context)
    if operator == house.operator:
        return
    rates, now_ms = context.rules.rates, context.now_ms
    wait = books.by_key.take(event.pubkey, now_ms)
    if wait:
        raise too_fast(wait, rates.key, "key")
    if operator is not None:
        wait = books.by_operator.take(operator, now_ms)
        if wait:
            raise too_fast(wait, rates.operator, "operator")


def too_fast(wait_ms: float, rate: Rate, unit: str) -> RateLimited:
    """The refusal, which says how long to wait."""
    return RateLimited(
        f"wait {math.ceil(wait_ms / 1000)} s",
        hint=f"at most {rate.per_s:g} events a second per {unit}",
    )
