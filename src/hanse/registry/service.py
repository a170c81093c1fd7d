"""The registry's verbs: find, look up an offer, and learn from finished calls."""

from collections import Counter

from hanse.errors import Invalid, NotFound
from hanse.ports import Clock, Presence
from hanse.protocol import address as addresses
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.protocol.words import query_words
from hanse.registry.model import Offer
from hanse.registry.observed import QUALITY_MAX, Observed
from hanse.registry.quality import Ended, Quality
from hanse.registry.rank import judge
from hanse.registry.search import Found, Hit, Search
from hanse.registry.store import OfferStore

CANDIDATES = 200
"""Matches judged per search: enough that constraints leave some, bounded whatever the words."""


class Registry:
    """Offers with their measured quality, searched and ranked."""

    def __init__(
        self,
        store: OfferStore,
        presence: Presence,
        clock: Clock,
        quality_max: int = QUALITY_MAX,
        observed: Observed | None = None,
    ) -> None:
        self.observed = observed or Observed(PublicKey(""), clock.now_s, quality_max=quality_max)
        self._store = store
        self._presence = presence
        self._clock = clock

    async def find(self, search: Search) -> Found:
        """Ranked capabilities for one question."""
        words = query_words(search.words)
        matches = await self._store.search(words, CANDIDATES, self._clock.now_s())
        hits: list[Hit] = []
        excluded: Counter[str] = Counter()
        for match in matches:
            judged = judge(
                match,
                self.quality(match.offer.address, match.capability, match.offer.version),
                search.constraints,
                online=self._presence.is_present(match.offer.provider),
            )
            if isinstance(judged, Hit):
                hits.append(judged)
            else:
                excluded[judged] += 1
        hits.sort(key=lambda hit: (-hit.score, hit.offer.address, hit.capability.name))
        page = hits[search.offset : search.offset + search.limit]
        return Found(page, dict(excluded), len(hits))

    async def offer(self, reference: str) -> Offer:
        """An offer by address (`31402:pubkey:d`), naddr, or by identifier or name if only one has
        it. Raises NotFound or Invalid."""
        now = self._clock.now_s()
        if len(reference) > 2000:
            raise Invalid.at("offer", "is too long to be a reference")
        if reference.startswith("naddr1"):
            try:
                pointer = addresses.decode_naddr(reference)
            except Invalid as exc:
                raise Invalid.at("offer", exc.text) from exc
            reference = f"{pointer.kind}:{pointer.pubkey}:{pointer.identifier}"
        if reference.startswith(f"{kinds.OFFER}:"):
            found = await self._store.offer(reference, now)
            if found is None:
                raise NotFound("no offer has this address", field="offer", hint="search again")
            return found
        named = await self._store.named(reference, now)
        if not named:
            raise NotFound("no offer has this name", field="offer", hint="search with words first")
        if len(named) > 1:
            hint = "name one by its address: find_services lists them"
            raise Invalid.at("offer", f"{len(named)} offers have this name", hint)
        return named[0]

    def quality(self, address: str, capability: str, version: str = "") -> Quality:
        """What is known of one capability's calls in an offer's major version."""
        return self.observed.quality(address, capability, version)

    def learn(self, ended: Ended) -> None:
        """Learn from one ended call."""
        self.observed.record(ended)

    async def offers(self) -> int:
        """How many live offers there are."""
        return await self._store.count(self._clock.now_s())
