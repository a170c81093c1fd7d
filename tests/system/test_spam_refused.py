"""What a node's relay refuses of somebody as spam costs them with its operator, and is told."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.test_trust_answers import paid
from tests.conftest import running_node
from tests.system.test_levels_at_the_relay import TABLE, note, publish
from tests.system.test_levels_by_evidence import SECRET, known
from tests.system.test_nip05 import Site
from tests.system.test_trust_doors import as_json

from hanse import by_level
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.rules import Rates, Rules
from hanse.trust.spam import KEPT_DAYS

DAY_S = 86_400
RULES = Rules(rates=Rates(address=Rate(10_000, 100_000), key=Rate(0.001, 5), trusted=()))
SPAMMER = new_secret()

Start = Callable[[], AbstractAsyncContextManager[Node]]


@pytest.fixture
def start(tmp_path: Path, operator: SecretKey) -> Start:
    """Starts the same node, again and again."""
    return lambda: running_node(
        tmp_path, operator, SECRET, levels=TABLE, by_level=True, rules=RULES
    )


async def earn(site: Site, operator: SecretKey) -> None:
    """By paid calls that went well, level 2 with the operator who paid."""
    later_s = int(time.time()) - 1_800_000_100
    await known(
        site,
        [paid(n, by=operator, to=SPAMMER, node=SECRET, later_s=later_s + n) for n in range(20)],
    )
    site.node.by_level.forget()


async def flood(site: Site, count: int, by: SecretKey | None = None) -> str:
    """Many notes of the spammer, brought by somebody; the last answer."""
    notes = [as_json(note(SPAMMER, str(number))) for number in range(count)]
    found: Any = [{"message": ""}]
    for start in range(0, count, 100):
        _, found = await site.ask("POST", "/events", notes[start : start + 100], by=by)
    await site.node.by_level.refusals.keep(int(time.time()))
    site.node.by_level.forget()
    message: str = found[-1]["message"]
    return message


async def shown(site: Site, operator: SecretKey) -> tuple[int, float, str]:
    """Level, score, and the reasons against the spammer, as the operator sees them."""
    _, found = await site.ask("GET", f"/api/v1/trust/{SPAMMER.public}", by=operator)
    against = [one["text"] for one in found["reasons"] if one["side"] == "against"]
    return found["level"], found["score"], " | ".join(against)


async def test_a_spammer_falls_stays_fallen_after_a_restart_and_rises_when_it_is_forgotten(
    start: Start, operator: SecretKey
) -> None:
    async with start() as node:
        site = Site(node)
        await earn(site, operator)
        level, score, _ = await shown(site, operator)
        assert level == 2
        assert await publish(site, note(SPAMMER, "hello")) == ""
        assert (await flood(site, 1200, by=SPAMMER)).startswith("rate-limited:")
        fallen = await shown(site, operator)
        assert fallen[0] == 1
        assert fallen[1] < score
        assert "events as spam in 1 days, the last 0 days ago" in fallen[2]
    async with start() as node:
        site = Site(node)
        assert await shown(site, operator) == fallen
        refused = await publish(site, note(SPAMMER, "hello again"))
        assert refused.startswith("pow: write: level 1 may not write publicly")
        assert await node.by_level.refusals.tidy(int(time.time()) + KEPT_DAYS * DAY_S) == 1
        site.node.by_level.forget()
        assert (await shown(site, operator))[:2] == pytest.approx((2, score))
        assert await publish(site, note(SPAMMER, "and again")) == ""


async def test_nobody_can_frame_another_with_what_that_one_signed(
    start: Start, operator: SecretKey
) -> None:
    async with start() as node:
        site = Site(node)
        await earn(site, operator)
        before = await shown(site, operator)
        for by in (None, new_secret()):
            assert (await flood(site, 1200, by=by)).startswith("rate-limited:")
        assert await shown(site, operator) == before


async def test_what_was_refused_last_is_kept_when_a_node_stops(
    start: Start, operator: SecretKey
) -> None:
    async with start() as node:
        notes = [as_json(note(SPAMMER, str(number))) for number in range(400)]
        for first in range(0, 400, 100):
            await Site(node).ask("POST", "/events", notes[first : first + 100], by=SPAMMER)
    async with start() as node:
        assert "refused 400 events as spam" in (await shown(Site(node), operator))[2]


async def test_a_node_stops_though_its_database_takes_no_last_counts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_level, "LAST_S", 0.05)
    asked, waited = asyncio.Event(), asyncio.Event()

    async def slow(_now_s: int) -> None:
        asked.set()
        await asyncio.sleep(5)
        waited.set()

    async with start() as node:
        monkeypatch.setattr(node.by_level.refusals, "keep", slow)
    assert asked.is_set()
    assert not waited.is_set()
