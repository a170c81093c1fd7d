"""Other protocols' events asked of a real store: weak, and never stronger by number."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import Stores, stores
from tests.conformance.test_trust_answers import (
    FRIENDS,
    ME,
    OTHERS,
    STRANGER,
    World,
    against,
    key,
    world,
)
from tests.conformance.test_trust_view import deletion, keep, state, vouch
from tests.fakes.calls import NOW_S

from hanse.engines.storage.trust import HEARSAY_MAX
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.model import Level

__all__ = ["world"]  # the fixture


def report(by: SecretKey, of: PublicKey, what: str = "spam", at_s: int = NOW_S) -> Event:
    tags = (("p", of, what),)
    return sign_event(by, kind=kinds.REPORT, created_at=at_s, content="", tags=tags)


def figures(by: SecretKey, of: PublicKey, share: str = "1", service: str = "sms") -> Event:
    tags = (
        ("d", f"{of}:{service}"),
        ("p", of),
        ("service_type", service),
        ("attestation_type", "bilateral"),
        ("dimension", "settlement_rate", share, "50"),
        ("half_life_hours", "2160"),
        ("L", "agent-reputation"),
        ("l", "attestation", "agent-reputation"),
    )
    return sign_event(by, kind=kinds.FIGURES, created_at=NOW_S, content="", tags=tags)


def review(by: SecretKey, of: PublicKey) -> Event:
    about = (("A", f"11316:{of}:"), ("K", "11316"), ("P", of), ("k", "11316"), ("p", of))
    return sign_event(by, kind=kinds.COMMENT, created_at=NOW_S, content="Good.", tags=about)


async def test_what_friends_saw_counts_a_little_and_what_strangers_say_for_nothing(
    world: World,
) -> None:
    await world.befriend()
    nothing = await world.of()
    await world.says(*(figures(one, STRANGER.public) for one in OTHERS))
    assert (await world.of()).score == nothing.score
    await world.says(figures(FRIENDS[0], STRANGER.public))
    good = await world.of()
    assert nothing.score < good.score < 0.6
    await world.says(*(figures(FRIENDS[0], STRANGER.public, service=f"s{at}") for at in range(9)))
    assert (await world.of()).score == good.score  # one operator, one voice


async def test_figures_of_one_trade_say_nothing_of_another(world: World) -> None:
    await world.befriend()
    before = await world.of(domain="code")
    await world.says(figures(FRIENDS[0], STRANGER.public, service="sms"))
    assert (await world.of(domain="code")).score == before.score
    assert (await world.of(domain="sms")).score > before.score


async def test_reports_of_friends_warn_and_bar_nobody(world: World) -> None:
    await world.befriend()
    before = await world.of()
    await world.says(*(report(friend, STRANGER.public, "malware") for friend in FRIENDS))
    warned = await world.of()
    assert warned.score < before.score
    assert warned.level is Level.STRANGER
    assert "bad dealings" in against(warned)
    again = [report(FRIENDS[0], STRANGER.public, "malware", NOW_S - at) for at in range(1, 9)]
    await world.says(*again)
    assert (await world.of()).score == warned.score  # said nine times, it is said once


async def test_a_report_taken_back_counts_no_more(world: World) -> None:
    await world.befriend()
    before = await world.of()
    event = report(FRIENDS[0], STRANGER.public)
    await world.says(event, deletion(FRIENDS[0], event))
    assert await world.of() == before


async def test_reviews_are_told_and_decide_nothing(world: World) -> None:
    await world.befriend()
    before = await world.of()
    await world.says(*(review(one, STRANGER.public) for one in (*FRIENDS, *OTHERS)))
    found = await world.of()
    assert (found.level, found.score) == (before.level, before.score)
    assert any("reviewed by 4 of your circle" in one.text for one in found.reasons)


async def test_what_is_heard_is_the_same_rebuilt_from_the_log_on_every_engine(
    kept: Stores,
) -> None:
    by, of = FRIENDS[0], STRANGER.public
    taken_back = report(FRIENDS[1], of)
    note = sign_event(by, kind=kinds.COMMENT, created_at=NOW_S, content="", tags=(("K", "1"),))
    await keep(
        kept,
        *(figures(by, of, share) for share in ("0.5", "1")),
        report(by, of),
        review(by, of),
        note,
        taken_back,
        deletion(FRIENDS[1], taken_back),
    )
    heard = await kept.trust.hearsay_of(of, NOW_S)
    assert sorted(one.kind for one in heard) == [kinds.COMMENT, kinds.REPORT, kinds.FIGURES]
    between = await kept.trust.hearsay_between([by.public, ME.public], of, NOW_S)
    assert {one.id for one in between} == {one.id for one in heard}
    before = await state(kept)
    await kept.trust.rebuild()
    assert await state(kept) == before


async def test_a_flood_of_reports_does_not_push_out_a_friends(world: World) -> None:
    await world.befriend()
    await world.says(report(FRIENDS[0], STRANGER.public))
    before = await world.of()
    flood = [report(key(5000 + n), STRANGER.public, at_s=NOW_S + 9) for n in range(HEARSAY_MAX)]
    await world.kept.log.append_many(flood)
    await world.kept.trust.advance()
    assert (await world.of()).score == before.score


SAID = st.tuples(
    st.sampled_from(["report", "figures", "review"]),
    st.integers(0, 30),
    st.sampled_from(["spam", "malware", "impersonation", "nudity"]),
    st.sampled_from(["0", "0.5", "1"]),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(SAID, max_size=25), st.booleans())
async def test_no_number_of_keys_raises_a_level_or_bars_by_hearsay(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[str, int, str, str]],
    accepted: bool,
) -> None:
    of = STRANGER.public
    async with stores("memory", tmp_path_factory.mktemp("trust")) as kept:
        world = World(kept)
        await world.befriend()
        if accepted:
            await world.says(*(vouch(friend, of) for friend in FRIENDS))
        before = await world.of()
        for kind, who, what, share in said:
            by = key(400 + who)
            if kind == "report":
                await world.says(report(by, of, what))
            else:
                await world.says(figures(by, of, share) if kind == "figures" else review(by, of))
        after = await world.of()
    assert after.level is before.level
    assert after.score <= before.score
    assert ME.public == after.viewer
