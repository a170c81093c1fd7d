"""MCP's JSON-RPC 2.0 inside kind 25910 events (ContextVM).

A request is an event p-tagged to who should answer; its answer is an event p-tagged back whose
`e` tag is the request event's id. The content of each is one JSON-RPC object.
"""

from typing import Any

import msgspec
import orjson

from hanse.errors import HanseError, Invalid
from hanse.protocol import kinds
from hanse.protocol.canonical import read_json
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey

CONTENT_BYTES_MAX = 384 * 1024
"""One message's JSON-RPC text; the event around it stays under EVENT_BYTES_MAX."""


class RpcRequest(msgspec.Struct, frozen=True):
    """A JSON-RPC request: `id` is None for a notification."""

    method: str
    params: dict[str, Any]
    id: str | int | None


class RpcAnswer(msgspec.Struct, frozen=True):
    """A JSON-RPC response: exactly one of `result` and `error` is set."""

    id: str | int | None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def request_event(
    secret: SecretKey,
    to: PublicKey,
    method: str,
    params: dict[str, Any],
    *,
    id: str,
    created_at: int,
    tags: tuple[tuple[str, ...], ...] = (),
) -> Event:
    """A signed request to `to`."""
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    return sign_event(
        secret,
        kind=kinds.RPC,
        created_at=created_at,
        content=orjson.dumps(body).decode(),
        tags=(("p", to), *tags),
    )


def answer_event(
    secret: SecretKey,
    request: Event,
    *,
    id: str | int | None,
    created_at: int,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> Event:
    """A signed answer to `request`'s author."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": id}
    body |= {"error": error} if error is not None else {"result": result}
    return sign_event(
        secret,
        kind=kinds.RPC,
        created_at=created_at,
        content=orjson.dumps(body).decode(),
        tags=(("p", request.pubkey), ("e", request.id)),
    )


def parse_rpc(event: Event) -> RpcRequest | RpcAnswer:
    """The JSON-RPC object in an event's content. Raises Invalid naming the field."""
    body = read_json(event.content, "content", bytes_max=CONTENT_BYTES_MAX)
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise Invalid.at("content.jsonrpc", 'must be an object with "jsonrpc": "2.0"')
    found = body.get("id")
    # type() because JSON true is an int to isinstance.
    if found is not None and type(found) not in (str, int):
        raise Invalid.at("content.id", "must be a string or an integer")
    if "method" in body:
        method, params = body["method"], body.get("params", {})
        if not isinstance(method, str):
            raise Invalid.at("content.method", "must be a string")
        if not isinstance(params, dict):
            raise Invalid.at("content.params", "must be an object")
        return RpcRequest(method, params, found)
    result, error = body.get("result"), body.get("error")
    if (result is None) == (error is None):
        raise Invalid.at("content", "must hold a method, or one of result and error")
    if error is not None and not (isinstance(error, dict) and type(error.get("code")) is int):
        raise Invalid.at("content.error", "must be an object with an integer code")
    if result is not None and not isinstance(result, dict):
        raise Invalid.at("content.result", "must be an object")
    return RpcAnswer(found, result, error)


def error_object(exc: HanseError) -> dict[str, Any]:
    """A HanseError as a JSON-RPC error object; `data` holds field and reason."""
    return {"code": exc.rpc_code, "message": exc.wire, "data": exc.as_dict()}


def raise_error(error: dict[str, Any]) -> None:
    """Raise what an error object says: the HanseError it was, if it was one."""
    data = error.get("data")
    if isinstance(data, dict):
        raise HanseError.from_dict(data)
    raise HanseError(str(error.get("message", "the other side reported an error"))[:500])
