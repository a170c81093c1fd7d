"""An agent rates whom it paid by itself: for everybody to read, seldom, and in nobody's way."""

from typing import Any

import pytest
from tests.conftest import People

from hanse.agent import Agent
from hanse.agent.link import now_s
from hanse.agent.ratings import BY_RULE, EACH_S, may_replace, stars, wanted
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.trust.attestation import read_attestation


async def greeter(people: People, operator: SecretKey | None = None) -> tuple[Agent, str]:
    """A provider of `greet` and its offer's address."""
    provider = await people.connected(operator=operator or new_secret())

    @provider.provide(price="2sat", latency_p95_ms=60_000)
    def greet(name: str) -> str:
        "Greet somebody by name."
        return f"Hello, {name}"

    await provider.serve()
    return provider, f"{kinds.OFFER}:{provider.pubkey}:greet"


async def ratings(node: Node, by: Agent) -> list[Event]:
    """What an agent has said, once all it does by itself is done."""
    await by._ratings.close()
    one = Filter(kinds=frozenset({kinds.ATTESTATION}), authors=frozenset({by.pubkey}))
    found = await node.log.query([one], limit=10, now_s=now_s())
    events = [await node.log.event(row[2].hex()) for row in found.rows]
    return [event for event in events if event is not None]


async def greeted(by: Agent, offer: str, **more: Any) -> None:
    result = await by.call(offer, {"name": "Ada"}, capability="greet", **more)
    assert result.settled


async def test_a_settled_call_is_rated_with_its_proof_once_however_many_follow(
    node: Node, people: People, operator: SecretKey
) -> None:
    provider, offer = await greeter(people)
    consumer = await people.connected(credits="100sat", operator=operator)
    before = await consumer.trust(provider.pubkey)
    for _ in range(5):
        await greeted(consumer, offer)
    (event,) = await ratings(node, consumer)
    found = read_attestation(event)
    assert (found.subject, found.context, found.rating) == (provider.pubkey, "greet", 5)
    assert found.confidence == 0.5
    assert found.evidence[0].get("rated_by") == "rule"
    await node.evidence.advance()
    assert (await consumer.trust(provider.pubkey))["score"] > before["score"]


async def test_agents_of_one_operator_do_not_praise_each_other(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, offer = await greeter(people, operator)
    consumer = await people.connected(credits="100sat", operator=operator)
    await greeted(consumer, offer)
    assert await ratings(node, consumer) == []


async def test_who_wants_to_stay_silent_does(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, offer = await greeter(people)
    consumer = await people.connected(credits="100sat", operator=operator)
    await greeted(consumer, offer, attest=False)
    assert await ratings(node, consumer) == []
    assert wanted({})
    assert not wanted({"HANSE_ATTEST": "no"})


async def test_the_rule_never_speaks_over_a_person(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, offer = await greeter(people)
    consumer = await people.connected(credits="100sat", operator=operator)
    result = await consumer.call(offer, {"name": "A"}, capability="greet", attest=False)
    told = await consumer.attest(result, 2)
    await greeted(consumer, offer)
    assert [event.id for event in await ratings(node, consumer)] == [told.id]


async def test_a_door_that_refuses_the_rating_does_not_fail_the_call(
    node: Node, people: People, operator: SecretKey
) -> None:
    _, offer = await greeter(people)
    consumer = await people.connected(credits="100sat", operator=operator)
    await node.moderation.deny_kind(kinds.ATTESTATION)
    await greeted(consumer, offer)


@pytest.mark.parametrize(("latency", "given"), [(90, 5), (100, 5), (101, 4), (None, 4)])
def test_within_the_promise_is_five_stars_and_later_four(latency: int | None, given: int) -> None:
    assert stars({"latency_ms": latency}, 100) == given


def test_a_rating_by_rule_is_renewed_after_an_hour() -> None:
    name, value = BY_RULE
    key = new_secret()

    def said(content: str) -> Event:
        return sign_event(key, kind=kinds.ATTESTATION, created_at=1000, content=content)

    by_rule = said(f'{{"{name}":"{value}"}}')
    assert may_replace(None, 0)
    assert not may_replace(by_rule, 1000 + EACH_S - 1)
    assert may_replace(by_rule, 1000 + EACH_S)
    assert not may_replace(said("{}"), 10**9)
