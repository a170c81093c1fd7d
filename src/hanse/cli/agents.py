"""`hanse agent`: your agents."""

from typing import Annotated

import typer

from hanse.cli.terminal import Json, answer, out, table, told

app = typer.Typer(
    no_args_is_help=True, help="Your agents: add one, list them.", rich_markup_mode=None
)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Letters, digits, - and _.")], json: Json = False
) -> None:
    """Make another agent's key, with your attestation that it is yours (NIP-OA).

    Example:  hanse agent add shopper
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.protocol.address import encode_npub

        npub = encode_npub(keyring().add_agent(name).public)
        answer(json, {"agent": name, "npub": npub}, lambda: out(f"{name}  {npub}"))


@app.command("list")
def list_agents(json: Json = False) -> None:
    """List your agents.

    Example:  hanse agent list
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.protocol.address import encode_npub

        ring = keyring()
        rows = [(name, encode_npub(ring.agent(name)[0].public)) for name in ring.agents()]
        found = [{"agent": name, "npub": npub} for name, npub in rows]
        answer(json, {"agents": found}, lambda: table(("agent", "npub"), rows))
