"""An offer as other directories carry it: what they have no field for, under a name of ours.

MCP registries and server cards hold it in `_meta`, agent cards as an extension's parameter, so that
what one node shows another can read back whole:

    {"offer": address, "provider": npub, "operator": npub, "capabilities": [{"name", "title",
     "description", "schema", "outputSchema", "examples", ..., "priceMsat"}]}
"""

from typing import Any

from hanse.protocol.address import encode_npub
from hanse.registry.model import Capability, Offer
from hanse.registry.offer_event import capability_row

META = "hanse/offer"
EXTENSION = "urn:hanse:a2a:offers:1"
PRICE = "priceMsat"


def offer_meta(offer: Offer) -> dict[str, Any]:
    """What is carried of an offer."""
    return {
        "offer": offer.address,
        "provider": encode_npub(offer.provider),
        "operator": encode_npub(offer.operator),
        "capabilities": [_row(found) for found in offer.capabilities],
    }


def tool(found: Capability) -> dict[str, Any]:
    """A capability as MCP lists tools."""
    row: dict[str, Any] = {"name": found.name, "title": found.title or None}
    row["description"] = found.description
    row["inputSchema"] = found.input_schema or {"type": "object"}
    row["outputSchema"] = found.output_schema
    return {key: value for key, value in row.items() if value is not None}


def _row(found: Capability) -> dict[str, Any]:
    price = {PRICE: found.price.msat} if found.by_call else {}
    return capability_row(found) | price
