"""`hanse find`: who can do this?"""

from typing import Annotated

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, told


def find(
    words: Annotated[list[str], typer.Argument(help="What you need done, in plain words.")],
    max_price: Annotated[
        str | None, typer.Option("--max-price", help='Most to pay per call: "3sat".')
    ] = None,
    latency_p95: Annotated[
        str | None, typer.Option("--latency-p95", help='Slowest p95 you accept: "500ms".')
    ] = None,
    success: Annotated[
        str | None, typer.Option("--success", help='Least success rate: "0.99" or "99%".')
    ] = None,
    limit: Annotated[int, typer.Option(help="How many to list.")] = 5,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Find services by what they do and how well they measurably do it.

    Ranked, best first, with the reasons: how the words fit, what was measured in paid calls against
    what was promised, and the price.

    Example:  hanse find "what time is it in another city" --max-price 3sat --latency-p95 500ms
    """
    with told(json):
        from hanse.cli.quantities import milliseconds, share
        from hanse.protocol.amount import Amount, format_msat

        asked = {
            "words": " ".join(words),
            "max_price_msat": Amount.parse(max_price, "max-price").msat if max_price else None,
            "latency_p95_ms": milliseconds(latency_p95, "latency-p95") if latency_p95 else None,
            "success_rate": share(success, "success") if success else None,
            "limit": limit,
        }
        found = performed("find_services", asked, agent, node)

        def show() -> None:
            for number, row in enumerate(found["services"], 1):
                price = format_msat(row["price_msat"])
                name = quoted(row["name"], 80)
                out(f"{number}. {name}: {row['capability']}  {price}  {row['score']:.3f}")
                for reason in row["reasons"]:
                    out(f"     {reason}")
                out(f"     {row['offer']}")
            if not found["services"]:
                out("Nothing matches. Try other words or looser constraints.")
            for name, count in found["excluded_by"].items():
                out(f"{count} more match but fail your {name} constraint.")

        answer(json, found, show)
