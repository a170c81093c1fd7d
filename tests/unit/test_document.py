"""The file of an offer: its schema and its reader agree, and every problem is told."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.document import (
    OfferDocument,
    document_of,
    document_schema,
    document_text,
    offer_of,
)
from hanse.registry.lint import DOCUMENT_BYTES_MAX, lint, read_document
from hanse.registry.model import Capability

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "examples/offers/clock.json").read_bytes()
NOBODY = PublicKey("0" * 64)


def document(**more: Any) -> bytes:
    """A file of one capability at 2 sat; `more` are fields of the offer."""
    whole: dict[str, Any] = {"id": "post", "name": "Post", "summary": "Sends letters"}
    return json.dumps(whole | {"capabilities": [capability()]} | more).encode()


def capability(**more: Any) -> dict[str, Any]:
    """One of which nothing can be said."""
    schema = {"type": "object"}
    whole = {"name": "send", "description": "Send", "price": "2sat", "side_effects": "writes"}
    return whole | {"input_schema": schema, "output_schema": schema} | more


def one(**more: Any) -> bytes:
    """A file of one capability with these fields."""
    return document(capabilities=[capability(**more)])


def problems(text: bytes) -> dict[str, str]:
    """What lint finds, by path."""
    return {found.path: f"{found.severity}: {found.reason}" for found in lint(text).problems}


def test_the_example_has_no_problems_and_reads_back_as_it_was() -> None:
    linted = lint(EXAMPLE)
    assert linted.problems == ()
    assert linted.document is not None
    offer = offer_of(linted.document, provider=NOBODY, operator=NOBODY)
    again = lint(document_text(document_of(offer)).encode())
    assert again.problems == ()
    assert again.document == linted.document


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    text = (ROOT / "docs/reference/offer.schema.json").read_text()
    assert json.loads(text) == document_schema(), "hanse offer schema > docs/reference/…"
    jsonschema_rs.validator_for(document_schema())


texts = st.text(max_size=3)
odd = st.one_of(st.none(), st.integers(-2, 3), st.booleans(), texts, st.just([]), st.just({}))
rows = st.fixed_dictionaries(
    {"name": st.one_of(st.sampled_from(["a", "b.c"]), odd)},
    optional={
        "price": st.one_of(st.sampled_from(["1sat", "2.5 sat", "7msat", "-1sat", "x"]), odd),
        "title": st.one_of(st.just("T"), odd),
        "input_schema": st.one_of(st.just({"type": "object"}), odd),
        "side_effects": st.one_of(st.just("none"), odd),
        "idempotent": odd,
        "examples": st.one_of(st.just([{"input": {}}]), odd),
        "metered": st.one_of(st.just([{"unit": "row", "price": "1sat"}]), odd),
        "period": st.one_of(st.just({"span": "day", "price": "1sat"}), odd),
        "more": odd,
    },
)
promises = st.fixed_dictionaries(
    {},
    optional={
        "latency_p50_ms": odd,
        "success_rate": st.one_of(st.just(0.5), odd),
        "regions": st.one_of(st.just(["EU"]), st.just(["eu"]), odd),
    },
)
documents = st.fixed_dictionaries(
    {"id": st.one_of(st.just("x"), odd), "name": st.just("X")},
    optional={
        "capabilities": st.one_of(st.lists(rows, max_size=2), odd),
        "promise": st.one_of(promises, odd),
        "topics": st.one_of(st.just(["a"]), odd),
        "version": st.one_of(st.just("1.0.0"), odd),
    },
)
VALIDATOR = jsonschema_rs.validator_for(document_schema())


def without_nulls(value: Any) -> Any:
    """A copy without members that are null: the types read them as left out, the schema does
    not."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


@given(documents)
def test_the_schema_takes_what_the_types_take(found: dict[str, Any]) -> None:
    found = without_nulls(found)
    try:
        msgspec.convert(found, OfferDocument)
        taken = True
    except msgspec.ValidationError:
        taken = False
    assert VALIDATOR.is_valid(found) is taken


@given(st.one_of(documents, odd))
def test_whatever_the_file_holds_lint_says_so_and_an_offer_without_errors_can_be_made(
    found: Any,
) -> None:
    linted = lint(json.dumps(found).encode())
    if not linted.errors:
        assert linted.document is not None
        offer_of(linted.document, provider=NOBODY, operator=NOBODY)


def test_all_problems_are_told_at_once_with_what_to_do() -> None:
    text = json.dumps(
        {
            "id": "post",
            "nam": "Post",
            "promise": {"latency_p50_ms": 2000},
            "capabilities": [
                {"name": "send it", "price": "2eur"},
                {"name": "track", "price": "1sat", "input_schema": {"type": "strin"}},
            ],
        }
    ).encode()
    found = {(one.path, one.fix) for one in lint(text).problems}
    assert {path for path, _ in found} == {
        "",
        "capabilities[0].name",
        "capabilities[0].price",
        "capabilities[1].input_schema",
        "promise.latency_p95_ms",
    }
    assert ("", "did you mean name?") in found
    assert ("capabilities[0].price", 'write "2sat", "2.5 sat" or "500msat"') in found


EXPLODING = {"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d20"}
for level in range(1, 21):
    below = {"$ref": f"#/$defs/d{level - 1}"}
    EXPLODING["$defs"][f"d{level}"] = {"allOf": [below, below]}  # type: ignore[index]  # a dict


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        (one(price="-2sat"), "capabilities[0].price", "does not match"),
        (one(price="9999999999999sat"), "capabilities[0].price", "must be 0 to"),
        (one(input_schema={"type": "strin"}), "capabilities[0].input_schema", "not a usable"),
        (one(input_schema={"type": "string"}), "capabilities[0].input_schema.type", "no object"),
        (one(output_schema={"type": ["null"]}), "capabilities[0].output_schema.type", "no object"),
        (one(input_schema=[]), "capabilities[0].input_schema", "is not of type"),
        (
            one(input_schema={"$ref": "https://x.example/s"}),
            "capabilities[0].input_schema",
            "refer",
        ),
        (one(input_schema=EXPLODING), "capabilities[0].input_schema", "asks for over"),
        (one(input_schema={"pattern": "(a{999}){999}"}), "capabilities[0].input_schema", "usable"),
        (one(input_schema={"pattern": r"(a)\1"}), "capabilities[0].input_schema", "not a usable"),
        (document(capabilities=[capability()] * 101), "capabilities", "more than 100 items"),
        (document(capabilities=[]), "capabilities", "less than 1 item"),
        (document(capabilities=[capability()] * 2), "capabilities[1].name", "appears twice"),
        (one(examples=[{"input": {}}] * 11), "capabilities[0].examples", "10"),
        (one(examples=[{"input": {"a": "x" * 70_000}}]), "capabilities", "need"),
        (
            one(metered=[{"unit": "wish", "price": "1sat"}]),
            "capabilities[0].metered[0].unit",
            "wish",
        ),
        (one(metered=[{"unit": "row", "price": "1sat"}] * 2), "capabilities[0].metered", "twice"),
        (one(side_effects="some"), "capabilities[0].side_effects", "is not one of"),
        (document(promise={"availability": 1.1}), "promise.availability", "1"),
        (document(promise={"latency_p99_ms": 10}), "promise.latency_p99_ms", "is under"),
        (document(version="two"), "version", "not a semantic version"),
        (document(id=" "), "id", "is blank"),
        (document(id="ü" * 200), "id", "over 255 bytes"),
        (document(name="a\nb"), "name", "does not match"),
        (b"{", "", "is not JSON"),
        (b"[" * 50 + b"]" * 50, "", "nested over"),
        (b'{"a": "' + b"x" * 5_000_000 + b'"}', "", f"is over {DOCUMENT_BYTES_MAX} bytes"),
        (document(capabilities=[capability()] * 10_000), "", "is over"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "file",
)
def test_an_absurd_offer_is_refused_with_the_reason(text: bytes, path: str, reason: str) -> None:
    linted = lint(text)
    found = [one for one in linted.errors if one.path == path]
    assert found, linted.errors
    assert reason in found[0].reason
    with pytest.raises(Invalid) as caught:
        read_document(text)
    assert caught.value.field.startswith("offer")


def test_a_capability_needs_a_price_of_some_sort() -> None:
    bare = capability()
    del bare["price"]
    assert problems(document(capabilities=[bare])) == {"capabilities[0].price": "error: is missing"}
    metered = bare | {"metered": [{"unit": "row", "price": "1sat"}]}
    found = problems(document(capabilities=[metered]))
    assert found["capabilities[0].price"].startswith("warning: is missing: metered and periodic")


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        (document(summary=""), "summary", "is missing"),
        (document(summary="Only 5 sat a letter"), "summary", "says 5 sat, the price is 2 sat"),
        (one(description=""), "capabilities[0].description", "is missing"),
        (one(description="500 msat each"), "capabilities[0].description", "says 500 msat"),
        (
            one(
                input_schema={"type": "object", "required": ["to"]},
                examples=[{"input": {}}],
            ),
            "capabilities[0].examples[0].input",
            'its own schema: "to" is a required property',
        ),
        (
            one(input_schema={"type": "object", "properties": {"to": {"type": "string"}}}),
            "capabilities[0].input_schema.properties.to",
            "any length",
        ),
    ],
)
def test_what_could_be_better_is_a_warning(text: bytes, path: str, reason: str) -> None:
    linted = lint(text)
    assert not linted.errors
    assert reason in problems(text)[path]


def test_schemas_come_from_who_serves_unless_the_file_says_the_same() -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    served = {"send": Capability(name="send", input_schema=schema, price=Amount(0))}
    bare = {"name": "send", "price": "2sat"}
    read = read_document(document(capabilities=[bare]))
    offer = offer_of(read, provider=NOBODY, operator=NOBODY, served=served)
    assert offer.capabilities[0].input_schema == schema
    assert offer.capabilities[0].price == Amount(2000)
    other = read_document(document(capabilities=[bare | {"input_schema": {"type": "object"}}]))
    with pytest.raises(Invalid, match="is not the schema of what is served"):
        offer_of(other, provider=NOBODY, operator=NOBODY, served=served)


def test_a_file_says_which_examples_may_be_probed_and_is_warned_of_side_effects() -> None:
    row: dict[str, Any] = {"name": "now", "price": "1sat", "description": "The time."}
    example = {"input": {}, "output": {"time": "now"}, "probe": True}

    def linted(effects: str) -> Any:
        capability = row | {"side_effects": effects, "examples": [example]}
        document = {
            "id": "clock",
            "name": "Clock",
            "summary": "Time.",
            "capabilities": [capability],
        }
        return lint(json.dumps(document).encode())

    harmless, risky = linted("none"), linted("writes")
    assert harmless.document is not None
    offer = offer_of(harmless.document, provider=NOBODY, operator=NOBODY)
    assert offer.capabilities[0].examples[0].probe
    assert document_of(offer).capabilities[0].examples[0].probe
    assert "probe" not in " ".join(found.path for found in harmless.problems)
    assert "capabilities[0].examples[0].probe" in [found.path for found in risky.problems]
