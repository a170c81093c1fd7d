"""A search of offers over the relay is answered in the registry's order (NIP-50)."""

import asyncio
import time
from typing import Any

import aiohttp
import orjson
from tests.fakes.offers import offer
from tests.relay_peer import Peer, a_peer

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.registry.search import Search

WORDS = "send an sms"
ASKED: dict[str, Any] = {"kinds": [kinds.OFFER], "search": f"{WORDS} language:en"}


async def published(node: Node, peer: Peer, name: str, text: str, **more: Any) -> Event:
    """An offer of a provider of its own, found from now on."""
    secret = more.pop("secret", None) or new_secret()
    value = offer(name, text, topics=("phones", name), **more)
    event = sign_event(
        secret,
        kind=kinds.OFFER,
        created_at=int(time.time()),
        tags=offer_tags(value, url=node.url, node=node.pubkey),
        content=offer_content(value),
    )
    return await peer.keep(event)


async def some(node: Node, peer: Peer) -> dict[str, Event]:
    """Offers that fit differently, none with all the words but one; the best is the oldest."""
    found = {
        "sms": await published(node, peer, "sms", "Send an SMS to a phone"),
        "dear": await published(node, peer, "dear", "Send an SMS to a phone", price=90_000),
        "fax": await published(node, peer, "fax", "Send a fax"),
        "rain": await published(node, peer, "rain", "How much it rains tomorrow"),
    }
    async with asyncio.timeout(10):  # a search waits for them, but not long where much goes on
        while len(node.registry.finder.index) < len(found):
            await asyncio.sleep(0.005)
    return found


async def ranked(node: Node, words: str = WORDS) -> list[str]:
    """What the registry says."""
    return [hit.offer.event_id for hit in (await node.registry.find(Search(words=words))).hits]


async def test_the_sockets_order_is_the_registrys(node: Node) -> None:
    async with a_peer(node.url) as peer:
        kept = await some(node, peer)
        order = await ranked(node)
        assert order[:3] == [kept[name].id for name in ("sms", "dear", "fax")]
        assert await peer.ask(ASKED) == order
        assert await peer.ask({**ASKED, "limit": 2}) == order[:2]
        assert await peer.ask({**ASKED, "limit": 0}) == []
        await peer.say("REQ", "none", {**ASKED, "limit": 0})
        assert await peer.hear() == ["EOSE", "none", ["more"]]


async def test_http_answers_in_the_same_order(node: Node) -> None:
    async with a_peer(node.url) as peer:
        await some(node, peer)
    url = f"{node.http_url}/query"
    async with aiohttp.ClientSession() as session, session.post(url, json=ASKED) as found:
        assert [row["id"] for row in orjson.loads(await found.read())] == await ranked(node)


async def test_the_other_conditions_of_a_ranked_search_hold(node: Node) -> None:
    async with a_peer(node.url) as peer:
        kept = await some(node, peer)
        fax, dear = kept["fax"], kept["dear"]
        assert await peer.ask({**ASKED, "authors": [fax.pubkey]}) == [fax.id]
        both = {**ASKED, "authors": [fax.pubkey, dear.pubkey]}
        assert await peer.ask(both) == [dear.id, fax.id]
        assert await peer.ask({**ASKED, "#t": ["dear"]}) == [dear.id]
        assert await peer.ask({**ASKED, "#t": ["Dear"]}) == []
        assert await peer.ask({**ASKED, "#t": ["dear", "fax"]}) == [dear.id, fax.id]
        assert await peer.ask({**ASKED, "#d": ["fax"]}) == [fax.id]
        assert await peer.ask({**ASKED, "until": 1}) == []
        assert await peer.ask({**ASKED, "since": fax.created_at + 3600}) == []


async def test_a_deleted_offer_leaves_the_ranked_answer(node: Node) -> None:
    secret = new_secret()
    async with a_peer(node.url) as peer:
        event = await published(node, peer, "sms", "Send an SMS", secret=secret)
        assert await peer.ask(ASKED) == [event.id]
        await peer.keep(_deletion(secret, event))
        assert await peer.ask(ASKED) == []


def _deletion(secret: SecretKey, event: Event) -> Event:
    return sign_event(
        secret,
        kind=kinds.DELETION,
        created_at=event.created_at,
        tags=(("e", event.id), ("k", str(kinds.OFFER))),
        content="",
    )


async def test_a_new_offer_with_all_the_words_comes_live_after_the_ranked_ones(
    node: Node,
) -> None:
    async with a_peer(node.url) as peer, a_peer(node.url) as other:
        old = await published(node, peer, "sms", "Send an SMS")
        await peer.say("REQ", "live", ASKED)
        assert (await peer.hear())[2]["id"] == old.id
        assert (await peer.hear())[0] == "EOSE"
        new = await published(node, other, "more", "Send an SMS")
        assert (await peer.hear())[2]["id"] == new.id


async def test_what_is_not_one_search_of_offers_is_answered_by_the_log(node: Node) -> None:
    async with a_peer(node.url) as peer:
        await some(node, peer)
        newest = await peer.ask({"kinds": [kinds.OFFER]})
        assert await peer.ask({"kinds": [kinds.OFFER], "search": "language:en"}) == newest
        assert await peer.ask({**ASKED, "kinds": [kinds.OFFER, 1], "search": "tomorrow fax"}) == []


async def test_constraints_among_the_words_hold_as_at_every_other_door(node: Node) -> None:
    async with a_peer(node.url) as peer:
        kept = await some(node, peer)
        order = await ranked(node)

        async def found(text: str) -> list[str]:
            return await peer.ask({"kinds": [kinds.OFFER], "search": text})

        cheap = [one for one in order if one != kept["dear"].id]
        assert await found(f"{WORDS} max_price:10sat") == cheap
        assert await found("max_price:10sat topics:fax") == [kept["fax"].id]
        assert await found(f"{WORDS} topics:phones,dear") == [kept["dear"].id]
        assert await found(f"capability:rain provider:{kept['rain'].pubkey}") == [kept["rain"].id]
        assert await found(f"{WORDS} level:4") == []
        await peer.say("REQ", "bad", {"kinds": [kinds.OFFER], "search": "sms level:9"})
        assert (await peer.hear())[2].startswith("invalid: search.level: must be 0 to 4")
