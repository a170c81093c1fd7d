"""From evidence to a level, with reasons."""

from hanse.trust.acceptance import counted_now
from hanse.trust.gather import edges_for, gather
from hanse.trust.graph import Graph
from hanse.trust.levels import BETRAYAL_S, IDLE_S, answer
from hanse.trust.model import Answer, Endorsement, Level, Outcome, Side

NOW = 10**9
CIRCLE = ("ann", "bob", "cid")


def judge(
    endorsements: list[tuple[str, str]],
    outcomes: list[Outcome],
    subject: str = "x",
    now_s: int = NOW,
) -> Answer:
    told = [
        Endorsement(by=by, of=of, grade=2, at_s=NOW - 10, expires_s=4 * NOW)
        for by, of in endorsements
    ]
    counted = counted_now(told, now_s)
    graph = Graph.build(edges_for(counted))
    view = graph.view(CIRCLE)
    return answer(
        gather(
            graph,
            view,
            counted,
            outcomes,
            viewer="me",
            circle=CIRCLE,
            subject=subject,
            now_s=now_s,
        )
    )


def good(rater: str, much: float = 10.0, at_s: int = NOW - 100) -> Outcome:
    return Outcome(rater=rater, subject="x", good=much, at_s=at_s)


def bad(rater: str, much: float = 10.0, *, proven: bool = False, at_s: int = NOW - 50) -> Outcome:
    return Outcome(rater=rater, subject="x", bad=much, proven=proven, at_s=at_s)


ALL_VOUCH = [(member, "x") for member in CIRCLE]
RECORD = [good(member) for member in CIRCLE]


def test_nobody_knows_a_stranger() -> None:
    found = judge([], [])
    assert (found.level, found.score) == (Level.STRANGER, 0.5)
    assert [each.text for each in found.reasons] == [
        "3 more of your circle vouching for everything"
    ]


def test_three_endorsements_accept_at_once() -> None:
    found = judge(ALL_VOUCH, [])
    assert found.level is Level.ACCEPTED
    assert [each.path for each in found.reasons if each.side is Side.FOR] == [
        (member, "x") for member in CIRCLE
    ]


def test_trust_needs_endorsements_and_a_record() -> None:
    assert judge(ALL_VOUCH, RECORD).level is Level.TRUSTED
    assert judge(ALL_VOUCH, [good("ann", 1.0)]).level is Level.ACCEPTED
    assert judge([], RECORD).level is Level.STRANGER


def test_trust_that_is_not_used_decays() -> None:
    found = judge(ALL_VOUCH, RECORD, now_s=NOW + IDLE_S)
    assert found.level is Level.ACCEPTED
    assert any("no good dealing" in each.text for each in found.reasons)
    assert found.score < judge(ALL_VOUCH, RECORD).score


def test_one_proven_betrayal_drops_the_level_now_and_for_a_time() -> None:
    betrayal = bad("zed", 1.0, proven=True)
    assert judge(ALL_VOUCH, [*RECORD, betrayal]).level is Level.BARRED
    member = Outcome(rater="zed", subject="ann", bad=1.0, proven=True, at_s=NOW - 50)
    assert judge([], [member], subject="ann").level is Level.BARRED
    assert judge(ALL_VOUCH, [betrayal], now_s=NOW + BETRAYAL_S).level is Level.ACCEPTED


def test_a_bad_record_with_the_believed_bars() -> None:
    found = judge(ALL_VOUCH, [bad("ann"), bad("bob")])
    assert found.level is Level.BARRED
    assert found.reasons[-1].side is Side.MISSING


def test_strangers_cannot_bar_anybody() -> None:
    told = [("ann", "zed"), *ALL_VOUCH]
    found = judge(told, [bad("zed", 100.0), *(bad(f"fake{number}") for number in range(100))])
    assert found.level is Level.ACCEPTED
    assert found.score < 0.5


def test_the_viewers_own_good_dealings_are_enough_to_accept() -> None:
    assert judge([], [good("me", 10.0)]).level is Level.ACCEPTED
    assert judge([], [good("fake", 10.0)]).level is Level.STRANGER


def test_the_circle_stands_above_and_shows_it() -> None:
    found = judge([], [], subject="ann")
    assert found.level is Level.CIRCLE
    assert found.reasons[0].text == "is in your own circle"
    assert judge([], [], subject="me").level is Level.CIRCLE


def test_every_level_but_the_highest_says_what_would_raise_it() -> None:
    for endorsements, outcomes in (
        ([], []),
        (ALL_VOUCH, []),
        (ALL_VOUCH, RECORD),
        ([], [bad("ann"), bad("bob")]),
        ([], [bad("zed", proven=True)]),
    ):
        sides = [each.side for each in judge(list(endorsements), list(outcomes)).reasons]
        assert Side.MISSING in sides
