"""The receipt of a call: kind 2402, signed by the node, with the provider's signed delivery inside.

content (JSON):

| field | what |
|---|---|
| call | the call's id, 64 hex |
| offer, capability, version | what was called; the offer's version (since 1.1) |
| caller, provider | public keys |
| outcome | `settled` or `refunded` |
| fault | why it was refunded; null when settled |
| price_msat, fee_msat, paid_msat | held; the node's share; the provider's (0 if refunded) |
| input_sha256, output_sha256 | RFC 8785 digests; output null if refunded |
| opened_ms, closed_ms, latency_ms | Unix ms; the provider's time to answer |
| delivery | the provider's BIP-340 signature over the delivery digest; null if refunded |

The delivery digest binds provider, call, input, output and price:

    sha256("hanse:delivery:1:" call ":" input_sha256 ":" output_sha256 ":" price_msat)

Anybody can check both signatures offline, without the input or the output. What a provider wrote in
an error stays with the caller: receipts are public.
"""

import enum
import hashlib
from typing import Literal

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event, field_error
from hanse.protocol.keys import PublicKey, is_hex
from hanse.protocol.signature import verify

RECEIPT_VERSION = "1.1.0"


class Fault(enum.StrEnum):
    """Why a call was refunded. All but the BLAMELESS count against the provider: also an input that
    met the schema and was declined, or a provider that declines everything would look perfect."""

    TOO_LATE = "too-late"
    IMPATIENT = "deadline-below-promise"
    OFFLINE = "provider-offline"
    DIED = "provider-died"
    MALFORMED = "malformed-answer"
    TOO_LARGE = "answer-too-large"
    SCHEMA = "schema-violation"
    UNSIGNED = "delivery-not-signed"
    ERROR = "provider-error"
    DECLINED = "declined-input"
    NODE_STOPPED = "node-stopped"


BLAMELESS = frozenset({Fault.IMPATIENT, Fault.NODE_STOPPED})


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt's content; see the table on top."""

    call: str
    offer: str
    capability: str
    caller: PublicKey
    provider: PublicKey
    outcome: Literal["settled", "refunded"]
    fault: str | None
    price_msat: int
    fee_msat: int
    paid_msat: int
    input_sha256: str
    output_sha256: str | None
    opened_ms: int
    closed_ms: int
    latency_ms: int | None
    delivery: str | None
    version: str = "1.0.0"


def delivery_digest(call: str, input_sha256: str, output_sha256: str, price_msat: int) -> bytes:
    """The 32 bytes a provider signs when it delivers."""
    text = f"hanse:delivery:1:{call}:{input_sha256}:{output_sha256}:{price_msat}"
    return hashlib.sha256(text.encode()).digest()


def read_receipt(event: Event) -> Receipt:
    """The content of a receipt event, typed; signatures unchecked. Raises Invalid."""
    if event.kind != kinds.RECEIPT:
        raise Invalid.at("receipt.kind", f"must be {kinds.RECEIPT}")
    version = event.tag("v") or ""
    if version.split(".")[0] != RECEIPT_VERSION.split(".")[0]:
        raise Invalid.at("receipt.tags.v", f"version {version[:20]!r} is not spoken", "speak 1.x")
    try:
        return msgspec.json.decode(event.content, type=Receipt)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "receipt.content") from exc
    except msgspec.DecodeError as exc:
        raise Invalid.at("receipt.content", "is not JSON") from exc


def verify_receipt(event: Event, node: PublicKey | None = None) -> Receipt:
    """Check a receipt offline: the node's signature, the arithmetic, and for a settled call the
    provider's delivery signature. `node`, if given, must have signed it. Raises Invalid."""
    check_event(event)
    found = read_receipt(event)
    if node is not None and event.pubkey != node:
        raise Invalid.at("receipt.pubkey", "is not the node you name")
    if found.provider not in event.values("p") or found.caller not in event.values("p"):
        raise Invalid.at("receipt.tags.p", "does not name caller and provider")
    if min(found.price_msat, found.fee_msat, found.paid_msat) < 0:
        raise Invalid.at("receipt.content", "has a negative amount")
    if found.outcome == "refunded":
        if found.paid_msat or found.fee_msat:
            raise Invalid.at("receipt.content.paid_msat", "must be 0 for a refunded call")
        if found.fault not in set(Fault):
            raise Invalid.at("receipt.content.fault", "must say why the call was refunded")
        return found
    if found.fault is not None:
        raise Invalid.at("receipt.content.fault", "must be null for a settled call")
    if found.paid_msat + found.fee_msat != found.price_msat:
        raise Invalid.at("receipt.content.price_msat", "is not what was paid plus the fee")
    _check_delivery(found)
    return found


def _check_delivery(found: Receipt) -> None:
    output, signature = found.output_sha256 or "", found.delivery or ""
    if not (is_hex(output, 64) and is_hex(signature, 128)):
        raise Invalid.at("receipt.content.delivery", "is missing from a settled call")
    digest = delivery_digest(found.call, found.input_sha256, output, found.price_msat)
    if not is_hex(found.provider, 64) or not verify(
        bytes.fromhex(found.provider), digest, bytes.fromhex(signature)
    ):
        raise Invalid.at("receipt.content.delivery", "is not the provider's signature")
