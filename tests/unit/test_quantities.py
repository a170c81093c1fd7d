"""Quantities as people type them: times and shares, or a refusal that shows how."""

import pytest

from hanse.cli.quantities import age_s, kind_age_s, log_bound, milliseconds, share
from hanse.errors import Invalid


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("500ms", 500),
        ("2s", 2000),
        ("1.5s", 1500),
        ("0.25s", 250),
        ("2.001s", 2001),
        ("1.5min", 90_000),
        ("1min", 60_000),
        ("750", 750),
        ("  2 s ", 2000),
        ("0.5ms", 0),
    ],
)
def test_a_time_is_read_as_milliseconds(text: str, wanted: int) -> None:
    assert milliseconds(text, "deadline") == wanted


@pytest.mark.parametrize(
    "text", ["", "s", "2h", "-2s", "+2s", "2s2", "1,5s", "2ss", ".5s", "1e3", "1" * 10, "٢s"]
)
def test_what_is_not_a_time_is_refused_with_field_and_example(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        milliseconds(text, "deadline")
    assert caught.value.field == "deadline"
    assert "not a time" in caught.value.reason
    assert "500ms" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"), [("0.99", 0.99), ("99%", 0.99), ("0", 0.0), ("1", 1.0), ("100%", 1.0)]
)
def test_a_share_is_read_as_zero_to_one(text: str, wanted: float) -> None:
    assert share(text, "success") == pytest.approx(wanted)


@pytest.mark.parametrize(
    "text", ["", "%", "high", "1.01", "101%", "-0.1", "nan", "inf", "1e9", "50%%"]
)
def test_what_is_not_a_share_is_refused_with_field_and_example(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        share(text, "success")
    assert caught.value.field == "success"
    assert caught.value.reason
    assert "99%" in caught.value.hint


def test_a_long_text_is_not_repeated_whole() -> None:
    for read in (milliseconds, share):
        with pytest.raises(Invalid) as caught:
            read("x" * 10_000, "field")
        assert len(caught.value.text) < 200


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 7_776_000), ("12h", 43_200), ("30min", 1800), ("1y", 31_536_000)]
)
def test_ages_are_read_with_their_unit(text: str, seconds: int) -> None:
    assert age_s(text, "f") == seconds
    assert kind_age_s(f"7={text}", "f") == (7, seconds)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("10GB", (None, 10**10)),
        ("500MB", (None, 5 * 10**8)),
        ("5000000events", (5_000_000, None)),
    ],
)
def test_the_log_s_bound_is_read_with_its_unit(text: str, bound: object) -> None:
    assert log_bound(text, "f") == bound


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "0d", "1.5d", "1 d", "٩d", "7=", "=7d"])
def test_what_is_no_age_is_named(text: str) -> None:
    with pytest.raises(Invalid, match="retain"):
        age_s(text, "retain")
    with pytest.raises(Invalid, match="retain"):
        kind_age_s(text, "retain")


@pytest.mark.parametrize(
    "text", ["", "10", "GB", "events", "1gb", "0GB", "-1GB", "1.5GB", "10GBevents"]
)
def test_a_bound_without_a_size_or_its_unit_is_refused_with_both_forms(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        log_bound(text, "log-max")
    assert (caught.value.field, caught.value.hint) == ("log-max", 'write "10GB" or "1000000events"')
