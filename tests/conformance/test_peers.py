"""What every store of peers holds to, whatever engine keeps it."""

import asyncio

import msgspec
import pytest
from tests.conformance.engines import Opening, Stores

from hanse.engines.storage.peers import StoredPeers
from hanse.errors import TooLarge
from hanse.protocol.peer import Peer, Resume, read_peer

ONE = read_peer("wss://one.example", "in", [{"kinds": [31402], "#t": ["x", "y"], "since": 5}])
TWO = read_peer("wss://two.example/nostr", "both", [])
MOST = 64


@pytest.fixture
async def peers(kept: Stores) -> StoredPeers:
    return StoredPeers(kept.database)


def numbered(number: int) -> Peer:
    return read_peer(f"wss://{number}.example", "out", [])


async def test_each_is_kept_as_it_was_given_until_it_is_removed(peers: StoredPeers) -> None:
    assert await peers.peers() == []
    assert await peers.put(ONE, MOST) == [ONE]
    assert await peers.put(TWO, MOST) == await peers.peers() == [ONE, TWO]
    assert await peers.remove(ONE.url) == await peers.peers() == [TWO]
    assert await peers.remove(ONE.url) == [TWO]


async def test_they_are_kept_over_a_restart(reopened: Opening) -> None:
    async with reopened() as kept:
        await StoredPeers(kept.database).put(ONE, MOST)
        await StoredPeers(kept.database).save(ONE, Resume(1, 2))
    async with reopened() as kept:
        assert await StoredPeers(kept.database).peers() == [ONE]
        assert await StoredPeers(kept.database).load(ONE) == Resume(1, 2)


async def test_one_of_the_same_url_takes_the_place_of_the_older(peers: StoredPeers) -> None:
    await peers.put(ONE, MOST)
    await peers.put(TWO, MOST)
    changed = read_peer(ONE.url, "out", [])
    assert await peers.put(changed, MOST) == [changed, TWO]


async def test_stores_that_read_the_list_before_do_not_lose_each_others(kept: Stores) -> None:
    here, there = StoredPeers(kept.database), StoredPeers(kept.database)
    assert [await here.peers(), await there.peers()] == [[], []]
    await here.put(ONE, MOST)
    await there.put(TWO, MOST)
    await asyncio.gather(*(one.put(numbered(n), MOST) for n in range(8) for one in (here, there)))
    everyone = {ONE.url, TWO.url, *(numbered(n).url for n in range(8))}
    assert {found.url for found in await here.peers()} == everyone
    await there.remove(ONE.url)
    assert {found.url for found in await here.peers()} == everyone - {ONE.url}


async def test_one_too_many_is_refused_and_changes_nothing(peers: StoredPeers) -> None:
    for number in range(3):
        await peers.put(numbered(number), 3)
    with pytest.raises(TooLarge, match="peers: at most 3"):
        await peers.put(ONE, 3)
    assert len(await peers.peers()) == 3
    await peers.put(read_peer(numbered(0).url, "in", []), 3)


async def test_a_resume_point_is_kept_for_each_until_its_peer_is_removed(
    peers: StoredPeers,
) -> None:
    assert await peers.load(ONE) == Resume()
    await peers.put(ONE, MOST)
    await peers.save(ONE, Resume(1, 2))
    await peers.save(ONE, Resume(3, 2, ((7, None), (1, 5))))
    await peers.save(TWO, Resume(4, 4))
    assert await peers.load(ONE) == Resume(3, 2, ((7, None), (1, 5)))
    await peers.remove(ONE.url)
    assert await peers.load(ONE) == Resume()
    assert await peers.load(TWO) == Resume(4, 4)


@pytest.mark.parametrize("direction", ["in", "both"])
async def test_a_resume_point_is_of_what_was_compared_and_of_nothing_else(
    peers: StoredPeers, direction: str
) -> None:
    """A node that has not heard of the change yet saves what it compared by the filters before."""
    await peers.put(ONE, MOST)
    changed = read_peer(ONE.url, direction, [{"kinds": [1]}])
    await peers.put(changed, MOST)
    await peers.save(ONE, Resume(9, 9))
    assert await peers.load(changed) == Resume()


async def test_after_a_version_that_did_not_say_what_was_compared_all_is_compared_again(
    kept: Stores, peers: StoredPeers
) -> None:
    was = msgspec.json.encode(Resume(5, 5))
    await kept.database.write(lambda tx: tx.all("meta_set", f"peer {ONE.url}", was))
    assert await peers.load(ONE) == Resume()
