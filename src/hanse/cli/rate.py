"""`hanse rate`: what you think of who served a call, for everybody to read."""

from typing import Annotated

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, run, told


def rate(
    call: Annotated[str, typer.Argument(help="The id of a call that your agent paid, or receipt.")],
    stars: Annotated[int, typer.Argument(min=1, max=5, help="1: cheated, to 5: excellent.")],
    context: Annotated[
        str, typer.Option("--context", help="In what; left out: the capability's name.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=730, help="For how long.")] = 90,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Rate who served a call; the receipt goes with it as the proof of payment.

    1 says that you were cheated: who trusts you then trusts them with nothing, nor whom they vouch
    for, until you say otherwise or `hanse appeal` is granted. Rating again replaces it.

    Example:  hanse rate 3f0a… 5
    """
    with told(json):
        from hanse.cli.home import agent_of
        from hanse.protocol.address import encode_npub
        from hanse.protocol.event import Event
        from hanse.protocol.keys import PublicKey

        async def work() -> Event:
            async with agent_of(agent, node) as found:
                return await found.attest(call, stars, context=context, days=days)

        event = run(work())
        subject = PublicKey(event.tag("p") or "")
        shown = {
            "event": event.id,
            "subject": subject,
            "npub": encode_npub(subject),
            "context": event.tag("t"),
            "rating": stars,
        }
        text = f"You rate {shown['npub']} {stars} of 5 in {shown['context']!r}, for {days} days."
        answer(json, shown, lambda: out(text))
