"""The relay door over real sockets: publishing, asking, proving who one is, and what is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.conftest import running_node
from tests.relay_peer import SEALED, WAIT_S, Peer, a_peer, eventually, now
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds, message, session
from hanse.protocol.event import Event, parse_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.info import SUPPORTED

NOTE, EPHEMERAL, REPLACEABLE = 1, 20_001, 10_000


# --- publishing -------------------------------------------------------------------------------


async def test_every_connection_hears_a_challenge_of_its_own_first(node: Node) -> None:
    async with a_peer(node.url) as one, a_peer(node.url) as two:
        assert one.challenge != two.challenge
        assert len(one.challenge) >= 16


async def test_a_published_event_is_accepted_and_answered_as_it_was_signed(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note('é"\\\n\u2028🦀', tags=[["t", "a"], ["e", "b", "", "c"], []])
        assert await peer.publish(event) == (True, "")
        await peer.say("REQ", "a", {"ids": [event.id]})
        verb, name, found = await peer.hear()
        assert (verb, name) == ("EVENT", "a")
        assert parse_event(json.dumps(found)) == event


async def test_a_duplicate_is_accepted_and_said_to_be_one(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note())
        accepted, text = await peer.publish(event)
        assert accepted
        assert text.startswith("duplicate: ")
        assert await node.log.total() == 1


def spoiled(event: Event, **changes: Any) -> Event:
    return msgspec.structs.replace(event, **changes)


BAD = sign_event(SecretKey(bytes([3]) * 32), kind=NOTE, created_at=1, content="x")


BAD_EVENTS = [
    (spoiled(BAD, content="y"), "event.id"),
    (spoiled(BAD, id="00" * 32), "event.id"),
    (spoiled(BAD, id=BAD.id.upper()), "event.id"),
    (spoiled(BAD, sig="00" * 64), "event.sig"),
    (spoiled(BAD, sig=BAD.sig.upper()), "event.sig"),
    (spoiled(BAD, sig=""), "event.sig"),
    (spoiled(BAD, pubkey=SecretKey(bytes([4]) * 32).public), "event.id"),
]


async def test_an_event_that_does_not_hold_is_refused_by_field(node: Node) -> None:
    async with a_peer(node.url) as peer:
        for event, field in BAD_EVENTS:
            accepted, text = await peer.publish(event)
            assert not accepted
            assert text.startswith(f"invalid: {field}: ")
        assert await peer.ask() == []


AGAINST_THE_RULES: list[tuple[dict[str, Any], str]] = [
    ({"kind": EPHEMERAL, "age": 125}, "invalid: event.created_at: "),
    ({"kind": EPHEMERAL, "age": -125}, "invalid: event.created_at: "),
    ({"age": -905}, "invalid: event.created_at: "),
    ({"kind": kinds.CLIENT_AUTH}, "restricted: event.kind: "),
    ({"kind": kinds.HTTP_AUTH}, "restricted: event.kind: "),
    ({"kind": kinds.TOKEN}, "restricted: event.kind: "),
    ({"tags": [["-"]]}, "auth-required: event.tags: "),
    ({"tags": [["t", "a"]] * 2001}, "invalid: event.tags: "),
    ({"content": "x" * 400_001}, "invalid: event.content: "),
    ({"tags": [["expiration", "1000"]]}, "invalid: event.tags.expiration: "),
    ({"tags": [["expiration", "soon"]]}, "invalid: event.tags.expiration: "),
]


async def test_an_event_against_a_rule_is_refused_and_goes_nowhere(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        assert await other.ask({}) == []
        for changes, said in AGAINST_THE_RULES:
            fields = {"created_at": now() - changes.get("age", 0)} | changes
            fields.pop("age", None)
            accepted, text = await peer.publish(peer.note(**fields))
            assert (accepted, text[: len(said)]) == (False, said)
        assert await node.log.total() == 0
        await other.nothing_more()


async def test_an_older_version_is_refused_and_the_newer_stays(node: Node) -> None:
    async with a_peer(node.url) as peer:
        newer = await peer.keep(peer.note(kind=REPLACEABLE))
        accepted, text = await peer.publish(
            peer.note(kind=REPLACEABLE, created_at=newer.created_at - 1)
        )
        assert not accepted
        assert text.startswith("duplicate: ")
        assert await peer.ask() == [newer.id]


async def test_a_deleted_event_is_gone_and_stays_gone(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note())
        deletion = await peer.keep(peer.note(kind=kinds.DELETION, tags=[["e", event.id]]))
        accepted, text = await peer.publish(event)
        assert not accepted
        assert text.startswith("restricted: ")
        assert await peer.ask() == [deletion.id]


async def test_an_ephemeral_event_is_delivered_and_never_stored(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        alone = peer.note("alone", EPHEMERAL)
        accepted, text = await peer.publish(alone)
        assert not accepted
        assert text.startswith("mute: ")
        assert await other.ask({"kinds": [EPHEMERAL]}, name="live") == []
        event = await peer.keep(peer.note("heard", EPHEMERAL))
        assert (await other.hear())[2]["id"] == event.id
        assert await other.ask({"ids": [event.id, alone.id]}) == []
        assert await node.log.total() == 0


# --- asking -----------------------------------------------------------------------------------


async def test_stored_events_come_newest_first_then_eose_then_what_is_new(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        events = [await peer.keep(peer.note(str(n), created_at=now() - n // 2)) for n in range(6)]
        wanted = sorted(events, key=lambda event: (-event.created_at, event.id))
        assert await other.ask({"kinds": [NOTE]}) == [event.id for event in wanted]
        await peer.keep(peer.note(kind=7))
        fresh = await peer.keep(peer.note("fresh"))
        assert (await other.hear())[:2] == ["EVENT", "q"]
        await other.nothing_more()
        assert await other.ask({"limit": 1, "since": fresh.created_at}, name="one") != []


async def test_a_limit_bounds_what_is_stored_and_not_what_is_new(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        for number in range(3):
            await peer.keep(peer.note(str(number)))
        assert await other.ask({"limit": 0}) == []
        assert len(await other.ask({"limit": 2}, name="two")) == 2
        event = await peer.keep(peer.note("new"))
        heard = [await other.hear(), await other.hear()]
        assert {name for _, name, _ in heard} == {"q", "two"}
        assert {found["id"] for _, _, found in heard} == {event.id}


async def test_an_answer_has_at_most_as_many_events_as_the_node_says(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with (
        running_node(tmp_path, operator, query_limit_max=3) as node,
        a_peer(node.url) as peer,
    ):
        for number in range(5):
            await peer.keep(peer.note(str(number), created_at=now() - number))
        assert len(await peer.ask({"limit": 100})) == 3


async def test_a_closed_subscription_hears_no_more_and_others_go_on(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        await other.ask({}, name="a")
        await other.ask({"authors": [peer.secret.public]}, name="b")
        first = await peer.keep(peer.note("first"))
        heard = [await other.hear(), await other.hear()]
        assert sorted((name, event["id"]) for _, name, event in heard) == [
            ("a", first.id),
            ("b", first.id),
        ]
        await other.say("CLOSE", "a")
        await other.nothing_more()
        second = await peer.keep(peer.note("second"))
        assert [part if isinstance(part, str) else part["id"] for part in await other.hear()] == [
            "EVENT",
            "b",
            second.id,
        ]
        await other.nothing_more()


async def test_a_request_of_the_same_name_takes_the_place_of_the_first(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        await other.ask({"kinds": [7]}, name="a")
        await other.ask({"kinds": [NOTE]}, name="a")
        assert len(node.watch) == 1
        await peer.keep(peer.note(kind=7))
        event = await peer.keep(peer.note())
        assert (await other.hear())[2]["id"] == event.id


async def test_stored_and_live_leave_no_gap_and_send_nothing_twice(node: Node) -> None:
    """Subscriptions open at every moment of a stream of 500 events from another connection."""
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        events = [peer.note(str(number)) for number in range(500)]
        seen: dict[str, list[str]] = {}

        async def publish() -> None:
            for start in range(0, 500, 25):
                for event in events[start : start + 25]:
                    await peer.socket.send(message.publish(event).decode())
                for _ in range(25):
                    assert (await peer.hear())[2] is True

        async def subscribe() -> None:
            for number in range(20):
                await other.say("REQ", str(number), {"kinds": [NOTE]})
                while (heard := await other.hear())[:2] != ["EOSE", str(number)]:
                    seen.setdefault(heard[1], []).append(heard[2]["id"])

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            tasks.create_task(subscribe())
        while sum(map(len, seen.values())) < 20 * 500:
            _, name, event = await other.hear()
            seen.setdefault(name, []).append(event["id"])
        await other.nothing_more()
        wanted = {event.id for event in events}
        for name in map(str, range(20)):
            assert len(seen[name]) == 500
            assert set(seen[name]) == wanted


async def test_a_bad_request_is_closed_by_name_and_reason(node: Node) -> None:
    async with a_peer(node.url) as peer:
        await peer.say("REQ", "a", {"kinds": ["x"]})
        verb, name, text = await peer.hear()
        assert (verb, name) == ("CLOSED", "a")
        assert text.startswith("invalid: filter[0].kinds: ")
        assert len(node.watch) == 0


async def test_one_subscription_too_many_is_closed_as_rate_limited(
    tmp_path: Path, operator: SecretKey
) -> None:
    limits = session.Limits(subscriptions_max=2)
    async with (
        running_node(tmp_path, operator, session_limits=limits) as node,
        a_peer(node.url) as peer,
    ):
        for name in ("a", "b"):
            await peer.ask(name=name)
        await peer.say("REQ", "c", {})
        verb, name, text = await peer.hear()
        assert (verb, name) == ("CLOSED", "c")
        assert text.startswith("rate-limited: ")
        async with a_peer(node.url) as other:
            await other.keep(other.note())
        heard = [await peer.hear(), await peer.hear()]
        assert {name for _, name, _ in heard} == {"a", "b"}


# --- who may read what --------------------------------------------------------------------------


async def test_a_private_message_reaches_only_its_proven_recipient(node: Node) -> None:
    async with a_peer(node.url) as sender, a_peer(node.url) as to, a_peer(node.url) as spy:
        wanted = {"kinds": [kinds.RPC], "#p": [to.secret.public]}
        await to.say("REQ", "inbox", wanted)
        verb, _, text = await to.hear()
        assert verb == "CLOSED"
        assert text.startswith("auth-required: ")
        assert await to.prove() == (True, "")
        assert await spy.prove() == (True, "")
        await to.ask(wanted, name="inbox")
        await spy.ask(wanted, name="inbox")
        await spy.ask({}, name="all")
        event = await sender.keep(sender.note("{}", kind=kinds.RPC, tags=[["p", to.secret.public]]))
        assert (await to.hear())[2]["id"] == event.id
        await spy.nothing_more()
        assert await node.log.total() == 0


async def test_a_private_message_to_nobody_here_is_not_accepted(node: Node) -> None:
    async with a_peer(node.url) as sender, a_peer(node.url) as to:
        await to.ask({"#p": [to.secret.public]}, name="not proved")
        event = sender.note("{}", kind=kinds.RPC, tags=[["p", to.secret.public]])
        accepted, text = await sender.publish(event)
        assert not accepted
        assert text.startswith("mute: ")
        await to.nothing_more()


async def test_a_stored_private_event_is_answered_only_to_its_proven_recipient(node: Node) -> None:
    async with a_peer(node.url) as sender, a_peer(node.url) as to, a_peer(node.url) as spy:
        tags = [["p", to.secret.public]]
        event = await sender.keep(sender.note(SEALED, kind=kinds.GIFT_WRAP, tags=tags))
        await spy.prove()
        for asked in ({"ids": [event.id]}, {"#p": [to.secret.public]}, {}):
            assert await spy.ask(asked) == []
            assert await to.ask(asked) == []
        await to.prove()
        assert await to.ask({"kinds": [kinds.GIFT_WRAP]}) == [event.id]


@pytest.mark.parametrize("wrong", ["challenge", "url", "time"])
async def test_a_proof_for_something_else_is_refused(node: Node, wrong: str) -> None:
    async with a_peer(node.url) as peer:
        if wrong == "challenge":
            peer.challenge = peer.challenge[::-1] + "x"
        if wrong == "url":
            peer.url = "wss://evil.example"
        created_at = now() - 3600 if wrong == "time" else now()
        accepted, text = await peer.prove(created_at=created_at)
        assert not accepted
        assert text.startswith("invalid: event.")
        assert len(node.presence) == 0


async def test_a_key_proved_twice_is_absent_once_its_connection_ends(node: Node) -> None:
    secret = new_secret()
    async with a_peer(node.url, secret) as peer:
        await peer.prove()
        await peer.prove(created_at=now() - 1)
        assert node.presence.is_present(secret.public)
    await eventually(lambda: not node.presence.is_present(secret.public))


# --- frames -----------------------------------------------------------------------------------


SENSELESS = [
    "",
    "rubbish",
    "{}",
    "[]",
    "[1]",
    '["NOPE"]',
    '["EVENT"]',
    '["EVENT",1]',
    '["EVENT",{}]',
    '["EVENT",{"id":"x"}]',
    '["AUTH",{}]',
    '["CLOSE",{}]',
    '["REQ"]',
    "[" * 100_000,
    '["EVENT",' + "[" * 100_000,
    '["EVENT",' + "[" * 2000 + "]" * 2000 + "]",
    '["REQ","a' + "\\ud800" + '",{}]',
]


async def test_a_message_that_makes_no_sense_is_noticed_and_the_relay_goes_on(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        for text in SENSELESS:
            await peer.socket.send(text)
            verb, reason = await peer.hear()
            assert (verb, reason.split(":")[0]) == ("NOTICE", "invalid"), text[:50]
            for one in (peer, other):
                await one.keep(one.note(text[:50]))


async def test_text_that_is_no_utf_8_does_no_harm(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        await peer.socket.send(b'["CLOSE","\xff"]', text=True)
        assert (await peer.hear())[0] == "NOTICE"
        await other.keep(other.note())


async def test_a_binary_frame_ends_the_connection_and_no_other(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        await peer.socket.send(b"\x00")
        assert await peer.close_code() == 1008
        await other.keep(other.note())


async def test_a_client_that_sends_only_rubbish_is_sent_away(node: Node) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        for _ in range(node.config.session_limits.refusals_max + 100):
            await peer.socket.send("rubbish")
        assert await peer.close_code() == 1008
        await other.keep(other.note())


@pytest.mark.parametrize("whole", [True, False])
async def test_a_message_over_the_bound_closes_as_too_big(node: Node, whole: bool) -> None:
    size = node.config.socket_limits.message_bytes_max
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        parts = ["x" * (size + 1)] if whole else ["x" * (size // 2)] * 3
        await peer.socket.send(parts[0] if whole else parts)
        assert await peer.close_code() == 1009
        await other.keep(other.note())


async def test_a_message_in_fragments_is_one_message(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note("é🦀" * 100)
        text = message.publish(event).decode()
        await peer.socket.send([text[at : at + 97] for at in range(0, len(text), 97)])
        assert await peer.hear() == ["OK", event.id, True, ""]
        await peer.keep(peer.note("whole again"))


async def test_a_ping_is_answered(node: Node) -> None:
    async with a_peer(node.url) as peer, asyncio.timeout(WAIT_S):
        await (await peer.socket.ping(b"here?"))


async def test_an_aborted_connection_leaves_nothing_behind(node: Node) -> None:
    secret = new_secret()
    async with connect(node.url) as socket:
        peer = Peer(socket, node.url, secret)
        _, peer.challenge = await peer.hear()
        await peer.prove()
        await peer.ask({"kinds": [NOTE]}, name="a")
        await peer.ask({}, name="b")
        assert (len(node.relay.connections), len(node.watch), len(node.presence)) == (1, 2, 1)
        socket.transport.abort()
        await eventually(lambda: not node.relay.connections)
    assert (len(node.watch), len(node.presence)) == (0, 0)
    async with a_peer(node.url) as other:
        await other.keep(other.note())


async def test_an_event_sent_before_leaving_is_kept(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = peer.note()
        await peer.socket.send(message.publish(event).decode())

    async def is_kept() -> bool:
        return await node.log.event(event.id) is not None

    await eventually(is_kept)


async def test_a_stopping_node_says_that_it_goes_away(tmp_path: Path, operator: SecretKey) -> None:
    async with running_node(tmp_path, operator) as node:
        socket = await connect(node.url)
    assert await Peer(socket, node.url, operator).close_code() == 1001


async def test_only_the_root_path_is_a_relay(node: Node) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed, EOFError)):
        async with connect(f"{node.url}/elsewhere"):
            pass
    async with a_peer(f"{node.url}/?query") as peer:
        await peer.keep(peer.note())


# --- NIP-11 -----------------------------------------------------------------------------------


async def test_the_relay_describes_itself_to_whoever_asks_for_it(node: Node) -> None:
    headers = {"Accept": "application/nostr+json"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(node.http_url, headers=headers) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("application/nostr+json")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        found = json.loads(await response.text())
    assert found["pubkey"] == node.operator
    assert found["self"] == node.pubkey
    assert found["supported_nips"] == list(SUPPORTED)
    limits = found["limitation"]
    assert limits["max_subscriptions"] == node.config.session_limits.subscriptions_max
    assert limits["max_message_length"] == node.config.socket_limits.message_bytes_max
    assert limits["max_limit"] == node.config.query_limit_max


async def test_the_description_s_media_type_may_be_written_in_any_case(node: Node) -> None:
    headers = {"Accept": "APPLICATION/NOSTR+JSON"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(node.http_url, headers=headers) as response,
    ):
        assert json.loads(await response.text())["self"] == node.pubkey


async def test_who_only_asks_whether_a_page_is_there_gets_its_head(node: Node) -> None:
    for path in ("/", "/health", "/ready"):
        async with (
            aiohttp.ClientSession() as http,
            http.get(node.http_url + path) as whole,
            http.head(node.http_url + path) as head,
        ):
            assert (whole.status, head.status) == (200, 200)
            assert head.headers["Content-Type"] == whole.headers["Content-Type"]
            assert await head.read() == b"" != await whole.read()


async def test_browsers_may_ask_for_the_description_from_anywhere(node: Node) -> None:
    headers = {"Origin": "https://any.example", "Access-Control-Request-Method": "GET"}
    async with (
        aiohttp.ClientSession() as http,
        http.options(node.http_url, headers=headers) as response,
    ):
        assert response.status in (200, 204)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Headers" in response.headers
        assert "Access-Control-Allow-Methods" in response.headers
