"""How much work a schema can ask for, told before it is done.

A `$ref` costs a stranger thirty bytes and can double the checks of everything below it; a list of
alternatives multiplies them by each item of an answer. The engine has no limit of its own: without
these a schema of 1 KB stops a node for hours, one of 60 KB ends it. All figures are upper bounds.

`weigh` looks at a schema alone: its checks with every `$ref` written out, how deep they nest, and
whether it names itself. `steps` counts the checks of one value, each (schema, value) pair once.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from hanse.errors import Invalid, TooLarge

CHAIN_MAX = 64
"""Schemas inside schemas, through references: 60,000 on top of each other end the process."""

SCHEMAS_MAX = 5_000
REFERENCES_MAX = 1_500
"""In one schema, so that none takes the door longer than a few milliseconds. Only such as are made
for it have more in 64 KB: a schema that says anything takes twelve bytes, a reference twenty."""

_EVERY_KEY = ("additionalProperties", "unevaluatedProperties")
_EVERY_ITEM = ("items", "contains", "additionalItems", "unevaluatedItems")
_HOW = (
    dict.fromkeys(("allOf", "anyOf", "oneOf"), "list")
    | dict.fromkeys(("not", "if", "then", "else"), "same")
    | dict.fromkeys(("dependentSchemas", "dependencies"), "map")
    | dict.fromkeys(("properties", "patternProperties"), "parts")
    | dict.fromkeys((*_EVERY_KEY, *_EVERY_ITEM, "propertyNames", "prefixItems"), "each")
    | dict.fromkeys(("$dynamicRef", "$recursiveRef"), "foreign")
    | dict.fromkeys(("$anchor", "$dynamicAnchor", "$recursiveAnchor"), "foreign")
    | {"$ref": "ref", "$id": "id"}
)
"""How a keyword holds schemas, or names one."""


class Weight(msgspec.Struct, frozen=True):
    """Checks of a schema with all references written out, and whether it names itself."""

    checks: int
    recursive: bool


class Unresolved(Exception):
    """A reference that is not a place in the schema."""


def weigh(root: dict[str, Any], field: str) -> Weight:
    """What a schema asks for. Raises Invalid or TooLarge for one that cannot be told."""
    known: dict[int, int] = {}
    open_: set[int] = set()
    recursive = False
    schemas = references = 0

    def visit(schema: dict[str, Any], depth: int) -> int:
        nonlocal recursive, schemas, references
        if id(schema) in open_:
            recursive = True
            return 0
        if id(schema) in known:
            return known[id(schema)]
        if depth > CHAIN_MAX:
            raise TooLarge(f"nests over {CHAIN_MAX} schemas", field=field)
        found, below, refers = _inside(schema, root)
        if not found and not below:
            return _own(schema)
        references += refers
        schemas += len(found) + len(below) - refers
        if schemas > SCHEMAS_MAX:
            raise TooLarge(f"has over {SCHEMAS_MAX} schemas in it", field=field)
        if references > REFERENCES_MAX:
            raise TooLarge(f"has over {REFERENCES_MAX} references", field=field)
        open_.add(id(schema))
        again = 2 if _looks_twice(schema) else 1
        # What is empty or no object is one check: no need to go there.
        same = sum([visit(one, depth + 1) if one.__class__ is dict and one else 1 for one in found])
        rest = sum([visit(one, depth + 1) if one.__class__ is dict and one else 1 for one in below])
        open_.discard(id(schema))
        known[id(schema)] = _own(schema) + again * same + rest
        return known[id(schema)]

    try:
        checks = visit(root, 0)
    except Unresolved as exc:
        raise Invalid.at(field, f"may refer only to places in itself (#/…), not {exc}") from exc
    return Weight(checks, recursive)


PATTERN_STEPS = 4
"""Steps that a character matched against a pattern counts as: 6 us, of a pattern made for it."""


def steps(root: dict[str, Any], value: Any, most: int) -> int | None:
    """The checks of one value, or None if they are more than `most`. The schema was weighed."""
    known: dict[tuple[int, int], int] = {}

    def visit(schema: Any, value: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        pair = (id(schema), id(value))
        if pair in known:
            return known[pair]
        known[pair] = 0  # met again while it is open: the engine stops there too
        again = 2 if _looks_twice(schema) else 1
        count = _own(schema) * (1 + len(value) // 32 if isinstance(value, str) else 1)
        count += PATTERN_STEPS * _matched(schema, value)
        for found in _inside(schema, root)[0]:
            count += again * visit(found, value)
            if count > most:
                raise OverflowError
        for found, part in _parts(schema, value):
            count += visit(found, part)
            if count > most:
                raise OverflowError
        if len(known) > most:
            raise OverflowError
        known[pair] = count
        return count

    try:
        return visit(root, value)
    except (OverflowError, RecursionError):
        return None


# --- what a schema is made of -----------------------------------------------------------------


def _own(schema: dict[str, Any]) -> int:
    choices = schema.get("enum")
    return 1 + (len(choices) if isinstance(choices, list) else 0)


def _matched(schema: dict[str, Any], value: Any) -> int:
    """Characters that patterns are matched against."""
    if isinstance(value, str):
        return len(value) if "pattern" in schema else 0
    patterns = schema.get("patternProperties")
    if not isinstance(value, dict) or not isinstance(patterns, dict):
        return 0
    return len(patterns) * sum(map(len, value))


def _looks_twice(schema: dict[str, Any]) -> bool:
    """Whether what stands beside is checked once more to learn what it left unevaluated."""
    return "unevaluatedProperties" in schema or "unevaluatedItems" in schema


def _inside(schema: dict[str, Any], root: dict[str, Any]) -> tuple[list[Any], list[Any], int]:
    """Schemas applied to the same value, and to parts of it; how many of them by reference."""
    same: list[Any] = []
    below: list[Any] = []
    refers = 0
    for name, value in schema.items():
        how = _HOW.get(name)
        if how is None:
            continue
        if how == "list":
            same += value if isinstance(value, list) else ()
        elif how == "same":
            same.append(value)
        elif how == "map":
            same += _values(value)
        elif how == "parts":
            below += _values(value)
        elif how == "each":
            below += value if isinstance(value, list) else (value,)
        elif how == "ref" and isinstance(value, str):
            same.append(resolve(value, root))
            refers = 1
        elif how == "foreign" and isinstance(value, (str, bool)):
            raise Unresolved(name)
        elif how == "id" and isinstance(value, str) and schema is not root:
            raise Unresolved("a $id inside")
    return same, below, refers


def _parts(schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """(schema, part of the value) for each part."""
    if isinstance(value, dict):
        named = schema.get("properties")
        named = named if isinstance(named, dict) else {}
        every = [schema[name] for name in _EVERY_KEY if name in schema]
        every += _values(schema.get("patternProperties"))
        names = schema.get("propertyNames")
        for key, part in value.items():
            if key in named:
                yield named[key], part
            for found in every:
                yield found, part
            if names is not None:
                yield names, key
    elif isinstance(value, list):
        every = [schema[name] for name in _EVERY_ITEM if isinstance(schema.get(name), dict)]
        for part in value:
            for found in every:
                yield found, part
        for name in ("prefixItems", "items"):
            listed = schema.get(name)
            if isinstance(listed, list):
                yield from zip(listed, value, strict=False)


def _values(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else []


def resolve(reference: str, root: dict[str, Any]) -> Any:
    """The schema at a JSON Pointer in a fragment (RFC 6901)."""
    head, sharp, pointer = reference.partition("#")
    if head or not sharp or (pointer and not pointer.startswith("/")):
        raise Unresolved(reference[:80])
    found: Any = root
    for part in pointer.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Unresolved(reference[:80]) from None
    return found
