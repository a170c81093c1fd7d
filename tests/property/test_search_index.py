"""An index built by and by answers as one built at once, whatever was put, replaced and removed."""

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.offers import Stall, offer

from hanse.protocol.amount import Amount
from hanse.registry import index as module
from hanse.registry import postings
from hanse.registry.entry import key_of
from hanse.registry.lookup import Aside, Lookup
from hanse.registry.model import Offer, Promise
from hanse.registry.postings import Forward, Run, extended
from hanse.registry.search import Constraints, Found, Search

WORDS = ("send", "sms", "rain", "paris", "song", "price", "of", "table")
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
offers = st.builds(
    lambda name, text, by, of, price, ms, topic: offer(
        f"o{name}",
        text,
        by=by,
        of=of,
        price=price,
        promise=Promise(latency_p95_ms=ms, regions=("US",) if of % 2 else ()),
        topics=(topic,),
    ),
    st.integers(0, 9),
    texts,
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([0, 1000, 50_000]),
    st.sampled_from([100, 5000]),
    st.sampled_from(["a", "b"]),
)
deeds = st.lists(
    st.one_of(offers, st.tuples(st.integers(0, 9), st.integers(1, 5)), st.just("tidy")), max_size=30
)
searches = st.builds(
    lambda words, price, region, topics, facets: Search(
        words=words,
        constraints=Constraints(
            max_price=Amount(price) if price else None,
            regions=("US",) if region else (),
            topics=topics,
        ),
        limit=50,
        facets=facets,
    ),
    texts,
    st.sampled_from([0, 2000]),
    st.booleans(),
    st.sampled_from([(), ("a",)]),
    st.booleans(),
)


def answer(stall: Stall, search: Search) -> Found:
    """What it finds."""
    return asyncio.run(stall.find(search))


def shown(found: Found) -> object:
    """All of an answer but where the offers came from."""
    hits = [(hit.offer.address, hit.score, hit.figures, hit.reasons) for hit in found.hits]
    return hits, found.total, found.excluded, found.facets


@settings(max_examples=60, deadline=None)
@given(deeds, st.lists(searches, min_size=1, max_size=4))
def test_by_and_by_and_at_once_answer_the_same(
    done: list[Offer | tuple[int, int] | str], asked: list[Search]
) -> None:
    by_and_by, live = Stall(), dict[str, Offer]()
    dead_min, module.DEAD_MIN = module.DEAD_MIN, 1
    try:
        for deed in done:
            if isinstance(deed, Offer):
                by_and_by.put(deed)
                live[deed.address] = deed
            elif isinstance(deed, tuple):
                gone = offer(f"o{deed[0]}", by=deed[1]).address
                by_and_by.finder.index.remove([key_of(gone)])
                live.pop(gone, None)
            else:
                by_and_by.finder.publish()
    finally:
        module.DEAD_MIN = dead_min
    at_once = Stall()
    at_once.put(*reversed(live.values()))
    for search in asked:
        assert shown(answer(by_and_by, search)) == shown(answer(at_once, search))


@settings(max_examples=60, deadline=None)
@given(deeds, searches)
def test_what_is_found_meets_the_constraints_and_shares_a_word(
    done: list[Offer | tuple[int, int] | str], search: Search
) -> None:
    stall = Stall()
    stall.put(*{deed.address: deed for deed in done if isinstance(deed, Offer)}.values())
    found = answer(stall, search)
    asked = search.constraints
    for hit in found.hits:
        assert asked.max_price is None or hit.capability.price <= asked.max_price
        assert set(asked.regions) <= set(hit.offer.promise.regions)
        assert set(asked.topics) <= set(hit.offer.topics)
        assert not search.words or hit.figures["words"] > 0
    assert found.total == len(found.hits)
    whole = answer(stall, Search(words=search.words, limit=50))
    removed = whole.total - found.total
    assert max(found.excluded.values(), default=0) <= removed <= sum(found.excluded.values())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few rows."""
    monkeypatch.setattr(postings, "TAIL_MAX", 2)
    monkeypatch.setattr(postings, "RUN_MAX", 10)


@pytest.mark.usefixtures("small")
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.integers(0, 20), unique=True, max_size=6), max_size=40), st.data())
def test_runs_know_every_row_of_a_term_in_order(rows: list[list[int]], data: st.DataObject) -> None:
    forward, given_up_to = Forward(), 0
    columns, cut = postings.Columns(), data.draw(st.integers(0, 40))
    runs: tuple[Run, ...] = ()
    while given_up_to < len(rows):
        more = data.draw(st.integers(1, 10))
        batch = rows[given_up_to : given_up_to + more]
        forward.append([(terms, [1 + term for term in terms]) for terms in batch])
        given_up_to += len(batch)
        runs = extended(runs, forward)
        if given_up_to >= cut:  # known from before the last rows came
            columns.of_term(3, given_up_to, runs)
    dense = columns.of_term(3, len(rows), runs)
    assert dense.tolist() == [4 if 3 in terms else 0 for terms in rows]
    lists = np.arange(21) % 2 == 1
    counted = np.zeros(21, dtype=np.int64)
    for run in runs:
        terms, counts = run.counts(np.ones(len(rows), dtype=np.bool_), lists)
        counted[terms] += counts
    assert counted.tolist() == [
        sum(term in one for one in rows) if term % 2 else 0 for term in range(21)
    ]
    for term in range(21):
        found = [run.slice(term) for run in runs]
        assert [row for part, _ in found for row in part.tolist()] == [
            row for row, terms in enumerate(rows) if term in terms
        ]
        for _, impacts in found:
            assert (impacts == 1 + term).all()


def test_nobody_crowds_the_rest_out_of_what_is_looked_at() -> None:
    stall = Stall()
    stall.put(*(offer(f"f{n}", "sms sms sms", by=n + 10, of=1) for n in range(900)))
    stall.put(*(offer(f"h{n}", f"also sms among other words {n}", by=n + 1000) for n in range(30)))
    rows = Lookup(stall.finder.index, Search(words="sms"), Aside(now_s=1)).run().rows
    operators = stall.finder.index.view().column("operator")[rows]
    assert len(np.unique(operators)) == 31
    assert len(rows) == 300
