"""A paid call and its answer as plain values: what broker tests judge and sign."""

import hashlib
from typing import Any

import msgspec
import orjson

from hanse.broker.answer import DELIVERY_META
from hanse.broker.model import Call, CallState, Fault, Verdict
from hanse.broker.receipt import delivery_digest
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Capability, Offer, Promise

NOW_S = 1_800_000_000
OUTPUT_SCHEMA = {
    "type": "object",
    "properties": {"result": {"type": "string"}},
    "required": ["result"],
}
CAPABILITY = Capability(
    name="greet",
    input_schema={"type": "object"},
    output_schema=OUTPUT_SCHEMA,
    price=Amount(2000),
)
OUTPUT: dict[str, Any] = {"content": [], "structuredContent": {"result": "Hello, Ada"}}


class Parties(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one call."""

    node: SecretKey
    caller: SecretKey
    provider: SecretKey

    @classmethod
    def new(cls) -> "Parties":
        """Three fresh keys."""
        return cls(node=new_secret(), caller=new_secret(), provider=new_secret())

    def call(self) -> Call:
        """An open call of CAPABILITY at 2 sat, 20 msat of it the fee."""
        return Call(
            id=hashlib.sha256(b"one call").digest(),
            caller=self.caller.public,
            operator=self.caller.public,
            provider=self.provider.public,
            offer=f"{kinds.OFFER}:{self.provider.public}:greet",
            capability=CAPABILITY.name,
            fingerprint=bytes(32),
            input_sha256=digest_hex({"name": "Ada"}),
            price=Amount(2000),
            fee=Amount(20),
            deadline_ms=1000,
            opened_ms=NOW_S * 1000,
        )

    def delivery(self, call: Call, output: Any = OUTPUT) -> str:
        """The provider's signature over a delivery."""
        digest = digest_hex(output)
        signed = delivery_digest(call.hex, call.input_sha256, digest, call.price.msat)
        return self.provider.sign(signed)

    def delivered(self, call: Call, output: dict[str, Any] = OUTPUT) -> dict[str, Any]:
        """An output with the provider's signature, as a JSON-RPC result."""
        return {**output, "_meta": {DELIVERY_META: self.delivery(call, output)}}

    def answer(self, call: Call, **body: Any) -> Event:
        """The provider's answer event with this JSON-RPC body."""
        whole = {"jsonrpc": "2.0", "id": call.hex} | body
        return self.says(orjson.dumps(whole).decode())

    def says(self, content: str) -> Event:
        """An event of the provider with any content."""
        return sign_event(self.provider, kind=kinds.RPC, created_at=NOW_S, content=content)

    def ended(self, call: Call, verdict: Verdict) -> Call:
        """The call as it ended."""
        return msgspec.structs.replace(
            call,
            state=CallState.REFUNDED if verdict.fault else CallState.SETTLED,
            fault=verdict.fault,
            latency_ms=12,
            closed_ms=call.opened_ms + 12,
            output=verdict.output,
            output_sha256=verdict.output_sha256,
            delivery=verdict.delivery,
        )

    def settled(self) -> Call:
        """A call that went well."""
        call = self.call()
        verdict = Verdict(
            output=OUTPUT, output_sha256=digest_hex(OUTPUT), delivery=self.delivery(call)
        )
        return self.ended(call, verdict)

    def refunded(self) -> Call:
        """A call that came too late."""
        return self.ended(self.call(), Verdict(fault=Fault.TOO_LATE, detail="too late"))


class PricedOffer:
    """An offer with one capability, at whatever price and time."""

    provider = new_secret().public
    address = f"{kinds.OFFER}:{provider}:greet"

    def priced(self, msat: int, at_s: int) -> Offer:
        """As it was published then."""
        return Offer(
            provider=self.provider,
            operator=self.provider,
            identifier="greet",
            name="greet",
            summary="",
            capabilities=(msgspec.structs.replace(CAPABILITY, price=Amount(msat)),),
            promise=Promise(),
            created_at=at_s,
        )


PRICE_OFFER = PricedOffer()
