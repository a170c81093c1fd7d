"""The messages between client and relay (NIP-01, NIP-42): one JSON array per WebSocket text.

    client → relay   EVENT event | REQ id filter… | CLOSE id | AUTH event
    relay → client   EVENT id event | OK id bool text | EOSE id | CLOSED id text | NOTICE text
                     | AUTH challenge

The relay's side is written as bytes by small functions (hot path: an event's own JSON is pasted in,
never re-encoded); the client's side reads them back as values.
"""

from typing import Any

import msgspec
import orjson

from hanse.errors import Invalid, TooLarge
from hanse.protocol.event import Event, encode_event, parse_event
from hanse.protocol.filter import Filter, parse_filter

FILTERS_MAX = 20
SUBSCRIPTION_ID_MAX = 64

_envelope = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Publish(msgspec.Struct, frozen=True, gc=False):
    """EVENT: the event's own bytes, not yet looked at."""

    raw: bytes


class Request(msgspec.Struct, frozen=True):
    """REQ: open a subscription."""

    subscription: str
    filters: tuple[Filter, ...]


class Drop(msgspec.Struct, frozen=True):
    """CLOSE: end a subscription."""

    subscription: str


class Authenticate(msgspec.Struct, frozen=True):
    """AUTH: a signed answer to the relay's challenge."""

    event: Event


ClientMessage = Publish | Request | Drop | Authenticate


class BadRequest(Invalid):
    """A REQ that cannot be served; `subscription` says which."""

    def __init__(self, reason: str = "", *, field: str = "", hint: str = "") -> None:
        super().__init__(reason, field=field, hint=hint)
        self.subscription = ""


def parse_client_message(text: bytes | str) -> ClientMessage:
    """One client message. Raises Invalid (BadRequest when a REQ's id is known)."""
    parts = _split(text)
    verb = _text(parts[0], "message[0]")
    if verb == "EVENT":
        if len(parts) != 2:
            raise Invalid.at("EVENT", "takes one event")
        return Publish(bytes(parts[1]))
    if verb == "REQ":
        return _parse_request(parts)
    if verb == "CLOSE":
        if len(parts) != 2:
            raise Invalid.at("CLOSE", "takes one subscription id")
        return Drop(_subscription(parts[1]))
    if verb == "AUTH":
        if len(parts) != 2:
            raise Invalid.at("AUTH", "takes one event")
        return Authenticate(parse_event(parts[1]))
    raise Invalid.at("message[0]", f"{verb[:20]!r} is not a message this relay knows")


def _parse_request(parts: list[msgspec.Raw]) -> Request:
    if len(parts) < 3:
        raise Invalid.at("REQ", "takes a subscription id and at least one filter")
    subscription = _subscription(parts[1])
    try:
        if len(parts) - 2 > FILTERS_MAX:
            raise Invalid.at("REQ", f"takes at most {FILTERS_MAX} filters")
        filters = tuple(
            parse_filter(msgspec.json.decode(part), f"filter[{index}]")
            for index, part in enumerate(parts[2:])
        )
    except (Invalid, ValueError, RecursionError) as exc:
        found = exc if isinstance(exc, Invalid) else Invalid.at("filter", "is not JSON")
        bad = BadRequest(found.reason, field=found.field)
        bad.subscription = subscription
        raise bad from exc
    return Request(subscription, filters)


def _split(text: bytes | str) -> list[msgspec.Raw]:
    try:
        parts = _envelope(text)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise Invalid.at("message", "must be a JSON array") from exc
    except RecursionError as exc:
        raise TooLarge("is nested too deeply", field="message") from exc
    if not parts:
        raise Invalid.at("message", "is empty")
    return parts


def _text(part: msgspec.Raw, field: str) -> str:
    try:
        return msgspec.json.decode(part, type=str)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise Invalid.at(field, "must be a string") from exc


def _subscription(part: msgspec.Raw) -> str:
    found = _text(part, "subscription id")
    if not 1 <= len(found) <= SUBSCRIPTION_ID_MAX:
        raise Invalid.at("subscription id", f"must have 1 to {SUBSCRIPTION_ID_MAX} characters")
    return found


# --- what a relay says -------------------------------------------------------------------


def ok(event_id: str, accepted: bool, text: str = "") -> bytes:
    """OK: the fate of one event."""
    return orjson.dumps(("OK", event_id, accepted, text))


def eose(subscription: str) -> bytes:
    """EOSE: all stored events were sent."""
    return orjson.dumps(("EOSE", subscription))


def closed(subscription: str, text: str) -> bytes:
    """CLOSED: the relay ended or refused a subscription."""
    return orjson.dumps(("CLOSED", subscription, text))


def notice(text: str) -> bytes:
    """NOTICE: words for a person."""
    return orjson.dumps(("NOTICE", text))


def challenge(text: str) -> bytes:
    """AUTH: prove who you are by signing this."""
    return orjson.dumps(("AUTH", text))


def event_prefix(subscription: str) -> bytes:
    """What stands before an event's own JSON in an EVENT message; `]` follows it."""
    return b'["EVENT",' + orjson.dumps(subscription) + b","


# --- what a client says, and what it reads ----------------------------------------------------


def publish(event: Event) -> bytes:
    """EVENT, from a client."""
    return b'["EVENT",' + encode_event(event) + b"]"


def request(subscription: str, *filters: Filter) -> bytes:
    """REQ, from a client."""
    return orjson.dumps(("REQ", subscription, *(found.as_dict() for found in filters)))


def drop(subscription: str) -> bytes:
    """CLOSE, from a client."""
    return orjson.dumps(("CLOSE", subscription))


def neg_open(subscription: str, filter: Filter, first: bytes) -> bytes:
    """NEG-OPEN (NIP-77), from a client: compare what matches a filter, beginning with `first`."""
    return orjson.dumps(("NEG-OPEN", subscription, filter.as_dict(), first.hex()))


def neg_more(subscription: str, next: bytes) -> bytes:
    """NEG-MSG, from a client: the next question of an open comparison."""
    return orjson.dumps(("NEG-MSG", subscription, next.hex()))


def neg_close(subscription: str) -> bytes:
    """NEG-CLOSE, from a client."""
    return orjson.dumps(("NEG-CLOSE", subscription))


def authenticate(event: Event) -> bytes:
    """AUTH, from a client."""
    return b'["AUTH",' + encode_event(event) + b"]"


class RelayMessage(msgspec.Struct, frozen=True):
    """A relay's message: the verb, its text arguments in order, and the event if it carries one."""

    verb: str
    arguments: tuple[Any, ...]
    event: Event | None = None


def parse_relay_message(text: bytes | str) -> RelayMessage:
    """One relay message; the event's signature is not checked. Raises Invalid."""
    parts = _split(text)
    verb = _text(parts[0], "message[0]")
    if verb == "EVENT" and len(parts) == 3:
        return RelayMessage(verb, (_text(parts[1], "subscription id"),), parse_event(parts[2]))
    try:
        return RelayMessage(verb, tuple(msgspec.json.decode(part) for part in parts[1:]))
    except (ValueError, RecursionError) as exc:
        raise Invalid.at("message", "is not JSON") from exc
