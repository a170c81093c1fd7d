"""Sync and mirroring with relays that are not ours: good ones, limited ones, and liars."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.conftest import running_node
from tests.fakes.foreign_relay import Behaviour, ForeignRelay, flood, foreign_relay, honest, say
from tests.fakes.moody_relay import Mood, moody_relay
from tests.relay_peer import a_peer, now
from tests.servers import eventually
from websockets.asyncio.server import ServerConnection

from hanse.engines.peers import sync as sync_module
from hanse.engines.peers.link import Link
from hanse.engines.peers.mirror import Pace
from hanse.engines.peers.ports import Paced
from hanse.engines.peers.sync import Tally
from hanse.errors import RateLimited, Unavailable
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.http_auth import request_header
from hanse.protocol.keys import SecretKey
from hanse.protocol.negentropy import Negentropy
from hanse.protocol.peer import Direction, Peer

AUTHOR = new_secret()
START = 1_700_000_000


def note(number: int, **changes: Any) -> Event:
    """A note; about three to a second."""
    fields: dict[str, Any] = {
        "kind": 1,
        "created_at": START + number // 3,
        "content": f"note {number}",
    }
    return sign_event(AUTHOR, **(fields | changes))


async def keep(node: Node, events: list[Event]) -> None:
    """Publish events at a node, many under way at once."""
    async with a_peer(node.url) as client:
        for event in events:
            await client.say("EVENT", json.loads(encode_event(event)))
        for _ in events:
            verb, _, accepted, text = await client.hear()
            assert (verb, accepted) == ("OK", True), text


async def count(node: Node) -> int:
    """How many notes a node has; at most 500."""
    async with a_peer(node.url) as client:
        return len(await client.ask({"kinds": [1]}))


async def synced(
    node: Node, relay: ForeignRelay, direction: str = "both", filter: Filter | None = None
) -> Tally:
    """One sync of a node with a relay."""
    return await node.peers.sync(
        relay.url, filter or Filter(), Direction(direction), lambda tally: None
    )


EVENTS = [note(number) for number in range(300)]


@pytest.mark.parametrize(("compare_max", "method"), [(10**6, "negentropy"), (None, "paging")])
@pytest.mark.parametrize("direction", ["both", "in", "out"])
async def test_a_sync_moves_exactly_what_is_lacking(
    node: Node, compare_max: int | None, method: str, direction: str
) -> None:
    ours, theirs = EVENTS[:200], EVENTS[150:]
    await keep(node, ours)
    async with foreign_relay(events=theirs, compare_max=compare_max) as relay:
        found = await synced(node, relay, direction)
        pulls, pushes = direction != "out", direction != "in"
        assert found.method == method
        assert (found.pulled, found.pushed) == (100 * pulls, 150 * pushes)
        assert await count(node) == 200 + 100 * pulls
        assert len(relay.events) == 150 + 150 * pushes
        again = await synced(node, relay, direction)
        assert (again.pulled, again.pushed) == (0, 0)


async def test_a_relay_that_compares_only_small_sets_is_asked_in_parts(node: Node) -> None:
    await keep(node, EVENTS[:50])
    async with foreign_relay(events=EVENTS[25:], compare_max=20) as relay:
        found = await synced(node, relay)
        assert (found.method, found.pulled, found.pushed) == ("negentropy", 250, 25)
        assert len(relay.events) == 300


async def test_more_of_our_own_than_fits_is_compared_in_parts(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "ITEMS_MAX", 40)
    await keep(node, EVENTS[:100])
    async with foreign_relay(events=EVENTS[100:]) as relay:
        found = await synced(node, relay)
        assert (found.pulled, found.pushed) == (200, 100)


async def test_a_filter_bounds_what_is_synced(node: Node) -> None:
    async with foreign_relay(events=EVENTS) as relay:
        wanted = Filter(since=START + 10, until=START + 19)
        assert (await synced(node, relay, "in", wanted)).pulled == 30


async def test_progress_is_told(node: Node) -> None:
    told: list[tuple[int, int]] = []
    async with foreign_relay(events=EVENTS) as relay:
        await node.peers.sync(
            relay.url,
            Filter(),
            Direction.IN,
            lambda tally: told.append((tally.pulled, tally.to_pull)),
        )
    assert told == [(100, 300), (200, 300), (300, 300)]


async def test_what_admission_refuses_is_counted_by_its_word(node: Node) -> None:
    events = [
        note(1),
        note(2, created_at=2**40),
        note(3, tags=[["expiration", "1"]]),
        note(4, tags=[["-"]]),
        note(5, kind=1059, tags=[["p", AUTHOR.public]]),
    ]
    async with foreign_relay(events=events) as relay:
        found = await synced(node, relay)
        assert found.pulled == 1
        assert found.refused_here == {"invalid": 2, "not-shared": 2}


UNWANTED = [
    *(note(number, kind=10002, tags=[["r", "no relay"]]) for number in range(50)),
    *(note(number, kind=1984) for number in range(50)),
    *(note(number, tags=[["expiration", "1"]], content=f"old {number}") for number in range(50)),
    *(note(number, created_at=2**40 + number) for number in range(50)),
]
"""Well signed, and each invalid by a policy of ours that its relay need not have."""


@pytest.mark.parametrize(("compare_max", "method"), [(10**6, "negentropy"), (None, "paging")])
async def test_what_only_our_own_policies_refuse_is_left_out_and_the_sync_goes_on(
    node: Node, compare_max: int | None, method: str
) -> None:
    async with foreign_relay(events=UNWANTED + EVENTS, compare_max=compare_max) as relay:
        found = await synced(node, relay, "in")
    assert (found.method, found.pulled, found.complete) == (method, 300, True)
    assert found.refused_here.keys() == {"invalid"}
    assert found.refused_here["invalid"] >= 200  # a page begins with the last second of another
    assert await count(node) == 300


@asynccontextmanager
async def mirrored(folder: Path, operator: SecretKey) -> AsyncIterator[tuple[ForeignRelay, Node]]:
    """A relay, and a node that hears its live events."""
    async with (
        foreign_relay() as relay,
        running_node(folder, operator, peers=(Peer(url=relay.url),)) as node,
    ):
        await eventually(lambda: state(node, relay.url) == "live" and relay.live)
        yield relay, node


async def test_a_peer_whose_live_events_our_own_policies_refuse_is_mirrored_on(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with mirrored(tmp_path, operator) as (relay, node):
        for event in UNWANTED + EVENTS[:10]:
            await relay.tell(event)

        async def came() -> bool:
            return await count(node) == 10

        await eventually(came)
        assert node.peers.statuses()[0]["refused"] == len(UNWANTED)
        assert relay.connections == 1


async def test_a_peer_whose_live_events_are_signed_by_nobody_is_cut_off(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with mirrored(tmp_path, operator) as (relay, node):
        for event in EVENTS[:150]:
            await relay.tell(msgspec.structs.replace(event, sig="0" * 128))
        await eventually(lambda: "not valid" in node.peers.statuses()[0]["reason"])


async def test_a_relay_that_takes_nothing_is_not_asked_on_and_on(node: Node) -> None:
    async def walled(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "EVENT":
            await say(socket, "OK", found[1]["id"], False, "restricted: members only")
        else:
            await honest(relay, socket, found)

    await keep(node, EVENTS)
    async with foreign_relay(walled) as relay:
        found = await synced(node, relay)
        assert (found.pushed, found.refused_there) == (0, {"restricted": 100})


async def test_only_so_many_syncs_run_at_once(node: Node) -> None:
    async def silent(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        pass

    async with foreign_relay(silent) as relay, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(synced(node, relay)) for _ in range(4)]
        while relay.connections < 4:
            await asyncio.sleep(0.005)
        with pytest.raises(RateLimited, match="at once"):
            await synced(node, relay)
        for task in running:
            task.cancel()


async def test_a_peer_s_events_are_taken_at_its_pace_and_none_is_lost() -> None:
    loop, came = asyncio.get_running_loop(), []

    async def submit(raw: bytes) -> tuple[bool, str]:
        came.append((raw, loop.time()))
        return True, ""

    paced = Paced(submit, per_s=100, burst=5)
    began = loop.time()
    await asyncio.gather(*(paced(b"%d" % number) for number in range(15)))
    assert [raw for raw, _ in came] == [b"%d" % number for number in range(15)]
    assert came[4][1] - began < 0.05
    assert came[14][1] - began >= 0.099


async def test_a_sync_and_a_mirror_of_one_peer_share_its_pace(
    tmp_path: Path, operator: SecretKey
) -> None:
    pace = Pace(events_per_s=50, events_burst=1)
    async with (
        foreign_relay(events=EVENTS[:20]) as relay,
        running_node(tmp_path, operator, peer_pace=pace) as node,
    ):
        began = asyncio.get_running_loop().time()
        tally = await synced(node, relay)
        assert tally.pulled == 20
        assert asyncio.get_running_loop().time() - began >= 19 / 50
        assert node.peers._paced(relay.url) is not node.peers._paced("ws://other")


async def test_an_event_sent_twice_at_once_is_one_question() -> None:
    event = EVENTS[0]
    async with foreign_relay() as relay, Link(relay.url, None, now) as link:
        body = encode_event(event)
        found = await asyncio.gather(*(link.publish(event.id, body) for _ in range(3)))
        assert found == [(True, "")] * 3
        assert relay.heard == ["EVENT"]


async def test_a_peer_that_hangs_up_in_the_handshake_was_never_opened() -> None:
    async with moody_relay(Mood.HANGS_UP) as relay:
        with pytest.raises(Unavailable, match="hung up"):
            await Link(relay.url, None, now).__aenter__()
        await eventually(lambda: not relay.open)


async def test_a_link_given_up_in_its_handshake_does_not_open_after_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.engines.peers.link.OPEN_S", 1.0)
    async with moody_relay(Mood.SAYS_NOTHING) as relay:
        opening = asyncio.gather(Link(relay.url, None, now).__aenter__())
        await eventually(lambda: relay.reached == 1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: not relay.open)


async def test_who_hangs_up_ends_the_sync(node: Node, operator: SecretKey) -> None:
    left = asyncio.Event()

    async def slow(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        await socket.wait_closed()
        left.set()

    async with foreign_relay(slow) as relay, aiohttp.ClientSession() as session:
        url, body = f"{node.http_url}/api/v1/sync", json.dumps({"url": relay.url}).encode()
        header = request_header(operator, url=url, method="POST", body=body, now=now())
        async with session.post(url, data=body, headers={"Authorization": header}) as answer:
            assert answer.content_type == "application/x-ndjson"
            while not relay.heard:
                assert "progress" in json.loads(await answer.content.readline())
        async with asyncio.timeout(10):
            await left.wait()


@pytest.mark.parametrize(("age_s", "whole_s"), [(60, 86_400), (10**8, 0)])
async def test_what_was_missed_live_comes_with_a_later_sync(
    tmp_path: Any, operator: SecretKey, age_s: int, whole_s: int
) -> None:
    """The fake passes nothing on live. What is old by its own time comes when all is compared."""
    pace = Pace(resync_s=0.02, whole_s=whole_s)
    async with (
        foreign_relay() as relay,
        running_node(tmp_path, operator, peers=(Peer(url=relay.url),), peer_pace=pace) as node,
        asyncio.timeout(20),
    ):
        while not node.peers.statuses()[0]["synced_at"]:
            await asyncio.sleep(0.005)
        for number in range(3):
            late = note(number, created_at=now() - age_s)
            relay.events[late.id] = late
            while await count(node) != number + 1:
                await asyncio.sleep(0.005)


# --- liars --------------------------------------------------------------------------------------


def forged(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_event(event))
    return found | {"content": found["content"] + "!"}


async def rubbish(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    await flood(socket, "this is no message")


async def unasked(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    await flood(socket, json.dumps(["EVENT", "nobody", json.loads(encode_event(EVENTS[0]))]))


async def endless(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    """Answers every REQ with events for ever."""
    if found[0] == "REQ" and found[1] != "live":
        await flood(socket, json.dumps(["EVENT", found[1], json.loads(encode_event(EVENTS[0]))]))
    elif found[0] == "NEG-OPEN":
        await say(socket, "NOTICE", "what?")


async def wrong_signatures(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    if found[0] == "REQ":
        read = [one for one in relay.matching(Filter()) if one.id in found[2].get("ids", [])]
        for event in read:
            await say(socket, "EVENT", found[1], forged(event))
        await say(socket, "EOSE", found[1])
    else:
        await honest(relay, socket, found)


async def signed_by_nobody(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    """Its ids are right, its signatures are not, and it compares nothing."""
    if found[0] == "REQ":
        for event in relay.matching(parse_filter(found[2]))[:100]:
            unsigned = json.loads(encode_event(event)) | {"sig": "0" * 128}
            await say(socket, "EVENT", found[1], unsigned)
        await say(socket, "EOSE", found[1])
    else:
        await say(socket, "NOTICE", "what?")


async def never_sends(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    """Lists what it does not have."""
    if found[0] == "REQ":
        await say(socket, "EOSE", found[1])
    else:
        await honest(relay, socket, found)


async def never_agrees(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    """Says of every range that it differs."""
    if found[0].startswith("NEG-") and found[0] != "NEG-CLOSE":
        differs = b"\x61\x00\x00\x01" + secrets.token_bytes(16)
        await say(socket, "NEG-MSG", found[1], differs.hex())


async def huge(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    await socket.send("x" * (2 << 20))


async def huge_in_pieces(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
    await socket.send("x" * (100 << 10) for _ in range(100))


async def compares_only_seconds(
    relay: ForeignRelay, socket: ServerConnection, found: list[Any]
) -> None:
    """Every span is too much to compare, and in every second there is nothing."""
    if found[0] == "NEG-OPEN" and found[2].get("since", 0) < found[2].get("until", now() + 3000):
        await say(socket, "NEG-ERR", found[1], "blocked: too big")
    elif found[0] == "NEG-OPEN":
        empty = Negentropy(()).respond(bytes.fromhex(found[3]))
        await say(socket, "NEG-MSG", found[1], empty.hex())


async def lists_one_of_each_second(
    relay: ForeignRelay, socket: ServerConnection, found: list[Any]
) -> None:
    """Every span is too much to compare, and every second has one event, which never comes."""
    if found[0] == "REQ":
        await say(socket, "EOSE", found[1])
    elif found[0] == "NEG-OPEN" and "until" in found[2] and found[2]["since"] == found[2]["until"]:
        one = Negentropy([(found[2]["since"], secrets.token_bytes(32))])
        await say(socket, "NEG-MSG", found[1], one.respond(bytes.fromhex(found[3])).hex())
    else:
        await compares_only_seconds(relay, socket, found)


LIARS = pytest.mark.parametrize(
    ("liar", "reason"),
    [
        (rubbish, "too much that we cannot use"),
        (unasked, "too much that we cannot use"),
        (endless, "more than was asked for"),
        (wrong_signatures, "not valid"),
        (signed_by_nobody, "not valid"),
        (never_sends, "does not send what it lists"),
        (never_agrees, "over 1000 rounds"),
        (huge, "sent a message over|broke"),
        (huge_in_pieces, "sent a message over"),
        (compares_only_seconds, "over 256 comparisons on end bring nothing"),
        (lists_one_of_each_second, "over 256 comparisons on end bring nothing"),
    ],
)


@LIARS
async def test_a_hostile_relay_changes_nothing_and_is_given_up(
    node: Node, liar: Behaviour, reason: str
) -> None:
    mine = [note(number, content=f"mine {number}") for number in range(3)]
    await keep(node, mine)
    async with foreign_relay(liar, events=EVENTS * 2) as relay:
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match=reason):
                await synced(node, relay, "in")
        assert await count(node) == len(mine)


def state(node: Node, url: str) -> str:
    """What the node does with a peer."""
    return next(str(row["state"]) for row in node.peers.statuses() if row["url"] == url)


@LIARS
async def test_a_hostile_peer_is_left_and_good_peers_are_served_on(
    tmp_path: Any, operator: SecretKey, liar: Behaviour, reason: str
) -> None:
    pace = Pace(pause_min_s=0.02, pause_max_s=0.1)
    async with (
        foreign_relay(liar, events=EVENTS) as bad,
        foreign_relay(events=EVENTS[:10]) as good,
        running_node(
            tmp_path,
            operator,
            peers=(Peer(url=bad.url), Peer(url=good.url)),
            peer_pace=pace,
        ) as node,
    ):
        async with asyncio.timeout(60):
            while bad.connections < 2 or await count(node) < 10 or state(node, good.url) != "live":
                await asyncio.sleep(0.02)
        found = {row["url"]: row for row in node.peers.statuses()}
        assert found[bad.url]["pulled"] == 0
        assert await count(node) == 10


async def test_a_flood_of_live_events_ends_the_link_not_the_node(
    tmp_path: Any, operator: SecretKey
) -> None:
    async def flooding(relay: ForeignRelay, socket: ServerConnection, found: list[Any]) -> None:
        if found[0] == "REQ" and found[1] == "live":
            await say(socket, "EOSE", "live")
            for number in range(20_000):
                await say(socket, "EVENT", "live", forged(EVENTS[number % 300]))
        else:
            await honest(relay, socket, found)

    pace = Pace(pause_min_s=0.02, pause_max_s=0.1)
    async with (
        foreign_relay(flooding) as bad,
        running_node(tmp_path, operator, peers=(Peer(url=bad.url),), peer_pace=pace) as node,
    ):
        async with asyncio.timeout(60):
            while bad.connections < 2:
                await asyncio.sleep(0.02)
        assert await count(node) == 0
