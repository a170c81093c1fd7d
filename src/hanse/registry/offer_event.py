"""The offer's event: kind 31402 (nips PR 2291), to and from an `Offer`.

| tag | what |
|---|---|
| d, name | identifier and name |
| summary, about | the description twice: the PR reads `summary`, deployed code `about` |
| url | 1 to 10 addresses where the offer can be reached; never used as a place to connect to |
| pmi | payment methods; ours is `["pmi", "hanse", <node key>]`: that node's ledger |
| price | `["price", capability, integer, currency]`, currency `sat` or `msat` |
| promise | ours: `["promise", "latency_p95_ms", "500"]`, `["promise", "success_rate", "0.99"]` |
| t, alt, auth, v | topics, text for plain clients, owner attestation, version of the format |

content: `{"capabilities": [{"name", "description", "schema", "outputSchema"}], "version"}`.
Reading takes what deployed publishers write (`about`, `sats`, `SAT`, unknown payment methods).
"""

import re
import unicodedata
from typing import Any

import orjson

from hanse.errors import Invalid, TooLarge
from hanse.protocol import kinds
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.canonical import read_json
from hanse.protocol.event import Event, Tags
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import identify
from hanse.registry.model import (
    CAPABILITIES_MAX,
    IDENTIFIER_MAX,
    NAME_MAX,
    SUMMARY_MAX,
    Capability,
    Offer,
    Promise,
)
from hanse.registry.schema import check_schema

FORMAT_VERSION = "1.0.0"
CONTENT_BYTES_MAX = 64 * 1024
CONTENT_DEPTH_MAX = 20
URL_MAX = 2048
_TOOL_NAME = re.compile(r"[A-Za-z0-9._/-]+")
_BAD_SCHEMES = ("data:", "file:", "javascript:", "blob:", "vbscript:")
_LINE_BREAKING = frozenset({"Cc", "Zl", "Zp"})
_UNITS = {"sat": 1000, "sats": 1000, "msat": 1, "msats": 1}


# --- writing --------------------------------------------------------------------------------


def offer_tags(offer: Offer, *, url: str, node: PublicKey) -> Tags:
    """The tags of an offer's event, without the owner's attestation."""
    prices = tuple(("price", found.name, *_price(found.price)) for found in offer.capabilities)
    return (
        ("d", offer.identifier),
        ("name", offer.name),
        ("summary", offer.summary),
        ("about", offer.summary),
        ("url", url),
        ("pmi", "hanse", node),
        *prices,
        ("promise", "latency_p95_ms", str(offer.promise.latency_p95_ms)),
        ("promise", "success_rate", f"{offer.promise.success_rate:.6g}"),
        *(("t", topic) for topic in offer.topics),
        ("alt", f"Offer: {offer.name}"),
        ("v", FORMAT_VERSION),
    )


def offer_content(offer: Offer) -> str:
    """The JSON content of an offer's event."""
    capabilities = []
    for found in offer.capabilities:
        row: dict[str, Any] = {"name": found.name, "description": found.description}
        row["schema"] = found.input_schema
        if found.output_schema is not None:
            row["outputSchema"] = found.output_schema
        capabilities.append(row)
    return orjson.dumps({"capabilities": capabilities, "version": offer.version}).decode()


def _price(price: Amount) -> tuple[str, str]:
    if price.msat % 1000 == 0:
        return str(price.msat // 1000), "sat"
    return str(price.msat), "msat"


# --- reading --------------------------------------------------------------------------------


def read_offer(event: Event) -> Offer:
    """An Offer from a checked kind 31402 event. Raises Invalid naming the tag or content field."""
    if event.kind != kinds.OFFER:
        raise Invalid.at("event.kind", f"must be {kinds.OFFER}")
    _check_version(event)
    identifier = _required(event, "d", IDENTIFIER_MAX)
    name = _required(event, "name", IDENTIFIER_MAX)
    _check_urls(event.values("url"))
    if not 1 <= len(event.values("pmi")) <= 20:
        raise Invalid.at("tags.pmi", "must appear 1 to 20 times")
    summary = event.tag("summary") or event.tag("about") or ""
    if len(summary) > SUMMARY_MAX:
        raise TooLarge(f"has more than {SUMMARY_MAX} characters", field="tags.summary")
    topics = tuple(event.values("t"))
    if len(topics) > 50 or any(len(topic) > NAME_MAX for topic in topics):
        raise Invalid.at("tags.t", f"at most 50 topics of {NAME_MAX} characters")
    prices = _prices(event)
    content = read_json(
        event.content or "{}",
        "content",
        bytes_max=CONTENT_BYTES_MAX,
        depth_max=CONTENT_DEPTH_MAX,
    )
    if not isinstance(content, dict):
        raise Invalid.at("content", "must be an object")
    return Offer(
        provider=event.pubkey,
        operator=identify(event).operator,
        identifier=identifier,
        name=name,
        summary=summary,
        capabilities=_capabilities(content.get("capabilities", []), prices),
        promise=_promise(event),
        topics=topics,
        version=str(content.get("version", "0.0.0"))[:NAME_MAX],
        event_id=event.id,
        created_at=event.created_at,
    )


def _check_version(event: Event) -> None:
    spoken = event.tag("v")
    # Offers by other software carry no version; a major one we do not know is refused, typed.
    if spoken is not None and spoken.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise Invalid.at("tags.v", f"version {spoken[:20]} is not spoken here", "speak 1.x")


def _required(event: Event, tag: str, longest: int) -> str:
    found = event.tag(tag)
    if not found or not found.strip():
        raise Invalid.at(f"tags.{tag}", "is missing or blank")
    if len(found.encode()) > longest:  # bytes: an naddr holds the identifier in 255 of them
        raise TooLarge(f"is over {longest} bytes", field=f"tags.{tag}")
    _check_line(found, f"tags.{tag}")
    return found


def _check_line(text: str, field: str) -> None:
    """Names are shown in lines of ours: none may begin a line or move a cursor."""
    if any(unicodedata.category(char) in _LINE_BREAKING for char in text):
        raise Invalid.at(field, "has control characters or line breaks")


def _check_urls(urls: list[str]) -> None:
    if not 1 <= len(urls) <= 10:
        raise Invalid.at("tags.url", "must appear 1 to 10 times")
    for url in urls:
        if len(url) > URL_MAX or any(ord(char) < 32 for char in url):
            raise Invalid.at("tags.url", f"over {URL_MAX} characters, or control characters")
        if url.strip().lower().startswith(_BAD_SCHEMES):
            raise Invalid.at("tags.url", "has a scheme that is not an address")


def _prices(event: Event) -> dict[str, Amount]:
    found: dict[str, Amount] = {}
    rows = [tag for tag in event.tags if tag[:1] == ("price",)]
    if len(rows) > CAPABILITIES_MAX:
        raise TooLarge(f"more than {CAPABILITIES_MAX} prices", field="tags.price")
    for tag in rows:
        if len(tag) < 4:
            raise Invalid.at("tags.price", "must be [price, capability, amount, currency]")
        _, capability, text, currency = tag[:4]
        factor = _UNITS.get(currency.lower())
        if factor is None:
            raise Invalid.at("tags.price", f"currency {currency[:32]!r} is not sat or msat")
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise Invalid.at("tags.price", "amount must be a non-negative integer")
        if capability in found:
            raise Invalid.at("tags.price", f"{capability[:64]!r} is priced twice")
        msat = int(text) * factor
        if msat > AMOUNT_MAX_MSAT:
            raise Invalid.at("tags.price", f"is over {AMOUNT_MAX_MSAT} msat")
        found[capability] = Amount(msat)
    return found


def _promise(event: Event) -> Promise:
    values = {tag[1]: tag[2] for tag in event.tags if tag[:1] == ("promise",) and len(tag) > 2}
    defaults = Promise()
    try:
        return Promise(
            latency_p95_ms=int(values.get("latency_p95_ms", defaults.latency_p95_ms)),
            success_rate=float(values.get("success_rate", defaults.success_rate)),
        )
    except ValueError as exc:
        raise Invalid.at("tags.promise", "must be a number") from exc


def _capabilities(rows: Any, prices: dict[str, Amount]) -> tuple[Capability, ...]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= CAPABILITIES_MAX:
        raise Invalid.at("content.capabilities", f"must be a list of 1 to {CAPABILITIES_MAX}")
    found: dict[str, Capability] = {}
    for index, row in enumerate(rows):
        where = f"content.capabilities[{index}]"
        one = _capability(row, prices, where)
        if one.name in found:
            raise Invalid.at(f"{where}.name", f"{one.name!r} appears twice")
        found[one.name] = one
    return tuple(found.values())


def _capability(row: Any, prices: dict[str, Amount], where: str) -> Capability:
    if not isinstance(row, dict):
        raise Invalid.at(where, "must be an object")
    name, description = row.get("name"), row.get("description", "")
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
        raise Invalid.at(f"{where}.name", f"must have 1 to {NAME_MAX} characters")
    if not _TOOL_NAME.fullmatch(name):
        raise Invalid.at(f"{where}.name", "must be letters, digits, and . _ - / as MCP tools are")
    if name not in prices:
        raise Invalid.at(f"{where}.name", f"{name!r} has no price tag")
    if not isinstance(description, str) or len(description) > SUMMARY_MAX:
        raise Invalid.at(f"{where}.description", f"must be text of at most {SUMMARY_MAX}")
    schema = row.get("schema", {"type": "object"})
    check_schema(schema, f"{where}.schema")
    output = row.get("outputSchema")
    if output is not None:
        check_schema(output, f"{where}.outputSchema")
    return Capability(
        name=name,
        description=description,
        input_schema=schema,
        output_schema=output,
        price=prices[name],
    )
