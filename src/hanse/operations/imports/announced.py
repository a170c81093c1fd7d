"""Announcements on Nostr: handlers (NIP-89, kind 31990; with them NIP-90's service providers), and
ContextVM servers (CEP-6, kinds 11316 to 11320).

Every event is signed by whom it announces, and the signature is checked. ContextVM's prices
(CEP-8's `cap` tag) in whole sats are taken over; a range is no price.
"""

from collections.abc import Iterable
from typing import Any

from hanse.errors import HanseError, Invalid
from hanse.operations.imports.listing import (
    ANY_OBJECT,
    Listing,
    Reading,
    Tools,
    held,
    line,
    name_of,
    prose,
    summary_of,
    terms_of,
    texts,
    topics_of,
    urls_of,
    version_of,
)
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.canonical import read_json
from hanse.protocol.event import Event, check_event
from hanse.registry.model import CAPABILITIES_MAX

HANDLER = "nip89"
CONTEXTVM = "contextvm"
KINDS = frozenset({kinds.HANDLER, *kinds.SERVER_ANNOUNCEMENTS})
CONTENT_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32
JOBS = range(5000, 6000)
_LISTS = {
    kinds.TOOLS_ANNOUNCEMENT: "tools",
    kinds.RESOURCES_ANNOUNCEMENT: "resources",
    kinds.TEMPLATES_ANNOUNCEMENT: "resourceTemplates",
    kinds.PROMPTS_ANNOUNCEMENT: "prompts",
}


def read(events: Iterable[Event]) -> Reading:
    """Listings of announcements; of each author's, the newest of a kind (and `d`) counts."""
    reading = Reading()
    newest: dict[tuple[int, str, str], Event] = {}
    for event in events:
        if event.kind not in KINDS:
            continue
        try:
            check_event(event)
        except HanseError as exc:
            reading.refuse(event.id, exc)
            continue
        key = (event.kind, event.pubkey, event.tag("d") or "")
        if key not in newest or newest[key].created_at < event.created_at:
            newest[key] = event
    servers: dict[str, dict[int, Event]] = {}
    for event in newest.values():
        if event.kind == kinds.HANDLER:
            _try(reading, event.id, lambda event=event: _handler(event, reading))
        else:
            servers.setdefault(event.pubkey, {})[event.kind] = event
    for pubkey, found in servers.items():
        _try(reading, pubkey, lambda found=found: _server(found, reading))
    return reading


def _try(reading: Reading, what: str, make: Any) -> None:
    try:
        reading.listings.append(make())
    except HanseError as exc:
        reading.refuse(what, exc)


# --- NIP-89, NIP-90 -------------------------------------------------------------------------------


def _handler(event: Event, reading: Reading) -> Listing:
    about = _content(event) if event.content.strip() else {}
    npub = encode_npub(event.pubkey)
    tools = Tools(reading, f"handler {event.pubkey[:16]}")
    for number in list(dict.fromkeys(event.values("k")))[: CAPABILITIES_MAX + 1]:
        if not (number.isascii() and number.isdigit() and len(number) <= 5):
            continue
        job = int(number) in JOBS
        text = f"{line(about.get('about'), 500)}" if job else ""
        what = f"Job kind {number} (NIP-90)." if job else f"Handles events of kind {number}."
        tools.add(
            f"kind-{number}",
            description=summary_of(text, what),
            takes=_job(about) if job else dict(ANY_OBJECT),
        )
    name = about.get("name") or about.get("display_name") or about.get("displayName")
    web = [url for url in event.values("web") if "<bech32>" not in url]
    return Listing(
        type=HANDLER,
        native_id=f"{event.kind}:{event.pubkey}:{event.tag('d') or ''}"[:1024],
        name=name_of(name, f"handler of {npub[:16]}"),
        summary=summary_of(about.get("about")),
        capabilities=tools.done(),
        urls=urls_of([about.get("website"), *web]),
        topics=topics_of("nostr", *event.values("t")),
        verified=f"signature {npub}",
    )


def _job(about: dict[str, Any]) -> dict[str, Any]:
    """A job request: its inputs, and the parameters that deployed providers tell of."""
    properties: dict[str, Any] = {
        "input": {"type": "string", "description": "Text, a URL, an event's id, or a job's."},
        "output": {"type": "string", "description": "The media type that is wanted."},
    }
    for name, row in list(held(about.get("nip90Params")).items())[:50]:
        values = texts(held(row).get("values"), 100)
        properties[name] = {"type": "string"} | ({"enum": values} if values else {})
    return {"type": "object", "properties": properties}


# --- ContextVM ------------------------------------------------------------------------------------


def _server(found: dict[int, Event], reading: Reading) -> Listing:
    pubkey = next(iter(found.values())).pubkey
    npub = encode_npub(pubkey)
    first = found.get(kinds.SERVER_ANNOUNCEMENT)
    about = _content(first) if first is not None else {}
    info = held(about.get("serverInfo"))
    tags = first.tag if first is not None else (lambda _name: None)
    prices = _prices(found.values())
    tools = Tools(reading, f"server {pubkey[:16]}")
    told: list[str] = []
    for kind, key in _LISTS.items():
        event = found.get(kind)
        listed = _content(event).get(key) if event is not None else None
        items = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        if key == "resources" and items:
            told.append(f"It has {len(items)} resources.")
            continue
        for row in items[: CAPABILITIES_MAX + 1]:
            _PUT[key](tools, row, prices)
    return Listing(
        type=CONTEXTVM,
        native_id=pubkey,
        name=name_of(tags("name") or info.get("title") or info.get("name"), f"server {npub[:16]}"),
        summary=summary_of(tags("about"), about.get("instructions"), *told),
        capabilities=tools.done(),
        urls=urls_of([tags("website")]),
        version=version_of(info.get("version")),
        topics=topics_of("contextvm", "mcp", *(first.values("t") if first is not None else ())),
        payment_methods=tuple(dict.fromkeys(first.values("pmi")))[:10] if first is not None else (),
        terms=terms_of(""),
        verified=f"signature {npub}",
    )


def _put_tool(tools: Tools, row: dict[str, Any], prices: dict[str, Amount]) -> None:
    name = row.get("name")
    if isinstance(name, str):
        tools.add(
            name,
            title=row.get("title"),
            description=row.get("description"),
            takes=row.get("inputSchema"),
            returns=row.get("outputSchema"),
            price=prices.get(f"tool:{name}"),
        )


def _put_prompt(tools: Tools, row: dict[str, Any], prices: dict[str, Amount]) -> None:
    name, properties, required = row.get("name"), {}, []
    for one in row["arguments"][:50] if isinstance(row.get("arguments"), list) else []:
        key = held(one).get("name")
        if isinstance(key, str):
            properties[key] = {"type": "string", "description": prose(one.get("description"), 500)}
            if one.get("required") is True:
                required.append(key)
    if isinstance(name, str):
        takes = {"type": "object", "properties": properties, "required": required}
        price = prices.get(f"prompt:{name}")
        tools.add(f"prompt/{name}", description=row.get("description"), takes=takes, price=price)


def _put_template(tools: Tools, row: dict[str, Any], prices: dict[str, Amount]) -> None:
    name, template = row.get("name"), row.get("uriTemplate")
    if isinstance(name, str) and isinstance(template, str):
        takes = {"type": "object", "properties": {"uri": {"type": "string"}}, "required": ["uri"]}
        about = summary_of(row.get("description"), f"Resources at {line(template, 300)}")
        price = prices.get(f"resource:{template}")
        tools.add(f"resource/{name}", description=about, takes=takes, price=price)


_PUT = {"tools": _put_tool, "prompts": _put_prompt, "resourceTemplates": _put_template}


def _prices(events: Iterable[Event]) -> dict[str, Amount]:
    """CEP-8: ["cap", "tool:name", "100", "sats"]."""
    found: dict[str, Amount] = {}
    for event in events:
        for tag in event.tags:
            if len(tag) < 4 or tag[0] != "cap" or tag[3].lower() not in ("sat", "sats"):
                continue
            text = tag[2]
            if text.isascii() and text.isdigit() and len(text) <= 13:
                found[tag[1]] = Amount(min(int(text) * 1000, AMOUNT_MAX_MSAT))
    return found


def _content(event: Event) -> dict[str, Any]:
    found = read_json(
        event.content, "event.content", bytes_max=CONTENT_BYTES_MAX, depth_max=DEPTH_MAX
    )
    if not isinstance(found, dict):
        raise Invalid.at("event.content", "must be an object")
    return found
