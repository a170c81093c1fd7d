"""One connection, frame by frame: answers, counts, comparisons, and what no client may do."""

import asyncio
import json
import threading
from typing import Any

import pytest
from picows import WSMsgType
from tests.fakes.memory_log import MemoryLog
from tests.fakes.wire import NOW, StoppedClock, Wire, a_relay

from hanse.errors import Unavailable
from hanse.protocol import hyperloglog, kinds, message, session
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.negentropy import Negentropy
from hanse.servers.relay import socket, turns, watch
from hanse.servers.relay.compare import INLINE_BYTES_MAX, CompareLimits, Comparer
from hanse.servers.relay.reads import ReadLimits
from hanse.servers.relay.relay import Relay, SocketLimits

KEYS = [SecretKey(bytes([seed]) * 32) for seed in range(1, 5)]
TARGET = "0" * 64


def note(number: int, key: SecretKey = KEYS[0], **changes: Any) -> Event:
    fields: dict[str, Any] = {"kind": 1, "created_at": NOW - number, "content": str(number)}
    return sign_event(key, **(fields | changes))


async def keep(log: MemoryLog, *events: Event) -> None:
    assert all(isinstance(seq, int) for seq in await log.append_many(list(events)))


async def settle(relay: Relay) -> None:
    while len(relay.reads) > 1:  # one task looks after the connections
        await asyncio.sleep(0)


# --- asking -------------------------------------------------------------------------------------


async def test_what_the_store_answers_at_once_is_sent_in_the_same_turn() -> None:
    log = MemoryLog()
    events = [note(number) for number in range(3)]
    await keep(log, *events)
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {"limit": 2})
        heard = wire.heard()
        assert [part[2]["id"] for part in heard[:2]] == [event.id for event in events[:2]]
        assert heard[2:] == [["EOSE", "a", ["more"]]]
        wire.say("REQ", "a", {"limit": 3})
        assert wire.heard()[3:] == [["EOSE", "a", ["finish"]]]
        assert len(relay.reads) == 1


async def under_load(relay: Relay) -> list[Wire]:
    """Clients that had so many answers in each turn that those of the next wait for each other."""
    wires = [Wire(relay) for _ in range(7)]
    for _ in range(20):
        for wire in wires:
            wire.say("REQ", "a", {"limit": 0})
        await asyncio.sleep(0)
    for wire in wires:
        wire.heard()
    return wires


def writes(wires: list[Wire]) -> list[int]:
    """How many each client was sent since it heard."""
    return [len(wire.transport.written) for wire in wires]


async def test_under_load_answers_of_one_turn_leave_together_each_clients_in_one_write() -> None:
    log = MemoryLog()
    await keep(log, note(1))
    async with a_relay(log) as relay:
        wires = await under_load(relay)
        for wire in wires[:3]:
            wire.say("REQ", "a", {"limit": 1})
            wire.say("REQ", "b", {"ids": [TARGET]})
        assert writes(wires[:3]) == [0, 0, 0]
        await asyncio.sleep(0)
        assert writes(wires[:3]) == [1, 1, 1]
        for _ in range(40):  # the load is over
            wires[0].say("REQ", "a", {"limit": 1})
            await asyncio.sleep(0)
        wires[0].heard()
        wires[0].say("REQ", "a", {"limit": 1})
        assert writes(wires[:1]) == [1]


async def test_what_is_new_comes_behind_answers_that_wait() -> None:
    log = MemoryLog()
    await keep(log, note(1))
    async with a_relay(log) as relay:
        wires = await under_load(relay)
        wires[0].say("REQ", "b", {"limit": 1})
        wires[0].say("REQ", "a", {"limit": 1})
        relay.watch.appended(9, note(0))
        told = [(part[0], part[1]) for part in wires[0].heard()]
        stored = [(verb, name) for name in ("b", "a") for verb in ("EVENT", "EOSE")]
        assert told[:4] == stored
        assert sorted(told[4:]) == [("EVENT", "a"), ("EVENT", "b")]


@pytest.mark.parametrize("bound", ["ANSWERS_TOGETHER", "ANSWERS_BYTES"])
async def test_no_answer_waits_for_more_than_a_few_others(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    await keep(log, *[note(number) for number in range(2)])
    async with a_relay(log) as relay:
        wires = await under_load(relay)
        monkeypatch.setattr(turns, bound, 3 if bound == "ANSWERS_TOGETHER" else 2000)
        for wire in wires:
            wire.say("REQ", "a", {})
        # About 800 bytes each.
        assert writes(wires) == [1] * 6 + [0]
        await asyncio.sleep(0)
        assert writes(wires) == [1] * 7


async def test_what_is_new_while_a_request_is_answered_follows_its_end() -> None:
    log = MemoryLog()
    await keep(log, old := note(1))
    log.gate = asyncio.Event()
    async with a_relay(log) as relay:
        log.follow(relay.watch.appended)
        wire = Wire(relay)
        wire.say("REQ", "a", {})
        during, passing = note(0), note(0, kind=20_001)
        await keep(log, during)
        assert relay.watch.passing(passing) == 1
        assert wire.heard() == []
        log.gate.set()
        await settle(relay)
        await keep(log, after := note(3))
        told = [part[2]["id"] if part[0] == "EVENT" else part[0] for part in wire.heard()]
        # The snapshot was read after `during` was committed: it is stored, not new.
        assert told == [during.id, old.id, "EOSE", passing.id, after.id]


async def test_a_subscription_that_falls_too_far_behind_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "HELD_MAX", 3)
    log = MemoryLog()
    log.gate = asyncio.Event()
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {})
        for number in range(5):
            relay.watch.passing(note(number, kind=20_001))
        [[verb, name, text]] = wire.heard()
        assert (verb, name) == ("CLOSED", "a")
        assert text.startswith("error: ")
        log.gate.set()
        await settle(relay)
        assert (wire.heard(), len(relay.watch)) == ([], 0)
        wire.say("REQ", "a", {})
        assert wire.heard() == [["EOSE", "a", ["finish"]]]


@pytest.mark.parametrize("how", ["CLOSE", "REQ", "leave"])
async def test_an_answer_nobody_waits_for_any_more_is_not_sent(how: str) -> None:
    log = MemoryLog()
    await keep(log, note(1))
    log.gate = asyncio.Event()
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {"kinds": [1]})
        await asyncio.sleep(0)
        if how == "CLOSE":
            wire.say("CLOSE", "a")
        elif how == "REQ":
            wire.say("REQ", "a", {"kinds": [2]})
        else:
            wire.leave()
        log.gate.set()
        await settle(relay)
        assert wire.heard() == ([["EOSE", "a", ["finish"]]] if how == "REQ" else [])
        assert len(relay.watch) == (how == "REQ")


async def test_a_store_that_cannot_answer_closes_the_subscription() -> None:
    class Broken(MemoryLog):
        """A log on a disk that fails."""

        def _find(self, *_: Any, **__: Any) -> Any:
            raise Unavailable("the disk is gone")

    async with a_relay(Broken()) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {})
        assert wire.heard() == [["CLOSED", "a", "error: the disk is gone"]]
        assert len(relay.watch) == 0
        wire.say("CLOSE", "a")
        assert wire.heard() == []


async def test_too_many_requests_at_once_are_refused_and_the_others_answered() -> None:
    log = MemoryLog()
    log.gate = asyncio.Event()
    async with a_relay(log, read_limits=ReadLimits(running_max=1, waiting_max=1)) as relay:
        wire = Wire(relay)
        for name in "abc":
            wire.say("REQ", name, {})
        [[verb, name, text]] = wire.heard()
        assert (verb, name) == ("CLOSED", "c")
        assert text.startswith("rate-limited: ")
        log.gate.set()
        await settle(relay)
        assert [part[:2] for part in wire.heard()] == [["EOSE", "a"], ["EOSE", "b"]]


async def test_subscriptions_with_the_same_filters_share_one_match() -> None:
    async with a_relay(MemoryLog()) as relay:
        wires = [Wire(relay) for _ in range(3)]
        for number, wire in enumerate(wires):
            wire.say("REQ", "x" * (number + 1), {"kinds": [1], "limit": number})
            wire.heard()
        relay.watch.appended(1, event := note(1))
        assert len(relay.watch._groups) == 1
        relay.watch.appended(2, other := note(2))
        for number, wire in enumerate(wires):
            assert [(part[1], part[2]["id"]) for part in wire.heard()] == [
                ("x" * (number + 1), event.id),
                ("x" * (number + 1), other.id),
            ]


async def test_a_private_event_reaches_each_proven_recipient_of_a_shared_filter() -> None:
    async with a_relay(MemoryLog()) as relay:
        wires = [Wire(relay) for _ in range(3)]
        for wire, key in zip(wires, KEYS, strict=False):
            wire.prove(key.public)
            wire.say("REQ", "a", {"kinds": [kinds.RPC]})
            wire.heard()
        tags = [["p", KEYS[0].public], ["p", KEYS[2].public]]
        event = note(0, kind=kinds.RPC, tags=tags)
        assert relay.watch.passing(event) == 2
        assert [len(wire.heard()) for wire in wires] == [1, 0, 1]


# --- counting -----------------------------------------------------------------------------------


async def test_a_count_adds_the_filters_up_and_leaves_limits_aside() -> None:
    log = MemoryLog()
    await keep(log, note(1), note(2), note(3, kind=7), note(4, kind=6))
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("COUNT", "a", {"kinds": [1], "limit": 1}, {"kinds": [7, 1]})
        assert wire.heard() == [["COUNT", "a", {"count": 3}]]
        assert len(relay.watch) == 0


async def test_a_count_by_one_tag_comes_with_registers_that_relays_can_merge() -> None:
    log = MemoryLog()
    events = [note(1, key, kind=7, tags=[["e", TARGET]]) for key in KEYS]
    await keep(log, *events, note(2, kind=7, tags=[["e", "1" * 64]]))
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("COUNT", "a", {"kinds": [7], "#e": [TARGET]})
        [[verb, name, found]] = wire.heard()
        assert (verb, name, found["count"]) == ("COUNT", "a", 4)
        authors = [bytes.fromhex(key.public) for key in KEYS]
        assert found["hll"] == hyperloglog.registers_of(TARGET, authors).hex()


async def test_the_authors_of_a_large_count_are_taken_in_slices_and_others_served_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.servers.relay.answer.SLICE", 1)
    log = MemoryLog()
    await keep(log, *(note(1, key, kind=7, tags=[["e", TARGET]]) for key in KEYS))
    async with a_relay(log) as relay:
        large, other = Wire(relay), Wire(relay)
        large.say("COUNT", "a", {"kinds": [7], "#e": [TARGET]})
        await asyncio.sleep(0)
        other.say("COUNT", "b", {"kinds": [7]})
        assert (large.heard(), len(other.heard())) == ([], 1)
        await settle(relay)
        [[_, _, found]] = large.heard()
        authors = [bytes.fromhex(key.public) for key in KEYS]
        assert found["hll"] == hyperloglog.registers_of(TARGET, authors).hex()


async def test_a_count_of_private_kinds_counts_only_one_s_own() -> None:
    log = MemoryLog()
    to = [note(n, kind=kinds.GIFT_WRAP, tags=[["p", KEYS[n % 2].public]]) for n in range(5)]
    await keep(log, *to)
    async with a_relay(log) as relay:
        wire = Wire(relay)
        wire.say("COUNT", "a", {"kinds": [1, kinds.GIFT_WRAP]})
        assert wire.heard() == [["COUNT", "a", {"count": 0}]]
        wire.prove(KEYS[0].public)
        wire.say("COUNT", "a", {"kinds": [kinds.GIFT_WRAP]})
        assert wire.heard() == [["COUNT", "a", {"count": 3}]]


async def test_a_search_finds_what_has_all_its_words_stored_and_new() -> None:
    log = MemoryLog()
    await keep(log, fits := note(1, content="The red fox"), note(2, content="A red dog"))
    async with a_relay(log) as relay:
        log.follow(relay.watch.appended)
        wire = Wire(relay)
        wire.say("REQ", "a", {"search": "fox RED language:en"})
        assert [part[2]["id"] for part in wire.heard()[:-1]] == [fits.id]
        await keep(log, new := note(3, content="fox, red"), note(4, content="fox"))
        assert [part[2]["id"] for part in wire.heard()] == [new.id]


# --- comparing ----------------------------------------------------------------------------------


def items(*events: Event) -> list[tuple[int, bytes]]:
    return [(event.created_at, bytes.fromhex(event.id)) for event in events]


async def compare(wire: Wire, client: Negentropy, asked: Filter) -> tuple[set[str], set[str]]:
    """What only the client has and what only the relay has, as the client learns it."""
    have: set[str] = set()
    need: set[str] = set()
    wire.say_text(message.neg_open("n", asked, client.initiate()))
    while True:
        await settle(wire.relay)
        [[verb, name, text]] = wire.heard()
        assert (verb, name) == ("NEG-MSG", "n")
        step = client.reconcile(bytes.fromhex(text))
        have.update(id.hex() for id in step.have)
        need.update(id.hex() for id in step.need)
        if step.reply is None:
            wire.say("NEG-CLOSE", "n")
            return have, need
        wire.say_text(message.neg_more("n", step.reply))


@pytest.mark.parametrize("inline_max", [0, 10_000])
async def test_a_comparison_tells_a_client_what_each_side_lacks(
    inline_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.servers.relay.compare.INLINE_MAX", inline_max)
    log = MemoryLog()
    events = [note(number) for number in range(200)]
    await keep(log, *events[:150], note(1, kind=2))
    async with a_relay(log) as relay:
        wire = Wire(relay)
        client = Negentropy(items(*events[100:]))
        have, need = await compare(wire, client, Filter(kinds=frozenset({1})))
        assert have == {event.id for event in events[150:]}
        assert need == {event.id for event in events[:100]}
        assert relay.comparer.items == 0


async def test_private_events_are_compared_by_their_recipients_only() -> None:
    log = MemoryLog()
    mine, other = (
        note(1, kind=kinds.GIFT_WRAP, tags=[["p", key.public]], content="x") for key in KEYS[:2]
    )
    await keep(log, mine, other)
    async with a_relay(log) as relay:
        wire = Wire(relay)
        assert await compare(wire, Negentropy([]), Filter()) == (set(), set())
        wire.prove(KEYS[0].public)
        assert await compare(wire, Negentropy([]), Filter()) == (set(), {mine.id})


async def test_a_comparison_over_a_bound_is_blocked_and_keeps_nothing() -> None:
    log = MemoryLog()
    await keep(log, *(note(number) for number in range(4)))
    first = Negentropy([]).initiate().hex()
    limits = CompareLimits(items_max=3, items_of_all_max=5)
    async with a_relay(log, compare_limits=limits) as relay:
        wire = Wire(relay)
        wire.say("NEG-OPEN", "a", {}, first)
        [[verb, name, text]] = wire.heard()
        assert (verb, name) == ("NEG-ERR", "a")
        assert text.startswith("blocked: ")
        for name in "abc":
            wire.say("NEG-OPEN", name, {"since": NOW - 1}, first)
        assert [(part[0], part[1]) for part in wire.heard()] == [
            ("NEG-MSG", "a"),
            ("NEG-MSG", "b"),
            ("NEG-ERR", "c"),
        ]
        assert relay.comparer.items == 4
        wire.say("NEG-OPEN", "b", {"since": NOW}, first)
        assert relay.comparer.items == 3
        wire.leave()
        assert relay.comparer.items == 0


async def test_large_sets_are_read_one_after_another_and_no_further_than_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hanse.servers.relay.compare.INLINE_MAX", 2)

    class Slow(MemoryLog):
        """A log whose large reads wait to be let through."""

        def __init__(self) -> None:
            super().__init__()
            self.asked: list[int] = []

        async def outline(self, *arguments: Any, limit: int, **named: Any) -> Any:
            if limit > 3:
                self.asked.append(limit)
                await gate.acquire()
            return await super().outline(*arguments, limit=limit, **named)

    gate = asyncio.Semaphore(0)
    log = Slow()
    await keep(log, *(note(number) for number in range(4)))
    first = Negentropy([]).initiate().hex()
    limits = CompareLimits(items_max=100, items_of_all_max=8)
    async with a_relay(log, compare_limits=limits) as relay:
        wires = [Wire(relay) for _ in range(3)]
        for wire in wires:
            wire.say("NEG-OPEN", "n", {}, first)
        await asyncio.sleep(0)
        small = Wire(relay)
        small.say("NEG-OPEN", "n", {"since": NOW}, first)
        assert small.heard()[0][0] == "NEG-MSG"
        assert log.asked == [9]  # as much as there is room for, and one to tell of more
        wires[1].leave()  # while it waits its turn
        gate.release()
        gate.release()
        await settle(relay)
        assert log.asked == [9, 4]
        assert [wire.heard()[0][0] for wire in (wires[0], wires[2])] == ["NEG-MSG", "NEG-ERR"]
        assert relay.comparer.items == 5
        wires[0].leave()
        small.leave()
        assert relay.comparer.items == 0


async def test_a_malformed_message_ends_the_comparison() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.say("NEG-OPEN", "a", {}, "61ff")
        [[verb, name, text]] = wire.heard()
        assert (verb, name) == ("NEG-ERR", "a")
        assert text.startswith("invalid: ")
        wire.say("NEG-MSG", "a", "61")
        assert wire.heard()[0][2].startswith("closed: ")


async def test_a_comparison_that_goes_quiet_is_dropped() -> None:
    async with a_relay(MemoryLog(), compare_limits=CompareLimits(idle_s=0.01)) as relay:
        wire = Wire(relay)
        wire.say("NEG-OPEN", "a", {}, Negentropy([]).initiate().hex())
        assert wire.heard()[0][0] == "NEG-MSG"
        async with asyncio.timeout(5):
            while not (heard := wire.heard()):
                await asyncio.sleep(0.002)
        assert heard[0][:2] == ["NEG-ERR", "a"]
        assert heard[0][2].startswith("closed: ")


async def test_another_version_is_answered_with_ours() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.say("NEG-OPEN", "a", {}, "62" + "00" * 10)
        assert wire.heard() == [["NEG-MSG", "a", "61"]]


# --- frames -------------------------------------------------------------------------------------


async def test_a_compressed_frame_ends_the_connection() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.frame(WSMsgType.TEXT, b'["REQ","a",{}]', compressed=True)
        assert (wire.heard(), wire.transport.ended[:1]) == ([], [1002])


@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_a_message_in_endless_fragments_ends_the_connection(payload: bytes) -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.frame(WSMsgType.TEXT, payload, fin=False)
        for _ in range(socket.FRAGMENTS_MAX - 1):
            wire.frame(WSMsgType.CONTINUATION, payload, fin=False)
        assert wire.transport.ended == []
        wire.frame(WSMsgType.CONTINUATION, payload, fin=False)
        assert wire.transport.ended[0] == 1009


async def test_pings_are_answered_only_while_the_client_reads() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.frame(WSMsgType.PING, b"1")
        wire.transport.unread = 1
        wire.frame(WSMsgType.PING, b"2")
        assert wire.transport.pongs == [b"1"]


async def test_a_client_that_does_not_read_is_dropped_when_too_much_waits() -> None:
    log = MemoryLog()
    await keep(log, note(1))
    async with a_relay(log, socket_limits=SocketLimits(unsent_bytes_max=1000)) as relay:
        wire = Wire(relay)
        wire.transport.unread = 1001
        wire.say("REQ", "a", {})
        assert wire.transport.ended == ["dropped"]


async def test_a_quiet_client_is_pinged_and_one_that_does_not_answer_dropped() -> None:
    class Pinged(Wire):
        """Counts pings."""

        def __init__(self, relay: Relay) -> None:
            super().__init__(relay)
            self.pings = 0
            self.transport.send_ping = self.ping  # type: ignore[attr-defined]

        def ping(self) -> None:
            self.pings += 1

    async with a_relay(MemoryLog()) as relay:
        alive, dead = Pinged(relay), Pinged(relay)
        for _ in range(3):
            for wire in (alive, dead):
                wire.connection.look_after()
            alive.frame(WSMsgType.PONG)
        assert (alive.pings, alive.transport.ended) == (0, [])
        assert (dead.pings, dead.transport.ended) == (1, ["dropped"])


async def test_a_flood_of_requests_is_told_to_wait() -> None:
    limits = session.Limits(requests_burst=5, requests_per_s=1)
    async with a_relay(MemoryLog(), session_limits=limits) as relay:
        wire = Wire(relay)
        for number in range(100):
            wire.say("REQ", str(number % 10), {})
        heard = wire.heard()
        assert [part[0] for part in heard] == ["EOSE"] * 5 + ["CLOSED"] * 95
        assert all("rate-limited: " in part[2] for part in heard[5:])
        assert wire.transport.ended == []


async def test_a_huge_filter_is_refused_without_reading_the_log() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.say("REQ", "a", {"authors": [TARGET] * 1001})
        wire.say("REQ", "b", *[{}] * 21)
        assert [part[:2] for part in wire.heard()] == [["CLOSED", "a"], ["CLOSED", "b"]]
        assert json.dumps(len(relay.watch)) == "0"


async def test_a_turn_whose_events_a_batch_took_already_has_nothing_to_do() -> None:
    async with a_relay(MemoryLog()) as relay:
        wire = Wire(relay)
        wire.frame(WSMsgType.TEXT, message.publish(note(1)))
        # What a batch that comes back from its thread does, before the turn that was asked for.
        relay.ingest._kick()
        relay.ingest._kick()
        await relay.ingest.drain()
        assert [part[:3] for part in wire.heard()] == [["OK", note(1).id, True]]


async def test_a_long_message_about_few_events_is_not_computed_on_the_loop() -> None:
    async with Comparer(MemoryLog(), StoppedClock(), CompareLimits()) as comparer:

        def name() -> str:
            return threading.current_thread().name

        assert await comparer.compute(10, INLINE_BYTES_MAX, name) == name()
        assert (await comparer.compute(10, INLINE_BYTES_MAX + 1, name)).startswith("hanse-compare")
