"""What was refused as spam on every engine: kept, bounded, forgotten, and told in an answer; and
calls that came too late."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.engines import Opening, Stores, named, stores
from tests.conformance.test_trust_answers import (
    DAY_S,
    FRIENDS,
    ME,
    NODE,
    OTHERS,
    STRANGER,
    World,
    against,
    key,
    paid,
)
from tests.conformance.test_trust_view import signed, vouch

from hanse.broker.model import Fault
from hanse.engines.storage.refusals import StoredRefusals
from hanse.errors import Unavailable
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.event import sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.model import Answer, Level
from hanse.trust.rotation import End, Rotate, consent, statement_draft
from hanse.trust.spam import KEPT_DAYS, QUIET

TODAY = 20_000
NOW = TODAY * DAY_S + 3600
ANN, BOB = OTHERS[0].public, OTHERS[1].public


async def counted(kept: Stores, *who: PublicKey) -> dict[tuple[PublicKey, int], int]:
    return {(name, day): count for name, day, count in await kept.trust.refused_of(who)}


async def test_counts_add_up_by_day_and_outlive_a_restart(reopened: Opening) -> None:
    async with reopened() as kept:
        store = StoredRefusals(kept.database)
        store.counted.add(ANN, 150)
        store.counted.add(BOB, 7)
        await store.keep(NOW)
        store.counted.add(ANN, 50)
        await store.keep(NOW)
        await store.keep(NOW)  # nothing is written twice
    async with reopened() as kept:
        store = StoredRefusals(kept.database)
        store.counted.add(ANN, 1)
        await store.keep(NOW + DAY_S)
        assert await counted(kept, ANN, BOB) == {(ANN, TODAY): 200, (ANN, TODAY + 1): 1}
        assert await counted(kept, OTHERS[2].public) == {}


async def test_what_weighs_nothing_goes_when_its_day_is_over_and_all_after_a_year(
    kept: Stores,
) -> None:
    store = StoredRefusals(kept.database)
    for name, count in ((ANN, QUIET), (BOB, QUIET - 1)):
        store.counted.add(name, count)
    await store.keep(NOW)
    assert len(await counted(kept, ANN, BOB)) == 2
    assert await store.tidy(NOW + DAY_S) == 1
    assert await counted(kept, ANN, BOB) == {(ANN, TODAY): QUIET}
    await store.keep(NOW + (KEPT_DAYS - 1) * DAY_S)
    assert await counted(kept, ANN)
    await store.keep(NOW + KEPT_DAYS * DAY_S)
    assert await counted(kept, ANN) == {}


async def test_of_too_many_rows_the_loudest_stay(kept: Stores) -> None:
    store = StoredRefusals(kept.database, rows_max=50)
    names = [PublicKey(f"{number:064x}") for number in range(3000)]
    for number, name in enumerate(names):
        store.counted.add(name, QUIET + number)
    await store.keep(NOW)
    assert sorted(await counted(kept, *names)) == [(name, TODAY) for name in names[-50:]]


async def test_what_cannot_be_written_is_written_later(kept: Stores) -> None:
    store = StoredRefusals(kept.database)
    write = kept.database.write

    async def fails(*_args: object) -> None:
        raise Unavailable("the disk is full")

    store.counted.add(ANN, 150)
    kept.database.write = fails  # type: ignore[method-assign,assignment]  # a disk that is full
    with pytest.raises(Unavailable):
        await store.keep(NOW)
    kept.database.write = write  # type: ignore[method-assign]
    await store.keep(NOW)
    assert await counted(kept, ANN) == {(ANN, TODAY): 150}


# --- answers ------------------------------------------------------------------------------------


@pytest.fixture(params=named(lasting=True))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with stores(request.param, tmp_path) as found:
        yield World(found)


async def refused(world: World, count: int, days: int = 1, who: SecretKey = STRANGER) -> None:
    """On so many days, the last of them today."""
    store = StoredRefusals(world.kept.database)
    for day in range(days):
        store.counted.add(who.public, count)
        await store.keep(world.clock.at_s - day * DAY_S)


async def accepted(world: World) -> Answer:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    found = await world.of()
    assert found.level is Level.ACCEPTED
    return found


async def test_spam_lowers_a_score_and_says_so_and_fades(world: World) -> None:
    before = await world.of()
    await refused(world, QUIET - 1)
    assert await world.of() == before
    await refused(world, 600, days=3)
    found = await world.of()
    assert found.score < before.score
    assert found.lower_bound < before.lower_bound
    total = 3 * 600 + QUIET - 1
    assert f"refused {total} events as spam in 3 days, the last 0 days ago" in against(found)
    scores = [found.score]
    for days in (100, 200, KEPT_DAYS - 120):
        world.clock.at_s += days * DAY_S
        scores.append((await world.of()).score)
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    world.clock.at_s += 3 * DAY_S
    gone = await world.of()
    assert (gone.score, gone.level) == (before.score, before.level)
    assert "spam" not in against(gone)


async def test_enough_spam_bars_whom_the_circle_accepts_but_nobody_of_the_circle(
    world: World,
) -> None:
    await accepted(world)
    await refused(world, 5000)
    found = await world.of()
    assert found.level is Level.ACCEPTED
    await refused(world, 5000, days=4)
    assert (await world.of()).level is Level.BARRED
    friend = await world.of(FRIENDS[0])
    await refused(world, 5000, days=4, who=FRIENDS[0])
    found = await world.of(FRIENDS[0])
    assert found.level is Level.CIRCLE
    assert found.score < friend.score
    assert "as spam" in against(found)


async def test_only_the_nodes_operator_hears_of_it(world: World) -> None:
    await accepted(world)
    asked = (FRIENDS[0].public, STRANGER.public)
    before = await world.trust.explain(*asked)
    await refused(world, 5000, days=4)
    assert await world.trust.explain(*asked) == before


async def test_what_an_agent_sent_counts_once_it_is_known_whose_it_is(world: World) -> None:
    agent = key(70)
    await refused(world, 1000, who=agent)
    before = await world.of()
    tag = attest(STRANGER, agent.public).tag
    await world.says(
        sign_event(agent, kind=kinds.PROFILE, created_at=NOW, content="{}", tags=(tag,))
    )
    after = await world.of()
    assert after.score < before.score
    assert (await world.of(agent)).score == after.score


async def test_a_record_goes_along_to_a_new_key_but_not_what_a_thief_did(world: World) -> None:
    await refused(world, 1000, days=2)
    before = await world.of()
    now_s = world.clock.at_s
    new = key(71)
    move = Rotate(to=new.public, consent=consent(new, STRANGER.public))
    draft = statement_draft(STRANGER.public, move)
    await world.says(signed(STRANGER, kinds.KEY_STATEMENT, draft, now_s))
    world.clock.at_s += 60
    moved = await world.of(new)
    assert "refused 1000 events as spam in 1 days" in against(moved)  # today's may be another's
    assert before.score < moved.score < 0.5

    agent = key(72)
    tag = attest(FRIENDS[3], agent.public).tag
    await world.says(
        sign_event(agent, kind=kinds.PROFILE, created_at=now_s, content="{}", tags=(tag,))
    )
    end = statement_draft(agent.public, End(reason="stolen"))
    await world.says(signed(agent, kinds.KEY_STATEMENT, end, now_s))
    await refused(world, 1000, who=agent)
    assert "spam" not in against(await world.of(FRIENDS[3]))


# --- lateness -----------------------------------------------------------------------------------


async def test_late_calls_are_told_apart_from_other_failures(world: World) -> None:
    await world.says(*(paid(number, by=ME) for number in range(6)))
    await world.says(paid(20, by=ME, fault=Fault.ERROR), paid(21, by=ME, fault=Fault.DECLINED))
    other = await world.of()
    assert "late" not in against(other)
    assert "bad dealings" in against(other)
    await world.says(*(paid(30 + number, by=ME, fault=Fault.TOO_LATE) for number in range(2)))
    await world.says(paid(40, by=ME, fault=Fault.IMPATIENT))  # by nobody's fault
    found = await world.of()
    assert "late 2 of 10 calls by you and whom you believe" in against(found)
    assert found.score < other.score
    await world.says(*(paid(50 + n, by=OTHERS[n], fault=Fault.TOO_LATE) for n in range(4)))
    assert "late 2 of 10 calls" in against(await world.of())  # strangers' are not mine


async def test_two_failures_of_one_second_weigh_as_two(world: World) -> None:
    await world.says(paid(1, by=ME, fault=Fault.ERROR))
    one = await world.of()
    await world.says(paid(2, by=ME, fault=Fault.TOO_LATE))
    two = await world.of()
    await world.says(paid(3, by=ME, fault=Fault.DECLINED))
    assert one.score > two.score > (await world.of()).score


async def test_the_order_of_arrival_changes_nothing(tmp_path: Path) -> None:
    receipts = [paid(n, by=ME, fault=Fault.TOO_LATE if n % 3 else None) for n in range(9)]
    spam = [(STRANGER.public, 300), (STRANGER.public, 500), (NODE.public, 3)]
    answers = []
    for step in (1, -1):
        async with stores("memory", tmp_path) as kept:
            world = World(kept)
            await world.says(*receipts[::step])
            for name, count in spam[::step]:
                store = StoredRefusals(kept.database)
                store.counted.add(name, count)
                await store.keep(world.clock.at_s)
            answers.append(await world.of())
    assert answers[0] == answers[1]
    assert "late 6 of 9" in against(answers[0])
