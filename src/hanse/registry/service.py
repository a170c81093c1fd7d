"""The registry's verbs: find, look up an offer, and learn from finished calls."""

from typing import TYPE_CHECKING

from hanse.errors import Invalid, NotFound
from hanse.ports import Clock
from hanse.protocol import address as addresses
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.registry.asked import narrowed, read_asked
from hanse.registry.model import Offer
from hanse.registry.quality import Ended, Quality
from hanse.registry.search import LIMIT_MAX, OFFSET_MAX, Found, Search
from hanse.registry.store import OfferStore

if TYPE_CHECKING:
    from hanse.registry.finder import Finder


class Registry:
    """Offers with their measured quality, searched and ranked."""

    def __init__(
        self,
        store: OfferStore,
        clock: Clock,
        finder: "Finder",
    ) -> None:
        self.observed = finder.observed
        self.liveness = finder.liveness
        self.welcome = finder.welcome
        self.finder = finder
        self._store = store
        self._clock = clock

    async def find(self, search: Search) -> Found:
        """Ranked capabilities for one question. Raises Invalid."""
        return await self.finder.find(search)

    async def page(
        self, text: str, number: int, *, provider: PublicKey | None, topic: str | None
    ) -> tuple[list[str], bool] | None:
        """Ids of the offers' events on a page of what a line of words and constraints finds, best
        first, and whether another page follows. None while offers are still being read, and if
        nothing is asked for."""
        asked = read_asked(text)
        if self.finder.notes or asked.nothing:
            return None
        offset = number * LIMIT_MAX
        found = await self.find(
            Search(
                words=asked.words,
                capability=asked.capability,
                constraints=narrowed(
                    asked.constraints, provider=provider, topics=(topic,) if topic else ()
                ),
                limit=LIMIT_MAX,
                offset=offset,
            )
        )
        ids = list(dict.fromkeys(hit.offer.event_id for hit in found.hits))
        last = offset + LIMIT_MAX
        return ids, last <= OFFSET_MAX and last < found.total

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

    def why_withheld(self, offer: Offer) -> str:
        """Why searches do not show an offer: its operator may not publish here; "" if they do."""
        return self.welcome.why_not(offer)

    def quality(self, address: str, capability: str, version: str = "") -> Quality:
        """What is known of one capability's calls in an offer's major version."""
        return self.observed.quality(address, capability, version)

    def learn(self, ended: Ended) -> None:
        """Learn from one ended call."""
        self.observed.record(ended)
        self.finder.called(ended.address)

    async def offers(self) -> int:
        """How many live offers there are."""
        return await self._store.count(self._clock.now_s())
