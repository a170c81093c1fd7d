"""MCP's JSON-RPC inside events: who it is for, what reads back, and what is refused."""

import json
from typing import Any

import pytest

from hanse.errors import Conflict, HanseError, Invalid, OverCap, TooLarge
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.protocol.rpc import (
    CONTENT_BYTES_MAX,
    RpcAnswer,
    RpcRequest,
    answer_event,
    error_object,
    parse_rpc,
    raise_error,
    request_event,
)

ALICE, BOB = SecretKey(bytes([1]) * 32), SecretKey(bytes([2]) * 32)


def carrying(content: str) -> Event:
    return sign_event(ALICE, kind=kinds.RPC, created_at=1, content=content)


def test_a_request_is_signed_addressed_and_reads_back() -> None:
    event = request_event(
        ALICE, BOB.public, "tools/call", {"name": "é"}, id="7", created_at=5, tags=(("x", "y"),)
    )
    check_event(event)
    assert (event.kind, event.pubkey, event.created_at) == (kinds.RPC, ALICE.public, 5)
    assert event.tags == (("p", BOB.public), ("x", "y"))
    assert parse_rpc(event) == RpcRequest("tools/call", {"name": "é"}, "7")


@pytest.mark.parametrize("id", ["a", 0, -5, None])
def test_an_answer_goes_back_to_the_author_and_names_the_request(id: str | int | None) -> None:
    request = request_event(ALICE, BOB.public, "ping", {}, id="1", created_at=5)
    event = answer_event(BOB, request, id=id, created_at=6, result={"ok": [1]})
    check_event(event)
    assert event.tags == (("p", ALICE.public), ("e", request.id))
    assert parse_rpc(event) == RpcAnswer(id, result={"ok": [1]})


def test_an_error_reads_back_as_the_failure_it_was() -> None:
    request = request_event(ALICE, BOB.public, "ping", {}, id="1", created_at=5)
    failure = OverCap("price is 5 msat", field="max_price", hint="raise it")
    event = answer_event(BOB, request, id="1", created_at=6, error=error_object(failure))
    found = parse_rpc(event)
    assert isinstance(found, RpcAnswer)
    assert found.result is None
    assert found.error is not None
    assert found.error["code"] == OverCap.rpc_code
    with pytest.raises(OverCap) as caught:
        raise_error(found.error)
    assert caught.value.as_dict() == failure.as_dict()


@pytest.mark.parametrize(
    "error",
    [
        {"code": 1},
        {"code": 1, "message": "no", "data": "text"},
        {"code": 1, "message": 5, "data": {}},
        {"code": 1, "data": {"error": "no such slug", "reason": 5}},
    ],
)
def test_an_error_that_is_not_ours_still_raises_a_named_one(error: dict[str, Any]) -> None:
    with pytest.raises(HanseError) as caught:
        raise_error(error)
    assert caught.value.text


def test_a_conflict_keeps_its_own_code() -> None:
    assert error_object(Conflict())["code"] == Conflict.rpc_code
    assert error_object(Conflict())["message"] == f"duplicate: {Conflict.__doc__}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": 1, "method": "m"}, RpcRequest("m", {}, 1)),
        ({"method": "m", "params": {"a": 1}}, RpcRequest("m", {"a": 1}, None)),
        ({"id": "a", "result": {}}, RpcAnswer("a", result={})),
        ({"id": None, "error": {"code": -1}}, RpcAnswer(None, error={"code": -1})),
        ({"id": 1, "result": None, "error": {"code": 0}}, RpcAnswer(1, error={"code": 0})),
    ],
)
def test_what_json_rpc_allows_is_read(body: dict[str, Any], expected: object) -> None:
    assert parse_rpc(carrying(json.dumps({"jsonrpc": "2.0", **body}))) == expected


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": True, "method": "m"}, "content.id"),
        ({"id": 1.5, "method": "m"}, "content.id"),
        ({"id": [], "result": {}}, "content.id"),
        ({"id": 1, "method": 5}, "content.method"),
        ({"id": 1, "method": None}, "content.method"),
        ({"id": 1, "method": "m", "params": []}, "content.params"),
        ({"id": 1, "method": "m", "params": None}, "content.params"),
        ({"id": 1}, "content"),
        ({"id": 1, "result": {}, "error": {"code": 1}}, "content"),
        ({"id": 1, "error": "text"}, "content.error"),
        ({"id": 1, "error": {}}, "content.error"),
        ({"id": 1, "error": {"code": "1"}}, "content.error"),
        ({"id": 1, "error": {"code": True}}, "content.error"),
        ({"id": 1, "result": []}, "content.result"),
        ({"id": 1, "result": "text"}, "content.result"),
        ({"jsonrpc": "1.0", "method": "m"}, "content.jsonrpc"),
        ({"jsonrpc": 2.0, "method": "m"}, "content.jsonrpc"),
        ({"jsonrpc": None, "method": "m"}, "content.jsonrpc"),
    ],
)
def test_what_json_rpc_does_not_allow_is_refused_by_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_rpc(carrying(json.dumps({"jsonrpc": "2.0"} | body)))
    assert caught.value.field == field


@pytest.mark.parametrize("content", ["", "text", "[]", "1", "null", '"2.0"', "[" * 30, "{"])
def test_content_that_is_no_json_object_is_refused(content: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_rpc(carrying(content))
    assert caught.value.field.startswith("content")


def test_content_too_large_or_too_deep_is_refused() -> None:
    large = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"a": "x" * CONTENT_BYTES_MAX}})
    deep = '{"jsonrpc":"2.0","id":1,"result":{"a":' + "[" * 100 + "]" * 100 + "}}"
    for content in (large, deep):
        with pytest.raises(TooLarge):
            parse_rpc(carrying(content))
