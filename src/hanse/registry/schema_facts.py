"""What is sure of a value that fits several schemas at once, read off their own keywords."""

import math
from collections.abc import Iterable
from typing import Any

import orjson

ANY_TYPE = ("null", "boolean", "integer", "fraction", "string", "array", "object")
"""JSON's types, and numbers as two: 1.0 is an integer, and `fraction` is a number that is none."""


class Facts:
    """The keywords of schemas that all hold."""

    def __init__(self, schemas: Iterable[Any]) -> None:
        self._schemas = [one for one in schemas if isinstance(one, dict)]
        self.listed = 0
        """How many values were looked at."""
        types = set(ANY_TYPE)
        for one in self._schemas:
            if "type" in one:
                types &= types_named(one["type"])
            listed = _values_of(one)
            if listed is not None:
                self.listed += len(listed)
                types &= {value_type(value) for value in listed}
        self.types = types

    def has(self, name: str) -> bool:
        """Whether a keyword is there at all."""
        return any(name in one for one in self._schemas)

    def all(self, name: str) -> list[Any]:
        """Each value of a keyword."""
        return [one[name] for one in self._schemas if name in one]

    def says(self, name: str, value: Any) -> bool:
        """Whether a keyword has just this value."""
        return any(json_key(found) == json_key(value) for found in self.all(name))

    def values(self) -> list[Any] | None:
        """The values that may fit, if they are listed; some of them may not."""
        for one in self._schemas:
            listed = _values_of(one)
            if listed is not None:
                return [value for value in listed if value_type(value) in self.types]
        if self.types <= {"null", "boolean"}:
            nothing = [None] if "null" in self.types else []
            return [*nothing, *([True, False] if "boolean" in self.types else [])]
        return None

    def required(self) -> set[str]:
        """Names that are there in any case, if it is an object."""
        return {name for names in self.all("required") for name in names}

    def needed_with(self, name: str) -> set[str]:
        """Names that are there if `name` is."""
        return {one for rules in self.all("dependentRequired") for one in rules.get(name, [])}

    def least(self, name: str) -> Any:
        """A lower bound of a size."""
        implied = len(self.required()) if name == "minProperties" else 0
        return max([implied, *self.all(name)])

    def most(self, name: str) -> Any | None:
        """An upper bound of a size, or None."""
        found = list(self.all(name))
        for one in self._schemas:
            closed = one.get("additionalProperties") is False and not one.get("patternProperties")
            if name == "maxProperties" and closed:
                found.append(len(one.get("properties", {})))
            if name == "maxItems" and one.get("items") is False:
                found.append(len(one.get("prefixItems", [])))
        return min(found) if found else None

    def low(self, whole: bool) -> tuple[Any, bool] | None:
        """The lower edge of a number, and whether it is excluded itself. `whole`: of integers."""
        edges = [(one, False) for one in self.all("minimum") if is_number(one)]
        edges += [(one, True) for one in self.all("exclusiveMinimum") if is_number(one)]
        if whole:
            edges = [
                (math.floor(one) + 1 if excluded else math.ceil(one), False)
                for one, excluded in edges
            ]
        return max(edges, default=None)

    def high(self, whole: bool) -> tuple[Any, bool] | None:
        """The upper edge of a number, and whether it is excluded itself. `whole`: of integers."""
        edges = [(one, False) for one in self.all("maximum") if is_number(one)]
        edges += [(one, True) for one in self.all("exclusiveMaximum") if is_number(one)]
        if whole:
            edges = [
                (math.ceil(one) - 1 if excluded else math.floor(one), False)
                for one, excluded in edges
            ]
        return min(edges, key=lambda edge: (edge[0], not edge[1]), default=None)


def types_named(named: Any) -> set[str]:
    """The types of a `type` keyword."""
    names = set(named) if isinstance(named, list) else {named}
    return names - {"number"} | ({"integer", "fraction"} if "number" in names else set())


def value_type(value: Any) -> str:
    """The type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "fraction"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def json_key(value: Any) -> str:
    """Text that is the same for values that JSON Schema holds for equal: 1 and 1.0 are."""
    return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _values_of(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else None
