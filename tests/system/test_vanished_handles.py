"""What a node says of a handle whose key asked to vanish (NIP-62)."""

from pathlib import Path

import pytest
from tests.conftest import running_node
from tests.system.test_handle_claims import agent_at, domain, post
from tests.system.test_nip05 import Site

from hanse.identity.model import Terms
from hanse.identity.statement import statement
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.handle import read_handle
from hanse.protocol.keys import SecretKey

OPEN = Terms(open=True, bits=0)


async def published(node: Node, event: Event) -> None:
    [found] = await node.log.append_many([event])
    assert isinstance(found, int)


@pytest.mark.requirement("NIP-62.all-gone")
async def test_who_vanishes_is_named_no_more_and_others_are(
    tmp_path: Path, operator: SecretKey
) -> None:
    ada, bob = new_secret(), new_secret()
    async with running_node(tmp_path, operator, handle_terms=OPEN) as node:
        now_s = node.names._clock.now_s()
        claim = statement(ada, read_handle(f"ada@{domain(node)}"), now_s=now_s)
        assert (await post(node, claim))[0] == 200
        await agent_at(node, bob).handles.claim("bob")
        assert await Site(node).who_is("ada") == ada.public
        tags = [("relay", "ALL_RELAYS")]
        request = sign_event(ada, kind=kinds.VANISH, created_at=now_s, tags=tags)
        await published(node, request)
        assert await Site(node).who_is("ada") is None
        assert await Site(node).who_is("bob") == bob.public
        status, problem = await post(node, claim)  # anybody may have kept it
        assert (status, problem["field"]) == (403, "statement.created_at")
        port = node.port
    async with running_node(tmp_path, operator, handle_terms=OPEN, port=port) as node:
        assert await Site(node).who_is("ada") is None
        assert (await post(node, claim))[0] == 403
        assert await Site(node).who_is("bob") == bob.public
