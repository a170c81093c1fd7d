"""`hanse handle`: names at your node's domain (NIP-05), and those of others looked up."""

from typing import Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, run, table, told

app = typer.Typer(
    no_args_is_help=True,
    help="Names (NIP-05): give and take those of your node, claim one for an agent, find others'.",
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
        rows = [(row["name"], row["npub"], row["kind"], _note(row)) for row in found["handles"]]
        answer(json, found, lambda: table(("name", "npub", "kind", ""), rows))


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


@app.command("claim")
def claim(
    name: Name, agent: AgentName = "default", node: NodeUrl = None, json: Json = False
) -> None:
    """Claim a name at a node for one of your agents, or renew it. A node that lets strangers claim
    may ask for proof of work: that is done here.

    Example:  hanse handle claim ada --node wss://relay.example.com
    """
    with told(json):
        from hanse.cli.home import agent_of

        found = run(agent_of(agent, node).handles.claim(name))
        answer(json, found, lambda: out(f"{found['handle']}  {found['npub']}  {_note(found)}"))


@app.command("move")
def move(
    name: Name,
    to: Annotated[str, typer.Argument(help="The handle that your agent has now: name@domain.")],
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Let a name at a node say where your agent went. Claim the new one first: who looks up the old
    one is led there, and checks that the same key stands at the end.

    Example:  hanse handle move ada ada@new.example.com --node wss://old.example.com
    """
    with told(json):
        from hanse.cli.home import agent_of

        found = run(agent_of(agent, node).handles.move(name, to))
        answer(json, found, lambda: out(f"{found['handle']}  {_note(found)}"))


@app.command("release")
def release(
    name: Name, agent: AgentName = "default", node: NodeUrl = None, json: Json = False
) -> None:
    """Give back a name of one of your agents.

    Example:  hanse handle release ada
    """
    with told(json):
        from hanse.cli.home import agent_of

        found = run(agent_of(agent, node).handles.release(name))
        answer(json, found, lambda: out(f"Released {found['removed']}."))


@app.command("find")
def find(
    handle: Annotated[str, typer.Argument(help="name@domain; a domain alone is its _.")],
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Look a handle up at its own domain, through your node: whether the domain names the key, the
    key names the handle, and where it has moved.

    Example:  hanse handle find ada@example.com
    """
    with told(json):
        from hanse.cli.home import agent_of

        found = run(agent_of(agent, node).resolve(handle))
        answer(json, found.shown(), lambda: _show(found))


def _show(found: Any) -> None:
    from hanse.protocol.address import encode_npub

    out(f"{found.handle}  {encode_npub(found.pubkey)}")
    for before, after in zip((found.asked, *found.forwards), found.forwards, strict=False):
        out(f"  {before} has moved to {after}, by its key's word")
    out("  its domain names the key: yes")
    said = {"profile": "yes, in its profile", "claim": "yes, in a claim it signed"}
    out(f"  its key names the handle: {said.get(found.named_by, 'no')}")
    if found.profile and found.profile != found.handle:
        out(f"  its profile names {found.profile}")
    for url in found.relays:
        out(f"  relay {url}")


def _note(row: dict[str, Any]) -> str:
    """What there is to know of a name beside whose it is."""
    from datetime import UTC, datetime

    parts = [f"moved to {row['moved']}"] if row.get("moved") else []
    if row.get("until"):
        parts.append(f"until {datetime.fromtimestamp(row['until'], UTC):%Y-%m-%d}")
    return ", ".join(parts)
