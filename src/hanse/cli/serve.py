"""`hanse serve`: put a service on the network and earn."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, err, out, run, told

if TYPE_CHECKING:
    from hanse.agent import Agent
    from hanse.protocol.event import Event
    from hanse.registry.document import OfferDocument
    from hanse.registry.model import Capability

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
Version = Annotated[
    str,
    typer.Option("--version", help="Semantic. A change that breaks callers needs a major one."),
]
OfferFile = Annotated[
    Path | None,
    typer.Option("--offer", help="A file that says all of it (`hanse offer schema`)."),
]
_IN_FILE = ("price", "latency_p95", "success", "name", "about", "identifier", "version", "only")


@app.command("mcp", context_settings={"allow_interspersed_args": False})
def serve_mcp(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="The MCP server's command, after `--`.")],
    price: Price = "1sat",
    latency_p95: Latency = "1s",
    success: Success = 0.99,
    name: Name = "",
    about: About = "",
    identifier: Identifier = "",
    version: Version = "1.0.0",
    offer: OfferFile = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Offer only this tool; may be repeated.")
    ] = None,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Wrap an MCP server: each of its tools becomes a paid capability with its own schemas.

    The server runs as a child of this process and is called over stdio. Stop with Ctrl-C. With
    --offer, names, prices and promises are those of a file, and its capabilities the tools offered.

    Example:  hanse serve mcp --price 2sat --latency-p95 500ms -- mcp-server-time
    """
    with told(json):
        from contextlib import AsyncExitStack

        from hanse.engines.runners.mcp_stdio import McpStdioRunner
        from hanse.protocol.amount import Amount
        from hanse.registry.model import CAPABILITIES_MAX, Capability
        from hanse.registry.schema_levels import written_out

        document = _document(context, offer)
        cost = Amount.parse(price, "price")
        promise = _promise(latency_p95, success)
        stack = AsyncExitStack()

        async def publish(agent: "Agent") -> "Event":
            runner = await stack.enter_async_context(McpStdioRunner(command))
            tools = [
                Capability(
                    name=tool.name,
                    description=tool.description,
                    input_schema=written_out(tool.input_schema),
                    output_schema=tool.output_schema and written_out(tool.output_schema),
                    price=cost,
                )
                for tool in runner.tools
            ]
            if document is not None:
                return await agent.publish_as(document, tools, runner)
            wanted = _chosen(tools, only)
            return await agent.publish(
                identifier=identifier or runner.name,
                name=name or runner.name,
                summary=about or f"{runner.name}: {', '.join(tool.name for tool in wanted)}",
                capabilities=tuple(wanted[:CAPABILITIES_MAX]),
                promise=promise,
                runner=runner,
                version=version,
            )

        async def work() -> None:
            async with stack:
                await _serve(publish, agent, node, json)

        run(work())


def _chosen(tools: "list[Capability]", only: list[str] | None) -> "list[Capability]":
    from hanse.errors import Invalid

    wanted = [tool for tool in tools if not only or tool.name in only]
    if not wanted:
        listed = ", ".join(tool.name for tool in tools)
        raise Invalid.at("only", "names none of the server's tools", listed)
    return wanted


def _document(context: typer.Context, file: Path | None) -> "OfferDocument | None":
    """The offer's file, if there is one. Raises Invalid if flags say the same things, too."""
    from hanse.cli.offer import read_offer_file
    from hanse.errors import Invalid

    if file is None:
        return None
    for name in _IN_FILE:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise Invalid.at(name, "is given beside --offer", "say it in the file")
    return read_offer_file(file)


@app.command("python")
def serve_python(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="MODULE:FUNCTION, a typed Python function.")],
    price: Price = "1sat",
    latency_p95: Latency = "1s",
    success: Success = 0.99,
    name: Name = "",
    about: About = "",
    identifier: Identifier = "",
    version: Version = "1.0.0",
    offer: OfferFile = None,
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Offer a typed Python function; schemas come from its type hints, words from its docstring.

    MODULE is looked up from the current folder. Stop with Ctrl-C. With --offer, names, prices and
    promises are those of a file.

    Example:  hanse serve python greetings:greet --price 500msat
    """
    with told(json):
        from hanse.protocol.amount import Amount

        document = _document(context, offer)
        function = _load(target)
        Amount.parse(price, "price")  # before the node is asked for anything
        promise = _promise(latency_p95, success)

        async def publish(agent: "Agent") -> "Event":
            agent.provide(
                price=price,
                latency_p95_ms=promise.latency_p95_ms,
                success_rate=promise.success_rate,
            )(function)
            return await agent.serve(name, about, identifier, version, document=document)

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
        priced = (tag[1] for tag in event.tags if tag[0] in ("price", "metered", "period"))
        capabilities = list(dict.fromkeys(priced))
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
