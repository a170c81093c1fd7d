"""JSON Schemas from strangers: compiled within bounds, then used to check inputs and outputs.

Draft 2020-12 unless `$schema` says otherwise. No schema is ever fetched: a `$ref` out of the
document is refused. Regular expressions run on an engine that is linear in time, so a pattern
cannot explode; one that needs backtracking does not compile and is refused. What a check can cost
is bounded before it is made (`schema_cost`).
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import msgspec
import orjson

from hanse.errors import Invalid, TooLarge
from hanse.registry.schema_cost import PATTERN_STEPS, Weight, steps, weigh

SCHEMA_BYTES_MAX = 64 * 1024
SCHEMA_CHECKS_MAX = 100_000
"""Checks one value may need: thirty times what 64 KB can hold without references."""

CHECKS_MAX = 100_000_000
"""Checks of a value, by its bytes: half a second (6 ns each). Above it they are counted."""

STEPS_MAX = 200_000
"""Checks of a value, counted: a quarter of a second of counting, far less of checking."""

EXPLAINED_MAX = 200_000
"""Above it a refusal does not say which part is wrong: the engine would keep every branch that
failed, 5 us and up to 1 KB each."""

CACHE_MAX = 512
PATTERN_BYTES_MAX = 1 << 15
"""Compiled size of one pattern; with PATTERNS_MAX and CACHE_MAX it bounds what offers can fill."""
PATTERNS_MAX = 32

_PLAIN = frozenset(
    [
        "type",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "additionalProperties",
        "uniqueItems",
    ]
)
_PLAIN_NAME = re.compile(r'"[A-Za-z0-9_-]{1,64}" is a required property$')


class _Usable(msgspec.Struct, frozen=True):
    validator: jsonschema_rs.Validator
    root: dict[str, Any]
    weight: Weight
    patterns: int


def _never_fetch(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri[:80]}")


@functools.lru_cache(maxsize=CACHE_MAX)
def _usable(text: bytes) -> _Usable:
    root = orjson.loads(text)
    patterns = text.count(b'"pattern"') + PATTERNS_MAX * text.count(b'"patternProperties"')
    if text.count(b'"pattern"') + text.count(b'"patternProperties"') > PATTERNS_MAX:
        raise TooLarge(f"has over {PATTERNS_MAX} patterns", field="schema")
    weight = weigh(root, "schema")  # before the engine: a look here costs a tenth
    try:
        validator = jsonschema_rs.validator_for(
            root,
            retriever=_never_fetch,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES_MAX),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        raise Invalid.at("schema", f"is not a usable JSON Schema: {_short(exc)}") from exc
    if weight.checks > SCHEMA_CHECKS_MAX:
        raise TooLarge(f"asks for over {SCHEMA_CHECKS_MAX} checks of one value", field="schema")
    return _Usable(validator, root, weight, patterns)


def _text(schema: dict[str, Any], field: str) -> bytes:
    text = orjson.dumps(schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise Invalid.at(field, f"is over {SCHEMA_BYTES_MAX} bytes")
    return text


def check_schema(schema: Any, field: str) -> None:
    """Check that a value is a schema to be offered: one that we can use, and that ends. Raises
    Invalid with the reason."""
    if not isinstance(schema, dict):
        raise Invalid.at(field, "must be a JSON Schema object")
    try:
        usable = _usable(_text(schema, field))
    except Invalid as exc:
        raise type(exc)(exc.reason, field=field) from exc
    if usable.weight.recursive:
        reason = "is recursive: what refers to itself has no end that callers could count on"
        raise Invalid.at(field, reason, "write out as many levels as you need")


def violation(schema: dict[str, Any], value: Any) -> str | None:
    """Why `value` breaks `schema` ("path: reason"), or None if it does not. A schema that cannot
    be used counts as broken: a check that cannot be made refuses."""
    try:
        usable = _usable(_text(schema, "schema"))
    except Invalid as exc:
        return exc.text
    size = len(orjson.dumps(value))
    most = usable.weight.checks * size
    matched = PATTERN_STEPS * usable.patterns * size  # linear in the text, yet slow
    if usable.weight.recursive or most > CHECKS_MAX or matched > STEPS_MAX:
        counted = steps(usable.root, value, STEPS_MAX)
        if counted is None:
            return f"schema: asks for over {STEPS_MAX} checks of this value"
        most = counted
    try:
        if usable.validator.is_valid(value):
            return None
        if most > EXPLAINED_MAX:
            return "does not match the schema"
        usable.validator.validate(value)
    except jsonschema_rs.ValidationError as exc:
        path = ".".join(str(part) for part in exc.instance_path)
        reason = _reason(exc)
        return _line(f"{path}: {reason}" if path else reason)
    except ValueError as exc:
        return f"schema: {_short(exc)}"
    return None


def checker(schema: dict[str, Any]) -> Callable[[Any], bool] | None:
    """Whether values fit a schema without references, for a few looks: nothing is kept of it. None
    if it cannot be used."""
    try:
        return jsonschema_rs.validator_for(
            schema,
            retriever=_never_fetch,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES_MAX),
        ).is_valid
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return None


def _reason(exc: jsonschema_rs.ValidationError) -> str:
    """Why, in words that hold nothing a schema's author could have written as a message: constants,
    patterns and odd property names are named by their keyword alone."""
    keyword = str(exc.schema_path[-1]) if exc.schema_path else ""
    if keyword in _PLAIN or (keyword == "required" and _PLAIN_NAME.match(exc.message)):
        return str(exc.message)
    return f"does not meet the schema's {keyword if keyword.isalpha() else 'rules'}"


def _short(exc: Exception) -> str:
    return _line(str(getattr(exc, "message", None) or exc).partition("\n")[0])


def _line(text: str) -> str:
    """One short line: keys and values in it may be a stranger's and must not begin another."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"
