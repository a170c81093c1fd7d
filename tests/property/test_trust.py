"""Trust, whatever is told and in whatever order: bounds hold, and order never counts."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.trust.acceptance import accepted, counted_now
from hanse.trust.gather import edges_for, gather
from hanse.trust.graph import Graph
from hanse.trust.levels import answer
from hanse.trust.model import Answer, Endorsement, Outcome
from hanse.trust.spam import spam_outcomes

CIRCLE = ("c0", "c1", "c2", "c3", "c4")
PEOPLE = (*CIRCLE, "p0", "p1", "p2", "p3", "me")
NOW = 1000
QUOTA = 4

names = st.sampled_from(PEOPLE)
domains = st.sampled_from(["", "sms", "sms.us", "code"])
endorsements = st.builds(
    lambda pair, domain, grade, at_s, lasts: Endorsement(
        by=pair[0], of=pair[1], domain=domain, grade=grade, at_s=at_s, expires_s=at_s + lasts
    ),
    st.tuples(names, names).filter(lambda pair: pair[0] != pair[1]),
    domains,
    st.integers(0, 3),
    st.integers(0, NOW + 100),
    st.integers(1, 2 * NOW),
)
outcomes = st.builds(
    lambda rater, subject, domain, good, bad, at_s: Outcome(
        rater=rater, subject=subject, domain=domain, good=good, bad=bad + 0.1, at_s=at_s
    ),
    names,
    names,
    domains,
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(0, NOW + 100),
)


def judge(told: list[Endorsement], dealt: list[Outcome], subject: str, domain: str) -> Answer:
    counted = counted_now(told, NOW, QUOTA)
    graph = Graph.build(edges_for(counted, domain))
    return answer(
        gather(
            graph,
            graph.view(CIRCLE),
            counted,
            dealt,
            viewer="me",
            circle=CIRCLE,
            subject=subject,
            now_s=NOW,
            domain=domain,
        )
    )


@given(
    st.lists(endorsements, max_size=40), st.lists(outcomes, max_size=15), names, domains, st.data()
)
def test_order_of_arrival_never_changes_an_answer(
    told: list[Endorsement], dealt: list[Outcome], subject: str, domain: str, data: st.DataObject
) -> None:
    first = judge(told, dealt, subject, domain)
    mixed, dealt_mixed = data.draw(st.permutations(told)), data.draw(st.permutations(dealt))
    again = judge([*mixed, *told[:3]], dealt_mixed, subject, domain)
    assert first == again
    assert 0.0 <= first.lower_bound <= first.score <= 1.0


@given(
    st.lists(endorsements, max_size=40),
    st.lists(outcomes, max_size=15),
    names,
    st.integers(0, 10_000),
    st.integers(0, 20),
    st.data(),
)
def test_refused_spam_never_raises_anything_and_orders_do_not_matter(
    told: list[Endorsement],
    dealt: list[Outcome],
    subject: str,
    count: int,
    times: int,
    data: st.DataObject,
) -> None:
    before = judge(told, dealt, subject, "")
    spam = spam_outcomes({0: count}, by="me", of=subject, now_s=NOW)
    mixed = data.draw(st.permutations([*dealt, *spam * times, *spam]))
    after = judge(told, mixed, subject, "")
    assert after == judge(told, [*dealt, *spam], subject, "")
    assert after.level <= before.level
    assert after.score <= before.score + 1e-9
    assert after.lower_bound <= before.lower_bound + 1e-9
    named = any("as spam" in one.text for one in after.reasons)
    assert named <= (count >= 100)


edges = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), max_size=60)


@settings(max_examples=200)
@given(edges, edges, st.sets(st.integers(0, 9), max_size=5), st.sets(st.integers(0, 9), max_size=2))
def test_folding_in_gives_what_a_rebuild_gives_to_the_last_unit(
    before: list[tuple[int, int, int]],
    after: list[tuple[int, int, int]],
    seeds: set[int],
    barred: set[int],
) -> None:
    graph = Graph.build((f"n{by}", f"n{of}", grade) for by, of, grade in before)
    viewer = [f"n{seed}" for seed in seeds]
    barring = [f"n{each}" for each in barred]
    live = {(by, of): grade for by, of, grade in before}
    for by, of, grade in after:
        graph.fold(f"n{by}", f"n{of}", grade)
        live[by, of] = grade
        if (by + of) % 3 == 0:
            graph.view(viewer, barring)
    view = graph.view(viewer, barring)
    kept = [(by, of, grade) for (by, of), grade in live.items() if grade and by != of]
    random.Random(len(kept)).shuffle(kept)
    again = Graph.build((f"n{by}", f"n{of}", grade) for by, of, grade in kept)
    rebuilt = again.view(viewer, barring)
    assert again.edges == graph.edges == len(kept)
    for name in graph.names:
        here, there = graph.index(name), again.index(name)
        assert here is not None
        if there is not None:
            assert view.of(here) == rebuilt.of(there)
            told, retold = (
                [(tuple(each.names[step] for step in path), weight) for path, weight in paths]
                for each, paths in ((graph, view.paths(here)), (again, rebuilt.paths(there)))
            )
            assert told == retold
        else:
            assert view.of(here).reach == 0.0


fakes = st.integers(0, 30).map(lambda number: f"fake{number}")


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 4), fakes, st.integers(0, NOW)), max_size=80),
    st.lists(st.tuples(fakes, fakes), max_size=80),
)
def test_fakes_get_in_only_by_the_quota_of_three_corrupted(
    corrupted: int,
    vouched: list[tuple[int, str, int]],
    among: list[tuple[str, str]],
) -> None:
    told = [
        Endorsement(by=CIRCLE[member], of=fake, grade=3, at_s=at_s, expires_s=5 * NOW)
        for member, fake, at_s in vouched
        if member < corrupted
    ]
    told += [
        Endorsement(by=by, of=of, grade=3, at_s=1, expires_s=5 * NOW)
        for by, of in among
        if by != of
    ]
    found = accepted(counted_now(told, NOW, QUOTA), CIRCLE)
    bound = corrupted * QUOTA // 3 if corrupted >= 3 else 0
    assert len(found) <= bound


@given(
    st.lists(st.tuples(st.integers(0, 30), fakes), max_size=30),
    st.lists(st.tuples(fakes, fakes), max_size=120),
    st.integers(0, 10**6),
)
def test_fooled_people_back_at_most_a_third_as_many_fakes_however_these_are_wired(
    fooled: list[tuple[int, str]], among: list[tuple[str, str]], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    honest = [f"h{number}" for number in range(31)]
    real = [
        (by, of, 1)
        for by in (*CIRCLE, *honest[:12])
        for of in honest
        if by != of and draw.random() < 0.5
    ]
    attack = sorted({(honest[number], fake) for number, fake in fooled})
    graph = Graph.build(
        [*real, *((by, of, 3) for by, of in attack), *((by, of, 3) for by, of in among if by != of)]
    )
    view = graph.view(CIRCLE)
    rank = view.rank()
    ranked = [name for name in graph.names if name.startswith("fake") and rank[graph.index(name)]]
    assert len(ranked) <= len(attack) // 3
