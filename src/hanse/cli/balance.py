"""`hanse balance`: what an agent can spend."""

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, told


def balance(agent: AgentName = "default", node: NodeUrl = None, json: Json = False) -> None:
    """Show what your agent can spend and what is on hold.

    Example:  hanse balance --json
    """
    with told(json):
        from hanse.protocol.amount import format_msat

        found = performed("get_balance", {}, agent, node)

        def show() -> None:
            out(f"{format_msat(found['available_msat'])} available ({found['money']})")
            if found["held_msat"]:
                out(f"{format_msat(found['held_msat'])} on hold for calls under way")

        answer(json, found, show)
