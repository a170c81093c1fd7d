"""The HTTP of a node without the API door: /health and /ready beside the relay's own document.

Nothing else is there, and says so: who publishes, manages or measures by HTTP must not take an
answer for a success.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from hanse.errors import HanseError, Invalid, NotFound
from hanse.servers.api.problem import PROBLEM_JSON, problem_body

METHODS = {
    "/": ("GET", "HEAD", "OPTIONS"),
    "/health": ("GET", "HEAD"),
    "/ready": ("GET", "HEAD"),
}


def bare_app(relay: Any, reasons: Callable[[], Awaitable[list[str]]]) -> Any:
    """An ASGI application around the relay's. It loads no web framework: that takes half a
    second."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path not in METHODS:
            await _refuse(send, 404, NotFound("this node has no HTTP door there", field="path"))
        elif method not in METHODS[path]:
            allow = ", ".join(METHODS[path])
            await _refuse(send, 405, Invalid("is not for this path", field="method"), allow)
        elif path == "/":
            await relay(scope, receive, send)
        elif path == "/health":
            await _answer(send, 200, orjson.dumps({"alive": True}))
        else:
            why = await reasons()
            body = orjson.dumps({"ready": not why, "reasons": why})
            await _answer(send, 503 if why else 200, body)

    return app


async def _refuse(send: Any, status: int, exc: HanseError, allow: str = "") -> None:
    more = ((b"allow", allow.encode()),) if allow else ()
    await _answer(send, status, problem_body(exc, status), PROBLEM_JSON, more)


async def _answer(
    send: Any,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    more: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    headers = [(b"content-type", content_type.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
