"""Recursive schemas are written out: they end, and say the same as far as they go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hanse.registry.schema import check_schema, violation
from hanse.registry.schema_levels import LEVELS, written_out

TREE: dict[str, Any] = {
    "$ref": "#/$defs/Tree",
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
            "required": ["value"],
        },
        "Text": {"type": "string", "enum": ["$ref", "#/$defs/Tree"]},
    },
}
PINGPONG: dict[str, Any] = {
    "properties": {"ping": {"$ref": "#/$defs/Ping"}, "text": {"$ref": "#/$defs/Text"}},
    "$defs": {
        "Ping": {"properties": {"pong": {"$ref": "#/$defs/Pong"}}, "type": "object"},
        "Pong": {"properties": {"ping": {"$ref": "#/$defs/Ping"}}, "type": "object"},
        "Text": {"type": "string"},
    },
}


def tree(levels: int, value: object = 1) -> dict[str, Any]:
    """A tree of one branch; the last leaf has this value."""
    found: dict[str, Any] = {"value": value}
    for _ in range(levels - 1):
        found = {"value": 1, "children": [found]}
    return found


@pytest.mark.parametrize("schema", [TREE, PINGPONG])
def test_what_is_written_out_can_be_offered(schema: dict[str, Any]) -> None:
    check_schema(written_out(schema), "schema")


def test_as_many_levels_as_are_written_are_checked_and_no_more() -> None:
    found = written_out(TREE)
    for levels in range(1, LEVELS + 1):
        assert violation(found, tree(levels)) is None
        assert violation(found, tree(levels, "x")) is not None
    assert violation(found, tree(LEVELS + 1, "x")) is None
    assert violation(written_out(TREE, 2), tree(3, "x")) is None


def test_circles_of_several_end_too_and_what_is_in_none_stays() -> None:
    found = written_out(PINGPONG)
    assert found["$defs"]["Text"] == {"type": "string"}
    assert violation(found, {"ping": {"pong": {"ping": {"pong": 1}}}}) is not None
    assert violation(found, {"ping": {"pong": {"ping": {"pong": {}}}}}) is None
    assert violation(found, {"text": 1}) is not None


@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"}, {}]
)
def test_what_has_no_circle_is_left_as_it_is(schema: dict[str, Any]) -> None:
    assert written_out(schema) is schema


@given(
    some.dictionaries(some.sampled_from("abcd"), some.lists(some.sampled_from("abcd"), max_size=3))
)
def test_any_circles_end(edges: dict[str, list[str]]) -> None:
    definitions = {
        name: {"properties": {to: {"$ref": f"#/$defs/{to}"} for to in edges.get(name, ())}}
        for name in "abcd"
    }
    schema = {"$ref": "#/$defs/a", "$defs": definitions}
    check_schema(written_out(schema, 3), "schema")
