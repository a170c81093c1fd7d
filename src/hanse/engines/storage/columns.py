"""What the tables keep of an event beside its JSON. Pure."""

import string
from collections.abc import Iterable
from typing import Any

import msgspec

from hanse.errors import Invalid
from hanse.protocol.event import Event, Tags
from hanse.protocol.kinds import KindClass, kind_class
from hanse.protocol.words import spaced

LETTERS = frozenset(string.ascii_letters)

_decode = msgspec.json.Decoder(Event).decode


def indexed_tags(tags: Tags) -> Iterable[tuple[str, str]]:
    """The (letter, first value) pairs a filter can ask for, each once."""
    return {(tag[0], tag[1]) for tag in tags if len(tag) > 1 and tag[0] in LETTERS}


def address_of(event: Event) -> str | None:
    """`kind:pubkey:d` for kinds of which only the newest is kept, else None."""
    if 3 < event.kind < 10_000:
        return None  # nearly all there is
    match kind_class(event.kind):
        case KindClass.REPLACEABLE:
            return f"{event.kind}:{event.pubkey}:"
        case KindClass.ADDRESSABLE:
            return f"{event.kind}:{event.pubkey}:{event.tag('d') or ''}"
        case _:
            return None


def expiration_of(tags: Tags) -> int | None:
    """NIP-40's time in Unix seconds, or None. Raises Invalid for one that is not a number."""
    for tag in tags:
        if len(tag) > 1 and tag[0] == "expiration":
            if not (tag[1].isascii() and tag[1].isdigit() and len(tag[1]) <= 15):
                raise Invalid.at("event.tags.expiration", "must be Unix seconds")
            return int(tag[1])
    return None


def searched_text(event: Event) -> str:
    """The words a search can find the event by (NIP-50)."""
    return spaced(event.content)


def decode_row(json: Any) -> Event:
    """A stored event's JSON as a value."""
    return _decode(json)
