"""Paid calls over real sockets: money under contention, repeated keys, and refusals that change
nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson
import pytest
from tests.conftest import People
from tests.fakes.raw_provider import RawClient

from hanse.agent import Agent, Result
from hanse.errors import (
    Conflict,
    HanseError,
    InsufficientFunds,
    Invalid,
    NotFound,
    OverCap,
    TooLarge,
)
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds, rpc
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event
from hanse.protocol.keys import SecretKey

CALLERS = 64


class Shop:
    """A provider that counts what it is asked to do: `upper` costs 3 sat."""

    def __init__(self, agent: Agent, address: str) -> None:
        self.agent = agent
        self.address = address
        self.worked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def upper(self, text: str) -> str:
        """Write it in capitals, once the shop is open."""
        self.worked += 1
        await self.open.wait()
        return text.upper()


@pytest.fixture
async def shop(people: People) -> Shop:
    """A shop that serves."""
    agent = await people.connected()
    found = Shop(agent, "")
    agent.provide(price="3sat")(found.upper)
    event = await agent.serve()
    found.address = f"{event.kind}:{event.pubkey}:upper"
    return found


async def buy(agent: Agent, shop: Shop, text: str = "a", **terms: Any) -> Result:
    """One call of the shop."""
    return await agent.call(shop.address, {"text": text}, capability="upper", **terms)


async def books(node: Node) -> tuple[Any, ...]:
    """Everything that money and calls can have changed."""
    found = await node.payments.books()
    assert found.sum_msat == 0
    return found, await node.calls.counts(), await node.log.last_seq()


# --- many callers, little money -------------------------------------------------------------------


async def _same_account(people: People, credits: str) -> list[Agent]:
    """One agent's account, spent over CALLERS connections at once."""
    operator, secret = new_secret(), new_secret()
    first = await people.connected(credits, operator, secret)
    rest = [await people.connected(None, operator, secret) for _ in range(CALLERS - 1)]
    return [first, *rest]


async def _buy_or_refusal(agent: Agent, shop: Shop, text: str) -> Result | HanseError:
    try:
        return await buy(agent, shop, text)
    except HanseError as refused:
        return refused


async def test_64_callers_of_one_account_never_spend_more_than_it_has(
    node: Node, people: People, shop: Shop
) -> None:
    callers = await _same_account(people, "20sat")
    outcomes = await asyncio.gather(
        *(_buy_or_refusal(agent, shop, f"text {n}") for n, agent in enumerate(callers))
    )
    settled = [found for found in outcomes if isinstance(found, Result)]
    refused = [found for found in outcomes if isinstance(found, HanseError)]
    assert len(settled) == 6  # 20 sat buy six at 3 sat, whoever comes first
    assert all(found.settled for found in settled)
    assert all(isinstance(found, InsufficientFunds) for found in refused)
    assert {found.field for found in refused} == {"balance"}
    assert shop.worked == 6
    assert await node.payments.balance(callers[0].pubkey) == (2000, 0)
    assert await node.payments.balance(shop.agent.pubkey) == (6 * 2970, 0)
    assert await node.calls.counts() == {"settled": 6}
    assert (await node.payments.books()).sum_msat == 0
    receipts = {found.receipt for found in settled}
    assert len(receipts) == 6
    for id in receipts:
        assert await node.calls.receipt(id) is not None


async def test_money_on_hold_cannot_be_spent_again_while_calls_are_open(
    node: Node, people: People, shop: Shop
) -> None:
    shop.open.clear()
    callers = await _same_account(people, "20sat")
    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(_buy_or_refusal(agent, shop, "x")) for agent in callers]
        async with asyncio.timeout(10):
            while sum(task.done() for task in made) < CALLERS - 6 or shop.worked < 6:
                await asyncio.sleep(0.005)
        assert await node.payments.balance(callers[0].pubkey) == (2000, 18_000)
        assert await node.calls.counts() == {"open": 6}
        shop.open.set()
    outcomes = [task.result() for task in made]
    assert sum(isinstance(found, Result) for found in outcomes) == 6
    assert sum(isinstance(found, InsufficientFunds) for found in outcomes) == CALLERS - 6
    assert await node.payments.balance(callers[0].pubkey) == (2000, 0)


async def test_64_callers_that_can_all_pay_are_all_served(
    node: Node, people: People, shop: Shop
) -> None:
    callers = await _same_account(people, "192sat")
    found = await asyncio.gather(*(buy(agent, shop, f"t{n}") for n, agent in enumerate(callers)))
    assert [result.value for result in found] == [f"T{n}" for n in range(CALLERS)]
    assert await node.payments.balance(callers[0].pubkey) == (0, 0)
    assert await node.payments.balance(shop.agent.pubkey) == (CALLERS * 2970, 0)
    assert shop.worked == CALLERS


# --- the same key again ---------------------------------------------------------------------------


async def test_what_a_caller_searched_for_is_kept_with_the_call_it_led_to(
    node: Node, people: People, shop: Shop
) -> None:
    buyer = await people.connected("10sat")
    (service,) = await buyer.find("write in capitals", limit=1)
    found = await buyer.call(service, {"text": "a"})
    assert found.status == "settled"
    kept = await node.calls.call(bytes.fromhex(found.call))
    assert kept is not None
    assert kept.words == "write in capitals"


async def test_the_same_key_again_returns_the_first_result_and_charges_once(
    node: Node, people: People, shop: Shop
) -> None:
    consumer = await people.connected(credits="10sat")
    first = await buy(consumer, shop, "hello", key="one")
    before = await books(node)
    again = await buy(consumer, shop, "hello", key="one")
    assert again == first
    assert again.value == "HELLO"
    assert await books(node) == before
    assert shop.worked == 1
    assert await consumer.balance() == Amount(7000)


async def test_the_same_key_at_once_runs_once(node: Node, people: People, shop: Shop) -> None:
    shop.open.clear()
    operator, secret = new_secret(), new_secret()
    consumers = [await people.connected("10sat", operator, secret)]
    consumers += [await people.connected(None, operator, secret) for _ in range(7)]
    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(buy(agent, shop, "hi", key="k")) for agent in consumers]
        async with asyncio.timeout(5):
            while not shop.worked:
                await asyncio.sleep(0.005)
        shop.open.set()
    results = [task.result() for task in made]
    assert all(found == results[0] for found in results)
    assert results[0].settled
    assert shop.worked == 1
    assert await node.calls.counts() == {"settled": 1}
    assert await consumers[0].balance() == Amount(7000)


@pytest.mark.parametrize(
    "other",
    [{"text": "bye"}, {"max_price": "4sat"}, {"deadline_ms": 5000}],
    ids=["input", "cap", "deadline"],
)
async def test_the_same_key_with_other_content_is_refused(
    other: dict[str, Any], node: Node, people: People, shop: Shop
) -> None:
    consumer = await people.connected(credits="10sat")
    await buy(consumer, shop, "hello", key="one")
    before = await books(node)
    with pytest.raises(Conflict) as refused:
        await buy(consumer, shop, **({"text": "hello", "key": "one"} | other))
    assert refused.value.field == "idempotency_key"
    assert await books(node) == before
    assert shop.worked == 1


async def test_the_same_key_with_other_content_at_once_is_refused(
    node: Node, people: People, shop: Shop
) -> None:
    shop.open.clear()
    consumer = await people.connected(credits="10sat")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(buy(consumer, shop, "hello", key="one"))
        async with asyncio.timeout(5):
            while not shop.worked:
                await asyncio.sleep(0.005)
        other = tasks.create_task(_buy_or_refusal_with_key(consumer, shop))
        shop.open.set()
    assert first.result().settled
    assert isinstance(other.result(), Conflict)
    assert shop.worked == 1
    assert await consumer.balance() == Amount(7000)


async def _buy_or_refusal_with_key(agent: Agent, shop: Shop) -> Result | HanseError:
    try:
        return await buy(agent, shop, "bye", key="one")
    except HanseError as refused:
        return refused


async def test_a_key_belongs_to_its_caller(node: Node, people: People, shop: Shop) -> None:
    one, two = [await people.connected(credits="10sat") for _ in range(2)]
    first = await buy(one, shop, "hello", key="same")
    second = await buy(two, shop, "other", key="same")
    assert (first.value, second.value) == ("HELLO", "OTHER")
    assert first.call != second.call


async def test_a_refused_call_leaves_its_key_free(node: Node, people: People, shop: Shop) -> None:
    consumer = await people.connected(credits="1sat")
    with pytest.raises(InsufficientFunds):
        await buy(consumer, shop, key="one")
    await node.payments.grant("more", consumer.pubkey, Amount(5000), "")
    assert (await buy(consumer, shop, key="one")).settled


async def test_a_refund_is_the_result_of_its_key_too(
    node: Node, people: People, shop: Shop
) -> None:
    shop.open.clear()
    consumer = await people.connected(credits="10sat")
    first = await buy(consumer, shop, key="one", deadline_ms=50)
    shop.open.set()
    again = await buy(consumer, shop, key="one", deadline_ms=50)
    assert first.fault == "deadline-below-promise"
    assert again == first
    assert shop.worked == 1
    assert await consumer.balance() == Amount(10_000)


async def test_a_key_gives_its_first_result_after_the_offer_is_gone(
    node: Node, people: People
) -> None:
    secret = new_secret()
    provider = await people.connected(secret=secret)
    shop = Shop(provider, f"{kinds.OFFER}:{provider.pubkey}:upper")
    provider.provide(price="3sat")(shop.upper)
    await provider.serve()
    consumer = await people.connected(credits="10sat")
    first = await buy(consumer, shop, key="one")
    async with RawClient(node, secret) as owner:
        gone = owner.signed(kinds.DELETION, "", [("a", shop.address)])
        assert (await owner.publish(gone))[0]
    async with asyncio.timeout(5):
        while await consumer.find("upper"):
            await asyncio.sleep(0.01)
    assert await buy(consumer, shop, key="one") == first
    with pytest.raises(NotFound) as refused:
        await buy(consumer, shop, key="two")
    assert refused.value.field == "offer"
    assert await consumer.balance() == Amount(7000)


async def test_a_replayed_request_gets_the_first_result(
    node: Node, people: People, shop: Shop
) -> None:
    async with RawClient(node) as client:
        await node.payments.grant("g", client.secret.public, Amount(10_000), "")
        await client.subscribe()
        asked = {"offer": shop.address, "capability": "upper", "input": {"text": "hi"}}
        request = await client.ask("call_service", asked)
        answers = []
        for _ in range(2):
            assert await client.publish(request) == (True, "")
            answers.append(_result(await client.heard()))
        assert answers[0] == answers[1]
        assert answers[0]["output"]["structuredContent"] == {"result": "HI"}
        assert await node.payments.balance(client.secret.public) == (7000, 0)
    assert shop.worked == 1


def _result(answer: Event) -> dict[str, Any]:
    read = rpc.parse_rpc(answer)
    assert isinstance(read, rpc.RpcAnswer)
    assert read.result is not None
    found: dict[str, Any] = read.result["structuredContent"]
    return found


# --- refusals change nothing ----------------------------------------------------------------------

Refusal = tuple[type[HanseError], str, str, Callable[[Agent, Shop], Awaitable[Any]]]


def _perform(**change: Any) -> Callable[[Agent, Shop], Awaitable[Any]]:
    """A call_service with some arguments changed; None leaves one out."""

    async def ask(agent: Agent, shop: Shop) -> Any:
        asked = {"offer": shop.address, "capability": "upper", "input": {"text": "a"}} | change
        return await agent.perform("call_service", asked)

    return ask


REFUSALS: dict[str, Refusal] = {
    "over the cap": (OverCap, "max_price", "3 sat", _perform(max_price_msat=2999)),
    "unknown offer": (NotFound, "offer", "no offer", _perform(offer=f"31402:{'0' * 64}:x")),
    "unknown name": (NotFound, "offer", "no offer", _perform(offer="nothing")),
    "unknown capability": (NotFound, "capability", "'lower'", _perform(capability="lower")),
    "input of another type": (Invalid, "input", "text", _perform(input={"text": 5})),
    "input without a field": (Invalid, "input", "text", _perform(input={})),
    "input with a field too many": (
        Invalid,
        "input",
        "more",
        _perform(input={"text": "a", "more": 1}),
    ),
    "input over the bound": (
        TooLarge,
        "input",
        "65536 bytes",
        _perform(input={"text": "x" * 70_000}),
    ),
    "input that is no object": (Invalid, "input", "object", _perform(input=[1])),
    "input with a number too big": (
        Invalid,
        "input",
        "canonical",
        _perform(input={"text": "a", "n": 2**60}),
    ),
    "no input": (Invalid, "input", "missing", _perform(input=None)),
    "no offer": (Invalid, "offer", "missing", _perform(offer=None)),
    "a negative cap": (Invalid, "max_price_msat", ">= 0", _perform(max_price_msat=-1)),
    "a fractional cap": (Invalid, "max_price_msat", "int", _perform(max_price_msat=0.5)),
    "no time at all": (Invalid, "deadline_ms", ">= 1", _perform(deadline_ms=0)),
    "too much time": (Invalid, "deadline_ms", "600000", _perform(deadline_ms=600_001)),
    "an empty key": (Invalid, "idempotency_key", "length", _perform(idempotency_key="")),
    "a long key": (Invalid, "idempotency_key", "length", _perform(idempotency_key="k" * 129)),
    "an unknown argument": (Invalid, "price", "not known", _perform(price=1)),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_call_says_field_and_reason_and_changes_nothing(
    case: str, node: Node, people: People, shop: Shop
) -> None:
    kind, field, said, ask = REFUSALS[case]
    consumer = await people.connected(credits="10sat")
    before = await books(node)
    with pytest.raises(HanseError) as refused:
        await ask(consumer, shop)
    assert type(refused.value) is kind
    assert refused.value.field == field
    assert said in refused.value.reason
    assert await books(node) == before
    assert shop.worked == 0
    assert (await buy(consumer, shop)).settled


@pytest.mark.parametrize("credits", [None, "2.999sat"])
async def test_a_call_over_the_balance_is_refused_and_changes_nothing(
    credits: str | None, node: Node, people: People, shop: Shop
) -> None:
    consumer = await people.connected(credits=credits)
    before = await books(node)
    with pytest.raises(InsufficientFunds) as refused:
        await buy(consumer, shop)
    assert refused.value.field == "balance"
    assert "3 sat" in refused.value.reason
    assert await books(node) == before
    assert shop.worked == 0


async def test_a_call_at_exactly_the_cap_and_the_balance_is_made(
    node: Node, people: People, shop: Shop
) -> None:
    consumer = await people.connected(credits="3sat")
    assert (await buy(consumer, shop, max_price="3sat")).settled
    assert await consumer.balance() == Amount(0)


# --- requests that never become calls -------------------------------------------------------------

_Spoil = Callable[[RawClient, Event], Event]


def _expired(client: RawClient, request: Event) -> Event:
    past = ("expiration", str(int(time.time()) - 1))
    return client.signed(request.kind, request.content, (*request.tags, past))


def _odd_expiry(client: RawClient, request: Event) -> Event:
    return client.signed(request.kind, request.content, (*request.tags, ("expiration", "²")))


def _aged(seconds: int) -> _Spoil:
    return lambda client, request: client.signed(
        request.kind, request.content, request.tags, age_s=seconds
    )


def _changed(**change: Any) -> _Spoil:
    return lambda client, request: msgspec.structs.replace(request, **change)


def _stolen(client: RawClient, request: Event) -> Event:
    """Somebody else's signature under this client's name: its money would pay."""
    other = RawClient(client.node, SecretKey(b"\x01" * 32)).signed(
        request.kind, request.content, request.tags
    )
    return msgspec.structs.replace(request, sig=other.sig)


SPOILT: dict[str, tuple[_Spoil, str]] = {
    "past its deadline": (_expired, "event.tags.expiration: has passed"),
    "with an odd deadline": (_odd_expiry, "event.tags.expiration: must be Unix seconds"),
    "stale": (_aged(601), "event.created_at"),
    "from the future": (_aged(-1000), "event.created_at"),
    "with no signature": (_changed(sig="0" * 128), "event.sig: is not the author's"),
    "with another's signature": (_stolen, "event.sig: is not the author's"),
    "with a short signature": (_changed(sig="00"), "event.sig: must be 128"),
    "with another content": (_changed(content="{}"), "event.id: does not match"),
    "with another author": (_changed(pubkey=new_secret().public), "event.id: does not match"),
}


@pytest.mark.parametrize("case", SPOILT)
async def test_a_request_that_is_not_good_is_refused_before_it_is_read(
    case: str, node: Node, people: People, shop: Shop
) -> None:
    spoil, said = SPOILT[case]
    async with RawClient(node) as client:
        await node.payments.grant("g", client.secret.public, Amount(10_000), "")
        await client.subscribe()
        asked = {"offer": shop.address, "capability": "upper", "input": {"text": "hi"}}
        good = await client.ask("call_service", asked)
        before = await books(node)
        accepted, text = await client.publish(spoil(client, good))
        assert not accepted
        assert text.startswith(f"invalid: {said}")
        assert await books(node) == before
        assert shop.worked == 0
        assert (await client.publish(good))[0]
        assert _result(await client.heard())["status"] == "settled"


CONTENTS: dict[str, tuple[str, str]] = {
    "not JSON": ("hello", "content"),
    "not an object": ("[1]", "content.jsonrpc"),
    "no method": ('{"jsonrpc":"2.0","id":1,"result":{}}', "content.method"),
    "odd params": ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}', "content.params"),
    "no tool": ('{"jsonrpc":"2.0","id":1,"method":"tools/call"}', "params.name"),
    "unknown tool": (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"steal"}}',
        "name",
    ),
    "odd arguments": (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call",'
        '"params":{"name":"call_service","arguments":[]}}',
        "params.arguments",
    ),
    "nested too deeply": ('{"a":' * 70 + "1" + "}" * 70, "content"),
}


@pytest.mark.parametrize("case", CONTENTS)
async def test_a_request_that_cannot_be_read_gets_an_answer_that_names_the_field(
    case: str, node: Node, shop: Shop
) -> None:
    content, field = CONTENTS[case]
    async with RawClient(node) as client:
        await client.subscribe()
        before = await books(node)
        request = client.signed(kinds.RPC, content, (("p", node.pubkey),))
        assert (await client.publish(request))[0]
        answer = orjson.loads((await client.heard()).content)
        assert answer["error"]["data"]["field"] == field
        assert answer["error"]["data"]["reason"]
        assert await books(node) == before
