"""A node's door as it looks from another network: real connections over loopback, of which the node
is told that their other end is elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from hanse.node import Node


class _Transport:
    """One, or its socket, that names another address."""

    def __init__(self, real: Any, address: str) -> None:
        self._real = real
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def getpeername(self) -> tuple[str, int]:
        return self._address, 1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self.getpeername()
        found = self._real.get_extra_info(name, default)
        return _Transport(found, self._address) if name == "socket" else found


class _Arrival(asyncio.Protocol):
    """Gives a connection to what the node makes for one."""

    def __init__(self, inner: asyncio.Protocol, address: str) -> None:
        self._inner = inner
        self._address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.set_protocol(self._inner)
        told: Any = _Transport(transport, self._address)
        self._inner.connection_made(told)


async def _who(scope: Any, receive: Any, send: Any) -> None:
    """Answers, after the whole request, with the address that an HTTP door hears."""
    while (await receive()).get("more_body"):
        pass
    body = scope["client"][0].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def seen_as(node: Node, address: str) -> AsyncIterator[int]:
    """The number of a port of this node, where everybody seems to come from this address. By HTTP
    it only tells whom it hears."""
    config = uvicorn.Config(
        _who,
        ws=node.entrance.websocket,  # type: ignore[arg-type]
        http=node.entrance.http,  # type: ignore[arg-type]
        log_config=None,
        log_level="error",
        forwarded_allow_ips=list(node.config.rules.rates.proxies),
        lifespan="off",
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Arrival(node.entrance.http(config, state, {}), address), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
