"""YAML as JSON values: what the core schema says, and nothing that a document could do with it."""

import time
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from hanse.errors import HanseError, Invalid, TooLarge
from hanse.operations.imports import sources, yaml_text
from hanse.operations.imports.yaml_text import DEPTH_MAX, read_yaml

API = b"""
openapi: 3.0.3
info: {title: Tides, version: '2.0'}
x-shared: &answer
  description: ok
  content:
    application/json:
      schema: {type: object, properties: {height: {type: number, minimum: -.5}}}
paths:
  /tides/{port}:
    get:
      operationId: tide
      description: >
        The tide at a port,
        on a day.
      parameters:
        - {name: port, in: path, required: true, schema: {type: string}}
        - name: on
          in: query
          schema: {type: string, example: 2026-01-02, enum: [yes, no, on]}
      responses:
        200: *answer
        404: {description: none}
"""


def told(text: str) -> Any:
    return read_yaml(text.encode(), "file", bytes_max=1 << 20)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("[yes, no, on, off, y]", ["yes", "no", "on", "off", "y"]),
        ("[true, False, null, ~, '', 'null']", [True, False, None, None, "", "null"]),
        ("[1, -2, +3, 0o17, 0x1F, 017]", [1, -2, 3, 15, 31, 17]),
        ("[1.5, .5, 1e3, -1.5E-2, .inf, .nan]", [1.5, 0.5, 1000.0, -0.015, ".inf", ".nan"]),
        ("[2026-01-02, 12:30:45, 1_000]", ["2026-01-02", "12:30:45", "1_000"]),
        ("200: ok", {"200": "ok"}),
        ("true: ok", {"true": "ok"}),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("'<<': 1", {"<<": 1}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("99999999999999999999999999", "99999999999999999999999999"),
    ],
)
def test_values_are_those_of_the_core_schema(text: str, value: Any) -> None:
    assert told(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!python/object/apply:os.system [id]", "not JSON's"),
        ("!!python/name:os.system", "not JSON's"),
        ("!ruby/object:Gem {a: 1}", "not JSON's"),
        ("!!binary aGk=", "not JSON's"),
        ("!!timestamp 2026-01-02", "not JSON's"),
        ("!!set {a, b}", "not JSON's"),
        ("!!int twelve", "not JSON's"),
        ("&a [*a]", "stands for nothing before it"),
        ("*a", "stands for nothing before it"),
        ("{a: 1, a: 2}", "twice"),
        ("? [a]\n: 1", "no text"),
        ("<<: 1", "no mapping"),
        ("a: 1\n---\nb: 2", "one document"),
        ("", "one document"),
        ("a: [1", "line"),
        ("a: 'x", "not YAML"),
        ("\x00", "not YAML"),
        ("%YAML 9.9\n--- a", "not YAML"),
    ],
)
def test_what_json_could_not_say_is_refused(text: str, says: str) -> None:
    with pytest.raises(Invalid, match="file") as caught:
        told(text)
    assert says in caught.value.reason


def bomb(levels: int, width: int = 9) -> str:
    rows = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    rows += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * width)}]" for at in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    "text",
    [
        bomb(12),
        "a: &a {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\nb: ["
        + ", ".join(["{<<: *a}"] * 1000) + "]",
        "a: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 1000) + "]",
        "[" * (DEPTH_MAX + 2) + "]" * (DEPTH_MAX + 2),
        "\n".join("  " * level + "a:" for level in range(DEPTH_MAX + 2)),
        "[" + ",".join(f"&a{n} 1" for n in range(10_001)) + "]",
        "a: " + "x" * (1 << 20),
        "[" * 500_000,
    ],
)  # fmt: skip
def test_a_document_that_stands_for_too_much_is_refused_at_once(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(TooLarge):
        told(text)
    assert time.thread_time() - began < 5


def test_a_document_that_is_large_and_plain_is_read() -> None:
    rows = "\n".join(f"key{number}: {{a: 1, b: [x, y]}}" for number in range(20_000))
    assert len(told(rows)) == 20_000


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**63), 2**63) | some.text(max_size=20)
    | some.floats(allow_nan=False, allow_infinity=False),
    lambda inner: some.lists(inner, max_size=4)
    | some.dictionaries(some.text(min_size=1, max_size=9), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_what_is_written_as_yaml_is_read_as_it_was(value: Any) -> None:
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=False)
    found = read_yaml(quoted.encode(), "file", bytes_max=1 << 20)
    assert found == value  # in quotes, but what is no text bears its tag


@given(some.text(max_size=200))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        found = told(text)
    except HanseError:
        return
    orjson.dumps(found)


async def test_an_openapi_document_in_yaml_is_imported() -> None:
    assert yaml_text.is_openapi(API)
    assert sources.document_in(API) is not None
    for kind in (None, "openapi"):
        source, reading = await sources.of_file("tides.yaml", API, kind)
        assert (source.kind, reading.refused) == ("openapi", [])
        (listing,) = reading.listings
        assert (listing.name, listing.version) == ("Tides", "2.0")
        (tide,) = listing.capabilities
        assert tide.name == "tide"
        assert tide.description.startswith("The tide at a port, on a day.")
        assert tide.input_schema["properties"]["on"]["enum"] == ["yes", "no", "on"]
        assert tide.input_schema["required"] == ["port"]
        assert tide.output_schema is not None
        assert tide.output_schema["properties"]["height"] == {"type": "number", "minimum": -0.5}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (b"openapi: 3.1.0", True),
        (b"# a comment\n'openapi' : '3.0.0'", True),
        (b"info: x\nopenapi: 3.1.0", True),
        (b'{"openapi": "3.1.0"}', False),
        (b'{"kind": 1}\n{"kind": 2}', False),
        (b"  openapi: nested", False),
        (b"swagger: 2.0", False),
    ],
)
def test_a_document_in_yaml_is_known_by_its_version(text: bytes, is_one: bool) -> None:
    assert yaml_text.is_openapi(text) is is_one
