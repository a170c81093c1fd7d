"""Plain filters: what decides the text of their statement, and its parameters, in little time.

Nearly every filter that clients send is plain: `FilterSql` builds the statement of a shape once,
and from then on only the parameters are put together, here.
"""

import struct
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from apsw import carray

from hanse.protocol import kinds
from hanse.protocol.filter import Filter

LISTED_MAX = 16
"""Kinds of a tag or author that are listed in the statement. It names them for each part, so more
are one parameter."""

Shape = tuple[int, int, int, int, bool, bool, str]


def shape_of(found: Filter, merges: bool) -> Shape | None:
    """What decides the text of a filter's statement, if nothing of it is unusual: at most one tag,
    no search, no private kind. Last the column to merge over, if there is one; none is plain unless
    the engine `merges` by `feeds.guessed` and `tagged.gathered`."""
    ids, authors, wanted, tags = found.ids, found.authors, found.kinds, found.tags
    if found.search is not None or (ids is not None and tags) or len(tags) > 1:
        return None
    if (
        (ids is not None and not ids)
        or (authors is not None and not authors)
        or (tags and not tags[0][1])
        or (wanted is not None and not (wanted and wanted.isdisjoint(kinds.PRIVATE)))
    ):
        return None
    column = ""
    if ids is None and not tags:
        if authors is not None:
            column = "event.pubkey" if len(authors) > 1 else ""
        elif wanted is not None and len(wanted) > 1:
            column = "event.kind"
    elif tags and len(tags[0][1]) > 1:
        column = "tag.hash"
    if column and not merges:
        return None
    return (
        0 if ids is None else (len(ids) - 1).bit_length() + 1,
        0 if authors is None else (len(authors) - 1).bit_length() + 1,
        0 if wanted is None else (len(wanted) - 1).bit_length() + 1,
        len(tags),
        found.since is None,
        found.until is None,
        column,
    )


class Hash(Protocol):
    """`tag_hash.TagHash`."""

    def __call__(self, name: str, value: str) -> int:
        """Of a tag's value."""

    def authors(self, pubkeys: Iterable[str]) -> list[int]:
        """Of each author."""


def plain_params(
    found: Filter, limit: int, now_s: int, hash_of: Hash, *, parted: bool
) -> list[Any]:
    """Of a filter with a shape, in the order of `FilterSql._select`, but for several values of one
    tag and several authors; `parted`: see `Selection`."""
    authors = found.authors
    if found.ids is not None:
        params = id_params(raw_each(found.ids)) if parted else raw(found.ids)
    elif parted and authors is not None and not found.tags:
        params, authors = hash_of.authors(authors), None
    else:
        params = []
    for name, values in found.tags:
        if len(values) == 1:
            (value,) = values
            params.append(hash_of(name, value))
    if found.kinds is not None:
        if len(found.kinds) == 1:
            params += found.kinds
        elif (
            parted
            and found.ids is None
            and (found.tags or found.authors)
            and len(found.kinds) > LISTED_MAX
        ):
            params.append(carray(array("q", found.kinds)))
        else:
            params += padded(sorted(found.kinds))
    if found.since is not None:
        params.append(found.since)
    if found.until is not None:
        params.append(found.until)
    params.append(now_s)
    if authors is not None:
        params += raw(authors)
    params.append(limit)
    return params


def padded(values: Iterable[Any], *filler: Any) -> list[Any]:
    """The values, the last (or `filler`) repeated up to a power of two: so few statements differ in
    nothing but the length of a list that each is compiled once."""
    found = list(values)
    if len(found) > 1:
        last = filler or found[-1:]
        found += list(last) * ((1 << (len(found) - 1).bit_length()) - len(found))
    return found


def id_params(ids: Sequence[bytes]) -> list[Any]:
    """For `Selection.by_id`."""
    return [ids[0][:8], ids[0]] if len(ids) == 1 else [carray(ids)]


def alike(params: list[Any], others: list[Any]) -> bool:
    """Whether they are the same values, as far as that can be seen: arrays are taken for equal."""
    pairs = zip(params, others, strict=False)
    return len(params) == len(others) and all(
        left == right or type(left) is type(right) is carray for left, right in pairs
    )


def raw(values: frozenset[str]) -> list[Any]:
    """Ids or keys as they are kept, `padded`."""
    if len(values) == 1:
        (value,) = values
        return [bytes.fromhex(value)]
    return padded(raw_each(values))


def raw_each(values: Collection[str]) -> tuple[bytes, ...]:
    """Ids or keys as they are kept. All at once: each by itself would take three times as long."""
    return _pieces(len(values))(bytes.fromhex("".join(values)))


@lru_cache(64)
def _pieces(count: int) -> Callable[[bytes], tuple[bytes, ...]]:
    return struct.Struct("32s" * count).unpack
