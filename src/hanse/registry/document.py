"""An offer as a file that an operator edits: JSON, checked whole, every problem told at once.

The types here are the format: `document_schema` is made from them, and reading is that schema, then
what a schema cannot say (`lint`). What the file leaves out of a capability's schemas comes from who
serves it, so that both cannot drift apart.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson

from hanse.errors import Invalid
from hanse.protocol.amount import Amount, format_msat
from hanse.protocol.keys import PublicKey
from hanse.registry.model import (
    CAPABILITIES_MAX,
    CERTIFICATIONS_MAX,
    DATA_HANDLING_MAX,
    EXAMPLES_MAX,
    IDENTIFIER_MAX,
    LATENCY_MAX_MS,
    METERED_MAX,
    METHOD_MAX,
    METHODS_MAX,
    NAME_MAX,
    PER_MAX,
    PLACE,
    PLACES_MAX,
    SUMMARY_MAX,
    TERMS_MAX,
    THROUGHPUT_MAX_PER_S,
    TITLE_MAX,
    Capability,
    Example,
    Metered,
    Offer,
    Period,
    Promise,
    SideEffects,
    Span,
    Unit,
)

Meta = msgspec.Meta
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TOPICS_MAX = 50

Line = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
"""One line: names stand in lines of others."""

Price = Annotated[
    str,
    Meta(
        pattern=r"^([0-9]{1,13}(\.[0-9]{1,3})? ?sats?|[0-9]{1,16} ?msat)$",
        description='"2sat", "2.5 sat" or "500msat".',
    ),
]
Milliseconds = Annotated[int, Meta(ge=1, le=LATENCY_MAX_MS)]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=PER_MAX)]
Place = Annotated[str, Meta(pattern=f"^{PLACE}$")]
Places = Annotated[tuple[Place, ...], Meta(max_length=PLACES_MAX)]
Words = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, pattern=Line)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file: a name that is not known is a mistake."""


class ExampleDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A call as it could be."""

    input: dict[str, Any]
    output: Annotated[
        dict[str, Any] | None, Meta(description="The structured output, if you show it.")
    ] = None
    probe: Annotated[
        bool,
        Meta(
            description="Whether nodes may make this call for nothing, at most once an hour, to "
            "see whether you answer. Show the output only if it is always the same."
        ),
    ] = False


class MeteredDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A price for what a call uses: `price` per `per` units."""

    unit: Unit
    per: Count = 1
    price: Price


class PeriodDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A price for a span of time, with at most `calls` in it if that is said."""

    span: Span
    price: Price
    calls: Count | None = None


class CapabilityDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """One callable. `price`, `metered` and `period` are alternatives."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MAX, pattern=r"^[A-Za-z0-9._/-]+$")]
    title: Annotated[str, Meta(max_length=TITLE_MAX, pattern=Line)] = ""
    description: Annotated[str, Meta(max_length=SUMMARY_MAX)] = ""
    input_schema: Annotated[
        dict[str, Any] | None,
        Meta(description="JSON Schema 2020-12. Left out: that of who serves it."),
    ] = None
    output_schema: Annotated[
        dict[str, Any] | None,
        Meta(description="JSON Schema 2020-12. Left out: that of who serves it."),
    ] = None
    examples: Annotated[tuple[ExampleDocument, ...], Meta(max_length=EXAMPLES_MAX)] = ()
    side_effects: Annotated[
        SideEffects | None,
        Meta(description="What a call does to the world; `irreversible` cannot be undone."),
    ] = None
    idempotent: Annotated[
        bool | None, Meta(description="The same call twice does what it does once.")
    ] = None
    data_handling: Annotated[
        str, Meta(max_length=DATA_HANDLING_MAX, description="What becomes of what callers send.")
    ] = ""
    price: Annotated[Price | None, Meta(description="Of one call.")] = None
    metered: Annotated[tuple[MeteredDocument, ...], Meta(max_length=METERED_MAX)] = ()
    period: PeriodDocument | None = None


class PromiseDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """What you bind yourself to: calls that miss it are refunded, and it is measured."""

    latency_p50_ms: Milliseconds | None = None
    latency_p95_ms: Milliseconds = 1000
    latency_p99_ms: Milliseconds | None = None
    success_rate: Share = 0.99
    availability: Share | None = None
    throughput_per_s: Annotated[float, Meta(gt=0, le=THROUGHPUT_MAX_PER_S)] | None = None
    regions: Annotated[Places, Meta(description="Where calls are served from: EU, US-CA.")] = ()
    data_residence: Annotated[Places, Meta(description="Where what they bring is kept.")] = ()
    certifications: Annotated[tuple[Words, ...], Meta(max_length=CERTIFICATIONS_MAX)] = ()


class OfferDocument(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A service on the network: what it can do, at what price, and what it promises."""

    schema: Annotated[
        str, Meta(max_length=TERMS_MAX, description="This schema's address, for editors.")
    ] = msgspec.field(default="", name="$schema")
    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=IDENTIFIER_MAX,
            pattern=Line,
            description="Keep it: with your key it is the offer's address.",
        ),
    ]
    name: Annotated[str, Meta(min_length=1, max_length=IDENTIFIER_MAX, pattern=Line)]
    summary: Annotated[
        str, Meta(max_length=SUMMARY_MAX, description="What it does, in a sentence or two.")
    ] = ""
    version: Annotated[
        str, Meta(max_length=NAME_MAX, description="Semantic: raise it as `hanse offer diff` says.")
    ] = "1.0.0"
    topics: Annotated[tuple[Words, ...], Meta(max_length=TOPICS_MAX)] = ()
    payment_methods: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=METHOD_MAX, pattern=Line)], ...],
        Meta(max_length=METHODS_MAX - 1, description="Beside the node's ledger."),
    ] = ()
    terms: Annotated[
        str, Meta(max_length=TERMS_MAX, description="Your terms: an address, or their text.")
    ] = ""
    promise: PromiseDocument = PromiseDocument()
    capabilities: Annotated[
        tuple[CapabilityDocument, ...], Meta(min_length=1, max_length=CAPABILITIES_MAX)
    ]


def document_schema() -> dict[str, Any]:
    """The format's JSON Schema (2020-12)."""
    found = msgspec.json.schema(OfferDocument, ref_template="#/$defs/{name}")
    parts = {name.removesuffix("Document"): one for name, one in found["$defs"].items()}
    text = orjson.dumps(parts).decode().replace('Document"', '"')
    parts = orjson.loads(text)
    for part in parts.values():
        for name, one in part["properties"].items():
            part["properties"][name] = _said(one)
    root = parts.pop("Offer")
    return {"$schema": DRAFT, **root, "$defs": dict(sorted(parts.items()))}


def _said(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be left out is left out, not null: a reason then names what it should be."""
    choices = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(choices) == 1:
        rest = {key: one for key, one in schema.items() if key not in ("anyOf", "default")}
        return {**choices[0], **rest}
    listed = schema.get("enum")
    if listed is not None and None in listed:
        rest = {key: one for key, one in schema.items() if key != "default"}
        return rest | {"enum": [one for one in listed if one is not None]}
    return schema


# --- to and from an offer ---------------------------------------------------------------------


def offer_of(
    document: OfferDocument,
    *,
    provider: PublicKey,
    operator: PublicKey,
    served: Mapping[str, Capability] | None = None,
) -> Offer:
    """The offer that a file describes. `served`: what is there to be called, by name; its schemas
    count where the file has none. Raises Invalid."""
    return Offer(
        provider=provider,
        operator=operator,
        identifier=document.id,
        name=document.name,
        summary=document.summary,
        capabilities=tuple(
            capability_of(one, f"capabilities[{index}]", (served or {}).get(one.name))
            for index, one in enumerate(document.capabilities)
        ),
        promise=promise_of(document.promise),
        topics=document.topics,
        version=document.version,
        payment_methods=("hanse", *(one for one in document.payment_methods if one != "hanse")),
        terms=document.terms,
    )


def promise_of(document: PromiseDocument) -> Promise:
    """The promise of a file. Raises Invalid for one that contradicts itself."""
    return Promise(**{name: getattr(document, name) for name in document.__struct_fields__})


def capability_of(
    document: CapabilityDocument, where: str, served: Capability | None = None
) -> Capability:
    """A capability of a file. Raises Invalid: no price, or schemas that are not those of what is
    served."""
    metered, period = document.metered, document.period
    if document.price is None and not metered and period is None:
        raise Invalid.at(f"{where}.price", "is missing", "say what a call costs, like 2sat")
    found = served or Capability(
        name=document.name, price=Amount(0), input_schema={"type": "object"}
    )
    for name in ("input_schema", "output_schema"):
        said, there = getattr(document, name), getattr(served, name, None)
        if served is not None and said is not None and said != there:
            reason = "is not the schema of what is served"
            raise Invalid.at(f"{where}.{name}", reason, "leave it out: that one is taken")
    if len({one.unit for one in metered}) < len(metered):
        raise Invalid.at(f"{where}.metered", "has a unit twice", "one price for each")
    return Capability(
        name=document.name,
        title=document.title or found.title,
        description=document.description or found.description,
        input_schema=found.input_schema if document.input_schema is None else document.input_schema,
        output_schema=document.output_schema or found.output_schema,
        examples=tuple(
            Example(input=one.input, output=one.output, probe=one.probe)
            for one in document.examples
        ),
        side_effects=document.side_effects,
        idempotent=document.idempotent,
        data_handling=document.data_handling,
        price=_amount(document.price or "0sat", f"{where}.price"),
        by_call=document.price is not None,
        metered=tuple(
            Metered(unit=one.unit, per=one.per, price=_amount(one.price, f"{where}.metered"))
            for one in metered
        ),
        period=None
        if period is None
        else Period(
            span=period.span,
            price=_amount(period.price, f"{where}.period"),
            calls=period.calls,
        ),
    )


def _amount(text: str, where: str) -> Amount:
    try:
        return Amount.parse(text)
    except Invalid as exc:
        raise Invalid.at(where, exc.reason, exc.hint) from exc


def document_of(offer: Offer) -> OfferDocument:
    """The file of an offer, as it could have been written."""
    return OfferDocument(
        id=offer.identifier,
        name=offer.name,
        summary=offer.summary,
        version=offer.version,
        topics=offer.topics,
        payment_methods=tuple(one for one in offer.payment_methods if one != "hanse"),
        terms=offer.terms,
        promise=PromiseDocument(
            **{name: getattr(offer.promise, name) for name in PromiseDocument.__struct_fields__}
        ),
        capabilities=tuple(_capability_document(one) for one in offer.capabilities),
    )


def _capability_document(found: Capability) -> CapabilityDocument:
    period = found.period
    return CapabilityDocument(
        name=found.name,
        title=found.title,
        description=found.description,
        input_schema=found.input_schema,
        output_schema=found.output_schema,
        examples=tuple(
            ExampleDocument(input=one.input, output=one.output, probe=one.probe)
            for one in found.examples
        ),
        side_effects=found.side_effects,
        idempotent=found.idempotent,
        data_handling=found.data_handling,
        price=_price(found.price) if found.by_call else None,
        metered=tuple(
            MeteredDocument(unit=one.unit, per=one.per, price=_price(one.price))
            for one in found.metered
        ),
        period=None
        if period is None
        else PeriodDocument(span=period.span, price=_price(period.price), calls=period.calls),
    )


def _price(price: Amount) -> str:
    return format_msat(price.msat).replace(",", "").replace(" ", "")


def document_text(document: OfferDocument) -> str:
    """The file's text."""
    return orjson.dumps(msgspec.to_builtins(document), option=orjson.OPT_INDENT_2).decode() + "\n"
