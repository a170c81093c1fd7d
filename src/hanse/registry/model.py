"""Values of the registry: an offer, its capabilities, what it promises, and one search hit.

What an offer does not say is None or empty: not said is never read as a promise.
"""

import math
import re
from typing import Any, Literal, get_args

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey

CAPABILITIES_MAX = 100
NAME_MAX = 64
IDENTIFIER_MAX = 255
SUMMARY_MAX = 4096
TITLE_MAX = 255
DATA_HANDLING_MAX = 1024
TERMS_MAX = 2048
SOURCE_MAX = 2048
EXAMPLES_MAX = 10
METERED_MAX = 8
METHODS_MAX = 20
METHOD_MAX = 128
PLACES_MAX = 32
CERTIFICATIONS_MAX = 32
LATENCY_MAX_MS = 600_000
THROUGHPUT_MAX_PER_S = 1_000_000
PER_MAX = 1_000_000_000

SideEffects = Literal["none", "reads", "writes", "irreversible"]
"""What a call does to the world: nothing, looks at it, changes it, or changes it for good."""

Unit = Literal[
    "token",
    "input-token",
    "output-token",
    "character",
    "byte",
    "second",
    "image",
    "page",
    "message",
    "row",
    "item",
]
"""What can be metered."""

Span = Literal["hour", "day", "week", "month", "year"]

SIDE_EFFECTS: tuple[str, ...] = get_args(SideEffects)
UNITS: tuple[str, ...] = get_args(Unit)
SPANS: tuple[str, ...] = get_args(Span)

PLACE = "[A-Z0-9]{2,8}(-[A-Z0-9]{1,8}){0,3}"
"""A region: `EU`, an ISO 3166 code (`US`, `US-CA`), or a cloud's name in capitals."""

_PLACE = re.compile(PLACE)


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider binds itself to. Latencies: that share of answers comes within so many ms.
    Rates are shares, 0 to 1. `regions`: where calls are served from; `data_residence`: where what
    they bring is kept; places are in capitals."""

    latency_p95_ms: int = 1000
    success_rate: float = 0.99
    latency_p50_ms: int | None = None
    latency_p99_ms: int | None = None
    availability: float | None = None
    throughput_per_s: float | None = None
    regions: tuple[str, ...] = ()
    data_residence: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        before: tuple[str, int] | None = None
        for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"):
            found = getattr(self, name)
            if found is None:
                continue
            if type(found) is not int or not 1 <= found <= LATENCY_MAX_MS:
                raise Invalid.at(f"promise.{name}", f"must be 1 to {LATENCY_MAX_MS}")
            if before is not None and found < before[1]:
                raise Invalid.at(f"promise.{name}", f"{found} is under {before[0]}, {before[1]}")
            before = name, found
        for name in ("success_rate", "availability"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise Invalid.at(f"promise.{name}", "must be over 0 and at most 1")
        rate = self.throughput_per_s
        if rate is not None and not (math.isfinite(rate) and 0 < rate <= THROUGHPUT_MAX_PER_S):
            reason = f"must be over 0 and at most {THROUGHPUT_MAX_PER_S}"
            raise Invalid.at("promise.throughput_per_s", reason)
        for name in ("regions", "data_residence"):
            places = getattr(self, name)
            if len(places) > PLACES_MAX or not all(_PLACE.fullmatch(found) for found in places):
                reason = f"must be at most {PLACES_MAX} places like EU, US or US-CA"
                raise Invalid.at(f"promise.{name}", reason)
        if len(self.certifications) > CERTIFICATIONS_MAX or not all(
            found.strip() and len(found) <= NAME_MAX for found in self.certifications
        ):
            reason = f"must be at most {CERTIFICATIONS_MAX} names of {NAME_MAX} characters"
            raise Invalid.at("promise.certifications", reason)


NOTHING_PROMISED = Promise(latency_p95_ms=LATENCY_MAX_MS, success_rate=0.0001)
"""For an imported offer: whoever lists it bound nobody to anything."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it could be: its input and, if shown, the output (the structured part). With
    `probe` a node may make it for nothing, to see whether the service works."""

    input: dict[str, Any]
    output: dict[str, Any] | None = None
    probe: bool = False


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """A price for what a call uses: `price` per `per` units."""

    unit: Unit
    per: int = 1
    price: Amount

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise Invalid.at("metered.unit", f"is not one of {', '.join(UNITS)}")
        if type(self.per) is not int or not 1 <= self.per <= PER_MAX:
            raise Invalid.at("metered.per", f"must be 1 to {PER_MAX}")


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A price for a span of time, with at most `calls` in it (None: as many as one likes)."""

    span: Span
    price: Amount
    calls: int | None = None

    def __post_init__(self) -> None:
        if self.span not in SPANS:
            raise Invalid.at("period.span", f"is not one of {', '.join(SPANS)}")
        if self.calls is not None and (
            type(self.calls) is not int or not 1 <= self.calls <= PER_MAX
        ):
            raise Invalid.at("period.calls", f"must be 1 to {PER_MAX}")


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One callable of an offer: an MCP tool with its JSON Schemas (2020-12) and its prices.

    `price`, `metered` and `period` are alternatives: a caller pays one of them. `by_call` is False
    if there is no price per call; then `price` says nothing (it is 0, and the call is not free).
    """

    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    price: Amount
    title: str = ""
    examples: tuple[Example, ...] = ()
    side_effects: SideEffects | None = None
    idempotent: bool | None = None
    data_handling: str = ""
    by_call: bool = True
    metered: tuple[Metered, ...] = ()
    period: Period | None = None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A published service (kind 31402). `identifier` is its `d` tag. `version` is a semantic one if
    Hanse wrote it. `terms`: the provider's, an address or text. `source`: where the offer was
    imported from, "" if its provider published it; `verified`: what of an imported one was checked
    and by what, "" if nothing was."""

    provider: PublicKey
    operator: PublicKey
    identifier: str
    name: str
    summary: str
    capabilities: tuple[Capability, ...]
    promise: Promise
    topics: tuple[str, ...] = ()
    version: str = "1.0.0"
    payment_methods: tuple[str, ...] = ()
    terms: str = ""
    source: str = ""
    verified: str = ""
    event_id: str = ""
    created_at: int = 0

    @property
    def address(self) -> str:
        """NIP-01's `kind:pubkey:d`, the offer's name everywhere."""
        return f"{kinds.OFFER}:{self.provider}:{self.identifier}"

    def capability(self, name: str) -> Capability | None:
        """The capability called `name`, or None."""
        return next((found for found in self.capabilities if found.name == name), None)
