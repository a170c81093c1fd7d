"""The one port: bound first, so that a node knows its number, then served by uvicorn."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import uvicorn

from hanse.errors import Unavailable


class Doors(Protocol):
    """What takes a connection, by what it begins with."""

    @property
    def websocket(self) -> Callable[..., Any]:
        """Makes the protocol of a WebSocket."""

    @property
    def http(self) -> Callable[..., Any]:
        """Makes the protocol of an HTTP connection."""


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address, 0 for a free port. Raises Unavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What is accepted here inherits it; uvloop sets it by itself, asyncio not for such a socket.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        found.bind((host, port))
    except OSError as exc:
        found.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {exc.strerror}", hint="choose another with --port"
        ) from exc
    return found


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the node is stopped by whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: Any, entrance: Doors, listening: socket.socket, proxies: list[str]
) -> AsyncIterator[None]:
    """Serve on a bound socket until the block ends."""
    config = uvicorn.Config(
        app,
        ws=entrance.websocket,  # type: ignore[arg-type]  # any factory works; the type says a class
        http=entrance.http,  # type: ignore[arg-type]
        log_config=None,  # its lines go where ours go
        log_level="error",
        access_log=False,
        forwarded_allow_ips=proxies,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=[listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            server.should_exit = True
