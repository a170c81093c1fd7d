"""The offer's event: kind 31402 (nips PR 2291), to and from an `Offer`.

| tag | what |
|---|---|
| d, name | identifier and name |
| summary, about | the description twice: the PR reads `summary`, deployed code `about` |
| url | 1 to 10 addresses where the offer can be reached; never used as a place to connect to |
| pmi | payment methods; ours is `["pmi", "hanse", <node key>]`: that node's ledger |
| price | a call's: `["price", capability, integer, currency]`, currency `sat` or `msat` |
| metered | ours: `["metered", capability, integer, currency, "1000", "token"]`: per 1,000 of them |
| period | ours: `["period", capability, integer, currency, "month"]`, then the calls in it |
| promise | ours: `["promise", "latency_p95_ms", "500"]`; places, certifications: many in one tag |
| terms | ours: the provider's |
| imported, verified | ours: where the offer was imported from; what of it was checked |
| t, alt, auth, v | topics, text for plain clients, owner attestation, version of the format |

content: `{"capabilities": [{"name", "title", "description", "schema", "outputSchema", "examples":
[{"input", "output"}], "sideEffects", "idempotent", "dataHandling"}], "version"}`.
Reading takes what deployed publishers write (`about`, `sats`, `SAT`, unknown payment methods).
"""

import re
import unicodedata
from typing import Any

import orjson

from hanse.errors import Invalid, TooLarge
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.canonical import read_json
from hanse.protocol.event import Event, Tags
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import identify
from hanse.registry.model import (
    CAPABILITIES_MAX,
    DATA_HANDLING_MAX,
    EXAMPLES_MAX,
    IDENTIFIER_MAX,
    METERED_MAX,
    METHOD_MAX,
    METHODS_MAX,
    NAME_MAX,
    SIDE_EFFECTS,
    SOURCE_MAX,
    SUMMARY_MAX,
    TERMS_MAX,
    TITLE_MAX,
    Capability,
    Example,
    Metered,
    Offer,
    Period,
    Promise,
)
from hanse.registry.schema import check_schema

FORMAT_VERSION = "1.1.0"
IMPORTED, VERIFIED = "imported", "verified"
HANSE = "hanse"
"""The payment method that every node has: its ledger."""

CONTENT_BYTES_MAX = 64 * 1024
CONTENT_DEPTH_MAX = 20
URL_MAX = 2048
_TOOL_NAME = re.compile(r"[A-Za-z0-9._/-]+")
_BAD_SCHEMES = ("data:", "file:", "javascript:", "blob:", "vbscript:")
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # scripts and emoji are written with them
_UNITS = {"sat": 1000, "sats": 1000, "msat": 1, "msats": 1}

_WHOLE = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
_SHARES = ("success_rate", "availability", "throughput_per_s")
_LISTS = ("regions", "data_residence", "certifications")


# --- writing --------------------------------------------------------------------------------


def offer_tags(offer: Offer, *, url: str, node: PublicKey) -> Tags:
    """The tags of an offer's event, without the owner's attestation."""
    return (
        ("d", offer.identifier),
        ("name", offer.name),
        ("summary", offer.summary),
        ("about", offer.summary),
        ("url", url),
        ("pmi", HANSE, node),
        *(("pmi", method) for method in offer.payment_methods if method != HANSE),
        *call_prices(offer),
        *promise_tags(offer.promise),
        *((("terms", offer.terms),) if offer.terms else ()),
        *(((IMPORTED, offer.source),) if offer.source else ()),
        *(("t", topic) for topic in offer.topics),
        ("alt", f"Offer: {offer.name}"),
        ("v", FORMAT_VERSION),
    )


def call_prices(offer: Offer) -> Tags:
    """The tags that say what calls cost."""
    return tuple(tag for found in offer.capabilities for tag in _price_tags(found))


def offer_content(offer: Offer) -> str:
    """The JSON content of an offer's event."""
    rows = [capability_row(found) for found in offer.capabilities]
    return orjson.dumps({"capabilities": rows, "version": offer.version}).decode()


def capability_row(found: Capability) -> dict[str, Any]:
    """A capability as the content has it: without its prices. What is not said is left out."""
    row: dict[str, Any] = {
        "name": found.name,
        "title": found.title or None,
        "description": found.description,
        "schema": found.input_schema,
        "outputSchema": found.output_schema,
        "examples": [_example_row(one) for one in found.examples] or None,
        "sideEffects": found.side_effects,
        "idempotent": found.idempotent,
        "dataHandling": found.data_handling or None,
    }
    return {key: value for key, value in row.items() if value is not None}


def _example_row(found: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"input": found.input}
    if found.output is not None:
        row["output"] = found.output
    return row | {"probe": True} if found.probe else row


def _price_tags(found: Capability) -> Tags:
    name, period = found.name, found.period
    rows: list[tuple[str, ...]] = [("price", name, *_price(found.price))] if found.by_call else []
    rows += [("metered", name, *_price(one.price), str(one.per), one.unit) for one in found.metered]
    if period is not None:
        calls = (str(period.calls),) if period.calls is not None else ()
        rows.append(("period", name, *_price(period.price), period.span, *calls))
    return tuple(rows)


def promise_tags(promise: Promise) -> Tags:
    """A promise as an offer's event has it."""
    rows: list[tuple[str, ...]] = []
    for name in _WHOLE + _SHARES:
        figure = getattr(promise, name)
        if figure is not None:
            rows.append(("promise", name, str(figure) if name in _WHOLE else f"{figure:.6g}"))
    for name in _LISTS:
        if found := getattr(promise, name):
            rows.append(("promise", name, *found))
    return tuple(rows)


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
    if (source := event.tag(IMPORTED)) is not None and not source.strip():
        raise Invalid.at("tags.imported", "names no source")
    prices = Prices(event)
    content = read_json(
        event.content or "{}",
        "content",
        bytes_max=CONTENT_BYTES_MAX,
        depth_max=CONTENT_DEPTH_MAX,
    )
    if not isinstance(content, dict):
        raise Invalid.at("content", "must be an object")
    _check_signer(event, content.get("provider"))
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
        payment_methods=_methods(event),
        terms=_text(event.tag("terms") or "", TERMS_MAX, "tags.terms"),
        source=_text(event.tag(IMPORTED) or "", SOURCE_MAX, "tags.imported"),
        verified=_verified(event),
        event_id=event.id,
        created_at=event.created_at,
    )


def _check_signer(event: Event, written: Any) -> None:
    """Who signs is the provider; one who is named nevertheless must be the same."""
    for where, named in (("tags.provider", event.tag("provider")), ("content.provider", written)):
        if named not in (None, event.pubkey) and named != encode_npub(event.pubkey):
            raise Invalid.at(where, "is not who signed the offer", "each provider signs its own")


def _verified(event: Event) -> str:
    found = next((tag for tag in event.tags if tag[:1] == (VERIFIED,)), ())
    return " ".join(found[1:4])[:SOURCE_MAX] if event.tag(IMPORTED) else ""


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
    """Names are shown in lines of ours: none may begin a line, move a cursor, turn what follows
    around, or look like another because of what is not seen."""
    for char in text:
        if unicodedata.category(char) in _UNSEEN and char not in _JOINERS:
            raise Invalid.at(field, "has control or invisible characters, or line breaks")


def _check_urls(urls: list[str]) -> None:
    if not 1 <= len(urls) <= 10:
        raise Invalid.at("tags.url", "must appear 1 to 10 times")
    for url in urls:
        if len(url) > URL_MAX or any(ord(char) < 32 for char in url):
            raise Invalid.at("tags.url", f"over {URL_MAX} characters, or control characters")
        if url.strip().lower().startswith(_BAD_SCHEMES):
            raise Invalid.at("tags.url", "has a scheme that is not an address")


def _text(found: Any, longest: int, field: str) -> str:
    if not isinstance(found, str) or len(found) > longest:
        raise Invalid.at(field, f"must be text of at most {longest} characters")
    return found


def _methods(event: Event) -> tuple[str, ...]:
    """Each payment method once. What is blank or endless names none; `l402` says beside itself that
    it is paid over lightning."""
    found: dict[str, None] = {}
    for tag in event.tags:
        if tag[:1] == ("pmi",):
            names = tag[1:3] if tag[2:3] == ("lightning",) else tag[1:2]
            found |= dict.fromkeys(one for one in names if 0 < len(one) <= METHOD_MAX)
    return tuple(found)[:METHODS_MAX]


class Prices:
    """The prices in an offer's tags, by capability. Raises Invalid for one that is none."""

    def __init__(self, event: Event) -> None:
        self.elsewhere = event.tag(IMPORTED) is not None
        """What is imported may be paid at its source only, at a price we cannot tell."""
        self.calls: dict[str, Amount] = {}
        self.metered: dict[str, tuple[Metered, ...]] = {}
        self.periods: dict[str, Period] = {}
        counts = dict.fromkeys(_READERS, 0)
        for tag in event.tags:
            read = _READERS.get(tag[0]) if tag else None
            if read is None:
                continue
            counts[tag[0]] += 1
            if counts[tag[0]] > CAPABILITIES_MAX * (METERED_MAX if tag[0] == "metered" else 1):
                raise TooLarge(f"more than {counts[tag[0]] - 1} prices", field=f"tags.{tag[0]}")
            read(self, tag)

    def names(self) -> set[str]:
        """Capabilities that have a price of any sort."""
        return {*self.calls, *self.metered, *self.periods}

    def _call(self, tag: tuple[str, ...]) -> None:
        name, price = _priced(tag, 4, "[price, capability, amount, currency]")
        if name in self.calls:
            raise Invalid.at("tags.price", f"{name[:64]!r} is priced twice")
        self.calls[name] = price

    def _metered(self, tag: tuple[str, ...]) -> None:
        name, price = _priced(tag, 6, "[metered, capability, amount, currency, per, unit]")
        per, unit = _count(tag[4], "tags.metered"), tag[5]
        known = self.metered.get(name, ())
        if len(known) >= METERED_MAX or any(one.unit == unit for one in known):
            raise Invalid.at("tags.metered", f"{name[:64]!r} has {unit[:32]!r} twice, or too many")
        # An unknown unit is refused by Metered itself.
        one = Metered(unit=unit, per=per, price=price)  # type: ignore[arg-type]  # checked there
        self.metered[name] = (*known, one)

    def _period(self, tag: tuple[str, ...]) -> None:
        name, price = _priced(tag, 5, "[period, capability, amount, currency, span]")
        if name in self.periods:
            raise Invalid.at("tags.period", f"{name[:64]!r} has two")
        calls = _count(tag[5], "tags.period") if len(tag) > 5 else None
        # An unknown span is refused by Period itself.
        span: Any = tag[4]
        self.periods[name] = Period(span=span, price=price, calls=calls)


_READERS = {"price": Prices._call, "metered": Prices._metered, "period": Prices._period}


def _priced(tag: tuple[str, ...], least: int, shape: str) -> tuple[str, Amount]:
    field = f"tags.{tag[0]}"
    if len(tag) < least:
        raise Invalid.at(field, f"must be {shape}")
    _, capability, text, currency = tag[:4]
    factor = _UNITS.get(currency.lower())
    if factor is None:
        raise Invalid.at(field, f"currency {currency[:32]!r} is not sat or msat")
    msat = _count(text, field) * factor
    if msat > AMOUNT_MAX_MSAT:
        raise Invalid.at(field, f"is over {AMOUNT_MAX_MSAT} msat")
    return capability, Amount(msat)


def _count(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Invalid.at(field, "amount must be a non-negative integer")
    return int(text)


def _promise(event: Event) -> Promise:
    values = {tag[1]: tag[2:] for tag in event.tags if tag[:1] == ("promise",) and len(tag) > 2}
    given: dict[str, Any] = {}
    try:
        for names, read in ((_WHOLE, int), (_SHARES, float)):
            given |= {name: read(values[name][0]) for name in names if name in values}
    except ValueError as exc:
        raise Invalid.at("tags.promise", "must be a number") from exc
    for name in _LISTS:
        found = dict.fromkeys(values.get(name, ()))
        given[name] = tuple(found if name == "certifications" else (one.upper() for one in found))
    return Promise(**given)


def _capabilities(rows: Any, prices: Prices) -> tuple[Capability, ...]:
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


def _capability(row: Any, prices: Prices, where: str) -> Capability:
    if not isinstance(row, dict):
        raise Invalid.at(where, "must be an object")
    name = row.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
        raise Invalid.at(f"{where}.name", f"must have 1 to {NAME_MAX} characters")
    if not _TOOL_NAME.fullmatch(name):
        raise Invalid.at(f"{where}.name", "must be letters, digits, and . _ - / as MCP tools are")
    if name not in prices.names() and not prices.elsewhere:
        raise Invalid.at(f"{where}.name", f"{name!r} has no price tag")
    description = row.get("description", "")
    if not isinstance(description, str) or len(description) > SUMMARY_MAX:
        raise Invalid.at(f"{where}.description", f"must be text of at most {SUMMARY_MAX}")
    title = _text(row.get("title") or "", TITLE_MAX, f"{where}.title")
    _check_line(title, f"{where}.title")
    schema = row.get("schema", {"type": "object"})
    check_schema(schema, f"{where}.schema")
    output = row.get("outputSchema")
    if output is not None:
        check_schema(output, f"{where}.outputSchema")
    effects, idempotent = row.get("sideEffects"), row.get("idempotent")
    if effects is not None and effects not in SIDE_EFFECTS:
        raise Invalid.at(f"{where}.sideEffects", f"must be one of {', '.join(SIDE_EFFECTS)}")
    if idempotent is not None and type(idempotent) is not bool:
        raise Invalid.at(f"{where}.idempotent", "must be true or false")
    handling = row.get("dataHandling") or ""
    return Capability(
        name=name,
        title=title,
        description=description,
        input_schema=schema,
        output_schema=output,
        examples=_examples(row.get("examples"), f"{where}.examples"),
        side_effects=effects,
        idempotent=idempotent,
        data_handling=_text(handling, DATA_HANDLING_MAX, f"{where}.dataHandling"),
        price=prices.calls.get(name, Amount(0)),
        by_call=name in prices.calls,
        metered=prices.metered.get(name, ()),
        period=prices.periods.get(name),
    )


def _examples(rows: Any, where: str) -> tuple[Example, ...]:
    if rows is None:
        return ()
    if not isinstance(rows, list) or len(rows) > EXAMPLES_MAX:
        raise Invalid.at(where, f"must be a list of at most {EXAMPLES_MAX}")
    found = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("input"), dict):
            raise Invalid.at(f"{where}[{index}].input", "must be an object")
        output = row.get("output")
        if output is not None and not isinstance(output, dict):
            raise Invalid.at(f"{where}[{index}].output", "must be an object")
        probe = row.get("probe", False)
        if not isinstance(probe, bool):
            raise Invalid.at(f"{where}[{index}].probe", "must be true or false")
        found.append(Example(input=row["input"], output=output, probe=probe))
    return tuple(found)
