"""`--by-level`: a stranger works, who is vouched for does not, and NIP-11 says how much work."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from tests.conformance.test_trust_view import signed, vouch
from tests.conftest import running_node
from tests.system.test_nip05 import Site
from tests.system.test_trust_doors import as_json

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.protocol.work import mine
from hanse.trust.permissions import read_levels
from hanse.trust.rotation import End, statement_draft

STRANGER, FRIEND = new_secret(), new_secret()
TABLE = read_levels("[actions.write]\nlevel = 2\nwork = 8\n[actions.publish]\nlevel = 2\n")


@pytest.fixture
async def site(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Site]:
    async with running_node(tmp_path / "data", operator, levels=TABLE, by_level=True) as found:
        yield Site(found)


def note(by: SecretKey, text: str = "hello") -> Event:
    """A note without work."""
    return sign_event(by, kind=kinds.NOTE, created_at=int(time.time()), content=text)


def worked(by: SecretKey, bits: int) -> Event:
    """A note with that much work."""
    at_s = int(time.time())

    def made(nonce: int) -> Event:
        tags = (("nonce", str(nonce), str(bits)),)
        return sign_event(by, kind=kinds.NOTE, created_at=at_s, content="worked", tags=tags)

    nonce = mine(lambda nonce: made(nonce).id, bits, attempts=20_000)
    assert nonce is not None
    return made(nonce)


async def publish(site: Site, event: Event) -> str:
    """What the relay says; empty if it took the event."""
    _, found = await site.ask("POST", "/events", as_json(event))
    await site.node.evidence.advance()
    await site.node.trust.standings.advance()
    assert isinstance(found["message"], str)
    return "" if found["accepted"] else found["message"]


async def test_a_stranger_is_told_what_is_missing_and_gets_in_by_work(site: Site) -> None:
    refused = await publish(site, note(STRANGER))
    assert refused.startswith(
        "pow: write: level 1 may not write publicly: 8 bits of work or level 2 is needed"
    )
    assert "vouch" in refused
    assert await publish(site, worked(STRANGER, 8)) == ""


async def test_where_no_work_helps_only_a_level_does(site: Site) -> None:
    refused = await publish(site, vouch(STRANGER, FRIEND.public, at_s=int(time.time())))
    assert refused.startswith("restricted: vouch: level 1 may not vouch for others")


async def test_whom_the_operator_vouches_for_writes_freely_and_so_do_its_agents(
    site: Site, operator: SecretKey
) -> None:
    agent = new_secret()
    tag = attest(FRIEND, agent.public).tag
    by_agent = sign_event(
        agent, kind=kinds.NOTE, created_at=int(time.time()), content="hi", tags=(tag,)
    )
    assert (await publish(site, by_agent)).startswith("pow:")
    assert await publish(site, vouch(operator, FRIEND.public, at_s=int(time.time()))) == ""
    assert await publish(site, note(FRIEND)) == ""
    assert await publish(site, by_agent) == ""


async def test_a_stolen_key_writes_no_more_but_may_say_so(site: Site, operator: SecretKey) -> None:
    now_s = int(time.time())
    assert await publish(site, vouch(operator, FRIEND.public, at_s=now_s)) == ""
    said = statement_draft(FRIEND.public, End(reason="stolen"))
    assert await publish(site, signed(FRIEND, kinds.KEY_STATEMENT, said, now_s - 1)) == ""
    refused = await publish(site, note(FRIEND, "it is still me"))
    assert refused.startswith("restricted: pubkey: was retired, stolen or moved")


async def test_the_relay_says_how_much_work_it_wants(site: Site) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(site.node.http_url, headers={"Accept": "application/nostr+json"}) as found,
    ):
        limitation = orjson.loads(await found.read())["limitation"]
    assert limitation["min_pow_difficulty"] == 8
    assert limitation["restricted_writes"] is True


async def test_what_work_costs_follows_the_load_and_is_announced_to_the_bit(site: Site) -> None:
    async def announced() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(site.node.http_url, headers={"Accept": "application/nostr+json"}) as found,
        ):
            bits: int = orjson.loads(await found.read())["limitation"]["min_pow_difficulty"]
            return bits

    flood = [as_json(note(STRANGER, str(number))) for number in range(1300)]
    for start in range(0, len(flood), 100):
        await site.ask("POST", "/events", flood[start : start + 100])
    site.node.pass_minute()
    assert await announced() == 8 + 2  # 1,300 in a minute are twice 600 and more
    enough = worked(STRANGER, 9)
    refused = await publish(site, enough)
    assert "10 bits of work or level 2 is needed, the event has 9 (mine 10 bits (NIP-13)" in refused
    assert await publish(site, worked(STRANGER, 10)) == ""
    for bits in (9, 8, 8):  # and falls by a bit a minute
        site.node.pass_minute()
        assert await announced() == bits
    assert await publish(site, enough) == ""


async def test_without_the_option_everybody_writes(tmp_path: Path, operator: SecretKey) -> None:
    async with running_node(tmp_path / "open", operator) as node:
        assert isinstance(node, Node)
        assert await publish(Site(node), note(STRANGER)) == ""
