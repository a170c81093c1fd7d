"""Quality summaries: what a node says of an offer, and how far another one believes it."""

from typing import Any

import orjson
import pytest

from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.event import Event, check_event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.model import Promise
from hanse.registry.observed import Observed
from hanse.registry.quality import Ended
from hanse.registry.summary import (
    EVERY_S,
    KEPT_S,
    RUN_MAX,
    WORD_MAX,
    WORDS_MAX,
    Heard,
    Summaries,
    read_summary,
)

NOW_S = 1_800_000_000
PROVIDER = new_secret().public
ADDRESS = f"{kinds.OFFER}:{PROVIDER}:greet"
ME = new_secret().public
MY_NODE = new_secret()
FRIEND = new_secret()
FRIENDS_NODE = new_secret()
PROMISE = Promise(latency_p95_ms=500, success_rate=0.9)


class Trusting:
    """Implements `registry.store.Standing`: half trusts the friend."""

    score_of = 0.5

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        return 2 if operator == FRIEND.public and self.score_of else 0

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        return self.score_of


def called(
    calls: int, *, good: int | None = None, address: str = ADDRESS, at_s: int = NOW_S
) -> Observed:
    """A registry after calls of many payers it knows."""

    class Everybody(Trusting):
        def level(self, viewer: PublicKey, operator: PublicKey) -> int:
            return 2

    found = Observed(ME, lambda: NOW_S, Everybody())
    for number in range(calls):
        settled = good is None or number < good
        found.record(
            Ended(
                id=f"{address}{number}".encode(),
                address=address,
                capability="greet",
                major=1,
                caller="c",
                provider=PROVIDER,
                payer=f"payer {number % 7}",
                payee=PROVIDER,
                end="settled" if settled else "too-late",
                latency_ms=100,
                at_s=at_s,
            )
        )
    return found


def said(node: SecretKey = FRIENDS_NODE, owner: SecretKey = FRIEND, **calls: Any) -> Event:
    """A node's summary after calls."""
    auth = attest(owner, node.public).tag
    (event,) = Summaries(node, auth).due(called(calls.pop("calls", 50), **calls), NOW_S)
    return event


def heard(*events: Event, standing: Trusting | None = None) -> tuple[Heard, Observed]:
    """My node after it saw these."""
    listening = Heard(ME, MY_NODE.public, standing or Trusting())
    for event in events:
        listening.saw(event)
    observed = Observed(ME, lambda: NOW_S)
    listening.apply(observed, NOW_S)
    return listening, observed


def test_a_summary_says_what_was_measured_in_nip_85s_form() -> None:
    event = said(calls=50, good=45)
    check_event(event)
    assert event.kind == 30384
    assert event.tag("d") == event.tag("a") == ADDRESS
    assert 70 < int(event.tag("rank") or "") < 90
    found = read_summary(event)
    assert found.operator == FRIEND.public
    (row,) = found.rows
    assert (row.name, row.major, row.success_rate, row.calls, row.voices) == (
        "greet",
        1,
        0.9,
        50,
        7,
    )
    assert sum(count for _, count in row.latencies) == pytest.approx(45)


def test_few_calls_are_not_worth_a_word() -> None:
    assert Summaries(FRIENDS_NODE).due(called(5), NOW_S) == []


def test_a_summary_is_made_again_when_it_changed_and_not_too_often() -> None:
    summaries = Summaries(FRIENDS_NODE)
    observed = called(50)
    assert len(summaries.due(observed, NOW_S)) == 1
    assert summaries.due(observed, NOW_S + EVERY_S) == []
    more = called(60, at_s=NOW_S + EVERY_S - 2)
    assert summaries.due(more, NOW_S + EVERY_S - 1) == []
    assert len(summaries.due(more, NOW_S + EVERY_S)) == 1


def test_what_was_said_before_a_restart_is_not_said_again() -> None:
    summaries = Summaries(FRIENDS_NODE)
    summaries.published(said())
    assert summaries.due(called(50), NOW_S + EVERY_S) == []


def test_many_summaries_are_made_a_few_at_a_time() -> None:
    observed = called(0)
    for number in range(RUN_MAX + 5):
        other = called(20, address=f"{ADDRESS}{number}")
        for key, quality in other.each():
            for place, tally in quality.tallies.items():
                observed._of(key).put(place, tally)
    summaries = Summaries(FRIENDS_NODE)
    assert len(summaries.due(observed, NOW_S)) == RUN_MAX
    assert len(summaries.due(observed, NOW_S + 60)) == 5
    assert summaries.due(observed, NOW_S + 120) == []


def test_a_trusted_nodes_word_counts_as_far_as_it_is_trusted() -> None:
    _, observed = heard(said(calls=70, good=0))
    quality = observed.quality(ADDRESS, "greet", "1.0.0")
    worth = WORD_MAX * 0.5
    assert quality.expected(PROMISE).success_rate == pytest.approx(0.9 * 5 / (5 + worth))
    assert quality.measured().samples == 0
    assert quality.expected(PROMISE).proof == 0


def test_a_strangers_word_counts_nothing() -> None:
    _, observed = heard(said(owner=new_secret()))
    assert observed.quality(ADDRESS, "greet").expected(PROMISE).success_rate == 0.9


def test_nobodys_word_counts_for_what_is_their_own() -> None:
    address = f"{kinds.OFFER}:{FRIEND.public}:greet"
    _, observed = heard(said(address=address, calls=50, good=0))
    assert observed.quality(address, "greet").expected(PROMISE).success_rate == 0.9


def test_many_words_together_are_bounded() -> None:
    full = Trusting()
    full.score_of = 1.0
    events = [said(new_secret(), calls=70, good=0) for _ in range(20)]
    _, observed = heard(*events, standing=full)
    expected = observed.quality(ADDRESS, "greet").expected(PROMISE)
    assert expected.success_rate == pytest.approx(0.9 * 5 / (5 + WORDS_MAX))


def test_a_newer_summary_replaces_an_older_one_and_an_old_one_is_dropped() -> None:
    listening, observed = heard(said(calls=70, good=0), said(calls=70))
    expected = observed.quality(ADDRESS, "greet").expected(PROMISE)
    assert expected.success_rate > 0.9
    listening.apply(observed, NOW_S + KEPT_S + 1, everything=True)
    assert observed.quality(ADDRESS, "greet").expected(PROMISE).success_rate == 0.9


def test_who_is_trusted_no_longer_is_believed_no_longer() -> None:
    standing = Trusting()
    listening, observed = heard(said(calls=70, good=0), standing=standing)
    standing.score_of = 0.0
    listening.apply(observed, NOW_S, everything=True)
    assert observed.quality(ADDRESS, "greet").expected(PROMISE).success_rate == 0.9


def row(**changes: Any) -> dict[str, Any]:
    """A capability of a summary."""
    whole = {"name": "a", "major": 1, "calls": 20, "voices": 2, "success_rate": 1.0}
    return whole | {"latencies": [[3, 20.0]]} | changes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        orjson.dumps({"capabilities": [row(success_rate=1.5)]}).decode(),
        orjson.dumps({"capabilities": [row(calls=-1)]}).decode(),
        orjson.dumps({"capabilities": [row(name="")]}).decode(),
        orjson.dumps({"capabilities": [row(latencies=[[3, -1]])]}).decode(),
        orjson.dumps({"capabilities": [row(latencies=[[99999, 1]])]}).decode(),
        orjson.dumps({"capabilities": [row()] * 101}).decode(),
        '{"capabilities": [{"name": "a", "calls": NaN}]}',
    ],
)
def test_a_summary_that_makes_no_sense_is_refused_and_never_heard(content: str) -> None:
    event = sign_event(
        FRIENDS_NODE,
        kind=kinds.QUALITY,
        created_at=NOW_S,
        content=content,
        tags=(
            ("d", ADDRESS),
            ("type", "quality-summary"),
            ("v", "1.0.0"),
            attest(FRIEND, FRIENDS_NODE.public).tag,
        ),
    )
    with pytest.raises(Invalid):
        read_summary(event)
    _, observed = heard(event)
    assert list(observed.each()) == []


def test_assertions_of_other_software_are_left_alone() -> None:
    tags = (("d", ADDRESS), ("rank", "89"))
    event = sign_event(FRIENDS_NODE, kind=kinds.QUALITY, created_at=NOW_S, tags=tags)
    _, observed = heard(event)
    assert list(observed.each()) == []
