"""Whose offers are shown: those whose operator may still publish here.

Admission asks once, when an offer comes. This asks again for as long as it stays: a hit that may
not be shown never is, and a review now and then keeps a list of such offers, so that pages stay
full and totals true. Work that an offer came with counts for good.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hanse.protocol.keys import PublicKey
from hanse.protocol.work import difficulty
from hanse.registry.index import Index
from hanse.registry.model import Offer

Refused = Callable[[PublicKey, int], str]
"""Why an operator may not publish with so many bits of work; "" if it may."""

WORK_KEPT_BITS: Final = 6
"""Less work than this, which one event in 64 has by chance, is not remembered."""

AT_ONCE: Final = 200
"""Operators asked about in one step of a review."""


class Welcome:
    """Over one index. Without `refused` everybody is welcome."""

    def __init__(self, index: Index, refused: Refused | None = None) -> None:
        self._index = index
        self._refused = refused
        self._work: dict[int, int] = {}
        self._missing: set[int] = set()
        self.withheld: NDArray[np.int64] = np.empty(0, np.int64)
        """Offers that a search leaves out, by key, ascending."""

    def put(self, key: int, offer: Offer) -> None:
        """An offer came to the index."""
        if self._refused is None:
            return
        bits = difficulty(offer.event_id)
        if bits >= WORK_KEPT_BITS:
            self._work[key] = bits
        else:
            self._work.pop(key, None)

    def why_not(self, offer: Offer) -> str:
        """Why an offer is not shown; "" if it is."""
        if self._refused is None:
            return ""
        return self._refused(offer.operator, difficulty(offer.event_id))

    def operators(self) -> list[PublicKey]:
        """All who offer something."""
        view = self._index.view()
        ids = np.unique(view.column("operator")[view.column("live")])
        return [PublicKey(self._index.keys.texts[id]) for id in ids.tolist()]

    def review(self) -> Iterator[None]:
        """Look at all offers again, in steps between which others may have a turn."""
        if self._refused is None:
            return
        view = self._index.view()
        live = np.flatnonzero(view.column("live"))
        operators, offers = view.column("operator")[live], view.column("offer")[live]
        doubted = np.zeros(len(self._index.keys), np.bool_)
        for number, id in enumerate(np.unique(operators).tolist()):
            doubted[id] = bool(self._refused(PublicKey(self._index.keys.texts[id]), 0))
            if number % AT_ONCE == AT_ONCE - 1:
                yield
        unsure = doubted[operators]
        found = set()
        pairs = zip(operators[unsure].tolist(), offers[unsure].tolist(), strict=True)
        for number, (id, offer) in enumerate(dict.fromkeys(pairs)):
            bits = self._work.get(offer, 0)
            if not bits or self._refused(PublicKey(self._index.keys.texts[id]), bits):
                found.add(offer)
            if number % AT_ONCE == AT_ONCE - 1:
                yield
        self.withheld = np.array(sorted(found), np.int64)
        # What is in no row this time and was in none the last time is gone, not on its way.
        missing = self._work.keys() - set(offers.tolist())
        for key in missing & self._missing:
            del self._work[key]
        self._missing = missing - self._missing
