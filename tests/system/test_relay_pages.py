"""Paging back by time: an answer that the relay's own bound ends holds all of its oldest second, so
that whoever asks on from before it misses nothing (NIP-67).
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import running_node
from tests.relay_peer import Peer, a_peer, now

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.keys import SecretKey

BOUND = 10


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """One whose answers hold few events."""
    async with running_node(tmp_path, operator, doors=frozenset(), query_limit_max=BOUND) as found:
        yield found


async def notes(peer: Peer, at: int, count: int) -> set[str]:
    """So many of one second."""
    kept = set()
    for number in range(count):
        kept.add((await peer.keep(peer.note(f"{at} {number}", created_at=at))).id)
    return kept


async def page(peer: Peer, **asked: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of an answer and the hint at its end."""
    await peer.say("REQ", "page", {"authors": [peer.secret.public], **asked})
    found = []
    while (heard := await peer.hear())[0] == "EVENT":
        found.append(heard[2])
    await peer.say("CLOSE", "page")
    return found, heard[2]


@pytest.mark.parametrize("limit", [{}, {"limit": BOUND + 1}])
async def test_an_answer_that_our_bound_ends_holds_all_of_its_oldest_second(
    node: Node, limit: dict[str, int]
) -> None:
    start = now() - 100
    async with a_peer(node.url, new_secret()) as peer:
        oldest = await notes(peer, start, 3)
        busy = await notes(peer, start + 1, 3 * BOUND)
        newest = await notes(peer, start + 2, 4)
        found, hint = await page(peer, **limit)
        assert hint == ["more"]
        assert {event["id"] for event in found[:4]} == newest
        assert [event["id"] for event in found[4:]] == sorted(busy)
        found, hint = await page(peer, until=start, **limit)
        assert ({event["id"] for event in found}, hint) == (oldest, ["finish"])


async def test_the_answer_that_ends_with_the_last_event_says_so(node: Node) -> None:
    async with a_peer(node.url, new_secret()) as peer:
        kept = await notes(peer, now() - 100, 2 * BOUND)
        found, hint = await page(peer)
        assert ({event["id"] for event in found}, hint) == (kept, ["finish"])


async def test_a_limit_that_was_asked_for_is_held(node: Node) -> None:
    async with a_peer(node.url, new_secret()) as peer:
        await notes(peer, now() - 100, 2 * BOUND)
        found, hint = await page(peer, limit=BOUND)
        assert (len(found), hint) == (BOUND, ["more"])
