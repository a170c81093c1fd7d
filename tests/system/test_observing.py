"""What a node does by itself: probes, summaries that others believe, news of its registry."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import orjson
from tests.conftest import People, running_node
from tests.fakes.calls import CAPABILITY
from tests.fakes.raw_provider import Asked, Frame, RawProvider

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Example, Promise
from hanse.registry.offer_event import read_offer
from hanse.registry.search import Search
from hanse.registry.summary import read_summary

PROBED = msgspec.structs.replace(
    CAPABILITY,
    examples=(Example(input={"name": "Ada"}, output={"result": "Hello, Ada"}, probe=True),),
)


class Prober(RawProvider):
    """A provider whose offer allows a probe; it answers it with what a test says."""

    def __init__(self, node: Node, result: str) -> None:
        super().__init__(node, answer)
        self.offer = msgspec.structs.replace(self.offer, capabilities=(PROBED,))
        self.result_text = result
        self.probed = 0

    async def hear(self, event: Event) -> None:
        body = orjson.loads(event.content)
        meta = body["params"]["_meta"]
        if "hanse/probe" not in meta:
            return await super().hear(event)
        assert "hanse/call" not in meta
        self.probed += 1
        asked = Asked(event, body["id"], {})
        output = {"content": [], "structuredContent": {"result": self.result_text}}
        await self.send(self.frame(self.event(asked, {"result": output})))
        return None


def answer(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    """Honest work."""
    yield who.frame(who.honest(asked))


async def until_found(node: Node) -> None:
    """The registry follows the log: a moment passes."""
    async with asyncio.timeout(10):
        while not await hits(node):
            await asyncio.sleep(0.01)


async def hits(node: Node) -> list[tuple[str, ...]]:
    """The reasons of what is found."""
    found = await node.registry.find(Search(words="greet"))
    return [hit.reasons for hit in found.hits]


async def test_an_offer_that_allows_it_is_probed_for_nothing_and_not_too_often(node: Node) -> None:
    async with Prober(node, "Hello, Ada") as provider:
        await provider.serve()
        await node.offers.advance()
        await node.observing.round()
        await node.observing.round()
        assert provider.probed == 1
        quality = node.registry.quality(provider.offer.address, "greet")
        measured = quality.measured()
        assert (measured.samples, measured.availability) == (0, 1.0)
        assert await node.calls.counts() == {}
        assert not any("decoy" in reason for row in await hits(node) for reason in row)


async def test_one_that_answers_its_own_example_with_nonsense_is_named_a_decoy(node: Node) -> None:
    async with Prober(node, "lorem ipsum") as provider:
        await provider.serve()
        await node.offers.advance()
        await node.observing.round()
        await until_found(node)
        ((*_, reason),) = await hits(node)
    assert reason == "decoy: 1 of 1 probes came back unlike its own example"


class Greets:
    """A runner that greets."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(arguments["name"])
        return {"content": [], "structuredContent": {"result": f"Hello, {arguments['name']}"}}


async def test_an_sdk_provider_answers_the_example_it_allows_and_no_other(
    node: Node, people: People
) -> None:
    provider = await people.connected()
    greets = Greets()
    event = await provider.publish(
        identifier="greet",
        name="greet",
        summary="",
        capabilities=(PROBED,),
        promise=Promise(),
        runner=greets,
    )
    offer = read_offer(event)
    await node.observing.round()
    assert greets.asked == ["Ada"]
    measured = node.registry.quality(offer.address, "greet").measured()
    assert (measured.samples, measured.availability) == (0, 1.0)
    other = Example(input={"name": "Eve"}, probe=True)
    end = await node.observing.prober.probe(offer, offer.capabilities[0], other, "x")
    assert (end, greets.asked) == ("declined-input", ["Ada"])


async def test_what_a_trusted_node_measured_is_expected_here(
    node: Node, people: People, tmp_path: Path, operator: SecretKey
) -> None:
    async with RawProvider(node, answer) as provider:
        await provider.serve()
        await node.offers.advance()
        for _ in range(3):
            caller = await people.connected(credits="100sat")
            for _ in range(5):
                await caller.call(provider.offer.address, {"name": "Ada"}, capability="greet")
        await node.observing.count()  # it learns here that the callers have money of their own
        await node.observing.round()
        summary = await stored_summary(node)
        check_event(summary)
        (row,) = read_summary(summary).rows
        assert (row.name, row.calls, row.voices, row.success_rate) == ("greet", 15, 3, 1.0)
        await node.observing.round()
        assert await stored_summary(node) == summary  # not said again: nothing changed
    for owner, believed in ((operator, True), (new_secret(), False)):
        async with running_node(tmp_path / owner.public, owner) as other:
            mine = SecretKey.from_hex(node._secret.reveal().hex())
            assert read_summary(summary).operator == mine.public  # it has no owner's attestation
            if believed:
                other.observing.heard.standing = Knows(mine)
            await other.log.append_many([summary])
            await asyncio.sleep(0)
            await other.observing.count()
            quality = other.registry.quality(provider.offer.address, "greet")
            expected = quality.expected(provider.offer.promise).success_rate
            assert quality.measured().samples == 0
            assert (expected > provider.offer.promise.success_rate) is believed


async def stored_summary(node: Node) -> Event:
    """The node's one summary."""
    rows = await node._database.all("events_after", 0, 100)
    (found,) = [
        event
        for event in (msgspec.json.decode(bytes(row[1]), type=Event) for row in rows)
        if event.kind == kinds.QUALITY
    ]
    return found


class Knows:
    """Implements `registry.store.Standing`: trusts one key wholly."""

    def __init__(self, friend: SecretKey) -> None:
        self._friend = friend.public

    def level(self, _viewer: str, operator: str) -> int:
        return 4 if operator == self._friend else 0

    def score(self, _viewer: str, operator: str) -> float:
        return 1.0 if operator == self._friend else 0.0


async def test_who_listens_hears_what_changes_in_the_registry(node: Node) -> None:
    heard: list[Event] = []

    def listener(event: Event) -> int:
        heard.append(event)
        return 1

    node.bus.listen(listener)
    async with RawProvider(node, answer) as provider:
        await provider.serve()
        await node.offers.advance()
        await node.observing.round()
        await node.observing.count()
    (news,) = [event for event in heard if event.kind == kinds.TELEMETRY]
    check_event(news)
    assert news.pubkey == node.pubkey
    assert orjson.loads(news.content)["changes"] == [
        {"type": "offer", "offer": provider.offer.address, "detail": "1.0.0"}
    ]


async def test_an_offer_that_was_left_alone_leaves_searches_and_comes_back(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path / "data", operator) as node:
        provider = RawProvider(node, answer)
        async with provider:
            await provider.serve()
            await until_found(node)
        liveness = node.observing.liveness
        liveness.bounds = msgspec.structs.replace(liveness.bounds, stale_s=3600, gone_s=3600)
        ahead = node._clock.now_s() + 7200
        node._clock.now_s = lambda: ahead  # type: ignore[method-assign]  # two hours pass
        found = await node.registry.find(Search(words="greet"))
        assert (found.hits, found.excluded) == ([], {"gone": 1})
        assert await node.registry.offer(provider.offer.address)
        liveness.saw(provider.secret.public, ahead)
        assert len(await hits(node)) == 1
