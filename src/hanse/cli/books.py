"""`hanse books`: every account of the node, for its operator."""

from hanse.cli.terminal import Json, NodeUrl, answer, out, table, told


def books(node: NodeUrl = None, json: Json = False) -> None:
    """Show every account of your node and their sum, which is always zero.

    Example:  hanse books
    """
    with told(json):
        from hanse.cli.home import operator_request
        from hanse.protocol.amount import format_msat

        found = operator_request(node, "/api/v1/books")

        def show() -> None:
            rows = [
                (
                    row["name"][:24],
                    row["kind"],
                    format_msat(row["balance_msat"]),
                    format_msat(row["held_msat"]),
                )
                for row in found["accounts"]
            ]
            table(("account", "kind", "balance", "on hold"), rows)
            out(f"sum: {format_msat(found['sum_msat'])}")

        answer(json, found, show)
