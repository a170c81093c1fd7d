"""`hanse mcp`: an MCP server on stdio that acts for one of your agents."""

import secrets
from typing import TYPE_CHECKING, Any

from hanse.cli.terminal import AgentName, Json, NodeUrl, run, told

if TYPE_CHECKING:
    from hanse.agent import Agent
    from hanse.protocol.principal import Principal


def mcp(agent: AgentName = "default", node: NodeUrl = None, json: Json = False) -> None:
    """Serve the node's tools over stdio, for Claude, Goose and other MCP hosts.

    The host gets find_services, describe_service, call_service, get_receipt, get_balance and
    whoami,
    all acting for one agent whose key stays in this process. --json changes how errors at the
    start are printed; MCP itself is JSON.

    Example, in a host's settings:  {"command": "hanse", "args": ["mcp", "--agent", "default"]}
    """
    with told(json):
        from hanse import __version__
        from hanse.cli.home import agent_of
        from hanse.servers.mcp.stdio import serve_stdio

        async def work() -> None:
            async with agent_of(agent, node) as acting:
                await serve_stdio(AgentDesk(acting), "hanse", __version__)

        run(work())


class AgentDesk:
    """A desk on the other side of an agent's connection: the agent signs each request."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent

    async def perform(
        self,
        _who: "Principal | None",
        name: str,
        arguments: dict[str, Any],
        _request_id: str = "",
    ) -> dict[str, Any]:
        """See `servers.mcp.server.Desk`."""
        if name == "call_service":
            # Made here, so that the SDK may send the request again if the connection breaks.
            arguments = {"idempotency_key": secrets.token_hex(16), **arguments}
        return await self._agent.perform(name, arguments, wait_s=610)
