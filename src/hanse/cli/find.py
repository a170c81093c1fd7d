"""`hanse find`: who can do this?"""

from functools import partial
from typing import Annotated, Any

import orjson
import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, run, told


def _many(name: str, about: str) -> Any:
    return typer.Option(name, help=f"{about} Repeat for more: each must hold.")


Words = Annotated[list[str] | None, typer.Argument(help="What you need done, in plain words.")]
MaxPrice = Annotated[str | None, typer.Option("--max-price", help='Most to pay per call: "3sat".')]
LatencyP95 = Annotated[
    str | None, typer.Option("--latency-p95", help='Slowest p95 you accept: "500ms".')
]
Success = Annotated[
    str | None, typer.Option("--success", help='Least success rate: "0.99" or "99%".')
]
Availability = Annotated[
    str | None, typer.Option("--availability", help='Least availability: "99.9%".')
]
Throughput = Annotated[
    float | None, typer.Option("--throughput", help="Least calls a second it must take.")
]
Level = Annotated[
    int | None, typer.Option("--level", help="Least level of trust in its operator, 0 to 4.")
]
Regions = Annotated[list[str] | None, _many("--region", 'Serves from here: "US".')]
Residence = Annotated[list[str] | None, _many("--data-residence", 'Keeps data here: "EU".')]
Certifications = Annotated[list[str] | None, _many("--certification", "Has this certification.")]
Accepts = Annotated[list[str] | None, _many("--accepts", 'Takes this payment method: "lightning".')]
Topics = Annotated[list[str] | None, _many("--topic", "Has this topic.")]
Version = Annotated[str | None, typer.Option("--version", help='Range of its version: "^2".')]
CapabilityName = Annotated[
    str | None, typer.Option("--capability", help="Exact name of the capability.")
]
Takes = Annotated[
    str | None,
    typer.Option("--takes", help="Fields you can give: 'to,text' or JSON Schema properties."),
]
Returns = Annotated[
    str | None,
    typer.Option("--returns", help="Fields you need back: 'id' or JSON Schema properties."),
]
SideEffects = Annotated[
    list[str] | None,
    typer.Option(
        "--side-effects",
        help="What it may do: none, reads, writes, irreversible. Repeat: any of them.",
    ),
]
Provider = Annotated[
    str | None, typer.Option("--provider", help="Of this provider only: npub, hex or name@domain.")
]
Operator = Annotated[
    str | None, typer.Option("--operator", help="Of this operator only: npub, hex or name@domain.")
]
Online = Annotated[bool | None, typer.Option("--online/--offline", help="Connected now, or not.")]
Imported = Annotated[
    bool | None,
    typer.Option("--imported/--native", help="Listed from elsewhere, or by its provider."),
]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weight", help='How much a part of the score counts: "price=3".'),
]
Facets = Annotated[bool, typer.Option("--facets", help="Also count matches by kind.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Go on, and print each service that comes to match.")
]
Limit = Annotated[int, typer.Option(help="How many to list.")]
Offset = Annotated[int, typer.Option(help="How many to pass over: the next page.")]


def find(
    words: Words = None,
    max_price: MaxPrice = None,
    latency_p95: LatencyP95 = None,
    success: Success = None,
    availability: Availability = None,
    throughput: Throughput = None,
    level: Level = None,
    region: Regions = None,
    residence: Residence = None,
    certification: Certifications = None,
    accepts: Accepts = None,
    topic: Topics = None,
    version: Version = None,
    capability: CapabilityName = None,
    takes: Takes = None,
    returns: Returns = None,
    side_effects: SideEffects = None,
    provider: Provider = None,
    operator: Operator = None,
    online: Online = None,
    imported: Imported = None,
    weight: Weights = None,
    facets: Facets = False,
    watch: Watch = False,
    limit: Limit = 5,
    offset: Offset = 0,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Find services by what they do and how well they measurably do it.

    Ranked, best first, with reasons: how words fit, what was measured in paid calls against what
    was promised, and the price. Without words, the newest offers.

    Example:  hanse find "what time is it in another city" --max-price 3sat --latency-p95 500ms
    """
    with told(json):
        from hanse.cli.keys import key_of
        from hanse.cli.quantities import milliseconds, share

        asked = {
            "words": " ".join(words or ()),
            "max_price_msat": _msat(max_price),
            "latency_p95_ms": milliseconds(latency_p95, "latency-p95") if latency_p95 else None,
            "success_rate": share(success, "success") if success else None,
            "availability": share(availability, "availability") if availability else None,
            "throughput_per_s": throughput,
            "level": level,
            "regions": region,
            "data_residence": residence,
            "certifications": certification,
            "payment_methods": accepts,
            "topics": topic,
            "version": version,
            "capability": capability,
            "takes": _shape(takes, "takes"),
            "returns": _shape(returns, "returns"),
            "side_effects": side_effects,
            "provider": key_of(provider, "provider", agent, node) if provider else None,
            "operator": key_of(operator, "operator", agent, node) if operator else None,
            "online": online,
            "imported": imported,
            "weights": _weights(weight),
            "facets": facets or None,
            "limit": limit,
            "offset": offset or None,
        }
        (_watch if watch else _page)(asked, agent, node, json)


def _page(asked: dict[str, Any], name: str, node: str | None, json: bool) -> None:
    found = performed("find_services", asked, name, node)
    answer(json, found, lambda: _show_page(found, asked["offset"] or 0))


def _watch(asked: dict[str, Any], name: str, node: str | None, json: bool) -> None:
    """Print matches, a line of JSON each if asked, until the user ends it."""
    from hanse.cli.home import agent_of

    async def work() -> None:
        given = {key: value for key, value in asked.items() if value is not None}
        async with agent_of(name, node) as agent:
            number = 0
            async for service in agent.watch(**given):
                number += 1
                answer(json, service.raw, partial(_show_hit, number, service.raw))

    run(work())


def _show_hit(number: int, row: dict[str, Any]) -> None:
    from hanse.protocol.amount import format_msat

    price = format_msat(row["price_msat"]) if row["by_call"] else "no price per call"
    out(f"{number}. {quoted(row['name'], 80)}: {row['capability']}  {price}  {row['score']:.3f}")
    if row["source"]:
        out(f"     imported from {quoted(row['source'], 200)}: call it there")
    for reason in row["reasons"]:
        out(f"     {reason}")
    out(f"     {row['offer']}")


def _show_page(found: dict[str, Any], offset: int) -> None:
    """One page of hits, for eyes."""
    for number, row in enumerate(found["services"], offset + 1):
        _show_hit(number, row)
    if not found["services"]:
        out("Nothing matches. Try other words or looser constraints.")
    shown = offset + len(found["services"])
    if found["total"] > shown:
        out(f"{found['total'] - shown} more match: --offset {shown} shows them.")
    for name, count in found["excluded_by"].items():
        out(f"{count} more match but fail your {name} constraint.")
    for name, counts in found["facets"].items():
        out(f"{name}: {', '.join(f'{quoted(value, 40)} {n}' for value, n in counts.items())}")
    for note in found["notes"]:
        out(f"Note: {note}")


def _shape(text: str | None, field: str) -> dict[str, Any] | None:
    """Names divided by commas (of any type), or JSON Schema properties."""
    from hanse.errors import Invalid

    if text is None:
        return None
    if not text.lstrip().startswith("{"):
        return {name.strip(): {} for name in text.split(",") if name.strip()}
    try:
        found: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise Invalid.at(field, f"is not JSON: {exc}", "or list names: 'to,text'") from exc
    return found


def _msat(text: str | None) -> int | None:
    from hanse.protocol.amount import Amount

    return Amount.parse(text, "max-price").msat if text else None


def _weights(texts: list[str] | None) -> dict[str, float] | None:
    from hanse.errors import Invalid

    found: dict[str, float] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError as exc:
            raise Invalid.at("weight", f"{text!r} is not like price=3") from exc
    return found or None
