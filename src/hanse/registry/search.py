"""What is asked of the registry and what it answers: words, shapes, constraints, weights, pages.

Every bound of a request is checked here, once, so that no door has to: a value that cannot be asked
cannot be built, and the error names the field.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from hanse.errors import Invalid, TooLarge
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.model import (
    LATENCY_MAX_MS,
    NAME_MAX,
    THROUGHPUT_MAX_PER_S,
    Capability,
    Offer,
)
from hanse.registry.quality import Expected, Measured

QUERY_MAX = 1000
"""Characters of a search."""
LIMIT_MAX = 50
OFFSET_MAX = 500
"""How far a page may begin: beyond it the question is too broad for any order to help."""
LEVEL_MAX = 4
VALUES_MAX = 20
"""Values of one constraint that takes several."""
SHAPE_FIELDS_MAX = 64
WEIGHT_MAX = 10.0

SideEffect = Literal["none", "reads", "writes", "irreversible"]
SIDE_EFFECTS: tuple[str, ...] = get_args(SideEffect)
_KEY = re.compile(r"[0-9a-f]{64}")


def _within(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise Invalid.at(f"constraints.{name}", f"must be {least} to {most}")


def check_shape(shape: Mapping[str, Any], field: str) -> None:
    """Raises Invalid unless `shape` maps 1 to SHAPE_FIELDS_MAX names to JSON Schemas."""
    if not 1 <= len(shape) <= SHAPE_FIELDS_MAX:
        raise Invalid.at(field, f"must have 1 to {SHAPE_FIELDS_MAX} fields")
    for name, schema in shape.items():
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
            raise Invalid.at(field, f"field names must have 1 to {NAME_MAX} characters")
        if not isinstance(schema, dict | bool):
            raise Invalid.at(f"{field}.{name}", "must be a JSON Schema", '{"type": "string"}')


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """How much each part of the score counts, 0 (not at all) to 10. docs/search.md says what each
    part is. The defaults were measured with bench/registry.py."""

    words: float = 1.0
    vectors: float = 1.0
    lessons: float = 1.0
    quality: float = 1.0
    price: float = 1.0
    trust: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= WEIGHT_MAX:
                raise Invalid.at(f"weights.{name}", f"must be 0 to {WEIGHT_MAX:g}")


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """What a hit must meet; None or empty asks nothing. Latency, success, availability and
    throughput are tested on the expected figures. Of a list, an offer must have every value."""

    max_price: Amount | None = None
    latency_p95_ms: int | None = None
    success_rate: float | None = None
    availability: float | None = None
    throughput_per_s: float | None = None
    level: int | None = None
    regions: tuple[str, ...] = ()
    data_residence: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    payment_methods: tuple[str, ...] = ()
    version: str | None = None
    topics: tuple[str, ...] = ()
    provider: PublicKey | None = None
    operator: PublicKey | None = None
    online: bool | None = None
    imported: bool | None = None
    side_effects: tuple[SideEffect, ...] = ()
    """Kinds that are allowed: any of them will do. One that is not said is not among them."""

    def __post_init__(self) -> None:
        _within("latency_p95_ms", self.latency_p95_ms, 1, LATENCY_MAX_MS)
        _within("level", self.level, 0, LEVEL_MAX)
        for name in ("success_rate", "availability"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise Invalid.at(f"constraints.{name}", "must be 0 to 1")
        rate = self.throughput_per_s
        if rate is not None and not 0 < rate <= THROUGHPUT_MAX_PER_S:
            reason = f"must be over 0 and at most {THROUGHPUT_MAX_PER_S}"
            raise Invalid.at("constraints.throughput_per_s", reason)
        for name in LISTS:
            values = getattr(self, name)
            if len(values) > VALUES_MAX:
                raise TooLarge(f"has more than {VALUES_MAX} values", field=f"constraints.{name}")
            if any(not 1 <= len(value) <= NAME_MAX for value in values):
                raise Invalid.at(f"constraints.{name}", f"must be 1 to {NAME_MAX} characters each")
        if self.version is not None and not 1 <= len(self.version) <= NAME_MAX:
            raise Invalid.at("constraints.version", f"must have 1 to {NAME_MAX} characters")
        for name in ("provider", "operator"):
            key = getattr(self, name)
            if key is not None and not _KEY.fullmatch(key):
                raise Invalid.at(f"constraints.{name}", "must be a public key of 64 hex digits")


LISTS = ("regions", "data_residence", "certifications", "payment_methods", "topics", "side_effects")


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One question. Without words, a name or a shape, the newest offers are the answer."""

    words: str = ""
    capability: str | None = None
    """The exact name of a capability."""
    takes: Mapping[str, Any] | None = None
    """JSON Schema properties that the caller can give: {"city": {"type": "string"}}."""
    returns: Mapping[str, Any] | None = None
    """JSON Schema properties that the caller needs back, at least."""
    constraints: Constraints = Constraints()
    weights: Weights = Weights()
    limit: int = 10
    offset: int = 0
    facets: bool = False
    viewer: PublicKey | None = None
    """The caller's operator: whose trust counts."""

    def __post_init__(self) -> None:
        if len(self.words) > QUERY_MAX:
            raise TooLarge(f"has more than {QUERY_MAX} characters", field="words")
        if not 1 <= self.limit <= LIMIT_MAX:
            raise Invalid.at("limit", f"must be 1 to {LIMIT_MAX}")
        if not 0 <= self.offset <= OFFSET_MAX:
            raise Invalid.at("offset", f"must be 0 to {OFFSET_MAX}", "narrow the search instead")
        if self.capability is not None and not 1 <= len(self.capability) <= NAME_MAX:
            raise Invalid.at("capability", f"must have 1 to {NAME_MAX} characters")
        for name in ("takes", "returns"):
            shape = getattr(self, name)
            if shape is not None:
                check_shape(shape, name)


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One ranked answer to "who can do this?", with its figures and reasons."""

    offer: Offer
    capability: Capability
    score: float
    measured: Measured
    expected: Expected
    online: bool
    reasons: tuple[str, ...]
    figures: dict[str, float] = {}
    """What each part of the score was before its weight, 0 to 1: words, vectors, lessons, quality,
    price, trust, presence."""
    level: int | None = None
    """The viewer's level for the operator; None for a search without a viewer."""


class Found(msgspec.Struct, frozen=True):
    """A search's answer: one page of hits, best first."""

    hits: list[Hit]
    excluded: dict[str, int]
    """Matches that a constraint removed, by constraint; who fails two counts in both."""
    total: int = 0
    """Matches that passed; a page shows at most OFFSET_MAX + LIMIT_MAX of them."""
    facets: dict[str, dict[str, int]] = {}
    notes: tuple[str, ...] = ()
    """What the asker should know of the answer itself, e.g. that it is by words only."""
