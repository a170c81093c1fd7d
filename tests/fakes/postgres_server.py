"""One PostgreSQL for tests that open the database of a place, again if need be. It starts when it
is first asked for and ends with `stop`.
"""

import asyncio
import contextlib
import functools
import hashlib
from pathlib import Path

import asyncpg
from tests.servers import PostgresServer, postgres_server

_running = contextlib.ExitStack()


@functools.cache
def _server() -> PostgresServer:
    return _running.enter_context(postgres_server())


def stop() -> None:
    """End the server, if one was started."""
    _running.close()
    _server.cache_clear()


async def database_url(place: Path) -> str:
    """The URL of the database that belongs to a place; it is made when first asked for."""
    server = await asyncio.to_thread(_server)
    name = "t" + hashlib.sha256(str(place).encode()).hexdigest()[:20]
    connection = await asyncpg.connect(server.url())
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return server.url(name)
