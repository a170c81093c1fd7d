"""A disk that takes no more: writes are refused with the reason, reads go on, and nothing is half
done. SQLite's own page limit plays the full disk.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import orjson
import pytest
from tests.conftest import People, running_node
from tests.fakes.raw_provider import RawClient

from hanse.agent.connection import Connection
from hanse.engines.storage.database import Transaction
from hanse.errors import HanseError, Unavailable
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth, kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

ALL_PAGES = 1_073_741_823
"""SQLite's default limit."""

AT_ONCE = kinds.KEY_STATEMENT
"""A kind that goes into the tables at once."""


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    """A bare relay."""
    async with running_node(tmp_path / "data", operator, doors=frozenset()) as found:
        yield found


async def limit_pages(node: Node, pages: int) -> None:
    """Let the database grow to so many pages; one means no further."""

    def operation(tx: Transaction) -> None:
        tx.select(f"PRAGMA max_page_count = {pages}", ())

    await node.log._database.write(operation)


def note(size: int, kind: int = kinds.NOTE) -> Event:
    """A note by a new author; its length is random text's."""
    text = new_secret().public * (size // 64 + 1)
    return sign_event(new_secret(), kind=kind, created_at=int(time.time()), content=text[:size])


async def fill_disk(node: Node) -> list[Event]:
    """Append until not even a small note fits. Returns what was kept."""
    await limit_pages(node, 1)
    kept: list[Event] = []
    for size in (30_000, 3_000, 300, 0):
        while True:
            event = note(size)
            try:
                (outcome,) = await node.log.append_many([event])
            except Unavailable:
                break
            assert isinstance(outcome, int)
            kept.append(event)
    return kept


async def stored(node: Node) -> set[str]:
    """Ids of the notes that a reader gets."""
    found = Filter(kinds=frozenset({kinds.NOTE, AT_ONCE}))
    answer = await node.log.query([found], limit=5000, now_s=int(time.time()))
    return {msgspec.json.decode(row[3], type=Event).id for row in answer.rows}


async def test_a_full_disk_refuses_events_by_name_and_still_answers(
    node: Node, people: People
) -> None:
    async with RawClient(node) as client:
        assert (await client.publish(client.signed(kinds.NOTE, "before")))[0]
        kept = await fill_disk(node)
        before = await stored(node)
        assert {event.id for event in kept} < before
        accepted, text = await client.publish(client.signed(kinds.NOTE, "x" * 5000))
        assert not accepted
        assert text == "error: the database refused: database or disk is full"
        assert await stored(node) == before
        assert (await node.status())["ledger_sum_msat"] == 0
        await limit_pages(node, ALL_PAGES)
        assert (await client.publish(client.signed(kinds.NOTE, "x" * 5000)))[0]


async def test_a_full_disk_answers_who_signs_a_read_and_refuses_who_signs_a_change(
    tmp_path: Path, operator: SecretKey
) -> None:
    async def signed(node: Node, path: str, body: bytes) -> int:
        url = node.http_url + path
        header = http_auth.request_header(
            operator, url=url, method="POST", body=body, now=int(time.time())
        )
        headers = {"Authorization": header}
        async with session.post(url, data=body, headers=headers) as found:
            return found.status

    async with (
        running_node(tmp_path / "doors", operator) as node,
        aiohttp.ClientSession() as session,
    ):
        await fill_disk(node)
        assert await signed(node, "/query", b'{"limit":1}') == 200
        assert await signed(node, "/count", b'{"kinds":[1]}') == 200
        assert await signed(node, "/events", encode_event(note(5000))) == 503


async def test_a_write_that_does_not_fit_spares_its_neighbours(node: Node) -> None:
    await node.log.append_many([note(10)])
    await limit_pages(node, 1)
    outcomes = await asyncio.gather(
        *(
            node.log.append_many([note(60_000 if n % 2 else 10, kinds.KEY_STATEMENT)])
            for n in range(8)
        ),
        return_exceptions=True,
    )
    fitted = [isinstance(found, list) for found in outcomes]
    assert fitted[1::2] == [False] * 4
    assert all(isinstance(found, Unavailable) for found in outcomes[1::2])
    assert len(await stored(node)) == 1 + sum(fitted)
    assert (await node.payments.books()).sum_msat == 0


async def test_a_grant_that_cannot_be_written_is_not_given(node: Node) -> None:
    await fill_disk(node)
    before, given = await node.payments.books(), 0
    with pytest.raises(Unavailable):  # noqa: PT012  # small grants may fit for a while
        for given in range(1000):
            await node.payments.grant(f"{given}", new_secret().public, Amount(1), "m" * 200)
    after = await node.payments.books()
    assert after.sum_msat == 0
    assert len(after.accounts) == len(before.accounts) + given + bool(given)


async def test_a_call_whose_ending_cannot_be_written_is_given_back_later(
    node: Node, people: People
) -> None:
    provider, secret = await people.connected(), new_secret()

    async def fill(text: str) -> str:
        "Fill the disk and answer."
        await fill_disk(node)
        return text

    provider.provide(price="1sat")(fill)
    offer = await provider.serve()
    await node.payments.grant("g", secret.public, Amount(5000), "")
    arguments = {
        "offer": f"{offer.kind}:{offer.pubkey}:fill",
        "capability": "fill",
        "input": {"text": "a"},
        "idempotency_key": "one",
    }
    params = {"name": "call_service", "arguments": arguments}
    async with Connection(node.url, secret, (), node.pubkey) as caller:
        for _ in range(2):
            with pytest.raises(HanseError) as refused:
                await caller.request("tools/call", params, 10)
            assert refused.value.slug == "unavailable"
            assert "disk is full" in refused.value.reason
        assert await node.payments.balance(secret.public) == (4000, 1000)
        assert await node.calls.counts() == {"open": 1}
        await limit_pages(node, ALL_PAGES)
        found = (await caller.request("tools/call", params, 10))["structuredContent"]
    assert (found["status"], found["fault"]) == ("refunded", "node-stopped")
    assert await node.payments.balance(secret.public) == (5000, 0)
    assert await node.payments.balance(provider.pubkey) == (0, 0)
    assert await node.calls.open_calls() == []
    assert orjson.dumps(await node.status())
