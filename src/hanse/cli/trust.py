"""`hanse trust`: what you should think of somebody, and why."""

from typing import Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, told

_SIDES = (("for", "For"), ("against", "Against"), ("missing", "What would raise it"))


def trust(
    npub: Annotated[str, typer.Argument(help="Whom: npub or hex key of an operator or agent.")],
    domain: Annotated[
        str, typer.Option("--domain", help='In what, e.g. "sms"; left out: in general.')
    ] = "",
    why: Annotated[bool, typer.Option("--why", help="Show every reason and path.")] = False,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Show the level of somebody as you see them: from your circle, with the reasons.

    Example:  hanse trust npub1… --domain sms --why
    """
    with told(json):
        found = performed("explain_trust", {"subject": npub, "domain": domain}, agent, node)
        answer(json, found, lambda: _show(found, why))


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


def _short(key: str) -> str:
    from hanse.protocol.address import encode_npub
    from hanse.protocol.keys import PublicKey

    return encode_npub(PublicKey(key))[:16] + "…"
