"""Values of the registry: an offer, its capabilities, what it promises, and one search hit."""

from typing import Any

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey

CAPABILITIES_MAX = 100
NAME_MAX = 64
IDENTIFIER_MAX = 255
SUMMARY_MAX = 4096
LATENCY_MAX_MS = 600_000


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider binds itself to: 95 % of answers within `latency_p95_ms`, and the share of
    calls that succeed (0 to 1)."""

    latency_p95_ms: int = 1000
    success_rate: float = 0.99

    def __post_init__(self) -> None:
        if type(self.latency_p95_ms) is not int or not 1 <= self.latency_p95_ms <= LATENCY_MAX_MS:
            raise Invalid.at("promise.latency_p95_ms", f"must be 1 to {LATENCY_MAX_MS}")
        if not 0 < self.success_rate <= 1:
            raise Invalid.at("promise.success_rate", "must be over 0 and at most 1")


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One callable of an offer: an MCP tool with its JSON Schemas (2020-12) and its price."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    price: Amount


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A published service (kind 31402). `identifier` is its `d` tag."""

    provider: PublicKey
    operator: PublicKey
    identifier: str
    name: str
    summary: str
    capabilities: tuple[Capability, ...]
    promise: Promise
    topics: tuple[str, ...] = ()
    version: str = "1.0.0"
    event_id: str = ""
    created_at: int = 0

    @property
    def address(self) -> str:
        """NIP-01's `kind:pubkey:d`, the offer's name everywhere."""
        return f"{kinds.OFFER}:{self.provider}:{self.identifier}"

    def capability(self, name: str) -> Capability | None:
        """The capability called `name`, or None."""
        return next((found for found in self.capabilities if found.name == name), None)


class Match(msgspec.Struct, frozen=True):
    """What a store's word search found: a capability of an offer, and how well it fits (0 to 1)."""

    offer: Offer
    capability: str
    relevance: float
    words: tuple[str, ...]
