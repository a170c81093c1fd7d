"""Stored and live delivery together: whatever the order in which a log answers, commits are told,
subscriptions open and close, each match is sent once and none is missed."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.memory_log import MemoryLog, may_read, newest_first
from tests.fakes.wire import NOW, Wire, a_relay

from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

AUTHORS = [PublicKey(f"{digit:064x}") for digit in range(3)]
KINDS = [1, 7, 2402, kinds.GIFT_WRAP]
SECONDS = st.integers(NOW - 2, NOW)
TAGS = ["p", "t", "e"]
VALUES = ["", "a", "é", AUTHORS[0], AUTHORS[1]]

contents = st.fixed_dictionaries(
    {
        "pubkey": st.sampled_from(AUTHORS),
        "created_at": SECONDS,
        "kind": st.sampled_from(KINDS),
        "tags": st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(VALUES)), max_size=4).map(
            tuple
        ),
        "content": st.sampled_from(["", "red fox", "Red dog"]),
    }
)


def seldom(condition: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*([st.none()] * 4), condition)


hexes = st.integers(0, 30).map(lambda number: f"{number:064x}")
filters = st.builds(
    Filter,
    ids=seldom(st.frozensets(hexes, max_size=12)),
    authors=seldom(st.frozensets(st.sampled_from(AUTHORS), min_size=1)),
    kinds=seldom(st.frozensets(st.sampled_from(KINDS), min_size=1)),
    since=seldom(SECONDS),
    until=seldom(SECONDS),
    limit=seldom(st.integers(0, 5)),
    search=seldom(st.sampled_from(["red", "RED fox", "", "lang:en dog"])),
    tags=seldom(
        st.lists(
            st.one_of(
                st.tuples(st.just("t"), st.frozensets(st.sampled_from(VALUES), min_size=1)),
                st.tuples(
                    st.sampled_from(["p", "e"]),
                    st.frozensets(st.sampled_from(AUTHORS), min_size=1),
                ),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda tag: tag[0],
        )
    ).map(lambda found: tuple(found or ())),
)
names = st.sampled_from(["a", "b", "long name"])
steps = st.one_of(
    st.tuples(st.just("append"), contents),
    st.tuples(st.just("append"), contents),
    st.tuples(st.just("pass"), contents),
    st.tuples(st.just("tell"), st.none()),
    st.tuples(st.just("ask"), st.tuples(names, st.lists(filters, min_size=1, max_size=2))),
    st.tuples(st.just("close"), names),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("wait"), st.none()),
    st.tuples(st.just("answer"), st.none()),
)


class Asked:
    """One subscription, and what it must hear."""

    def __init__(self, found: list[Filter], snapshot: list[Event] | None) -> None:
        self.filters = found
        self.snapshot = snapshot  # None while the log does not answer
        self.live: list[str] = []
        self.heard: list[str] = []
        self.ended = False


class World:
    """A relay, one client, and a model of what the client must hear."""

    def __init__(self, log: MemoryLog, wire: Wire) -> None:
        self.log = log
        self.open: dict[str, Asked] = {}
        self.stored: list[Event] = []
        self.untold: list[tuple[int, Event]] = []
        self.next = 0
        self.wire = wire

    def make(self, fields: dict[str, Any]) -> Event:
        self.next += 1
        # Ids whose order is not the order of arrival.
        return Event(id=f"{self.next * 7 % 31:063x}{self.next % 10}", sig="", **fields)

    def must_hear(self, event: Event) -> list[Asked]:
        return [
            asked
            for asked in self.open.values()
            if may_read(event, self.wire.connection.identities)
            and any(one.matches(event) for one in asked.filters)
        ]

    async def step(self, verb: str, found: Any) -> None:
        match verb:
            case "append":
                event = self.make(found)
                [seq] = await self.commit(event)
                self.untold.append((seq, event))
                for asked in self.must_hear(event):
                    if asked.snapshot is not None:
                        asked.live.append(event.id)
                self.stored.append(event)
            case "pass":
                event = self.make(found)
                for asked in self.must_hear(event):
                    asked.live.append(event.id)
                self.wire.relay.watch.passing(event)
            case "tell":
                self.tell()
            case "ask":
                name, asked_filters = found
                self.listen()
                snapshot = None if self.log.gate else list(self.stored)
                self.open[name] = Asked(asked_filters, snapshot)
                self.wire.say("REQ", name, *(one.as_dict() for one in asked_filters))
            case "close":
                self.listen()
                self.open.pop(found, None)
                self.wire.say("CLOSE", found)
            case "flush":
                self.listen()
            case "wait":
                self.log.gate = self.log.gate or asyncio.Event()
            case "answer":
                await self.answer()

    async def commit(self, event: Event) -> list[int]:
        return [seq for seq in await self.log.append_many([event]) if isinstance(seq, int)]

    def tell(self) -> None:
        for seq, event in self.untold:
            self.wire.relay.watch.appended(seq, event)
        self.untold.clear()

    async def answer(self) -> None:
        gate, self.log.gate = self.log.gate, None
        if gate is not None:
            for asked in self.open.values():
                if asked.snapshot is None:
                    asked.snapshot = list(self.stored)
            gate.set()
            while len(self.wire.relay.reads) > 1:  # one task looks after the connections
                await asyncio.sleep(0)

    def listen(self) -> None:
        for verb, name, *rest in self.wire.heard():
            asked = self.open[name]
            if verb == "EOSE":
                assert not asked.ended, "EOSE comes once"
                asked.ended = True
                self.check_stored(asked)
                asked.heard.clear()
            else:
                assert verb == "EVENT"
                asked.heard.append(rest[0]["id"])

    def check_stored(self, asked: Asked) -> None:
        """What was answered is what matches, in NIP-01's order, each filter cut at its limit."""
        assert asked.snapshot is not None
        readable = [
            event for event in asked.snapshot if may_read(event, self.wire.connection.identities)
        ]
        ordered = [event for _, event in newest_first(enumerate(readable))]
        chosen: set[str] = set()
        for one in asked.filters:
            passing = [event.id for event in ordered if one.matches(event)]
            chosen.update(passing if one.limit is None else passing[: one.limit])
        assert asked.heard == [event.id for event in ordered if event.id in chosen]

    def check(self) -> None:
        for asked in self.open.values():
            assert asked.ended
            assert sorted(asked.heard) == sorted(asked.live)


@given(st.lists(steps, max_size=40), st.frozensets(st.sampled_from(AUTHORS[:2])))
async def test_each_match_is_sent_once_whatever_the_order(
    asked: list[tuple[str, Any]], identities: frozenset[PublicKey]
) -> None:
    log = MemoryLog()
    async with a_relay(log) as relay:
        wire = Wire(relay)
        for pubkey in {*identities, AUTHORS[2]}:
            wire.prove(pubkey)
        world = World(log, wire)
        for verb, found in asked:
            await world.step(verb, found)
        await world.answer()
        world.tell()
        world.listen()
        world.check()
        for name in list(world.open):
            wire.say("CLOSE", name)
        assert len(relay.watch) == 0
        assert relay.watch._groups == {}
        assert not any(any(by_value.values()) for by_value in relay.watch._index.values())
        wire.leave()


@given(st.lists(st.tuples(st.integers(0, 3), filters), max_size=12), contents, st.data())
async def test_connections_that_end_leave_nothing_behind(
    opened: list[tuple[int, Filter]], fields: dict[str, Any], data: st.DataObject
) -> None:
    async with a_relay(MemoryLog()) as relay:
        wires = [Wire(relay) for _ in range(2)]
        for wire in wires:
            wire.prove(AUTHORS[2])
        for number, one in opened:
            for wire in wires:
                wire.say("REQ", str(number), one.as_dict())
        order = data.draw(st.permutations(wires))
        for wire in order:
            wire.leave()
        event = Event(id="0" * 64, sig="", **fields)
        assert relay.watch.passing(event) == 0
        assert (len(relay.watch), len(relay.connections)) == (0, 0)
        assert json.dumps([list(one) for one in relay.watch._groups]) == "[]"
