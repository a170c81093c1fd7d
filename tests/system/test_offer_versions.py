"""Versions of an offer over real sockets: what callers accept, and what a node refuses to keep."""

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.conftest import People
from tests.fakes.foreign_relay import foreign_relay

from hanse.agent import Agent
from hanse.errors import HanseError, Invalid
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.peer import Direction
from hanse.registry.lint import read_document
from hanse.registry.model import Capability, Metered, Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags


class Letters:
    """Answers any call."""

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `agent.provider.Runner`."""
        return {"content": [{"type": "text", "text": name}]}


async def publish(agent: Agent, version: str, *needs: str, **more: Any) -> Event:
    """Publish an offer whose one capability needs these properties."""
    schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": list(needs)}
    fields: dict[str, Any] = {"name": "send", "input_schema": schema, "price": Amount(1000)}
    return await agent.publish(
        identifier="post",
        name="Post",
        summary="Sends letters",
        capabilities=(Capability(**(fields | more)),),
        promise=Promise(),
        runner=Letters(),
        version=version,
    )


async def call(agent: Agent, offer: Event, **terms: Any) -> str:
    """How a call of it ended."""
    address = f"{kinds.OFFER}:{offer.pubkey}:post"
    return (await agent.call(address, {"to": "Ada"}, capability="send", **terms)).status


async def test_a_call_goes_through_if_the_caller_accepts_the_version(
    node: Node, people: People
) -> None:
    provider, caller = await people.connected(), await people.connected()
    await node.payments.grant("versions", caller.pubkey, Amount(10_000), "test")
    offer = await publish(provider, "1.4.0")
    for accepted in ("^1", "~1.4", ">=1.2 <2", "1.x", "2 || 1.4.0"):
        assert await call(caller, offer, version=accepted) == "settled"
    before = await node.payments.books()
    for refused in ("^2", "1.3.x", "<1"):
        with pytest.raises(Invalid, match=r"version: the offer is at 1\.4\.0, which is not in"):
            await call(caller, offer, version=refused)
    with pytest.raises(Invalid, match="version: 'soon' is not a range"):
        await call(caller, offer, version="soon")
    assert await node.payments.books() == before


async def test_one_key_means_one_range_of_versions(node: Node, people: People) -> None:
    provider, caller = await people.connected(), await people.connected()
    await node.payments.grant("versions", caller.pubkey, Amount(10_000), "test")
    offer = await publish(provider, "1.4.0")
    assert await call(caller, offer, version="^1", key="one") == "settled"
    assert await call(caller, offer, version="^1", key="one") == "settled"
    with pytest.raises(HanseError, match="key"):
        await call(caller, offer, version="1.x", key="one")


async def test_what_is_not_sold_by_the_call_is_found_but_not_called(
    node: Node, people: People
) -> None:
    provider, caller = await people.connected(), await people.connected()
    await node.payments.grant("metered", caller.pubkey, Amount(10_000), "test")
    metered = (Metered(unit="token", per=1000, price=Amount(1000)),)
    offer = await publish(provider, "1.0.0", price=Amount(0), by_call=False, metered=metered)
    before = await node.payments.books()
    with pytest.raises(Invalid) as caught:
        await call(caller, offer)
    assert caught.value.text == (
        "capability: 'send' has no price per call "
        "(metered and periodic prices cannot be settled here yet)"
    )
    assert await node.payments.books() == before


async def test_a_provider_that_breaks_its_callers_is_told_where_and_what_to_do(
    people: People,
) -> None:
    provider = await people.connected()
    await publish(provider, "1.0.0")
    with pytest.raises(Invalid) as caught:
        await publish(provider, "1.0.0", "to")
    assert caught.value.text == (
        "capabilities.send.schema.properties.to: was not required before; raise the major version "
        "(the published one is 1.0.0, this is 1.0.0)"
    )
    await publish(provider, "2.0.0", "to")


async def test_of_many_at_once_by_every_door_none_gets_a_break_past(
    node: Node, people: People
) -> None:
    secret = new_secret()

    def event(second: int, version: str, *needs: str) -> bytes:
        schema = {"type": "object", "properties": {"to": {}}, "required": list(needs)}
        offer = Offer(
            provider=secret.public,
            operator=secret.public,
            identifier="post",
            name="Post",
            summary="",
            capabilities=(Capability(name="send", input_schema=schema, price=Amount(1)),),
            promise=Promise(),
            version=version,
        )
        tags = offer_tags(offer, url=node.url, node=node.pubkey)
        signed = sign_event(
            secret,
            kind=kinds.OFFER,
            created_at=1_700_000_000 + second,
            content=offer_content(offer),
            tags=tags,
        )
        return encode_event(signed)

    async with aiohttp.ClientSession() as session:

        async def post(body: bytes) -> tuple[int, str]:
            async with session.post(f"{node.http_url}/events", data=body) as answer:
                return answer.status, (await answer.json())["message"]

        assert (await post(event(0, "1.0.0")))[0] == 200
        told = await asyncio.gather(*(post(event(n, f"1.{n}.0", "to")) for n in range(1, 12)))
        assert {status for status, _ in told} == {400}
        assert {text.split("; ")[0] for _, text in told} == {
            "invalid: capabilities.send.schema.properties.to: was not required before"
        }
        assert (await post(event(20, "2.0.0", "to")))[0] == 200


async def test_nobody_publishes_in_another_ones_name(node: Node, people: People) -> None:
    provider = await people.connected()
    offer = await publish(provider, "1.0.0")
    forger = new_secret()
    own = sign_event(
        forger,
        kind=offer.kind,
        created_at=offer.created_at + 1,
        content=offer.content,
        tags=offer.tags,
    )
    forged = msgspec.structs.replace(own, pubkey=offer.pubkey)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{node.http_url}/events", data=encode_event(forged)) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["message"].startswith("invalid:")
    kept = await node.registry.offer(f"{kinds.OFFER}:{offer.pubkey}:post")
    assert kept.event_id == offer.id


async def test_a_withdrawn_offer_is_gone_and_may_begin_anew(people: People) -> None:
    provider = await people.connected()
    await publish(provider, "1.0.0")
    await provider.withdraw("post")
    with pytest.raises(HanseError, match="no offer has this address"):
        await provider.withdraw("post")


async def test_a_break_that_a_peer_took_does_not_come_in_with_a_sync(
    node: Node, people: People
) -> None:
    secret = new_secret()
    provider = await people.connected(secret=secret)
    offer = await publish(provider, "1.0.0")
    content = json.loads(offer.content)
    content["capabilities"][0]["schema"]["required"] = ["to"]
    theirs = sign_event(  # by the provider itself, at a relay that does not compare
        secret,
        kind=offer.kind,
        created_at=offer.created_at + 1,
        content=json.dumps(content),
        tags=offer.tags,
    )
    async with foreign_relay(events=[theirs]) as relay:
        found = await node.peers.sync(
            relay.url, Filter(kinds=frozenset({kinds.OFFER})), Direction("in"), lambda tally: None
        )
    assert (found.pulled, found.refused_here) == (0, {"invalid": 1})
    kept = await node.registry.offer(f"{kinds.OFFER}:{offer.pubkey}:post")
    assert kept.event_id == offer.id


async def test_a_function_is_offered_as_a_file_says(node: Node, people: People) -> None:
    provider, caller = await people.connected(), await people.connected("10sat")

    @provider.provide(price="1sat")
    def send(to: str) -> str:
        """Send a letter."""
        return f"sent to {to}"

    rows = [{"name": "send", "price": "3sat", "side_effects": "writes", "title": "Letters"}]
    whole = {"id": "post", "name": "Post", "version": "1.2.0", "capabilities": rows}
    offer = await provider.serve(document=read_document(json.dumps(whole).encode()))
    kept = await node.registry.offer(f"{kinds.OFFER}:{offer.pubkey}:post")
    (found,) = kept.capabilities
    assert (kept.version, found.description, found.side_effects) == (
        "1.2.0",
        "Send a letter.",
        "writes",
    )
    result = await caller.call(kept.address, {"to": "Ada"}, capability="send")
    assert (result.value, result.charged) == ("sent to Ada", Amount(3000))
    rows[0]["name"] = "sent"
    with pytest.raises(Invalid, match="'sent' is not served here"):
        await provider.serve(document=read_document(json.dumps(whole).encode()))
