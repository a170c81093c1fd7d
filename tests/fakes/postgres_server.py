"""One PostgreSQL for tests that open the database of a place, again if need be. It starts when it
is first asked for and ends with `stop`; databases go with `drop`, or a run would fill the disk.
"""

import asyncio
import contextlib
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
from tests.servers import PostgresServer, postgres_server

from hanse.engines.storage.postgres import PostgresDatabase

_running = contextlib.ExitStack()
_made: set[str] = set()
_MIGRATED = "migrated"


@functools.cache
def _server() -> PostgresServer:
    return _running.enter_context(postgres_server())


def stop() -> None:
    """End the server, if one was started."""
    _running.close()
    _server.cache_clear()
    _made.clear()


async def database_url(place: Path) -> str:
    """The URL of the database that belongs to a place; it is made when first asked for."""
    server = await asyncio.to_thread(_server)
    name = _named(place)
    if name not in _made:
        if _MIGRATED not in _made:
            await _on(server, f"CREATE DATABASE {_MIGRATED}")
            async with PostgresDatabase(server.url(_MIGRATED)):
                _made.add(_MIGRATED)
        # A copy costs half of what the migrations do, which one database shows to work.
        await _on(server, f"CREATE DATABASE {name} TEMPLATE {_MIGRATED}")
        _made.add(name)
    return server.url(name)


async def empty_url(place: Path) -> str:
    """The URL of a new database that belongs to a place, with nothing in it."""
    server = await asyncio.to_thread(_server)
    name = _named(place)
    await _on(server, f"CREATE DATABASE {name}")
    _made.add(name)
    return server.url(name)


def drop() -> None:
    """Drop the databases of all places. Not within a running loop's thread: it waits."""
    names = _made - {_MIGRATED}
    if names:
        with ThreadPoolExecutor(1) as thread:
            drops = [f"DROP DATABASE {name} WITH (FORCE)" for name in sorted(names)]
            thread.submit(asyncio.run, _on(_server(), *drops)).result()
        _made.difference_update(names)


def _named(place: Path) -> str:
    return "t" + hashlib.sha256(str(place).encode()).hexdigest()[:20]


async def _on(server: PostgresServer, *orders: str) -> None:
    connection = await asyncpg.connect(server.url())
    try:
        for order in orders:
            await connection.execute(order)
    finally:
        await connection.close()
