"""`hanse trust`: what you should think of somebody, and why; and a picture of your circle."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, table, told

_SIDES = (("for", "For"), ("against", "Against"), ("missing", "What would raise it"))


def trust(
    npub: Annotated[
        str,
        typer.Argument(
            help="Whom: npub or hex key of an operator or agent. Or `graph`: whom your circle "
            "leads to."
        ),
    ],
    domain: Annotated[
        str, typer.Option("--domain", help='In what, e.g. "sms"; left out: in general.')
    ] = "",
    why: Annotated[bool, typer.Option("--why", help="Show every reason and path.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="With `graph`: draw it into this file.")
    ] = None,
    limit: Annotated[int, typer.Option(help="With `graph`: how many to show, 1 to 200.")] = 60,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Show the level of somebody as you see them: from your circle, with the reasons.

    Example:  hanse trust npub1… --domain sms --why
    Example:  hanse trust graph --svg circle.svg
    """
    with told(json):
        if npub == "graph":
            _graph(domain, svg, limit, node, json)
            return
        found = performed("explain_trust", {"subject": npub, "domain": domain}, agent, node)
        answer(json, found, lambda: _show(found, why))


def _graph(domain: str, svg: Path | None, limit: int, node: str | None, json: bool) -> None:
    from urllib.parse import urlencode

    from hanse.cli.drawing import draw
    from hanse.cli.home import operator_request
    from hanse.errors import Invalid

    asked = urlencode({"limit": limit} | ({"domain": domain} if domain else {}))
    found = operator_request(node, f"/api/v1/trust/graph?{asked}")
    names = _names([row["key"] for row in found["nodes"]], node)
    for row in found["nodes"]:
        row["name"] = names.get(row["key"], "")
    if svg is not None:
        try:
            svg.write_text(draw(found, names), encoding="utf-8")
        except OSError as exc:
            raise Invalid.at("svg", f"cannot be written: {exc}") from exc
    answer(json, found, lambda: _rows(found, svg))


def _names(keys: list[str], node: str | None) -> dict[str, str]:
    """What the node's handles call them, or else their profiles (kind 0)."""
    import orjson

    from hanse.cli.home import operator_request
    from hanse.errors import HanseError
    from hanse.protocol.address import read_public_key

    names: dict[str, str] = {}
    try:
        rows = operator_request(node, "/api/v1/handles")["handles"]
    except HanseError:
        rows = []  # at somebody else's node they are not ours to list
    for row in rows:
        names.setdefault(read_public_key(row["npub"], "npub"), quoted(row["name"], 40))
    told: Any = operator_request(node, "/query", {"kinds": [0], "authors": keys})
    for event in told:
        try:
            profile = orjson.loads(event["content"])
        except orjson.JSONDecodeError:
            continue
        name = profile.get("display_name") or profile.get("name") if type(profile) is dict else ""
        if isinstance(name, str) and quoted(name):
            names.setdefault(event["pubkey"], quoted(name, 40))
    return names


def _rows(found: dict[str, Any], svg: Path | None) -> None:
    table(
        ("distance", "level", "reach", "npub", "name"),
        [
            (row["distance"], row["level"], f"{row['reach']:.4f}", row["npub"], row["name"])
            for row in found["nodes"]
        ],
    )
    if found["left_out"]:
        out(f"and {found['left_out']} more: --limit shows up to 200")
    if svg is not None:
        out(f"Drawn: {svg}")


def _show(found: dict[str, Any], why: bool) -> None:
    about = f" in {quoted(found['domain'])}" if found["domain"] else ""
    out(f"{found['npub']}{about}")
    if found["asked"] != found["subject"]:
        out("  answers for the agent you asked about")
    out(f"  level     {found['level']} {found['level_name']}")
    out(f"  score     {found['score']:.2f}, very likely above {found['lower_bound']:.2f}")
    out(f"  may       {', '.join(found['may']) or 'nothing'}")
    for side, title in _SIDES:
        rows = [row for row in found["reasons"] if row["side"] == side]
        if not rows or not (why or side == "missing"):
            continue
        out(f"\n{title}:")
        for row in rows:
            out(f"  {quoted(row['text'])}")
            if row["path"]:
                out(f"    {' → '.join(_short(key) for key in row['path'])}")
            if row["receipt"]:
                out(f"    receipt {row['receipt']}: see `hanse appeal --help`")


def _short(key: str) -> str:
    from hanse.protocol.address import encode_npub
    from hanse.protocol.keys import PublicKey

    return encode_npub(PublicKey(key))[:16] + "…"
