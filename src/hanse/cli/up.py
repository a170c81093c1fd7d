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
) -> None:
    """Run your node: relay (WebSocket), HTTP API (/docs) and MCP (/mcp) on one port.

    Data is in SQLite inside this process; nothing else to install or start. Your own agents get a
    starting grant of test credits, once. Stop it with Ctrl-C: calls under way end first.

    Example:  hanse up --port 7447
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.config import Config
        from hanse.payments.model import Fee
        from hanse.protocol.amount import Amount

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
        )
        _log_warnings()
        run(_up(ring, config, rebuild, json))


async def _up(ring: "Keyring", config: "Config", rebuild: bool, json: bool) -> None:
    from hanse.keyring import NodeAddress
    from hanse.node import Node, run_node
    from hanse.protocol.keys import public_key

    secret, auth = ring.node()
    operator = public_key(auth[1], "node.auth")
    node = Node(config, secret, operator, rebuild=rebuild)

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

    agents = [ring.agent(known)[0].public for known in ring.agents()]
    await run_node(node, agents, started)


def _show(name: str, found: dict[str, Any]) -> None:
    out(f"Node {name} is up.")
    out(f"  relay  {found['url']}")
    out(f"  API    {found['http']}/docs")
    out(f"  MCP    {found['mcp']}")
    out(f"  data   {found['data']}")
    if found["refunded_on_start"]:
        out(f"  {found['refunded_on_start']} calls left open by the last run were refunded.")
    out("Stop it with Ctrl-C.")


def _log_warnings() -> None:
    import logging
    import sys

    import structlog

    logging.basicConfig(level=logging.WARNING)
    # JSON, one line each: what a provider wrote can stand in a field and must not look like ours.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
