"""Proof of identity in an HTTP header: one request (NIP-98) or a bearer token (nips PR 2187).

    Authorization: Nostr  <base64 of a kind 27235 event>     signs this URL, method, body
    Authorization: Bearer <base64url of a kind 27519 event>  names the node (`aud`) and an end

A request proof is for one use: the caller of `check_request` must refuse an id it saw within
`REQUEST_WINDOW_S`. A token is for programs that can only send a fixed header, such as MCP clients;
whoever holds it acts for the agent until it ends, so it names one node and one end.
"""

import base64
import binascii
import hashlib

from hanse.errors import AuthRequired, HanseError, Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, check_event, encode_event, parse_event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey

REQUEST_WINDOW_S = 60
TOKEN_LIFE_MAX_S = 31 * 86400
HEADER_MAX = 8192


def request_header(
    secret: SecretKey, *, url: str, method: str, body: bytes, now: int, tags: Tags = ()
) -> str:
    """The Authorization header for one HTTP request (NIP-98)."""
    own: Tags = (("u", url), ("method", method.upper()))
    if body:
        own += (("payload", hashlib.sha256(body).hexdigest()),)
    event = sign_event(secret, kind=kinds.HTTP_AUTH, created_at=now, tags=own + tags)
    return "Nostr " + base64.b64encode(encode_event(event)).decode()


def token(secret: SecretKey, *, node: PublicKey, now: int, life_s: int, tags: Tags = ()) -> str:
    """A bearer token for one node, valid `life_s` seconds from `now`."""
    if not 0 < life_s <= TOKEN_LIFE_MAX_S:
        raise Invalid.at("life", f"must be 1 to {TOKEN_LIFE_MAX_S} seconds")
    own: Tags = (("aud", node), ("exp", str(now + life_s)))
    event = sign_event(secret, kind=kinds.TOKEN, created_at=now, tags=own + tags)
    return base64.urlsafe_b64encode(encode_event(event)).decode().rstrip("=")


def read_header(header: str) -> tuple[str, Event]:
    """(scheme in lower case, checked event) of an Authorization header. Raises AuthRequired."""
    scheme, _, text = header.strip().partition(" ")
    if scheme.lower() not in ("nostr", "bearer"):
        raise AuthRequired("must be `Nostr <event>` or `Bearer <token>`", field="Authorization")
    if len(text) > HEADER_MAX:
        raise AuthRequired(f"is over {HEADER_MAX} characters", field="Authorization")
    try:
        padded = text.strip() + "=" * (-len(text.strip()) % 4)
        raw = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        event = parse_event(raw)
        check_event(event)
    except (binascii.Error, ValueError, HanseError) as exc:
        reason = exc.text if isinstance(exc, HanseError) else "is not base64"
        raise AuthRequired(reason, field="Authorization") from exc
    return scheme.lower(), event


def check_request(event: Event, *, url: str, method: str, body: bytes, now: int) -> None:
    """Check a NIP-98 event against the request it came with. Raises AuthRequired."""
    if event.kind != kinds.HTTP_AUTH:
        raise _refuse("kind", f"must be {kinds.HTTP_AUTH}")
    if abs(event.created_at - now) > REQUEST_WINDOW_S:
        raise _refuse("created_at", f"is over {REQUEST_WINDOW_S} s from now")
    if event.tag("u") != url:
        raise _refuse("u", "is not this request's URL")
    if (event.tag("method") or "").upper() != method.upper():
        raise _refuse("method", "is not this request's method")
    if body and event.tag("payload") != hashlib.sha256(body).hexdigest():
        raise _refuse("payload", "is not the sha256 of this request's body")


def check_token(event: Event, *, node: PublicKey, now: int) -> None:
    """Check a token event's audience and times. Raises AuthRequired."""
    if event.kind != kinds.TOKEN:
        raise _refuse("kind", f"must be {kinds.TOKEN}")
    if event.tag("aud") != node:
        raise _refuse("aud", "is not this node's key")
    end = event.tag("exp") or ""
    if not (end.isascii() and end.isdigit() and len(end) <= 12):
        raise _refuse("exp", "must be Unix seconds")
    if int(end) <= now:
        raise _refuse("exp", "has passed", "make a new one with `hanse token`")
    if event.created_at > now + REQUEST_WINDOW_S:
        raise _refuse("created_at", "is in the future")
    if int(end) - event.created_at > TOKEN_LIFE_MAX_S:
        raise _refuse("exp", f"is over {TOKEN_LIFE_MAX_S} s after created_at")


def end_of(event: Event) -> int | None:
    """When a checked token ends, in Unix seconds; None for the proof of one request."""
    return int(event.tag("exp") or 0) if event.kind == kinds.TOKEN else None


def _refuse(tag: str, reason: str, hint: str = "") -> AuthRequired:
    return AuthRequired(reason, field=f"Authorization.{tag}", hint=hint)
