"""What everybody who lists all offers reads: in order, each once, only live ones."""

from tests.conformance.engines import Stores
from tests.conformance.test_offers import offer
from tests.fakes.offers import NOW

from hanse.engines.storage.catalog import StoredCatalog
from hanse.keyring import new_secret
from hanse.registry.model import Offer

ADA, BOB = new_secret(), new_secret()


async def all_of(catalog: StoredCatalog, limit: int, since_s: int = 0) -> list[Offer]:
    """Every page."""
    found: list[Offer] = []
    after = None
    while rows := await catalog.page(after, since_s, limit, NOW):
        found += rows
        after = (rows[-1].created_at, rows[-1].address)
    return found


async def test_pages_hold_every_live_offer_once_newest_first(kept: Stores) -> None:
    events = [
        *(offer(ADA, f"a{number}", "Of one second", NOW - 5) for number in range(7)),
        *(offer(BOB, f"b{number}", "Of seconds", NOW - number) for number in range(7)),
        offer(BOB, "gone", "Has expired", NOW - 3, NOW - 1),
    ]
    await kept.log.append_many(events)
    await kept.offers.advance()
    catalog = StoredCatalog(kept.database)
    for limit in (1, 3, 100):
        found = await all_of(catalog, limit)
        assert len(found) == len({one.address for one in found}) == 14
        order = [(one.created_at, one.address) for one in found]
        assert order == sorted(order, reverse=True)
    assert {one.name for one in await all_of(catalog, 3, NOW - 2)} == {"b0", "b1", "b2"}


async def test_a_providers_offers_are_its_own(kept: Stores) -> None:
    events = [offer(ADA, name, "Something") for name in ("b", "a", "c.d")]
    await kept.log.append_many([*events, offer(BOB, "e", "Something")])
    await kept.offers.advance()
    catalog = StoredCatalog(kept.database)
    assert [one.name for one in await catalog.of_provider(ADA.public, 10, NOW)] == ["a", "b", "c.d"]
    assert len(await catalog.of_provider(ADA.public, 2, NOW)) == 2
    found = await catalog.of_provider(ADA.public, 10, NOW, lambda name, source: name != "a", 1)
    assert [one.name for one in found] == ["b"]
    assert await catalog.of_provider(new_secret().public, 10, NOW) == []
