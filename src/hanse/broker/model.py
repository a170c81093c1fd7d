"""Values of one paid call: what was ordered, how it stands, how it ended.

    OPEN → SETTLED     the answer passed every check: price less fee to the provider, fee to the
    node
         → REFUNDED    anything else: the whole hold is back

A call opens and closes in one commit each, so a crash leaves it either unknown, OPEN (and the next
start refunds it) or ended.
"""

import enum
import hashlib
from typing import Any

import msgspec

from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.protocol.receipt import BLAMELESS as BLAMELESS
from hanse.protocol.receipt import Fault as Fault
from hanse.registry.quality import SETTLED, UNCOUNTED, Ended, major_of
from hanse.registry.throughput import BUSY
from hanse.registry.version import Range


class CallState(enum.StrEnum):
    """Where a call stands."""

    OPEN = "open"
    SETTLED = "settled"
    REFUNDED = "refunded"


assert {fault.value for fault in BLAMELESS} == UNCOUNTED


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for. `key` is the caller's idempotency id; times in milliseconds."""

    caller: PublicKey
    operator: PublicKey
    key: str
    offer: str
    capability: str
    input: dict[str, Any]
    input_sha256: str
    max_price: Amount | None
    deadline_ms: int | None
    words: str = ""
    version: Range | None = None
    """Versions of the offer that the caller accepts; None: any."""
    confirmed: bool = False
    """Whether the caller's operator agreed to the price, whoever the provider is."""

    @property
    def call_id(self) -> bytes:
        """32 bytes that name this caller's use of this key."""
        return hashlib.sha256(f"hanse:call:{self.caller}:{self.key}".encode()).digest()

    @property
    def fingerprint(self) -> bytes:
        """32 bytes over what was asked: the same key must come with the same content."""
        cap = self.max_price.msat if self.max_price is not None else ""
        text = f"{self.offer}\n{self.capability}\n{self.input_sha256}\n{cap}\n{self.deadline_ms}"
        if self.version is not None:  # what was kept before there were ranges stays comparable
            text += f"\n{self.version}"
        return hashlib.sha256(text.encode()).digest()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one call."""

    id: bytes
    caller: PublicKey
    operator: PublicKey
    provider: PublicKey
    offer: str
    capability: str
    fingerprint: bytes
    input_sha256: str
    price: Amount
    fee: Amount
    deadline_ms: int
    opened_ms: int
    state: CallState = CallState.OPEN
    fault: Fault | None = None
    detail: str = ""
    latency_ms: int | None = None
    closed_ms: int | None = None
    output: dict[str, Any] | None = None
    output_sha256: str | None = None
    delivery: str | None = None
    receipt_id: str | None = None
    holder: str = ""
    """The node, of those that share one database, in which the call runs."""
    words: str = ""
    """What the caller searched for: the registry learns from it what these words mean."""
    version: str = "1.0.0"
    """The offer's."""
    payee: PublicKey | None = None
    """Who answers for the provider; the provider itself if nobody else does."""

    @property
    def hex(self) -> str:
        """The call's id as text."""
        return self.id.hex()

    def learned(self) -> Ended:
        """What the registry learns from it, once it ended."""
        settled = self.state is CallState.SETTLED
        return Ended(
            id=self.id,
            address=self.offer,
            capability=self.capability,
            major=major_of(self.version),
            caller=self.caller,
            provider=self.provider,
            payer=self.operator,
            payee=self.payee or self.provider,
            end=self.fault.value if self.fault else SETTLED,
            latency_ms=self.latency_ms,
            at_s=(self.closed_ms or 0) // 1000,
            paid_msat=self.price.msat if settled else 0,
            received_msat=(self.price - self.fee).msat if settled else 0,
            busy=self.fault is Fault.ERROR and self.detail.startswith(BUSY),
        )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks made of the provider's answer: `fault` is None when the call is settled."""

    fault: Fault | None = None
    detail: str = ""
    output: dict[str, Any] | None = None
    output_sha256: str | None = None
    delivery: str | None = None
