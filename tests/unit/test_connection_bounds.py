"""One connection: what it shares with others, and what ends without hurting them."""

import asyncio
import json
from typing import Any

import pytest
from tests.fakes.memory_log import MemoryLog
from tests.fakes.wire import NOW, Wire, a_relay

from hanse.protocol import kinds, message
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.relay import SocketLimits

KEYS = [SecretKey(bytes([seed]) * 32) for seed in range(1, 5)]


def note(number: int, key: SecretKey = KEYS[0], **changes: Any) -> Event:
    fields: dict[str, Any] = {"kind": 1, "created_at": NOW - number, "content": str(number)}
    return sign_event(key, **(fields | changes))


async def test_the_values_in_open_subscriptions_are_bounded_together() -> None:
    async with a_relay(MemoryLog(), socket_limits=SocketLimits(values_max=10)) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {"#t": list("abcdef")}, {"kinds": [1]})
        wire.say("REQ", "b", {"#t": list("abcd"), "limit": 1})
        verb, name, why = wire.heard()[-1]
        assert (verb, name) == ("CLOSED", "b")
        assert why.startswith("rate-limited: over 10 values")
        assert len(relay.watch) == 1
        for name in ("a", "a"):
            wire.say("REQ", name, {"#t": list("abcdef")})
        wire.say("REQ", "b", {"#t": list("abcd")})
        assert wire.heard()[-1][0] == "EOSE"
        wire.say("CLOSE", "a")
        wire.say("REQ", "c", {"#t": list("abcdef")})
        assert wire.heard()[-1][0] == "EOSE"
        assert len(relay.watch) == 2


async def test_the_values_of_one_address_are_bounded_over_all_its_connections() -> None:
    limits = SocketLimits(values_max=6, values_of_address_max=10, values_of_all_max=20)
    async with a_relay(MemoryLog(), socket_limits=limits) as relay:

        def asks(wire: Wire, count: int) -> str:
            wire.say("REQ", "a", {"#t": [str(number) for number in range(count)]})
            found = wire.heard()[-1]
            return "" if found[0] == "EOSE" else found[2]

        first, second, third = (Wire(relay, "192.0.2.1") for _ in range(3))
        assert (asks(first, 6), asks(second, 4)) == ("", "")
        assert asks(third, 1).startswith("rate-limited: over 10 values in the filters of one")
        other = Wire(relay, "192.0.2.2")
        assert asks(other, 6) == ""
        proxied = Wire(relay, "127.0.0.1")
        assert asks(proxied, 4) == ""
        assert asks(Wire(relay, "127.0.0.1"), 1).startswith("rate-limited: all clients")
        first.leave()
        assert asks(third, 6) == ""
        for wire in (second, third, other, proxied):
            wire.leave()
        assert (relay.shares.taken, relay.shares.by_site) == (0, {})


async def test_an_event_the_store_fails_on_is_refused_alone_and_the_relay_goes_on() -> None:
    log = MemoryLog()
    append = log.append_many

    async def failing(events: list[Event]) -> Any:
        if any(event.content == "poison" for event in events):
            raise ZeroDivisionError
        return await append(events)

    log.append_many = failing  # type: ignore[method-assign]
    async with a_relay(log) as relay:
        wire = Wire(relay)
        events = [note(1), note(2, content="poison"), note(3)]
        for _ in range(2):
            for event in events:
                wire.say_text(message.publish(event))
            relay.ingest._kick()
            while relay.ingest._appending or relay.ingest._verifying:
                await asyncio.sleep(0)
            told = {id: (kept, text) for _, id, kept, text in wire.heard()}
            assert told[events[0].id][0] is told[events[2].id][0] is True
            assert told[events[1].id] == (False, "error: event: the relay could not keep it")


async def test_nobody_waits_for_the_events_of_who_vanishes_to_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    append, going, batches = log.append_many, asyncio.Event(), []

    async def slow(events: list[Event]) -> Any:
        batches.append([event.kind for event in events])
        found = await append(events)
        if any(event.kind == kinds.VANISH for event in events):
            await going.wait()
        return found

    monkeypatch.setattr(log, "append_many", slow)
    async with a_relay(log) as relay:
        wire = Wire(relay)
        vanish = note(0, KEYS[1], kind=kinds.VANISH, tags=[["relay", "ALL_RELAYS"]])
        events = [note(1), note(2), vanish, note(3)]
        for event in events:
            wire.say("EVENT", json.loads(encode_event(event)))
        oks: list[Any] = []
        async with asyncio.timeout(10):
            while len(oks) < 3:
                await asyncio.sleep(0.001)
                oks += wire.heard()
        going.set()
        assert batches == [[1, 1], [kinds.VANISH], [1]]
        assert {ok[1] for ok in oks} == {events[n].id for n in (0, 1, 3)}
        async with asyncio.timeout(10):
            while len(oks) < 4:
                await asyncio.sleep(0.001)
                oks += wire.heard()
        assert oks[3][:3] == ["OK", vanish.id, True]
