"""Providers that break the rules: the caller has the money back and a receipt that says why, the
provider sinks in the next search, and the node goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import structlog
from tests.conftest import People, running_node
from tests.fakes.calls import OUTPUT
from tests.fakes.raw_provider import Answer, Asked, Frame, RawProvider

from hanse.agent import Agent, Result, Service
from hanse.broker.answer import DELIVERY_META
from hanse.broker.model import Fault
from hanse.broker.receipt import verify_receipt
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.amount import Amount
from hanse.protocol.keys import SecretKey

SHORT_MS = 300
"""For calls that no usable answer reaches: all of it is waited."""
LONG_MS = 10_000
"""For calls that an answer ends: a test that waits all of it has failed."""
HUGE = 50 * 1024 * 1024


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """A bare relay: providers knock at no other door."""
    async with running_node(tmp_path / "data", operator, doors=frozenset()) as found:
        yield found


# --- the ways to misbehave ------------------------------------------------------------------------


def _says(content: str | dict[str, Any]) -> Answer:
    def answer(who: RawProvider, asked: Asked) -> Iterable[Frame]:
        return [who.frame(who.event(asked, content))]

    return answer


def _outputs(output: dict[str, Any]) -> Answer:
    """An answer with a true delivery signature over any output."""

    def answer(who: RawProvider, asked: Asked) -> Iterable[Frame]:
        return [who.frame(who.event(asked, {"result": who.result(asked, output)}))]

    return answer


def _raw(*frames: Frame) -> Answer:
    return lambda who, asked: frames


def another_request(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    return [who.frame(who.event(asked, {"result": who.result(asked)}, to="0" * 64))]


def another_call(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    return [who.frame(who.event(asked, {"id": "0" * 64, "result": who.result(asked)}))]


def another_author(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    good = {"result": who.result(asked)}
    return [who.frame(who.event(asked, good, secret=new_secret()))]


def a_bad_signature(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    return [who.frame(msgspec.structs.replace(who.honest(asked), sig="0" * 128))]


def changed_after_signing(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    good = who.honest(asked)
    return [who.frame(msgspec.structs.replace(good, content=good.content.replace("Ada", "Eve")))]


def an_old_event(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    return [who.frame(who.event(asked, {"result": who.result(asked)}, age_s=3600))]


def a_fragmented_flood(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    piece = "x" * 65_536
    return [(piece for _ in range(HUGE // len(piece)))]


def a_forged_delivery(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    forged = {DELIVERY_META: new_secret().sign(bytes(32))}
    return [who.frame(who.event(asked, {"result": {**OUTPUT, "_meta": forged}}))]


def a_delivery_of_something_else(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    other = {"content": [], "structuredContent": {"result": "Hello, Eve"}}
    meta = {"_meta": who.result(asked)["_meta"]}
    return [who.frame(who.event(asked, {"result": {**other, **meta}}))]


def first_wrong_then_right(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    return [who.frame(who.event(asked, "oops")), who.frame(who.honest(asked))]


def half_an_answer(who: RawProvider, asked: Asked) -> Iterable[Frame]:
    whole = who.frame(who.honest(asked))

    def fragments() -> Iterator[str]:
        yield whole[:50]
        who._socket.transport.abort()

    return [fragments()]


NESTED = '{"a":' * 70 + "1" + "}" * 70
BIG_TEXT = {**OUTPUT, "content": [{"type": "text", "text": "x" * 300_000}]}
TOOL_ERROR = {"content": [{"type": "text", "text": "boom"}], "isError": True}

CASES: dict[str, tuple[Answer, Fault, int]] = {
    "hangs up": (_raw(None), Fault.DIED, LONG_MS),
    "hangs up inside its answer": (half_an_answer, Fault.DIED, LONG_MS),
    "a frame of 50 MB": (_raw("x" * HUGE), Fault.DIED, LONG_MS),
    "50 MB in fragments": (a_fragmented_flood, Fault.DIED, LONG_MS),
    "a binary frame": (_raw(b"\x00\x01"), Fault.DIED, LONG_MS),
    "no answer": (_raw(), Fault.TOO_LATE, SHORT_MS),
    "not a message": (_raw("hello"), Fault.TOO_LATE, SHORT_MS),
    "a message nested too deeply": (_raw("[" * 200_000), Fault.TOO_LATE, SHORT_MS),
    "an event nested too deeply": (_raw('["EVENT",' + "[" * 200_000), Fault.TOO_LATE, SHORT_MS),
    "an event over the bound": (_says("x" * 450_000), Fault.TOO_LATE, SHORT_MS),
    "for another request": (another_request, Fault.TOO_LATE, SHORT_MS),
    "by another author": (another_author, Fault.TOO_LATE, SHORT_MS),
    "a bad signature": (a_bad_signature, Fault.TOO_LATE, SHORT_MS),
    "changed after signing": (changed_after_signing, Fault.TOO_LATE, SHORT_MS),
    "an old event": (an_old_event, Fault.TOO_LATE, SHORT_MS),
    "for another call": (another_call, Fault.MALFORMED, LONG_MS),
    "not JSON": (_says("Hello, Ada"), Fault.MALFORMED, LONG_MS),
    "JSON that is no answer": (_says("[1]"), Fault.MALFORMED, LONG_MS),
    "first wrong, then right": (first_wrong_then_right, Fault.MALFORMED, LONG_MS),
    "no output": (_outputs({"content": []}), Fault.MALFORMED, LONG_MS),
    "a block of no type": (_outputs({"content": [{"type": {}}]}), Fault.MALFORMED, LONG_MS),
    "over the size bound": (_outputs(BIG_TEXT), Fault.TOO_LARGE, LONG_MS),
    "nested too deeply": (_says(NESTED), Fault.TOO_LARGE, LONG_MS),
    "another output schema": (
        _outputs({"content": [], "structuredContent": {"result": 5}}),
        Fault.SCHEMA,
        LONG_MS,
    ),
    "no delivery": (_says({"result": OUTPUT}), Fault.UNSIGNED, LONG_MS),
    "a forged delivery": (a_forged_delivery, Fault.UNSIGNED, LONG_MS),
    "a delivery of something else": (a_delivery_of_something_else, Fault.UNSIGNED, LONG_MS),
    "a tool's error": (_says({"result": TOOL_ERROR}), Fault.ERROR, LONG_MS),
    "an error": (_says({"error": {"code": -32603, "message": "no"}}), Fault.ERROR, LONG_MS),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_broken_promise_is_refunded_and_sinks_its_provider(
    case: str, node: Node, people: People
) -> None:
    answer, fault, deadline_ms = CASES[case]
    async with RawProvider(node, answer) as provider:
        consumer, service = await _meet(provider, people)
        with structlog.testing.capture_logs() as logged:
            result = await _call(consumer, service, deadline_ms)
        assert len(provider.asked) == 1
        assert [row["fault"] for row in logged if row["event"] == "call.refunded"] == [fault]
        await _assert_refunded(node, provider, result, fault)
        await _assert_unpaid(node, consumer, provider)
        after = await _found(consumer, service.offer)
    assert after.raw["measured"]["samples"] == 1
    assert after.raw["measured"]["success_rate"] == 0
    assert after.raw["expected"]["success_rate"] < service.raw["expected"]["success_rate"] - 0.1
    assert after.score < 0.6 * service.score
    await _assert_honest_work_goes_on(node, people, consumer)


async def test_declined_input_that_meets_the_schema_is_refunded_and_counts_as_a_failure(
    node: Node, people: People
) -> None:
    said = _says({"error": {"code": -32602, "message": "no such name"}})
    async with RawProvider(node, said) as provider:
        consumer, service = await _meet(provider, people)
        result = await _call(consumer, service, LONG_MS)
        await _assert_refunded(node, provider, result, Fault.DECLINED)
        assert result.reason == "no such name"
        assert result.raw["untrusted"]["from"] == provider.secret.public
        await _assert_unpaid(node, consumer, provider)
        after = await _found(consumer, service.offer)
    assert after.raw["measured"]["samples"] == 1
    assert after.raw["measured"]["refunds"] == {"declined-input": 1}
    assert after.score < service.score
    await _assert_honest_work_goes_on(node, people, consumer)


async def test_who_answers_twice_is_paid_once(node: Node, people: People) -> None:
    def twice(who: RawProvider, asked: Asked) -> Iterable[Frame]:
        return [who.frame(who.honest(asked)), who.frame(who.event(asked, {"result": {}}))]

    async with RawProvider(node, twice) as provider:
        consumer, service = await _meet(provider, people)
        result = await _call(consumer, service, LONG_MS)
        assert result.settled
        assert result.value == "Hello, Ada"
        again = provider.event(provider.asked[0], {"result": provider.result(provider.asked[0])})
        accepted, text = await provider.publish(again)
        assert (accepted, text.split(":")[0]) == (False, "mute")
        assert await node.payments.balance(provider.secret.public) == (1980, 0)
        assert await consumer.balance() == Amount(8000)
        assert await node.calls.counts() == {"settled": 1}
    await _assert_honest_work_goes_on(node, people, consumer)


async def test_an_answer_after_the_deadline_changes_nothing(node: Node, people: People) -> None:
    async with RawProvider(node, _raw()) as provider:
        consumer, service = await _meet(provider, people)
        result = await _call(consumer, service, SHORT_MS)
        await _assert_refunded(node, provider, result, Fault.TOO_LATE)
        accepted, text = await provider.publish(provider.honest(provider.asked[0]))
        assert (accepted, text.split(":")[0]) == (False, "mute")
        await _assert_refunded(node, provider, result, Fault.TOO_LATE)
        await _assert_unpaid(node, consumer, provider)


async def test_a_provider_that_left_before_the_call_is_offline(node: Node, people: People) -> None:
    async with RawProvider(node, _raw()) as provider:
        consumer, service = await _meet(provider, people)
    async with asyncio.timeout(5):
        while node.presence.is_present(provider.secret.public):
            await asyncio.sleep(0.01)
    result = await _call(consumer, service, LONG_MS)
    await _assert_refunded(node, provider, result, Fault.OFFLINE)
    await _assert_unpaid(node, consumer, provider)
    assert (await _found(consumer, service.offer)).raw["measured"]["success_rate"] == 0
    await _assert_honest_work_goes_on(node, people, consumer)


async def test_a_provider_that_does_not_listen_is_offline(node: Node, people: People) -> None:
    async with RawProvider(node, _raw()) as provider:
        consumer, service = await _meet(provider, people)
        await provider.send('["CLOSE","inbox"]')
        unknown = provider.signed(1, "the CLOSE was read before this")
        assert (await provider.publish(unknown))[0]
        result = await _call(consumer, service, LONG_MS)
        await _assert_refunded(node, provider, result, Fault.OFFLINE)
        await _assert_unpaid(node, consumer, provider)


async def test_calls_of_one_provider_do_not_wait_for_another_that_is_silent(
    node: Node, people: People
) -> None:
    async with RawProvider(node, _raw()) as silent, asyncio.TaskGroup() as tasks:
        consumer, service = await _meet(silent, people)
        waiting = tasks.create_task(_call(consumer, service, 2 * SHORT_MS))
        async with asyncio.timeout(5):
            while not silent.asked:
                await asyncio.sleep(0.005)
        await _assert_honest_work_goes_on(node, people, consumer, still_open=1)
        assert not waiting.done()
    await _assert_refunded(node, silent, waiting.result(), Fault.TOO_LATE)


# --- what must hold -------------------------------------------------------------------------------


async def _meet(provider: RawProvider, people: People) -> tuple[Agent, Service]:
    """The provider serves; a consumer with 10 sat has found it."""
    await provider.serve()
    consumer = await people.connected(credits="10sat")
    return consumer, await _found(consumer, provider.offer.address)


async def _found(consumer: Agent, offer: str) -> Service:
    async with asyncio.timeout(5):
        while True:
            for service in await consumer.find("greet somebody"):
                if service.offer == offer:
                    return service
            await asyncio.sleep(0.005)


async def _call(consumer: Agent, service: Service, deadline_ms: int) -> Result:
    async with asyncio.timeout(8):
        return await consumer.call(service, {"name": "Ada"}, deadline_ms=deadline_ms)


async def _assert_refunded(node: Node, provider: RawProvider, result: Result, fault: Fault) -> None:
    assert (result.status, result.fault) == ("refunded", fault.value)
    assert result.output is None
    assert result.charged == Amount(0)
    assert result.reason
    event = await node.calls.receipt(result.receipt)
    assert event is not None
    receipt = verify_receipt(event, node.pubkey)
    assert (receipt.outcome, receipt.fault) == ("refunded", fault.value)
    assert receipt.provider == provider.secret.public
    stored = await node.calls.call(bytes.fromhex(result.call))
    assert stored is not None
    assert stored.fault is fault


async def _assert_unpaid(node: Node, consumer: Agent, provider: RawProvider) -> None:
    assert await consumer.balance() == Amount(10_000)
    assert await node.payments.balance(consumer.pubkey) == (10_000, 0)
    assert await node.payments.balance(provider.secret.public) == (0, 0)
    assert (await node.payments.books()).sum_msat == 0
    assert await node.calls.open_calls() == []


async def _assert_honest_work_goes_on(
    node: Node, people: People, consumer: Agent, still_open: int = 0
) -> None:
    """The same consumer hires another provider, over the same connection."""
    honest = await people.connected()

    @honest.provide(price="1sat")
    def shout(text: str) -> str:
        "Say it loud."
        return text.upper()

    event = await honest.serve()
    service = await _shouter(consumer, f"{event.kind}:{honest.pubkey}:shout")
    result = await consumer.call(service, {"text": "on we go"}, deadline_ms=5000)
    assert result.value == "ON WE GO"
    assert await node.payments.balance(honest.pubkey) == (990, 0)
    assert (await node.payments.books()).sum_msat == 0
    assert len(await node.calls.open_calls()) == still_open
    assert node.broker.running == still_open
    assert orjson.dumps(await node.status())


async def _shouter(consumer: Agent, offer: str) -> Service:
    async with asyncio.timeout(5):
        while True:
            for service in await consumer.find("say it loud"):
                if service.offer == offer:
                    return service
            await asyncio.sleep(0.005)
