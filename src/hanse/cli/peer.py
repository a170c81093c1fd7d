"""`hanse peer`: the relays your node shares its log with."""

from typing import Annotated, Any

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, quoted, table, told

app = typer.Typer(
    no_args_is_help=True,
    help="The relays your node shares its log with: add one, list them, remove one.",
    rich_markup_mode=None,
)

Url = Annotated[str, typer.Argument(help="The relay's ws:// or wss:// URL.")]
In = Annotated[bool, typer.Option("--in", help="Only take what the relay has.")]
Out = Annotated[bool, typer.Option("--out", help="Only send what your node has.")]
Both = Annotated[bool, typer.Option("--both", help="Take and send (the default).")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", help="Only these events: a NIP-01 filter, e.g. '{\"kinds\":[31402]}'."
    ),
]


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="The relay's ws:// or wss:// URL.")] = "",
    from_: Annotated[
        str, typer.Option("--from", help="Add the relays that this npub names (NIP-65).")
    ] = "",
    only_in: In = False,
    only_out: Out = False,
    both: Both = False,
    filters: Filters = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="With --from: also take unencrypted ws:// relays.")
    ] = False,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Mirror a relay from now on, with resume, until you remove it. Add it again to change it.

    Example:  hanse peer add wss://relay.example.com --filter '{"kinds":[31402]}'
    """
    with told(json):
        from hanse.cli.home import operator_request

        body: dict[str, Any] = {"filters": [read_filter(text) for text in filters or []]}
        body |= {"url": url} if url else {}
        body |= {"from": from_, "plain": plain} if from_ else {}
        # Without a flag, a relay of a list goes the way the list says.
        if chosen := direction_of(only_in, only_out, both):
            body["direction"] = chosen
        found = operator_request(node, "/api/v1/peers", body)

        def show() -> None:
            for row in found["added"]:
                out(f"Mirroring {row['url']} ({row['direction']}).")
            for row in found["left_out"]:
                out(f"Left out {quoted(row['url'])}: {row['reason']}.")

        answer(json, found, show)


@app.command("list")
def list_peers(node: NodeUrl = None, json: Json = False) -> None:
    """List every peer, which way events go, and how it is.

    Example:  hanse peer list
    """
    with told(json):
        from hanse.cli.home import operator_request

        found = operator_request(node, "/api/v1/peers")

        def show() -> None:
            table(
                ("peer", "way", "state", "pulled", "pushed", "refused", ""),
                [
                    (
                        row["url"],
                        row["direction"],
                        row["state"],
                        row["pulled"],
                        row["pushed"],
                        row["refused"],
                        quoted(row["reason"], 80),
                    )
                    for row in found["peers"]
                ],
            )

        answer(json, found, show)


@app.command("remove")
def remove(url: Url, node: NodeUrl = None, json: Json = False) -> None:
    """Mirror a relay no more. What was taken from it stays.

    Example:  hanse peer remove wss://relay.example.com
    """
    with told(json):
        from urllib.parse import quote

        from hanse.cli.home import operator_request

        path = f"/api/v1/peers?url={quote(url, safe='')}"
        found = operator_request(node, path, method="DELETE")
        answer(json, found, lambda: out(f"Removed {found['removed']}."))


def direction_of(only_in: bool, only_out: bool, both: bool) -> str:
    """The direction that the flags name, or an empty text for none. Raises Invalid for two."""
    from hanse.errors import Invalid

    chosen = [name for name, on in (("in", only_in), ("out", only_out), ("both", both)) if on]
    if len(chosen) > 1:
        raise Invalid.at("direction", "must be one of --in, --out, --both")
    return chosen[0] if chosen else ""


def read_filter(text: str) -> dict[str, Any]:
    """A filter's JSON, checked before the node is asked. Raises Invalid."""
    import orjson

    from hanse.errors import Invalid
    from hanse.protocol.filter import parse_filter

    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise Invalid.at("filter", "is not JSON", """e.g. --filter '{"kinds":[31402]}'""") from exc
    parse_filter(found)
    kept: dict[str, Any] = found
    return kept
