"""`hanse serve`: put a service on the network and earn."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, err, out, run, told

if TYPE_CHECKING:
    from hanse.agent import Agent
    from hanse.protocol.event import Event

app = typer.Typer(
    no_args_is_help=True,
    help="Put a service on the network: an MCP server you have, or a Python function.",
    rich_markup_mode=None,
)

Price = Annotated[str, typer.Option("--price", help='Per call: "2sat", "500msat".')]
Latency = Annotated[
    str,
    typer.Option("--latency-p95", help='Promise: 95 % of answers within this, "500ms" or "2s".'),
]
Success = Annotated[
    float, typer.Option("--success", help="Promise: share of calls that succeed, 0 to 1.")
]
Name = Annotated[str, typer.Option("--name", help="The offer's name for people.")]
About = Annotated[str, typer.Option("--about", help="What it does, in a sentence or two.")]
Identifier = Annotated[
    str, typer.Option("--id", help="The offer's identifier; keep it to update the offer.")
]


@app.command("mcp", context_settings={"allow_interspersed_args": False})
def serve_mcp(
    command: Annotated[list[str], typer.Argument(help="The MCP server's command, after `--`.")],
    price: Price = "1sat",
    latency_p95: Latency = "1s",
    success: Success = 0.99,
    name: Name = "",
    about: About = "",
    identifier: Identifier = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Offer only this tool; may be repeated.")
    ] = None,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Wrap an MCP server: each of its tools becomes a paid capability with its own schemas.

    The server runs as a child of this process and is called over stdio. Stop with Ctrl-C.

    Example:  hanse serve mcp --price 2sat --latency-p95 500ms -- mcp-server-time
    """
    with told(json):
        from hanse.engines.runners.mcp_stdio import McpStdioRunner
        from hanse.errors import Invalid
        from hanse.protocol.amount import Amount
        from hanse.registry.model import CAPABILITIES_MAX, Capability

        cost = Amount.parse(price, "price")
        promise = _promise(latency_p95, success)

        async def publish(agent: "Agent") -> "Event":
            runner = await stack.enter_async_context(McpStdioRunner(command))
            wanted = [tool for tool in runner.tools if not only or tool.name in only]
            if not wanted:
                listed = ", ".join(tool.name for tool in runner.tools)
                raise Invalid.at("only", "names none of the server's tools", listed)
            capabilities = tuple(
                Capability(
                    name=tool.name,
                    description=tool.description,
                    input_schema=tool.input_schema,
                    output_schema=tool.output_schema,
                    price=cost,
                )
                for tool in wanted[:CAPABILITIES_MAX]
            )
            return await agent.publish(
                identifier=identifier or runner.name,
                name=name or runner.name,
                summary=about or f"{runner.name}: {', '.join(tool.name for tool in wanted)}",
                capabilities=capabilities,
                promise=promise,
                runner=runner,
            )

        from contextlib import AsyncExitStack

        stack = AsyncExitStack()

        async def work() -> None:
            async with stack:
                await _serve(publish, agent, node, json)

        run(work())


@app.command("python")
def serve_python(
    target: Annotated[str, typer.Argument(help="MODULE:FUNCTION, a typed Python function.")],
    price: Price = "1sat",
    latency_p95: Latency = "1s",
    success: Success = 0.99,
    name: Name = "",
    about: About = "",
    identifier: Identifier = "",
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Offer a typed Python function; schemas come from its type hints, words from its docstring.

    MODULE is looked up from the current folder. Stop with Ctrl-C.

    Example:  hanse serve python greetings:greet --price 500msat
    """
    with told(json):
        from hanse.protocol.amount import Amount

        function = _load(target)
        Amount.parse(price, "price")  # before the node is asked for anything
        promise = _promise(latency_p95, success)

        async def publish(agent: "Agent") -> "Event":
            agent.provide(
                price=price,
                latency_p95_ms=promise.latency_p95_ms,
                success_rate=promise.success_rate,
            )(function)
            return await agent.serve(name=name, summary=about, identifier=identifier)

        run(_serve(publish, agent, node, json))


async def _serve(
    publish: Callable[["Agent"], Coroutine[Any, Any, "Event"]],
    name: str,
    node: str | None,
    json: bool,
) -> None:
    import asyncio
    import signal

    from hanse.cli.home import agent_of

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with agent_of(name, node) as agent:
        event = await publish(agent)
        identifier = event.tag("d") or ""
        address = f"{event.kind}:{event.pubkey}:{identifier}"
        capabilities = [tag[1] for tag in event.tags if tag[0] == "price"]
        found = {"offer": address, "name": event.tag("name"), "capabilities": capabilities}

        def show() -> None:
            out(f"Serving {event.tag('name')}: {', '.join(capabilities)}")
            out(f"  offer  {address}")
            out("Stop it with Ctrl-C.")

        answer(json, found, show)
        await stop.wait()
    if not json:
        err("Stopped.")


def _promise(latency: str, success: float) -> Any:
    from hanse.cli.quantities import milliseconds
    from hanse.registry.model import Promise

    return Promise(latency_p95_ms=milliseconds(latency, "latency-p95"), success_rate=success)


def _load(target: str) -> Callable[..., Any]:
    import importlib
    import sys

    from hanse.errors import Invalid, NotFound

    module_name, _, function_name = target.partition(":")
    if not module_name or not function_name:
        raise Invalid.at("target", "must be MODULE:FUNCTION", "e.g. greetings:greet")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        hint = "run it from the folder that holds the module"
        raise NotFound(str(exc), field="target", hint=hint) from exc
    # The module is the user's own code: say what it raised, not where we called it.
    except Exception as exc:
        raise Invalid.at("target", f"cannot be loaded: {type(exc).__name__}: {exc}") from exc
    found = getattr(module, function_name, None)
    if not callable(found):
        raise NotFound(f"{module_name} has no function {function_name!r}", field="target")
    function: Callable[..., Any] = found
    return function
