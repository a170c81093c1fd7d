"""An MCP server as a child process on stdio, through the official client.

Owns the process: it starts with `async with` and ends with it. What the server says of its tools is
passed on as it is; what it answers is data.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from hanse.errors import HanseError, Invalid, Unavailable

START_S = 60.0
TOOLS_MAX = 100


class WrappedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as the server lists it."""

    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None


class McpStdioRunner:
    """One wrapped MCP server. `command` is what to run, program first."""

    def __init__(self, command: list[str], *, env: dict[str, str] | None = None) -> None:
        if not command:
            raise Invalid.at("command", "is empty", "write it after `--`")
        self._command = command
        self._env = env
        self._stack = AsyncExitStack()
        self.name = ""
        self.tools: tuple[WrappedTool, ...] = ()

    async def __aenter__(self) -> Self:
        # Imported late: the SDK takes a second to load, and only wrapping needs it.
        from mcp import Client
        from mcp.client.stdio import StdioServerParameters, stdio_client

        program, *arguments = self._command
        server = StdioServerParameters(command=program, args=arguments, env=self._env)
        try:
            async with asyncio.timeout(START_S):
                self._client = await self._stack.enter_async_context(
                    Client(stdio_client(server, errlog=sys.stderr))
                )
                listed = await self._client.list_tools()
        # The SDK raises groups of its own and of anyio: whatever it was, the server did not start.
        except Exception as exc:
            await self._stack.aclose()
            text = f"{' '.join(self._command)[:200]!r} did not start as an MCP server"
            raise Unavailable(text, hint="run it by hand to see why") from exc
        info = self._client.server_info
        self.name = info.name if info else program
        self.tools = tuple(
            WrappedTool(
                name=tool.name,
                description=tool.description or "",
                input_schema=tool.input_schema,
                output_schema=tool.output_schema,
            )
            for tool in listed.tools[:TOOLS_MAX]
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool: its CallToolResult as JSON. Raises HanseError if the server refuses."""
        from mcp import MCPError

        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as exc:
            if exc.error.code == Invalid.rpc_code:
                raise Invalid.at("input", exc.error.message) from exc
            raise HanseError(exc.error.message) from exc
        # The client checks the server's output against its schema and raises RuntimeError.
        except RuntimeError as exc:
            raise HanseError(f"the tool broke its own schema: {exc}") from exc
        found: dict[str, Any] = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        return {
            key: found[key] for key in ("content", "structuredContent", "isError") if key in found
        }
