"""From what matched to a ranked, explained list.

relevance = e^((fit - best fit) / SOFTNESS)
fit       = words × WORDS × w + vectors × v + lessons × LESSONS × l
score     = relevance × quality^q × price^p × trust^t × presence        each factor 0 to 1

words     share of the query's words that the capability has, weighed by how rare they are (BM25)
vectors   how near the two are in meaning: the cosine of their vectors
lessons   how telling it is that like words led to paid calls of it (lessons.py), -1 to 1
quality   `quality.figure`: expected success⁴ × latency × how far independent payers prove it
price     1 / (1 + log10(1 + sat) / 4): ten times the price costs about a quarter; 0.5 for a
          capability without a price per call
trust     0.5 for a stranger to the viewer, to 1; 1 for all if nobody asks
presence  1 if the provider is connected, 0.05 if not, or if the offer was imported: nobody answers
          for it here; less for what nobody stood behind for long (liveness.py)

w, v, l, q, p, t are the request's weights. What fits less by SOFTNESS is worth 0.37 of the other:
ten times the price outweighs 0.03 of fit, a lost connection 0.3. Without words all fit the same.
"""

from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.protocol.amount import Amount
from hanse.registry.entry import NO_PRICE
from hanse.registry.lookup import Matches
from hanse.registry.model import NOTHING_PROMISED, Capability, Offer
from hanse.registry.postings import Rows
from hanse.registry.quality import Expected, Measured
from hanse.registry.search import Weights

WORDS = 0.8
LESSONS = 5.0
SOFTNESS = 0.1
OFFLINE_FACTOR = 0.05
STRANGER = 0.5
PAGE_SHARE = 3
"""Of ten hits in a row so many may be of one operator while others match."""
SPREAD_MAX = 2000
"""Rows among which others are looked for."""
HEAD = 4
"""Times as many rows as are asked for are put in order at first."""
LEARNED_MIN = 0.02
"""Lessons below this are not worth a word."""

Floats = NDArray[np.float64]


class Ranked(msgspec.Struct, frozen=True):
    """Rows best first, each with its score and what made it. All arrays run along `rows`."""

    rows: Rows
    scores: Floats
    parts: dict[str, Floats]


def rank(
    found: Matches,
    weights: Weights,
    online: NDArray[np.bool_],
    fresh: Floats,
    trust: Floats | None,
    most: int,
) -> Ranked:
    """The best `most` of what was found, in order. `online`, `fresh` and `trust` run along its
    rows."""
    column, rows = found.view.column, found.rows
    fit = weights.words * WORDS * found.words
    fit = fit + weights.vectors * found.vectors + weights.lessons * LESSONS * found.lessons
    relevance = np.exp((fit - fit.max(initial=-1e9)) / SOFTNESS)
    quality = column("quality")[rows].astype(np.float64)
    price = price_factor(column("price")[rows])
    believed = np.ones(len(rows)) if trust is None else STRANGER + (1 - STRANGER) * trust
    presence = np.where(online, 1.0, OFFLINE_FACTOR) * fresh
    scores = relevance * quality**weights.quality * price**weights.price
    # Rounded: what differs less is a matter of rounding, and ties have an order of their own.
    scores = np.round(scores * believed**weights.trust * presence, 9)
    order = _ordered(found, scores, most)
    parts = {
        "words": found.words,
        "vectors": found.vectors,
        "lessons": found.lessons,
        "relevance": relevance,
        "quality": quality,
        "price": price,
        "trust": believed,
        "presence": presence,
    }
    return Ranked(rows[order], scores[order], {name: part[order] for name, part in parts.items()})


def _ordered(found: Matches, scores: Floats, most: int) -> NDArray[np.intp]:
    """The best `most`, spread over operators; ties by age, then by key."""
    column, rows = found.view.column, found.rows

    def sorted_of(at: NDArray[np.intp]) -> NDArray[np.intp]:
        there = rows[at]
        order = np.lexsort((column("key")[there], -column("created")[there], -scores[at]))
        return at[order]

    operators = column("operator")[rows]
    head = HEAD * most
    if len(scores) > 2 * head:  # few of many: who stands far behind need not be put in order
        least = np.partition(scores, len(scores) - head)[len(scores) - head]
        order = spread(sorted_of(np.flatnonzero(scores >= least)), operators, most, whole=False)
        if order is not None:
            return order
    order = sorted_of(np.arange(len(scores)))[: max(4 * most, SPREAD_MAX)]
    order = spread(order, operators, most)
    assert order is not None
    return order


def price_factor(msat: NDArray[np.int64]) -> Floats:
    """What a price leaves of a score."""
    sat = np.where(msat >= NO_PRICE, 9999.0, msat / 1000)
    found: Floats = 1 / (1 + np.log10(1 + sat) / 4)
    return found


def spread(
    order: NDArray[np.intp], operators: NDArray[np.int32], most: int, *, whole: bool = True
) -> NDArray[np.intp] | None:
    """The first `most` of the same order, but of any ten that follow at most PAGE_SHARE are of one
    operator while others are left. None if `order` is not the whole and what follows may decide."""
    owners = operators[order]
    if whole and (owners == owners[:1]).all():
        return order[:most]
    ahead = zip(order.tolist(), owners.tolist(), strict=True)
    found: list[int] = []
    waiting: list[tuple[int, int]] = []
    """Who was passed over on earlier pages, in order: before all that is ahead."""
    while len(found) < most:
        page: dict[int, int] = {}
        late = []
        size = min(len(found) + 10, most)
        again = iter(waiting)
        for one, owner in chain(again, ahead):
            if page.get(owner, 0) >= PAGE_SHARE:
                late.append((one, owner))
                continue
            page[owner] = page.get(owner, 0) + 1
            found.append(one)
            if len(found) == size:
                waiting = [*late, *again]
                break
        else:  # only operators with their share are left for this page
            if not whole:
                return None
            room = size - len(found)
            found += [one for one, _ in late[:room]]
            waiting = late[room:]
            if not waiting:
                break
    return np.array(found, dtype=np.intp)


def reasons(
    *,
    offer: Offer,
    capability: Capability,
    words: tuple[str, ...],
    figures: dict[str, float],
    measured: Measured,
    expected: Expected,
    online: bool,
    cap: Amount | None,
    level: int | None,
) -> tuple[str, ...]:
    """Why a hit stands where it stands, in plain words."""
    found = []
    if words:
        found.append(f"matches {', '.join(words)}")
    if figures["vectors"] > 0:
        found.append(f"{figures['vectors']:.0%} alike in meaning")
    if figures["lessons"] >= LEARNED_MIN:
        found.append("others paid for it after like words")
    elif figures["lessons"] <= -LEARNED_MIN:
        found.append("others were refunded after like words")
    promise = offer.promise
    nothing = promise == NOTHING_PROMISED
    if measured.samples and measured.success_rate is not None:
        calls = "call" if measured.samples == 1 else "calls"
        found.append(
            f"success {measured.success_rate:.1%} over {measured.samples} {calls} "
            f"(promised {'nothing' if nothing else f'{promise.success_rate:.1%}'}), "
            f"count on {expected.success_rate:.1%}"
        )
        if measured.latency_p95_ms is not None:
            found.append(
                f"p50 {measured.latency_p50_ms} ms, p95 {measured.latency_p95_ms} ms "
                f"(promised {'nothing' if nothing else f'{promise.latency_p95_ms} ms'})"
            )
    elif nothing:
        found.append("no calls measured yet; promises nothing")
    else:
        found.append(
            f"no calls measured yet; promises {promise.success_rate:.1%} "
            f"within {promise.latency_p95_ms} ms"
        )
    limit = f", your cap is {cap}" if cap is not None else ""
    price = f"price {capability.price} a call" if capability.by_call else "no price per call"
    found.append(f"{price}{limit}")
    if level is not None and not offer.source:
        found.append(f"your level for its operator is {level}")
    if offer.source:
        # Any key can write that it checked something.
        proof = f"{offer.verified}, says its importer" if offer.verified else "not verified"
        found.append(f"imported from {offer.source}, {proof}")
    else:
        found.append("provider is connected" if online else "provider is not connected now")
    return tuple(found)


def rounded(parts: dict[str, Floats], start: int) -> list[dict[str, float]]:
    """The figures of hits, from the one at `start` on."""
    table = np.round([part[start:] for part in parts.values()], 4)
    return [dict(zip(parts, figures, strict=True)) for figures in table.T.tolist()]
