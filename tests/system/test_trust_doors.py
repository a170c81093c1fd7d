"""Trust at every door of a running node: HTTP, MCP, the relay, and the command line."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.test_trust_view import rating, signed, vouch
from tests.conftest import People, running_node
from tests.system.cli_home import Home
from tests.system.test_nip05 import Site

from hanse.agent import Agent, Result
from hanse.errors import Invalid, Restricted
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.trust.attestation import read_attestation
from hanse.trust.rotation import End, statement_draft
from hanse.trust.settlement import verify_settlement

STRANGER = new_secret()


@pytest.fixture
async def node(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "data", operator) as found:
        yield found


def as_json(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


async def publish(site: Site, event: Event) -> dict[str, Any]:
    """What the node says to an event, with the view up to date."""
    _, found = await site.ask("POST", "/events", as_json(event))
    await site.node.evidence.advance()
    assert isinstance(found, dict)
    return found


async def test_an_operator_sees_by_http_how_a_vouch_changes_a_level(
    node: Node, operator: SecretKey
) -> None:
    site, path = Site(node), f"/api/v1/trust/{encode_npub(STRANGER.public)}"
    status, found = await site.ask("GET", path, by=operator)
    assert (status, found["level"], found["level_name"]) == (200, 1, "stranger")
    assert found["may"] == ["call", "earn"]
    now_s = int(time.time())
    assert (await publish(site, vouch(operator, STRANGER.public, "sms", at_s=now_s)))["accepted"]
    _, found = await site.ask("GET", f"{path}?domain=sms.us", by=operator)
    assert (found["level"], found["domain"]) == (4, "sms.us")
    _, found = await site.ask("GET", path, by=operator)
    assert found["level"] == 1


async def test_nobody_asks_without_a_name_or_with_a_misspelt_word(
    node: Node, operator: SecretKey
) -> None:
    site = Site(node)
    status, found = await site.ask("GET", f"/api/v1/trust/{STRANGER.public}")
    assert (status, found["error"]) == (401, "auth-required")
    status, found = await site.ask("GET", "/api/v1/trust/nonsense", by=operator)
    assert (status, found["field"]) == (400, "subject")
    path = f"/api/v1/trust/{STRANGER.public}"
    status, found = await site.ask("GET", f"{path}?domian=sms", by=operator)
    assert (status, found["field"]) == (400, "query.domian")
    status, found = await site.ask("GET", f"{path}?domain=a..b", by=operator)
    assert (status, found["field"]) == (400, "domain")


async def test_evidence_that_breaks_its_rules_is_refused_at_the_door(
    node: Node, operator: SecretKey
) -> None:
    site, now_s = Site(node), int(time.time())
    good = rating(operator, STRANGER.public, 5, now_s)
    content, tags = good.content.replace('"rating":5', '"rating":4.5'), good.tags
    bad = signed(operator, kinds.ATTESTATION, (content, tags), now_s)
    refused = await publish(site, bad)
    assert not refused["accepted"]
    assert refused["message"].startswith("invalid: attestation.content.rating")
    foreign = (("d", "room:7:audio"), ("p", STRANGER.public))
    assert (await publish(site, signed(operator, kinds.ATTESTATION, ("webrtc", foreign), now_s)))[
        "accepted"
    ]
    doubled = vouch(operator, STRANGER.public, at_s=now_s)
    two = signed(
        operator, kinds.ENDORSEMENT, (doubled.content, (*doubled.tags, ("p", "0" * 64))), now_s
    )
    assert "endorsement.tags.p" in (await publish(site, two))["message"]


async def test_a_key_statement_dated_back_is_refused(node: Node) -> None:
    site, now_s = Site(node), int(time.time())
    draft = statement_draft(STRANGER.public, End(reason="stolen"))
    old = await publish(site, signed(STRANGER, kinds.KEY_STATEMENT, draft, now_s - 5000))
    assert old["message"].startswith("invalid: statement.created_at")
    assert (await publish(site, signed(STRANGER, kinds.KEY_STATEMENT, draft, now_s)))["accepted"]


# --- by the SDK -----------------------------------------------------------------------------------


async def a_paid_call(people: People, operator: SecretKey) -> tuple[Agent, Agent, Result]:
    """A provider, an agent of the node's operator that paid it, and the call."""
    provider = await people.connected(operator=new_secret())

    @provider.provide(price="2sat", latency_p95_ms=500)
    def greet(name: str) -> str:
        "Greet somebody by name."
        return f"Hello, {name}"

    await provider.serve()
    consumer = await people.connected(credits="10sat", operator=operator)
    offer = f"{kinds.OFFER}:{provider.pubkey}:greet"
    return provider, consumer, await consumer.call(offer, {"name": "Ada"}, capability="greet")


async def test_an_agent_rates_whom_it_paid_with_the_receipt_as_proof(
    node: Node, people: People, operator: SecretKey
) -> None:
    provider, consumer, result = await a_paid_call(people, operator)
    before = await consumer.trust(provider.pubkey)
    event = await consumer.attest(result, 5)
    found = read_attestation(event)
    assert (found.subject, found.context, found.rating) == (provider.pubkey, "greet", 5)
    owners = await node.evidence.operators_of([provider.pubkey, consumer.pubkey])
    receipt = await node.calls.receipt(result.receipt)
    assert receipt is not None
    proof = verify_settlement(found, receipt, lambda key: owners.get(key, key))
    assert proof.price_msat == 2000
    await node.evidence.advance()
    after = await consumer.trust(provider.pubkey)
    assert after["score"] > before["score"]
    assert after["viewer"] == operator.public
    assert (await consumer.attest(result.call, 2)).created_at >= event.created_at


async def test_nobody_rates_a_call_that_another_agent_paid(
    people: People, operator: SecretKey
) -> None:
    _, consumer, result = await a_paid_call(people, operator)
    other = await people.connected(operator=operator)
    with pytest.raises(Restricted, match="another agent paid"):
        await other.attest(result, 5)
    with pytest.raises(Invalid, match=r"content\.rating"):
        await consumer.attest(result, 6)


async def test_an_agent_drafts_a_vouch_and_only_its_operator_can_say_it(
    node: Node, people: People, operator: SecretKey
) -> None:
    site, agent = Site(node), await people.connected(operator=operator)
    asked = {"subject": STRANGER.public, "domain": "sms", "grade": 7, "reason": "it's quick"}
    draft = await agent.perform("endorse", asked)
    shown = f"hanse vouch {encode_npub(STRANGER.public)} --domain sms --grade 7 --days 180"
    assert draft["by_hand"].startswith(shown)
    unsigned = draft["unsigned"]
    event = sign_event(
        operator,
        kind=unsigned["kind"],
        created_at=unsigned["created_at"],
        content=unsigned["content"],
        tags=tuple(tuple(tag) for tag in unsigned["tags"]),
    )
    assert (event.id, event.pubkey) == (unsigned["id"], unsigned["pubkey"])
    path = f"/api/v1/trust/{STRANGER.public}?domain=sms"
    _, before = await site.ask("GET", path, by=operator)
    assert (await publish(site, event))["accepted"]
    _, after = await site.ask("GET", path, by=operator)
    assert (before["level"], after["level"]) == (1, 4)
    status, found = await site.ask("POST", "/api/v1/endorsements/drafts", asked, by=operator)
    assert (status, found["unsigned"]["kind"]) == (200, kinds.ENDORSEMENT)
    with pytest.raises(Invalid, match="themselves"):
        await agent.perform("endorse", {"subject": operator.public})


# --- by hand --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose node runs, with a table of levels of its own."""
    work = tmp_path_factory.mktemp("trust")
    (work / "levels.toml").write_text("[actions.write]\nlevel = 1\n")
    found = Home(work / "home")
    found.json("init")
    with found.started("up", "--port", "0", "--levels", "levels.toml", "--json") as running:
        assert json.loads(running.line())["url"]
        yield found


@pytest.mark.heavy
def test_one_vouches_and_takes_it_back_by_hand(home: Home) -> None:
    npub = encode_npub(STRANGER.public)
    before = home.json("trust", npub)
    assert (before["level"], before["may"]) == (1, ["write", "call", "earn"])
    said = home.json("vouch", npub, "--domain", "sms", "--grade", "7", "--reason", "long known")
    assert (said["grade"], said["domain"]) == (7, "sms")
    assert home.json("trust", npub, "--domain", "sms")["level_name"] == "circle"
    shown = home.run("trust", npub, "--domain", "sms", "--why").stdout
    assert "level     4 circle" in shown
    assert "is in your own circle" in shown
    assert "You no longer vouch" in home.run("unvouch", npub, "--domain", "sms").stdout
    again = home.json("trust", npub, "--domain", "sms")
    assert again["level"] == 1
    assert "3 more of your circle" in home.run("trust", npub).stdout


@pytest.mark.heavy
def test_what_cannot_be_said_is_refused_in_words(home: Home) -> None:
    npub = encode_npub(STRANGER.public)
    own = home.json("trust", npub)["viewer"]
    assert (
        home.refused("vouch", own) == "invalid: endorsement.pubkey: nobody vouches for themselves"
    )
    assert home.refused("vouch", npub, "--domain", "a:b").startswith(
        "invalid: endorsement.content.domain"
    )
    assert home.refused("trust", "nonsense").startswith("invalid: subject")


@pytest.mark.heavy
def test_a_table_that_cannot_hold_starts_no_node(home: Home) -> None:
    (home.work / "wrong.toml").write_text("[actions.fly]\nlevel = 1\n")
    other = Home(home.work / "other")
    other.json("init")
    for name, field in (("wrong.toml", "levels.actions.fly"), ("none.toml", "levels")):
        line = other.refused("up", "--port", "0", "--levels", name)
        assert line.startswith(f"invalid: {field}: ")


@pytest.mark.heavy
def test_one_draws_whom_ones_circle_leads_to(home: Home) -> None:
    npub = encode_npub(STRANGER.public)
    home.json("vouch", npub, "--grade", "9")
    found = home.json("trust", "graph", "--svg", "circle.svg")
    assert [(row["distance"], row["level"]) for row in found["nodes"]] == [(0, 4), (1, 4)]
    assert [edge["grade"] for edge in found["edges"]] == [9]
    drawn = (home.work / "circle.svg").read_text()
    assert drawn.startswith("<svg")
    assert npub in drawn
    assert "Drawn: circle.svg" in home.run("trust", "graph", "--svg", "circle.svg").stdout
    assert (home.work / "circle.svg").read_text() == drawn
    assert "limit" in home.refused("trust", "graph", "--limit", "900")
    home.json("unvouch", npub)
