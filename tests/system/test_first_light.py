"""One agent hires another, end to end over real sockets."""

import asyncio

from tests.conftest import People

from hanse.broker.receipt import verify_receipt
from hanse.node import Node
from hanse.protocol.amount import Amount


async def test_a_consumer_finds_calls_and_pays_a_provider(node: Node, people: People) -> None:
    provider = await people.connected()

    @provider.provide(price="2sat", latency_p95_ms=500)
    def greet(name: str) -> str:
        "Greet somebody by name."
        return f"Hello, {name}"

    await provider.serve()
    consumer = await people.connected(credits="10sat")
    async with asyncio.timeout(5):
        while not (found := await consumer.find("greet somebody", max_price="3sat")):
            await asyncio.sleep(0.01)
    result = await consumer.call(found[0], {"name": "Ada"})
    assert result.settled
    assert result.value == "Hello, Ada"
    assert result.charged == Amount(2000)
    assert await consumer.balance() == Amount(8000)
    assert await node.payments.balance(provider.pubkey) == (1980, 0)
    event = await node.calls.receipt(result.receipt)
    assert event is not None
    receipt = verify_receipt(event, node.pubkey)
    assert (receipt.paid_msat, receipt.fee_msat) == (1980, 20)
    books = await node.payments.books()
    assert books.sum_msat == 0
