"""What breaks a caller, what does not, and what cannot be told."""

from typing import Any

import msgspec
import pytest

from hanse.errors import Invalid
from hanse.protocol.amount import Amount
from hanse.protocol.keys import SecretKey
from hanse.registry.compatibility import Change, compare, refuse_breaking
from hanse.registry.inclusion import breaks
from hanse.registry.model import Capability, Metered, Offer, Period, Promise

KEY = SecretKey((1).to_bytes(32, "big")).public
TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    """An object schema."""
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return found | {"required": list(required)} if required else found


def capability(name: str = "send", **more: Any) -> Capability:
    """A capability at 1 sat."""
    fields: dict[str, Any] = {"name": name, "price": Amount(1000)}
    return Capability(**(fields | more))


def offer(*capabilities: Capability, **more: Any) -> Offer:
    """An offer of them."""
    base = Offer(
        provider=KEY,
        operator=KEY,
        identifier="post",
        name="Post",
        summary="Sends letters",
        capabilities=capabilities or (capability(),),
        promise=Promise(),
    )
    return msgspec.structs.replace(base, **more)


def input_changes(old: Any, new: Any) -> list[Change]:
    """What changes when an input schema becomes another."""
    return list(
        compare(offer(capability(input_schema=old)), offer(capability(input_schema=new))).changes
    )


def output_changes(old: Any, new: Any) -> list[Change]:
    """The same of an output schema."""
    return list(
        compare(offer(capability(output_schema=old)), offer(capability(output_schema=new))).changes
    )


def tree(value: Any) -> dict[str, Any]:
    """A schema of nodes with a value, that hold nodes."""
    node = obj("value", value=value, children={"type": "array", "items": {"$ref": "#/$defs/node"}})
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


def either(*schemas: Any) -> dict[str, Any]:
    """Any of them."""
    return {"anyOf": list(schemas)}


def kind(name: str) -> dict[str, Any]:
    """An object told from others by its kind."""
    return obj("kind", kind={"const": name})


WIDER: list[tuple[str, Any, Any]] = [
    ("a new optional property", obj(a=TEXT), obj(a=TEXT, b=NUMBER)),
    ("of no properties, too", obj(), obj(b=NUMBER)),
    ("no longer required", obj("a", a=TEXT), obj(a=TEXT)),
    ("one more type", obj(a=TEXT), obj(a={"type": ["string", "null"]})),
    ("more in anyOf", obj(a={"type": ["string"]}), obj(a=either(TEXT, {"type": "null"}))),
    ("any number", obj(a={"type": "integer"}), obj(a=NUMBER)),
    ("one more value", {"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}),
    ("any text", {"enum": ["a", "b"]}, TEXT),
    ("only one value", {"const": 1}, {"enum": [1.0, 2]}),
    ("looser numbers", NUMBER | {"minimum": 1}, NUMBER | {"minimum": 0}),
    ("no bound", TEXT | {"maxLength": 5}, TEXT),
    ("no pattern", TEXT | {"pattern": "^a"}, TEXT),
    ("a wider bound of integers", {"type": "integer", "minimum": 1},
     {"type": "integer", "exclusiveMinimum": 0}),
    ("a finer step", {"multipleOf": 6, "type": "number"}, {"multipleOf": 3, "type": "number"}),
    ("opened", obj(a=TEXT) | {"additionalProperties": False}, obj(a=TEXT)),
    ("one more alternative", either(TEXT), either(TEXT, NUMBER)),
    ("alternatives told apart", {"oneOf": [kind("a"), kind("b")]},
     {"oneOf": [kind("c"), kind("b"), kind("a")]}),
    ("one more beside those that exclude each other",
     {"oneOf": [obj(kind={"const": "a"}, x=TEXT), obj(kind={"const": "b"}, y=TEXT)]},
     {"oneOf": [obj(kind={"const": "a"}, x=TEXT), obj(kind={"const": "b"}, y=TEXT), kind("c")]}),
    ("less of allOf", {"allOf": [TEXT, {"minLength": 2}]}, TEXT),
    ("a reference written out", {"$ref": "#/$defs/t", "$defs": {"t": TEXT}}, TEXT),
    ("a tree of more", tree(TEXT), tree({"type": ["string", "number"]})),
    ("longer tuples", {"type": "array", "prefixItems": [TEXT], "items": False},
     {"type": "array", "prefixItems": [TEXT, TEXT], "items": False}),
    ("items of more", {"type": "array", "items": TEXT},
     {"type": "array", "items": either(TEXT, NUMBER)}),
    ("less excluded", {"type": "integer", "not": {"minimum": 3}},
     {"type": "integer", "not": {"minimum": 4}}),
    ("everything", obj("a", a=TEXT), {}),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in WIDER], ids=[row[0] for row in WIDER])
def test_an_input_may_take_more_in_a_minor_version(old: Any, new: Any) -> None:
    (change,) = input_changes(old, new)
    assert (change.level, change.path) == ("minor", "capabilities.send.schema")


NARROWER: list[tuple[Any, Any, str, str]] = [
    (obj(to=TEXT), obj("to", to=TEXT), ".properties.to", "was not required before"),
    (obj(to=TEXT), obj(to=NUMBER), ".properties.to", "no longer takes string"),
    (obj(to=NUMBER), obj(to={"type": "integer"}), ".properties.to", "no longer takes number"),
    (obj(to={}), obj(to=TEXT), ".properties.to", "no longer takes anything but string"),
    (obj(to={"enum": [1, 2]}), obj(to={"enum": [1]}), ".properties.to", "no longer takes 2"),
    (obj(to=TEXT), obj(to={"enum": ["a"]}), ".properties.to", "only listed values"),
    (obj(to=TEXT), obj(to=TEXT | {"maxLength": 9}), ".properties.to", "maxLength is 9 now"),
    (NUMBER | {"minimum": 1}, NUMBER | {"minimum": 2}, "", "minimum is 2 now, was 1"),
    (TEXT, TEXT | {"pattern": "^a"}, "", "pattern is '^a' now, was none"),
    (TEXT, TEXT | {"format": "email"}, "", "format is 'email' now, was none"),
    (obj(a=TEXT), obj(a=TEXT) | {"additionalProperties": False}, "", "takes no further names"),
    ({"type": "object"}, obj(a=TEXT), ".properties.a", "no longer takes anything but string"),
    (obj(a=TEXT) | {"additionalProperties": True}, obj(a=TEXT, b=TEXT), ".properties.b",
     "no longer takes anything but string"),
    (obj(a=TEXT, b=TEXT), obj(a=TEXT) | {"additionalProperties": False}, ".properties.b",
     "is not taken any more"),
    (either(TEXT, NUMBER), TEXT, "", "no longer takes"),
    ({"type": "array", "items": TEXT}, {"type": "array", "items": NUMBER}, ".items", "string"),
    ({"type": "array"}, {"type": "array", "uniqueItems": True}, "", "only once"),
    (tree({"type": ["string", "null"]}), tree(TEXT), ".properties.value", "null"),
    ({"type": "array", "maxItems": 3}, {"type": "array", "prefixItems": [{}], "items": False}, "",
     "no more than 1 items"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "reason"), NARROWER)
def test_an_input_that_takes_less_needs_a_major_version(
    old: Any, new: Any, path: str, reason: str
) -> None:
    changes = input_changes(old, new)
    assert changes[0].level == "major"
    found = [one for one in changes if one.path == f"capabilities.send.schema{path}"]
    assert found, changes
    assert reason in found[0].reason
    assert not found[0].undecided


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (TEXT | {"pattern": "^a"}, TEXT | {"pattern": "^ab?"}, "pattern"),
        ({"not": TEXT}, {"not": NUMBER}, "not"),
        ({"if": TEXT, "then": {"minLength": 2}}, {"if": TEXT, "then": {"minLength": 1}}, "if"),
        (obj(a=TEXT), obj(a=TEXT) | {"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [TEXT, NUMBER]}, {"oneOf": [TEXT, NUMBER, {"minLength": 2}]}, "oneOf"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, {}, "$schema"),
    ],
)
def test_what_cannot_be_told_counts_as_breaking(old: Any, new: Any, what: str) -> None:
    change = input_changes(old, new)[0]
    assert (change.level, change.undecided) == ("major", True)
    assert change.reason.startswith(f"{what} changed, and whether")


def test_what_is_the_same_is_not_compared_however_odd_it_is() -> None:
    odd = {"not": TEXT, "if": NUMBER, "then": {"minimum": 1}, "unevaluatedProperties": False}
    other = odd | {"title": "Odd", "not": TEXT | {"description": "a text"}}
    (change,) = input_changes(odd, other)
    assert (change.level, change.reason) == ("patch", "has other words")
    assert input_changes(odd, dict(odd)) == []


def test_a_property_that_is_no_longer_named_is_told_of() -> None:
    (change,) = input_changes(obj(a=TEXT, b=TEXT), obj(a=TEXT))
    assert (change.level, "no longer names 'b'" in change.reason) == ("minor", True)


def test_an_output_may_only_give_less() -> None:
    narrower = output_changes(obj("a", a=either(TEXT, NUMBER)), obj("a", "b", a=TEXT, b=TEXT))
    assert [one.level for one in narrower] == ["minor"]
    first = output_changes(obj("a", a=TEXT), obj(a=TEXT))[0]
    assert (first.path, first.reason) == (
        "capabilities.send.outputSchema.properties.a",
        "is no longer always there",
    )
    assert output_changes(obj(a=TEXT), obj(a=NUMBER))[0].reason == "may now be number"
    closed = obj(a=TEXT) | {"additionalProperties": False}
    assert "names that were not listed" in output_changes(closed, obj(a=TEXT))[0].reason
    assert output_changes(NUMBER | {"maximum": 1}, NUMBER | {"maximum": 2})[0].reason == (
        "maximum is 2 now, was 1"
    )


def test_an_output_schema_may_come_but_not_go() -> None:
    assert [one.level for one in output_changes(None, obj(a=TEXT))] == ["minor"]
    assert [one.level for one in output_changes(obj(a=TEXT), None)] == ["major"]


def test_a_capability_may_come_but_not_go() -> None:
    two = offer(capability(), capability("track"))
    assert [(one.path, one.level) for one in compare(offer(), two).changes] == [
        ("capabilities.track", "minor")
    ]
    (gone,) = compare(two, offer()).changes
    assert (gone.path, gone.reason, gone.level) == ("capabilities.track", "is gone", "major")


def test_schemas_that_refer_in_a_circle_end_as_undecided() -> None:
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}
    assert input_changes({}, circle)[0].undecided


def test_schemas_that_double_themselves_end_as_undecided() -> None:
    def doubling(leaf: Any) -> dict[str, Any]:
        defs: dict[str, Any] = {"d0": leaf}
        for level in range(1, 30):
            below = {"$ref": f"#/$defs/d{level - 1}"}
            defs[f"d{level}"] = {"anyOf": [obj(a=below), obj(b=below)]}
        return {"$ref": "#/$defs/d29", "$defs": defs}

    (change,) = input_changes(doubling(TEXT), doubling({"type": ["string", "null"]}))
    assert change.level == "minor" or "too much" in change.reason


AB = "abbabaabbaababba" * 1800
RARE = [{"pattern": f"[ab]*a[ab]{{{180 + n}}}x"} for n in range(30)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"const": AB}, {"anyOf": RARE}),
        ({"const": AB, "allOf": RARE}, {"allOf": [*RARE, {"maxLength": 3}]}),
        ({"const": {AB: 1}}, {"patternProperties": {"[ab]*a[ab]{180}x": {}}, "minProperties": 2}),
        ({"prefixItems": [{"minimum": 1}] * 3800}, {"prefixItems": [{"minimum": 0}] * 3800}),
        (
            {"type": "object", "allOf": [{"minProperties": n} for n in range(1500)]},
            {"properties": {f"p{n}": {"minimum": 1} for n in range(1500)}},
        ),
        (
            {"anyOf": [{"type": "string", "maxLength": n} for n in range(1500)]},
            {"enum": [f"v{n}" for n in range(7000)]},
        ),
        (
            {"type": "object", "required": [f"r{n}" for n in range(3000)], "maxProperties": 3000},
            {"oneOf": [{"maxProperties": 4000 + n} for n in range(2000)]},
        ),
        (
            {"anyOf": [{"maxLength": n} for n in range(1900)]},
            {f"x{n}": 1 for n in range(6000)} | {"minLength": 3},
        ),
    ],
    ids=["text", "texts", "name", "items", "properties", "values", "choices", "keywords"],
)
def test_a_comparison_made_to_be_long_is_ended_by_its_steps(old: Any, new: Any) -> None:
    """Each took from 200 ms to 3 s of a transaction; what is costly is counted, so none can."""
    found = breaks(old, new, strict=False)
    assert [(one.code, one.values) for one in found] == [("undecided", ("too much",))]


@pytest.mark.parametrize(
    ("old", "new", "path", "level"),
    [
        ({}, {"price": Amount(2000)}, "price", "minor"),
        ({}, {"price": Amount(500)}, "price", "patch"),
        ({}, {"description": "Sends"}, "description", "patch"),
        ({}, {"metered": (Metered(unit="row", price=Amount(1)),)}, "metered", "minor"),
        ({}, {"period": Period(span="day", price=Amount(1))}, "period", "minor"),
        ({"side_effects": "reads"}, {"side_effects": "writes"}, "side_effects", "minor"),
        ({"side_effects": "reads"}, {"side_effects": "none"}, "side_effects", "patch"),
        ({"side_effects": "none"}, {}, "side_effects", "minor"),
        ({"idempotent": True}, {"idempotent": False}, "idempotent", "minor"),
        ({}, {"idempotent": True}, "idempotent", "patch"),
        ({}, {"by_call": False, "price": Amount(0)}, "", "major"),
    ],
)  # fmt: skip
def test_each_change_of_a_capability_needs_its_level(
    old: dict[str, Any], new: dict[str, Any], path: str, level: str
) -> None:
    changes = compare(offer(capability(**old)), offer(capability(**new))).changes
    place = f"capabilities.send.{path}" if path else "capabilities.send"
    assert [(one.path, one.level) for one in changes] == [(place, level)]


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        ({"latency_p95_ms": 500}, {"latency_p95_ms": 900}, "minor"),
        ({"latency_p95_ms": 500}, {"latency_p95_ms": 100}, "patch"),
        ({"availability": 0.999}, {"availability": 0.99}, "minor"),
        ({"availability": 0.999}, {}, "minor"),
        ({}, {"availability": 0.999}, "patch"),
        ({"regions": ("EU", "US")}, {"regions": ("EU",)}, "minor"),
        ({"data_residence": ("EU",)}, {"data_residence": ("EU", "US")}, "minor"),
        ({"data_residence": ("EU", "US")}, {"data_residence": ("EU",)}, "patch"),
        ({"certifications": ("SOC 2",)}, {}, "minor"),
    ],
)
def test_a_looser_promise_is_told_and_needs_a_minor_version(
    old: dict[str, Any], new: dict[str, Any], level: str
) -> None:
    changes = compare(offer(promise=Promise(**old)), offer(promise=Promise(**new))).changes
    assert [one.level for one in changes] == [level]


def test_a_breaking_change_is_refused_with_its_place_and_what_to_do() -> None:
    old = offer(capability(input_schema=obj(to=TEXT)), version="1.4.0")
    new = offer(capability(input_schema=obj("to", to=TEXT)), version="1.5.0")
    with pytest.raises(Invalid) as caught:
        refuse_breaking(old, new)
    assert caught.value.wire == (
        "invalid: capabilities.send.schema.properties.to: was not required before; "
        "raise the major version (the published one is 1.4.0, this is 1.5.0)"
    )


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("1.4.0", "2.0.0", True),
        ("0.1.0", "0.2.0", True),
        ("1.4.0", "1.4.0", False),
        ("2.0.0", "1.0.0", False),
        ("first", "1.0.0", True),
        ("1.0.0", "second", False),
        ("", "", False),
    ],
)
def test_only_a_version_that_says_so_may_break(old: str, new: str, allowed: bool) -> None:
    before = offer(capability(), capability("track"), version=old)
    after = offer(version=new)
    if allowed:
        refuse_breaking(before, after)
    else:
        with pytest.raises(Invalid, match="raise the major version"):
            refuse_breaking(before, after)


def test_names_of_strangers_stand_in_a_reason_as_what_they_are() -> None:
    name = "x\nok: all is well\u202e" + "y" * 500
    (change, *_) = input_changes(obj(), obj(name, **{name: TEXT}))
    assert change.path.isascii()
    assert "\n" not in change.path
    assert len(change.path) < 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NUMBER | {"minimum": float("inf")}, {"type": "integer", "minimum": 1e308}),
        ({"type": "integer", "maximum": float("inf")}, {"type": "integer", "maximum": 1}),
        ({"prefixItems": 5}, {"prefixItems": 6}),
        ({"enum": [float("inf")]}, {"enum": [1]}),
        ({"required": 5}, {"required": 6, "type": "object"}),
        ({"$ref": "#/nowhere"}, {"$ref": "#/nowhere", "title": "x"}),
    ],
)
def test_what_no_schema_should_hold_breaks_nothing_but_the_comparison(old: Any, new: Any) -> None:
    for change in (*input_changes(old, new), *input_changes(new, old)):
        assert change.level in ("patch", "minor", "major")
