"""Whom to trust, asked of a real store: what circles, payments, betrayals and moves do."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.conformance.engines import Stores, named, stores
from tests.conformance.test_trust_view import follows, keep, rating, signed, vouch
from tests.fakes.calls import NOW_S, OUTPUT, Parties

from hanse.broker.model import Call, Fault, Verdict
from hanse.broker.receipt import receipt_event
from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.receipt import read_receipt
from hanse.trust.attestation import Evidence
from hanse.trust.endorsement import endorsement_draft
from hanse.trust.model import Answer, Level, Side
from hanse.trust.rotation import (
    NOTICE_S,
    End,
    Plan,
    Recover,
    Rotate,
    consent,
    statement_draft,
)
from hanse.trust.service import Trust
from hanse.trust.settlement import settlement_evidence

NOW = NOW_S
DAY_S = 86_400


def key(number: int) -> SecretKey:
    return SecretKey(number.to_bytes(32))


ME, STRANGER, NODE, NEW = key(1), key(2), key(3), key(4)
FRIENDS = [key(10 + number) for number in range(4)]
OTHERS = [key(30 + number) for number in range(6)]


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at_s = NOW + DAY_S

    def now_s(self) -> int:
        return self.at_s

    def now_ms(self) -> int:
        return self.at_s * 1000

    def monotonic_ms(self) -> float:
        return self.at_s * 1000.0


class World:
    """A store, a clock, and the trust that is computed from them."""

    def __init__(self, kept: Stores) -> None:
        self.kept = kept
        self.clock = Now()
        self.trust = Trust(kept.trust, self.clock, node=NODE.public, operator=ME.public)

    async def says(self, *events: Event) -> None:
        await keep(self.kept, *events)

    async def of(self, subject: SecretKey = STRANGER, domain: str = "") -> Answer:
        """What I should think of somebody; the same from the start as from what is in memory."""
        found = await self.trust.explain(ME.public, subject.public, domain)
        fresh = Trust(self.kept.trust, self.clock, node=NODE.public, operator=ME.public)
        assert await fresh.explain(ME.public, subject.public, domain) == found
        return found

    async def befriend(self) -> None:
        """I vouch for FRIENDS."""
        await self.says(*(vouch(ME, friend.public) for friend in FRIENDS))


@pytest.fixture(params=named(lasting=True))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with stores(request.param, tmp_path) as kept:
        yield World(kept)


def paid(
    number: int,
    *,
    by: SecretKey,
    to: SecretKey = STRANGER,
    node: SecretKey = NODE,
    fault: Fault | None = None,
    later_s: int = 0,
) -> Event:
    """The receipt of one call, settled unless there was a fault."""
    parties = Parties(node=node, caller=by, provider=to)
    call: Call = msgspec.structs.replace(
        parties.call(), id=hashlib.sha256(f"{number}{by.public}".encode()).digest()
    )
    verdict = (
        Verdict(fault=fault, detail="")
        if fault
        else Verdict(
            output=OUTPUT, output_sha256=digest_hex(OUTPUT), delivery=parties.delivery(call)
        )
    )
    ended = parties.ended(call, verdict)
    at_ms = (ended.closed_ms or 0) + 1000 * later_s
    return receipt_event(node, msgspec.structs.replace(ended, closed_ms=at_ms))


def proof(
    receipt: Event, by: SecretKey, stars: int, of: SecretKey = STRANGER, at_s: int = NOW + 5
) -> Event:
    """A rating that rests on a paid call."""
    evidence = [settlement_evidence(receipt.id, read_receipt(receipt))]
    return rating(by, of.public, stars, at_s, evidence=evidence)


def against(found: Answer) -> str:
    return " | ".join(one.text for one in found.reasons if one.side is Side.AGAINST)


def missing(found: Answer) -> str:
    return " | ".join(one.text for one in found.reasons if one.side is Side.MISSING)


async def test_of_a_stranger_nothing_is_known_and_the_way_is_told(world: World) -> None:
    found = await world.of()
    assert found.level is Level.STRANGER
    assert "3 more of your circle" in missing(found)


async def test_three_of_the_circle_make_a_stranger_acceptable_at_once(world: World) -> None:
    await world.befriend()
    assert (await world.of(FRIENDS[0])).level is Level.CIRCLE
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS[:2]))
    assert (await world.of()).level is Level.STRANGER
    await world.says(vouch(FRIENDS[2], STRANGER.public))
    found = await world.of()
    assert found.level is Level.ACCEPTED
    assert sum(one.side is Side.FOR and "vouches" in one.text for one in found.reasons) == 3
    await world.says(vouch(FRIENDS[1], STRANGER.public, grade=0, at_s=NOW + 9))
    assert (await world.of()).level is Level.STRANGER


async def test_a_vouch_for_one_domain_says_nothing_of_another(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public, "sms") for friend in FRIENDS))
    assert (await world.of(domain="sms.us")).level is Level.ACCEPTED
    assert (await world.of(domain="code")).level is Level.STRANGER
    assert (await world.of()).level is Level.STRANGER


async def test_any_number_of_strangers_vouching_changes_nothing(world: World) -> None:
    await world.befriend()
    ring = [key(1000 + number) for number in range(30)]
    await world.says(*(vouch(one, STRANGER.public) for one in ring))
    await world.says(*(rating(one, STRANGER.public, 5) for one in ring))
    found = await world.of()
    assert found.level is Level.STRANGER
    assert found.score == (await world.of(key(999))).score


async def test_a_vouch_ends_with_its_time_without_anybody_saying_so(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    assert (await world.trust.explain(ME.public, STRANGER.public)).level is Level.ACCEPTED
    world.clock.at_s = NOW + 181 * DAY_S
    assert (await world.of()).level is Level.STRANGER


async def test_praise_of_others_counts_with_a_proof_of_payment_only(world: World) -> None:
    await world.befriend()
    backed = OTHERS[0]
    await world.says(*(vouch(friend, backed.public) for friend in FRIENDS))
    nothing = await world.of()
    await world.says(rating(backed, STRANGER.public, 5))
    assert (await world.of()).score == nothing.score
    receipt = paid(1, by=backed)
    await world.says(receipt, proof(receipt, backed, 5))
    assert (await world.of()).score > nothing.score


async def test_evidence_that_names_no_event_is_a_rating_without_proof(world: World) -> None:
    await world.befriend()
    for number, id in enumerate(("z" * 64, "f" * 64, "", "é" * 64)):
        evidence = [Evidence("hanse_call", {"receipt": id})]
        await world.says(rating(FRIENDS[number], STRANGER.public, 5, evidence=evidence))
    assert (await world.of()).score > 0.5  # friends are believed without one
    outsiders = [rating(one, key(55).public, 5, evidence=evidence) for one in OTHERS]
    await world.says(*outsiders)
    assert (await world.of(key(55))).score == 0.5


async def test_one_operators_agents_cannot_wash_a_reputation(world: World) -> None:
    await world.befriend()
    owner, buyer, seller = FRIENDS[0], OTHERS[1], STRANGER
    buys, sells = attest(owner, buyer.public).tag, attest(owner, seller.public).tag
    await world.says(
        rating(buyer, key(77).public, 4, more=(buys,)),
        rating(seller, key(77).public, 4, more=(sells,)),
    )
    before = await world.of(FRIENDS[0])
    receipt = paid(1, by=buyer, to=seller)
    await world.says(receipt, proof(receipt, buyer, 5, seller))
    after = await world.of(FRIENDS[0])
    assert after.score == before.score
    assert (await world.of(seller)).score == before.score


async def test_a_betrayal_with_proof_told_by_a_friend_bars_at_once(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    receipt = paid(1, by=FRIENDS[0])
    await world.says(receipt, proof(receipt, FRIENDS[0], 1))
    found = await world.of()
    assert found.level is Level.BARRED
    assert "betrayal with proof" in against(found)


async def test_a_betrayal_told_by_a_stranger_bars_nobody(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    receipt = paid(1, by=OTHERS[0])
    await world.says(receipt, proof(receipt, OTHERS[0], 1))
    assert (await world.of()).level is Level.ACCEPTED


async def test_who_vouched_for_a_cheat_pays_with_their_own_standing(world: World) -> None:
    await world.befriend()
    voucher = OTHERS[0]
    await world.says(*(vouch(friend, voucher.public) for friend in FRIENDS))
    before = await world.of(voucher)
    await world.says(vouch(voucher, STRANGER.public, grade=10))
    receipt = paid(1, by=FRIENDS[0])
    accusation = proof(receipt, FRIENDS[0], 1)
    await world.says(receipt, accusation)
    charged = await world.of(voucher)
    assert charged.score < before.score
    assert charged.level is Level.ACCEPTED  # bounded: one mistake is no ban
    await world.says(signed(FRIENDS[0], kinds.DELETION, ("", (("e", accusation.id),)), NOW + 9))
    assert (await world.of(voucher)).score == before.score  # taken back, it costs nothing


async def backed_buyer(world: World, others: int) -> float:
    """The score of a seller praised by a buyer whom three guarantors vouch for, after each vouched
    for some others in the same month."""
    buyer, seller, guarantors = OTHERS[5], key(70), OTHERS[:3]
    await world.befriend()
    await world.says(*(vouch(friend, one.public) for friend in FRIENDS for one in guarantors))
    for number, one in enumerate(guarantors):
        await world.says(
            *(vouch(one, key(200 + 20 * number + more).public) for more in range(others)),
            vouch(one, buyer.public, at_s=NOW + 5),
        )
    receipt = paid(1, by=buyer, to=seller)
    await world.says(receipt, proof(receipt, buyer, 5, seller))
    return (await world.of(seller)).score


@pytest.mark.parametrize(("others", "heard"), [(1, True), (2, False)])
async def test_who_is_accepted_backs_two_a_month_and_no_more(
    world: World, others: int, heard: bool
) -> None:
    assert (await backed_buyer(world, others) > 0.5) is heard


async def test_a_month_later_the_quota_is_new(world: World) -> None:
    assert await backed_buyer(world, 2) == 0.5
    world.clock.at_s += 31 * DAY_S
    later = world.clock.at_s - 60
    await world.says(*(vouch(one, OTHERS[5].public, at_s=later) for one in OTHERS[:3]))
    assert (await world.of(key(70))).score > 0.5


async def test_who_cries_wolf_is_heard_less_and_less(world: World) -> None:
    crier, good = OTHERS[0], [key(300 + number) for number in range(20)]
    await world.befriend()
    await world.says(vouch(FRIENDS[0], crier.public), rating(crier, STRANGER.public, 1))
    warned = await world.of()
    assert warned.score < 0.5
    await world.says(
        *(rating(ME, one.public, 5) for one in good),
        *(rating(crier, one.public, 1) for one in good),
    )
    assert warned.score < (await world.of()).score <= 0.5


async def test_calls_of_this_node_speak_and_those_of_other_nodes_do_not(world: World) -> None:
    before = await world.of()
    await world.says(*(paid(number, by=ME, node=key(66)) for number in range(5)))
    assert (await world.of()).score == before.score
    await world.says(*(paid(number, by=ME) for number in range(5)))
    good = await world.of()
    assert good.score > before.score
    await world.says(*(paid(9 + number, by=ME, fault=Fault.TOO_LATE) for number in range(5)))
    assert (await world.of()).score < good.score
    blameless = await world.of()
    await world.says(paid(50, by=ME, fault=Fault.IMPATIENT))
    assert (await world.of()).score == blameless.score


async def trusted(world: World) -> None:
    """STRANGER comes to level 3: accepted, praised by friends that paid, and by many calls."""
    await world.befriend()
    for number, friend in enumerate(FRIENDS):
        receipt = paid(100 + number, by=friend)
        long = vouch_for_a_year(friend, STRANGER.public)
        await world.says(long, receipt, proof(receipt, friend, 5))
    await world.says(*(paid(number, by=ME, later_s=number) for number in range(80)))
    assert (await world.of()).level is Level.TRUSTED


def vouch_for_a_year(by: SecretKey, of: PublicKey) -> Event:
    draft = endorsement_draft(by.public, of, created_at=NOW, lifetime_s=365 * DAY_S)
    return signed(by, kinds.ENDORSEMENT, draft)


async def test_a_broken_answer_costs_a_level_at_the_next_question_and_for_a_week(
    world: World,
) -> None:
    await trusted(world)
    await world.says(paid(900, by=ME, fault=Fault.SCHEMA))
    found = await world.of()
    assert found.level is Level.ACCEPTED
    assert "broke its own schema" in against(found)
    assert missing(found) == "7 days without another broken answer"
    world.clock.at_s = NOW + 8 * DAY_S
    assert (await world.of()).level is Level.TRUSTED


async def test_who_is_only_accepted_is_a_stranger_after_a_broken_answer(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    assert (await world.of()).level is Level.ACCEPTED
    await world.says(paid(1, by=FRIENDS[1], fault=Fault.UNSIGNED))
    assert (await world.of()).level is Level.STRANGER


@pytest.mark.parametrize(
    ("by", "node", "fault"),
    [
        (OTHERS[0], NODE, Fault.SCHEMA),  # a stranger's call: who knows what it asked
        (ME, key(66), Fault.SCHEMA),  # another node's word
        (ME, NODE, Fault.TOO_LATE),
        (ME, NODE, Fault.DECLINED),
    ],
)
async def test_other_failures_cost_no_level_by_themselves(
    world: World, by: SecretKey, node: SecretKey, fault: Fault
) -> None:
    await trusted(world)
    await world.says(paid(900, by=by, node=node, fault=fault))
    assert (await world.of()).level is Level.TRUSTED


async def test_one_proven_betrayal_takes_all_levels_at_the_next_question(world: World) -> None:
    await trusted(world)
    receipt = paid(900, by=FRIENDS[2])
    await world.says(receipt, proof(receipt, FRIENDS[2], 1, at_s=NOW + 900))
    assert (await world.of()).level is Level.BARRED


async def test_idle_trust_decays_to_what_the_vouches_give_and_then_to_nothing(
    world: World,
) -> None:
    await trusted(world)
    young = await world.of()
    world.clock.at_s = NOW + 100 * DAY_S
    older = await world.of()
    assert older.lower_bound < young.lower_bound
    world.clock.at_s = NOW + 179 * DAY_S
    await world.says(*(vouch(ME, friend.public, at_s=NOW + 170 * DAY_S) for friend in FRIENDS))
    world.clock.at_s = NOW + 200 * DAY_S
    idle = await world.of()
    assert idle.level is Level.ACCEPTED
    assert "a good dealing within 180 days" in missing(idle)
    world.clock.at_s = NOW + 366 * DAY_S
    assert (await world.of()).level is Level.STRANGER


async def test_what_my_own_dealings_gave_goes_when_there_are_none_for_long(world: World) -> None:
    await world.says(*(paid(number, by=ME, later_s=number) for number in range(40)))
    assert (await world.of()).level is Level.ACCEPTED
    world.clock.at_s = NOW + 181 * DAY_S
    assert (await world.of()).level is Level.STRANGER


async def test_calls_that_ended_in_one_second_are_as_many_as_they_are(world: World) -> None:
    await world.says(paid(1, by=ME))
    one = await world.of()
    await world.says(*(paid(number, by=ME) for number in range(2, 20)))
    assert (await world.of()).lower_bound > one.lower_bound + 0.1


async def test_follows_are_told_and_decide_nothing(world: World) -> None:
    await world.befriend()
    before = await world.of()
    await world.says(*(follows(friend, STRANGER.public) for friend in FRIENDS))
    found = await world.of()
    assert (found.level, found.score) == (before.level, before.score)
    assert any("followed by 4 of your circle" in one.text for one in found.reasons)


async def test_an_agent_has_the_standing_of_its_operator(world: World) -> None:
    agent = OTHERS[5]
    tag = attest(STRANGER, agent.public).tag
    await world.says(rating(agent, key(77).public, 4, more=(tag,)))
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    found = await world.of(agent)
    assert (found.subject, found.level) == (STRANGER.public, Level.ACCEPTED)


async def test_standing_moves_with_the_identity_and_the_old_key_is_barred(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    move = Rotate(to=NEW.public, consent=consent(NEW, STRANGER.public))
    await world.says(
        signed(STRANGER, kinds.KEY_STATEMENT, statement_draft(STRANGER.public, move), NOW + 9)
    )
    assert (await world.of(NEW)).level is Level.ACCEPTED
    old = await world.of(STRANGER)
    assert old.level is Level.BARRED
    assert NEW.public in missing(old)


async def test_a_friends_new_key_is_a_friend_and_what_the_old_one_says_later_is_not(
    world: World,
) -> None:
    await world.befriend()
    friend, old = FRIENDS[0], FRIENDS[0]
    move = Rotate(to=NEW.public, consent=consent(NEW, friend.public))
    await world.says(
        signed(old, kinds.KEY_STATEMENT, statement_draft(old.public, move), NOW + 9),
        vouch(old, STRANGER.public, at_s=NOW + 20),
        *(vouch(other, STRANGER.public) for other in FRIENDS[1:3]),
    )
    assert (await world.of(NEW)).level is Level.CIRCLE
    assert (await world.of()).level is Level.STRANGER
    await world.says(vouch(NEW, STRANGER.public, at_s=NOW + 21))
    assert (await world.of()).level is Level.ACCEPTED


async def test_a_stolen_key_loses_its_standing_at_once_and_guardians_move_it(world: World) -> None:
    guardians, paper = OTHERS[:3], key(90)
    plan = Plan(
        guardians=tuple(one.public for one in guardians),
        threshold=2,
        wait_s=3 * DAY_S,
        veto=paper.public,
    )
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    await world.says(statement(STRANGER, plan, NOW))
    stolen_s = NOW + NOTICE_S + DAY_S
    world.clock.at_s = stolen_s + 60
    await world.says(statement(STRANGER, End(reason="stolen"), stolen_s))
    found = await world.of()
    assert found.level is Level.BARRED
    assert "stolen" in against(found)
    move = Recover(source=STRANGER.public, to=NEW.public, consent=consent(NEW, STRANGER.public))
    await world.says(*(statement(one, move, stolen_s + 30) for one in guardians[:2]))
    assert (await world.of(NEW)).level is Level.STRANGER
    world.clock.at_s = stolen_s + 30 + 3 * DAY_S
    assert (await world.of(NEW)).level is Level.ACCEPTED


def statement(by: SecretKey, action: Plan | End | Recover, at_s: int) -> Event:
    return signed(by, kinds.KEY_STATEMENT, statement_draft(by.public, action), at_s)


async def test_a_search_knows_circle_and_acceptance_from_memory(world: World) -> None:
    await world.befriend()
    await world.says(*(vouch(friend, STRANGER.public) for friend in FRIENDS))
    standings = world.trust.standings
    await standings.advance()
    me = ME.public
    known = [(me, 4), (FRIENDS[0].public, 4), (STRANGER.public, 2), (OTHERS[0].public, 0)]
    assert [standings.level(me, of) for of, _ in known] == [level for _, level in known]
    scores = [standings.score(me, of) for of, _ in known]
    assert scores == sorted(scores, reverse=True) == [1.0, 1.0, 0.75, 0.0]
    await world.says(statement(STRANGER, End(reason="stolen"), NOW + 9))
    await standings.advance()
    assert (standings.level(me, STRANGER.public), standings.score(me, STRANGER.public)) == (0, 0.0)


async def test_what_is_no_key_or_domain_is_refused_by_its_name(world: World) -> None:
    for wrong, field in (
        (("x", ME.public, ""), "viewer"),
        ((ME.public, "x", ""), "subject"),
        ((ME.public, STRANGER.public, "a..b"), "domain"),
    ):
        with pytest.raises(Invalid) as refused:
            await world.trust.explain(*wrong)
        assert refused.value.field == field


async def test_order_of_arrival_never_changes_the_answer(tmp_path: Path) -> None:
    receipt = paid(1, by=FRIENDS[0])
    events = [
        *(vouch(ME, friend.public) for friend in FRIENDS),
        *(vouch(friend, STRANGER.public) for friend in FRIENDS),
        vouch(FRIENDS[0], STRANGER.public, grade=0, at_s=NOW + 1),
        receipt,
        proof(receipt, FRIENDS[0], 5),
        rating(OTHERS[0], STRANGER.public, 2),
        statement(OTHERS[1], End(reason="retired"), NOW + 3),
        follows(FRIENDS[1], STRANGER.public),
        *(paid(10 + number, by=ME) for number in range(2)),
    ]
    answers = []
    for number, ordered in enumerate((events, events[::-1], events[1::2] + events[::2])):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with stores("memory", folder) as kept:
            world = World(kept)
            await world.says(*ordered)
            answers.append(await world.of())
    assert answers[0] == answers[1] == answers[2]


async def test_a_key_that_nobody_knows_costs_a_few_reads(world: World) -> None:
    found = await world.trust.explain(ME.public, PublicKey("f" * 64))
    assert found.level is Level.STRANGER
    assert await world.trust.level(ME.public, ME.public) is Level.CIRCLE
