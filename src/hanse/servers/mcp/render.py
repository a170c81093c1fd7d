"""Results as text for a language model. What a provider wrote stands inside a marked block.

The block's mark is the receipt's id: it is made after the provider has answered, so the provider
cannot
write the closing line itself. Its words are JSON-encoded, one line, so they cannot look like ours.
"""

from typing import Any

import orjson

from hanse.protocol.amount import format_msat


def _escape(code: int) -> str:
    units = chr(code).encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


# JSON leaves these as they are, yet a reader may take some for line ends or terminal orders, and
# some are not seen by people while a model reads them (the tags from U+E0000 spell ASCII).
_ESCAPES = {
    code: _escape(code)
    for code in (
        *(*range(0x7F, 0xA0), 0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F),
        *(*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xE0000, 0xE0080)),
    )
}


def render(tool: str, result: dict[str, Any]) -> str:
    """One tool's structured result in words."""
    maker = {
        "find_services": _services,
        "call_service": _call,
        "get_balance": _balance,
    }.get(tool)
    return maker(result) if maker else _dump(result)


def _services(result: dict[str, Any]) -> str:
    rows = result["services"]
    if not rows:
        why = ", ".join(f"{count} by {name}" for name, count in result["excluded_by"].items())
        none = f"No service matches. {f'Excluded: {why}.' if why else 'Try other words.'}"
        return "\n".join([none, *_notes(result)])
    lines = [f"{len(rows)} services, best first. {result['untrusted'].capitalize()}."]
    for number, row in enumerate(rows, 1):
        lines.append(
            f"{number}. offer={_dump(row['offer'])} capability={_dump(row['capability'])} "
            f"price={_price(row)} score={row['score']:.3f}"
        )
        if row["source"]:
            lines.append(f"   imported, cannot be called here: {_dump(row['source'])}")
        lines.append(f"   why: {'; '.join(row['reasons'])}")
        lines.append(f"   provider says: {_dump(row['description'][:300])}")
        lines.append(f"   input_schema: {_dump(row['input_schema'])}")
    return "\n".join([*lines, *_notes(result)])


def _notes(result: dict[str, Any]) -> list[str]:
    """What the reader should know of the answer itself: ours, and of what an embedder said."""
    return [f"Note: {_dump(note)}" for note in result["notes"]]


def _price(row: dict[str, Any]) -> str:
    return format_msat(row["price_msat"]) if row["by_call"] else "not sold by the call"


def _call(result: dict[str, Any]) -> str:
    lines = [f"Status: {result['status']}. Receipt: {result['receipt']}."]
    mark = result["receipt"][:16]
    if result["status"] == "settled":
        lines.append(f"Charged {format_msat(result['charged_msat'])}.")
        lines += _marked(mark, result["untrusted"], result["output"])
    else:
        lines.append(f"You paid nothing. Fault: {result['fault']}.")
        words = result.get("provider_said") or result.get("reason", "")
        if "untrusted" in result:
            lines += _marked(mark, result["untrusted"], words)
        else:
            lines.append(f"Reason: {_dump(words)}")
    return "\n".join(lines)


def _marked(mark: str, untrusted: dict[str, str], words: Any) -> list[str]:
    return [
        f"{untrusted['notice']}",
        f"<<<untrusted {mark} from provider {untrusted['from']}",
        _dump(words),
        f"untrusted {mark}>>>",
    ]


def _balance(result: dict[str, Any]) -> str:
    return (
        f"{format_msat(result['available_msat'])} available, "
        f"{format_msat(result['held_msat'])} on hold ({result['money']})."
    )


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode().translate(_ESCAPES)
