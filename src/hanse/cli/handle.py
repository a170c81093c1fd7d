"""`hanse handle`: names at your node's domain (NIP-05)."""

from typing import Annotated

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, table, told

app = typer.Typer(
    no_args_is_help=True,
    help="Names at your node's domain (NIP-05): give one, list them, take one away.",
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The part before the @: a-z, 0-9, - _ and dots.")]


@app.command("add")
def add(
    name: Name,
    npub: Annotated[str, typer.Argument(help="Whose name it shall be: npub or hex key.")],
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Give a key a name at your node. Your own agents have theirs already, and you have `_`.

    Example:  hanse handle add ada npub1…
    """
    with told(json):
        from hanse.cli.home import operator_request
        from hanse.protocol.address import read_public_key

        body = {"name": name, "pubkey": read_public_key(npub, "npub")}
        found = operator_request(node, "/api/v1/handles", body)
        answer(json, found, lambda: out(f"{found['name']}  {found['npub']}"))


@app.command("list")
def list_handles(node: NodeUrl = None, json: Json = False) -> None:
    """List every name your node answers for.

    Example:  hanse handle list
    """
    with told(json):
        from hanse.cli.home import operator_request

        found = operator_request(node, "/api/v1/handles")
        rows = [(row["name"], row["npub"], row["kind"]) for row in found["handles"]]
        answer(json, found, lambda: table(("name", "npub", "kind"), rows))


@app.command("remove")
def remove(name: Name, node: NodeUrl = None, json: Json = False) -> None:
    """Take a name away that you gave.

    Example:  hanse handle remove ada
    """
    with told(json):
        from urllib.parse import quote

        from hanse.cli.home import operator_request

        path = f"/api/v1/handles/{quote(name, safe='')}"
        found = operator_request(node, path, method="DELETE")
        answer(json, found, lambda: out(f"Removed {found['removed']}."))
