"""Schemas compared, against an engine that checks values: what is called included is."""

from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.registry.inclusion import breaks

NAMES = ("a", "b", "c")
WORDS = ("", "a", "ab", "abc", "aab")

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 4),
        st.sampled_from([0.5, 1.0, 2.5, -1.5]),
        st.sampled_from(WORDS),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from((*NAMES, "z")), inner, max_size=3),
    ),
    max_leaves=6,
)
sizes = st.integers(0, 3)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def maybe(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas with some of these keywords."""
    return st.fixed_dictionaries({}, optional=parts)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas made of schemas."""
    few = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    return st.one_of(
        maybe(
            type=st.one_of(st.just("object"), types),
            properties=named,
            required=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            additionalProperties=st.one_of(st.booleans(), inner),
            minProperties=sizes,
            maxProperties=sizes,
        ),
        maybe(
            patternProperties=st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=1),
            properties=named,
            additionalProperties=st.booleans(),
            propertyNames=inner,
            dependentRequired=st.just({"a": ["b"]}),
        ),
        maybe(
            type=st.one_of(st.just("array"), types),
            items=st.one_of(st.booleans(), inner),
            prefixItems=few,
            minItems=sizes,
            maxItems=sizes,
            uniqueItems=st.booleans(),
        ),
        maybe(anyOf=few, type=types),
        maybe(oneOf=few, properties=named),
        maybe(allOf=few, minLength=sizes),
        maybe(**{"not": inner, "if": inner, "then": inner, "contains": inner}),
        maybe(unevaluatedProperties=st.just(False), properties=named, allOf=few),
    )


flat = st.one_of(
    st.booleans(),
    maybe(
        type=st.one_of(types, st.lists(types, min_size=1, max_size=3, unique=True)),
        minLength=sizes,
        maxLength=sizes,
        minimum=st.integers(-1, 2),
        exclusiveMaximum=st.sampled_from([0, 1.5, 3]),
    ),
    maybe(
        type=st.sampled_from(["integer", "number"]),
        exclusiveMinimum=st.sampled_from([-1, 0.5]),
        maximum=st.sampled_from([1, 2.5]),
        multipleOf=st.sampled_from([1, 2, 0.5]),
    ),
    maybe(type=st.just("string"), pattern=st.sampled_from(["^a", "b"])),
    maybe(enum=st.lists(values, min_size=1, max_size=3), type=types),
    maybe(const=values),
    st.sampled_from([{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}]),
)
parts = st.recursive(flat, keywords, max_leaves=5)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two schemas, the second often the first with something changed."""
    first = _document(draw(parts), draw(parts), draw(parts))
    if draw(st.booleans()):
        second = _document(draw(parts), first["$defs"]["one"], draw(parts))
    else:
        second = _changed(draw, first)
    return first, second


def _document(schema: Any, one: Any, two: Any) -> dict[str, Any]:
    base = schema if isinstance(schema, dict) else {"allOf": [schema]}
    guarded = {"type": ["object", "string"], "properties": {"a": {"$ref": "#/$defs/two"}}}
    return base | {"$defs": {"one": _plain(one), "two": guarded | {"maxProperties": 2}}}


def _plain(schema: Any) -> Any:
    """A definition that refers only below itself: what names itself in place means nothing."""
    if isinstance(schema, dict) and "$ref" in str(schema):
        return {"properties": {"b": {"$ref": "#/$defs/two"}}}
    return schema


def _changed(draw: st.DrawFn, schema: Any) -> Any:
    """A copy with keywords left out, relaxed, or given elsewhere."""
    if isinstance(schema, list):
        return [_changed(draw, one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, one in schema.items():
        what = draw(st.integers(0, 11))
        if key.startswith("$") or (isinstance(one, dict) and key in NAMES):
            found[key] = one if key == "$ref" else _changed(draw, one)
        elif what == 0 and key not in ("one", "two"):
            continue
        elif what == 1 and isinstance(one, int) and not isinstance(one, bool):
            found[key] = max(0, one + (1 if key.startswith("max") else -1))
        elif what == 2 and key in ("anyOf", "enum") and isinstance(one, list):
            found[key] = [*one, draw(values) if key == "enum" else draw(flat)]
        elif key in ("enum", "const", "required", "type", "dependentRequired"):
            found[key] = one
        else:
            found[key] = _changed(draw, one)
    return found


def compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator | None:
    """The oracle, or None for a schema that it does not take."""
    try:
        return jsonschema_rs.validator_for(schema)
    except (jsonschema_rs.ValidationError, ValueError):
        return None


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(pairs(), st.lists(values, min_size=10, max_size=30))
def test_what_fits_a_schema_fits_each_that_includes_it(
    pair: tuple[dict[str, Any], dict[str, Any]], instances: list[Any]
) -> None:
    first, second = pair
    old, new = compiled(first), compiled(second)
    if old is None or new is None:
        return
    for a, b, small, large in ((first, second, old, new), (second, first, new, old)):
        if breaks(a, b, strict=True):
            continue
        for value in instances:
            if small.is_valid(value):
                assert large.is_valid(value), (a, b, value)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_every_schema_includes_itself(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, _ = pair
    if compiled(first) is not None:
        assert breaks(first, first | {"title": "other words"}) == []


def closed(schema: Any) -> Any:
    """A copy in which only names that are listed may be used, where nothing else is said."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: one if key in ("enum", "const") else closed(one) for key, one in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        found["additionalProperties"] = False
    return found


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(pairs(), st.lists(values, min_size=10, max_size=30))
def test_who_uses_only_names_that_were_listed_is_not_broken_by_new_ones(
    pair: tuple[dict[str, Any], dict[str, Any]], instances: list[Any]
) -> None:
    first, second = pair
    for a, b in ((first, second), (second, first)):
        old, only, new = compiled(a), compiled(closed(a)), compiled(b)
        if old is None or only is None or new is None or breaks(a, b, strict=False):
            continue
        for value in instances:
            if old.is_valid(value) and only.is_valid(value):
                assert new.is_valid(value), (a, b, value)
