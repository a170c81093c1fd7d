"""One proven betrayal: what it ends at once, what it costs who vouched, and how one appeals."""

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import named, stores
from tests.conformance.test_trust_answers import (
    DAY_S,
    FRIENDS,
    ME,
    NODE,
    NOW,
    OTHERS,
    STRANGER,
    World,
    against,
    key,
    missing,
    paid,
    proof,
)
from tests.conformance.test_trust_view import deletion, rating, signed, state, vouch

from hanse.broker.model import Fault
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.event import Event
from hanse.protocol.keys import SecretKey
from hanse.protocol.receipt import read_receipt
from hanse.trust.appeal import Action, appeal_draft
from hanse.trust.model import Answer, Level, Side
from hanse.trust.service import Trust
from hanse.trust.settlement import settlement_evidence

JUDGES = [key(50 + number) for number in range(4)]
"""More of the circle, who stand for nobody."""


@pytest.fixture(params=named(lasting=True))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with stores(request.param, tmp_path) as kept:
        yield World(kept)


def betrayal(by: SecretKey, of: SecretKey, number: int = 1, at_s: int = NOW + 5) -> list[Event]:
    """A paid call, and the word of who paid that it was a cheat."""
    receipt = paid(number, by=by, to=of)
    return [receipt, proof(receipt, by, 1, of, at_s)]


def appeal(
    by: SecretKey, receipt: Event, action: Action, reason: str = "", at_s: int = NOW + 20
) -> Event:
    return signed(by, kinds.APPEAL, appeal_draft(receipt.id, action, reason), at_s)


def costs(found: Answer) -> list[str]:
    return [one.text for one in found.reasons if one.text.startswith("vouched for")]


# --- what it ends ---------------------------------------------------------------------------------


async def test_a_betrayer_in_my_circle_vouches_for_nobody_from_then_on(world: World) -> None:
    await world.says(*(vouch(ME, friend.public) for friend in FRIENDS[:3]))
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS[:3]))
    assert (await world.of()).level is Level.ACCEPTED
    await world.says(*betrayal(FRIENDS[0], FRIENDS[2]))
    found = await world.of()
    assert found.level is Level.STRANGER
    assert not any(FRIENDS[2].public in one.path for one in found.reasons)
    caught = await world.of(FRIENDS[2])
    assert caught.level is Level.BARRED
    standing = world.trust.standings
    await standing.watch([ME.public])
    assert standing.standing(ME.public, FRIENDS[2].public) is Level.BARRED
    assert standing.standing(ME.public, STRANGER.public) is Level.STRANGER


async def test_a_guarantor_who_betrays_backs_nobody_from_then_on(world: World) -> None:
    await world.befriend()
    backers, buyer, seller = OTHERS[:3], OTHERS[5], key(70)
    await world.says(*(vouch(friend, one.public) for friend in FRIENDS for one in backers))
    await world.says(*(vouch(one, buyer.public) for one in backers))
    receipt = paid(1, by=buyer, to=seller)
    await world.says(receipt, proof(receipt, buyer, 5, seller))
    assert (await world.of(seller)).score > 0.5
    await world.says(*betrayal(FRIENDS[0], backers[0], 2))
    assert (await world.of(seller)).score == 0.5


async def test_what_a_betrayer_praises_counts_no_more(world: World) -> None:
    await world.befriend()
    await world.says(rating(FRIENDS[2], STRANGER.public, 5))
    assert (await world.of()).score > 0.5
    await world.says(*betrayal(FRIENDS[0], FRIENDS[2]))
    assert (await world.of()).score == 0.5


async def test_my_own_word_needs_no_proof_to_end_what_a_friend_vouches_for(world: World) -> None:
    await world.says(*(vouch(ME, friend.public) for friend in FRIENDS[:3]))
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS[:3]))
    mine = rating(ME, FRIENDS[2].public, 1)
    await world.says(mine)
    assert (await world.of()).level is Level.STRANGER
    await world.says(deletion(ME, mine))
    assert (await world.of()).level is Level.ACCEPTED


async def test_without_a_proof_a_friends_word_ends_nobodys_vouches(world: World) -> None:
    await world.says(*(vouch(ME, friend.public) for friend in FRIENDS[:3]))
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS[:3]))
    await world.says(rating(FRIENDS[0], FRIENDS[2].public, 1))
    assert (await world.of()).level is Level.ACCEPTED


async def test_the_word_of_a_friends_agent_is_the_friends(world: World) -> None:
    await world.befriend()
    agent = key(90)
    receipt = paid(1, by=agent, to=FRIENDS[2])
    evidence = [settlement_evidence(receipt.id, read_receipt(receipt))]
    tag = attest(FRIENDS[0], agent.public).tag
    said = rating(agent, FRIENDS[2].public, 1, NOW + 5, more=(tag,), evidence=evidence)
    await world.says(receipt, said)
    assert (await world.of(FRIENDS[2])).level is Level.BARRED
    await world.says(deletion(agent, said))
    assert (await world.of(FRIENDS[2])).level is Level.CIRCLE


async def test_whom_many_viewers_caught_is_known_for_all_after_some_passes(world: World) -> None:
    viewers = [key(600 + number) for number in range(20)]
    standings = world.trust.standings
    await world.says(*betrayal(FRIENDS[0], STRANGER))
    await world.says(*(vouch(one, FRIENDS[0].public) for one in viewers))
    await standings.advance()
    for one in viewers:
        assert standings.standing(one.public, STRANGER.public) is Level.STRANGER  # not read yet
    for _ in range(3):
        await standings.advance()
    for one in viewers:
        assert standings.standing(one.public, STRANGER.public) is Level.BARRED


async def test_what_an_answer_found_out_the_relay_knows_from_the_next_pass(world: World) -> None:
    await world.befriend()
    standings = world.trust.standings
    await standings.advance()
    assert standings.standing(ME.public, FRIENDS[2].public) is Level.CIRCLE
    await world.says(*betrayal(FRIENDS[0], FRIENDS[2]))
    assert (await world.of(FRIENDS[2])).level is Level.BARRED  # now it is in memory
    await standings.advance()
    assert standings.standing(ME.public, FRIENDS[2].public) is Level.BARRED


async def test_an_accuser_who_is_unvouched_accuses_nobody_any_more(world: World) -> None:
    await world.befriend()
    await world.says(*betrayal(FRIENDS[0], FRIENDS[2]))
    assert (await world.of(FRIENDS[2])).level is Level.BARRED
    await world.says(vouch(ME, FRIENDS[0].public, grade=0, at_s=NOW + 9))
    assert (await world.of(FRIENDS[2])).level is Level.CIRCLE


async def test_a_receipt_that_comes_after_the_rating_proves_it_then(world: World) -> None:
    await world.befriend()
    receipt, said = betrayal(FRIENDS[0], FRIENDS[2])
    await world.says(said)
    assert (await world.of(FRIENDS[2])).level is Level.CIRCLE
    await world.says(receipt)
    world.clock.at_s += 1
    assert (await world.of(FRIENDS[2])).level is Level.BARRED


async def test_a_betrayal_is_forgotten_after_a_year(world: World) -> None:
    await world.befriend()
    receipt = paid(1, by=ME)
    lasting = proof(receipt, ME, 1)
    await world.says(receipt, lasting)
    assert (await world.of()).level is Level.BARRED
    world.clock.at_s = NOW + 361 * DAY_S
    assert (await world.of()).level is Level.STRANGER


# --- what it costs --------------------------------------------------------------------------------


async def charged(world: World, voucher: SecretKey = OTHERS[0], betrayals: int = 1) -> list[Event]:
    """Somebody accepted vouches for a stranger, who then cheats my friends."""
    await world.befriend()
    await world.says(*(vouch(ME, judge.public) for judge in JUDGES))
    await world.says(*(vouch(friend, voucher.public) for friend in FRIENDS))
    await world.says(vouch(voucher, STRANGER.public, grade=10))
    cheated = [betrayal(FRIENDS[number], STRANGER, number) for number in range(betrayals)]
    await world.says(*(event for both in cheated for event in both))
    return [receipt for receipt, _ in cheated]


async def test_one_cheat_costs_its_voucher_once_however_often_it_cheats(world: World) -> None:
    await charged(world, betrayals=1)
    once = await world.of(OTHERS[0])
    assert len(costs(once)) == 1
    await world.says(*betrayal(FRIENDS[1], STRANGER, 8), *betrayal(FRIENDS[2], STRANGER, 9))
    assert (await world.of(OTHERS[0])).score == once.score


async def test_who_takes_the_vouch_back_after_it_pays_less_but_pays(world: World) -> None:
    await charged(world)
    before = await world.of(OTHERS[0])
    await world.says(vouch(OTHERS[0], STRANGER.public, grade=0, at_s=NOW + 60))
    after = await world.of(OTHERS[0])
    assert before.score < after.score < 0.5


async def test_who_took_the_vouch_back_before_it_pays_nothing(world: World) -> None:
    await world.befriend()
    await world.says(vouch(OTHERS[0], STRANGER.public, grade=0, at_s=NOW + 1))
    await world.says(*betrayal(FRIENDS[0], STRANGER))
    assert not costs(await world.of(OTHERS[0]))


# --- appeals --------------------------------------------------------------------------------------


async def test_an_accusation_that_i_overrule_bars_nobody_and_costs_nothing(world: World) -> None:
    receipt = (await charged(world))[0]
    accused = await world.of()
    assert accused.level is Level.BARRED
    assert "appeal" in missing(accused)
    shown = next(one for one in accused.reasons if one.side is Side.AGAINST)
    assert shown.receipt == receipt.id
    await world.says(appeal(ME, receipt, "grant"))
    assert (await world.of()).level is Level.STRANGER
    assert not costs(await world.of(OTHERS[0]))
    await world.says(appeal(ME, receipt, "withdraw", at_s=NOW + 30))
    assert (await world.of()).level is Level.BARRED
    assert costs(await world.of(OTHERS[0]))


async def test_three_of_my_circle_who_stand_for_nobody_overrule_it_and_two_do_not(
    world: World,
) -> None:
    receipt = (await charged(world))[0]
    await world.says(*(appeal(judge, receipt, "grant") for judge in JUDGES[:2]))
    assert (await world.of()).level is Level.BARRED
    await world.says(appeal(JUDGES[2], receipt, "grant"))
    assert (await world.of()).level is Level.STRANGER
    assert not costs(await world.of(OTHERS[0]))


async def test_neither_strangers_nor_parties_nor_their_vouchers_overrule_it(world: World) -> None:
    receipt = (await charged(world))[0]
    await world.says(*(vouch(judge, STRANGER.public) for judge in JUDGES))
    parties = [STRANGER, FRIENDS[0], *OTHERS, *JUDGES]
    await world.says(*(appeal(one, receipt, "grant") for one in parties))
    assert (await world.of()).level is Level.BARRED


async def test_my_own_accusation_only_i_take_back(world: World) -> None:
    await charged(world)
    receipt, said = betrayal(ME, STRANGER, 20)
    await world.says(receipt, said)
    await world.says(*(appeal(judge, receipt, "grant") for judge in JUDGES))
    assert (await world.of()).level is Level.BARRED


async def test_i_forgive_whom_i_accused_myself(world: World) -> None:
    await world.befriend()
    receipt, said = betrayal(ME, FRIENDS[0])
    await world.says(receipt, said)
    assert (await world.of(FRIENDS[0])).level is Level.BARRED
    await world.says(appeal(ME, receipt, "grant"))
    assert (await world.of(FRIENDS[0])).level is Level.CIRCLE


async def test_what_was_overruled_stays_so_when_it_is_said_again(world: World) -> None:
    receipt = (await charged(world))[0]
    await world.says(appeal(ME, receipt, "grant"))
    await world.says(proof(receipt, FRIENDS[0], 1, at_s=NOW + 40))
    assert (await world.of()).level is Level.STRANGER
    await world.says(*betrayal(FRIENDS[0], STRANGER, 30, NOW + 50))  # another dealing
    assert (await world.of()).level is Level.BARRED


async def test_what_the_accused_and_their_voucher_say_of_it_is_shown(world: World) -> None:
    receipt = (await charged(world))[0]
    await world.says(appeal(STRANGER, receipt, "appeal", "it came a day later"))
    await world.says(appeal(OTHERS[0], receipt, "appeal", "ask me"))
    assert "it appeals: it came a day later" in against(await world.of())
    assert "it appeals: ask me" in against(await world.of(OTHERS[0]))
    assert (await world.of()).level is Level.BARRED  # a plea alone decides nothing


STORY = st.lists(
    st.one_of(
        st.tuples(st.just("vouch"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)),
        st.tuples(st.just("betray"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("appeal"), st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)),
    ),
    max_size=14,
)
CAST = [ME, *FRIENDS, STRANGER]


def told(story: Sequence[tuple[str, int, int, int]]) -> list[Event]:
    """What happens in a story, each thing in a second of its own: nothing is left to ids."""
    events = [vouch(ME, friend.public) for friend in FRIENDS]
    receipts = []
    for at, (what, by, of, how) in enumerate(story):
        one, other, at_s = CAST[by], CAST[of % len(CAST)], NOW + 10 + at
        if what == "vouch" and one is not other:
            events.append(vouch(one, other.public, grade=5 * how, at_s=at_s))
        elif what == "betray" and one is not other:
            receipt = paid(at, by=one, to=other)
            receipts.append(receipt)
            events += [receipt, proof(receipt, one, 1 + 4 * how, other, at_s)]
        elif what == "appeal" and receipts:
            action: Action = ("appeal", "grant", "withdraw")[how]
            events.append(appeal(one, receipts[of % len(receipts)], action, at_s=at_s))
    return events


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STORY, st.integers(0, 2**32))
async def test_order_of_arrival_never_changes_what_a_betrayal_does(
    tmp_path_factory: pytest.TempPathFactory,
    story: list[tuple[str, int, int, int]],
    chance: int,
) -> None:
    events = told(story)
    shuffled = [*events]
    random.Random(chance).shuffle(shuffled)
    answers = []
    for order in (events, shuffled):
        async with stores("memory", tmp_path_factory.mktemp("betrayals")) as kept:
            world = World(kept)
            for number, event in enumerate(order):
                await world.says(event)
                if number % 4 == 0:
                    await world.trust.explain(ME.public, STRANGER.public)  # warm
            world.clock.at_s += 1
            answers.append([await world.of(one) for one in CAST])
            grown = await state(kept)
            await kept.trust.rebuild()
            assert [row[2:] for row in (await state(kept))[0]] == [row[2:] for row in grown[0]]
            fresh = Trust(kept.trust, world.clock, node=NODE.public, operator=ME.public)
            again = [await fresh.explain(ME.public, one.public) for one in CAST]
            assert again == answers[-1]
    assert answers[0] == answers[1]


# --- quotas by level ------------------------------------------------------------------------------


async def buyers_score(world: World, others: int) -> float:
    """The score of a seller praised by a buyer whom three guarantors vouch for, after each vouched
    for some others in the same month."""
    buyer, seller = OTHERS[5], key(70)
    for place, one in enumerate(OTHERS[:3]):
        await world.says(
            *(vouch(one, key(200 + 20 * place + more).public) for more in range(others)),
            vouch(one, buyer.public, at_s=NOW + 5),
        )
    receipt = paid(1, by=buyer, to=seller)
    await world.says(receipt, proof(receipt, buyer, 5, seller))
    return (await world.of(seller)).score


async def guarantors(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, one.public) for friend in FRIENDS for one in OTHERS[:3]))


async def dealt(world: World, fault: Fault | None = None) -> None:
    """My friends had many dealings with the guarantors."""
    for place, one in enumerate(OTHERS[:3]):
        await world.says(
            *(
                paid(1000 + 100 * place + number, by=friend, to=one, fault=fault)
                for friend in FRIENDS
                for number in range(15)
            )
        )


@pytest.mark.parametrize(("others", "heard"), [(4, True), (5, False)])
async def test_who_is_trusted_backs_five_a_month_and_no_more(
    world: World, others: int, heard: bool
) -> None:
    await guarantors(world)
    await dealt(world)
    assert (await world.of(OTHERS[0])).level is Level.TRUSTED
    assert (await buyers_score(world, others) > 0.5) is heard


async def test_who_is_accepted_with_a_bad_record_backs_nobody(world: World) -> None:
    await guarantors(world)
    assert await buyers_score(world, 0) > 0.5
    await dealt(world, Fault.TOO_LATE)
    assert (await world.of(OTHERS[0])).level is Level.BARRED
    assert (await world.of(key(70))).score == 0.5
