"""An event that nobody looks at is answered like any other: by an OK that names it."""

import asyncio

from tests.fakes.memory_log import MemoryLog
from tests.fakes.wire import NOW, Wire, a_relay

from hanse.protocol import message
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay import ingest

KEY = SecretKey(b"\x01" * 32)
WAIT = "rate-limited: too many events are waiting (wait 1 s)"


def note(content: str) -> Event:
    return sign_event(KEY, kind=1, created_at=NOW, content=content)


async def answers(wire: Wire, count: int) -> list[list[object]]:
    heard: list[list[object]] = []
    async with asyncio.timeout(10):
        while len(heard) < count:
            await asyncio.sleep(0)
            heard += wire.heard()
    return heard


async def test_an_event_too_many_is_refused_by_its_id_and_told_how_long_to_wait() -> None:
    async with a_relay(MemoryLog()) as relay:
        relay.ingest.waiting_max = 1
        wire = Wire(relay)
        first, second = note("first"), note("second")
        wire.say_text(message.publish(first))
        wire.say_text(message.publish(second))
        wire.say("EVENT", {"id": "no id", "kind": 1})
        assert wire.heard() == [["OK", second.id, False, WAIT], ["NOTICE", WAIT]]
        assert await answers(wire, 1) == [["OK", first.id, True, ""]]
        wire.say_text(message.publish(second))
        assert await answers(wire, 1) == [["OK", second.id, True, ""]]


async def test_bytes_that_wait_are_bounded_as_events_are() -> None:
    async with a_relay(MemoryLog()) as relay:
        relay.ingest._waiting_bytes = ingest.WAITING_BYTES_MAX + 1
        wire = Wire(relay)
        late = note("late")
        wire.say_text(message.publish(late))
        assert wire.heard() == [["OK", late.id, False, WAIT]]


async def test_an_event_that_comes_while_the_node_ends_is_refused_by_its_id() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        await relay.ingest.drain()
        late = note("late")
        wire.say_text(message.publish(late))
        assert wire.heard() == [["OK", late.id, False, "error: the node is shutting down"]]
