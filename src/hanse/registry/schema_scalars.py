"""What a schema asserts of a value by itself (type, listed values, numbers, texts, sizes), and how
a break with what was asserted before is named."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec

from hanse.registry.schema_facts import ANY_TYPE, Facts, is_number, json_key, types_named

VALUES_TOLD_MAX = 20


class Break(msgspec.Struct, frozen=True):
    """Why `a` is not included in `b`: a place in the schema, a code (see `compatibility.WORDS`) and
    what the words need. `undecided`: the two could not be compared."""

    path: str
    code: str
    values: tuple[str, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether the two could not be compared, rather than were found to differ."""
        return self.code == "undecided"


def place(path: str, *parts: str) -> str:
    """A path made longer. Names are strangers': odd ones are shown as what they are."""
    for part in parts:
        plain = part.isidentifier() and len(part) <= 64
        shown = part if plain or "[" in part else ascii(part[:64])
        path = f"{path}.{shown}" if path else shown
    return path


def scalars(facts: Facts, schema: dict[str, Any], path: str) -> list[Break]:
    """Why what a schema asserts by itself is not implied by what is sure of a value."""
    found: list[Break] = []
    if "type" in schema:
        beyond = facts.types - types_named(schema["type"])
        if beyond:
            found.append(Break(path, "type", (_types_told(facts.types, beyond, schema["type"]),)))
    if "const" in schema or "enum" in schema:
        listed = {json_key(one) for one in schema.get("enum", [schema.get("const")])}
        values = facts.values()
        if values is None:
            found.append(Break(path, "values"))
        else:
            more = [one for one in values if json_key(one) not in listed]
            found += [Break(path, "value", (shown(one),)) for one in more[:VALUES_TOLD_MAX]]
    if facts.types & {"integer", "fraction"}:
        found += _numbers(facts, schema, path)
    if "string" in facts.types:
        for name in ("pattern", "format"):
            if name in schema and not facts.says(name, schema[name]):
                code = "undecided" if facts.has(name) else "bound"
                found.append(Break(path, code, _bound(name, facts, schema)))
    for type, least, most in _SIZES:
        if type not in facts.types:
            continue
        if least in schema and facts.least(least) < schema[least]:
            found.append(Break(path, "bound", _bound(least, facts, schema)))
        if most in schema:
            given = facts.most(most)
            if given is None or given > schema[most]:
                found.append(Break(path, "bound", _bound(most, facts, schema)))
    return found


def _types_told(given: set[str], beyond: set[str], named: Any) -> str:
    if given == set(ANY_TYPE):
        names = [str(one) for one in (named if isinstance(named, list) else [named])]
        return f"anything but {' and '.join(sorted(names))}"
    names = [one for one in beyond if one != "fraction"]
    if "fraction" in beyond:
        names = [one for one in names if one != "integer"] + ["number"]
    return ", ".join(sorted(names))


_SIZES = (
    ("string", "minLength", "maxLength"),
    ("array", "minItems", "maxItems"),
    ("object", "minProperties", "maxProperties"),
)


def _numbers(facts: Facts, schema: dict[str, Any], path: str) -> list[Break]:
    found = []
    whole = "fraction" not in facts.types
    for name, edge in (
        *(("minimum", facts.low(whole)), ("exclusiveMinimum", facts.low(whole))),
        *(("maximum", facts.high(whole)), ("exclusiveMaximum", facts.high(whole))),
    ):
        if name in schema and not _is_inside(name, edge, schema[name]):
            found.append(Break(path, "bound", _bound(name, facts, schema)))
    if "multipleOf" in schema:
        step = Fraction(str(schema["multipleOf"]))
        steps = [Fraction(str(one)) for one in facts.all("multipleOf")]
        steps += [Fraction(1)] if whole else []
        if not any(one % step == 0 for one in steps):
            found.append(Break(path, "bound", _bound("multipleOf", facts, schema)))
    return found


def _is_inside(name: str, edge: tuple[Any, bool] | None, bound: Any) -> bool:
    """Whether an edge (value, excluded?) is within a bound."""
    if edge is None or not is_number(bound):
        return False
    value, excluded = edge
    inner: Callable[[Any, Any], bool] = (
        (lambda x, y: x > y) if "inimum" in name else (lambda x, y: x < y)
    )
    return inner(value, bound) or (value == bound and (excluded or "exclusive" not in name))


def _bound(name: str, facts: Facts, schema: dict[str, Any]) -> tuple[str, str, str]:
    given = facts.all(name)
    return name, shown(schema[name]), shown(given[0]) if given else "none"


def shown(value: Any) -> str:
    """A value in a line of ours: a stranger wrote it."""
    text = ascii(value) if isinstance(value, str) else json_key(value)
    return text if len(text) <= 60 else text[:59] + "…"
