"""`hanse show`: one offer in full."""

from typing import Annotated

import orjson
import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, told


def show(
    offer: Annotated[str, typer.Argument(help="An offer's address, naddr, identifier or name.")],
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Show an offer: every capability with its schemas, price, promise and measured quality.

    Example:  hanse show mcp-time
    """
    with told(json):
        from hanse.protocol.amount import format_msat

        found = performed("describe_service", {"offer": offer}, agent, node)

        def for_eyes() -> None:
            out(f"{quoted(found['name'])} {quoted(found['version'])}: {quoted(found['summary'])}")
            out(f"  offer     {found['offer']}")
            out(f"  provider  {found['provider']}")
            out(f"  operator  {found['operator']}")
            for row in found["capabilities"]:
                promise, measured = row["promise"], row["measured"]
                out(f"\n{row['capability']}  {format_msat(row['price_msat'])} a call")
                out(f"  {quoted(row['description'])}")
                out(
                    f"  promised  {promise['success_rate']:.1%} within "
                    f"{promise['latency_p95_ms']} ms (p95)"
                )
                if measured["samples"]:
                    out(
                        f"  measured  {measured['success_rate']:.1%} over {measured['samples']} "
                        f"calls, p50 {measured['latency_p50_ms']} ms, "
                        f"p95 {measured['latency_p95_ms']} ms"
                    )
                out(f"  input     {orjson.dumps(row['input_schema']).decode()}")
                if row["output_schema"]:
                    out(f"  output    {orjson.dumps(row['output_schema']).decode()}")

        answer(json, found, for_eyes)
