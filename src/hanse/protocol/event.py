"""The event: NIP-01's signed record, from bytes to a checked value and back.

Layout of the bytes that are hashed into `id` (UTF-8 JSON, no spaces, NIP-01 escapes):

    [0, pubkey, created_at, kind, tags, content]

orjson writes exactly these bytes: checked against json.dumps over every Unicode scalar value. Lone
surrogates are refused by both decoder and encoder. Hex must be lower case, or one key would have
several names.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
import orjson

from hanse.errors import Invalid, TooLarge
from hanse.protocol.keys import PublicKey, SecretKey, is_hex
from hanse.protocol.signature import verify

Tags = tuple[tuple[str, ...], ...]

_Kind = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]  # beyond 2^53 JSON readers disagree

EVENT_BYTES_MAX = 512 * 1024
"""Default bound on one event's JSON, in bytes."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A NIP-01 event. Fields in wire order; `id`, `pubkey` and `sig` are lower-case hex."""

    id: str
    pubkey: PublicKey
    created_at: _Time
    kind: _Kind
    tags: Tags
    content: str
    sig: str

    def tag(self, name: str) -> str | None:
        """The first value of the first tag called `name`, or None."""
        for tag in self.tags:
            if len(tag) > 1 and tag[0] == name:
                return tag[1]
        return None

    def values(self, name: str) -> list[str]:
        """The first value of every tag called `name`."""
        return [tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name]


class _Named(msgspec.Struct):
    id: str


_decode = msgspec.json.Decoder(Event).decode
_decode_id = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode
_AT = re.compile(r"^(?P<reason>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


def field_error(exc: msgspec.ValidationError, prefix: str) -> Invalid:
    """A msgspec refusal in our words: `prefix.path` and the reason."""
    found = _AT.match(str(exc))
    path = (found.group("path") or "") if found else ""
    reason = found.group("reason") if found else str(exc)
    named = re.match(r"Object (missing required|contains unknown) field `(.+)`", reason)
    if named:
        path = f"{path}.{named.group(2)}"
        reason = "is missing" if named.group(1) == "missing required" else "is not known here"
    return Invalid.at(".".join(part for part in (prefix, path.strip(".")) if part), reason)


def parse_event(raw: bytes | str | msgspec.Raw) -> Event:
    """JSON to an Event with typed fields; neither id nor signature is checked. Raises Invalid."""
    try:
        if isinstance(raw, str):
            raw = raw.encode()
        if isinstance(raw, bytes) and len(raw) > EVENT_BYTES_MAX:
            raise TooLarge(f"is over {EVENT_BYTES_MAX} bytes", field="event")
        return _decode(raw)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "event") from exc
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise Invalid.at("event", "is not JSON") from exc
    except RecursionError as exc:
        raise TooLarge("is nested too deeply", field="event") from exc


def id_in(raw: bytes | msgspec.Raw) -> str | None:
    """The id that JSON bears which is no event, if it can be read: what a refusal can name."""
    try:
        found = _decode_id(raw).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return found if is_hex(found, 64) else None


def expiration_of(tags: Tags) -> int | None:
    """NIP-40's time in Unix seconds, or None. Raises Invalid for one that is not a number."""
    for tag in tags:
        if len(tag) > 1 and tag[0] == "expiration":
            if not (tag[1].isascii() and tag[1].isdigit() and len(tag[1]) <= 15):
                raise Invalid.at("event.tags.expiration", "must be Unix seconds")
            return int(tag[1])
    return None


def encode_event(event: Event) -> bytes:
    """The event as compact JSON, fields in wire order."""
    return _encode(event)


def digest_of(pubkey: str, created_at: int, kind: int, tags: Tags, content: str) -> bytes:
    """sha256 over NIP-01's canonical serialisation: the 32 bytes that `id` spells in hex."""
    return hashlib.sha256(orjson.dumps((0, pubkey, created_at, kind, tags, content))).digest()


def check_event(event: Event) -> bytes:
    """Check id and signature; returns the id's 32 bytes. Raises Invalid naming the field."""
    found = packed(event)
    digest = found[32:64]
    if not verify(found[:32], digest, found[64:]):
        raise forged()
    return digest


def packed(event: Event) -> bytes:
    """What is left to check of an event whose id is right: its public key, its id's bytes and its
    signature, as `signature.verify_packed` takes them. Raises Invalid naming the field."""
    try:
        digest = digest_of(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    except TypeError as exc:
        raise Invalid.at("event", "is not valid Unicode text") from exc
    if digest.hex() != event.id:
        raise Invalid.at("event.id", "does not match the event's content")
    try:
        pubkey = bytes.fromhex(event.pubkey)
        signature = bytes.fromhex(event.sig)
    except ValueError as exc:
        raise Invalid.at("event", "pubkey and sig must be lower-case hex") from exc
    # fromhex also takes upper case and spaces: only the round trip makes the name unique.
    if pubkey.hex() != event.pubkey or len(pubkey) != 32:
        raise Invalid.at("event.pubkey", "must be 64 lower-case hex characters")
    if signature.hex() != event.sig or len(signature) != 64:
        raise Invalid.at("event.sig", "must be 128 lower-case hex characters")
    return pubkey + digest + signature


def forged() -> Invalid:
    """What an event is refused with whose signature is somebody else's."""
    return Invalid.at("event.sig", "is not the author's signature")


def sign_event(
    secret: SecretKey,
    *,
    kind: int,
    created_at: int,
    content: str = "",
    tags: Iterable[Iterable[str]] = (),
) -> Event:
    """Build and sign an event. Raises Invalid when the text cannot be written as UTF-8."""
    frozen = tuple(tuple(tag) for tag in tags)
    try:
        digest = digest_of(secret.public, created_at, kind, frozen, content)
    except TypeError as exc:
        raise Invalid.at("event.content", "is not valid Unicode text") from exc
    return Event(
        id=digest.hex(),
        pubkey=secret.public,
        created_at=created_at,
        kind=kind,
        tags=frozen,
        content=content,
        sig=secret.sign(digest),
    )


def event_id(text: str, field: str = "id") -> str:
    """Check an event id in hex. Raises Invalid."""
    if not is_hex(text, 64):
        raise Invalid.at(field, "must be 64 lower-case hex characters")
    return text
