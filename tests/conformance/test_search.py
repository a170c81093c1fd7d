"""How a search orders what it finds (NIP-50), whatever engine keeps it."""

from tests.conformance.engines import Opening
from tests.conformance.events import BOB, Words, an_event

from hanse.protocol.filter import Filter


async def test_the_best_match_comes_first_then_the_newest(opened: Opening) -> None:
    short = an_event(content="hanse cog", created_at=1000)
    long = an_event(content="the hanse, " + " ".join(f"word{n}" for n in range(90)), created_at=1100)
    again = an_event(BOB, content="hanse cog", created_at=1200)
    others = [an_event(content=f"something else {n}") for n in range(8)]
    async with opened() as stores:
        log = Words(stores.log)
        await log.keep(short, long, again, *others)
        assert await log.kept(Filter(search="hanse")) == [again.id, short.id, long.id]
        assert await log.kept(Filter(search="hanse", limit=2)) == [again.id, short.id]
