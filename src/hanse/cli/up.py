"""`hanse up`: run the node."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.terminal import Json, answer, out, run, told

if TYPE_CHECKING:
    from hanse.config import Config
    from hanse.keyring import Keyring


def up(
    json: Json = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for everything; 0 picks a free one.")] = 7447,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the database (default: HOME/data).")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Public ws:// or wss:// URL, behind a proxy.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the node calls itself.")] = "hanse",
    fee_ppm: Annotated[int, typer.Option(help="Your fee, parts per million of a price.")] = 10_000,
    grant: Annotated[
        str, typer.Option(help="Test credits for each of your own agents, once.")
    ] = "10000sat",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First build the registry anew from the log.")
    ] = False,
    doors: Annotated[str, typer.Option(help="Doors beside the relay, by comma.")] = "api,mcp",
    metrics_from: Annotated[
        str, typer.Option(help="Networks that may read /metrics, by comma; you always may.")
    ] = "127.0.0.0/8,::1/128",
    log_level: Annotated[
        str, typer.Option(help="What is logged: debug, info, warning or error.")
    ] = "warning",
    log_json: Annotated[
        bool, typer.Option("--log-json/--log-text", help="One JSON object a line, or words.")
    ] = True,
    peer: Annotated[
        list[str] | None, typer.Option("--peer", help="Mirror this relay; may be repeated.")
    ] = None,
) -> None:
    """Run your node: relay (WebSocket), HTTP API (/docs) and MCP (/mcp) on one port.

    Data is in SQLite inside this process; nothing else to install or start. Your own agents get a
    starting grant of test credits, once. Stop it with Ctrl-C: calls under way end first.

    Example:  hanse up --port 7447
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.cli.logs import start_logs
        from hanse.config import Config
        from hanse.payments.model import Fee
        from hanse.protocol.amount import Amount
        from hanse.protocol.peer import read_peer

        ring = keyring()
        config = Config(
            data=data or ring.data,
            host=host,
            port=port,
            public_url=url,
            name=name,
            fee=Fee(fee_ppm),
            starting_grant=Amount.parse(grant, "grant"),
            doors=frozenset(door for door in doors.split(",") if door),
            metrics_from=tuple(found for found in metrics_from.split(",") if found),
            peers=tuple(read_peer(url, "both", ()) for url in peer or ()),
        )
        start_logs(log_level, log_json)
        run(_up(ring, config, rebuild, json))


async def _up(ring: "Keyring", config: "Config", rebuild: bool, json: bool) -> None:
    from hanse.keyring import NodeAddress
    from hanse.node import Node, run_node
    from hanse.protocol.keys import public_key

    secret, auth = ring.node()
    operator = public_key(auth[1], "node.auth")
    agents = {name: ring.agent(name)[0].public for name in ring.agents()}
    node = Node(config, secret, operator, rebuild=rebuild, agents=agents)

    def started() -> None:
        ring.remember_node(NodeAddress(node.url, node.pubkey))
        found = {
            "url": node.url,
            "http": node.http_url,
            "mcp": f"{node.http_url}/mcp",
            "node": node.pubkey,
            "operator": operator,
            "data": str(config.data),
            "refunded_on_start": node.recovered,
        }
        answer(json, found, lambda: _show(config.name, found))

    await run_node(node, list(agents.values()), started)


def _show(name: str, found: dict[str, Any]) -> None:
    out(f"Node {name} is up.")
    out(f"  relay  {found['url']}")
    out(f"  API    {found['http']}/docs")
    out(f"  MCP    {found['mcp']}")
    out(f"  data   {found['data']}")
    if found["refunded_on_start"]:
        out(f"  {found['refunded_on_start']} calls left open by the last run were refunded.")
    out("Stop it with Ctrl-C.")
