"""`hanse receipt`: fetch a receipt, and verify one offline."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, told

app = typer.Typer(
    no_args_is_help=True, help="Fetch a receipt, or verify one offline.", rich_markup_mode=None
)

RECEIPT_BYTES_MAX = 1 << 20


@app.command("show")
def show(
    id: Annotated[str, typer.Argument(help="A receipt's id, or its call's.")],
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Show a call's receipt. With --json the whole signed event: save it and keep it.

    Example:  hanse receipt show --json ID > receipt.json
    """
    with told(json):
        found = performed("get_receipt", {"id": id}, agent, node)
        answer(json, found["receipt"], lambda: _print(found["content"], found["receipt"]))


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A file with a receipt event, or - for stdin.")],
    node_key: Annotated[
        str | None, typer.Option("--node-key", help="Also check that this node signed it.")
    ] = None,
    json: Json = False,
) -> None:
    """Verify a receipt offline: the node's signature, the provider's, and the arithmetic.

    Example:  hanse receipt verify receipt.json
    """
    with told(json):
        import msgspec

        from hanse.broker.receipt import verify_receipt
        from hanse.protocol.address import read_public_key
        from hanse.protocol.event import parse_event

        node = read_public_key(node_key, "node-key") if node_key else None
        event = parse_event(_read(file))
        content = verify_receipt(event, node)
        receipt: dict[str, Any] = msgspec.to_builtins(content)

        def for_eyes() -> None:
            _print(receipt, msgspec.to_builtins(event))
            out("Verified: the node's signature and the arithmetic hold.")
            if content.delivery:
                out("Verified: the provider signed this delivery, its input, output and price.")

        answer(json, {"verified": True, "node": event.pubkey, **receipt}, for_eyes)


def _read(file: Path) -> bytes:
    from hanse.errors import NotFound, TooLarge

    try:
        if str(file) == "-":
            raw = typer.get_binary_stream("stdin").read(RECEIPT_BYTES_MAX + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(RECEIPT_BYTES_MAX + 1)
    except OSError as exc:
        raise NotFound(f"cannot be read: {exc.strerror}", field=str(file)) from exc
    if len(raw) > RECEIPT_BYTES_MAX:
        raise TooLarge(f"is over {RECEIPT_BYTES_MAX} bytes", field=str(file))
    return raw


def _print(content: dict[str, Any], event: dict[str, Any]) -> None:
    from hanse.protocol.amount import format_msat

    out(f"Receipt   {event['id']}")
    out(f"  node      {event['pubkey']}")
    out(f"  call      {content['call']}")
    out(f"  service   {content['offer']} {content['capability']}")
    out(f"  caller    {content['caller']}")
    out(f"  provider  {content['provider']}")
    fault = f" ({content['fault']})" if content["fault"] else ""
    out(f"  outcome   {content['outcome']}{fault}")
    out(
        f"  price     {format_msat(content['price_msat'])}: "
        f"{format_msat(content['paid_msat'])} to the provider, "
        f"{format_msat(content['fee_msat'])} to the node"
    )
