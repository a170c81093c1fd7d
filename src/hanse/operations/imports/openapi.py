"""OpenAPI 3.0 to 3.2: each operation is a capability.

A capability takes one object: parameters by their names, and the JSON body as `body`. It returns
what the first 2xx answer in JSON is. References within the document are followed and carried along
as `$defs`; one that leads out of it is refused, for that operation alone. 3.0's schemas are told in
2020-12's words (`nullable`, boolean bounds). An offer holds 100 capabilities in 60 KB, so a large
document becomes several offers, by its tags.
"""

from typing import Any

import orjson

from hanse.errors import HanseError, Invalid
from hanse.operations.imports.listing import (
    ROOM_BYTES,
    Listing,
    Reading,
    Tools,
    held,
    is_address,
    line,
    name_of,
    native_id_of,
    prose,
    rows,
    summary_of,
    terms_of,
    texts,
    topics_of,
    urls_of,
    version_of,
)
from hanse.registry.model import CAPABILITIES_MAX, Capability
from hanse.registry.offer_event import URL_MAX

TYPE = "openapi"
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace", "query")
SAFE = frozenset({"get", "head", "options", "trace", "query", "put", "delete"})
OPERATIONS_MAX = 5000
DEFINITIONS_MAX = 200
VALUES_MAX = 10_000
"""Values in one schema and all it refers to: more than 64 KB, the most that is taken, can hold."""

DEPTH_MAX = 40
_DROPPED = frozenset({"example", "examples", "xml", "externalDocs", "discriminator", "nullable"})
_JSON = ("application/json", "application/*+json", "*/*")


def is_openapi(document: dict[str, Any]) -> bool:
    """Whether it is such a document."""
    return isinstance(document.get("openapi"), str) and "paths" in document


def read(document: dict[str, Any], *, native_id: str = "", at: str = "") -> Reading:
    """Its operations as listings. `at` is where it was found: relative servers lead on from it.
    Raises Invalid for what is no OpenAPI 3 document."""
    spoken = document.get("openapi")
    if not isinstance(spoken, str) or not spoken.startswith(("3.0", "3.1", "3.2")):
        raise Invalid.at("openapi", "must be 3.0 or 3.1", "convert an older document first")
    info = held(document.get("info"))
    title = name_of(info.get("title"), "API")
    reading = Reading()
    groups: dict[str, list[Capability]] = {}
    for group, found in _operations(document, reading):
        groups.setdefault(group, []).append(found)
    urls = urls_of([*_servers(document, at), at, held(info.get("contact")).get("url")])
    for name, part in _packed(groups):
        reading.listings.append(
            Listing(
                type=TYPE,
                native_id=native_id_of(f"{native_id or title}#{name}"),
                name=name_of(f"{title}: {name}" if name else title, "API"),
                summary=summary_of(info.get("summary"), info.get("description")),
                capabilities=tuple(part),
                urls=urls,
                version=version_of(info.get("version")),
                topics=topics_of("openapi", name),
                terms=terms_of(info.get("termsOfService")),
            )
        )
    if not reading.listings:
        reading.refuse(title, "has no operation that can be used")
    return reading


def _packed(groups: dict[str, list[Capability]]) -> list[tuple[str, list[Capability]]]:
    """Groups in parts that an offer can hold: one if all fit, else by tag, else numbered."""
    every = [found for group in groups.values() for found in group]
    if len(_parts(every)) <= 1 and len({found.name for found in every}) == len(every):
        return [("", every)] if every else []
    packed = []
    for name, group in groups.items():
        for number, part in enumerate(_parts(group), 1):
            packed.append((name if number == 1 else f"{name} {number}", part))
    return packed


def _parts(group: list[Capability]) -> list[list[Capability]]:
    parts: list[list[Capability]] = []
    room = 0
    for found in group:
        size = len(orjson.dumps([found.input_schema, found.output_schema, found.description])) + 500
        if not parts or size > room or len(parts[-1]) >= CAPABILITIES_MAX:
            parts.append([])
            room = ROOM_BYTES
        parts[-1].append(found)
        room -= size
    return parts


def _operations(document: dict[str, Any], reading: Reading) -> list[tuple[str, Capability]]:
    found: list[tuple[str, Capability]] = []
    names: set[str] = set()
    seen = 0
    for path, item in held(document.get("paths")).items():
        item = _target(document, item)
        for method in METHODS:
            operation = item.get(method)
            if not isinstance(operation, dict) or not isinstance(path, str):
                continue
            seen += 1
            if seen > OPERATIONS_MAX:
                raise Invalid.at("paths", f"has more than {OPERATIONS_MAX} operations")
            given = operation.get("operationId")
            name = given if isinstance(given, str) and given else f"{method}{path}"
            one = _capability(document, item, operation, method, path, name, reading)
            if one is None:
                continue
            if one.name in names:
                reading.refuse(name, "has the name of another operation")
                continue
            names.add(one.name)
            tags = [line(tag, 64) for tag in texts(operation.get("tags"))]
            found.append((tags[0] if tags else "", one))
    return found


def _capability(
    document: dict[str, Any],
    item: dict[str, Any],
    operation: dict[str, Any],
    method: str,
    path: str,
    name: str,
    reading: Reading,
) -> Capability | None:
    tools = Tools(reading, f"{method.upper()} {line(path, 100)}")
    about = f"{method.upper()} {line(path, 300)}"
    try:
        tools.add(
            name,
            title=operation.get("summary"),
            description=prose(f"{_said(operation)}\n{about}", 2048),
            takes=_taken(document, item, operation),
            returns=_returned_if_told(document, operation, about, reading),
            idempotent=True if method in SAFE else None,
        )
        return tools.done()[0]
    except HanseError as exc:
        if exc.field != f"{method.upper()} {line(path, 100)}":  # said already by `tools`
            reading.refuse(f"{method.upper()} {path}", exc)
        return None


def _said(operation: dict[str, Any]) -> str:
    found = operation.get("description") or operation.get("summary")
    return found if isinstance(found, str) else ""


def _taken(
    document: dict[str, Any], item: dict[str, Any], operation: dict[str, Any]
) -> dict[str, Any]:
    definitions = _Definitions(document)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for row in [*_rows(item.get("parameters")), *_rows(operation.get("parameters"))]:
        row = _target(document, row)
        name, place = row.get("name"), row.get("in")
        if not isinstance(name, str) or place not in ("path", "query", "header", "cookie"):
            continue
        if place == "header" and name.lower() in ("accept", "content-type", "authorization"):
            continue  # OpenAPI: such a parameter is to be ignored
        content = held(row.get("content"))
        schema = row.get("schema") or held(next(iter(content.values()), {})).get("schema") or {}
        told = definitions.told(schema)
        if isinstance(row.get("description"), str) and isinstance(told, dict):
            told = {"description": prose(row["description"], 500)} | told
        properties[name] = told
        if (row.get("required") is True or place == "path") and name not in required:
            required.append(name)
    body = _target(document, held(operation.get("requestBody")))
    schema = _json_schema(document, body)
    if schema is not None:
        name = "body" if "body" not in properties else "requestBody"
        properties[name] = definitions.told(schema)
        if body.get("required") is True:
            required.append(name)
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return definitions.onto(found)


def _returned_if_told(
    document: dict[str, Any], operation: dict[str, Any], about: str, reading: Reading
) -> dict[str, Any] | None:
    try:
        return _returned(document, operation)
    except HanseError as exc:
        reading.refuse(about, f"its answer is left out: {exc.text}")
        return None


def _returned(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    answers = held(operation.get("responses"))
    codes = sorted(code for code in answers if isinstance(code, str) and code[:1] == "2")
    for code in codes:
        schema = _json_schema(document, _target(document, answers[code]))
        if schema is not None:
            definitions = _Definitions(document)
            told = definitions.told(schema)
            return definitions.onto(told) if isinstance(told, dict) else None
    return None


def _json_schema(document: dict[str, Any], holder: dict[str, Any]) -> Any:
    content = held(holder.get("content"))
    for media, row in content.items():
        kind = str(media).partition(";")[0].strip().lower()
        if kind in _JSON or kind.endswith("+json"):
            schema = held(row).get("schema")
            return {} if schema is None else schema
    return None


class _Definitions:
    """Schemas in 2020-12's words, and what they refer to in the document, carried along."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._found: dict[str, Any] = {}
        self._left = VALUES_MAX

    def told(self, schema: Any, depth: int = 0) -> Any:
        """The schema, its references pointing to `$defs`. Raises Invalid for one that leads out of
        the document or nowhere."""
        if depth > DEPTH_MAX:
            raise Invalid.at("schema", f"is nested over {DEPTH_MAX} levels")
        self._left -= 1
        if self._left < 0:  # each of thousands of operations may refer to the same large one
            raise Invalid.at("schema", f"holds over {VALUES_MAX} values")
        if isinstance(schema, list):
            return [self.told(one, depth + 1) for one in schema]
        if not isinstance(schema, dict):
            return schema
        if isinstance(schema.get("$ref"), str):
            rest = {key: value for key, value in schema.items() if key == "description"}
            return {**rest, "$ref": f"#/$defs/{self._carried(schema['$ref'], depth)}"}
        found: dict[str, Any] = {}
        for key, value in schema.items():
            if key in ("properties", "patternProperties", "$defs", "dependentSchemas"):
                named = held(value)
                found[key] = {name: self.told(one, depth + 1) for name, one in named.items()}
            elif key in ("enum", "const", "default", "required", "dependentRequired"):
                found[key] = value
            elif key not in _DROPPED and not str(key).startswith("x-"):
                found[key] = self.told(value, depth + 1)
        return _modern(found, schema.get("nullable") is True)

    def onto(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with all that it refers to."""
        return schema | {"$defs": dict(self._found)} if self._found else schema

    def _carried(self, reference: str, depth: int) -> str:
        if reference in self._names:
            return self._names[reference]
        if len(self._names) >= DEFINITIONS_MAX:
            raise Invalid.at("schema", f"refers to more than {DEFINITIONS_MAX} others")
        name = _key(reference)
        while name in self._found:
            name += "_"
        self._names[reference] = name
        self._found[name] = {}  # taken: what it refers to may refer back to it
        self._found[name] = self.told(_followed(self._document, reference), depth + 1)
        return name


def _key(reference: str) -> str:
    end = reference.rpartition("/")[2]
    return "".join(char if char.isalnum() or char in "_.-" else "_" for char in end)[:64] or "root"


def _modern(schema: dict[str, Any], nullable: bool) -> dict[str, Any]:
    """OpenAPI 3.0's own words in those of 2020-12."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if schema.get(exclusive) is True and bound in schema:
            schema[exclusive] = schema.pop(bound)
        elif isinstance(schema.get(exclusive), bool):
            del schema[exclusive]
    if nullable:
        if isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
            if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
                schema["enum"] = [*schema["enum"], None]
        else:
            return {"anyOf": [schema, {"type": "null"}]}
    if schema.get("type") == "file":
        schema["type"] = "string"
    return schema


def _target(document: dict[str, Any], found: Any) -> dict[str, Any]:
    """The object itself, or the one in the document that it refers to."""
    for _ in range(8):
        if not isinstance(found, dict):
            return {}
        reference = found.get("$ref")
        if not isinstance(reference, str):
            return found
        found = _followed(document, reference)
    raise Invalid.at("$ref", "goes in circles")


def _followed(document: dict[str, Any], reference: str) -> Any:
    if not reference.startswith("#/"):
        raise Invalid.at("$ref", f"{line(reference, 80)!r} leads out of the document")
    found: Any = document
    for part in reference[2:].split("/")[:DEPTH_MAX]:
        key = part.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            raise Invalid.at("$ref", f"{line(reference, 80)!r} leads nowhere")
    return found


def _rows(found: Any) -> list[dict[str, Any]]:
    return rows(found, "parameters", 200) if found is not None else []


def _servers(document: dict[str, Any], at: str) -> list[str]:
    from urllib.parse import urljoin

    found = []
    for row in document.get("servers") or [] if isinstance(document.get("servers"), list) else []:
        url = held(row).get("url")
        if isinstance(url, str) and 0 < len(url) <= URL_MAX:
            for name, variable in held(held(row).get("variables")).items():
                url = url.replace(f"{{{name}}}", str(held(variable).get("default", ""))[:URL_MAX])
                if len(url) > URL_MAX:
                    break  # values may hold names of others: each could be ten times as long
            if len(url) <= URL_MAX:
                found.append(urljoin(at, url) if is_address(at) else url)
    return found
