"""Filters: which events a reader asks for (NIP-01, NIP-50), and the pure test `matches`.

`matches` is the oracle: what a store answers and what live delivery sends must agree with it.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.words import search_words, spaced

ITEMS_MAX = 1000
"""Values in one list of a filter."""

VALUES_MAX = 10_000
"""Values in all lists of one request's filters together: SQLite binds at most 32766 in one query,
and lists are padded to powers of two."""


COUNT_MAX = 2**53 - 1
"""Of `since`, `until` and `limit`: what every reader of JSON has exactly."""

SEARCH_MAX = 256
"""Characters of a `search`."""


Tags = tuple[tuple[str, frozenset[str]], ...]
"""By a tag's letter: its accepted values."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One NIP-01 filter. None means "any"; `tags` maps a letter to its accepted values.

    `since` and `until` are inclusive Unix seconds; `limit` counts stored events only. `search`
    (NIP-50) asks for events of a searched kind whose content has every one of its words.
    """

    ids: frozenset[str] | None = None
    authors: frozenset[str] | None = None
    kinds: frozenset[int] | None = None
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    tags: Tags = ()
    search: str | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event passes every condition (`limit` is not one)."""
        if self.ids is not None and event.id not in self.ids:
            return False
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.authors is not None and event.pubkey not in self.authors:
            return False
        if self.since is not None and event.created_at < self.since:
            return False
        if self.until is not None and event.created_at > self.until:
            return False
        for letter, wanted in self.tags:
            for tag in event.tags:
                if len(tag) > 1 and tag[0] == letter and tag[1] in wanted:
                    break
            else:
                return False
        words = search_words(self.search) if self.search is not None else None
        return not words or (
            event.kind in kinds.SEARCHED and words.issubset(spaced(event.content).split())
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as sent in a REQ."""
        out: dict[str, Any] = {}
        for name in ("ids", "authors", "kinds"):
            values = getattr(self, name)
            if values is not None:
                out[name] = sorted(values)
        for name in ("since", "until", "limit", "search"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        for letter, wanted in self.tags:
            out[f"#{letter}"] = sorted(wanted)
        return out


_Hexes = Annotated[
    list[Annotated[str, Meta(min_length=64, max_length=64)]], Meta(max_length=ITEMS_MAX)
]
_Texts = Annotated[list[str], Meta(max_length=ITEMS_MAX)]
_Kinds = Annotated[list[Annotated[int, Meta(ge=0, le=65535)]], Meta(max_length=ITEMS_MAX)]
_Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]


def _unset(key: str | None = None) -> Any:
    """A condition that need not be there. What is there may not be null: so None is not its type,
    although it is what stands for absence here."""
    return msgspec.field(name=key, default=None)


class PlainFilter(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A filter as it comes in JSON, for msgspec to read and check at one go: ten times as fast as
    `parse_filter`. Only the conditions that nearly all filters are of: what this cannot read may
    be a good filter all the same."""

    ids: _Hexes = _unset()
    authors: _Hexes = _unset()
    kinds: _Kinds = _unset()
    since: _Count = _unset()
    until: _Count = _unset()
    limit: _Count = _unset()
    e: _Hexes = _unset("#e")
    p: _Hexes = _unset("#p")
    a: _Texts = _unset("#a")
    d: _Texts = _unset("#d")
    t: _Texts = _unset("#t")

    def whole(self) -> "Filter | None":
        """The filter; None if what must be hex is not."""
        ids, authors, wanted = self.ids, self.authors, self.kinds
        if (ids is not None and not _are_hex(ids)) or (
            authors is not None and not _are_hex(authors)
        ):
            return None
        untagged = self.e is self.p is self.t is self.d is self.a  # each is None
        tags = () if untagged else self._tags()
        if tags is None:
            return None
        return Filter(
            ids=None if ids is None else frozenset(ids),
            authors=None if authors is None else frozenset(authors),
            kinds=None if wanted is None else frozenset(wanted),
            since=self.since,
            until=self.until,
            limit=self.limit,
            tags=tags,
        )

    def _tags(self) -> "Tags | None":
        tags = []
        if self.e is not None:
            if not _are_hex(self.e):
                return None
            tags.append(("e", frozenset(self.e)))
        if self.p is not None:
            if not _are_hex(self.p):
                return None
            tags.append(("p", frozenset(self.p)))
        if self.t is not None:
            tags.append(("t", frozenset(self.t)))
        if self.d is not None:
            tags.append(("d", frozenset(self.d)))
        if self.a is not None:
            tags.append(("a", frozenset(self.a)))
        return tuple(tags)


def _are_hex(values: list[str]) -> bool:
    """Whether these, of 64 characters each, are lower-case hex. All at once: fromhex also takes
    upper case and spaces, which the round trip does not survive."""
    whole = "".join(values)
    try:
        return bytes.fromhex(whole).hex() == whole
    except ValueError:
        return False


def parse_filters(asked: list[Any]) -> list[Filter]:
    """One request's filters, from decoded JSON. Raises Invalid naming the filter and the key."""
    found = [parse_filter(one, f"filter[{index}]") for index, one in enumerate(asked)]
    if len(found) > 1 and sum(map(_values, asked)) > VALUES_MAX:
        raise Invalid.at("filters", f"have more than {VALUES_MAX} values together")
    return found


def parse_filter(found: Any, field: str = "filter") -> Filter:
    """A decoded JSON object to a Filter. Unknown keys are refused: a condition that cannot be
    checked must not be dropped silently. Raises Invalid naming the key."""
    if not isinstance(found, dict):
        raise Invalid.at(field, "must be an object")
    # No list has more than ITEMS_MAX, so that few lists need no counting.
    if len(found) > VALUES_MAX // ITEMS_MAX and _values(found) > VALUES_MAX:
        raise Invalid.at(field, f"has more than {VALUES_MAX} values")
    values: dict[str, Any] = {}
    tags: list[tuple[str, frozenset[str]]] = []
    for key, value in found.items():
        try:
            read = _READERS.get(key)
            if read is not None:
                values[key] = read(value)
            elif len(key) == 2 and key[0] == "#" and key[1].isascii() and key[1].isalpha():
                wanted = _hexes(value) if key in ("#e", "#p") else _texts(value)
                tags.append((key[1], wanted))
            else:
                raise _Unfit("is not a condition this relay can check")
        except _Unfit as exc:
            raise Invalid.at(f"{field}.{key[:40]}", str(exc)) from None
    return Filter(tags=tuple(tags), **values)


class _Unfit(Exception):
    """Why a value cannot be a condition."""


def _values(found: dict[str, Any]) -> int:
    return sum(len(value) for value in found.values() if isinstance(value, list))


def _texts(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not _STRINGS.issuperset(map(type, value)):
        raise _Unfit("must be a list of strings")
    if len(value) > ITEMS_MAX:
        raise _Unfit(f"has more than {ITEMS_MAX} values")
    return frozenset(value)


def _hexes(value: Any) -> frozenset[str]:
    found = _texts(value)
    if any(len(one) != 64 for one in found) or not _are_hex(list(found)):
        raise _Unfit("must hold 64 lower-case hex characters each")
    return found


def _search(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit("must be a string")
    if len(value) > SEARCH_MAX:
        raise _Unfit(f"is over {SEARCH_MAX} characters")
    return value


def _kinds(value: Any) -> frozenset[int]:
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise _Unfit(f"must be a list of at most {ITEMS_MAX} kinds")
    for item in value:
        if type(item) is not int or not 0 <= item <= 65535:
            raise _Unfit("must hold integers from 0 to 65535")
    return frozenset(value)


def _count(value: Any) -> int:
    # `type is int`: JSON true would pass isinstance.
    if type(value) in (int, float) and value > COUNT_MAX:  # beyond 64 bits it was read as a float
        raise _Unfit(f"must be at most {COUNT_MAX}")
    if type(value) is not int or value < 0:
        raise _Unfit("must be a non-negative integer")
    return int(value)


_STRINGS = frozenset({str})

_READERS: dict[str, Callable[[Any], object]] = {
    "ids": _hexes,
    "authors": _hexes,
    "kinds": _kinds,
    "since": _count,
    "until": _count,
    "limit": _count,
    "search": _search,
}
