"""What every verb shares: the options all have, how answers and errors are shown."""

import asyncio
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import orjson
import typer

from hanse.errors import HanseError

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
AgentName = Annotated[
    str, typer.Option("--agent", help="Which of your agents acts (see `hanse agent list`).")
]
NodeUrl = Annotated[
    str | None,
    typer.Option("--node", envvar="HANSE_NODE", help="The node's ws:// or wss:// URL."),
]


# Names and outputs are strangers': an escape sequence in one must not order our terminal about.
_UNSEEN = {
    code: None for code in (*range(32), *range(127, 160), 0x2028, 0x2029) if code not in (9, 10)
}


def out(text: str) -> None:
    """A line on standard output, without control characters."""
    sys.stdout.write(text.translate(_UNSEEN) + "\n")
    sys.stdout.flush()


def err(text: str) -> None:
    """A line on standard error, without control characters."""
    sys.stderr.write(text.translate(_UNSEEN) + "\n")
    sys.stderr.flush()


def quoted(text: str, most: int = 400) -> str:
    """A stranger's words on one line of ours: they can neither begin another nor reorder it."""
    line = " ".join(text.split())
    seen = "".join(char for char in line if unicodedata.category(char) not in ("Cf", "Co", "Cs"))
    return seen if len(seen) <= most else seen[: most - 1] + "…"


def answer(as_json: bool, found: Any, for_eyes: Callable[[], None]) -> None:
    """Print `found` as one JSON object, or let `for_eyes` print it for a person."""
    if as_json:
        out(orjson.dumps(found).decode())
    else:
        for_eyes()


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns for eyes: widths fit, nothing is cut."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[column]) for row in cells), 0)
        for column, heading in enumerate(headings)
    ]
    for row in [list(headings), *cells]:
        padded = (value.ljust(width) for value, width in zip(row, widths, strict=True))
        out("  ".join(padded).rstrip())


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """The one place where an error becomes words on the terminal; the exit code is 1."""
    try:
        yield
    except HanseError as exc:
        if as_json:
            out(orjson.dumps(exc.as_dict()).decode())
        else:
            err(f"{exc.word}: {exc.text}")
        raise typer.Exit(1) from exc
    except KeyboardInterrupt as exc:
        raise typer.Exit(130) from exc


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop. A lone error inside a task group comes out as itself."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(work)
        except BaseExceptionGroup as group:
            found: BaseException = group
            while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
                found = found.exceptions[0]
            raise found from None


def performed(
    tool: str, arguments: dict[str, Any], name: str, node: str | None, wait_s: float = 30.0
) -> dict[str, Any]:
    """One of the node's tools, as one of this home's agents."""
    from hanse.cli.home import agent_of

    async def work() -> dict[str, Any]:
        async with agent_of(name, node) as agent:
            return await agent.perform(tool, arguments, wait_s=wait_s)

    return run(work())
