"""Passes over whole columns: what makes a search's cost grow with the index.

They go block by block, so that what lies between two steps stays in the processor's cache, and
choose by a threshold found on a sample, so that only what may be chosen is put in order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanse.registry.postings import Impacts, Mask, Rows

BLOCK = 131_072
SAMPLE = 4096
SAMPLED_MIN = 32_768
"""Rows of which fewer are not worth a sample."""

Scores = NDArray[Any]
Far = NDArray[np.uint8 | np.uint16]


def distances(columns: Sequence[NDArray[np.uint64]], mine: NDArray[np.uint64]) -> Far:
    """In how many signs each row differs from mine; 256 count as 255."""
    rows = len(columns[0])
    found: Far = np.empty(rows, dtype=np.uint8 if len(columns) <= 4 else np.uint16)
    other = np.empty(min(BLOCK, rows), dtype=np.uint64)
    bits = np.empty(len(other), dtype=np.uint8)
    for start in range(0, rows, BLOCK):
        into = found[start : start + BLOCK]
        differ, count = other[: len(into)], bits[: len(into)]
        into[:] = 0
        for column, signs in zip(columns, mine, strict=True):
            np.bitwise_xor(column[start : start + BLOCK], signs, out=differ)
            np.bitwise_count(differ, out=count)
            np.add(into, count, out=into)
    if len(columns) == 4 and not found.min(initial=1):
        # The same, or unlike in every sign, which is one more than fits.
        same = np.flatnonzero(found == 0)
        found[same[(columns[0][same] ^ mine[0]) != 0]] = 255
    return found


def add_times(scores: NDArray[np.int32], impacts: Impacts, times: int) -> None:
    """Add so many times the impacts."""
    room = np.empty(min(BLOCK, len(scores)), dtype=np.int32)
    for start in range(0, len(scores), BLOCK):
        into = scores[start : start + BLOCK]
        more = room[: len(into)]
        np.multiply(impacts[start : start + BLOCK], times, out=more, dtype=np.int32)
        np.add(into, more, out=into)


def foremost(among: Mask, score: Scores, least: int, most: int) -> Rows:
    """Some of these rows with at least this score, in order of row: if there are more than `most`,
    at least so many, the highest, with all that score the same as the last of them."""
    if len(among) >= SAMPLED_MIN:
        # Odd, so that what comes round in the rows does not come round in the sample.
        step = len(among) // SAMPLE | 1
        sample = score[::step][among[::step]]
        wanted = most * 3 // (2 * step) + 16
        if len(sample) > wanted:
            bound = int(np.partition(sample, len(sample) - wanted)[len(sample) - wanted])
            if bound > least:
                rows = np.flatnonzero((score >= bound) & among)
                if len(rows) >= most:
                    return rows.astype(np.int32)
    return np.flatnonzero((score >= least) & among).astype(np.int32)


def best(rows: Rows, score: Scores, keys: NDArray[np.int64], most: int) -> Rows:
    """The `most` of these rows of the highest score, ties by key; in no order."""
    if len(rows) <= most:
        return rows
    found = score[rows]
    least = np.partition(found, len(found) - most)[len(found) - most]
    above, equal = rows[found > least], rows[found == least]
    room = most - len(above)
    if len(equal) > room:
        equal = equal[np.argpartition(keys[equal], room - 1)[:room]]
    return np.concatenate([above, equal])


def merged(parts: Sequence[Rows]) -> Rows:
    """All rows of these, ascending, each once."""
    found = np.sort(np.concatenate(parts))
    return found[np.append(found[:-1] != found[1:], True)] if len(found) else found
