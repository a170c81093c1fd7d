"""The MCP door over stdio, for programs that start their servers themselves (Claude, Goose, …)."""

from typing import Any

from mcp.server.stdio import stdio_server

from hanse.servers.mcp.server import Desk, mcp_server


async def serve_stdio(desk: Desk, name: str, version: str) -> None:
    """Serve one client on standard input and output until it closes them."""
    server = mcp_server(desk, _one_agent, name, version)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _one_agent(_context: Any) -> None:
    # The process holds one agent's key; the desk behind it signs with that.
    return None
