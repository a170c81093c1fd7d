"""Bitcoin OTC as evidence: random splits, what held-out ratings say, and attackers who rate.

Seven tenths of the ratings are told, the rest is held out. A viewer's circle is twenty of the
hundred most praised people of the told part. Scores see told ratings only. Two questions, by area
under the curve (AUC): is a held-out rating positive (its target known to the told part), and is a
person's held-out sum not negative?
"""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hanse.trust.graph import Graph
from hanse.trust.outcomes import Tier, credit, cries_all, expectation, own_rate, voices, weigh

DATA = Path(__file__).parent / "data" / "bitcoin_otc.csv.gz"
TOLD = 0.7
CIRCLE, CANDIDATES = 20, 100
SYBILS = 200
WALK_STEPS, WALK_ON = 30, 0.85

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Ratings(NamedTuple):
    """Who rated whom, and how: parallel arrays."""

    rater: Longs
    subject: Longs
    weight: Floats

    def plus(self, rater: Longs, subject: Longs, weight: float) -> "Ratings":
        """These and more, all of one weight."""
        return Ratings(
            np.concatenate([self.rater, rater]),
            np.concatenate([self.subject, subject]),
            np.concatenate([self.weight, np.full(len(rater), weight)]),
        )

    def only(self, kept: NDArray[np.generic]) -> "Ratings":
        """Some of these."""
        return Ratings(self.rater[kept], self.subject[kept], self.weight[kept])


class Split(NamedTuple):
    """One experiment: what is told, what is asked, and whose circle judges."""

    told: Ratings
    asked: Ratings  # held-out ratings of people the told part knows
    people: Longs  # who has held-out ratings and is known
    good: Flags  # of each of them: the held-out sum is not negative
    circle: Longs
    size: int


class Scored(NamedTuple):
    """Scores of all people for the circle, and of all held-out ratings for their raters."""

    person: Floats
    rating: Floats


def read_ratings() -> tuple[Ratings, int]:
    """All ratings in order of time, people numbered from 0, and how many people there are."""
    lines = gzip.decompress(DATA.read_bytes()).decode().split()
    rows = np.array([line.split(",") for line in lines if line[0].isdigit()], np.float64)
    rows = rows[np.argsort(rows[:, 3], kind="stable")]
    people, numbers = np.unique(rows[:, :2].astype(np.int64), return_inverse=True)
    numbers = numbers.reshape(-1, 2)
    return Ratings(numbers[:, 0], numbers[:, 1], rows[:, 2]), len(people)


def split(ratings: Ratings, size: int, seed: int, *, by_time: bool = False) -> Split:
    """One split of the ratings: random, or the first part in time against the rest."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(ratings.rater))
    if by_time:
        order = np.arange(len(ratings.rater))
    cut = int(TOLD * len(order))
    told, held = ratings.only(order[:cut]), ratings.only(order[cut:])
    known = np.zeros(size, np.bool_)
    known[told.rater] = known[told.subject] = True
    sums = np.bincount(held.subject, held.weight, size)
    people = np.flatnonzero(known & (np.bincount(held.subject, minlength=size) > 0))
    praised = np.bincount(told.subject, told.weight > 0, size)
    candidates = np.argsort(-praised, kind="stable")[:CANDIDATES]
    return Split(
        told=told,
        asked=held.only(known[held.subject]),
        people=people,
        good=sums[people] >= 0,
        circle=draw.choice(candidates, CIRCLE, replace=False),
        size=size,
    )


# --- attackers: they know the held-out labels, which scores never see ----------------------------


def praised_bad(found: Split) -> Ratings:
    """Two hundred Sybils each rate every bad person +10."""
    return _each_rates(found, found.people[~found.good], 10.0)


def slandered_good(found: Split) -> Ratings:
    """Two hundred Sybils each rate every good person -10."""
    return _each_rates(found, found.people[found.good], -10.0)


def fooled(found: Split, told: Ratings, count: int, seed: int) -> Ratings:
    """So many good people outside the circle each endorse a Sybil of their own, +10."""
    draw = np.random.default_rng(1000 + seed)
    honest = np.setdiff1d(found.people[found.good], found.circle)
    chosen = draw.choice(honest, count, replace=False)
    return told.plus(chosen, found.size + np.arange(count), 10.0)


def rated_back(found: Split, told: Ratings) -> Ratings:
    """Every bad person rates every Sybil +10."""
    bad = found.people[~found.good]
    sybils = found.size + np.arange(SYBILS)
    return told.plus(np.tile(bad, SYBILS), np.repeat(sybils, len(bad)), 10.0)


def _each_rates(found: Split, subjects: Longs, weight: float) -> Ratings:
    sybils = found.size + np.arange(SYBILS)
    return found.told.plus(np.repeat(sybils, len(subjects)), np.tile(subjects, SYBILS), weight)


# --- scores ---------------------------------------------------------------------------------------


def ours(found: Split, told: Ratings) -> Scored:
    """What hanse.trust says: graph, voices, weighed outcomes, each viewer's own rate."""
    size = found.size + SYBILS
    names = [f"{number:05d}" for number in range(size)]
    praise = told.only(told.weight > 0)
    graph = Graph.from_arrays(names, praise.rater, praise.subject, praise.weight.astype(np.int64))
    view = graph.view(names[number] for number in found.circle)
    tier = np.where(view.guarantors(), Tier.BELIEVED, view.backed()).astype(np.int8)[:size]
    weight = voices(view.reach()[:size], tier)
    good, bad = np.maximum(told.weight, 0.0), np.maximum(-told.weight, 0.0)
    by = tier[told.rater]
    cries = cries_all(told.rater, told.subject, good, bad, by, size)
    heard = np.where(tier == Tier.BELIEVED, 1.0, weight * credit(cries))
    score = weigh(told.subject, good, bad, heard[told.rater], by, size).scores()
    rate = own_rate(
        np.bincount(told.rater, good > 0, size).astype(np.float64),
        np.bincount(told.rater, bad > 0, size).astype(np.float64),
        weight,
    )
    asked = found.asked
    warned = _warned(told, asked, size)
    return Scored(score, expectation(score[asked.subject], rate[asked.rater], warned))


def beta(found: Split, told: Ratings, weight: Floats | None = None) -> Scored:
    """The Beta score of all ratings, each weighing the same or by its rater."""
    size = found.size + SYBILS
    by = np.ones(len(told.rater)) if weight is None else weight[told.rater]
    good = np.bincount(told.subject, by * np.maximum(told.weight, 0.0), size)
    bad = np.bincount(told.subject, by * np.maximum(-told.weight, 0.0), size)
    score = (good + 1) / (good + bad + 2)
    return Scored(score, score[found.asked.subject])


def trusted_beta(found: Split, told: Ratings) -> Scored:
    """The same, weighed by the rater's personalised PageRank from the circle."""
    size = found.size + SYBILS
    return beta(found, told, np.minimum(1.0, _pagerank(found, told, size) * found.size))


def auc(score: Floats, good: Flags) -> float:
    """The chance that a good one scores above a bad one; ties count half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    goods = int(good.sum())
    bads = len(good) - goods
    return float((rank[good].sum() - goods * (goods + 1) / 2) / (goods * bads))


def aucs(found: Split, scored: Scored) -> tuple[float, float, float]:
    """AUC of people; of held-out ratings by the circle's score alone; and for each rater."""
    asked = found.asked
    positive = asked.weight > 0
    return (
        auc(scored.person[found.people], found.good),
        auc(scored.person[asked.subject], positive),
        auc(scored.rating, positive),
    )


def _warned(told: Ratings, asked: Ratings, size: int) -> Floats:
    """What each asked rating's subject said against its rater, as a weight."""
    key = told.rater * size + told.subject
    order = np.argsort(key)
    wanted = asked.subject * size + asked.rater
    at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
    said = np.where(key[order][at] == wanted, told.weight[order][at], 0.0)
    return np.maximum(-said, 0.0)


def _pagerank(found: Split, told: Ratings, size: int) -> Floats:
    praise = told.only(told.weight > 0)
    out = np.bincount(praise.rater, praise.weight, size)
    share = praise.weight / out[praise.rater]
    start: Floats = np.bincount(found.circle, minlength=size) / len(found.circle)
    held: Floats = start
    for _ in range(WALK_STEPS):
        moved = np.bincount(praise.subject, held[praise.rater] * share, size).astype(np.float64)
        held = WALK_ON * moved + (1 - WALK_ON * moved.sum()) * start
    return held
