"""Peers that want to know who asks (NIP-42): at once, or only when they refuse something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import running_node
from tests.fakes.foreign_relay import Asks, ForeignRelay, foreign_relay, say
from tests.relay_peer import SEALED, a_peer, eventually, now

from hanse.engines.peers.link import Link, NoComparison
from hanse.engines.peers.mirror import Pace
from hanse.engines.peers.proof import CHALLENGES_MAX
from hanse.engines.peers.sync import Tally
from hanse.errors import AuthRequired, Unavailable
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.negentropy import Negentropy
from hanse.protocol.peer import Direction, Peer

AUTHOR = new_secret()
QUICK = Pace(pause_min_s=0.02, pause_max_s=0.1)
ASKING = pytest.mark.parametrize("asks", [Asks.EARLY, Asks.LATE, Asks.ANEW])
NONE = (Filter(kinds=frozenset({7})),)
NOT_ON_LIST = "restricted: you are not on the list"


def note(number: int, **changes: Any) -> Event:
    """A note of now."""
    fields: dict[str, Any] = {"kind": 1, "created_at": now(), "content": f"note {number}"}
    return sign_event(AUTHOR, **(fields | changes))


async def published(link: Link, events: list[Event]) -> list[tuple[bool, str]]:
    """What a relay says to events that are sent at once."""
    return list(await asyncio.gather(*(link.publish(one.id, encode_event(one)) for one in events)))


async def keep(node: Node, events: list[Event]) -> None:
    """Publish events at a node."""
    async with a_peer(node.url) as client:
        for event in events:
            await client.keep(event)


async def ids(node: Node) -> set[str]:
    """What a node keeps."""
    async with a_peer(node.url) as client:
        return set(await client.ask({"kinds": [1]}))


async def synced(node: Node, url: str, filter: Filter | None = None) -> Tally:
    """One sync of a node with a relay, both ways."""
    return await node.peers.sync(url, filter or Filter(), Direction.BOTH, lambda tally: None)


@asynccontextmanager
async def a_link(relay: ForeignRelay) -> AsyncIterator[Link]:
    """A link that can prove who it is."""
    async with Link(relay.url, new_secret(), now) as link:
        yield link


# --- what passes ----------------------------------------------------------------------------------


@ASKING
@pytest.mark.parametrize(("compare_max", "method"), [(10**6, "negentropy"), (None, "paging")])
@pytest.mark.requirement("NIP-42.asked-again")
async def test_a_sync_goes_both_ways_whenever_the_relay_asks_who_we_are(
    node: Node, asks: Asks, compare_max: int | None, method: str
) -> None:
    events = [note(number) for number in range(30)]
    await keep(node, events[:20])
    async with foreign_relay(events=events[10:], compare_max=compare_max, asks=asks) as relay:
        found = await synced(node, relay.url)
        assert (found.method, found.pulled, found.pushed) == (method, 10, 10)
        assert await ids(node) == relay.events.keys() == {event.id for event in events}
        assert relay.heard.count("AUTH") == 1


@ASKING
async def test_a_mirror_moves_what_is_stored_and_what_is_new_over_one_connection(
    tmp_path: Path, operator: SecretKey, asks: Asks
) -> None:
    theirs = [note(number) for number in range(3)]
    async with (
        foreign_relay(events=theirs, asks=asks) as relay,
        running_node(tmp_path, operator, peers=(Peer(url=relay.url),), peer_pace=QUICK) as node,
    ):
        await eventually(lambda: node.peers.statuses()[0]["state"] == "live")
        assert await ids(node) == {event.id for event in theirs}
        await eventually(lambda: relay.live)
        fresh, mine = note(10), note(11)
        await relay.tell(fresh)
        await keep(node, [mine])
        await eventually(lambda: mine.id in relay.events)

        async def came() -> bool:
            return fresh.id in await ids(node)

        await eventually(came)
        assert relay.connections == 1


@ASKING
async def test_events_that_were_refused_are_sent_once_more_when_the_relay_knows_us(
    asks: Asks,
) -> None:
    events = [note(number) for number in range(5)]
    async with foreign_relay(asks=asks) as relay, a_link(relay) as link:
        assert await published(link, events) == [(True, "")] * 5
        assert relay.heard.count("EVENT") == (5 if asks is Asks.EARLY else 10)


async def test_who_asks_once_is_answered_once_however_much_it_refused() -> None:
    async with foreign_relay(asks=Asks.LATE) as relay, a_link(relay) as link:
        await published(link, [note(number) for number in range(5)])
        assert await link.fetch(Filter(kinds=frozenset({7})), 10) == []
        assert relay.heard.count("AUTH") == 1


async def test_who_asks_at_once_hears_who_we_are_before_anything_is_asked() -> None:
    async with foreign_relay(asks=Asks.EARLY) as relay, a_link(relay) as link:
        await link.fetch(Filter(), 10)
        assert relay.heard[:2] == ["AUTH", "REQ"]


async def test_a_link_without_a_key_waits_for_no_challenge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanse.engines.peers.link.CHALLENGE_S", 3600)
    async with foreign_relay() as relay, asyncio.timeout(10), Link(relay.url, None, now) as link:
        assert await link.fetch(Filter(), 10) == []


async def test_live_events_are_asked_for_before_what_else_was_refused() -> None:
    """What enters the relay while we sync comes live: nothing falls between the two."""
    async with foreign_relay(asks=Asks.LATE) as relay, a_link(relay) as link:
        link.watch((Filter(limit=0),), lambda event, size: True)
        await link.compare(Negentropy(()).initiate(), Filter())
        assert relay.heard == ["REQ", "NEG-OPEN", "AUTH", "REQ", "NEG-OPEN"]


async def test_a_node_reads_at_a_node_what_only_known_clients_may_ask_for(
    node: Node, tmp_path: Path, operator: SecretKey
) -> None:
    secret, private = new_secret(), Filter(kinds=frozenset({1059}))
    async with running_node(tmp_path / "other", operator, secret) as other:
        wrap = note(1, kind=1059, content=SEALED, tags=[["p", secret.public]])
        await keep(node, [wrap])
        async with Link(node.url, None, now) as stranger:
            with pytest.raises(AuthRequired, match="their recipient"):
                await stranger.fetch(private, 10)
        found = await synced(other, node.url, private)
        # It is found, for the node proved to be who it is for; and it never goes between peers.
        assert (found.method, found.refused_here) == ("negentropy", {"not-shared": 1})


# --- what does not --------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [Asks.EARLY, Asks.LATE])
async def test_a_proof_that_is_refused_is_the_reason_that_is_told(node: Node, asks: Asks) -> None:
    async with foreign_relay(asks=asks, proof_refusal=NOT_ON_LIST) as relay:
        with pytest.raises(AuthRequired, match=f"members only.*{NOT_ON_LIST}"):
            await synced(node, relay.url)
        assert relay.heard.count("AUTH") == 1
        async with a_link(relay) as link:
            ((accepted, text),) = await published(link, [note(1)])
            assert not accepted
            assert text.startswith("auth-required: members only")
            assert text.endswith(NOT_ON_LIST)


async def test_a_peer_that_refuses_our_proof_is_listed_with_its_reason(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with (
        foreign_relay(asks=Asks.LATE, proof_refusal=NOT_ON_LIST) as relay,
        running_node(tmp_path, operator, peers=(Peer(url=relay.url),), peer_pace=QUICK) as node,
    ):
        await eventually(lambda: NOT_ON_LIST in node.peers.statuses()[0]["reason"])
        assert "members only" in node.peers.statuses()[0]["reason"]


async def test_a_peer_that_refuses_keeps_no_other_from_naming_a_keys_relays(
    tmp_path: Path, operator: SecretKey
) -> None:
    named = note(1, kind=10002, tags=[["r", "wss://one.example", "write"]], content="")
    async with (
        foreign_relay(asks=Asks.NEVER) as closed,
        foreign_relay(events=[named]) as open_to_all,
        running_node(
            tmp_path,
            operator,
            peers=(Peer(url=closed.url), Peer(url=open_to_all.url, filters=NONE)),
        ) as node,
    ):
        assert await node.peers.relays(AUTHOR.public) == [("wss://one.example", Direction.IN)]


async def test_who_refuses_and_never_asks_is_asked_once(node: Node) -> None:
    async with foreign_relay(asks=Asks.NEVER) as relay:
        with pytest.raises(AuthRequired, match=r"^members only$"):
            await synced(node, relay.url)
        assert [verb for verb in relay.heard if verb != "CLOSE"] == ["NEG-OPEN", "REQ"]


async def test_an_answer_to_our_proof_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.engines.peers.proof.PROOF_S", 0.05)
    async with foreign_relay(asks=Asks.LATE, proof_refusal=None) as relay, a_link(relay) as link:
        link.watch((Filter(limit=0),), lambda event, size: True)
        with pytest.raises(Unavailable, match=r"ended our subscription: .*no answer within 0.05 s"):
            await link.until_lost()
    async with foreign_relay(asks=Asks.LATE, proof_refusal=None) as relay, a_link(relay) as link:
        with pytest.raises(AuthRequired, match=r"members only.*no answer within 0.05 s"):
            await link.fetch(Filter(), 10)


async def test_what_is_refused_again_after_the_proof_is_not_asked_a_third_time() -> None:
    async def refusing(relay: ForeignRelay, socket: Any, found: list[Any]) -> None:
        match found:
            case ["EVENT", dict() as raw]:
                await say(socket, "OK", raw["id"], False, "auth-required: not even so")
            case ["REQ", str() as name, *_]:
                await say(socket, "CLOSED", name, "auth-required: not even so")
            case ["NEG-OPEN", str() as name, *_]:
                await say(socket, "NEG-ERR", name, "auth-required: not even so")

    async with foreign_relay(refusing, asks=Asks.LATE) as relay:
        async with a_link(relay) as link:
            assert await published(link, [note(1)]) == [(False, "auth-required: not even so")]
            assert relay.heard == ["EVENT", "AUTH", "EVENT"]
        async with a_link(relay) as link:
            with pytest.raises(AuthRequired, match="not even so"):
                await link.fetch(Filter(), 10)
            with pytest.raises(NoComparison, match="not even so"):
                await link.compare(Negentropy(()).initiate(), Filter())
        async with a_link(relay) as link:
            link.watch((Filter(limit=0),), lambda event, size: True)
            with pytest.raises(Unavailable, match=r"ended our subscription: .*not even so"):
                await link.until_lost()
    assert relay.heard.count("AUTH") == 3
    assert relay.heard.count("REQ") == 4


async def test_challenges_are_answered_so_often_and_no_more() -> None:
    async def curious(relay: ForeignRelay, socket: Any, found: list[Any]) -> None:
        if found[0] == "REQ":
            for number in range(2 * CHALLENGES_MAX):
                await say(socket, "AUTH", f"and now? {number}")
            await say(socket, "EOSE", found[1])

    async with foreign_relay(curious) as relay, a_link(relay) as link:
        await link.fetch(Filter(), 10)
        await link.fetch(Filter(), 10)
        assert relay.heard.count("AUTH") == CHALLENGES_MAX
