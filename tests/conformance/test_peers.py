"""What every store of peers holds to, whatever engine keeps it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanse.engines.storage.peers import StoredPeers
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.protocol.peer import Resume, read_peer

ONE = read_peer("wss://one.example", "in", [{"kinds": [31402], "#t": ["x", "y"], "since": 5}])
TWO = read_peer("wss://two.example/nostr", "both", [])


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[StoredPeers]:
    async with SqliteDatabase(str(tmp_path / "hanse.db")) as database:
        yield StoredPeers(database)


async def test_the_list_is_kept_as_it_was_given(peers: StoredPeers) -> None:
    assert await peers.peers() == []
    await peers.keep([ONE, TWO])
    assert await peers.peers() == [ONE, TWO]
    await peers.keep([TWO])
    assert await peers.peers() == [TWO]


async def test_a_resume_point_is_kept_for_each_until_it_is_forgotten(peers: StoredPeers) -> None:
    assert await peers.load(ONE.url) == Resume()
    await peers.save(ONE.url, Resume(1, 2))
    await peers.save(ONE.url, Resume(3, 2))
    await peers.save(TWO.url, Resume(4, 4))
    assert await peers.load(ONE.url) == Resume(3, 2)
    await peers.save(ONE.url, None)
    await peers.save(ONE.url, None)
    assert await peers.load(ONE.url) == Resume()
    assert await peers.load(TWO.url) == Resume(4, 4)
