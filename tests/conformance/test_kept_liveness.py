"""Signs of life on every engine: what is kept comes back, and prices tell of their changes."""

from tests.conformance.engines import Opening, Stores
from tests.fakes.calls import NOW_S, PRICE_OFFER

from hanse.engines.storage.liveness import PROBES_S, Probed, StoredLiveness
from hanse.registry.liveness import DRIFT_S, Change, Liveness
from hanse.registry.observed import Observed
from hanse.registry.quality import DAY_S


async def loaded(kept: Stores, now_s: int = NOW_S) -> tuple[Liveness, Observed]:
    """What a node that starts now knows."""
    liveness, observed = Liveness(), Observed(PRICE_OFFER.provider, lambda: now_s)
    await StoredLiveness(kept.database).load(liveness, observed, now_s)
    return liveness, observed


def probed(at_s: int, end: str = "settled") -> Probed:
    """A probe of the offer."""
    return Probed(address=PRICE_OFFER.address, capability="greet", major=1, end=end, at_s=at_s)


async def test_what_was_seen_and_probed_is_known_after_a_restart(reopened: Opening) -> None:
    async with reopened() as kept:
        store = StoredLiveness(kept.database)
        provider = PRICE_OFFER.provider
        await store.keep({provider: NOW_S}, [probed(NOW_S), probed(NOW_S - 9, "too-late")], [])
        await store.keep({provider: NOW_S - 50}, [probed(NOW_S)], [])
    async with reopened() as kept:
        liveness, observed = await loaded(kept)
    assert liveness.seen == {PRICE_OFFER.provider: NOW_S}
    assert liveness.last_probe(PRICE_OFFER.address, "greet") == NOW_S
    measured = observed.quality(PRICE_OFFER.address, "greet").measured()
    assert (measured.samples, measured.availability) == (0, 1.0)


async def test_a_price_is_kept_once_and_its_change_is_told(kept: Stores) -> None:
    store = StoredLiveness(kept.database)
    dearer = PRICE_OFFER.priced(5000, NOW_S + 10)
    assert await store.keep({}, [], [PRICE_OFFER.priced(2000, NOW_S)]) == []
    assert await store.keep({}, [], [PRICE_OFFER.priced(2000, NOW_S + 5)]) == []
    change = Change(NOW_S + 10, 2000, 5000)
    assert await store.keep({}, [], [dearer]) == [(PRICE_OFFER.address, "greet", change)]
    assert await store.keep({}, [], [dearer, PRICE_OFFER.priced(2000, NOW_S)]) == []
    liveness, _ = await loaded(kept, NOW_S + 20)
    assert liveness._changes == {(PRICE_OFFER.address, "greet"): [change]}


async def test_what_is_old_goes_and_the_last_price_stays(kept: Stores) -> None:
    store = StoredLiveness(kept.database)
    await store.keep({PRICE_OFFER.provider: NOW_S}, [probed(NOW_S)], [])
    for step in range(3):
        await store.keep({}, [], [PRICE_OFFER.priced(1000 + step, NOW_S + step)])
    later_s = NOW_S + 2 * DRIFT_S + PROBES_S + 10
    await store.forget(later_s)
    liveness, _ = await loaded(kept, later_s)
    assert liveness.last_probe(PRICE_OFFER.address, "greet") == 0
    assert liveness.seen
    await store.forget(NOW_S + 400 * DAY_S)
    assert (await loaded(kept))[0].seen == {}
    (change,) = await store.keep({}, [], [PRICE_OFFER.priced(9000, later_s)])
    assert change[2] == Change(later_s, 1002, 9000)
