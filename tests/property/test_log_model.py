"""Each engine's log against the model, `MemoryLog`: any events, in any order and any batches, have
the same outcomes and leave the same events.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import ENGINES
from tests.fakes.memory_log import MemoryLog

from hanse.engines.storage import tail
from hanse.engines.storage.log import EventLog
from hanse.errors import HanseError, Restricted
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

AUTHORS = [PublicKey(f"{digit:064x}") for digit in range(1, 4)]
ADDRESSABLE, REPLACEABLE = 30_000, 10_000
IDS = 24
"""So few that an event comes again, and deletions meet their targets."""


def an_id(number: int) -> str:
    return f"{number:064x}"


def an_event(number: int, choice: tuple[PublicKey, int, int, str, list[str]]) -> Event:
    """What a number stands for is drawn once: the same id is the same event."""
    pubkey, kind, created_at, other, named = choice
    tags: list[tuple[str, ...]] = [("t", other)]
    match kind:
        case kinds.DELETION:
            tags = [("e", an_id(int(name))) for name in named]
            tags += [("a", f"{ADDRESSABLE}:{pubkey}:{other}"), ("a", f"{REPLACEABLE}:{other}:")]
        case kinds.GIFT_WRAP:
            tags = [("p", other)]
        case kinds.VANISH:
            tags = [("relay", "ALL_RELAYS")]
        case 30_000:
            tags = [("d", other)]
    return Event(
        id=an_id(number),
        pubkey=pubkey,
        created_at=created_at,
        kind=kind,
        tags=tuple(tags),
        content="word",
        sig="",
    )


numbers = st.integers(0, IDS - 1)
choices = st.tuples(
    st.sampled_from(AUTHORS),
    st.sampled_from(
        [kinds.NOTE, REPLACEABLE, ADDRESSABLE, kinds.DELETION, kinds.GIFT_WRAP, kinds.VANISH]
    ),
    st.integers(0, 9),
    st.sampled_from([*AUTHORS, "", "x"]),
    st.lists(numbers.map(str), max_size=6),
)
worlds = st.lists(choices, min_size=IDS, max_size=IDS).map(
    lambda found: [an_event(number, choice) for number, choice in enumerate(found)]
)
orders = st.lists(st.lists(numbers, min_size=1, max_size=10), min_size=1, max_size=8)
engines = [
    pytest.param(name, marks=[pytest.mark.heavy] if engine.heavy else [])
    for name, engine in ENGINES.items()
    if name != "sqlite"  # as in memory, and slower to make anew for each example
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A folder for each example's database."""
    return lambda: tmp_path_factory.mktemp("database")


def words(outcomes: list[int | HanseError | None], *, vanishing: bool) -> list[Any]:
    """Outcomes that can be compared. Who vanishes goes after the batch: until then what is on its
    way out is a duplicate still, where the model says that it may not come back."""
    found = [type(one) if isinstance(one, HanseError) else one for one in outcomes]
    return [None if vanishing and one is Restricted else one for one in found]


@pytest.mark.parametrize("engine", engines)
@pytest.mark.timeout(400)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(worlds, orders)
async def test_any_events_in_any_batches_end_as_in_the_model(
    places: Callable[[], Path], engine: str, world: list[Event], order: list[list[int]]
) -> None:
    model = MemoryLog()
    told: list[tuple[int, str]] = []
    async with ENGINES[engine].open(places()) as database:
        log = EventLog(database, lambda: bytes(32))
        await log.open()
        log.follow(lambda seq, event: told.append((seq, event.id)))
        model.follow(lambda seq, event: expected.append((seq, event.id)))
        expected: list[tuple[int, str]] = []
        for batch in order:
            events = [world[number] for number in batch]
            vanishing = any(event.kind == kinds.VANISH for event in events)
            outcomes = words(await log.append_many(events), vanishing=vanishing)
            assert outcomes == words(await model.append_many(events), vanishing=vanishing)
            asked = {"limit": 1000, "now_s": 0, "reader": frozenset(AUTHORS)}
            found = await log.query([Filter()], **asked)  # type: ignore[arg-type]
            assert found == await model.query([Filter()], **asked)  # type: ignore[arg-type]
            searched = await log.query([Filter(search="word")], **asked)  # type: ignore[arg-type]
            wanted = await model.query([Filter(search="word")], **asked)  # type: ignore[arg-type]
            assert sorted(searched.rows) == sorted(wanted.rows)
            assert await log.total() == await model.total()
        assert told == expected
        kept = [await log.event(id) for id in {id for _, id in told}]
        pairs = {
            (event.id, tag[:2])
            for event in kept
            if event
            for tag in event.tags
            if len(tag) > 1 and len(tag[0]) == 1
        }
        # Where authors stand among the tags, each event has one of them.
        authors = sum(1 for event in kept if event) if database.dialect.parted else 0
        assert len(await database.select("SELECT 1 FROM tag", ())) == len(pairs) + authors


ASKED = [
    Filter(),
    Filter(limit=1),
    Filter(limit=3),
    Filter(authors=frozenset(AUTHORS[:1])),
    Filter(authors=frozenset(AUTHORS[:2]), kinds=frozenset({REPLACEABLE, ADDRESSABLE}), limit=2),
    Filter(kinds=frozenset({REPLACEABLE}), limit=1),
    Filter(kinds=frozenset({ADDRESSABLE, kinds.DELETION}), limit=2),
    Filter(ids=frozenset(map(an_id, range(IDS)))),
    Filter(ids=frozenset({an_id(0)})),
    Filter(tags=(("t", frozenset({"x", ""})),), limit=2),
    Filter(since=3, until=6),
]
steps = st.lists(
    st.one_of(
        st.lists(numbers, min_size=1, max_size=6),
        st.lists(numbers, min_size=1, max_size=6),
        st.sampled_from(["end", "kill", "settle", "count"]),
    ),
    min_size=1,
    max_size=12,
)


async def the_same(log: EventLog, model: MemoryLog) -> None:
    """What is asked on the spot, with care, by several filters and by id."""
    asked: dict[str, Any] = {"now_s": 0, "reader": frozenset(AUTHORS)}
    for one in ASKED:
        wanted = await model.query([one], limit=1000, **asked)
        assert await log.query([one], limit=1000, **asked) == wanted
        found = log.at_once([one], limit=1000, **asked)
        assert (found if isinstance(found, Found) else await found) == wanted
        both = await log.query([one, Filter(limit=2)], limit=1000, **asked)
        assert both == await model.query([one, Filter(limit=2)], limit=1000, **asked)
    for id in map(an_id, range(IDS)):
        assert await log.event(id) == await model.event(id)


async def counted_the_same(log: EventLog, model: MemoryLog) -> None:
    """What moves all into the tables first."""
    for one in ASKED:
        asked: dict[str, Any] = {"now_s": 0, "reader": frozenset(AUTHORS)}
        unlimited = msgspec.structs.replace(one, limit=None)
        wanted = (await model.query([unlimited], limit=1000, **asked)).rows
        assert await log.count([one], **asked) == len(wanted)
        assert await log.outline(unlimited, **asked, limit=1000) == [row[1:3] for row in wanted]


@pytest.mark.timeout(400)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(worlds, steps, st.sampled_from([4, 1000]))
async def test_what_is_aside_answers_as_if_it_were_in_the_tables(
    places: Callable[[], Path], world: list[Event], story: list[list[int] | str], full: int
) -> None:
    model, place = MemoryLog(), places()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "RUN_EVENTS", full)
        patch.setattr(tail, "STEP_EVENTS", 3)
        while story:
            async with ENGINES["deferring"].open(place) as database:
                log = EventLog(database, lambda: bytes(32))
                await log.open()
                await the_same(log, model)
                while story and (step := story.pop(0)) != "end":
                    if step == "settle":
                        await database.settle()
                    elif step == "count":
                        await counted_the_same(log, model)
                    elif step == "kill":
                        copy = places()
                        for path in place.iterdir():
                            shutil.copy2(path, copy / path.name)
                        place = copy
                        break
                    else:
                        events = [world[int(number)] for number in step]
                        vanishing = any(event.kind == kinds.VANISH for event in events)
                        outcomes = words(await log.append_many(events), vanishing=vanishing)
                        assert outcomes == words(
                            await model.append_many(events), vanishing=vanishing
                        )
                    await the_same(log, model)
