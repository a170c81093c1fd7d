"""What a search finds and in which order (NIP-50), whatever engine keeps it."""

import msgspec
from tests.conformance.engines import Opening
from tests.conformance.events import BOB, Words, an_event

from hanse.engines.storage.filter_sql import RANKED_MAX
from hanse.errors import Invalid
from hanse.protocol.filter import Filter


async def test_the_best_match_comes_first_then_the_newest(opened: Opening) -> None:
    short = an_event(content="hanse cog", created_at=1000)
    long = an_event(
        content="the hanse, " + " ".join(f"word{n}" for n in range(90)), created_at=1100
    )
    again = an_event(BOB, content="hanse cog", created_at=1200)
    others = [an_event(content=f"something else {n}") for n in range(8)]
    async with opened() as stores:
        log = Words(stores.log)
        await log.keep(short, long, again, *others)
        assert await log.kept(Filter(search="hanse")) == [again.id, short.id, long.id]
        assert await log.kept(Filter(search="hanse", limit=2)) == [again.id, short.id]


async def test_other_conditions_hold_however_many_newer_events_match(opened: Opening) -> None:
    wanted = an_event(BOB, content="a common word", created_at=1)
    async with opened() as stores:
        log = Words(stores.log)
        await log.keep(wanted, *(an_event(content=f"common {n}") for n in range(RANKED_MAX + 5)))
        common = Filter(search="common")
        assert await log.kept(msgspec.structs.replace(common, authors=frozenset({BOB.public}))) == [
            wanted.id
        ]
        assert await log.kept(msgspec.structs.replace(common, until=1)) == [wanted.id]
        assert await stores.log.count([common], now_s=1500) == RANKED_MAX + 6


async def test_an_expiry_that_cannot_be_read_costs_its_neighbours_nothing(opened: Opening) -> None:
    bad = an_event(content="bad", tags=[["expiration", "soon"]])
    async with opened() as stores:
        outcomes = await stores.log.append_many([an_event(), bad, an_event(content="other")])
        assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (1, Invalid, 2)
