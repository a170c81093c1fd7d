"""Two answers to one question must agree: `Filter.matches`, by way of `MemoryLog`, and the SQL over
each engine. Live delivery is held against the same in `test_live.py`.

Alphabets are small and filters mostly open, so that authors, kinds, seconds and tag values collide.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import ENGINES
from tests.fakes.memory_log import MemoryLog

from hanse.engines.storage.filter_sql import DENSE_AUTHORS
from hanse.engines.storage.log import EventLog
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.protocol.words import search_words

NOW = 4
PLENTY = 1000
WINDOW = 5
"""So few events are looked at densely that both ways to read a feed are taken."""

AUTHORS = [PublicKey(f"{digit:064x}") for digit in range(DENSE_AUTHORS + 5)]
FEW = AUTHORS[:3]
KINDS = [kinds.NOTE, 7, kinds.RECEIPT, kinds.GIFT_WRAP]
LETTERS = ["p", "t", "T"]
VALUES = ["", "a", "é", "\x00", AUTHORS[0], AUTHORS[1]]
SECONDS = st.integers(3, 6)
WORDS = [
    *("coffee", "Coffee", "COFFEE-house", "getCurrentTime", "get_time", "x²", "don't", "--", '"'),
    *(
        "ΣΟΦΟΣ",
        "σοφος",
        "σοφός",
        "straße",
        "STRASSE",
        "İstanbul",
        "µ",
        "μ",
        "咖啡",
        "ᦰᦱ",
        "e\u0301",
    ),
    *("NEAR", "AND", "*", "a:b", "\x00"),
]

letters, values = st.sampled_from(LETTERS), st.sampled_from(VALUES)
tags = st.one_of(
    *([st.tuples(letters, values)] * 4),
    st.tuples(letters, values, values),
    st.tuples(st.sampled_from(["long", "", "1", "é"]), values),
    st.tuples(letters),
    st.just(()),
    st.tuples(st.just("expiration"), SECONDS.map(str)),
)
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
contents = st.fixed_dictionaries(
    {
        "pubkey": st.sampled_from([*FEW, *AUTHORS]),
        "created_at": SECONDS,
        "kind": st.sampled_from([kinds.NOTE, *KINDS]),
        "tags": st.lists(tags, max_size=5).map(tuple),
        "content": texts,
    }
)


def numbered(found: list[tuple[int, dict[str, Any]]]) -> list[Event]:
    """Events with distinct ids whose order is not the order of arrival."""
    return [Event(id=f"{id:064x}", sig="", **fields) for id, fields in found]


ids = st.integers(0, 60)
events = st.lists(
    st.tuples(ids, contents), min_size=8, max_size=30, unique_by=lambda pair: pair[0]
).map(numbered)


def seldom(condition: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly no condition: with many at once hardly anything would match."""
    return st.one_of(*([st.none()] * 4), condition)


filters = st.builds(
    Filter,
    ids=seldom(st.frozensets(ids.map(lambda id: f"{id:064x}"), max_size=12)),
    authors=seldom(st.frozensets(st.sampled_from(FEW))),
    kinds=seldom(st.frozensets(st.sampled_from(KINDS))),
    since=seldom(SECONDS),
    until=seldom(SECONDS),
    limit=seldom(st.integers(0, 5)),
    tags=st.dictionaries(letters, st.frozensets(values, max_size=4), max_size=2).map(
        lambda found: tuple(found.items())
    ),
    search=seldom(st.one_of(texts, st.just("language:en"))),
)
feeds = st.builds(
    Filter,
    authors=st.frozensets(st.sampled_from(AUTHORS), min_size=DENSE_AUTHORS),
    kinds=st.sampled_from(KINDS).map(lambda kind: frozenset({kind})),
    since=seldom(SECONDS),
    until=seldom(SECONDS),
    limit=st.one_of(st.none(), st.integers(0, 5)),
)
requests = st.lists(
    st.lists(st.one_of(filters, filters, feeds), min_size=1, max_size=3), min_size=4, max_size=12
)
readers: st.SearchStrategy[frozenset[PublicKey]] = st.one_of(
    st.just(frozenset()), st.frozensets(st.sampled_from(FEW), max_size=2)
)
thorough = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
engines = [
    pytest.param(name, marks=[pytest.mark.heavy] if engine.heavy else [])
    for name, engine in ENGINES.items()
    if name != "sqlite"  # as in memory, and slower to make anew for each example
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A folder for each example's database."""
    return lambda: tmp_path_factory.mktemp("database")


async def assert_same(
    log: EventLog, model: MemoryLog, asked: list[Filter], limit: int, reader: frozenset[PublicKey]
) -> None:
    """One request, asked in every way there is."""
    at = {"now_s": NOW, "reader": reader}
    wanted = await model.query(asked, limit=limit, **at)  # type: ignore[arg-type]
    found = await log.query(asked, limit=limit, **at)  # type: ignore[arg-type]
    assert (found.seq, found.more) == (wanted.seq, wanted.more)
    at_once = log.at_once(asked, limit=limit, **at)  # type: ignore[arg-type]
    assert (at_once if isinstance(at_once, Found) else await at_once) == found
    best_first = [one for one in asked if one.search is not None and search_words(one.search)]
    if not best_first:
        assert found.rows == wanted.rows
    elif not wanted.more:
        assert sorted(found.rows) == sorted(wanted.rows)
    else:  # which of them are best is for the engine to say
        unlimited = [msgspec.structs.replace(one, limit=None) for one in asked]
        everything = await model.query(unlimited, limit=PLENTY, **at)  # type: ignore[arg-type]
        assert set(found.rows) <= set(everything.rows)
        assert len(found.rows) == len({row[0] for row in found.rows})
    if len(asked) > 1:
        assert found.rows == sorted(found.rows, key=lambda row: (-row[1], row[2]))
    assert await log.count(asked, **at) == await model.count(asked, **at)  # type: ignore[arg-type]
    for one in asked:
        keys = await log.pubkeys(one, limit=PLENTY, **at)  # type: ignore[arg-type]
        assert set(keys) == set(await model.pubkeys(one, limit=PLENTY, **at))  # type: ignore[arg-type]
        whole = await model.outline(one, limit=PLENTY, **at)  # type: ignore[arg-type]
        for most in (limit, PLENTY):
            outline = await log.outline(one, limit=most, **at)  # type: ignore[arg-type]
            if one in best_first:
                assert set(outline) <= set(whole)
            else:
                assert outline == whole[: most if one.limit is None else min(most, one.limit)]


@pytest.fixture
def all_ways_to_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short feeds are guessed at, and read with more care, as long ones are."""
    monkeypatch.setattr("hanse.engines.storage.feeds.SAMPLED_FROM", 9)
    monkeypatch.setattr("hanse.engines.storage.feeds.FEED_EACH", 2)


@pytest.mark.usefixtures("all_ways_to_feed")
@pytest.mark.parametrize("engine", engines)
@pytest.mark.timeout(400)
@thorough
@given(events, requests, st.sampled_from([PLENTY, 6, 4, 2]), readers)
async def test_every_read_answers_what_matches_says_in_nip_01s_order(
    places: Callable[[], Path],
    engine: str,
    stored: list[Event],
    requests: list[list[Filter]],
    limit: int,
    reader: frozenset[PublicKey],
) -> None:
    model = MemoryLog()
    async with ENGINES[engine].open(places()) as database:
        log = EventLog(database, lambda: bytes(32), window=WINDOW)
        await log.open()
        half = len(stored) // 2
        for part in (stored[:half], stored[half:]):
            # The newer half is in no index yet, where the engine keeps events aside.
            await database.settle()
            assert await log.append_many(part) == await model.append_many(part)
        for asked in requests:
            await assert_same(log, model, asked, limit, reader)
