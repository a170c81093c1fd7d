"""Keys moved, ended and recovered at a real node: what was earned goes with the owner."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.test_trust_view import deletion, signed, vouch
from tests.conftest import running_node
from tests.system.cli_home import Home
from tests.system.test_nip05 import Site
from tests.system.test_trust_doors import as_json

from hanse.keyring import Keyring, new_secret
from hanse.protocol import kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.trust.rotation import (
    DAY_S,
    Action,
    End,
    Plan,
    Recover,
    Rotate,
    consent,
    statement_draft,
)


def statement(by: SecretKey, action: Action, at_s: int) -> Event:
    return signed(by, kinds.KEY_STATEMENT, statement_draft(by.public, action), at_s)


# --- by hand --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose node runs."""
    found = Home(tmp_path_factory.mktemp("keys") / "home")
    found.json("init")
    with found.started("up", "--port", "0", "--json") as running:
        assert json.loads(running.line())["url"]
        yield found


def guest(home: Home, name: str) -> Home:
    """Somebody else's home, at the same node."""
    url = json.loads((home.folder / "node.json").read_text())["url"]
    folder = home.folder.parent / name
    found = Home(folder, HANSE_NODE=url)
    if not folder.exists():
        found.json("init")
    return found


def operator(home: Home) -> str:
    return encode_npub(Keyring(home.folder).operator().public)


@pytest.mark.heavy
def test_what_was_earned_counts_for_the_new_key_and_a_thief_has_nothing(home: Home) -> None:
    bob, friend = guest(home, "bob"), encode_npub(new_secret().public)
    old = operator(bob)
    home.json("vouch", old)
    bob.json("vouch", friend)
    assert home.json("trust", old)["level"] == 4
    found = bob.json("key", "rotate")
    assert (found["from"], found["attested"]) == (old, ["default", "node"])
    assert found["undone_until"] is None
    new = operator(bob)
    assert new == found["to"] != old
    assert bob.json("trust", friend)["level"] == 4
    ring = Keyring(bob.folder)
    assert ring.agent()[1][1] == ring.operator().public
    assert home.json("trust", new)["level"] == 4
    assert home.json("trust", old)["level"] == 0

    shutil.copytree(bob.folder, home.folder.parent / "thief")
    thief = guest(home, "thief")
    shutil.copy(found["old_key"], thief.folder / "operator.key")
    refused = thief.refused("vouch", encode_npub(new_secret().public))
    assert "speaks for nobody" in refused
    assert "moved or ended before" in thief.refused("key", "rotate")
    thief.json("key", "stolen", "--yes")
    assert home.json("trust", new)["level"] == 4
    shown = home.json("key", "show", old)
    assert shown["current"] == new
    assert [row["usable"] for row in shown["keys"]] == [False, True]
    assert "speaks for its owner" in home.run("key", "show", old).stdout


@pytest.mark.heavy
def test_a_plan_waits_and_until_then_nobody_is_a_guardian(home: Home) -> None:
    carol, dave = guest(home, "carol"), guest(home, "dave")
    words = ("--guardian", operator(dave), "--guardian", operator(home), "--threshold", "2")
    found = carol.json("key", "plan", *words)
    assert found["in_force"] - time.time() == pytest.approx(14 * DAY_S, abs=60)
    assert Path(found["veto_file"]).exists()
    assert carol.json("key", "show", operator(carol))["keys"][0]["guardians"] == []
    told = carol.json("key", "consent", operator(home))
    assert len(told["consent"]) == 128
    line = dave.refused("key", "recover", operator(carol), operator(dave), "0" * 128)
    assert "no guardian of a plan in force" in line
    assert "add --yes" in carol.refused("key", "stolen")
    assert carol.json("key", "retire", "--agent", "default", "--yes")["ended"] == "retired"
    assert "2 to 15 different keys" in carol.refused("key", "plan", *words[:2], *words[:2])


@pytest.mark.heavy
def test_an_agents_key_rotates_too(home: Home) -> None:
    erin = guest(home, "erin")
    before = Keyring(erin.folder).agent()[0].public
    found = erin.json("key", "rotate", "--agent", "default")
    secret, tag = Keyring(erin.folder).agent()
    assert (encode_npub(secret.public), found["attested"]) == (found["to"], ["default"])
    assert secret.public != before
    assert tag[1] == Keyring(erin.folder).operator().public
    assert erin.json("agent", "list")["agents"] == [{"agent": "default", "npub": found["to"]}]


# --- time that has passed -------------------------------------------------------------------------


async def test_guardians_bring_an_owner_back_whom_a_thief_outran(
    tmp_path: Path, operator: SecretKey
) -> None:
    """The thief rotated first, said it all again, and dated vouches back."""
    bob, new, thief, paper = (new_secret() for _ in range(4))
    guardians = [new_secret() for _ in range(3)]
    friends = [new_secret() for _ in range(3)]
    now_s = int(time.time())
    plan = Plan(
        guardians=tuple(one.public for one in guardians),
        threshold=2,
        wait_s=3 * DAY_S,
        veto=paper.public,
    )
    steals = Rotate(to=thief.public, consent=consent(thief, bob.public))
    moves = Recover(source=bob.public, to=new.public, consent=consent(new, bob.public))
    events: list[Event] = [
        *(vouch(operator, one.public, at_s=now_s - 40 * DAY_S) for one in friends),
        *(vouch(one, bob.public, at_s=now_s - 40 * DAY_S) for one in friends),
        statement(bob, plan, now_s - 30 * DAY_S),
        statement(bob, steals, now_s - 10 * DAY_S),
        statement(thief, Rotate(to=paper.public, consent=consent(paper, thief.public)), now_s - 9),
        *(statement(one, moves, now_s - 5 * DAY_S) for one in guardians[:2]),
    ]
    async with running_node(tmp_path / "data", operator) as node:
        site = Site(node)
        await node.log.append_many(events)
        await node.evidence.advance()
        await node.trust.standings.advance()

        async def level(of: SecretKey) -> int:
            _, found = await site.ask("GET", f"/api/v1/trust/{of.public}", by=operator)
            assert isinstance(found, dict)
            return int(found["level"])

        assert [await level(one) for one in (new, thief, bob)] == [2, 0, 0]

        async def refused(event: Event) -> str:
            _, found = await site.ask("POST", "/events", as_json(event))
            assert isinstance(found, dict)
            return "" if found["accepted"] else str(found["message"])

        stale = vouch(bob, thief.public, at_s=now_s - 20 * DAY_S)
        for event in (stale, deletion(bob, events[0], at_s=now_s)):
            assert "speaks for nobody" in await refused(event)
        assert await refused(statement(bob, End(reason="stolen"), now_s)) == ""
        await node.evidence.advance()
        assert await level(new) == 2


async def test_a_relay_takes_nothing_that_a_stolen_key_signs_but_what_is_older_than_its_end(
    tmp_path: Path, operator: SecretKey
) -> None:
    bob, now_s = new_secret(), int(time.time())
    async with running_node(tmp_path / "data", operator) as node:
        site = Site(node)

        async def refused(
            kind: int, draft: tuple[str, tuple[tuple[str, ...], ...]], ago_s: int
        ) -> str:
            event = sign_event(
                bob, kind=kind, created_at=now_s - ago_s, content=draft[0], tags=draft[1]
            )
            _, found = await site.ask("POST", "/events", as_json(event))
            assert isinstance(found, dict)
            return "" if found["accepted"] else str(found["message"])

        profile, note = ('{"name":"bob"}', ()), ("hello", ())
        assert await refused(0, profile, 90) == ""
        assert await refused(1, note, 90) == ""
        _, found = await site.ask(
            "POST", "/events", as_json(statement(bob, End(reason="stolen"), now_s - 30))
        )
        assert isinstance(found, dict)
        assert found["accepted"]
        await node.evidence.advance()
        await node.trust.standings.advance()
        says = "restricted: pubkey: was retired, stolen or moved: it speaks for nobody"
        # Later, or with any date where an older word could replace what is kept.
        assert (await refused(1, note, 0)).startswith(says)
        assert (await refused(0, profile, 60)).startswith(says)
        assert (await refused(30078, ("", (("d", "state"),)), 60)).startswith(says)
        assert (await refused(20001, ("", ()), 60)).startswith(says)
        assert await refused(1, ("written before", ()), 60) == ""
        assert await refused(62, ("", (("relay", "ALL_RELAYS"),)), 0) == ""
