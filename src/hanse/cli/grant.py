"""`hanse grant`: test credits for an agent, from the node's operator."""

from typing import Annotated

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, told


def grant(
    to: Annotated[str, typer.Argument(help="The agent's npub or hex key.")],
    amount: Annotated[str, typer.Argument(help='How much: "1000sat".')],
    key: Annotated[
        str | None,
        typer.Option("--key", help="Name this grant: the same name again grants nothing more."),
    ] = None,
    memo: Annotated[str, typer.Option(help="A note kept with it.")] = "",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Give an agent test credits on your node. Only the node's operator may.

    They are credits of this node alone, good for calls on it, and labelled as test credits
    everywhere.

    Example:  hanse grant npub1… 1000sat
    """
    with told(json):
        import secrets

        from hanse.cli.home import operator_request
        from hanse.protocol.address import read_public_key
        from hanse.protocol.amount import Amount

        sum_ = Amount.parse(amount)
        body = {
            "to": read_public_key(to, "to"),
            "amount_msat": sum_.msat,
            "key": key or secrets.token_hex(16),
            "memo": memo,
        }
        found = operator_request(node, "/api/v1/grants", body)
        text = "Granted" if found["granted"] else "Was granted before, nothing changed"
        answer(json, found, lambda: out(f"{text}: {sum_} of test credits to {to}"))
