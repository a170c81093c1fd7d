"""What trust holds in memory is what it would read from the start, whatever happens and when."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import stores
from tests.conformance.test_trust_view import keep, rating, signed, vouch

from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.rotation import (
    DAY_S,
    NOTICE_S,
    Action,
    End,
    Plan,
    Recover,
    Rotate,
    consent,
    statement_draft,
)
from hanse.trust.service import Trust

NOW = 1_800_000_000
PEOPLE = [SecretKey(bytes([number]) * 32) for number in range(1, 6)]
GUARDIANS = tuple(sorted(secret.public for secret in PEOPLE[2:5]))
PAPER = SecretKey(bytes([9]) * 32)


class Now:
    """A clock that only goes forward."""

    def __init__(self) -> None:
        self.at_s = NOW

    def now_s(self) -> int:
        return self.at_s

    def now_ms(self) -> int:
        return self.at_s * 1000

    def monotonic_ms(self) -> float:
        return self.at_s * 1000.0


def statement(by: SecretKey, action: Action, at_s: int) -> Event:
    return signed(by, kinds.KEY_STATEMENT, statement_draft(by.public, action), at_s)


def plan() -> Plan:
    return Plan(guardians=GUARDIANS, threshold=2, wait_s=3 * DAY_S, veto=PAPER.public)


def happens(kind: str, who: int, whom: int, grade: int, at_s: int) -> Event | None:
    """One thing that somebody says at a time; None for what nobody can say."""
    by, of = PEOPLE[who], PEOPLE[whom]
    if by is of:
        return None
    if kind == "vouch":
        return vouch(by, of.public, ("", "sms")[grade % 2], grade, at_s)
    if kind == "rate":
        return rating(by, of.public, 1 + grade, at_s)
    if kind == "rotate":
        return statement(by, Rotate(to=of.public, consent=consent(of, by.public)), at_s)
    if kind == "end":
        return statement(by, End(reason="stolen"), at_s)
    if kind == "plan":
        return statement(PEOPLE[0], plan(), at_s) if who == 0 else None
    if by.public not in GUARDIANS or of is PEOPLE[0]:
        return None
    first = PEOPLE[0].public
    move = Recover(source=first, to=of.public, consent=consent(of, first))
    return statement(by, move, at_s)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["vouch", "vouch", "vouch", "rate", "rotate", "end", "plan", "recover"]),
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(0, 4),
        st.sampled_from([0, 60, DAY_S, 4 * DAY_S, NOTICE_S, 200 * DAY_S]),
    ),
    max_size=14,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
@example([("vouch", 0, 1, 2, 0), ("rate", 0, 1, 0, 0)])
async def test_memory_says_what_the_store_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int, int]]
) -> None:
    clock = Now()
    async with stores("memory", tmp_path_factory.mktemp("trust")) as kept:
        node = PublicKey("e" * 64)
        warm = Trust(kept.trust, clock, node=node)
        for kind, who, whom, grade, wait_s in steps:
            clock.at_s += wait_s
            event = happens(kind, who, whom, grade, clock.at_s)
            if event is not None:
                await keep(kept, event)
            fresh = Trust(kept.trust, clock, node=node)
            for subject in PEOPLE:
                for domain in ("", "sms.us"):
                    asked = (PEOPLE[0].public, subject.public, domain)
                    assert await warm.explain(*asked) == await fresh.explain(*asked)
            await warm.standings.advance()
            await fresh.standings.advance()
            # Whom they caught betraying is known of viewers that were asked for before.
            await fresh.standings.watch(one.public for one in PEOPLE)
            pairs = [(one.public, two.public) for one in PEOPLE for two in PEOPLE]
            assert [warm.standings.level(*pair) for pair in pairs] == [
                fresh.standings.level(*pair) for pair in pairs
            ]
