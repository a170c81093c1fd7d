"""What the tables keep of an event beside its JSON. Pure."""

import hashlib
import string
from collections.abc import Iterable
from typing import Any

import msgspec

from hanse.protocol.event import Event, Tags
from hanse.protocol.kinds import KindClass, kind_class
from hanse.protocol.words import spaced

LETTERS = frozenset(string.ascii_letters)

ADDRESS_MAX = 512
"""Characters; an index of PostgreSQL takes 2704 bytes."""

_decode = msgspec.json.Decoder(Event).decode


def indexed_tags(tags: Tags) -> Iterable[tuple[str, str]]:
    """The (letter, first value) pairs a filter can ask for, each once."""
    return {(tag[0], tag[1]) for tag in tags if len(tag) > 1 and tag[0] in LETTERS}


def address_of(event: Event) -> str | None:
    """What is kept of `kind:pubkey:d` for kinds of which only the newest is kept, else None."""
    if 3 < event.kind < 10_000:
        return None  # nearly all there is
    match kind_class(event.kind):
        case KindClass.REPLACEABLE:
            return f"{event.kind}:{event.pubkey}:"
        case KindClass.ADDRESSABLE:
            return address_key(f"{event.kind}:{event.pubkey}:{event.tag('d') or ''}")
        case _:
            return None


def address_key(address: str) -> str:
    """What an address is kept by: itself, unless PostgreSQL could not hold or index it."""
    if len(address) <= ADDRESS_MAX and "\0" not in address:
        return address
    return "sha256:" + hashlib.sha256(address.encode()).hexdigest()


def searched_text(event: Event) -> str:
    """The words a search can find the event by (NIP-50)."""
    return spaced(event.content)


def decode_row(json: Any) -> Event:
    """A stored event's JSON as a value."""
    return _decode(json)
