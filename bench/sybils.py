"""Fakes against acceptance and against rank: how many get in, by how many honest mistakes.

Rank is attacked on the praise of Bitcoin OTC. An attacker gets g honest people to endorse its
Sybils, and wires these as it likes. Counted are Sybils that stand above the fifth percentile of the
honest, for every mix of wiring and of whom the g edges come from and go to.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.ratings import Floats, Longs, Ratings
from hanse.trust.acceptance import accepted, counted_now
from hanse.trust.graph import Graph
from hanse.trust.model import Endorsement

GRADE = 3
CIRCLE, NEEDED = 10, 3
DENSE_DEGREE = 20
PERCENTILE = 5
Pairs = tuple[Longs, Longs]


# --- acceptance -----------------------------------------------------------------------------------


def sybils_accepted(corrupted: int, quota: int, sybils: int, among: list[Endorsement]) -> int:
    """Fakes accepted when so many of a circle of ten spend their quota on them, as well as can be.

    In turn, so that three different members meet on each fake; then on every fake, over the quota.
    """
    circle = [f"circle{number}" for number in range(CIRCLE)]
    fakes = [_fake(number) for number in range(sybils)]
    told = list(among)
    for turn in range(corrupted * quota):
        told.append(_vouch(circle[turn % corrupted], fakes[turn // NEEDED], at_s=turn))
    for member in circle[:corrupted]:
        told += [_vouch(member, fake, at_s=1000) for fake in fakes[corrupted * quota :]]
    counted = counted_now(told, 2000, quota)
    return sum(name.startswith("fake") for name in accepted(counted, circle))


def each_other(sybils: int, seed: int) -> list[Endorsement]:
    """Every fake endorsed by twenty others."""
    draw = np.random.default_rng(seed)
    others = draw.integers(0, sybils, (sybils, DENSE_DEGREE)).tolist()
    return [
        _vouch(_fake(other), _fake(fake))
        for fake, row in enumerate(others)
        for other in row
        if other != fake
    ]


def _fake(number: int) -> str:
    return f"fake{number}"


def _vouch(by: str, of: str, at_s: int = 500) -> Endorsement:
    return Endorsement(by=by, of=of, grade=GRADE, at_s=at_s, expires_s=5000)


# --- rank -----------------------------------------------------------------------------------------


def _dense(sybils: int, draw: np.random.Generator) -> Pairs:
    return (
        np.repeat(np.arange(sybils), DENSE_DEGREE),
        draw.integers(0, sybils, sybils * DENSE_DEGREE),
    )


def _chain(sybils: int, _: np.random.Generator) -> Pairs:
    return np.arange(sybils - 1), np.arange(1, sybils)


def _threes(sybils: int, _: np.random.Generator) -> Pairs:
    """Layers of three, each endorsing the whole next layer: what a rule of three is weakest to."""
    rows = sybils // 3
    layer = np.repeat(np.arange(rows - 1), 9) * 3
    return layer + np.tile(np.repeat(np.arange(3), 3), rows - 1), layer + 3 + np.tile(
        np.arange(3), 3 * (rows - 1)
    )


def _star(sybils: int, _: np.random.Generator) -> Pairs:
    """The first thirty endorse all others, and these endorse nobody."""
    heads = min(30, sybils)
    return np.repeat(np.arange(heads), sybils), np.tile(np.arange(sybils), heads)


WIRINGS: dict[str, Callable[[int, np.random.Generator], Pairs]] = {
    "dense": _dense,
    "chain": _chain,
    "threes": _threes,
    "star": _star,
}


class Honest(NamedTuple):
    """The honest graph, the viewer's circle, and who may be fooled."""

    praise: Ratings
    circle: Longs
    size: int
    anybody: Longs  # honest people the circle reaches, without the circle
    guarantors: Longs  # of these, the ones whose word backs others
    backed: NDArray[np.bool_]


def honest_graph(ratings: Ratings, size: int, circle: Longs) -> Honest:
    """All praise of the data as honest endorsements."""
    praise = ratings.only(ratings.weight > 0)
    view = _graph(praise, size).view(_names(circle))
    reached = (view.reach()[:size] > 0) & ~np.isin(np.arange(size), circle)
    votes = np.bincount(praise.subject[np.isin(praise.rater, circle)], minlength=size)
    return Honest(
        praise,
        circle,
        size,
        np.flatnonzero(reached),
        np.flatnonzero(reached & (votes >= NEEDED)),
        view.backed()[:size],
    )


def attacked(
    honest: Honest, edges: int, sybils: int, wiring: str, place: str, seed: int
) -> Ratings:
    """The honest graph with the attack on it. Sybils are numbered from `honest.size`.

    Places: `random` people endorse random Sybils; random people, `threes` to a Sybil; `guarantors`,
    the worst people to fool, three to a Sybil; `friends`: two of the circle and a guarantor.
    """
    draw = np.random.default_rng(seed)
    pool = honest.guarantors if place in ("guarantors", "friends") else honest.anybody
    by = draw.choice(pool, edges, replace=edges > len(pool))
    if place == "friends":
        turn = np.arange(edges) % NEEDED
        by = np.where(turn > 0, honest.circle[turn], by)
    of = draw.integers(0, sybils, edges) if place == "random" else np.arange(edges) // 3
    inner_by, inner_of = WIRINGS[wiring](sybils, draw)
    kept = inner_by != inner_of
    return honest.praise.plus(by, honest.size + of, 10.0).plus(
        honest.size + inner_by[kept], honest.size + inner_of[kept], 10.0
    )


class Above(NamedTuple):
    """Sybils above the honest fifth percentile, by measure."""

    rank: int  # hanse.trust, among the honest that are backed
    rank_all: int  # hanse.trust, among all honest that are reached
    pagerank: int  # reach alone, without backing, among the honest that are backed
    sybilrank: int  # early-terminated degree-normalised walk, the same


def above(honest: Honest, graph: Ratings, sybils: int) -> Above:
    """Count Sybils above, by four measures."""
    size = honest.size + sybils
    view = _graph(graph, size).view(_names(honest.circle))
    rank, reach = view.rank()[:size], view.reach()[:size]
    backed = np.flatnonzero(honest.backed)
    walk = _sybilrank(graph, honest.circle, size)
    return Above(
        _count(rank, backed, honest.size),
        _count(rank, honest.anybody, honest.size),
        _count(reach, backed, honest.size),
        _count(walk, backed, honest.size),
    )


def _count(score: Floats, among: Longs, size: int) -> int:
    return int((score[size:] > np.percentile(score[among], PERCENTILE)).sum())


def _sybilrank(graph: Ratings, circle: Longs, size: int) -> Floats:
    """Cao et al., NSDI 2012: log2(n) steps of an undirected walk, over the degree."""
    by = np.concatenate([graph.rater, graph.subject])
    of = np.concatenate([graph.subject, graph.rater])
    degree = np.maximum(np.bincount(by, minlength=size), 1)
    held: Floats = np.bincount(circle, minlength=size) / len(circle)
    for _ in range(int(np.log2(size))):
        held = np.bincount(of, (held / degree)[by], size).astype(np.float64)
    return held / degree


def _graph(praise: Ratings, size: int) -> Graph:
    return Graph.from_arrays(
        _names(np.arange(size)), praise.rater, praise.subject, praise.weight.astype(np.int64)
    )


def _names(numbers: Longs) -> list[str]:
    return [f"{number:06d}" for number in numbers.tolist()]
