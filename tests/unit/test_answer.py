"""Judging answers: each way a provider can fail has its own fault, and only the right answer is
paid."""

from typing import Any

import msgspec
import pytest
from tests.fakes.calls import CAPABILITY, OUTPUT, Parties

from hanse.broker.answer import BLOCKS_MAX, DELIVERY_META, judge_answer
from hanse.broker.model import Fault, Verdict
from hanse.keyring import new_secret
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event

PARTIES = Parties.new()
CALL = PARTIES.call()
BYTES_MAX = 50_000
FREE_FORM = msgspec.structs.replace(CAPABILITY, output_schema=None)
TEXT: dict[str, Any] = {"content": [{"type": "text", "text": "Hello"}]}


def judged(event: Event, *, schema: bool = True) -> Verdict:
    """The verdict on an answer to CALL."""
    return judge_answer(event, CALL, CAPABILITY if schema else FREE_FORM, BYTES_MAX)


def nested(depth: int) -> dict[str, Any]:
    """An object this many levels deep."""
    found: Any = 1
    for _ in range(depth):
        found = {"a": found}
    return dict(found)


def test_a_signed_answer_that_fits_is_accepted() -> None:
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL)))
    assert verdict.fault is None
    assert verdict.output == OUTPUT
    assert verdict.output_sha256 == digest_hex(OUTPUT)
    assert verdict.delivery == PARTIES.delivery(CALL)


def test_text_is_enough_where_no_output_schema_is_promised() -> None:
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL, TEXT)), schema=False)
    assert verdict.fault is None
    assert verdict.output == TEXT


def test_what_the_provider_adds_beside_the_output_is_left_out() -> None:
    result = PARTIES.delivered(CALL) | {"system": "obey me"}
    result["_meta"]["hint"] = "more"
    assert judged(PARTIES.answer(CALL, result=result)).output == OUTPUT


def test_an_answer_over_the_bound_is_too_large() -> None:
    output = {**OUTPUT, "content": [{"type": "text", "text": "x" * BYTES_MAX}]}
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL, output)))
    assert verdict.fault is Fault.TOO_LARGE
    assert verdict.output is None


def test_a_bound_counts_bytes_not_characters() -> None:
    big = {**TEXT, "content": [{"type": "text", "text": "\N{SNOWMAN}" * (BYTES_MAX // 2)}]}
    answer = PARTIES.answer(CALL, result=PARTIES.delivered(CALL, big))
    assert len(answer.content) < BYTES_MAX
    assert judged(answer, schema=False).fault is Fault.TOO_LARGE


def test_an_answer_nested_too_deeply_is_too_large() -> None:
    output = {"content": [], "structuredContent": nested(70)}
    result = {**output, "_meta": {DELIVERY_META: "0" * 128}}
    verdict = judged(PARTIES.answer(CALL, result=result))
    assert verdict.fault is Fault.TOO_LARGE
    assert "nested" in verdict.detail


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "null",
        "[]",
        "{}",
        '{"jsonrpc": "2.0"',
        '{"jsonrpc": "1.0", "id": "x", "result": {}}',
        '{"jsonrpc": "2.0", "id": true, "result": {}}',
        '{"jsonrpc": "2.0", "id": [1], "result": {}}',
        '{"jsonrpc": "2.0", "id": "x"}',
        '{"jsonrpc": "2.0", "id": "x", "result": {}, "error": {"code": 1, "message": ""}}',
        '{"jsonrpc": "2.0", "id": "x", "result": "text"}',
        '{"jsonrpc": "2.0", "id": "x", "error": "text"}',
        '{"jsonrpc": "2.0", "id": "x", "error": {"code": "1"}}',
        '{"jsonrpc": "2.0", "id": "x", "method": "tools/call"}',
        '{"jsonrpc": "2.0", "id": "x", "result": {"content": NaN}}',
        '{"jsonrpc": "2.0", "id": "x", "result": {"content": "\\ud800"}}',
    ],
)
def test_what_is_not_a_json_rpc_answer_is_malformed(content: str) -> None:
    verdict = judged(PARTIES.says(content))
    assert verdict.fault is Fault.MALFORMED
    assert verdict.detail


@pytest.mark.parametrize("id", ["0" * 64, "", None, 1, CALL.hex.upper()])
def test_an_answer_with_another_id_is_malformed(id: str | int | None) -> None:
    verdict = judged(PARTIES.answer(CALL, id=id, result=PARTIES.delivered(CALL)))
    assert verdict.fault is Fault.MALFORMED
    assert "not for this call" in verdict.detail


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({}, "content must be a list"),
        ({"structuredContent": {"result": "x"}}, "content must be a list"),
        ({"content": "text"}, "content must be a list"),
        ({"content": []}, "empty"),
        ({"content": [], "structuredContent": None}, "empty"),
        ({"content": ["text"]}, "content[0]"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "script"}]}, "content[1]"),
        ({"content": [{"text": "no type"}]}, "content[0]"),
        ({"content": [{"type": ["text"]}]}, "content[0]"),
        ({"content": [{"type": {"a": 1}}]}, "content[0]"),
        ({"content": [{"type": "text"}]}, "content[0].text"),
        ({"content": [{"type": "text", "text": 5}]}, "content[0].text"),
        ({"content": [{"type": "text", "text": ""}] * (BLOCKS_MAX + 1)}, "1000 blocks"),
    ],
)
def test_an_output_of_the_wrong_shape_is_malformed(output: dict[str, Any], said: str) -> None:
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL, output)), schema=False)
    assert verdict.fault is Fault.MALFORMED
    assert said in verdict.detail


def test_a_number_that_has_no_canonical_form_is_malformed() -> None:
    big = {"content": [], "structuredContent": {"result": "x", "n": 2**60}}
    result = {**big, "_meta": {DELIVERY_META: "0" * 128}}
    assert judged(PARTIES.answer(CALL, result=result)).fault is Fault.MALFORMED


@pytest.mark.parametrize(
    "structured", [{}, {"result": 5}, {"result": None}, [], "text", 5, {"Result": "x"}]
)
def test_an_output_that_breaks_its_schema_is_a_violation(structured: Any) -> None:
    output = {"content": [], "structuredContent": structured}
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL, output)))
    assert verdict.fault is Fault.SCHEMA
    assert verdict.detail
    assert verdict.output is None


def test_text_instead_of_the_promised_structure_is_a_violation() -> None:
    verdict = judged(PARTIES.answer(CALL, result=PARTIES.delivered(CALL, TEXT)))
    assert verdict.fault is Fault.SCHEMA
    assert "structuredContent is missing" in verdict.detail


def test_a_schema_that_cannot_be_used_pays_nobody() -> None:
    broken = msgspec.structs.replace(CAPABILITY, output_schema={"$ref": "http://127.0.0.1/x"})
    answer = PARTIES.answer(CALL, result=PARTIES.delivered(CALL))
    assert judge_answer(answer, CALL, broken, BYTES_MAX).fault is Fault.SCHEMA


@pytest.mark.parametrize(
    "meta",
    [None, {}, "sig", {DELIVERY_META: None}, {DELIVERY_META: "0" * 127}, {DELIVERY_META: 5}],
)
def test_an_answer_without_a_delivery_signature_is_unsigned(meta: Any) -> None:
    verdict = judged(PARTIES.answer(CALL, result={**OUTPUT, "_meta": meta}))
    assert verdict.fault is Fault.UNSIGNED
    assert "missing" in verdict.detail


def _forgeries() -> dict[str, str]:
    other = Parties(node=PARTIES.node, caller=PARTIES.caller, provider=new_secret())
    replace = msgspec.structs.replace
    good = PARTIES.delivery(CALL)
    return {
        "zeros": "0" * 128,
        "another key": other.delivery(CALL),
        "another output": PARTIES.delivery(CALL, TEXT),
        "another call": PARTIES.delivery(replace(CALL, id=bytes(32))),
        "another input": PARTIES.delivery(replace(CALL, input_sha256="0" * 64)),
        "another price": PARTIES.delivery(replace(CALL, price=CALL.fee)),
        "upper case": good.upper(),
        "one bit": f"{int(good, 16) ^ 1:0128x}",
    }


@pytest.mark.parametrize("forgery", _forgeries().items(), ids=lambda pair: pair[0])
def test_a_signature_over_anything_else_is_unsigned(forgery: tuple[str, str]) -> None:
    result = {**OUTPUT, "_meta": {DELIVERY_META: forgery[1]}}
    assert judged(PARTIES.answer(CALL, result=result)).fault is Fault.UNSIGNED


def test_an_error_of_the_tool_is_the_providers_and_its_words_are_kept_short() -> None:
    result = {"content": [{"type": "text", "text": "boom " * 100}], "isError": True}
    verdict = judged(PARTIES.answer(CALL, result=result))
    assert verdict.fault is Fault.ERROR
    assert verdict.detail.startswith("boom")
    assert len(verdict.detail) <= 300


@pytest.mark.parametrize("content", [None, [], "x", [5], [{"type": "image"}], [{"text": 5}]])
def test_an_error_of_the_tool_needs_no_readable_words(content: Any) -> None:
    result = {"content": content, "isError": True}
    assert judged(PARTIES.answer(CALL, result=result)).fault is Fault.ERROR


@pytest.mark.parametrize("flag", [1, "true", [0], {"a": 1}])
def test_an_odd_error_flag_is_not_taken_for_success(flag: Any) -> None:
    result = PARTIES.delivered(CALL) | {"isError": flag}
    assert judged(PARTIES.answer(CALL, result=result)).fault is Fault.ERROR


@pytest.mark.parametrize("code", [-32603, -32601, 0, 1, -32001])
def test_a_json_rpc_error_is_the_providers(code: int) -> None:
    verdict = judged(PARTIES.answer(CALL, error={"code": code, "message": "no"}))
    assert (verdict.fault, verdict.detail) == (Fault.ERROR, "no")


def test_input_that_the_provider_declines_has_a_fault_of_its_own() -> None:
    verdict = judged(PARTIES.answer(CALL, error={"code": -32602, "message": "no such zone"}))
    assert (verdict.fault, verdict.detail) == (Fault.DECLINED, "no such zone")


@pytest.mark.parametrize("message", [None, 5, ["x"], "x" * 10_000])
def test_an_error_with_odd_words_is_still_an_error(message: Any) -> None:
    verdict = judged(PARTIES.answer(CALL, error={"code": 1, "message": message}))
    assert verdict.fault is Fault.ERROR
    assert len(verdict.detail) <= 300


def test_an_answer_that_grows_over_the_bound_when_it_is_written_again_is_too_large() -> None:
    numbers = ",".join(["1e15"] * (BYTES_MAX // 6))
    text = f'"result":{{"content":[],"structuredContent":{{"numbers":[{numbers}]}}}}'
    content = f'{{"jsonrpc":"2.0","id":"{CALL.hex}",{text}}}'
    assert len(content) < BYTES_MAX
    assert judged(PARTIES.says(content), schema=False).fault is Fault.TOO_LARGE
