"""What a viewer sees of a graph: reach, backing, paths; and that changes are exact."""

import functools
import itertools

import numpy as np
import pytest
from bench.ratings import read_ratings, split
from bench.sybils import WIRINGS, Honest, above, attacked, honest_graph

from hanse.errors import Invalid
from hanse.trust.graph import Graph
from hanse.trust.view import HOPS, PENDING_MAX, TOTAL

SEEDS = ("s1", "s2", "s3")
Edge = tuple[str, str, int]


def seen(graph: Graph, name: str) -> tuple[float, bool, int]:
    number = graph.index(name)
    assert number is not None
    found = graph.view(SEEDS).of(number)
    return found.reach, found.backed, found.votes


def test_what_starts_at_the_seeds_is_passed_on_by_grade() -> None:
    graph = Graph.build([("s1", "a", 3), ("s1", "b", 1)])
    assert seen(graph, "a")[0] == pytest.approx(3 * seen(graph, "b")[0], rel=1e-6)
    assert 0 < seen(graph, "b")[0] < 1


def test_reach_ends_after_a_fixed_number_of_steps() -> None:
    names = ["s1", *(f"n{step}" for step in range(HOPS + 1))]
    graph = Graph.build([(by, of, 1) for by, of in itertools.pairwise(names)])
    assert seen(graph, f"n{HOPS - 1}")[0] > 0
    assert seen(graph, f"n{HOPS}")[0] == 0


def test_three_seeds_make_a_guarantor_and_three_guarantors_back() -> None:
    edges = [(seed, of, 1) for seed in SEEDS for of in ("g1", "g2")]
    edges += [(by, "x", 1) for by in ("g1", "g2", "s1")]
    edges += [(by, "y", 1) for by in ("g1", "g2", "x")]
    graph = Graph.build(edges)
    assert seen(graph, "g1")[1]
    assert seen(graph, "x")[1:] == (True, 3)
    assert seen(graph, "y")[1:] == (False, 2)
    rank = graph.view(SEEDS).rank()
    assert rank[graph.index("x")] > 0 == rank[graph.index("y")]


def test_a_new_guarantor_is_heard_and_one_that_lost_a_seed_is_not() -> None:
    graph = Graph.build([("s1", "g", 1), ("s2", "g", 1), ("g", "x", 1), ("s1", "x", 1)])
    assert seen(graph, "x")[2] == 1
    graph.fold("s3", "g", 1)
    assert seen(graph, "x")[2] == 2
    graph.fold("s1", "g", 0)
    assert seen(graph, "x")[2] == 1


def test_the_barred_carry_nothing_and_get_nothing() -> None:
    graph = Graph.build([("s1", "a", 1), ("a", "b", 1)])
    view = graph.view(SEEDS, barred=("a",))
    assert [view.of(number).reach for number in (1, 2)] == [0.0, 0.0]
    assert seen(graph, "b")[0] > 0


def test_paths_are_told_strongest_first() -> None:
    graph = Graph.build([("s1", "a", 1), ("a", "x", 1), ("s2", "x", 1), ("s2", "z", 9)])
    number = graph.index("x")
    assert number is not None
    paths = graph.view(SEEDS).paths(number)
    assert [tuple(graph.names[each] for each in path) for path, _ in paths] == [
        ("s1", "a", "x"),
        ("s2", "x"),
    ]


def test_paths_follow_changes() -> None:
    graph = Graph.build([("s1", "x", 1), ("s2", "x", 1)])
    number = graph.index("x")
    assert number is not None
    graph.fold("s1", "x", 0)
    graph.fold("s3", "x", 1)
    paths = graph.view(SEEDS).paths(number)
    assert [graph.names[path[0]] for path, _ in paths] == ["s2", "s3"]


def test_an_edge_is_set_changed_and_taken_away() -> None:
    graph = Graph.build([("s1", "a", 1)])
    before = seen(graph, "a")
    graph.fold("s1", "b", 5)
    assert seen(graph, "a")[0] < before[0]
    assert graph.edges == 2
    graph.fold("s1", "b", 0)
    assert seen(graph, "a") == before
    assert graph.edges == 1
    graph.fold("s1", "s1", 3)
    graph.fold("nobody", "a", 0)
    assert graph.edges == 1
    assert graph.index("nobody") is None
    for grade in (11, -1, True):
        with pytest.raises(Invalid):
            graph.fold("s1", "a", grade)


def test_a_warm_view_has_room_for_operators_that_came_later() -> None:
    graph = Graph.build([("s1", "a", 1)])
    graph.view(SEEDS)
    graph.view(["seed of another viewer"])
    number = graph.index("seed of another viewer")
    assert number is not None
    assert graph.view(SEEDS).rank()[number] == 0.0
    graph.fold("s1", "late", 1)
    assert seen(graph, "late")[0] > 0


def test_an_empty_graph_answers() -> None:
    view = Graph().view(SEEDS)
    assert not view.reach().any()
    assert view.backed_count() == len(SEEDS)
    assert Graph().view(()).paths(0) == []


def test_a_graph_cannot_be_built_of_wrong_grades() -> None:
    with pytest.raises(Invalid):
        Graph.build([("a", "b", 11)])


def test_many_changes_at_once_are_as_exact_as_one() -> None:
    draw = np.random.default_rng(5)
    names = [*SEEDS, *(f"n{number}" for number in range(300))]
    table = draw.integers(0, len(names), (3000, 2))
    graph = Graph.build([(names[by], names[of], 2) for by, of in table.tolist()])
    graph.view(SEEDS)
    for count in (1, 40, PENDING_MAX + 50):
        for by, of in draw.integers(0, len(names), (count, 2)).tolist():
            graph.fold(names[by], names[of], int(draw.integers(0, 4)))
        rank = graph.view(SEEDS).rank()
        again = Graph.from_arrays(graph.names, *graph.arrays()).view(SEEDS).rank()
        assert np.array_equal(rank[: len(graph)], again[: len(graph)])


def test_no_units_are_made_on_the_way() -> None:
    draw = np.random.default_rng(6)
    edges = draw.integers(0, 50, (400, 2)).tolist()
    graph = Graph.build([(f"n{by}", f"n{of}", 1 + by % 9) for by, of in edges])
    view = graph.view(["n0", "n1"])
    assert 0 < view.reach().sum() <= 1
    assert TOTAL == 2**26


@functools.cache
def honest_people() -> Honest:
    ratings, size = read_ratings()
    return honest_graph(ratings, size, split(ratings, size, 3).circle)


@pytest.mark.parametrize("wiring", sorted(WIRINGS))
@pytest.mark.parametrize("place", ["random", "threes", "guarantors", "friends"])
def test_fooled_people_rank_at_most_a_third_as_many_sybils(wiring: str, place: str) -> None:
    honest = honest_people()
    for edges, sybils in ((2, 200), (30, 200), (30, 2000)):
        found = above(honest, attacked(honest, edges, sybils, wiring, place, 4), sybils)
        assert max(found.rank, found.rank_all) <= edges // 3
