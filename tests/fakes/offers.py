"""A registry in memory: offers in a dict, who is connected in a set, a clock that stands."""

from collections.abc import Iterable, Sequence

from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.finder import Finder
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.observed import Observed
from hanse.registry.search import Found, Hit, Search
from hanse.registry.store import Embedder, Standing

NOW = 1_800_000_000
VIEWER = PublicKey("f" * 64)


def key(number: int) -> PublicKey:
    """Somebody."""
    return PublicKey(f"{number:064x}")


class DictStore:
    """Implements what the finder needs of `registry.store.OfferStore`."""

    def __init__(self) -> None:
        self.kept: dict[int, Offer] = {}

    async def offer(self, address: str, now_s: int) -> Offer | None:
        """See `OfferStore`."""
        return next((one for one in self.kept.values() if one.address == address), None)

    async def named(self, name: str, now_s: int) -> list[Offer]:
        """See `OfferStore`."""
        return [one for one in self.kept.values() if name in (one.name, one.identifier)]

    async def by_seq(self, seqs: Sequence[int], now_s: int) -> dict[int, Offer]:
        """See `OfferStore`."""
        return {seq: self.kept[seq] for seq in seqs if seq in self.kept}

    async def count(self, now_s: int) -> int:
        """See `OfferStore`."""
        return len(self.kept)


class Connected:
    """Implements `ports.Presence`: these are, nobody comes or goes."""

    def __init__(self) -> None:
        self.who: set[PublicKey] = set()
        self.turn = 0

    def is_present(self, pubkey: PublicKey) -> bool:
        """See `Presence`."""
        return pubkey in self.who

    def keys(self) -> Iterable[PublicKey]:
        """See `Presence`."""
        return self.who

    def arrive(self, pubkey: PublicKey) -> None:
        """See `Presence`."""
        self.who.add(pubkey)
        self.turn += 1

    def leave(self, pubkey: PublicKey) -> None:
        """See `Presence`."""
        self.who.discard(pubkey)
        self.turn += 1


class Still:
    """Implements `ports.Clock`: the time does not pass."""

    def now_s(self) -> int:
        """See `Clock`."""
        return NOW

    def now_ms(self) -> int:
        """See `Clock`."""
        return NOW * 1000

    def monotonic_ms(self) -> float:
        """See `Clock`."""
        return 0.0


class Stall:
    """A finder with its offers; all providers are connected."""

    def __init__(self, embedder: Embedder | None = None, standing: Standing | None = None) -> None:
        self.store = DictStore()
        self.presence = Connected()
        self.observed = Observed(VIEWER, lambda: NOW)
        self.finder = Finder(
            store=self.store,
            presence=self.presence,
            clock=Still(),
            observed=self.observed,
            embedder=embedder,
            standing=standing,
        )
        self.seq = 0

    def put(self, *offers: Offer, expires: int | None = None) -> None:
        """Publish, each in the place of one at its address."""
        rows = []
        for offer in offers:
            self.seq += 1
            for seq, old in list(self.store.kept.items()):
                if old.address == offer.address:
                    del self.store.kept[seq]
            self.store.kept[self.seq] = offer
            self.presence.arrive(offer.provider)
            rows.append((self.seq, expires, offer))
        self.finder.put(rows)
        self.finder.publish()

    async def find(self, search: Search) -> Found:
        """See `Finder.find`."""
        return await self.finder.find(search)

    async def names(self, search: Search) -> list[str]:
        """The identifiers of the offers found, best first."""
        return [hit.offer.identifier for hit in (await self.find(search)).hits]

    async def hit(self, search: Search) -> Hit:
        """The first."""
        return (await self.find(search)).hits[0]


def offer(
    name: str,
    text: str = "",
    *,
    by: int = 1,
    of: int | None = None,
    price: int = 1000,
    **more: object,
) -> Offer:
    """An offer with one capability called as it is; `by` its provider, `of` its operator."""
    capability = {
        field: more.pop(field)
        for field in ("input_schema", "output_schema", "side_effects", "by_call")
        if field in more
    }
    promise = more.pop("promise", Promise(latency_p95_ms=500, success_rate=0.99))
    return Offer(
        provider=key(by),
        operator=key(by if of is None else of),
        identifier=name,
        name=name,
        summary="",
        capabilities=(
            Capability(name=name, description=text, price=Amount(price), **capability),  # type: ignore[arg-type]  # what the test names
        ),
        promise=promise,  # type: ignore[arg-type]  # as above
        created_at=NOW,
        **more,  # type: ignore[arg-type]  # as above
    )
