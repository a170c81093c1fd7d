"""ARD (v0.9) and ai-catalog 1.0: a catalog's entries, by their media types.

An entry holds its document or names where it is. Catalogs within catalogs are followed to a depth,
each address once, and all entries together have a bound: a catalog that names itself ends. A
registry that must be asked (`application/ai-registry+json`) is not asked.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from hanse.errors import HanseError, Invalid, Unavailable
from hanse.operations.imports import a2a, mcp, openapi
from hanse.operations.imports.listing import (
    Listing,
    Reading,
    held,
    line,
    native_id_of,
    rows,
    summary_of,
    texts,
    topics_of,
)

ENTRIES_MAX = 1000
ENTRIES_WHOLE_MAX = 10_000
DEPTH_MAX = 3
CATALOG = "application/ai-catalog+json"
CARDS = frozenset({"application/a2a-agent-card+json", "application/agent-card+json"})
SERVERS = frozenset({"application/mcp-server-card+json", "application/mcp-server+json"})
APIS = frozenset(
    {"application/openapi+json", "application/vnd.oai.openapi+json", "application/vnd.oai.openapi"}
)
REGISTRIES = frozenset({"application/ai-registry+json", "application/ai-registry"})

Fetch = Callable[[str], Awaitable[Any]]


def is_catalog(document: dict[str, Any]) -> bool:
    """Whether it is a catalog."""
    return isinstance(document.get("entries"), list) and "specVersion" in document


async def read(document: dict[str, Any], *, fetch: Fetch | None = None) -> Reading:
    """A catalog's entries as listings; `fetch` gets the documents that entries point to. Raises
    Invalid for what is no catalog."""
    return await _Walk(fetch).catalog(document, 0)


class _Walk:
    """One reading of a catalog and of those within it."""

    def __init__(self, fetch: Fetch | None) -> None:
        self._fetch = fetch
        self._left = ENTRIES_WHOLE_MAX
        self._catalogs: set[str] = set()

    async def catalog(self, document: dict[str, Any], depth: int) -> Reading:
        if str(document.get("specVersion", ""))[:2] not in ("1.", "1"):
            raise Invalid.at("specVersion", "is not spoken here", "1.x")
        reading = Reading()
        for entry in rows(document.get("entries"), "entries", ENTRIES_MAX):
            name = str(entry.get("identifier") or entry.get("displayName") or "?")
            self._left -= 1
            if self._left < 0:
                reading.refuse(name, f"catalogs hold over {ENTRIES_WHOLE_MAX} entries together")
                reading.whole = False
                break
            try:
                found = await self._entry(entry, depth)
            except Unavailable as exc:
                reading.refuse(name, exc)
                reading.whole = False  # it is listed: that it cannot be had now does not end it
            except HanseError as exc:
                reading.refuse(name, exc)
            else:
                reading.add(found)
        return reading

    async def _entry(self, entry: dict[str, Any], depth: int) -> Reading:
        id = native_id_of(entry.get("identifier"))
        kind = str(entry.get("type", "")).partition(";")[0].strip().lower()
        if kind in REGISTRIES:
            reason = "is a registry to be asked: import what it lists"
            return Reading(refused=[(line(id, 200), reason)])
        if kind not in CARDS | SERVERS | APIS | {CATALOG}:
            raise Invalid.at("type", f"{line(kind, 60)!r} is not one we read")
        if ("url" in entry) == ("data" in entry):
            raise Invalid.at("entry", "has one of url and data")
        if kind == CATALOG and depth >= DEPTH_MAX:
            raise Invalid.at("entry", f"catalogs are nested over {DEPTH_MAX} levels")
        url = entry["url"] if isinstance(entry.get("url"), str) else ""
        if kind == CATALOG and url in self._catalogs:
            return Reading()  # what it lists is read once
        document = held(entry.get("data")) if not url else await _had(url, self._fetch)
        if kind == CATALOG:
            if url:
                self._catalogs.add(url)
            return await self.catalog(document, depth + 1)
        if kind in CARDS:
            found = await a2a.read(document, native_id=id, at=url, fetch=self._fetch)
        elif kind in SERVERS:
            found = mcp.read(document, native_id=id)
        else:
            found = openapi.read(document, native_id=id, at=url)
        found.listings = [_told(one, entry) for one in found.listings]
        return found


async def _had(url: str, fetch: Fetch | None) -> dict[str, Any]:
    if fetch is None:
        raise Unavailable("is not fetched: the catalog is a file", hint="import its URL")
    found = await fetch(url)
    if not isinstance(found, dict):
        raise Invalid.at("url", "does not lead to an object")
    return found


def _told(listing: Listing, entry: dict[str, Any]) -> Listing:
    """The listing with what the entry says of it."""
    tags = topics_of(*listing.topics, *texts(entry.get("tags")))
    asked = texts(entry.get("representativeQueries"), 5)
    queries = "Asked for with: " + "; ".join(line(text, 200) for text in asked) if asked else ""
    said = "" if listing.summary else entry.get("description")
    return msgspec.structs.replace(
        listing, topics=tags, summary=summary_of(listing.summary, said, queries)
    )
