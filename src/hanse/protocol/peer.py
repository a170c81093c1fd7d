"""Peers: the relays a node shares its log with, which way, and which events never go between them.

Also reads a key's own list of relays (NIP-65, kind 10002).
"""

import enum
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, expiration_of
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.kinds import KindClass, kind_class
from hanse.protocol.session import host_of

URL_MAX: Final = 200
FILTERS_MAX: Final = 10
SPANS_MAX: Final = 16
"""Spans of time that are remembered as not compared with one peer."""
RELAYS_MAX: Final = 8
"""Relays taken from one key's list: NIP-65 asks for two to four of a kind."""


class Direction(enum.Enum):
    """Which way events go: in is from the peer to us."""

    IN = "in"
    OUT = "out"
    BOTH = "both"

    @property
    def pulls(self) -> bool:
        """Whether we take what the peer has."""
        return self is not Direction.OUT

    @property
    def pushes(self) -> bool:
        """Whether we send what we have."""
        return self is not Direction.IN


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One relay and what is shared with it: events that pass any of the filters."""

    url: str
    direction: Direction = Direction.BOTH
    filters: tuple[Filter, ...] = (Filter(),)

    def __post_init__(self) -> None:
        if relay_url(self.url) != self.url:
            raise Invalid.at("url", "must be written in its one form", relay_url(self.url))
        if not 1 <= len(self.filters) <= FILTERS_MAX:
            raise Invalid.at("filters", f"must be 1 to {FILTERS_MAX}")
        if any(found.limit is not None for found in self.filters):
            raise Invalid.at("filters", "a limit means nothing here: all that matches is shared")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "url": self.url,
            "direction": self.direction.value,
            "filters": [found.as_dict() for found in self.filters],
        }


Span = tuple[int, int | None]
"""Seconds from one to another, both counted; None: without an end."""


class Resume(msgspec.Struct, frozen=True):
    """Up to when a peer's log and ours were compared: lately, and from the beginning of time. But
    for what is `left` of that, newest first."""

    since: int = 0
    whole: int = 0
    left: tuple[Span, ...] = ()


def merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same times in as few spans as there can be, newest first; over SPANS_MAX the newest ones
    become one, with what lies between."""
    found: list[Span] = []
    for low, high in sorted(spans, key=lambda span: span[0]):
        if found and (found[-1][1] is None or low <= found[-1][1] + 1):
            first, last = found.pop()
            found.append((first, None if last is None or high is None else max(last, high)))
        else:
            found.append((low, high))
    found.reverse()
    more = len(found) - SPANS_MAX
    if more > 0:
        found[: more + 1] = [(found[more][0], found[0][1])]
    return tuple(found)


def read_peer(url: str, direction: str, filters: Sequence[Any]) -> Peer:
    """A peer from decoded JSON; no filter means everything. Raises Invalid naming the field."""
    if len(filters) > FILTERS_MAX:
        raise Invalid.at("filters", f"must be at most {FILTERS_MAX}")
    parsed = [parse_filter(found, f"filters[{at}]") for at, found in enumerate(filters)]
    return Peer(
        url=relay_url(url),
        direction=read_direction(direction),
        filters=tuple(parsed) or (Filter(),),
    )


def read_direction(text: str, field: str = "direction") -> Direction:
    """`in`, `out` or `both`. Raises Invalid."""
    try:
        return Direction(text)
    except ValueError as exc:
        raise Invalid.at(field, "must be in, out or both") from exc


def relay_url(text: str, field: str = "url") -> str:
    """A relay's URL in one form, so that one relay has one name. Raises Invalid."""
    scheme, _, rest = text.strip().partition("://")
    host, slash, path = rest.partition("/")
    name = host_of(f"{scheme}://{host}") if scheme.lower() in ("ws", "wss") else ""
    if not name or len(text) > URL_MAX or not text.isascii() or not text.strip().isprintable():
        raise Invalid.at(field, f"must be a ws:// or wss:// URL of at most {URL_MAX} characters")
    if set(rest) & set("@#? "):
        raise Invalid.at(field, "must have no user, query, fragment or space")
    return f"{scheme.lower()}://{name}" + (slash + path if path else "")


def is_shared(event: Event) -> bool:
    """Whether an event may go between peers at all: it is kept, for everybody, and not meant by its
    author for certain relays only (NIP-70; NIP-62 unless it names all)."""
    if event.kind == kinds.VANISH and ("relay", "ALL_RELAYS") not in event.tags:
        return False
    return (
        kind_class(event.kind) is not KindClass.EPHEMERAL
        and event.kind not in kinds.PRIVATE
        and event.kind not in kinds.NEVER_PUBLISHED
        and not any(tag and tag[0] == "-" for tag in event.tags)  # as admission reads NIP-70
    )


def has_expired(event: Event, now_s: int) -> bool:
    """Whether an event has no use by now (NIP-40). One whose time cannot be read has
    none, as admission would not take it."""
    try:
        expires = expiration_of(event.tags)
    except Invalid:
        return True
    return expires is not None and expires <= now_s


def relays_of(event: Event) -> list[tuple[str, Direction]]:
    """The relays a key names as its own (NIP-65), each once, at most RELAYS_MAX. What it writes is
    pulled from its `write` relays; what is meant for it is pushed to its `read` relays."""
    found: dict[str, Direction] = {}
    for tag in event.tags:
        if len(tag) < 2 or tag[0] != "r":
            continue
        try:
            url = relay_url(tag[1])
        except Invalid:
            continue  # a stranger's list: what cannot be a relay is left out
        marker = tag[2] if len(tag) > 2 else ""
        known = {"write": Direction.IN, "read": Direction.OUT}
        found.setdefault(url, known.get(marker, Direction.BOTH))
    return list(found.items())[:RELAYS_MAX]
