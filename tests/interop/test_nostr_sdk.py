"""nostr-sdk (rust-nostr) as a foreign client of our relay: it publishes, subscribes, fetches and
authenticates; its events hold here and ours hold there."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import nostr_sdk
import pytest
from nostr_sdk import nostr_sdk as bindings
from tests.relay_peer import SEALED, WAIT_S, a_peer, eventually, now

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event, encode_event, parse_event, sign_event
from hanse.protocol.keys import SecretKey

SOON = timedelta(seconds=5)
TEXTS = ["", "hi", 'é"\\\n\r\t\b\f\x00\x1f\x7f\u2028 🦀', "</script>", "x" * 10_000]


def keys_of(secret: SecretKey) -> nostr_sdk.Keys:
    return nostr_sdk.Keys(nostr_sdk.SecretKey.parse(secret.reveal().hex()))


def their_event(
    secret: SecretKey, content: str, kind: int = 1, tags: list[list[str]] | None = None
) -> nostr_sdk.Event:
    builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(kind), content)
    return builder.tags([nostr_sdk.Tag.parse(tag) for tag in tags or []]).finalize(keys_of(secret))


def read(event: nostr_sdk.Event) -> Event:
    return parse_event(event.as_json())


@asynccontextmanager
async def a_client(node: Node, secret: SecretKey | None = None) -> AsyncIterator[nostr_sdk.Client]:
    """Connected to our relay; it answers NIP-42's challenge if it has a key."""
    builder = nostr_sdk.ClientBuilder()
    if secret is not None:
        builder = builder.authenticator(nostr_sdk.SignerAuthenticator(keys_of(secret)))
    # Its threads call our signer; without this they look for a loop of their own and find none.
    bindings.uniffi_set_event_loop(asyncio.get_running_loop())
    client = builder.build()
    await client.add_relay(nostr_sdk.RelayUrl.parse(node.url))
    await client.connect(SOON)
    try:
        yield client
    finally:
        await client.shutdown()
        await eventually(lambda: not node.relay.connections)
        bindings.uniffi_set_event_loop(None)


async def fetch(client: nostr_sdk.Client, asked: nostr_sdk.Filter) -> list[Event]:
    found = await client.fetch_events(nostr_sdk.ReqTarget.auto([asked]), SOON)
    return [read(event) for event in found]


# --- events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", TEXTS, ids=range(len(TEXTS)))
def test_their_event_holds_here_and_ours_there(content: str) -> None:
    secret = new_secret()
    tags = [["t", content], ["e", "00" * 32, "wss://relay.example", "root"], ["-"]]
    theirs = read(their_event(secret, content, tags=tags))
    check_event(theirs)
    assert (theirs.content, [list(tag) for tag in theirs.tags]) == (content, tags)
    ours = sign_event(secret, kind=1, created_at=now(), content=content, tags=tags)
    found = nostr_sdk.Event.from_json(encode_event(ours).decode())
    assert found.verify()
    assert found.id().to_hex() == ours.id
    assert read(found) == ours


def test_both_give_one_event_the_same_id() -> None:
    theirs = their_event(new_secret(), "same", tags=[["t", "é"]])
    parsed = read(theirs)
    assert check_event(parsed).hex() == theirs.id().to_hex()


def test_an_event_that_was_changed_holds_on_neither_side() -> None:
    changed = msgspec.structs.replace(
        sign_event(new_secret(), kind=1, created_at=1, content="a"), content="b"
    )
    assert not nostr_sdk.Event.from_json(encode_event(changed).decode()).verify()


# --- the relay --------------------------------------------------------------------------------


async def test_it_publishes_and_fetches_what_it_published(node: Node) -> None:
    secret = new_secret()
    async with a_client(node) as client:
        event = their_event(secret, TEXTS[2], tags=[["t", "fish"]])
        output = await client.send_event(event)
        assert output.id.to_hex() == event.id().to_hex()
        assert (len(output.success), output.failed) == (1, {})
        kept = await node.log.event(event.id().to_hex())
        assert kept == read(event)
        for asked in (
            nostr_sdk.Filter().hashtag("fish"),
            nostr_sdk.Filter().id(event.id()),
            nostr_sdk.Filter().author(keys_of(secret).public_key()).kind(nostr_sdk.Kind(1)),
        ):
            assert await fetch(client, asked) == [kept]
        assert await fetch(client, nostr_sdk.Filter().hashtag("bird")) == []


async def test_it_hears_why_an_event_was_refused(node: Node) -> None:
    async with a_client(node) as client:
        event = their_event(new_secret(), "kept from others", tags=[["-"]])
        output = await client.send_event(event)
        assert output.success == []
        [reason] = output.failed.values()
        assert "auth-required" in reason


async def test_it_reads_an_event_that_we_published(node: Node) -> None:
    async with a_peer(node.url) as peer:
        event = await peer.keep(peer.note(TEXTS[2], tags=[["t", "fish"]]))
    async with a_client(node) as client:
        [found] = await client.fetch_events(
            nostr_sdk.ReqTarget.auto([nostr_sdk.Filter().hashtag("fish")]), SOON
        )
        assert found.verify()
        assert read(found) == event


async def test_it_subscribes_and_hears_what_comes_later(node: Node) -> None:
    async with a_client(node) as client, a_peer(node.url) as peer:
        stream = client.notifications()
        asked = nostr_sdk.Filter().author(nostr_sdk.PublicKey.parse(peer.secret.public))
        await client.subscribe(nostr_sdk.ReqTarget.auto([asked]))
        await eventually(lambda: len(node.watch) == 1)
        event = await peer.keep(peer.note("later"))
        async with asyncio.timeout(WAIT_S):
            while not isinstance(
                heard := await stream.next(), nostr_sdk.ClientNotification.NEW_EVENT
            ):
                assert heard is not None
        assert read(heard.event) == event


# --- NIP-42 -----------------------------------------------------------------------------------


async def test_it_authenticates_and_gets_its_own_gift_wrap(node: Node) -> None:
    secret = new_secret()
    async with a_peer(node.url) as peer:
        event = await peer.keep(
            peer.note(SEALED, kind=kinds.GIFT_WRAP, tags=[["p", secret.public]])
        )
        await peer.keep(peer.note(SEALED, kind=kinds.GIFT_WRAP, tags=[["p", "00" * 32]]))
    async with a_client(node, secret) as client:
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(kinds.GIFT_WRAP))
        assert await fetch(client, asked) == [event]
        assert node.presence.is_present(secret.public)
    assert not node.presence.is_present(secret.public)


async def test_without_a_key_it_gets_no_gift_wrap(node: Node) -> None:
    secret = new_secret()
    async with a_peer(node.url) as peer:
        await peer.keep(peer.note(SEALED, kind=kinds.GIFT_WRAP, tags=[["p", secret.public]]))
    async with a_client(node) as client:
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(kinds.GIFT_WRAP))
        assert await fetch(client, asked) == []
        assert len(node.presence) == 0


async def test_two_of_it_exchange_a_private_message_that_is_never_stored(node: Node) -> None:
    sender, to = new_secret(), new_secret()
    async with a_client(node, to) as receiver:
        stream = receiver.notifications()
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(kinds.RPC)).pubkey(keys_of(to).public_key())
        await receiver.subscribe(nostr_sdk.ReqTarget.auto([asked]))
        await eventually(lambda: len(node.watch) == 1)
        content = json.dumps({"jsonrpc": "2.0", "method": "ping"})
        event = their_event(sender, content, kinds.RPC, [["p", to.public]])
        async with a_peer(node.url, sender) as peer:
            assert await peer.publish(read(event)) == (True, "")
        async with asyncio.timeout(WAIT_S):
            while not isinstance(
                heard := await stream.next(), nostr_sdk.ClientNotification.NEW_EVENT
            ):
                assert heard is not None
        assert read(heard.event) == read(event)
    assert (await node.log.total()) == 0


# --- counting, searching, comparing -------------------------------------------------------------


async def relay_of(client: nostr_sdk.Client, node: Node) -> nostr_sdk.Relay:
    found = await client.relay(nostr_sdk.RelayUrl.parse(node.url))
    assert found is not None
    return found


async def test_they_count_what_we_have(node: Node) -> None:
    async with a_client(node) as client, a_peer(node.url) as peer:
        for number in range(3):
            await peer.keep(peer.note(str(number), tags=[["t", "a"]]))
        await peer.keep(peer.note(kind=7))
        relay = await relay_of(client, node)
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(1)).hashtag("a")
        assert await relay.count_events(asked, SOON) == 3


async def test_they_search_by_words(node: Node) -> None:
    async with a_client(node) as client, a_peer(node.url) as peer:
        fits = await peer.keep(peer.note("The red fox"))
        await peer.keep(peer.note("The red dog"))
        assert await fetch(client, nostr_sdk.Filter().search("fox red")) == [fits]


async def test_they_find_what_each_side_lacks(node: Node) -> None:
    async with a_client(node) as client, a_peer(node.url) as peer:
        ours = [await peer.keep(peer.note(str(number))) for number in range(120)]
        theirs = [peer.note(f"theirs {number}") for number in range(5)]
        known = [*ours[:100], *theirs]
        items = [
            nostr_sdk.NegentropyItem(
                id=nostr_sdk.EventId.parse(event.id),
                timestamp=nostr_sdk.Timestamp.from_secs(event.created_at),
            )
            for event in known
        ]
        relay = await relay_of(client, node)
        opts = nostr_sdk.SyncOptions().direction(nostr_sdk.SyncDirection.BOTH).dry_run()
        asked = nostr_sdk.Filter().kind(nostr_sdk.Kind(1))
        found = await relay.sync(asked, items, opts)
        assert {id.to_hex() for id in found.remote} == {event.id for event in ours[100:]}
        assert {id.to_hex() for id in found.local} == {event.id for event in theirs}
