"""nostr-sdk (rust-nostr) against our relay, one NIP after another: 05, 09, 11, 13, 17 with 44 and
59, 40, 45, 50, 62, 65, 70 and 98. 01 and 42 are in test_nostr_sdk.py, 77 in test_sync_nostr_sdk.py.

Its Python bindings have no words for the registers of 45, for 66, for 67 and for 86.
"""

import base64
import hashlib
from pathlib import Path

import aiohttp
import nostr_sdk
import pytest
from tests.conftest import running_node
from tests.interop.test_nostr_sdk import SOON, a_client, fetch, keys_of, read, their_event
from tests.relay_peer import a_peer, now
from tests.system.test_ranked_reads import published

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.info import SUPPORTED
from hanse.servers.relay.rules import Rules, Work

pytestmark = pytest.mark.heavy  # a foreign peer

DELETION, MESSAGE_LIST, RELAY_LIST, VANISH = 5, 10050, 10002, 62


async def outcome(client: nostr_sdk.Client, event: nostr_sdk.Event) -> str:
    """What the relay made of their event: nothing if it took it."""
    output = await client.send_event(event)
    reasons = list(output.failed.values())
    return str(reasons[0]) if reasons else ""


# --- 05, 11, 98: HTTP ---------------------------------------------------------------------------


async def get(url: str, **headers: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_they_read_our_document(node: Node) -> None:
    text = await get(node.http_url, Accept="application/nostr+json")
    found = nostr_sdk.RelayInformationDocument.from_json(text)
    assert found.supported_nips() == list(SUPPORTED)
    assert found.self_pubkey() == node.pubkey
    assert found.pubkey().to_hex() == node.operator
    assert found.limitation().max_limit == node.config.query_limit_max


async def test_they_verify_the_operators_name(node: Node) -> None:
    text = await get(f"{node.http_url}/.well-known/nostr.json?name=_")
    address = nostr_sdk.Nip05Address.parse("_@relay.example")
    operator = nostr_sdk.PublicKey.parse(node.operator)
    assert nostr_sdk.nip05_verify_from_json(operator, address, text)
    other = nostr_sdk.Keys.generate().public_key()
    assert not nostr_sdk.nip05_verify_from_json(other, address, text)


async def test_their_signature_publishes_by_http(node: Node) -> None:
    secret, url = new_secret(), f"{node.http_url}/events"
    body = their_event(secret, "by HTTP", tags=[["-"]]).as_json().encode()
    tags = [["u", url], ["method", "POST"], ["payload", hashlib.sha256(body).hexdigest()]]
    proof = their_event(secret, "", kinds.HTTP_AUTH, tags).as_json().encode()
    headers = {"Authorization": f"Nostr {base64.b64encode(proof).decode()}"}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, data=body) as answer:
            assert answer.status == 401
        async with http.post(url, data=body, headers=headers) as answer:
            assert (answer.status, (await answer.json())["accepted"]) == (200, True)
        async with http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 401  # a proof is for one use


# --- 09, 40, 62: what goes ----------------------------------------------------------------------


async def test_what_they_delete_stays_gone(node: Node) -> None:
    secret = new_secret()
    async with a_client(node) as client:
        note = their_event(secret, "wrong")
        assert await outcome(client, note) == ""
        gone = their_event(secret, "", DELETION, [["e", note.id().to_hex()]])
        assert await outcome(client, gone) == ""
        assert "deleted" in await outcome(client, note)
        author = nostr_sdk.Filter().author(keys_of(secret).public_key())
        assert await fetch(client, author) == [read(gone)]


async def test_their_expired_events_are_refused(node: Node) -> None:
    async with a_client(node) as client:
        past = their_event(new_secret(), "", tags=[["expiration", str(now() - 1)]])
        assert past.is_expired()
        assert "expiration" in await outcome(client, past)
        later = their_event(new_secret(), "", tags=[["expiration", str(now() + 600)]])
        assert await outcome(client, later) == ""


async def test_who_asks_to_vanish_is_forgotten(node: Node) -> None:
    secret = new_secret()
    async with a_client(node) as client:
        note = their_event(secret, "forget me")
        assert await outcome(client, note) == ""
        request = their_event(secret, "", VANISH, [["relay", node.url]])
        assert await outcome(client, request) == ""
        assert await fetch(client, nostr_sdk.Filter().id(note.id())) == []
        assert await outcome(client, note) != ""


# --- 13 -----------------------------------------------------------------------------------------


async def test_they_mine_what_is_asked_for(tmp_path: Path, operator: SecretKey) -> None:
    rules = Rules(work=Work(bits=10))
    async with running_node(tmp_path, operator, rules=rules) as node, a_client(node) as client:
        keys = keys_of(new_secret())
        builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(1), "worked")
        assert "pow: " in await outcome(client, builder.finalize(keys))
        unsigned = builder.finalize_unsigned(keys.public_key())
        mined = nostr_sdk.SingleThreadPow().compute(unsigned, 10)
        assert await outcome(client, mined.sign(keys)) == ""


# --- 17, 44, 59: private messages -----------------------------------------------------------------


async def test_their_message_reaches_its_recipient_alone(node: Node) -> None:
    sender, to = new_secret(), new_secret()
    wrap = nostr_sdk.nip17_make_private_msg(keys_of(sender), keys_of(to).public_key(), "schön 🦀")
    asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(kinds.GIFT_WRAP))
    async with a_client(node) as client:
        assert await outcome(client, wrap) == ""
    async with a_client(node, sender) as client:
        assert await fetch(client, asked) == []
    async with a_client(node, to) as client:
        assert await fetch(client, asked) == [read(wrap)]
        [found] = await client.fetch_events(nostr_sdk.ReqTarget.auto([asked]), SOON)
    gift = nostr_sdk.UnwrappedGift.from_gift_wrap(keys_of(to), found)
    assert gift.rumor().content() == "schön 🦀"
    assert gift.sender().to_hex() == sender.public


# --- 45, 50: counting and searching -------------------------------------------------------------


async def test_they_count(node: Node) -> None:
    async with a_peer(node.url) as peer:
        for number in range(7):
            await peer.keep(peer.note(str(number), tags=[["t", "counted"]]))
    async with a_client(node) as client:
        relay = await client.relay(nostr_sdk.RelayUrl.parse(node.url))
        asked = nostr_sdk.Filter().hashtag("counted").limit(3)
        assert await relay.count_events(asked, SOON) == 7


async def test_they_search(node: Node) -> None:
    async with a_peer(node.url) as peer:
        wanted = await peer.keep(peer.note("A lighthouse above the harbour"))
        await peer.keep(peer.note("A harbour"))
    async with a_client(node) as client:
        asked = nostr_sdk.Filter().search("harbour lighthouse language:en")
        assert await fetch(client, asked) == [wanted]


async def test_their_search_of_offers_finds_what_the_registry_finds(node: Node) -> None:
    async with a_peer(node.url) as peer:
        kept = [
            await published(node, peer, "sms", "Send an SMS to a phone"),
            await published(node, peer, "fax", "Send a fax"),
        ]
        await published(node, peer, "rain", "How much it rains tomorrow")
    async with a_client(node) as client:
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(kinds.OFFER)).search("send an sms")
        found = await fetch(client, asked)
        assert {event.id for event in found} >= {event.id for event in kept}
        best = await fetch(client, asked.limit(1))
        assert [event.id for event in best] == [kept[0].id]


# --- 65, 17: lists of relays ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "tags"),
    [
        (RELAY_LIST, [["r", "wss://a.example", "read"], ["r", "wss://b.example"]]),
        (MESSAGE_LIST, [["relay", "wss://a.example"], ["relay", "wss://b.example"]]),
    ],
)
async def test_their_lists_of_relays_come_back_whole(
    node: Node, kind: int, tags: list[list[str]]
) -> None:
    secret = new_secret()
    async with a_client(node) as client:
        assert await outcome(client, their_event(secret, "", kind, tags)) == ""
        asked = nostr_sdk.Filter().author(keys_of(secret).public_key())
        [found] = await client.fetch_events(nostr_sdk.ReqTarget.auto([asked]), SOON)
    read_list = (
        nostr_sdk.extract_relay_list if kind == RELAY_LIST else nostr_sdk.nip17_extract_relay_list
    )
    assert len(read_list(found)) == 2


# --- 70 -----------------------------------------------------------------------------------------


async def test_their_protected_event_is_taken_once_they_authenticated(node: Node) -> None:
    secret = new_secret()
    event = their_event(secret, "mine", tags=[["-"]])
    assert event.is_protected()
    async with a_client(node, new_secret()) as client:
        assert "restricted" in await outcome(client, event)
    async with a_client(node, secret) as client:
        assert await outcome(client, event) == ""
