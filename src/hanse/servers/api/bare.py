"""The HTTP of a node without the API door: /health and /ready beside the relay's own document."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson


def bare_app(relay: Any, reasons: Callable[[], Awaitable[list[str]]]) -> Any:
    """An ASGI application around the relay's. It loads no web framework: that takes half a
    second."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] not in ("/health", "/ready"):
            await relay(scope, receive, send)
            return
        status = 200
        if scope["path"] == "/health":
            found: dict[str, Any] = {"alive": True}
        else:
            why = await reasons()
            status, found = 503 if why else 200, {"ready": not why, "reasons": why}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(found)})

    return app
