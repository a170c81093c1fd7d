"""Levels that only a record gives or takes, at the relay: trusted by paid calls, barred by them."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.test_trust_answers import paid
from tests.conformance.test_trust_view import rating, vouch
from tests.conftest import running_node
from tests.system.test_levels_at_the_relay import note, publish
from tests.system.test_nip05 import Site

from hanse.broker.model import Fault
from hanse.keyring import new_secret
from hanse.protocol.event import Event
from hanse.protocol.keys import SecretKey
from hanse.trust.permissions import read_levels

TRUSTED = read_levels("[actions.write]\nlevel = 3\n")
ANYBODY = read_levels("[actions.write]\nlevel = 1\n")
SUBJECT = new_secret()
FRIENDS = [new_secret() for _ in range(4)]
SECRET = new_secret()


async def befriended(site: Site, operator: SecretKey) -> None:
    """The operator's circle, who all accept somebody."""
    now_s = int(time.time())
    said = [vouch(operator, one.public, at_s=now_s - 60) for one in FRIENDS]
    said += [vouch(one, SUBJECT.public, at_s=now_s - 60) for one in FRIENDS]
    await known(site, said)


async def known(site: Site, events: list[Event]) -> None:
    """Into the log as they are, and through the views."""
    for found in await site.node.log.append_many(events):
        assert isinstance(found, int)
    await site.node.evidence.advance()
    await site.node.trust.standings.advance()


async def dealt(site: Site, fault: Fault | None = None) -> None:
    now_s = int(time.time())
    calls = [
        paid(number, by=one, to=SUBJECT, node=SECRET, fault=fault, later_s=now_s - 1_800_000_100)
        for one in FRIENDS
        for number in range(15)
    ]
    await known(
        site, calls + [rating(one, SUBJECT.public, 1 if fault else 5, now_s) for one in FRIENDS]
    )


@pytest.fixture
async def strict(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Site]:
    async with running_node(tmp_path, operator, SECRET, levels=TRUSTED, by_level=True) as node:
        yield Site(node)


@pytest.fixture
async def open_(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Site]:
    async with running_node(tmp_path, operator, SECRET, levels=ANYBODY, by_level=True) as node:
        yield Site(node)


async def test_who_earned_level_three_does_what_it_permits(
    strict: Site, operator: SecretKey
) -> None:
    await befriended(strict, operator)
    refused = await publish(strict, note(SUBJECT, "one"))
    assert "level 2 may not write publicly: level 3 is needed" in refused
    await dealt(strict)
    strict.node.by_level.forget()
    assert await publish(strict, note(SUBJECT, "two")) == ""


async def test_who_has_a_bad_record_with_the_circle_is_barred(
    open_: Site, operator: SecretKey
) -> None:
    await befriended(open_, operator)
    assert await publish(open_, note(SUBJECT, "one")) == ""
    await dealt(open_, Fault.TOO_LATE)
    open_.node.by_level.forget()
    refused = await publish(open_, note(SUBJECT, "two"))
    assert "level 0 may not write publicly" in refused
