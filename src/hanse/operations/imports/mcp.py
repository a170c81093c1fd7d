"""MCP servers: `server.json` (2025-07 to 2025-12), what a registry's REST API answers (v0, v0.1),
and server cards (SEP-2127 and what came before it).

None of them has to say which tools a server has. Where they do (`tools`, here or in `_meta`), each
is a capability; where not, the server itself is one that takes any object.
"""

from typing import Any

from hanse.errors import HanseError, Invalid
from hanse.operations.imports import own
from hanse.operations.imports.listing import (
    Listing,
    Reading,
    Tools,
    held,
    line,
    name_of,
    native_id_of,
    rows,
    summary_of,
    topics_of,
    urls_of,
    version_of,
)
from hanse.registry.model import CAPABILITIES_MAX

TYPE = "mcp"
OFFICIAL = "io.modelcontextprotocol.registry/official"
PROVIDED = "io.modelcontextprotocol.registry/publisher-provided"
PAGE_MAX = 1000
VERSIONS = ("/v0.1/servers", "/v0/servers")


def is_page(document: dict[str, Any]) -> bool:
    """Whether it is a page of a registry's list."""
    return isinstance(document.get("servers"), list)


def is_server(document: dict[str, Any]) -> bool:
    """Whether it is one server: `server.json`, a registry's answer for one, or a card."""
    found = document["server"] if isinstance(document.get("server"), dict) else document
    about = held(found.get("serverInfo"))
    named = isinstance(found.get("name") or about.get("name"), str)
    known = ("remotes", "packages", "tools", "transport", "repository", "_meta", "$schema")
    return named and any(key in found for key in known) and "kind" not in found


def next_cursor(document: dict[str, Any]) -> str:
    """The cursor of the next page, "" at the end."""
    metadata = held(document.get("metadata"))
    found = metadata.get("nextCursor") or metadata.get("next_cursor") or ""
    return found if isinstance(found, str) and len(found) <= 2048 else ""


def read_page(document: dict[str, Any]) -> Reading:
    """A registry's page. Of several versions of one server the latest counts; what was deleted
    there is not listed. Raises Invalid."""
    reading = Reading()
    latest: dict[str, tuple[tuple[bool, str], Listing]] = {}
    for row in rows(document.get("servers"), "servers", PAGE_MAX):
        official = _official(row)
        if official.get("status") == "deleted":
            continue
        try:
            found = _server(row, reading)
        except HanseError as exc:
            reading.refuse(str(held(row.get("server", row)).get("name", "?")), exc)
            continue
        since = (official.get("isLatest") is True, str(official.get("publishedAt", "")))
        if found.native_id not in latest or since >= latest[found.native_id][0]:
            latest[found.native_id] = (since, found)
    reading.listings = [found for _, found in latest.values()]
    return reading


def read(document: dict[str, Any], *, native_id: str = "", at: str = "") -> Reading:
    """One server. Raises Invalid."""
    reading = Reading()
    reading.listings.append(_server(document, reading, native_id, at))
    return reading


def _official(row: dict[str, Any]) -> dict[str, Any]:
    meta = held(row.get("_meta")) or held(held(row.get("server")).get("_meta"))
    return held(meta.get(OFFICIAL))


def _server(row: dict[str, Any], reading: Reading, native_id: str = "", at: str = "") -> Listing:
    found = row["server"] if isinstance(row.get("server"), dict) else row
    about = held(found.get("serverInfo"))
    name = found.get("name") or about.get("name")
    if not isinstance(name, str) or not line(name, 255):
        raise Invalid.at("name", "is missing")
    title = found.get("title") or about.get("title")
    metas = (held(row.get("_meta")), held(found.get("_meta")))
    tools = Tools(reading, line(name, 100))
    if not own.put(tools, *metas):
        _put_tools(tools, found, metas, name)
    remotes = [held(one).get("url") for one in _list(found.get("remotes"))]
    packages = [held(one).get("registryType") for one in _list(found.get("packages"))]
    repository = held(found.get("repository")).get("url")
    places = [*remotes, held(found.get("transport")).get("endpoint"), at]
    return Listing(
        type=TYPE,
        native_id=native_id_of(native_id or name),
        name=name_of(title, name),
        summary=summary_of(found.get("description") or about.get("description")),
        capabilities=tools.done(),
        urls=urls_of([*places, found.get("websiteUrl"), repository]),
        version=version_of(found.get("version") or about.get("version")),
        topics=topics_of("mcp", *packages, *_list(found.get("tags"))),
    )


def _put_tools(
    tools: Tools, found: dict[str, Any], metas: tuple[dict[str, Any], ...], name: str
) -> None:
    listed = _list(found.get("tools"))
    for meta in metas:
        listed = listed or _list(held(meta.get(PROVIDED)).get("tools"))
    some = False
    for row in listed[:CAPABILITIES_MAX]:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            continue
        some = True
        hints = held(row.get("annotations"))
        tools.add(
            row["name"],
            title=row.get("title") or hints.get("title"),
            description=row.get("description"),
            takes=row.get("inputSchema") or row.get("input_schema"),
            returns=row.get("outputSchema"),
            idempotent=True if hints.get("idempotentHint") is True else None,
        )
    if not some:
        tools.add(name.rpartition("/")[2], description=found.get("description"))


def _list(found: Any) -> list[Any]:
    return found[:200] if isinstance(found, list) else []
