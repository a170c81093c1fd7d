"""A recursive schema with as many levels written out as a caller is told of.

No offer may hold a schema that refers to itself. Types that do (a tree, a list of lists) are made
into one that ends: each definition in a circle stands there LEVELS times, each time referring to
the next; below the last anything goes, and whoever gets the value checks it.
"""

from collections.abc import Mapping
from typing import Any

LEVELS = 4
_DEFS = "#/$defs/"


def written_out(schema: dict[str, Any], levels: int = LEVELS) -> dict[str, Any]:
    """The schema, if need be with its circles of `#/$defs/…` written out. What refers to itself in
    another way is left as it is."""
    definitions = schema.get("$defs")
    if not isinstance(definitions, dict):
        return schema
    reached = _reached(definitions)
    circles = {name for name, names in reached.items() if name in names}
    if not circles:
        return schema

    def renamed(found: Any, inside: str | None, level: int) -> Any:
        if isinstance(found, list):
            return [renamed(one, inside, level) for one in found]
        if not isinstance(found, dict):
            return found
        name = _name(found)
        if name in circles:
            again = inside is not None and inside in reached[name] and name in reached[inside]
            deeper = level + 1 if again else 1
            rest = {key: value for key, value in found.items() if key != "$ref"}
            return rest if deeper > levels else rest | {"$ref": _DEFS + _copy(name, deeper)}
        return {
            key: value if key in ("enum", "const") else renamed(value, inside, level)
            for key, value in found.items()
        }

    written: dict[str, Any] = {}
    for name, one in definitions.items():
        for level in range(1, levels + 1) if name in circles else (1,):
            at = name if name in circles else None
            written[_copy(name, level)] = renamed(one, at, level)
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    found = renamed(rest, None, 0)
    return {**found, "$defs": written}


def _copy(name: str, level: int) -> str:
    return name if level == 1 else f"{name}.{level}"


def _name(found: Mapping[str, Any]) -> str:
    reference = found.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFS):
        return reference[len(_DEFS) :]
    return ""


def _reached(definitions: Mapping[str, Any]) -> dict[str, set[str]]:
    """The definitions that each refers to, itself or through others."""
    found = {name: _named(one) & definitions.keys() for name, one in definitions.items()}
    for through in found:
        for names in found.values():
            if through in names:
                names |= found[through]
    return found


def _named(found: Any) -> set[str]:
    if isinstance(found, list):
        return set().union(*(_named(one) for one in found))
    if not isinstance(found, dict):
        return set()
    name = _name(found)
    return set().union({name} if name else set(), *(_named(one) for one in found.values()))
