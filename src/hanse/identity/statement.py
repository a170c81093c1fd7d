"""Kind 31411, what a key says about a handle: it claims it here, or has moved to another.

    ["d", "name@domain"]        which handle
    ["v", "1.0.0"]
    ["moved", "name@other"]     where its key went; left out of a claim
    ["nonce", n, bits]          work (NIP-13), where a claim needs some
    ["auth", …]                 who answers for the key (NIP-OA)

The content is empty. The newest about a handle counts: a claim after a move takes it back.
"""

from typing import Final

import msgspec

from hanse.errors import Invalid, PastDeadline, Stale
from hanse.protocol import kinds, work
from hanse.protocol.event import Event, Tags, check_event, digest_of, sign_event
from hanse.protocol.handle import Address, read_handle
from hanse.protocol.keys import SecretKey

VERSION: Final = "1.0.0"
FRESH_S: Final = 900
"""How far a statement's time may be from now when it is brought: long enough to do the work."""

WORK_MAX_BITS: Final = 28
"""What a client does without asking: some minutes."""

_TRIES_EACH = 64
"""Tries for each one expected: not to find a nonce among them happens once in e^64."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A checked statement, and the event that it is."""

    handle: Address
    moved: Address | None
    event: Event


def statement(
    secret: SecretKey,
    handle: Address,
    *,
    now_s: int,
    moved: Address | None = None,
    tags: Tags = (),
    bits: int = 0,
) -> Event:
    """Sign a claim of a handle, or that its key has moved, with `bits` of work."""
    own: Tags = (("d", str(handle)), ("v", VERSION))
    if moved is not None:
        own += (("moved", str(moved)),)
    own += tags
    if bits > 0:
        own += (_nonce(secret, own, now_s, bits),)
    return sign_event(secret, kind=kinds.HANDLE, created_at=now_s, tags=own)


def _nonce(secret: SecretKey, tags: Tags, now_s: int, bits: int) -> tuple[str, str, str]:
    if bits > WORK_MAX_BITS:
        raise Invalid.at("work", f"{bits} bits are more than {WORK_MAX_BITS}: too long to do here")

    def id_of(nonce: int) -> str:
        tried = (*tags, ("nonce", str(nonce), str(bits)))
        return digest_of(secret.public, now_s, kinds.HANDLE, tried, "").hex()

    found = work.mine(id_of, bits, attempts=_TRIES_EACH << bits)
    if found is None:
        raise PastDeadline("no nonce was found", field="work", hint="try again")
    return ("nonce", str(found), str(bits))


def read_statement(event: Event, field: str = "statement") -> Statement:
    """Check an event's signature and form. Raises Invalid."""
    if event.kind != kinds.HANDLE:
        raise Invalid.at(f"{field}.kind", f"must be {kinds.HANDLE}")
    version = event.tag("v") or ""
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise Invalid.at(f"{field}.v", f"{version[:32]!r} is not spoken here", f"{VERSION} is")
    for name in ("d", "moved"):
        if len(event.values(name)) > 1:
            raise Invalid.at(f"{field}.{name}", "stands more than once")
    text = event.tag("d") or ""
    handle = read_handle(text, f"{field}.d")
    if str(handle) != text:
        raise Invalid.at(f"{field}.d", "must be name@domain in lower case")
    away = event.tag("moved")
    moved = read_handle(away, f"{field}.moved") if away is not None else None
    if moved == handle:
        raise Invalid.at(f"{field}.moved", "is the handle itself")
    check_event(event)
    return Statement(handle=handle, moved=moved, event=event)


def check_fresh(event: Event, now_s: int) -> None:
    """Raises Stale unless it was made just now."""
    if abs(event.created_at - now_s) > FRESH_S:
        raise Stale(f"is over {FRESH_S} s from now", field="statement.created_at")
