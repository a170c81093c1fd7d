"""`hanse init`: the operator's key, a first agent, the node's key."""

import os
from typing import Annotated

import typer

from hanse.cli.terminal import Json, answer, out, told


def init(
    json: Json = False,
    agent: Annotated[str, typer.Option("--agent", help="Name of the first agent.")] = "default",
    seal: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help="Seal the keys with a passphrase (NIP-49), asked for unless $HANSE_PASSPHRASE "
            "has it (then they are sealed without this flag too).",
        ),
    ] = False,
) -> None:
    """Make your operator key and one agent that it answers for.

    Writes to $HANSE_HOME (default ~/.hanse): the operator's key, one agent's key with its
    attestation (NIP-OA), and a key for a node. Files are readable by you alone. The operator's
    key is what others trust: keep a copy of it somewhere safe.

    Example:  hanse init --passphrase
    """
    with told(json):
        from hanse.config import home_folder
        from hanse.errors import Invalid
        from hanse.keyring import Keyring
        from hanse.protocol.address import encode_npub

        phrase = os.environ.get("HANSE_PASSPHRASE")
        if seal and not phrase:
            phrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        if seal and not phrase:
            raise Invalid.at("passphrase", "is empty")
        ring = Keyring(home_folder(), phrase)
        ring.create(agent)
        made = {
            "home": str(ring.home),
            "operator": encode_npub(ring.operator().public),
            "agent": agent,
            "agent_npub": encode_npub(ring.agent(agent)[0].public),
            "node": encode_npub(ring.node()[0].public),
            "sealed": bool(phrase),
        }

        def show() -> None:
            out(f"Made in {made['home']}:")
            out(f"  operator  {made['operator']}")
            out(f"  agent     {made['agent_npub']}  ({agent})")
            out(f"  node      {made['node']}")
            out("Next: start your node with `hanse up`.")

        answer(json, made, show)
