"""The engines that the conformance tests run over: one more engine is one more row of ENGINES."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.postgres_server import database_url

from hanse.engines.storage.calls import StoredCalls
from hanse.engines.storage.database import Database
from hanse.engines.storage.ledger import StoredLedger
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.parts import Slices
from hanse.engines.storage.postgres import PostgresDatabase
from hanse.engines.storage.quality import StoredQuality
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.trust import StoredTrust


class Engine(msgspec.Struct, frozen=True):
    """How to open the database of a folder; the same folder gives the same one again, unless the
    engine does not last."""

    open: Callable[[Path], AbstractAsyncContextManager[Database]]
    lasts: bool = True
    heavy: bool = False


def _file(folder: Path) -> AbstractAsyncContextManager[Database]:
    return SqliteDatabase(str(folder / "hanse.db"))


def _deferring(folder: Path) -> AbstractAsyncContextManager[Database]:
    return SqliteDatabase(str(folder / "hanse.db"), direct_s=0.0)


def _memory(_folder: Path) -> AbstractAsyncContextManager[Database]:
    return SqliteDatabase(":memory:")


def _parted(_folder: Path) -> AbstractAsyncContextManager[Database]:
    """Of what finds events a third moves with every other one, where a node has 64 slices."""
    return SqliteDatabase(":memory:", slices=Slices(3, 2))


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[Database]:
    async with PostgresDatabase(await database_url(folder)) as database:
        yield database


ENGINES: dict[str, Engine] = {
    "sqlite": Engine(_file),
    "deferring": Engine(_deferring),
    "memory": Engine(_memory, lasts=False),
    "parted": Engine(_parted, lasts=False),
    "postgres": Engine(_postgres, heavy=True),
}


class Stores(msgspec.Struct, frozen=True):
    """All that is kept, over one database."""

    database: Database
    log: EventLog
    calls: StoredCalls
    ledger: StoredLedger
    offers: StoredOffers
    quality: StoredQuality
    trust: StoredTrust


Opening = Callable[[], AbstractAsyncContextManager[Stores]]


@asynccontextmanager
async def stores(name: str, folder: Path) -> AsyncIterator[Stores]:
    """Open an engine's stores."""
    async with ENGINES[name].open(folder) as database:
        log = EventLog(database, lambda: bytes(range(32)))
        await log.open()
        yield Stores(
            database,
            log,
            StoredCalls(database, log),
            StoredLedger(database),
            StoredOffers(database),
            StoredQuality(database),
            StoredTrust(database),
        )


def named(*, lasting: bool = False) -> list[Any]:
    """Parameters for a test over every engine, or over those that last."""
    return [
        pytest.param(name, marks=[pytest.mark.heavy] if engine.heavy else [])
        for name, engine in ENGINES.items()
        if engine.lasts or not lasting
    ]
