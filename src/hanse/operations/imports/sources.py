"""A source: a file, a URL or a relay; what it is, and all that it lists.

A URL without a path is a host: its catalog, its agent card, its registry are asked for, in this
order. A registry is read page by page. What could not be had makes the reading less than whole, so
that nothing is dropped because of it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from hanse.engines.peers.link import Link
from hanse.engines.storage.files import Report
from hanse.engines.web.reader import Web
from hanse.errors import HanseError, Invalid, NotFound, Unavailable
from hanse.operations.imports import a2a, announced, ard, mcp, openapi, x402, yaml_text
from hanse.operations.imports.listing import Listing, Reading, held
from hanse.protocol.address import encode_npub
from hanse.protocol.canonical import read_json
from hanse.protocol.event import parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import is_hex

FILE_BYTES_MAX = 8 << 20
PAGES_MAX = 500
PAGE = 100
RELAY_PAGE = 500
RELAY_S = 180.0
"""How long a relay may take for all it keeps; what it told until then is taken."""
ARD = "ard"
NOSTR = "nostr"
KINDS = (mcp.TYPE, a2a.TYPE, openapi.TYPE, ARD, x402.TYPE, NOSTR)
"""What a source can be."""

_AT_A_HOST = (
    "/.well-known/ai-catalog.json",
    "/.well-known/agent-card.json",
    "/.well-known/agent.json",  # where A2A cards were before 0.3
    *mcp.VERSIONS,
)
_ANNOUNCED = "_"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where listings came from: its name for good, and what it was found to be."""

    url: str
    kind: str


Gathered = tuple[Source, Reading]


def kind_of(document: Any) -> str | None:
    """What a document is, by what it holds; None for none of ours."""
    if not isinstance(document, dict):
        return None
    known: tuple[tuple[str, Callable[[dict[str, Any]], bool]], ...] = (
        (openapi.TYPE, openapi.is_openapi),
        (ARD, ard.is_catalog),
        (x402.TYPE, x402.is_page),
        (mcp.TYPE, mcp.is_page),
        (a2a.TYPE, a2a.is_card),
        (mcp.TYPE, mcp.is_server),
    )
    return next((kind for kind, holds in known if holds(document)), None)


# --- files ----------------------------------------------------------------------------------------


def document_in(raw: bytes) -> dict[str, Any] | None:
    """The one JSON object that a file is, or an OpenAPI document in YAML; None for lines of events
    or anything else. Raises Invalid for YAML that cannot be read: events are no YAML."""
    if yaml_text.is_openapi(raw):
        found = yaml_text.read_yaml(raw, "file", bytes_max=FILE_BYTES_MAX)
        return found if isinstance(found, dict) else None
    if len(raw) > FILE_BYTES_MAX or raw.lstrip()[:1] != b"{":
        return None
    try:
        found = read_json(raw, "file", bytes_max=FILE_BYTES_MAX)
    except HanseError:
        return None
    return found if isinstance(found, dict) and kind_of(found) is not None else None


async def of_file(name: str, raw: bytes, kind: str | None) -> Gathered:
    """What a file lists. Nothing is asked of the web for it."""
    url = f"urn:hanse:file:{name}"
    if kind == NOSTR:
        return Source(url=url, kind=NOSTR), _of_lines(raw)
    document = _parsed(raw, name, kind, FILE_BYTES_MAX)
    return await _of_document(document, url, kind, None)


def _parsed(raw: bytes, name: str, kind: str | None, bytes_max: int) -> Any:
    """A document as JSON values: YAML only where it says that it is OpenAPI, or we were told so."""
    told = kind == openapi.TYPE and raw.lstrip()[:1] != b"{"
    if kind in (None, openapi.TYPE) and (told or yaml_text.is_openapi(raw)):
        return yaml_text.read_yaml(raw, name, bytes_max=bytes_max)
    return read_json(raw, name, bytes_max=bytes_max)


def _of_lines(raw: bytes) -> Reading:
    refused = Reading()
    events = []
    for number, text in enumerate(raw.splitlines(), 1):
        if not text.strip():
            continue
        try:
            events.append(parse_event(text))
        except HanseError as exc:
            refused.refuse(f"line {number}", exc)
    reading = announced.read(events)
    reading.add(refused)
    return reading


# --- the web --------------------------------------------------------------------------------------


async def of_url(url: str, kind: str | None, web: Web, report: Report, most: int) -> Gathered:
    """What a URL lists. Raises NotFound, Unavailable, Invalid."""
    if kind is None and urlsplit(url).path in ("", "/"):
        url, document = await _at_host(url, web)
    else:
        if kind == mcp.TYPE and urlsplit(url).path in ("", "/"):
            url = _joined(url, mcp.VERSIONS[0])
        place = _first(url, kind)
        document = _parsed(await web.document(place), place, kind, web.bounds.document_bytes)
    found = kind or kind_of(document)
    if found == mcp.TYPE and isinstance(document, dict) and mcp.is_page(document):
        reading = await _registry(url, web, report, most)
    elif found == x402.TYPE:
        reading = await _bazaar(url, web, report, most)
    else:
        source, reading = await _of_document(document, url, found, web)
        found = source.kind
    if len(reading.listings) > most:
        del reading.listings[most:]
        reading.whole = False
    await _prove(reading, url, web)
    return Source(url=url, kind=str(found)), reading


async def _at_host(url: str, web: Web) -> tuple[str, Any]:
    for path in _AT_A_HOST:
        place = _joined(url, path)
        try:
            found = await web.json(place)
        except (NotFound, Invalid):
            continue
        if kind_of(found) is not None:
            return place, found
    raise NotFound(f"{url} lists nothing where one would look", hint="name the document's URL")


def names_of(source: str) -> list[str]:
    """The names that a source may have been imported under: a host stands for what is tried there,
    a file for its last name."""
    if "://" not in source:
        return [f"urn:hanse:file:{source.replace(os.sep, '/').rpartition('/')[2]}"]
    if urlsplit(source).scheme in ("http", "https") and urlsplit(source).path in ("", "/"):
        return [source, *(_joined(source, path) for path in _AT_A_HOST)]
    return [source]


def _joined(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=path, query="", fragment=""))


def _first(url: str, kind: str | None) -> str:
    """The first page of what is named as a list of pages."""
    path = urlsplit(url).path.rstrip("/")
    if kind in (None, mcp.TYPE) and path.endswith("/servers"):
        return _asked(url, limit=str(PAGE), version="latest")
    if kind in (None, x402.TYPE) and path.endswith("/discovery/resources"):
        return _asked(url, limit=str(PAGE), offset="0")
    return url


def _asked(url: str, **more: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | more
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _of_document(document: Any, url: str, kind: str | None, web: Web | None) -> Gathered:
    kind = kind or kind_of(document)
    if kind is None or kind not in KINDS or not isinstance(document, dict):
        known = ", ".join(KINDS)
        raise Invalid.at("source", "is nothing we read", f"say what it is with --from: {known}")
    at = url if web is not None else ""
    fetch = web.json if web is not None else None
    if kind == ARD:
        reading = await ard.read(document, fetch=fetch)
    elif kind == a2a.TYPE:
        reading = await a2a.read(document, at=at, fetch=fetch)
    elif kind == openapi.TYPE:
        reading = openapi.read(document, at=at)
    elif kind == x402.TYPE:
        reading = x402.read_page(document)
    elif mcp.is_page(document):
        reading = mcp.read_page(document)
    else:
        reading = mcp.read(document)
    return Source(url=url, kind=kind), reading


async def _registry(url: str, web: Web, report: Report, most: int) -> Reading:
    reading, cursor = Reading(), ""
    for _ in range(PAGES_MAX):
        more = {"cursor": cursor} if cursor else {}
        place = _asked(url, limit=str(PAGE), version="latest", **more)
        if (page := await _page(web, place, reading)) is None:
            return _each_once(reading)
        reading.add(mcp.read_page(page))
        report(f"{len(reading.listings)} servers", len(reading.listings), 0)
        following = mcp.next_cursor(page)
        if not following or following == cursor:
            return _each_once(reading)
        cursor = following
        if len(reading.listings) >= most:
            break
    reading.whole = False
    return _each_once(reading)


async def _page(web: Web, url: str, reading: Reading) -> dict[str, Any] | None:
    """A page; None if it cannot be had and others were: what they hold is worth having."""
    try:
        return held(await web.json(url))
    except Unavailable as exc:
        if not reading.listings:
            raise
        reading.refuse(url, f"{exc.text}: the pages before it were read, the rest was not")
        reading.whole = False
        return None


def _each_once(reading: Reading) -> Reading:
    """Registries that do not know `version=latest` list every version: the last page's counts."""
    latest = {listing.native_id: listing for listing in reading.listings}
    reading.listings = list(latest.values())
    return reading


async def _bazaar(url: str, web: Web, report: Report, most: int) -> Reading:
    reading, offset = Reading(), 0
    for _ in range(PAGES_MAX):
        place = _asked(url, limit=str(PAGE), offset=str(offset))
        if (page := await _page(web, place, reading)) is None:
            return _each_once(reading)
        reading.add(x402.read_page(page))
        total = held(page.get("pagination")).get("total")
        report("resources", len(reading.listings), total if type(total) is int else 0)
        following = x402.next_offset(page, offset)
        if following is None:
            return _each_once(reading)
        offset = following
        if len(reading.listings) >= most:
            break
    reading.whole = False
    return _each_once(reading)


async def _prove(reading: Reading, url: str, web: Web) -> None:
    """Domain proof: the host that lists a service of its own names the key behind it (NIP-05's
    `_`). It is asked once, and only if something of its own is listed there."""
    host = urlsplit(url).netloc
    if not any(_is_own(one, host) for one in reading.listings):
        return
    place = f"/.well-known/nostr.json?name={_ANNOUNCED}"
    try:
        found = held(await web.json(f"{urlsplit(url).scheme}://{host}{place}"))
    except HanseError:
        return  # most hosts name nobody
    key = held(found.get("names")).get(_ANNOUNCED)
    if not isinstance(key, str) or not is_hex(key, 64):
        return
    proof = f"domain {host} {encode_npub(key)}"  # type: ignore[arg-type]  # checked just above
    reading.listings = [
        msgspec.structs.replace(one, verified=proof) if _is_own(one, host) else one
        for one in reading.listings
    ]


def _is_own(listing: Listing, host: str) -> bool:
    """Whether a listing that nothing proves yet is of a service at the host."""
    return bool(listing.urls and not listing.verified and urlsplit(listing.urls[0]).netloc == host)


# --- relays ---------------------------------------------------------------------------------------


async def of_relay(
    url: str, report: Report, most: int, now_s: Callable[[], int], within_s: float = RELAY_S
) -> Gathered:
    """The announcements that a relay keeps, newest first: as many as it tells in time, and why not
    more. Raises Unavailable if it tells nothing."""
    found: dict[str, Any] = {}
    whole, why = False, ""
    try:
        async with asyncio.timeout(within_s), Link(url, None, now_s) as link:
            _, whole = await pages(
                lambda filter: link.fetch(filter, RELAY_PAGE),
                Filter(kinds=announced.KINDS, limit=RELAY_PAGE),
                most * 5,  # a server announces itself in five events
                report,
                found,
            )
    except (TimeoutError, Unavailable) as exc:
        why = exc.text if isinstance(exc, Unavailable) else f"was not done within {within_s:g} s"
        if not found:
            raise Unavailable(f"{url}: {why}; nothing was read", hint="try again later") from exc
    reading = announced.read(list(found.values()))
    reading.whole = reading.whole and whole
    if why:
        reading.refuse(url, f"{why}: its newest {len(found)} events were read, the rest was not")
    if len(reading.listings) > most:
        del reading.listings[most:]
        reading.whole = False
    return Source(url=url, kind=NOSTR), reading


async def pages(
    ask: Callable[[Filter], Awaitable[list[Any]]],
    wanted: Filter,
    most: int,
    report: Report,
    found: dict[str, Any] | None = None,
) -> tuple[list[Any], bool]:
    """All events of a filter, page by page, at most `most`; whether that is all there are. Of those
    of one second a relay may give the same page again: then nothing older can be reached. `found`
    holds them as they come, should the last page not."""
    found = {} if found is None else found
    until, fullest = wanted.until, 1
    while len(found) < most:
        page = await ask(msgspec.structs.replace(wanted, until=until))
        fresh = [event for event in page if event.id not in found]
        if not fresh:
            return list(found.values()), len(page) < fullest or len(page) == 1
        fullest = max(fullest, len(page))
        found |= {event.id: event for event in fresh}
        report(f"{len(found)} events", len(found), 0)
        until = min(event.created_at for event in page)
    return list(found.values()), False


def listings_of(reading: Reading) -> list[Listing]:
    """Each listing once: of two with one native id and type the first counts."""
    found: dict[tuple[str, str], Listing] = {}
    for one in reading.listings:
        found.setdefault((one.type, one.native_id), one)
    return list(found.values())
