"""What other Hanse nodes put into the documents they serve: an offer, whole."""

from collections.abc import Sequence
from typing import Any

from hanse.errors import HanseError
from hanse.operations.imports.listing import Tools, held
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.registry.elsewhere import META, PRICE
from hanse.registry.model import CAPABILITIES_MAX, EXAMPLES_MAX, Example


def put(tools: Tools, *metas: dict[str, Any]) -> bool:
    """The capabilities that one of the `_meta` objects carries; whether there were any."""
    for meta in metas:
        carried = held(meta.get(META)).get("capabilities")
        if isinstance(carried, list) and carried:
            put_rows(tools, carried)
            return True
    return False


def put_rows(tools: Tools, carried: Sequence[Any]) -> None:
    """Capabilities as `registry.elsewhere` writes them."""
    for row in carried[: CAPABILITIES_MAX + 1]:
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            tools.add(
                row["name"],
                title=row.get("title"),
                description=row.get("description"),
                takes=row.get("schema"),
                returns=row.get("outputSchema"),
                examples=_examples(row.get("examples")),
                price=_price(row.get(PRICE)),
                idempotent=row["idempotent"] if row.get("idempotent") in (True, False) else None,
            )


def _examples(found: Any) -> tuple[Example, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(
        Example(
            input=row["input"],
            output=row["output"] if isinstance(row.get("output"), dict) else None,
        )
        for row in found[:EXAMPLES_MAX]
        if isinstance(row, dict) and isinstance(row.get("input"), dict)
    )


def _price(found: Any) -> Amount | None:
    if type(found) is not int or not 0 <= found <= AMOUNT_MAX_MSAT:
        return None
    try:
        return Amount(found)
    except HanseError:
        return None
