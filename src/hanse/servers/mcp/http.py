"""The MCP door over streamable HTTP, mounted at /mcp on the node's port.

The SDK takes a second to load, so it is loaded with the first request: a node whose agents come by
other doors never pays for it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from hanse.errors import AuthRequired, HanseError
from hanse.ports import Clock
from hanse.protocol.http_gate import HttpGate
from hanse.protocol.principal import Principal

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from hanse.servers.mcp.server import Desk

READY_S = 30.0


class McpDoor:
    """An ASGI application. `run` owns the SDK's session manager; call it in a task of the
    node's."""

    def __init__(
        self,
        *,
        desk: "Desk",
        gate: HttpGate,
        clock: Clock,
        hosts: frozenset[str],
        name: str,
        version: str,
        reads: Callable[[str, int], None],
    ) -> None:
        """`reads` counts what an address asks for, and raises RateLimited or Restricted."""
        self._desk = desk
        self._reads = reads
        self._gate = gate
        self._clock = clock
        self._hosts = hosts
        self._name = name
        self._version = version
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._app: Callable[[Scope, Receive, Send], Any] | None = None

    async def run(self) -> None:
        """Wait for the first request, then serve until cancelled."""
        await self._wanted.wait()
        manager = await asyncio.to_thread(self._build)
        async with manager.run():
            self._app = manager.asgi_app
            self._ready.set()
            await asyncio.Event().wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Each request counts as one; a tool that costs more takes the rest (`_count`)."""
        try:
            self._reads(scope["client"][0] if scope.get("client") else "", 1)
        except HanseError as exc:
            await _refusal(exc)(scope, receive, send)
            return
        self._wanted.set()
        if self._app is None:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        assert self._app is not None
        await self._app(scope, receive, send)

    def _build(self) -> Any:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        from hanse.servers.mcp.server import mcp_server

        logging.getLogger("mcp.server.streamable_http").addFilter(_is_our_fault)
        server = mcp_server(self._desk, self._identify, self._name, self._version, self._count)
        # A browser page that rebinds its own host name to us must not reach an agent's tools.
        security = TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=sorted(self._hosts),
            allowed_origins=[f"{scheme}://{host}" for host in self._hosts for scheme in _SCHEMES],
        )
        return StreamableHTTPSessionManager(
            app=server, json_response=True, stateless=True, security_settings=security
        )

    def _count(self, context: "ServerRequestContext[Any]", more: int) -> None:
        client = context.request.client if context.request is not None else None
        self._reads(client.host if client is not None else "", more)

    def _identify(self, context: "ServerRequestContext[Any]") -> Principal | None:
        request = context.request
        if request is None:
            raise HanseError("the request carries no headers")
        header = request.headers.get("authorization")
        if header and not header.lower().startswith("bearer "):
            # A request's signature covers its body, which the SDK has read already.
            raise AuthRequired(
                "must be `Bearer <token>` at this door",
                field="Authorization",
                hint="make one with `hanse token`",
            )
        return self._gate.who(
            header,
            target=request.url.path,
            method="POST",
            body=b"",
            now=self._clock.now_s(),
        )


def _refusal(exc: HanseError) -> JSONResponse:
    """A request that is not looked at, in HTTP's words: it has no JSON-RPC id yet."""
    headers = {"Retry-After": "1"} if exc.status == 429 else None
    return JSONResponse(exc.as_dict(), status_code=exc.status, headers=headers)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """The SDK reports, with a traceback, each client that leaves before its request is whole."""
    return not (record.exc_info and isinstance(record.exc_info[1], ClientDisconnect))


_SCHEMES = ("http", "https")
