"""Levels give permissions: one table, refusals that say the way, work that follows load."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid, RateLimited, Restricted, WorkNeeded
from hanse.protocol.amount import Amount
from hanse.trust.model import Level
from hanse.trust.permissions import (
    DEFAULT_LEVELS,
    WORK_MAX_BITS,
    Action,
    Load,
    announced_bits,
    may,
    read_levels,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "levels.md"


def test_who_is_barred_may_nothing_however_hard_it_works() -> None:
    for action in Action:
        refused = may(Level.BARRED, action, 40)
        assert refused is not None
        assert isinstance(refused.error(), Restricted)
        assert "barred" in refused.reason


def test_a_stranger_writes_with_work_and_is_told_how_much() -> None:
    assert may(Level.STRANGER, Action.WRITE, 16) is None
    refused = may(Level.STRANGER, Action.WRITE, 15)
    assert refused is not None
    assert (refused.level, refused.needed_level, refused.needed_work_bits) == (1, 2, 16)
    error = refused.error()
    assert isinstance(error, WorkNeeded)
    assert error.wire.startswith("pow: write: level 1 may not write publicly: 16 bits")
    assert "mine 16 bits" in error.hint
    assert "vouch" in error.hint


def test_no_work_lets_a_stranger_run_code() -> None:
    refused = may(Level.STRANGER, Action.RUN, 40)
    assert refused is not None
    assert isinstance(refused.error(), Restricted)
    assert "level 3 is needed" in refused.reason
    assert refused.how


@given(st.sampled_from(Level), st.sampled_from(Action), st.integers(0, 50), st.integers(0, 12))
def test_a_higher_level_and_more_work_never_permit_less(
    level: Level, action: Action, work: int, extra: int
) -> None:
    if may(level, action, work, extra_bits=extra) is None:
        assert may(level, action, work + 1, extra_bits=extra) is None
        assert all(
            may(higher, action, work, extra_bits=extra) is None
            for higher in Level
            if higher >= level
        )


def test_a_price_over_the_allowance_asks_for_a_confirmation_or_a_level() -> None:
    assert may(Level.STRANGER, Action.EARN, price=Amount(10_000)) is None
    refused = may(Level.STRANGER, Action.EARN, price=Amount(50_000))
    assert refused is not None
    assert refused.needed_level is Level.ACCEPTED
    assert "`confirmed: true`" in refused.how
    over = may(Level.CIRCLE, Action.EARN, price=Amount(10**12))
    assert over is not None
    assert over.needed_level is None


def test_calls_and_vouches_have_their_number_by_level() -> None:
    assert may(Level.STRANGER, Action.CALL, used=59) is None
    refused = may(Level.STRANGER, Action.CALL, used=60)
    assert refused is not None
    assert isinstance(refused.error(), RateLimited)
    assert may(Level.ACCEPTED, Action.VOUCH, used=1) is None
    spent = may(Level.ACCEPTED, Action.VOUCH, used=2)
    assert spent is not None
    assert spent.needed_level is Level.TRUSTED
    assert "level 3" in spent.how


def test_an_operators_table_changes_only_what_it_names() -> None:
    table = read_levels(
        "[actions.write]\nlevel = 1\n[actions.run]\nlevel = 4\n[levels.1]\ncalls_per_minute = 5\n"
    )
    assert may(Level.STRANGER, Action.WRITE, table=table) is None
    assert may(Level.TRUSTED, Action.RUN, table=table) is not None
    assert may(Level.STRANGER, Action.CALL, used=5, table=table) is not None
    assert table.actions[Action.JOIN] == DEFAULT_LEVELS.actions[Action.JOIN]
    assert table.levels[Level.CIRCLE] == DEFAULT_LEVELS.levels[Level.CIRCLE]
    assert read_levels("") == DEFAULT_LEVELS


def test_a_need_that_is_given_anew_has_no_work_unless_it_says_so() -> None:
    strict = read_levels("[actions.write]\nlevel = 3\n")
    assert may(Level.ACCEPTED, Action.WRITE, 40, table=strict) is not None
    eased = read_levels("[actions.write]\nlevel = 3\nwork = 8\nwork_from = 2\n")
    assert may(Level.ACCEPTED, Action.WRITE, 8, table=eased) is None
    assert may(Level.STRANGER, Action.WRITE, 40, table=eased) is not None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[[", "levels"),
        ("x = 1", "levels.x"),
        ("[actions.fly]\nlevel = 1", "levels.actions.fly"),
        ("[actions.write]\nlevel = 7", "levels.actions.write.level"),
        ("[actions.write]\nlevel = 0", "levels.actions.write"),
        ("[actions.write]\nwork = 41", "levels.actions.write.work"),
        ("[actions.write]\nwork = 'much'", "levels.actions.write.work"),
        ("[actions.write]\nspeed = 1", "levels.actions.write.speed"),
        ("[levels.9]\ncalls_per_minute = 1", "levels.levels.9"),
        ("[levels.2]\ncalls_per_minute = -1", "levels.levels.2.calls_per_minute"),
        ("[levels.2]\nprice_msat_max = 1", "levels.levels.price_msat_max"),
        ("#" * 70_000, "levels"),
    ],
)
def test_a_table_that_cannot_hold_is_refused_by_its_entry(text: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_levels(text)
    assert refused.value.field.startswith(field)


def test_difficulty_rises_with_load_at_once_and_falls_slowly_within_its_bound() -> None:
    load = Load(target_per_minute=100)
    assert load.after(100).extra_bits == 0
    flooded = load.after(801)
    assert flooded.extra_bits == 4
    assert [flooded.extra_bits, (calm := flooded.after(0)).extra_bits] == [4, 3]
    assert calm.after(0).after(0).after(0).after(0).extra_bits == 0
    assert load.after(10**12).extra_bits == load.extra_bits_max
    assert announced_bits(DEFAULT_LEVELS, flooded.extra_bits) == 20
    assert may(Level.STRANGER, Action.WRITE, 19, extra_bits=4) is not None


def test_what_is_announced_is_what_a_stranger_needs() -> None:
    for extra in (0, 5, 100):
        bits = announced_bits(DEFAULT_LEVELS, extra)
        assert may(Level.STRANGER, Action.WRITE, bits, extra_bits=extra) is None
        assert may(Level.STRANGER, Action.WRITE, bits - 1, extra_bits=extra) is not None
        assert bits <= WORK_MAX_BITS
    assert announced_bits(read_levels("[actions.write]\nlevel = 1"), 5) == 0
    assert announced_bits(read_levels("[actions.write]\nlevel = 3"), 5) == 0


def test_the_page_has_the_table_that_holds() -> None:
    text = PAGE.read_text()
    for action, need in DEFAULT_LEVELS.actions.items():
        work = "–" if need.work is None else f"{need.work} bits"
        assert f"| `{action}` | " in text
        row = next(line for line in text.splitlines() if line.startswith(f"| `{action}` |"))
        assert row.endswith(f"| {int(need.level)} | {work} |")
    for level, own in DEFAULT_LEVELS.levels.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {int(level)} "))
        sat = f"{own.price_msat_max // 1000:,} sat"
        assert row.endswith(f"| {sat} | {own.calls_per_minute:,} | {own.vouches_per_month} |")
