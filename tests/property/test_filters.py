"""Two answers to one question must agree: `Filter.matches` and the SQL over the log. Live delivery
is held against the same in `test_live.py`.

Alphabets are small and filters mostly open, so that authors, kinds, seconds and tag values collide.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanse.engines.storage.columns import expiration_of
from hanse.engines.storage.log import EventLog
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

NOW = 4
PLENTY = 1000
AUTHORS = [PublicKey(f"{digit:064x}") for digit in range(3)]
KINDS = [1, 7, 2402, kinds.GIFT_WRAP]
LETTERS = ["p", "t", "T"]
VALUES = ["", "a", "é", AUTHORS[0], AUTHORS[1]]
SECONDS = st.integers(3, 6)

letters, values = st.sampled_from(LETTERS), st.sampled_from(VALUES)
tags = st.one_of(
    *([st.tuples(letters, values)] * 4),
    st.tuples(letters, values, values),
    st.tuples(st.sampled_from(["long", "", "1", "é"]), values),
    st.tuples(letters),
    st.just(()),
    st.tuples(st.just("expiration"), SECONDS.map(str)),
)
contents = st.fixed_dictionaries(
    {
        "pubkey": st.sampled_from(AUTHORS),
        "created_at": SECONDS,
        "kind": st.sampled_from(KINDS),
        "tags": st.lists(tags, max_size=5).map(tuple),
    }
)


def numbered(found: list[tuple[int, dict[str, Any]]]) -> list[Event]:
    """Events with distinct ids whose order is not the order of arrival."""
    return [Event(id=f"{id:064x}", content="", sig="", **fields) for id, fields in found]


ids = st.integers(0, 40)
events = st.lists(
    st.tuples(ids, contents), min_size=8, max_size=16, unique_by=lambda pair: pair[0]
).map(numbered)


def seldom(condition: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly no condition: with many at once hardly anything would match."""
    return st.one_of(*([st.none()] * 4), condition)


filters = st.builds(
    Filter,
    ids=seldom(st.frozensets(ids.map(lambda id: f"{id:064x}"), max_size=12)),
    authors=seldom(st.frozensets(st.sampled_from(AUTHORS))),
    kinds=seldom(st.frozensets(st.sampled_from(KINDS))),
    since=seldom(SECONDS),
    until=seldom(SECONDS),
    limit=seldom(st.integers(0, 5)),
    tags=st.dictionaries(letters, st.frozensets(values, max_size=4), max_size=2).map(
        lambda found: tuple(found.items())
    ),
)
requests = st.lists(st.lists(filters, min_size=1, max_size=2).map(tuple), min_size=4, max_size=12)
thorough = settings(suppress_health_check=[HealthCheck.too_slow])


@asynccontextmanager
async def an_empty_log() -> AsyncIterator[EventLog]:
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteDatabase(str(Path(folder) / "log.db")) as database:
            log = EventLog(database, lambda: bytes(32))
            await log.open()
            yield log


def is_served(event: Event) -> bool:
    if event.kind in kinds.PRIVATE:
        return False  # nobody asks here
    expires = expiration_of(event.tags)
    return expires is None or expires > NOW


def newest_first(found: Sequence[Event]) -> list[str]:
    return [event.id for event in sorted(found, key=lambda event: (-event.created_at, event.id))]


def oracle(stored: list[Event], asked: tuple[Filter, ...], limit: int) -> list[str]:
    """What a query must answer, by `matches` alone: each filter cut at its own limit."""
    live = [event for event in stored if is_served(event)]
    chosen: set[str] = set()
    for one in asked:
        bound = limit if one.limit is None else min(limit, one.limit)
        chosen.update(newest_first([event for event in live if one.matches(event)])[:bound])
    return newest_first([event for event in live if event.id in chosen])


@thorough
@given(events, requests, st.sampled_from([PLENTY, 6, 4, 2]))
async def test_a_query_answers_what_matches_says_in_nip_01s_order(
    stored: list[Event], asked: list[tuple[Filter, ...]], limit: int
) -> None:
    async with an_empty_log() as log:
        assert all(isinstance(seq, int) for seq in await log.append_many(stored))
        for one in asked:
            found = await log.query(one, limit=limit, now_s=NOW)
            assert [row[2].hex() for row in found.rows] == oracle(stored, one, limit)
            assert found.seq == await log.last_seq()
