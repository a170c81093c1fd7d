"""Logs that are too large to compare or to move in one go: in parts, and on from what is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import running_node
from tests.fakes.foreign_relay import Behaviour, ForeignRelay, foreign_relay, honest, say
from tests.relay_peer import eventually
from websockets.asyncio.server import ServerConnection

from hanse.engines.peers.mirror import Pace
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.peer import SPANS_MAX, Direction, Peer, Resume, merged, read_peer

AUTHOR = new_secret()
START = 1_700_000_000
QUICK = Pace(pause_min_s=0.02, pause_max_s=0.05)


def notes(count: int, to_a_second: int = 3, since: int = START) -> list[Event]:
    """So many notes, so many of each second."""
    return [
        sign_event(AUTHOR, kind=1, created_at=since + at // to_a_second, content=f"note {at}")
        for at in range(count)
    ]


EVENTS = notes(900)


async def count(node: Node) -> int:
    """How many notes a node keeps."""
    return await node.log.count([Filter(kinds=frozenset({1}))], now_s=START)


async def synced(node: Node, relay: ForeignRelay, **asked: Any) -> dict[str, Any]:
    """One sync of a node with a relay, both ways; its tally."""
    found = await node.peers.sync(relay.url, Filter(**asked), Direction.BOTH, lambda tally: None)
    return found.as_dict()


@asynccontextmanager
async def mirroring(
    folder: Path, operator: SecretKey, relay: ForeignRelay, **more: Any
) -> AsyncIterator[Node]:
    """A node that takes from one peer."""
    peer = Peer(url=relay.url, direction=Direction.IN, **more)
    async with running_node(folder, operator, peers=(peer,), peer_pace=QUICK) as node:
        yield node


def hanging_up(after: int) -> tuple[Behaviour, list[dict[str, Any]]]:
    """Breaks the connection whenever it was asked to compare so often; and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def behave(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "NEG-OPEN":
            asked.append(found[2])
            if len(asked) % after == 0:
                await socket.close()
                return
        await honest(relay, socket, found)

    return behave, asked


# --- in one run -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compare_max", [3, 10])
async def test_a_log_far_larger_than_what_a_relay_compares_at_once_is_synced_in_one_run(
    node: Node, compare_max: int
) -> None:
    async with foreign_relay(events=EVENTS, compare_max=compare_max) as relay:
        found = await synced(node, relay)
        assert (found["method"], found["pulled"], found["crowded"]) == ("negentropy", 900, 0)
        assert await count(node) == 900


@pytest.mark.parametrize("compare_max", [2, 0])
async def test_a_second_that_is_too_much_to_compare_is_read_by_pages(
    node: Node, compare_max: int
) -> None:
    """The other seconds are compared, as far as the relay does."""
    odd = sign_event(AUTHOR, kind=1, created_at=START - 5, content="alone in its second")
    async with foreign_relay(events=[*EVENTS[:30], odd], compare_max=compare_max) as relay:
        found = await synced(node, relay)
        assert (found["method"], found["pulled"], found["crowded"]) == ("negentropy", 31, 0)
        ours = notes(40)[30:]
        for event in ours:
            await node.log.append_many([event])
        assert (await synced(node, relay))["pushed"] == 10
        assert ours[0].id in relay.events


async def test_only_what_we_have_is_compared_if_we_only_send(node: Node) -> None:
    """However much else the relay keeps, and compares in ever so small parts."""
    mine = notes(3, since=START - 10**6)
    await node.log.append_many(mine)
    async with foreign_relay(events=EVENTS, compare_max=2) as relay:
        found = await node.peers.sync(relay.url, Filter(), Direction.OUT, lambda tally: None)
        assert (found.pushed, await count(node)) == (3, 3)
        assert relay.heard.count("NEG-OPEN") < 40


async def test_a_relay_of_which_we_want_nothing_is_compared_to_its_end(node: Node) -> None:
    """That its events are refused here is not its fault."""
    events = [
        sign_event(AUTHOR, kind=1, created_at=START + at, tags=[["-"]], content="protected")
        for at in range(600)
    ]
    async with foreign_relay(events=events, compare_max=1) as relay:
        found = await synced(node, relay)
        assert found["refused_here"] == {"not-shared": 600}


async def test_a_relay_that_refuses_every_comparison_is_read_by_pages(node: Node) -> None:
    async def refusing(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "NEG-OPEN":
            await say(socket, "NEG-ERR", found[1], "blocked: negentropy is off here")
        else:
            await honest(relay, socket, found)

    async with foreign_relay(refusing, events=EVENTS) as relay:
        found = await synced(node, relay)
        assert (found["method"], found["pulled"]) == ("paging", 900)
        assert relay.heard.count("NEG-OPEN") < 40


@pytest.mark.parametrize("compare_max", [100, None])
async def test_a_second_with_more_events_than_a_page_is_read_whole(
    node: Node, compare_max: int | None
) -> None:
    crowd = notes(300, to_a_second=300)
    async with foreign_relay(
        events=[*crowd, *notes(5, since=START - 9)], compare_max=compare_max
    ) as relay:
        found = await synced(node, relay)
        assert (found["pulled"], found["crowded"]) == (305, 0)


@pytest.mark.parametrize("compare_max", [100, None])
async def test_a_second_that_holds_more_than_the_relay_gives_at_once_is_told(
    node: Node, compare_max: int | None
) -> None:
    async def stingy(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        for asked in found[2:] if found[0] == "REQ" else []:
            asked["limit"] = min(asked.get("limit", 500), 250)
        await honest(relay, socket, found)

    events = [*notes(300, to_a_second=300), *notes(5, since=START - 9)]
    async with foreign_relay(stingy, events=events, compare_max=compare_max) as relay:
        found = await synced(node, relay)
        assert (found["pulled"], found["crowded"], found["complete"]) == (255, 1, True)


# --- in more than one -----------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [(Filter(),), (Filter(kinds=frozenset({1})), Filter(until=9))])
async def test_a_mirror_goes_on_where_its_connection_broke(
    tmp_path: Path, operator: SecretKey, filters: tuple[Filter, ...]
) -> None:
    behave, asked = hanging_up(after=150)
    async with (
        foreign_relay(behave, events=EVENTS, compare_max=3) as relay,
        mirroring(tmp_path, operator, relay, filters=filters) as node,
    ):
        async with asyncio.timeout(60):
            while not node.peers.statuses()[0]["synced_at"]:
                await asyncio.sleep(0.02)
        assert await count(node) == 900
        assert node.peers.statuses()[0]["pulled"] == 900
        # What a connection had settled is not compared again by the next.
        seconds = [one["until"] for one in asked if one.get("since", 0) == one.get("until")]
        assert len(set(seconds)) > 250
        assert len(seconds) <= len(set(seconds)) + relay.connections
        assert relay.connections == 1 + len(asked) // 150


async def test_a_mirror_goes_on_after_its_node_stopped(tmp_path: Path, operator: SecretKey) -> None:
    halfway = asyncio.Event()
    held: list[dict[str, Any]] = []

    async def slow(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "NEG-OPEN":
            held.append(found[2])
            if len(held) == 400:
                halfway.set()
                return
        await honest(relay, socket, found)

    async with foreign_relay(slow, events=EVENTS, compare_max=3) as relay:
        async with mirroring(tmp_path, operator, relay):
            async with asyncio.timeout(60):
                await halfway.wait()
        first = list(held)
        async with mirroring(tmp_path, operator, relay) as node:
            await eventually(lambda: node.peers.statuses()[0]["synced_at"])
            assert await count(node) == 900
        # What is newer than the first sync, and then what that one had left.
        again = [found for found in held[400:] if found in first]
        assert len(again) <= 2


async def test_where_a_mirror_has_come_to_is_kept_while_it_goes_on(
    tmp_path: Path, operator: SecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is killed loses no more than a few seconds of it."""
    monkeypatch.setattr("hanse.engines.peers.mirror.SAVE_S", 0)
    halfway = asyncio.Event()

    async def slow(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if relay.heard.count("NEG-OPEN") < 400:
            await honest(relay, socket, found)
        elif found[0] == "NEG-OPEN":
            halfway.set()

    async with (
        foreign_relay(slow, events=EVENTS, compare_max=3) as relay,
        mirroring(tmp_path, operator, relay) as node,
    ):
        async with asyncio.timeout(60):
            await halfway.wait()
        resume = await node.peers._notes.load(Peer(url=relay.url, direction=Direction.IN))
        ((low, high),) = resume.left
        assert low == 0
        assert high is not None
        assert START < high < START + 300
        assert resume.since == resume.whole > START


async def test_a_mirror_that_pages_goes_on_where_its_connection_broke(
    tmp_path: Path, operator: SecretKey
) -> None:
    pages: list[int] = []

    async def behave(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "REQ" and found[1] != "live":
            pages.append(found[2].get("until", 2**40))
            if len(pages) % 4 == 0:
                await socket.close()
                return
        await honest(relay, socket, found)

    async with (
        foreign_relay(behave, events=EVENTS, compare_max=None) as relay,
        mirroring(tmp_path, operator, relay) as node,
    ):
        await eventually(lambda: node.peers.statuses()[0]["synced_at"])
        assert await count(node) == 900
        assert len(pages) <= 900 // 97 + 3 * relay.connections


def putting_off(id: str, times: int) -> Behaviour:
    """Has no time for one event, so often."""
    left = times

    async def busy(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        nonlocal left
        if found[0] == "EVENT" and found[1]["id"] == id and left:
            left -= 1
            await say(socket, "OK", id, False, "rate-limited: come back later")
        else:
            await honest(relay, socket, found)

    return busy


async def test_only_what_was_put_off_is_left_for_the_next_sync(
    tmp_path: Path, operator: SecretKey
) -> None:
    ours, late = EVENTS[:90], EVENTS[45]
    theirs = [event for event in ours if event is not late]
    asked: list[int] = []

    async def counting(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "EVENT":
            asked.append(relay.heard.count("NEG-OPEN"))
        await busy(relay, socket, found)

    busy = putting_off(late.id, 2)
    async with (
        foreign_relay(counting, events=theirs, compare_max=3) as relay,
        running_node(tmp_path, operator, peer_pace=Pace(resync_s=0.02)) as node,
    ):
        await node.log.append_many(ours)
        await node.peers.add(Peer(url=relay.url))
        await eventually(lambda: node.peers.statuses()[0]["synced_at"])
        assert late.id in relay.events
        first, second, third = asked
        # What was new meanwhile, and the second of the one that was put off.
        assert third - second == 2 < second - first
        assert (await node.peers._notes.load(Peer(url=relay.url))).left == ()


async def test_what_is_put_off_for_ever_does_not_keep_all_from_being_compared_when_it_is_due(
    tmp_path: Path, operator: SecretKey
) -> None:
    """What is old by its own time comes only when all is compared."""
    (old,) = notes(1, since=START - 500)
    ours, late = EVENTS[:90], EVENTS[45]
    theirs = [event for event in ours if event is not late]
    async with (
        foreign_relay(putting_off(late.id, 10**6), events=theirs, compare_max=3) as relay,
        running_node(tmp_path, operator, peer_pace=Pace(resync_s=0.02, whole_s=0)) as node,
    ):
        await node.log.append_many(ours)
        await node.peers.add(Peer(url=relay.url))
        await eventually(lambda: node.peers.statuses()[0]["state"] == "live")
        relay.events[old.id] = old
        await eventually(lambda: node.peers.statuses()[0]["pulled"] == 1)


async def test_another_filter_begins_anew_though_a_sync_was_under_way(node: Node) -> None:
    """What the old one had come to is not taken for what the new one has."""
    stuck = asyncio.Event()

    async def slow(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if relay.heard.count("NEG-OPEN") < 100:
            await honest(relay, socket, found)
        elif found[0] == "NEG-OPEN":
            stuck.set()

    async with foreign_relay(slow, events=EVENTS, compare_max=3) as relay:
        await node.peers.add(read_peer(relay.url, "in", [{"kinds": [1]}]))
        async with asyncio.timeout(60):
            await stuck.wait()
        wider = read_peer(relay.url, "in", [{"kinds": [1, 2]}])
        await node.peers.add(wider)
        assert await node.peers._notes.load(wider) == Resume()


# --- spans ----------------------------------------------------------------------------------------


def test_spans_that_touch_become_one_and_the_newest_comes_first() -> None:
    assert merged([(0, 9), (20, 30), (10, 15), (25, None), (5, 6)]) == ((20, None), (0, 15))
    assert merged([(7, None), (7, 8), (0, 5)]) == ((7, None), (0, 5))
    assert merged([]) == ()


def test_only_so_many_spans_are_kept_and_none_of_their_seconds_is_lost() -> None:
    many = [(10 * at, 10 * at + 1) for at in range(2 * SPANS_MAX)]
    found = merged(many)
    assert len(found) == SPANS_MAX
    assert found[0] == (10 * SPANS_MAX - 10, 10 * (2 * SPANS_MAX - 1) + 1)
    assert found[1:] == tuple(reversed(many[: SPANS_MAX - 1]))
