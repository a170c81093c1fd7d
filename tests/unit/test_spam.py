"""Refused spam: what it weighs, that little weighs nothing, and who is charged with it."""

import contextlib

import pytest
from tests.fakes.admission import AUTHOR, FAR, NOW, OPERATOR, Door, an_event
from tests.unit.test_policies import SOMEBODY, attested, proved, refusal

from hanse.errors import Blocked, Invalid, Restricted
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.context import Context, Policy, Sender
from hanse.servers.relay.rules import Members, Rates, Rules, Work
from hanse.trust.spam import (
    DAY_MAX,
    DAY_S,
    KEPT_DAYS,
    QUIET,
    Refusals,
    spam_outcomes,
    weight_of,
)

TODAY = NOW // DAY_S
SLOW = Rules(rates=Rates(key=Rate(1, 1), trusted=()))


def no_to(error: Exception) -> Policy:
    def rule(event: Event, context: Context) -> None:
        raise error

    return rule


def charged(door: Door, event: Event, source: Sender) -> list[PublicKey]:
    """Who is charged when one event too many comes."""
    while not refusal(door, event, source):
        pass
    return door.blamed


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "weight"),
    [(0, 0.0), (QUIET - 1, 0.0), (QUIET, 0.1), (500, 0.5), (1000, 1.0), (10**9, DAY_MAX)],
)
def test_a_little_weighs_nothing_and_a_day_no_more_than_one_dealing(
    count: int, weight: float
) -> None:
    assert weight_of(count) == weight


def test_each_day_is_one_outcome_until_it_is_a_year_old() -> None:
    days = {TODAY: 500, TODAY - 1: 99, TODAY - KEPT_DAYS + 1: 200, TODAY - KEPT_DAYS: 9, 7: 999}
    days[TODAY + 1] = 1000  # a clock that was wrong
    found = spam_outcomes(days, by="me", of="x", now_s=NOW)
    assert [(one.at_s // DAY_S, one.bad, one.count) for one in found] == [
        (TODAY - KEPT_DAYS + 1, 0.2, 200),
        (TODAY, 0.5, 500),
    ]
    assert all(one.good == 0.0 and one.at_s <= NOW for one in found)


def test_of_too_many_names_the_loud_stay_and_nobody_is_charged_with_more() -> None:
    told = Refusals(names_max=100)
    for number in range(10_000):
        told.add(f"n{number}")
        told.add("loud")
    assert len(told) <= 100
    found = dict(told.take())
    assert found.pop("loud") == 10_000
    assert set(found.values()) == {1}
    assert len(told) == 0
    told.put_back([("loud", 3)])
    told.add("loud")
    assert told.take() == [("loud", 4)]


# --- who is charged -----------------------------------------------------------------------------


def test_who_proved_the_key_is_charged_for_going_too_fast() -> None:
    assert charged(Door(SLOW), an_event(), proved(AUTHOR)) == [AUTHOR.public]


def test_who_brings_what_another_signed_charges_nobody() -> None:
    for source in (FAR, proved(SOMEBODY), Sender("", door="peer")):
        assert charged(Door(SLOW), an_event(), source) == []


def test_an_agent_charges_the_operator_who_attested_it_on_the_event_or_at_the_door() -> None:
    boss = new_secret()
    assert charged(Door(SLOW), attested(boss), proved(AUTHOR)) == [boss.public]
    assert charged(Door(SLOW), an_event(), proved(AUTHOR, operator=boss)) == [boss.public]


def test_who_claims_anothers_attestation_charges_nobody() -> None:
    tag = next(tag for tag in attested(OPERATOR).tags if tag[0] == "auth")
    stolen = an_event(new_secret(), tags=[tag])
    door = Door(SLOW)
    for _ in range(3):
        refusal(door, stolen, Sender(FAR.address, frozenset({stolen.pubkey}), door="socket"))
    assert door.blamed == []


def test_a_wrap_charges_who_brings_it_if_that_is_one() -> None:
    wrap = an_event(
        new_secret(), kind=kinds.GIFT_WRAP, tags=[["p", SOMEBODY.public]], content="x" * 200
    )
    for source, blamed in (
        (FAR, []),
        (proved(SOMEBODY), [SOMEBODY.public]),
        (proved(SOMEBODY, AUTHOR), []),
        (proved(SOMEBODY, AUTHOR, operator=OPERATOR), [OPERATOR.public]),
    ):
        door = Door()
        door.admission.refused(wrap, Blocked("no"), door.context(source))
        assert door.blamed == blamed


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Blocked("not wanted here"), True),
        (Restricted("members only"), False),
        (Invalid("broken"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_the_operators_own_rule_charges_when_it_blocks(error: Exception, counts: bool) -> None:
    door = Door(more=[no_to(error)])
    with contextlib.suppress(ZeroDivisionError):
        refusal(door, an_event(), proved(AUTHOR))
    assert bool(door.blamed) is counts


def test_a_closed_door_and_an_old_event_charge_nobody() -> None:
    door = Door(Rules(members=Members(only=True)))
    assert refusal(door, an_event(), proved(AUTHOR)).startswith("restricted:")
    assert refusal(door, an_event(created_at=NOW + 10**6), proved(AUTHOR)).startswith("invalid:")
    assert door.blamed == []


def test_without_work_an_agent_is_charged_only_once_its_signature_holds() -> None:
    door = Door(Rules(work=Work(bits=30)))
    assert refusal(door, an_event(), proved(AUTHOR)).startswith("pow:")
    assert door.blamed == []  # refused before the signature was looked at
    assert refusal(door, attested(SOMEBODY), proved(AUTHOR)).startswith("pow:")
    assert door.blamed == [SOMEBODY.public]
