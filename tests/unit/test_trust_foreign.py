"""Other protocols' events about somebody: what each says, and what is none of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, sign_event
from hanse.protocol.keys import SecretKey
from hanse.trust.foreign import (
    FIGURE_WEIGHTS,
    LIFETIME_MAX_S,
    READERS,
    REPORT_WEIGHTS,
    may_speak,
    read_foreign,
)

AUTHOR, SUBJECT, OTHER = (SecretKey(bytes([number]) * 32) for number in (1, 2, 3))
NOW = 1_800_000_000
NODE_KEY = "03" + "ab" * 32


def said(kind: int, *tags: tuple[str, ...], by: SecretKey = AUTHOR) -> Event:
    return sign_event(by, kind=kind, created_at=NOW, content="", tags=tuple(tags))


def figures(*dimensions: tuple[str, ...], **changed: str) -> Event:
    """A 30386 event as its own text shows one."""
    tags: dict[str, str] = {
        "d": f"{NODE_KEY}:data-api",
        "p": SUBJECT.public,
        "node_pubkey": NODE_KEY,
        "service_type": "data-api",
        "attestation_type": "bilateral",
        "half_life_hours": "720",
        "L": "agent-reputation",
        "l": "attestation",
    } | changed
    rows: Tags = tuple((name, value) for name, value in tags.items() if value)
    shown = dimensions or (("payment_success_rate", "0.97", "47"),)
    return said(kinds.FIGURES, *rows, *(("dimension", *row) for row in shown))


def test_figures_weigh_by_who_saw_them_and_how_much_went_well() -> None:
    found = read_foreign(figures())
    assert found is not None
    assert (found.subject, found.context) == (SUBJECT.public, "data-api")
    assert found.good == pytest.approx(0.5 * 0.97)
    assert found.bad == pytest.approx(0.5 * 0.03)
    observed = read_foreign(figures(attestation_type="observer"))
    assert observed is not None
    assert observed.weight == pytest.approx(0.35)


def test_figures_are_the_mean_of_the_shares_that_have_enough_samples() -> None:
    found = read_foreign(
        figures(
            ("uptime_percent", "90", "1"),
            ("dispute_rate", "0.5", "5"),
            ("settlement_rate", "0.1", "4"),  # of five at least
            ("capacity_sats", "5000000000", "1981"),  # says nothing of good or bad
        )
    )
    assert found is not None
    assert found.good == pytest.approx(0.5 * 0.7)


def test_figures_end_when_a_twentieth_is_left() -> None:
    short = read_foreign(figures(half_life_hours="1"))
    long = read_foreign(figures(half_life_hours="1e30"))
    assert short is not None
    assert long is not None
    assert short.expires - NOW == pytest.approx(4.32 * 3600, abs=10)
    assert long.expires - NOW == LIFETIME_MAX_S


@pytest.mark.parametrize(
    "changed",
    [
        {"attestation_type": "self"},
        {"attestation_type": "friend"},
        {"p": ""},
        {"p": NODE_KEY},
        {"p": AUTHOR.public},
        {"service_type": "another"},
        {"L": ""},
        {"half_life_hours": "nan"},
        {"half_life_hours": "-1"},
    ],
)
def test_what_breaks_the_format_or_praises_itself_says_nothing(changed: dict[str, Any]) -> None:
    assert read_foreign(figures(**changed)) is None


@pytest.mark.parametrize("value", ["nan", "inf", "1.2", "-0.1", "x", "", "0.9" + "0" * 40])
def test_a_figure_that_is_no_share_is_left_out(value: str) -> None:
    assert read_foreign(figures(("payment_success_rate", value, "47"))) is None


@pytest.mark.parametrize(("what", "weight"), [*REPORT_WEIGHTS.items(), ("nudity", None)])
def test_a_report_warns_by_its_type_and_tastes_say_nothing(what: str, weight: float | None) -> None:
    direct = said(kinds.REPORT, ("p", SUBJECT.public, what))
    of_event = said(kinds.REPORT, ("e", "ab" * 32, what), ("p", SUBJECT.public))
    for event in (direct, of_event):
        found = read_foreign(event)
        assert (found.bad if found else None) == weight
        assert found is None or (found.good, found.subject) == (0.0, SUBJECT.public)


def test_a_report_of_a_copycat_does_not_warn_of_the_one_copied() -> None:
    event = said(kinds.REPORT, ("p", SUBJECT.public, "impersonation"), ("p", OTHER.public))
    found = read_foreign(event)
    assert found is not None
    assert found.subject == SUBJECT.public
    two = said(kinds.REPORT, ("p", SUBJECT.public, "spam"), ("p", OTHER.public, "spam"))
    assert read_foreign(two) is None
    unclear = said(kinds.REPORT, ("e", "ab" * 32, "spam"), ("p", SUBJECT.public), ("p", "x"))
    assert read_foreign(unclear) is None


def review(**changed: str) -> Event:
    about = f"11316:{SUBJECT.public}:"
    tags = {"A": about, "K": "11316", "P": SUBJECT.public, "k": "11316", "p": SUBJECT.public}
    return said(kinds.COMMENT, *((name, value) for name, value in (tags | changed).items()))


def test_a_review_of_a_server_is_told_and_weighs_nothing() -> None:
    found = read_foreign(review())
    assert found is not None
    assert (found.subject, found.weight) == (SUBJECT.public, 0.0)


@pytest.mark.parametrize(
    "changed",
    [{"k": "1111"}, {"K": "1"}, {"A": "11316:x:"}, {"P": OTHER.public}, {"p": OTHER.public}],
)
def test_an_answer_or_another_comment_is_no_review(changed: dict[str, str]) -> None:
    assert read_foreign(review(**changed)) is None


def test_comments_on_other_things_are_not_looked_at() -> None:
    assert may_speak(review())
    assert not may_speak(review(K="30023"))
    assert not may_speak(said(1))
    assert read_foreign(said(1)) is None


NAMES = ["p", "e", "d", "A", "K", "k", "P", "L", "l", "dimension", "11316", "spam", "0.9", "5"]
VALUES = ["bilateral", "uptime_percent", SUBJECT.public, f"11316:{SUBJECT.public}:", "1e400", "\0"]
TEXTS = st.sampled_from([*NAMES, *VALUES, ""])


@given(st.sampled_from(sorted(READERS)), st.lists(st.lists(TEXTS, max_size=5), max_size=12))
def test_no_tags_break_a_reader_or_weigh_more_than_it_says(
    kind: int, tags: list[list[str]]
) -> None:
    found = read_foreign(said(kind, *(tuple(tag) for tag in tags if tag)))
    most = max(*FIGURE_WEIGHTS.values(), *REPORT_WEIGHTS.values())
    assert found is None or (0 <= found.weight <= most and found.expires > NOW)
