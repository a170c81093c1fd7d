"""A relay for chosen kinds, over a socket: by the settings, and as decided while it runs."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import People, running_node
from tests.relay_peer import a_peer, eventually
from tests.system.test_management import asked, info, manage, post

from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.rules import Kinds, Rules

REACTION = "blocked: event.kind: kind 7 is not taken here"


def only(*allow: int, deny: frozenset[int] = frozenset()) -> Rules:
    return Rules(kinds=Kinds(allow=frozenset(allow), deny=deny))


async def taken(node: Node, *numbers: int) -> list[int]:
    """Those of the kinds that a stranger may publish."""
    async with a_peer(node.url) as peer:
        return [kind for kind in numbers if (await peer.publish(peer.note("", kind=kind)))[0]]


async def test_a_relay_for_one_kind_takes_it_and_deletions_only(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path, operator, rules=only(1)) as node:
        async with a_peer(node.url) as peer:
            note = await peer.keep(peer.note("hello"))
            assert await peer.publish(peer.note("+", kind=7)) == (False, REACTION)
            await peer.keep(peer.note("", kind=5, tags=[["e", note.id]]))
            assert await peer.ask({"kinds": [1]}) == []
        limitation = (await info(node))["limitation"]
        assert limitation["allowed_kinds"] == [1]
        assert limitation["restricted_writes"] is True
        assert await manage(node, operator, "listallowedkinds") == [1]


async def test_a_denied_kind_is_refused_and_the_others_are_taken(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path, operator, rules=only(deny=frozenset({7}))) as node:
        assert await taken(node, 1, 7, 8) == [1, 8]
        limitation = (await info(node))["limitation"]
        assert limitation["denied_kinds"] == [7]
        assert "allowed_kinds" not in limitation
        assert await manage(node, operator, "listallowedkinds") == []
        assert await manage(node, operator, "listdisallowedkinds") == [7]
        found = (await post(node, operator, asked("allowkind", 7)))[1]
        assert found["error"].startswith("kind: 7 is denied by the node's settings")
        assert await taken(node, 1, 7, 8) == [1, 8]


async def test_the_operator_s_own_agents_trade_whatever_others_may(
    tmp_path: Path, operator: SecretKey
) -> None:
    keys = {"provider": new_secret(), "consumer": new_secret()}
    agents = {name: key.public for name, key in keys.items()}
    async with (
        running_node(tmp_path, operator, agents=agents, rules=only(1)) as node,
        AsyncExitStack() as stack,
    ):
        people = People(node, stack)
        provider = await people.connected(operator=operator, secret=keys["provider"])
        consumer = await people.connected("1000sat", operator, keys["consumer"])
        stranger = await people.connected()

        def shout(text: str) -> str:
            "Say it loud."
            return text.upper()

        provider.provide(price="1sat")(shout)
        await provider.serve()
        await eventually(lambda: node.registry.offers())
        (found,) = await consumer.find("say it loud")
        result = await consumer.call(found, {"text": "hello"})
        assert (result.status, result.value) == ("settled", "HELLO")
        stranger.provide(price="1sat")(shout)
        with pytest.raises(HanseError, match="kind 31402 is not taken here"):
            await stranger.serve()


# --- NIP-86 ---------------------------------------------------------------------------------------


async def test_the_first_allowed_kind_begins_a_list_that_holds_and_is_told(
    tmp_path: Path, operator: SecretKey
) -> None:
    secret = new_secret()
    async with running_node(tmp_path, operator, secret) as node:
        assert await manage(node, operator, "listallowedkinds") == []
        assert (await info(node))["limitation"]["restricted_writes"] is False
        await manage(node, operator, "allowkind", 1)
        assert await manage(node, operator, "listallowedkinds") == [1]
        assert await taken(node, 1, 7, 8) == [1]
        await manage(node, operator, "allowkind", 8)
    async with running_node(tmp_path, operator, secret) as node:
        assert await manage(node, operator, "listallowedkinds") == [1, 8]
        limitation = (await info(node))["limitation"]
        assert (limitation["allowed_kinds"], limitation["restricted_writes"]) == ([1, 8], True)
        assert await taken(node, 1, 7, 8) == [1, 8]
        for kind in (8, 1):
            await manage(node, operator, "disallowkind", kind)
        assert await manage(node, operator, "listallowedkinds") == []
        assert await manage(node, operator, "listdisallowedkinds") == [1, 8]
        assert await taken(node, 1, 7, 8) == [7]
        assert (await info(node))["limitation"]["restricted_writes"] is False


async def test_a_kind_that_was_closed_is_opened_and_the_others_stay_open(
    node: Node, operator: SecretKey
) -> None:
    await manage(node, operator, "disallowkind", 7)
    assert await taken(node, 1, 7) == [1]
    await manage(node, operator, "allowkind", 7)
    assert await taken(node, 1, 7) == [1, 7]
    assert await manage(node, operator, "listallowedkinds") == []


async def test_decisions_add_to_the_kinds_of_the_settings_and_take_from_them(
    tmp_path: Path, operator: SecretKey
) -> None:
    async with running_node(tmp_path, operator, rules=only(1, 7)) as node:
        await manage(node, operator, "allowkind", 8)
        await manage(node, operator, "disallowkind", 7)
        assert await manage(node, operator, "listallowedkinds") == [1, 8]
        assert await taken(node, 1, 7, 8, 9) == [1, 8]
        await manage(node, operator, "allowkind", 7)
        assert await manage(node, operator, "listallowedkinds") == [1, 7, 8]


@pytest.mark.parametrize(
    ("method", "kind", "says"),
    [
        ("allowkind", 22242, "kind: 22242 is a proof of identity"),
        ("disallowkind", 62, "kind: 62 is a request to vanish"),
        ("disallowkind", 1, "kind: 1 is the last one that is taken"),
    ],
)
async def test_what_cannot_be_decided_is_an_error_and_changes_nothing(
    tmp_path: Path, operator: SecretKey, method: str, kind: int, says: str
) -> None:
    async with running_node(tmp_path, operator, rules=only(1)) as node:
        found: dict[str, Any] = (await post(node, operator, asked(method, kind)))[1]
        assert found["result"] is None
        assert found["error"].startswith(says)
        assert list(node.admission.lists.entries()) == []
