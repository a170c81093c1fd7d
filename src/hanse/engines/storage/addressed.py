"""Filters for what of each author one version is kept: profiles, contacts, relay lists.

Many authors write thousands of notes for one profile. Among all they wrote it would be looked for
from the newest on; its address leads to it at once.
"""

from typing import Any

from hanse.engines.storage.plain import Shape, padded
from hanse.protocol import kinds
from hanse.protocol.filter import Filter
from hanse.protocol.kinds import KindClass, kind_class

ADDRESSES_MAX = 1000
"""Of more, authors lead to the events."""

COLUMN = "event.address"


def addresses_of(found: Filter) -> list[str]:
    """All addresses at which what the filter passes can be; none if it can be elsewhere."""
    authors, wanted = found.authors, found.kinds
    if not (authors and wanted) or found.ids is not None or found.tags or found.search is not None:
        return []
    for kind in wanted:
        if kind_class(kind) is not KindClass.REPLACEABLE or kind in kinds.PRIVATE:
            return []
    if len(authors) * len(wanted) > ADDRESSES_MAX:
        return []
    return sorted([f"{kind}:{author}:" for kind in wanted for author in authors])


def addressed_shape(found: Filter, addresses: list[str]) -> Shape:
    """What decides the text of the filter's statement."""
    count = (len(addresses) - 1).bit_length() + 1
    return (0, count, 0, 0, found.since is None, found.until is None, COLUMN)


def addressed_params(found: Filter, addresses: list[str], limit: int, now_s: int) -> list[Any]:
    """In the order of `FilterSql._select`."""
    times = [time for time in (found.since, found.until) if time is not None]
    return [*padded(addresses), *times, now_s, limit]
