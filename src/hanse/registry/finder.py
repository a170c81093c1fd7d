"""Answers searches: asks the index, puts what it found in order, says why.

Kept apart from `service.py` so that the rest of the registry needs no arrays.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.errors import Unavailable
from hanse.ports import Clock, Presence
from hanse.protocol.keys import PublicKey
from hanse.protocol.words import query_words
from hanse.registry.entry import Entry, Figured, entries, key_of
from hanse.registry.index import Index
from hanse.registry.lessons import Lesson, Lessons
from hanse.registry.liveness import SUNK, Liveness
from hanse.registry.lookup import NOBODY, WITHHELD, Aside, Lookup, Matches
from hanse.registry.model import Offer
from hanse.registry.observed import Observed
from hanse.registry.postings import Mask
from hanse.registry.quality import UNKNOWN, Quality
from hanse.registry.rank import Ranked, rank, reasons, rounded
from hanse.registry.search import Found, Hit, Search
from hanse.registry.store import Embedder, OfferStore, OwnOnly, Standing
from hanse.registry.welcome import Refused, Welcome

Floats = NDArray[np.float64]
Work = tuple[Ranked, Matches, list[tuple[str, ...]]]
"""What a search found, in order; and of each hit of the page, the words it has."""
Run = Callable[[Callable[[], Work], int], Awaitable[Work]]
"""Does a work that has to look at so many rows."""

TOUCHED_MAX = 50
"""Offers whose figures one search takes anew; the rest wait for the node's next round."""
WITHOUT_WORDS = 6
"""Times as long takes a search without words, as all that passes is ranked; and one with facets."""
VECTORS_MAX = 1024
"""Texts of searches whose vectors are remembered: pages, saved searches."""


async def at_once(work: Callable[[], Work], _rows: int) -> Work:
    """A Run for what is small: here and now."""
    return work()


class Finder:
    """The index with all that its answers need. `run` decides where the work of a search is done:
    it holds no lock and may run in another thread."""

    def __init__(
        self,
        *,
        store: OfferStore,
        presence: Presence,
        clock: Clock,
        observed: Observed,
        liveness: Liveness | None = None,
        embedder: Embedder | None = None,
        standing: Standing | None = None,
        refused: Refused | None = None,
        run: Run = at_once,
    ) -> None:
        self.caught_up: Callable[[], Awaitable[None]] | None = None
        """Waits a moment for what was published before."""
        self.index = Index(embedder.size if embedder else 0)
        self.welcome = Welcome(self.index, refused)
        self.lessons = Lessons(observed.voices, embedder.size if embedder else 0)
        self.notes: tuple[str, ...] = ()
        """What every answer should say of itself, e.g. that offers are still being read."""
        self.touched: set[str] = set()
        """Addresses of offers whose figures changed since somebody took them."""
        self._store = store
        self._presence = presence
        self._clock = clock
        self.observed = observed
        self.liveness = liveness or Liveness()
        self._embedder = embedder
        self._standing = standing or OwnOnly()
        self._run = run
        self._nothing = Quality()
        """What is known of most capabilities."""
        self._connected: tuple[int, int, Mask] = (-1, 0, NOBODY)
        self._vectors: dict[str, NDArray[np.float32]] = {}

    # --- what is searched ---------------------------------------------------------------------

    def put(self, found: Sequence[tuple[int, int | None, Offer]]) -> bool:
        """Index offers as (number, expiry, offer), in the place of any at the same addresses.
        False if they could not be embedded: they are found by their words alone."""
        rows: list[Entry] = []
        called = {address for (address, _, _), _ in self.observed.each()}
        for seq, expires, offer in found:
            if offer.address in called:
                self.observed.serves(offer.address, offer.operator)
            rows += entries(offer, seq, expires, partial(self._figured, offer))
            self.welcome.put(key_of(offer.address), offer)
        vectors, embedded = None, True
        if self._embedder is not None and rows:
            try:
                vectors = self._embedder.embed([row.text for row in rows])
            except Unavailable:
                embedded = False
        self.index.remove({row.offer for row in rows})
        self.index.add(rows, vectors)
        return embedded

    def publish(self) -> None:
        """Let what was put be found."""
        self.index.tidy()
        self.index.publish()

    def _figured(self, offer: Offer, name: str) -> Figured:
        quality = self.observed.known(offer.address, name, offer.version) or self._nothing
        seen_s = self.liveness.last_seen(offer, quality)
        found = Figured.of(quality.expected(offer.promise), offer.promise, seen_s)
        if offer.source and not quality.measured().samples:
            found = msgspec.structs.replace(found, quality=UNKNOWN)
        return found

    def refigure(self, offers: Iterable[Offer]) -> None:
        """Take the figures of these offers' capabilities as they are now."""
        for offer in offers:
            for one in offer.capabilities:
                now = self._figured(offer, one.name)
                self.index.figure(key_of(offer.address, one.name), now)

    def teach(self, found: Sequence[Lesson]) -> None:
        """Learn what paid calls say of words, and figures that the calls changed."""
        vectors = None
        if self._embedder is not None:
            with contextlib.suppress(Unavailable):  # then their words alone teach
                vectors = self._embedder.embed([one.words for one in found])
        self.lessons.add(found, vectors)

    def called(self, address: str) -> None:
        """A call of this offer ended: its figures may have changed."""
        self.touched.add(address)

    def everything_called(self) -> list[str]:
        """The addresses of all offers with measured quality, whose figures voices and time move."""
        self.lessons.refresh()
        return sorted({address for (address, _, _), _ in self.observed.each()})

    # --- searching ----------------------------------------------------------------------------

    async def find(self, search: Search) -> Found:
        """See `Registry.find`."""
        if self.caught_up is not None:
            await self.caught_up()
        if self.touched:
            await self._take()
        notes = list(self.notes)
        online = self._online()
        ranked, matches, words = await self._run(
            lambda: self._ranked(search, online, notes), self._work(search)
        )
        end = search.offset + search.limit
        at = range(min(search.offset, len(ranked.rows)), min(end, len(ranked.rows)))
        seqs = matches.view.column("seq")[ranked.rows].tolist()
        places = matches.view.column("position")[ranked.rows].tolist()
        offers = await self._store.by_seq([seqs[one] for one in at], self._clock.now_s())
        shown = {seq: one for seq, one in offers.items() if not self.welcome.why_not(one)}
        excluded = matches.excluded
        if len(shown) < len(offers):  # since the last review
            late = sum(seqs[one] in offers.keys() - shown.keys() for one in at)
            excluded = excluded | {WITHHELD: excluded.get(WITHHELD, 0) + late}
        figures = rounded(ranked.parts, at.start)
        hits = [
            self._hit(search, shown[seqs[one]], places[one], float(ranked.scores[one]), part, word)
            for one, part, word in zip(at, figures, words, strict=True)
            if seqs[one] in shown
        ]
        return Found(hits, excluded, matches.total, matches.facets, tuple(notes))

    async def _take(self) -> None:
        """Take the figures of what was called just now: who was let down sees it at once."""
        for address in [self.touched.pop() for _ in range(min(TOUCHED_MAX, len(self.touched)))]:
            offer = await self._store.offer(address, self._clock.now_s())
            if offer is not None:
                self.refigure([offer])

    def _work(self, search: Search) -> int:
        """How many rows it has to look at, or as good as."""
        plain = search.words and not search.facets and not search.constraints.level
        return len(self.index) * (1 if plain else WITHOUT_WORDS)

    def _online(self) -> Mask:
        """By a key's number in the index, whether it is connected. Remembered: they may be many."""
        keys, turn = self.index.keys, self._presence.turn
        if self._connected[:2] != (turn, len(keys)):
            found = np.zeros(len(keys), dtype=np.bool_)
            ids = np.array(list(map(keys.get, self._presence.keys())), dtype=np.int64)
            found[ids[(ids >= 0) & (ids < len(found))]] = True
            self._connected = turn, len(found), found
        return self._connected[2]

    def _ranked(self, search: Search, online: Mask, notes: list[str]) -> Work:
        vector = self._vector(search.words, notes)
        now_s = self._clock.now_s()
        asked = query_words(search.words)
        viewer = search.viewer
        aside = Aside(
            now_s=now_s,
            vector=vector,
            online=online,
            gone_s=self.liveness.bounds.gone_s,
            seen=self.liveness.seen,
            withheld=self.welcome.withheld,
            level=(lambda operator: self._standing.level(viewer, operator)) if viewer else None,
            lessons=self.lessons.telling(asked, vector, now_s),
        )
        lookup = Lookup(self.index, search, aside)
        found = lookup.run()
        keys = self.index.keys.texts
        column = found.view.column
        present = lookup.online(found.rows)
        trust = None
        if viewer is not None:
            ids, which = np.unique(column("operator")[found.rows], return_inverse=True)
            scores = [self._standing.score(viewer, PublicKey(keys[id])) for id in ids.tolist()]
            trust = np.array(scores, dtype=np.float64)[which] if scores else np.zeros(0)
            # An imported offer's operator is its importer, who does not answer for it.
            trust = trust * ~column("imported")[found.rows]
        most = search.offset + search.limit
        bounds = self.liveness.bounds
        quiet = now_s - column("seen")[found.rows]
        part = (quiet - bounds.stale_s) / max(1, bounds.gone_s - bounds.stale_s)
        sunk = np.clip(1 - (1 - SUNK) * part, SUNK, 1.0)
        fresh = np.where(present, 1.0, sunk)
        ranked = rank(found, search.weights, present, fresh, trust, most)
        words = [lookup.shared(row) for row in ranked.rows[search.offset :].tolist()]
        return ranked, found, words

    def _vector(self, words: str, notes: list[str]) -> NDArray[np.float32] | None:
        if self._embedder is None:
            notes.append("by words only: no embedder is installed (pip install 'hanse[vectors]')")
            return None
        if not words:
            return None
        known = self._vectors.get(words)
        if known is None:
            try:
                known = self._embedder.embed([words])[0]
            except Unavailable as exc:
                notes.append(f"by words only: {exc.reason}")
                return None
            if len(self._vectors) >= VECTORS_MAX:
                self._vectors.clear()
            self._vectors[words] = known
        return known

    def _hit(
        self,
        search: Search,
        offer: Offer,
        place: int,
        score: float,
        figures: dict[str, float],
        words: tuple[str, ...],
    ) -> Hit:
        capability = offer.capabilities[place]
        address = offer.address
        known = self.observed.known(address, capability.name, offer.version)
        quality = known or self._nothing
        measured, expected = quality.measured(), quality.expected(offer.promise)
        online = not offer.source and self._presence.is_present(offer.provider)
        signs = self.liveness.signs(
            offer, capability.name, quality, online=online, now_s=self._clock.now_s()
        )
        level = None
        if search.viewer is not None:
            level = 0 if offer.source else self._standing.level(search.viewer, offer.operator)
        return Hit(
            offer=offer,
            capability=capability,
            score=round(score, 6),
            measured=measured,
            expected=expected,
            online=online,
            reasons=(
                *reasons(
                    offer=offer,
                    capability=capability,
                    words=words,
                    figures=figures,
                    measured=measured,
                    expected=expected,
                    online=online,
                    cap=search.constraints.max_price,
                    level=level,
                ),
                *signs.reasons,
            ),
            figures=figures,
            level=level,
        )
