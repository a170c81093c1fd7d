"""x402 Bazaar: what a facilitator answers at `/discovery/resources` (x402 v1 and v2).

Each resource is an offer with one capability. It is paid at the source, in the source's money: what
that costs stands in the terms, and the offer has no price of ours.
"""

from typing import Any
from urllib.parse import urlsplit

from hanse.errors import HanseError, Invalid
from hanse.operations.imports.listing import (
    ANY_OBJECT,
    Listing,
    Reading,
    Tools,
    held,
    line,
    name_of,
    native_id_of,
    prose,
    rows,
    summary_of,
    terms_of,
    topics_of,
    urls_of,
)
from hanse.registry.model import Example

TYPE = "x402"
PAGE_MAX = 1000
ACCEPTS_MAX = 20
FIELDS_MAX = 200
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")


def is_page(document: dict[str, Any]) -> bool:
    """Whether it is a page of such a list."""
    return isinstance(document.get("items"), list) and "x402Version" in document


def next_offset(document: dict[str, Any], asked: int) -> int | None:
    """Where the next page begins, None at the end."""
    page = held(document.get("pagination"))
    count, total = len(document["items"]), page.get("total")
    if not count or type(total) is not int:
        return None
    return asked + count if asked + count < total else None


def read_page(document: dict[str, Any]) -> Reading:
    """The resources of a page. Raises Invalid for what is no page."""
    reading = Reading()
    for row in rows(document.get("items"), "items", PAGE_MAX):
        try:
            reading.listings.append(_resource(row, reading))
        except HanseError as exc:
            reading.refuse(str(row.get("resource", "?")), exc)
    return reading


def _resource(row: dict[str, Any], reading: Reading) -> Listing:
    told_of = held(row.get("resource"))  # v2's own messages have an object here
    url = told_of.get("url") or row.get("resource")
    found = urls_of([url])
    if not isinstance(url, str) or not found:
        raise Invalid.at("resource", "must be an address")
    accepts = [one for one in _list(row.get("accepts"))[:ACCEPTS_MAX] if isinstance(one, dict)]
    if not accepts:
        raise Invalid.at("accepts", "is missing: nobody could pay")
    asked, answered, about, example = _shapes(row, accepts)
    called = asked.get("tool")
    method = asked.get("method")
    metadata = held(row.get("metadata"))
    told = [
        one.get("description") for one in (*accepts, told_of, metadata) if one.get("description")
    ]
    tools = Tools(reading, line(url, 200))
    tools.add(
        called if isinstance(called, str) and called else _name(url, method),
        description=summary_of(asked.get("description") or (told[0] if told else ""), about),
        takes=_taken(asked),
        returns=answered,
        examples=(Example(input=example),) if example else (),
    )
    host = urlsplit(url).hostname or ""
    where = f"{host}{urlsplit(url).path}".rstrip("/")
    return Listing(
        type=TYPE,
        native_id=native_id_of(f"{url}#{called}" if isinstance(called, str) else url),
        name=name_of(metadata.get("name") or metadata.get("title"), where),
        summary=summary_of(told[0] if told else f"A paid resource of {host}."),
        capabilities=tools.done(),
        urls=found,
        topics=topics_of("x402", metadata.get("category"), metadata.get("provider")),
        payment_methods=("x402",),
        terms=terms_of("\n".join(_terms(one) for one in accepts)),
    )


def _terms(one: dict[str, Any]) -> str:
    amount = one.get("amount") or one.get("maxAmountRequired")
    extra = held(one.get("extra")).get("name")
    unit = f"units of {line(extra, 40)} ({line(one.get('asset'), 80)})"
    return (
        f"x402 {line(one.get('scheme'), 20)}: {line(str(amount), 40)} {unit} on "
        f"{line(one.get('network'), 60)} to {line(one.get('payTo'), 80)}"
    )


def _shapes(
    row: dict[str, Any], accepts: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any] | None, str, dict[str, Any]]:
    """What a call gives, the schema of what it gets, a line about both, and an example, wherever
    this version keeps them."""
    bazaar = held(held(row.get("extensions")).get("bazaar"))
    bazaar = (
        bazaar or held(held(row.get("metadata")).get("bazaar")) or held(row.get("discoveryInfo"))
    )
    if bazaar:
        info = held(bazaar.get("info")) or bazaar
        asked = dict(held(info.get("input")))
        shapes = held(held(bazaar.get("schema")).get("properties"))
        inner = held(held(shapes.get("input")).get("properties"))
        asked["_schemas"] = {key: inner.get(key) for key in ("queryParams", "body", "pathParams")}
        answer = held(held(held(shapes.get("output")).get("properties")).get("example"))
        example = asked.get("example") if asked.get("type") == "mcp" else None
        return asked, _schema(answer), _about(asked), held(example)
    for one in accepts:
        shown = held(one.get("outputSchema"))
        if held(shown.get("input")):
            asked = dict(held(shown["input"]))
            return asked, _schema(shown.get("output")), _about(asked), {}
    return {}, None, "", {}


def _about(asked: dict[str, Any]) -> str:
    method = asked.get("method")
    return f"HTTP {line(method, 10).upper()}" if isinstance(method, str) else ""


def _taken(asked: dict[str, Any]) -> dict[str, Any]:
    if isinstance(asked.get("inputSchema"), dict):
        found: dict[str, Any] = asked["inputSchema"]
        return found
    properties: dict[str, Any] = {}
    required: list[str] = []
    schemas = held(asked.get("_schemas"))
    for name in ("pathParams", "queryParams", "body"):
        schema = _schema(schemas.get(name))
        if schema is not None:
            properties |= held(schema.get("properties"))
            required += [one for one in _list(schema.get("required")) if isinstance(one, str)]
    if not properties:
        for name in ("pathParams", "queryParams", "bodyFields", "body"):
            for key, row in list(held(asked.get(name)).items())[:FIELDS_MAX]:
                properties[key] = _field(row)
                if held(row).get("required") is True:
                    required.append(key)
    if not properties:
        return dict(ANY_OBJECT)
    found = {"type": "object", "properties": properties}
    return found | ({"required": list(dict.fromkeys(required))} if required else {})


def _field(row: Any) -> dict[str, Any]:
    """A field as v1 sellers tell it: a small object, or only its description."""
    if isinstance(row, str):
        return {"description": prose(row, 500)}
    row = held(row)
    found: dict[str, Any] = {}
    if row.get("type") in _TYPES:
        found["type"] = row["type"]
    if isinstance(row.get("description"), str):
        found["description"] = prose(row["description"], 500)
    if isinstance(row.get("enum"), list) and row["enum"]:
        found["enum"] = row["enum"][:100]
    return found


def _schema(found: Any) -> dict[str, Any] | None:
    """What is a schema of an object, and not only an example of one."""
    if not isinstance(found, dict) or found.get("type") != "object":
        return None
    return found if isinstance(found.get("properties"), dict) else None


def _name(url: str, method: Any) -> str:
    parts = [part for part in urlsplit(url).path.split("/") if part]
    end = "_".join(parts[-2:]) or (urlsplit(url).hostname or "resource")
    return f"{method.lower()}_{end}" if isinstance(method, str) and method else end


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
