"""JSON from strangers: bounds on reading, and RFC 8785's form."""

import hashlib
import time
from typing import Any

import pytest

from hanse.errors import Invalid, TooLarge
from hanse.protocol.canonical import DEPTH_MAX, canonical, digest_hex, read_json


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


def test_json_within_the_bounds_is_read_from_text_and_bytes() -> None:
    assert read_json('{"a":[1,"é"]}', "f", bytes_max=100) == {"a": [1, "é"]}
    assert read_json('{"a":[1,"é"]}'.encode(), "f", bytes_max=100) == {"a": [1, "é"]}


def test_the_size_bound_counts_utf_8_bytes() -> None:
    assert read_json('"é"', "f", bytes_max=4) == "é"
    with pytest.raises(TooLarge) as caught:
        read_json('"é"', "f", bytes_max=3)
    assert caught.value.field == "f"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nope",
        "NaN",
        "Infinity",
        "1e999",
        "[1,]",
        '{"a":1',
        "'a'",
        '"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '"\ud800"',
        "\ufeff1",
        "1 2",
    ],
)
def test_what_is_not_json_is_refused_with_its_field(text: str | bytes) -> None:
    with pytest.raises(Invalid) as caught:
        read_json(text, "content", bytes_max=1000)
    assert (caught.value.field, caught.value.reason) == ("content", "is not JSON")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    within = nested(DEPTH_MAX // levels, opening, closing)
    read_json(within, "f", bytes_max=10_000)
    with pytest.raises(TooLarge):
        read_json(f"[{within}]", "f", bytes_max=10_000)


def test_brackets_inside_strings_are_not_nesting() -> None:
    text = '["' + "[{" * 100 + '\\"[[[[\\\\", "[[["]'
    assert read_json(text, "f", bytes_max=10_000, depth_max=1) == ["[{" * 100 + '"[[[[\\', "[[["]


def test_many_brackets_side_by_side_are_not_nesting() -> None:
    assert len(read_json("[" + "[]," * 200 + "[]]", "f", bytes_max=10_000, depth_max=2)) == 201


@pytest.mark.parametrize("tail", ['"' + '\\"' * 150_000, '"' * 300_001, "\\" * 300_000])
def test_a_string_that_never_ends_costs_time_in_proportion_to_its_length(tail: str) -> None:
    text = "[" * (DEPTH_MAX + 1) + tail
    begun = time.process_time()
    with pytest.raises(Invalid):
        read_json(text, "f", bytes_max=1_000_000)
    # Quadratic work takes minutes here, linear work milliseconds.
    assert time.process_time() - begun < 2


# --- RFC 8785 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": {"d": None, "c": [True, False]}}, '{"a":{"c":[true,false],"d":null},"b":1}'),
        # Keys are sorted by UTF-16 code units, so an astral character stands before U+FB33.
        ({"\ufb33": 1, "\U0001f600": 2, "€": 3, "1": 4}, '{"1":4,"€":3,"\U0001f600":2,"\ufb33":1}'),
        ([1.0, 1e21, 1e-7, 0.1, -0.0, 333333333.33333329, 4.50], None),
        ('\u20ac$\u000f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ("", '""'),
    ],
)
def test_the_canonical_form_is_rfc_8785s(value: Any, expected: str | None) -> None:
    expected = expected or "[1,1e+21,1e-7,0.1,0,333333333.3333333,4.5]"
    assert canonical(value) == expected.encode()


def test_the_order_of_keys_does_not_change_the_digest() -> None:
    assert digest_hex({"a": 1, "b": 2}) == digest_hex({"b": 2, "a": 1})
    assert digest_hex({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        {"deep": [10**400]},
        "\ud800",
        {"\udfff": 1},
        {1: "a"},
        {"a": object()},
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_field(value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        canonical(value, "input")
    assert caught.value.field == "input"


def test_nesting_without_end_has_no_canonical_form() -> None:
    value: list[Any] = []
    for _ in range(20_000):
        value = [value]
    with pytest.raises(Invalid):
        canonical(value)
