"""The edge of the HTTP door: a request's id, its one line in the log, and CORS.

Pages of any origin may use the relay's own paths: what they serve is public, and identity is a
signed header, never a cookie. Everything else answers no foreign page: /metrics is open to
loopback, and a browser sits there.
"""

import re
from collections.abc import Callable
from typing import Any

import structlog

from hanse.ports import Clock

log = structlog.get_logger("hanse.http")

OPEN_PATHS = frozenset({"/", "/events", "/query", "/count", "/search", "/agents"})
OPEN_UNDER = ("/.well-known/", "/agents/", "/v0/", "/v0.1/")
CORS = (
    (b"access-control-allow-origin", b"*"),
    # `*` does not cover Authorization (Fetch, 3.3.5): it must be named.
    (b"access-control-allow-headers", b"*, Authorization"),
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-expose-headers", b"Nostr-More, Retry-After, WWW-Authenticate, X-Request-ID"),
    (b"access-control-max-age", b"86400"),
)
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Edge:
    """ASGI around an application. Its log line holds the path, never a query or a header."""

    def __init__(self, app: Any, clock: Clock, new_id: Callable[[], str]) -> None:
        self._app = app
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        open_ = path in OPEN_PATHS or path.startswith(OPEN_UNDER)
        id = self._id(scope)
        own = ((b"x-request-id", id.encode()), *(CORS if open_ else ()))
        status = 0

        async def named(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        started = self._clock.monotonic_ms()
        with structlog.contextvars.bound_contextvars(request=id):
            try:
                if open_ and method == "OPTIONS":
                    await named({"type": "http.response.start", "status": 204})
                    await named({"type": "http.response.body"})
                else:
                    await self._app(scope, receive, named)
            # The door's boundary: a fault of ours is told here, once, with its request's id.
            except Exception:
                log.exception("http.failed", method=method, path=path[:200])
                if not status:
                    raise  # no answer was begun: the server must end the connection
            finally:
                took = round(self._clock.monotonic_ms() - started, 1)
                log.info("http.request", method=method, path=path[:200], status=status, ms=took)

    def _id(self, scope: Any) -> str:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ID.fullmatch(value):
                return str(value.decode())
        return self._new_id()
