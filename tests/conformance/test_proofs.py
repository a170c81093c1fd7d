"""Signed requests that were used, on every engine: known past a restart, forgotten in time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.engines import ENGINES, named

from hanse.engines.storage.database import Database
from hanse.engines.storage.proofs import KEPT_S, StoredProofs

ID, OTHER = "11" * 32, "22" * 32
NOW = 1_700_000_000


@pytest.fixture(params=named())
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with ENGINES[request.param].open(tmp_path) as found:
        yield found


async def test_a_proof_is_taken_once(database: Database) -> None:
    proofs = StoredProofs(database)
    assert await proofs.take(ID, now_s=NOW)
    assert not await proofs.take(ID, now_s=NOW + KEPT_S)
    assert await proofs.take(OTHER, now_s=NOW)


async def test_of_many_who_take_it_at_once_one_has_it(database: Database) -> None:
    proofs = StoredProofs(database)
    taken = await asyncio.gather(*[proofs.take(ID, now_s=NOW) for _ in range(20)])
    assert sum(taken) == 1


async def test_it_is_forgotten_when_it_is_good_no_more(database: Database) -> None:
    proofs = StoredProofs(database)
    assert await proofs.take(ID, now_s=NOW)
    assert await proofs.take(OTHER, now_s=NOW + KEPT_S + 1)
    ((kept,),) = await database.select("SELECT count(*) FROM used_proof", ())
    assert kept == 1


@pytest.mark.parametrize("name", named(lasting=True))
async def test_it_is_known_to_who_opens_the_database_again(name: str, tmp_path: Path) -> None:
    async with ENGINES[name].open(tmp_path) as database:
        assert await StoredProofs(database).take(ID, now_s=NOW)
    async with ENGINES[name].open(tmp_path) as database:
        assert not await StoredProofs(database).take(ID, now_s=NOW)
