"""`hanse appeal`: what you say of an accusation with proof, signed by your operator key."""

from typing import Annotated, Any

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, told


def appeal(
    receipt: Annotated[
        str, typer.Argument(help="The receipt that the accusation rests on: see `hanse trust`.")
    ],
    grant: Annotated[
        bool, typer.Option("--grant", help="Agree: the accusation counts no more for you.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what you said of it before.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody can read it.")] = "",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Appeal against an accusation of betrayal, or grant an appeal of others.

    An accusation ends when its author takes it back, when you grant the appeal (for you), or when
    three of somebody's circle do (for them). With it goes what it cost those who vouched.

    Example:  hanse appeal 5f1c… --reason "the parcel came a day later"
    Example:  hanse appeal 5f1c… --grant
    """
    with told(json):
        from hanse.errors import Invalid

        if grant and withdraw:
            raise Invalid.at("withdraw", "says the contrary of --grant")
        found = _say(
            receipt, "grant" if grant else "withdraw" if withdraw else "appeal", reason, node
        )
        answer(json, found, lambda: out(f"You said {found['action']!r} about {receipt}."))


def _say(receipt: str, action: Any, reason: str, node: str | None) -> dict[str, Any]:
    import time

    import msgspec

    from hanse.cli.home import keyring, operator_request
    from hanse.errors import HanseError
    from hanse.protocol import kinds
    from hanse.protocol.event import sign_event
    from hanse.trust.appeal import appeal_draft

    secret = keyring().operator()
    content, tags = appeal_draft(receipt, action, reason)
    filter = {"kinds": [kinds.APPEAL], "authors": [secret.public], "#d": [receipt]}
    before: Any = operator_request(node, "/query", filter)
    # Two words in one second would leave it to their ids which one holds.
    at_s = max([int(time.time()), *(one["created_at"] + 1 for one in before)])
    event = sign_event(secret, kind=kinds.APPEAL, created_at=at_s, content=content, tags=tags)
    said = operator_request(node, "/events", msgspec.to_builtins(event))
    if not said.get("accepted"):
        raise HanseError(str(said.get("message", "the node did not take it")))
    return {"event": event.id, "receipt": receipt, "action": action, "reason": reason}
