"""Writes the receipt of a call that ended; `protocol/receipt.py` has the format and the checks."""

import msgspec

from hanse.broker.model import Call, CallState
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.protocol.receipt import RECEIPT_VERSION, Receipt, delivery_digest, verify_receipt

__all__ = ["delivery_digest", "receipt_event", "verify_receipt"]


def receipt_event(node: SecretKey, call: Call) -> Event:
    """The receipt of an ended call, signed by the node."""
    settled = call.state is CallState.SETTLED
    content = Receipt(
        call=call.hex,
        offer=call.offer,
        capability=call.capability,
        caller=call.caller,
        provider=call.provider,
        outcome="settled" if settled else "refunded",
        fault=call.fault.value if call.fault else None,
        price_msat=call.price.msat,
        fee_msat=call.fee.msat if settled else 0,
        paid_msat=(call.price - call.fee).msat if settled else 0,
        input_sha256=call.input_sha256,
        output_sha256=call.output_sha256 if settled else None,
        opened_ms=call.opened_ms,
        closed_ms=call.closed_ms or 0,
        latency_ms=call.latency_ms,
        delivery=call.delivery if settled else None,
        version=call.version,
    )
    return sign_event(
        node,
        kind=kinds.RECEIPT,
        created_at=content.closed_ms // 1000,
        content=msgspec.json.encode(content).decode(),
        tags=(
            ("p", call.caller, "", "caller"),
            ("p", call.provider, "", "provider"),
            ("a", call.offer),
            ("t", content.outcome),
            ("type", "receipt"),
            ("v", RECEIPT_VERSION),
        ),
    )
