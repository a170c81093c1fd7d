"""What a schema takes and gives, as paths with types: `address.city:string`.

Two shapes are compared by these alone, so that an index can hold them. A schema with alternatives
is read on the safe side: what any of them demands is demanded, what all of them give is given.
"""

from collections.abc import Iterator, Mapping
from typing import Any

DEPTH_MAX = 3
"""Levels of fields that are compared; below them a value is taken as its type says."""
PATHS_MAX = 200
ANY = "*"
TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
_ALTERNATIVES = ("anyOf", "oneOf")


def required_of(schema: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The paths a caller must give, with the types each may have; the first PATHS_MAX."""
    found: dict[str, frozenset[str]] = {}
    for path, types, required in _fields(schema, schema, "", True, 0):
        if required and len(found) < PATHS_MAX:
            found[path] = _accepted(types)
    return found


def given_of(schema: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The paths a schema has, with the types each may have."""
    found: dict[str, frozenset[str]] = {}
    for path, types, _ in _fields(schema, schema, "", False, 0):
        if len(found) < PATHS_MAX:
            found.setdefault(path, types)
    return found


def shape_of(properties: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The paths of a search's `takes` or `returns`."""
    return given_of({"type": "object", "properties": dict(properties)})


def _accepted(types: frozenset[str]) -> frozenset[str]:
    """Who takes numbers takes integers."""
    return types | {"integer"} if "number" in types else types


def provided(types: frozenset[str]) -> frozenset[str]:
    """Who needs a number back is served by an integer."""
    return _accepted(types)


def _fields(
    schema: Any, root: Mapping[str, Any], prefix: str, required: bool, depth: int
) -> Iterator[tuple[str, frozenset[str], bool]]:
    if depth >= DEPTH_MAX:
        return
    properties: dict[str, Any] = {}
    needed: set[str] = set()
    for part in _parts(schema, root, 0):
        found = part.get("properties")
        if isinstance(found, dict):
            for name, below in found.items():
                properties.setdefault(name, below)
        names = part.get("required")
        if isinstance(names, list):
            needed.update(name for name in names if isinstance(name, str))
    for name in needed:
        properties.setdefault(name, {})
    for name, below in properties.items():
        path = f"{prefix}{name}"
        must = required and name in needed
        yield path, _types(below, root), must
        yield from _fields(below, root, f"{path}.", must, depth + 1)


def _parts(schema: Any, root: Mapping[str, Any], hops: int) -> Iterator[Mapping[str, Any]]:
    """The schema and all that apply beside it, through references within the document."""
    if not isinstance(schema, Mapping) or hops > 8:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _parts(_at(reference, root), root, hops + 1)
    for word in ("allOf", *_ALTERNATIVES):
        found = schema.get(word)
        for part in found if isinstance(found, list) else ():
            yield from _parts(part, root, hops + 1)


def _at(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#/"):
        return root if reference == "#" else None
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for part in _parts(schema, root, 0):
        said = part.get("type")
        for name in said if isinstance(said, list) else [said]:
            if name in TYPES:
                found.add(name)
        for value in [part["const"]] if "const" in part else part.get("enum") or ():
            found.add(_type_of(value))
        if not said and isinstance(part.get("properties"), dict):
            found.add("object")
    return frozenset(found or {ANY})


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    by_type = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return by_type.get(type(value), ANY)
