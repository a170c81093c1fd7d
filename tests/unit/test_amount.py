"""Amounts: whole millisatoshi, read from text, never negative and never anything but an int."""

from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount, format_msat


@pytest.mark.parametrize(
    ("text", "msat"),
    [
        ("0msat", 0),
        ("1msat", 1),
        ("500 msat", 500),
        ("2sat", 2000),
        ("1 sats", 1000),
        ("2.5 sat", 2500),
        ("0.001sat", 1),
        ("0.05 SAT", 50),
        ("  7 Sats ", 7000),
        ("9007199254740.991sat", AMOUNT_MAX_MSAT),
        (f"{AMOUNT_MAX_MSAT}msat", AMOUNT_MAX_MSAT),
    ],
)
def test_an_amount_is_read_in_sat_or_msat(text: str, msat: int) -> None:
    assert Amount.parse(text) == Amount(msat)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "sat",
        "-1sat",
        "+1sat",
        "1,000sat",
        "1e3sat",
        "0x10sat",
        "2btc",
        "2.5msat",
        "2.5000sat",
        ".5sat",
        "2.sat",
        "2sat 3sat",
        "9007199254740.992sat",
        f"{AMOUNT_MAX_MSAT + 1}msat",
        "99999999999999999999sat",
        "nan sat",
        "2\nsat\nx",
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Amount.parse(text)
    assert refused.value.field == "amount"
    assert refused.value.reason


def test_the_refusal_names_the_field_that_was_read() -> None:
    with pytest.raises(Invalid) as refused:
        Amount.parse("free", "price")
    assert refused.value.field == "price"
    assert "'free'" in refused.value.reason


@pytest.mark.parametrize("value", [-1, AMOUNT_MAX_MSAT + 1, 1.0, True, "1", None])
def test_only_a_whole_number_in_range_is_an_amount(value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        Amount(value)
    assert refused.value.field == "amount"


def test_amounts_add_subtract_and_compare() -> None:
    assert Amount(1500) + Amount(500) == Amount(2000)
    assert Amount(1500) - Amount(500) == Amount(1000)
    assert Amount(1) < Amount(2) <= Amount(2) < Amount(3)
    assert Amount(3) > Amount(2) >= Amount(2) > Amount(1)
    assert not Amount(2) < Amount(2)
    assert not Amount(2) <= Amount(1)
    assert max(Amount(7), Amount(9), Amount(8)) == Amount(9)


def test_a_difference_below_zero_is_no_amount() -> None:
    with pytest.raises(Invalid):
        Amount(1) - Amount(2)


def test_a_sum_over_all_there_can_be_is_no_amount() -> None:
    with pytest.raises(Invalid):
        Amount(AMOUNT_MAX_MSAT) + Amount(1)


@pytest.mark.parametrize(
    ("msat", "text"),
    [
        (0, "0 sat"),
        (1, "0.001 sat"),
        (12_500, "12.5 sat"),
        (-2_000, "-2 sat"),
        (-1, "-0.001 sat"),
        (1_234_567_890, "1,234,567.89 sat"),
    ],
)
def test_an_amount_is_shown_in_sat(msat: int, text: str) -> None:
    assert format_msat(msat) == text
    if msat >= 0:
        assert str(Amount(msat)) == text
