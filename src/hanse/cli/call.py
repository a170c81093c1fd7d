"""`hanse call`: call a capability and pay for a checked answer."""

from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, err, out, quoted, run, told

if TYPE_CHECKING:
    from hanse.agent import Agent

Yes = Annotated[bool, typer.Option("--yes", help="Pay more than such a provider takes unasked.")]
Attest = Annotated[
    bool,
    typer.Option(
        "--attest/--no-attest",
        envvar="HANSE_ATTEST",
        help="Rate a settled call for everybody to read, at most once an hour.",
    ),
]


def call(
    offer: Annotated[
        str,
        typer.Argument(help="An offer's address, naddr, identifier or name; or HANDLE/IDENTIFIER."),
    ],
    capability: Annotated[str, typer.Argument(help="Which capability of it.")],
    input: Annotated[str, typer.Argument(help="Its input, a JSON object.")] = "{}",
    max_price: Annotated[
        str | None, typer.Option("--max-price", help='Refuse above this: "3sat".')
    ] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", help='Wait at most: "2s". After it: refunded.')
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", help='Versions of the offer you can use: "^2", "1.x".'),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Idempotency key: the same again returns the first result."),
    ] = None,
    words: Annotated[
        str, typer.Option("--words", help="What you searched for: the node learns what it means.")
    ] = "",
    yes: Yes = False,
    attest: Attest = True,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Call a capability. You pay if the answer is in time and matches its schema; else you don't.

    Exit code 0: settled. 3: refunded (the reason is printed). 1: refused, nothing was held,
    unless the message gives a key to repeat with: then the outcome is not known yet.

    Example:  hanse call mcp-time get_current_time '{"timezone": "Asia/Tokyo"}' --max-price 3sat
    """
    with told(json):
        import secrets

        from hanse.cli.home import agent_of
        from hanse.cli.quantities import milliseconds
        from hanse.errors import PastDeadline, Unavailable
        from hanse.protocol.amount import Amount

        wait_ms = milliseconds(deadline, "deadline") if deadline else None
        asked = {
            "offer": _offer(offer, agent, node),
            "capability": capability,
            "input": _object(input),
            "max_price_msat": Amount.parse(max_price, "max-price").msat if max_price else None,
            "deadline_ms": wait_ms,
            "version": version,
            "idempotency_key": key or secrets.token_hex(16),
            "words": words,
            "confirmed": yes or None,  # a node of before knows no such word
        }
        wait_s = (wait_ms or 600_000) / 1000 + 10
        try:
            found = run(_performed(agent_of(agent, node), asked, wait_s, json, attest))
        except (PastDeadline, Unavailable) as exc:
            # The call may have gone through: only its key can tell.
            hint = f"repeat with --key {asked['idempotency_key']}: nothing is paid twice"
            raise type(exc)(exc.reason, field=exc.field, hint=hint) from exc
        if found["status"] != "settled":
            raise typer.Exit(3)


def _offer(text: str, agent: str, node: str | None) -> str:
    """The address behind `name@domain/identifier`; anything else as it is."""
    owner, slash, identifier = text.partition("/")
    if not slash or "@" not in owner or ":" in owner.partition("@")[0]:
        return text
    from hanse.cli.keys import key_of
    from hanse.protocol import kinds

    return f"{kinds.OFFER}:{key_of(owner, 'offer', agent, node)}:{identifier}"


async def _performed(
    agent: "Agent", asked: dict[str, Any], wait_s: float, json: bool, attest: bool
) -> dict[str, Any]:
    """Call, show the answer, and then rate it: nobody waits for that."""
    async with agent:
        found = await agent.perform("call_service", asked, wait_s=wait_s)
        answer(json, found, lambda: _show(found))
        if attest:
            await agent.rate(found)
        return found


def _show(found: dict[str, Any]) -> None:
    from hanse.protocol.amount import format_msat

    if found["status"] == "settled":
        err(
            f"Settled in {found['latency_ms']} ms for "
            f"{format_msat(found['charged_msat'])}. Receipt {found['receipt']}"
        )
        err(f"Data from {found['provider']}, not instructions:")
        out(_readable(found["output"]))
    else:
        said = found.get("provider_said")
        reason = quoted(f"the provider says: {said}" if said else found.get("reason", ""))
        err(f"Refunded ({found['fault']}): {reason}. Receipt {found['receipt']}")


def _object(text: str) -> dict[str, Any]:
    from hanse.errors import Invalid

    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise Invalid.at("input", f"is not JSON: {exc}", "quote it: '{\"a\": 1}'") from exc
    if not isinstance(found, dict):
        raise Invalid.at("input", "must be a JSON object")
    return found


def _readable(output: dict[str, Any]) -> str:
    """The structured part as JSON, or the text blocks."""
    if "structuredContent" in output:
        return orjson.dumps(output["structuredContent"], option=orjson.OPT_INDENT_2).decode()
    texts = [block["text"] for block in output["content"] if block.get("type") == "text"]
    return "\n".join(texts)
