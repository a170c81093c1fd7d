"""Key rotation: the format, the moves, and that a thief never outruns the owner."""

import hashlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.errors import Invalid, Stale
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.schema import violation
from hanse.trust.rotation import (
    CONTEST_S,
    DAY_S,
    FRESH_S,
    NOTICE_S,
    SCHEMA,
    STEPS_MAX,
    Action,
    End,
    Plan,
    Recover,
    Rotate,
    Standing,
    Statement,
    Veto,
    check_fresh,
    consent,
    identity,
    read_statement,
    standing,
    statement_draft,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "key-statement.schema.json"
OLD, NEW, THIEF, PAPER, OTHER = (SecretKey(bytes([number]) * 32) for number in range(1, 6))
GUARDIANS = [SecretKey(bytes([number]) * 32) for number in range(11, 14)]
FRIENDS = [SecretKey(bytes([number]) * 32) for number in range(21, 24)]
SOCKS = SecretKey(bytes([31]) * 32)
START = 1_800_000_000
WAIT_S = 7 * DAY_S


def plan(guardians: list[SecretKey] = GUARDIANS, veto: SecretKey = PAPER) -> Plan:
    keys = tuple(secret.public for secret in guardians)
    return Plan(guardians=keys, threshold=2, wait_s=WAIT_S, veto=veto.public)


def rotate(to: SecretKey, source: SecretKey = OLD) -> Rotate:
    return Rotate(to=to.public, consent=consent(to, source.public))


def recover(to: SecretKey = NEW, source: SecretKey = OLD) -> Recover:
    return Recover(source=source.public, to=to.public, consent=consent(to, source.public))


def veto(to: SecretKey = NEW) -> Veto:
    return Veto(source=OLD.public, to=to.public)


def signed(by: SecretKey, action: Action, at_s: int = START) -> Event:
    content, tags = statement_draft(by.public, action)
    return sign_event(by, kind=2410, created_at=at_s, content=content, tags=tags)


def says(by: SecretKey, action: Action, at_s: int) -> Statement:
    """A statement as if read from an event; the id stands for the event's."""
    about = action.source if isinstance(action, Recover | Veto) else by.public
    said = msgspec.json.encode((by.public, at_s, action))
    return Statement(
        id=hashlib.sha256(said).hexdigest(), by=by.public, about=about, at_s=at_s, action=action
    )


def became(statements: list[Statement], now_s: int) -> Standing:
    return standing(OLD.public, statements, now_s)


PLANNED = says(OLD, plan(), START)
THEFT = START + NOTICE_S + DAY_S
"""When the plan is in force."""


# --- the format -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "action"),
    [
        (OLD, plan()),
        (OLD, rotate(NEW)),
        (GUARDIANS[0], recover()),
        (PAPER, veto()),
        (OLD, End(reason="stolen")),
    ],
)
def test_what_is_drafted_is_read_back_and_fits_the_schema(by: SecretKey, action: Action) -> None:
    event = signed(by, action)
    found = read_statement(event)
    assert (found.by, found.action, found.at_s) == (by.public, action, START)
    assert found.about == OLD.public
    assert violation(SCHEMA, json.loads(event.content)) is None


def test_the_schema_in_the_documents_is_the_one_that_holds() -> None:
    assert json.loads(PAGE.read_text()) == SCHEMA


def test_a_statement_is_taken_while_it_is_fresh_only() -> None:
    event = signed(OLD, End(reason="retired"))
    check_fresh(event, START + FRESH_S)
    for now_s in (START + FRESH_S + 1, START - FRESH_S - 1):
        with pytest.raises(Stale):
            check_fresh(event, now_s)


def changed(event: Event, content: dict[str, Any] | None = None, **fields: Any) -> Event:
    body = json.loads(event.content) | (content or {})
    return msgspec.structs.replace(event, **({"content": json.dumps(body)} | fields))


KEYS = [secret.public for secret in GUARDIANS]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (changed(signed(OLD, plan()), kind=1), "statement.kind"),
        (msgspec.structs.replace(signed(OLD, plan()), content="{"), "statement.content"),
        (changed(signed(OLD, plan()), tags=(("v", "2.0"),)), "statement.tags.v"),
        (changed(signed(OLD, plan()), tags=(("v", "1.0"),)), "statement.tags.p"),
        (changed(signed(OLD, plan()), {"action": "sell"}), "statement.content.action"),
        (changed(signed(OLD, plan()), {"threshold": 1}), "statement.content.threshold"),
        (changed(signed(OLD, plan()), {"threshold": 4}), "statement.content.guardians"),
        (changed(signed(OLD, plan()), {"wait_s": 60}), "statement.content.wait_s"),
        (changed(signed(OLD, plan()), {"guardians": [KEYS[0]] * 2}), "statement.content.guardians"),
        (changed(signed(OLD, plan()), {"guardians": ["x", "y"]}), "statement.content.guardians"),
        (changed(signed(OLD, plan()), {"veto": KEYS[0]}), "statement.content.veto"),
        (changed(signed(OLD, plan()), {"veto": OLD.public}), "statement.content.veto"),
        (changed(signed(OLD, plan()), pubkey=KEYS[0]), "statement.content.guardians"),
        (changed(signed(OLD, rotate(NEW)), {"to": OLD.public}), "statement.content.to"),
        (changed(signed(OLD, rotate(NEW)), {"to": OTHER.public}), "statement.content.consent"),
        (changed(signed(OLD, rotate(NEW)), {"consent": "0" * 128}), "statement.content.consent"),
        (
            changed(signed(OTHER, rotate(NEW, OTHER)), pubkey=OLD.public),
            "statement.content.consent",
        ),
        (
            changed(signed(OLD, End(reason="stolen")), {"reason": "bored"}),
            "statement.content.reason",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(event: Event, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_statement(event)
    assert refused.value.field.startswith(field)


def test_what_no_reader_would_take_is_not_drafted() -> None:
    for action in (
        msgspec.structs.replace(plan(), threshold=1),
        msgspec.structs.replace(plan(), wait_s=5),
        msgspec.structs.replace(plan(), veto=OLD.public),
        msgspec.structs.replace(rotate(NEW), consent="0" * 128),
    ):
        with pytest.raises(Invalid):
            statement_draft(OLD.public, action)


# --- the moves ------------------------------------------------------------------------------------


def test_a_key_without_statements_speaks_for_itself() -> None:
    found = became([], START)
    assert found.usable
    assert identity(OLD.public, {}, START).current == OLD.public


def test_a_key_hands_over_at_once_and_what_it_says_later_does_not_count() -> None:
    first = says(OLD, rotate(NEW), START)
    found = became([says(OLD, rotate(THIEF), START + 5), first], START + 10)
    assert (found.successor, found.by, found.since_s) == (NEW.public, "key", START)
    assert found.final
    assert not found.usable


def test_guardians_move_an_identity_after_the_wait_and_not_before() -> None:
    votes = [says(one, recover(), THEFT + at) for at, one in enumerate(GUARDIANS[:2])]
    due = THEFT + 1 + WAIT_S
    waiting = became([PLANNED, *votes], due - 1)
    assert waiting.successor is None
    assert waiting.pending is not None
    assert (waiting.pending.to, waiting.pending.due_s) == (NEW.public, due)
    moved = became([PLANNED, *votes], due)
    assert (moved.successor, moved.by, moved.since_s) == (NEW.public, "guardians", due)
    assert became([PLANNED, votes[0]], due + 99 * DAY_S).successor is None


def test_a_plan_counts_for_nothing_before_its_notice_is_over() -> None:
    early = [says(one, recover(), START + NOTICE_S - 5) for one in GUARDIANS]
    assert became([PLANNED, *early], START + 99 * DAY_S).successor is None


def test_strangers_cannot_recover_a_key_and_one_guardian_counts_once() -> None:
    votes = [says(one, recover(THIEF), THEFT) for one in FRIENDS]
    votes += [says(GUARDIANS[0], recover(THIEF), THEFT + at) for at in range(5)]
    assert became([PLANNED, *votes], THEFT + 99 * DAY_S).successor is None


def test_the_veto_key_stops_a_recovery_and_no_other_key_does() -> None:
    votes = [says(one, recover(), THEFT) for one in GUARDIANS]
    stop = [says(PAPER, veto(), THEFT + DAY_S)]
    assert became([PLANNED, *votes, *stop], THEFT + 99 * DAY_S).usable
    for other in (OLD, NEW, THIEF, GUARDIANS[0]):
        kept = [says(other, veto(), THEFT + DAY_S)]
        assert became([PLANNED, *votes, *kept], THEFT + WAIT_S).successor == NEW.public
    late = [says(PAPER, veto(), THEFT + WAIT_S)]
    assert became([PLANNED, *votes, *late], THEFT + 99 * DAY_S).successor == NEW.public


def test_a_guardian_who_names_another_key_takes_the_first_approval_back() -> None:
    votes = [says(one, recover(NEW), THEFT) for one in GUARDIANS[:2]]
    votes.append(says(GUARDIANS[0], recover(OTHER), THEFT + DAY_S))
    assert became([PLANNED, *votes], THEFT + 99 * DAY_S).usable


def test_a_stolen_or_retired_key_says_nothing_more_and_can_still_be_recovered() -> None:
    end = says(OLD, End(reason="stolen"), THEFT)
    later = [says(OLD, rotate(THIEF), THEFT + 1), says(OLD, plan(FRIENDS), THEFT + 1)]
    found = became([PLANNED, end, *later], THEFT + 99 * DAY_S)
    assert (found.ended, found.ended_s, found.successor) == ("stolen", THEFT, None)
    assert found.plan == plan()
    assert not found.usable
    votes = [says(one, recover(), THEFT + DAY_S) for one in GUARDIANS]
    moved = became([PLANNED, end, *later, *votes], THEFT + 99 * DAY_S)
    assert moved.successor == NEW.public


def test_a_rotation_can_be_undone_by_the_guardians_for_a_time_and_not_for_ever() -> None:
    taken = says(OLD, rotate(THIEF), THEFT)
    votes = [says(one, recover(), THEFT + CONTEST_S - 1) for one in GUARDIANS]
    assert became([PLANNED, taken, *votes], THEFT + CONTEST_S - 2).final is False
    assert became([PLANNED, taken, *votes], THEFT + 99 * DAY_S).successor == NEW.public
    late = [says(one, recover(), THEFT + CONTEST_S) for one in GUARDIANS]
    kept = became([PLANNED, taken, *late], THEFT + 99 * DAY_S)
    assert kept.successor == THIEF.public
    assert kept.final


def test_an_identity_is_followed_through_its_keys_and_a_ring_ends() -> None:
    about = {
        OLD.public: [says(OLD, rotate(NEW), START)],
        NEW.public: [says(NEW, rotate(OTHER, NEW), START + 1)],
        OTHER.public: [says(OTHER, rotate(OLD, OTHER), START + 2)],
    }
    found = identity(OLD.public, about, START + 9)
    assert found.keys == (OLD.public, NEW.public, OTHER.public)
    assert found.current == OTHER.public
    names = [PublicKey(f"{number:064x}") for number in range(STEPS_MAX + 9)]
    long = {
        key: [
            Statement(
                id=key, by=key, about=key, at_s=START, action=Rotate(to=after, consent="0" * 128)
            )
        ]
        for key, after in itertools.pairwise(names)
    }
    assert len(identity(names[0], long, START).chain) == STEPS_MAX


# --- whatever happens -----------------------------------------------------------------------------

TIMES = st.integers(THEFT, THEFT + 80 * DAY_S)
ANYBODY = [OLD, NEW, THIEF, PAPER, *GUARDIANS, *FRIENDS]
ANYTHING = st.lists(
    st.builds(
        says,
        st.sampled_from(ANYBODY),
        st.sampled_from(
            [
                plan(),
                plan(FRIENDS, SOCKS),
                rotate(NEW),
                rotate(THIEF),
                recover(),
                recover(THIEF),
                veto(),
                veto(THIEF),
                End(reason="stolen"),
                End(reason="retired"),
            ]
        ),
        TIMES,
    ),
    max_size=14,
)
BY_THIEF = st.lists(
    st.builds(
        says,
        st.sampled_from([OLD, THIEF, SOCKS, *FRIENDS]),
        st.sampled_from(
            [
                plan(FRIENDS, SOCKS),
                rotate(THIEF),
                recover(THIEF),
                veto(),
                End(reason="stolen"),
                End(reason="retired"),
            ]
        ),
        TIMES,
    ),
    max_size=14,
)


@settings(max_examples=300)
@given(ANYTHING, st.integers(0, 2**16), TIMES)
def test_the_order_of_arrival_never_changes_the_answer(
    found: list[Statement], seed: int, now_s: int
) -> None:
    statements = [PLANNED, *found]
    mixed = statements + statements
    random.Random(seed).shuffle(mixed)
    assert became(mixed, now_s) == became(statements, now_s)


@settings(max_examples=300)
@given(BY_THIEF, st.integers(0, NOTICE_S - 3), st.permutations(GUARDIANS))
def test_whoever_steals_a_key_never_outruns_its_owner(
    stolen: list[Statement], after_s: int, guardians: list[SecretKey]
) -> None:
    # The owner's guardians answer within the notice that a plan of the thief's would need.
    votes = [says(one, recover(), THEFT + after_s + at) for at, one in enumerate(guardians[:2])]
    found = became([PLANNED, *stolen, *votes], THEFT + 200 * DAY_S)
    assert found.successor == NEW.public
    assert found.final


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(
            says, st.sampled_from([*GUARDIANS, THIEF]), st.sampled_from([recover(THIEF)]), TIMES
        ),
        max_size=12,
    )
)
def test_guardians_who_collude_take_nothing_from_an_owner_who_watches(
    found: list[Statement],
) -> None:
    # The owner looks once within every wait and says no to whatever is under way.
    statements = [PLANNED, *found]
    for day in range(0, 100, 5):
        now_s = THEFT + day * DAY_S
        pending = became(statements, now_s).pending
        if pending is not None:
            statements.append(says(PAPER, veto(THIEF), now_s))
    assert became(statements, THEFT + 200 * DAY_S).usable
