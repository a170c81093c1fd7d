"""`hanse token`: a bearer token for programs that can only send a fixed header."""

from typing import Annotated

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, told


def token(
    agent: AgentName = "default",
    hours: Annotated[int, typer.Option(help="How long it is valid.")] = 24,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Make a bearer token for the HTTP and MCP doors, signed by your agent.

    Whoever has it acts for the agent at this one node until it ends: keep it like a password.

    Example:  hanse token --hours 8
    """
    with told(json):
        import time

        from hanse.agent.connection import node_key
        from hanse.cli.home import keyring
        from hanse.errors import NotFound
        from hanse.protocol import http_auth

        ring = keyring()
        secret, auth = ring.agent(agent)
        known = ring.known_node()
        if node:
            audience = node_key(node)
        elif known is not None:
            audience = known.pubkey
        else:
            raise NotFound("no node is known here", hint="start one with `hanse up`")
        text = http_auth.token(
            secret, node=audience, now=int(time.time()), life_s=hours * 3600, tags=(auth,)
        )
        answer(json, {"token": text, "hours": hours, "node": audience}, lambda: out(text))
