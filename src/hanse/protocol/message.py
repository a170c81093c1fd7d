"""The messages between client and relay: one JSON array per WebSocket text.

    client → relay   EVENT event | REQ id filter… | CLOSE id | AUTH event | COUNT id filter…
                     | NEG-OPEN id filter hex | NEG-MSG id hex | NEG-CLOSE id
    relay → client   EVENT id event | OK id bool text | EOSE id hints | CLOSED id text | NOTICE text
                     | AUTH challenge | COUNT id result | NEG-MSG id hex | NEG-ERR id text

NIP-01; AUTH is NIP-42, COUNT NIP-45, EOSE's hints NIP-67, NEG-* NIP-77. The relay's side is written
as bytes by small functions (hot path: an event's own JSON is pasted in, never re-encoded); the
client's side reads them back as values.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson

from hanse.errors import HanseError, Invalid, TooLarge
from hanse.protocol.event import Event, encode_event, id_in, parse_event
from hanse.protocol.filter import Filter, PlainFilter, parse_filter, parse_filters

FILTERS_MAX = 20
SUBSCRIPTION_ID_MAX = 64
ECHOED_MAX = 1024
"""Characters of a name that cannot be used, but that its refusal carries."""

_envelope = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_string = msgspec.json.Decoder(str).decode


class Publish(msgspec.Struct, frozen=True, gc=False):
    """EVENT: the event's own bytes, not yet looked at."""

    raw: bytes


class Request(msgspec.Struct, frozen=True, gc=False):
    """REQ: open a subscription."""

    subscription: str
    filters: tuple[Filter, ...]


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=SUBSCRIPTION_ID_MAX)]


class Drop(
    msgspec.Struct,
    frozen=True,
    gc=False,
    array_like=True,
    tag="CLOSE",
    forbid_unknown_fields=True,
):
    """CLOSE: end a subscription."""

    subscription: _Name


class Authenticate(msgspec.Struct, frozen=True):
    """AUTH: a signed answer to the relay's challenge."""

    event: Event


class Count(msgspec.Struct, frozen=True):
    """COUNT: how many events match. `target` is the first value of the first tag condition, if
    there is one and only one filter: NIP-45 derives from it where a HyperLogLog looks."""

    subscription: str
    filters: tuple[Filter, ...]
    target: str | None = None


class Reconcile(msgspec.Struct, frozen=True):
    """NEG-OPEN: compare two sets of events, starting with the client's first message."""

    subscription: str
    filter: Filter
    text: bytes


class Continue(msgspec.Struct, frozen=True):
    """NEG-MSG: the next message of a comparison."""

    subscription: str
    text: bytes


class Forget(msgspec.Struct, frozen=True):
    """NEG-CLOSE: the comparison is over."""

    subscription: str


ClientMessage = Publish | Request | Drop | Authenticate | Count | Reconcile | Continue | Forget


class _Published(
    msgspec.Struct, gc=False, array_like=True, tag="EVENT", forbid_unknown_fields=True
):
    raw: msgspec.Raw


class _Requested(msgspec.Struct, gc=False, array_like=True, tag="REQ", forbid_unknown_fields=True):
    subscription: _Name
    filter: PlainFilter


_plain = msgspec.json.Decoder(_Published | _Requested | Drop).decode
"""Reads at one go what nearly all messages are."""


class BadRequest(Invalid):
    """A message that cannot be served, of a verb whose refusals carry the subscription's name, or
    the event's id (AUTH)."""

    def __init__(self, cause: HanseError, verb: str, subscription: str) -> None:
        super().__init__(cause.reason, field=cause.field)
        self.verb = verb
        self.subscription = subscription


def parse_client_message(text: bytes | str) -> ClientMessage:
    """One client message. Raises Invalid (BadRequest when it can be refused by name)."""
    try:
        found = _plain(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _parse_by_parts(text)
    if type(found) is _Requested:
        wanted = found.filter.whole()
        if wanted is None:
            return _parse_by_parts(text)
        return Request(found.subscription, (wanted,))
    return Publish(bytes(found.raw)) if type(found) is _Published else found


def _parse_by_parts(text: bytes | str) -> ClientMessage:
    """Any other message, and one that is to be refused: it says what is wrong with which part."""
    parts = _split(text)
    verb = _text(parts[0], "message[0]")
    read = _READERS.get(verb)
    if read is None:
        raise Invalid.at("message[0]", f"{verb[:20]!r} is not a message this relay knows")
    return read(parts)


def _read_event(parts: list[msgspec.Raw]) -> Publish:
    if len(parts) != 2:
        raise Invalid.at("EVENT", "takes one event")
    return Publish(bytes(parts[1]))


def _read_request(parts: list[msgspec.Raw]) -> Request:
    subscription, found = _filters("REQ", parts)
    return Request(subscription, tuple(pair[0] for pair in found))


def _read_close(parts: list[msgspec.Raw]) -> Drop:
    if len(parts) != 2:
        raise Invalid.at("CLOSE", "takes one subscription id")
    return Drop(_subscription(parts[1]))


def _read_auth(parts: list[msgspec.Raw]) -> Authenticate:
    if len(parts) != 2:
        raise Invalid.at("AUTH", "takes one event")
    try:
        return Authenticate(parse_event(parts[1]))
    except Invalid as exc:
        id = id_in(parts[1])
        if id is None:
            raise
        raise BadRequest(exc, "AUTH", id) from exc


def _read_count(parts: list[msgspec.Raw]) -> Count:
    subscription, found = _filters("COUNT", parts)
    target = target_of(found[0][1]) if len(found) == 1 else None
    return Count(subscription, tuple(pair[0] for pair in found), target)


def _read_open(parts: list[msgspec.Raw]) -> Reconcile:
    usage = Invalid.at("NEG-OPEN", "takes a subscription id, a filter and a message")
    if len(parts) < 2:
        raise usage
    subscription = _subscription(parts[1], "NEG-OPEN")
    try:
        if len(parts) != 4:
            raise usage
        found = parse_filter(_any(parts[2]), "filter")
        return Reconcile(subscription, found, _hex(parts[3]))
    except (Invalid, ValueError, RecursionError) as exc:
        raise BadRequest(_cause(exc), "NEG-OPEN", subscription) from exc


def _read_next(parts: list[msgspec.Raw]) -> Continue:
    if len(parts) != 3:
        raise Invalid.at("NEG-MSG", "takes a subscription id and a message")
    subscription = _subscription(parts[1])
    try:
        return Continue(subscription, _hex(parts[2]))
    except Invalid as exc:
        raise BadRequest(exc, "NEG-MSG", subscription) from exc


def _read_forget(parts: list[msgspec.Raw]) -> Forget:
    if len(parts) != 2:
        raise Invalid.at("NEG-CLOSE", "takes one subscription id")
    return Forget(_subscription(parts[1]))


_READERS: dict[str, Callable[[list[msgspec.Raw]], ClientMessage]] = {
    "EVENT": _read_event,
    "REQ": _read_request,
    "CLOSE": _read_close,
    "AUTH": _read_auth,
    "COUNT": _read_count,
    "NEG-OPEN": _read_open,
    "NEG-MSG": _read_next,
    "NEG-CLOSE": _read_forget,
}


def _filters(verb: str, parts: list[msgspec.Raw]) -> tuple[str, list[tuple[Filter, Any]]]:
    """The subscription's name, and each filter with the JSON it was read from."""
    if len(parts) < 2:
        raise Invalid.at(verb, "takes a subscription id and at least one filter")
    subscription = _subscription(parts[1], verb)
    try:
        if len(parts) < 3:
            raise Invalid.at(verb, "takes at least one filter")
        if len(parts) - 2 > FILTERS_MAX:
            raise Invalid.at(verb, f"takes at most {FILTERS_MAX} filters")
        found = [_any(part) for part in parts[2:]]
        filters = parse_filters(found)
    except (Invalid, ValueError, RecursionError) as exc:
        raise BadRequest(_cause(exc), verb, subscription) from exc
    return subscription, list(zip(filters, found, strict=True))


def _cause(exc: Exception) -> HanseError:
    return exc if isinstance(exc, HanseError) else Invalid.at("filter", "is not JSON")


def target_of(found: dict[str, Any]) -> str | None:
    """The first value of a filter's first tag condition, from its JSON; see `Count`."""
    for key, values in found.items():
        if key.startswith("#"):
            return str(values[0]) if values else None
    return None


def _hex(part: msgspec.Raw) -> bytes:
    try:
        return bytes.fromhex(_text(part, "message"))
    except ValueError as exc:
        raise Invalid.at("message", "must be hex") from exc


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
        return _string(part)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise Invalid.at(field, "must be a string") from exc


def _subscription(part: msgspec.Raw, verb: str = "") -> str:
    """A subscription's name. What a `verb` asks for under an unusable one is refused by that."""
    found = _text(part, "subscription id")
    if 1 <= len(found) <= SUBSCRIPTION_ID_MAX:
        return found
    refusal = Invalid.at("subscription id", f"must have 1 to {SUBSCRIPTION_ID_MAX} characters")
    if verb and len(found) <= ECHOED_MAX:
        raise BadRequest(refusal, verb, found)
    raise refusal


# --- what a relay says -------------------------------------------------------------------


def ok(event_id: str, accepted: bool, text: str = "") -> bytes:
    """OK: the fate of one event."""
    return orjson.dumps(("OK", event_id, accepted, text))


def eose(subscription: str, more: bool) -> bytes:
    """EOSE: the stored events were sent, and whether there are more of them (NIP-67)."""
    return orjson.dumps(("EOSE", subscription, ("more" if more else "finish",)))


def closed(subscription: str, text: str) -> bytes:
    """CLOSED: the relay ended or refused a subscription."""
    return orjson.dumps(("CLOSED", subscription, text))


def notice(text: str) -> bytes:
    """NOTICE: words for a person."""
    return orjson.dumps(("NOTICE", text))


def challenge(text: str) -> bytes:
    """AUTH: prove who you are by signing this."""
    return orjson.dumps(("AUTH", text))


def count(subscription: str, found: int, hll: str | None = None) -> bytes:
    """COUNT: how many events match, and the registers of a HyperLogLog in hex (NIP-45)."""
    result = {"count": found} if hll is None else {"count": found, "hll": hll}
    return orjson.dumps(("COUNT", subscription, result))


def neg_error(subscription: str, text: str) -> bytes:
    """NEG-ERR: a comparison is refused or ended (NIP-77)."""
    return orjson.dumps(("NEG-ERR", subscription, text))


@lru_cache(512)
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


def count_request(subscription: str, *filters: Filter) -> bytes:
    """COUNT, from a client."""
    return orjson.dumps(("COUNT", subscription, *(found.as_dict() for found in filters)))


def drop(subscription: str) -> bytes:
    """CLOSE, from a client."""
    return orjson.dumps(("CLOSE", subscription))


def neg_open(subscription: str, filter: Filter, first: bytes) -> bytes:
    """NEG-OPEN (NIP-77), from a client: compare what matches a filter, beginning with `first`."""
    return orjson.dumps(("NEG-OPEN", subscription, filter.as_dict(), first.hex()))


def neg_more(subscription: str, next: bytes) -> bytes:
    """NEG-MSG, from either side: the next question or answer of an open comparison."""
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
