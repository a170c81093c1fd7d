"""The operator's key is rotated: the node follows, at once and when it starts with the old one."""

import time
from pathlib import Path

from tests.conformance.test_trust_view import signed, vouch
from tests.conftest import running_node
from tests.system.test_levels_at_the_relay import FRIEND, TABLE, note, publish
from tests.system.test_nip05 import Site

from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.keys import SecretKey
from hanse.trust.rotation import End, Rotate, consent, statement_draft

NEW, NEWEST = new_secret(), new_secret()


async def moved(site: Site, old: SecretKey, new: SecretKey, at_s: int) -> None:
    action = Rotate(to=new.public, consent=consent(new, old.public))
    said = signed(old, kinds.KEY_STATEMENT, statement_draft(old.public, action), at_s)
    assert await publish(site, said) == ""


async def level(site: Site, of: SecretKey, by: SecretKey) -> int:
    status, found = await site.ask("GET", f"/api/v1/trust/{of.public}", by=by)
    assert status == 200, found
    number: int = found["level"]
    return number


async def check(site: Site, new: SecretKey, *old: SecretKey) -> None:
    """Books, names and moderation are the new key's and nobody else's; whom the old one trusted
    still writes here."""
    managed = "/api/v1/books"
    assert (await site.ask("GET", managed, by=new))[0] == 200
    assert (await site.ask("GET", "/api/v1/handles", by=new))[0] == 200
    for key in old:
        assert (await site.ask("GET", managed, by=key))[0] == 403
    assert await publish(site, note(FRIEND, str(time.time_ns()))) == ""
    assert (await publish(site, note(new_secret()))).startswith("pow:")
    assert await level(site, FRIEND, new) == 4


async def test_a_node_follows_its_operator_at_once_and_when_it_starts_again(
    tmp_path: Path, operator: SecretKey
) -> None:
    now_s, secret = int(time.time()), new_secret()
    folder = tmp_path / "data"
    async with running_node(folder, operator, secret, levels=TABLE, by_level=True) as node:
        site = Site(node)
        assert await publish(site, vouch(operator, FRIEND.public, at_s=now_s - 60)) == ""
        assert (await site.ask("GET", "/api/v1/books", by=operator))[0] == 200
        await moved(site, operator, NEW, now_s - 30)
        await check(site, NEW, operator)
    # It is configured with the old key still, and nobody changed that.
    async with running_node(folder, operator, secret, levels=TABLE, by_level=True) as node:
        site = Site(node)
        assert node.operator == NEW.public
        await check(site, NEW, operator)
        assert await site.who_is("_") == NEW.public
        friend = new_secret()
        assert await publish(site, vouch(NEW, friend.public, at_s=now_s - 20)) == ""
        assert await publish(site, note(friend)) == ""
        await moved(site, NEW, NEWEST, now_s - 10)
    async with running_node(folder, operator, secret, levels=TABLE, by_level=True) as node:
        assert node.operator == NEWEST.public
        await check(Site(node), NEWEST, NEW, operator)


async def test_a_key_that_was_given_up_commands_no_node(
    tmp_path: Path, operator: SecretKey
) -> None:
    said = statement_draft(operator.public, End(reason="stolen"))
    for first in (True, False):
        async with running_node(tmp_path / "data", operator) as node:
            site = Site(node)
            if first:
                assert (await site.ask("GET", "/api/v1/books", by=operator))[0] == 200
                ended = signed(operator, kinds.KEY_STATEMENT, said, int(time.time()))
                assert await publish(site, ended) == ""
            assert (await site.ask("GET", "/api/v1/books", by=operator))[0] == 403
