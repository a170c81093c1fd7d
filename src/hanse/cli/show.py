"""`hanse show`: one offer in full."""

from typing import Annotated, Any

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
        found = performed("describe_service", {"offer": offer}, agent, node)

        def for_eyes() -> None:
            out(f"{quoted(found['name'])} {quoted(found['version'])}: {quoted(found['summary'])}")
            out(f"  offer     {found['offer']}")
            out(f"  provider  {found['provider']}")
            out(f"  operator  {found['operator']}")
            if found["payment_methods"]:
                out(f"  accepts   {quoted(', '.join(found['payment_methods']))}")
            if found["terms"]:
                out(f"  terms     {quoted(found['terms'])}")
            if found["source"]:
                proof = found["verified"] or "unverified"
                out(f"  source    {quoted(found['source'])} (call it there); {quoted(proof)}")
            if found["withheld"]:
                out(f"  withheld  from searches here: {found['withheld']}")
            for row in found["capabilities"]:
                _show(row, bool(found["source"]))

        answer(json, found, for_eyes)


def _show(row: dict[str, Any], imported: bool) -> None:
    """One capability, for eyes."""
    promise, measured = row["promise"], row["measured"]
    out(f"\n{row['capability']}  {' or '.join(_prices(row))}")
    out(f"  {quoted(row['description'])}")
    if row["side_effects"]:
        again = {True: ", safe to repeat", False: ", not safe to repeat", None: ""}
        out(f"  effects   {row['side_effects']}{again[row['idempotent']]}")
    if row["data_handling"]:
        out(f"  data      {quoted(row['data_handling'])}")
    if imported:
        out("  promised  nothing: whoever listed it bound nobody")
    else:
        rate, limit_ms = promise["success_rate"], promise["latency_p95_ms"]
        out(f"  promised  {rate:.1%} within {limit_ms} ms (p95)")
    if promise["throughput_per_s"]:
        out(f"  takes     {promise['throughput_per_s']:g} calls a second, as it promises")
    for name in ("regions", "data_residence", "certifications"):
        if promise[name]:
            out(f"  {name.replace('_', ' ')}: {quoted(', '.join(promise[name]))}")
    if measured["samples"]:
        out(
            f"  measured  {measured['success_rate']:.1%} over {measured['samples']} "
            f"calls, p50 {measured['latency_p50_ms']} ms, p95 {measured['latency_p95_ms']} ms"
        )
        if measured["throughput_per_s"]:
            out(f"  took      {measured['throughput_per_s']:.3g} calls a second in its best minute")
        for line in _kept(row["windows"]["month"], row["windows"]["day"]["trend"]):
            out(line)
    if measured["unheard"]:
        out(f"  not heard {measured['unheard']} calls that prove nothing to you (docs/quality.md)")
    out(f"  input     {orjson.dumps(row['input_schema']).decode()}")
    if row["output_schema"]:
        out(f"  output    {orjson.dumps(row['output_schema']).decode()}")
    for example in row["examples"]:
        out(f"  example   {orjson.dumps(example['input']).decode()}")


def _kept(month: dict[str, Any], trend: dict[str, Any] | None) -> list[str]:
    """Which promises were kept, as far as the calls tell, and what changed since the day before."""
    found = []
    for word, kept in (("kept", True), ("broken", False)):
        names = [
            name.replace("_", " ") + ("" if one["sure"] else " (few calls)")
            for name, one in month["kept"].items()
            if one["kept"] is kept
        ]
        if names:
            found.append(f"  {word:8}  {', '.join(names)}")
    if trend is not None and trend["success_sure"]:
        found.append(f"  trend     success {trend['success']:+.1%} since the day before")
    if trend is not None and trend["latency_sure"]:
        found.append(f"  trend     p50 {trend['latency_p50_ms']:+} ms since the day before")
    return found


def _prices(row: dict[str, Any]) -> list[str]:
    from hanse.protocol.amount import format_msat

    found = [f"{format_msat(row['price_msat'])} a call"] if row["by_call"] else []
    for one in row["metered"]:
        units = one["unit"] if one["per"] == 1 else f"{one['per']} {one['unit']}s"
        found.append(f"{format_msat(one['price_msat'])} per {units}")
    if row["period"] is not None:
        calls = row["period"]["calls"]
        most = f", at most {calls} calls" if calls is not None else ""
        found.append(f"{format_msat(row['period']['price_msat'])} a {row['period']['span']}{most}")
    return found
