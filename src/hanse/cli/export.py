"""`hanse export`: the log's events as lines of JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hanse.cli.peer import read_filter
from hanse.cli.progress import Folder, bar, data_folder, readable
from hanse.cli.terminal import Json, err, out, run, told

if TYPE_CHECKING:
    from hanse.engines.storage.files import Report
    from hanse.operations.export import Exported
    from hanse.protocol.filter import Filter


def export(
    file: Annotated[str, typer.Argument(help="The new file, or - for standard output.")],
    filter_: Annotated[
        str, typer.Option("--filter", help="Only these events: a NIP-01 filter.")
    ] = "{}",
    data: Folder = None,
    json: Json = False,
) -> None:
    """Write your log's events into FILE, one a line, in their order. The node may run meanwhile.

    Private kinds are in it: it is your log. Expired events are not, nor are calls and the books:
    `hanse backup` has them. With - the summary goes to standard error.

    Example:  hanse export --filter '{"kinds":[0,31402]}' offers.jsonl
    """
    with told(json):
        import msgspec
        import orjson

        from hanse.protocol.filter import parse_filter

        wanted = parse_filter(read_filter(filter_))
        with bar(quiet=json) as report:
            found = _written(file, data, wanted, report)
        show = err if file == "-" else out
        if json:
            show(orjson.dumps({"file": file, **msgspec.to_builtins(found)}).decode())
        else:
            show(f"{file}: {found.events} events, {readable(found.bytes)}")


def _written(file: str, data: Path | None, wanted: "Filter", report: "Report") -> "Exported":
    import sys

    from hanse.engines.storage.files import drafted

    if file == "-":
        return _run(sys.stdout.buffer, data, wanted, report)
    with drafted(Path(file)) as draft, draft.open("wb") as stream:
        found = _run(stream, data, wanted, report)
        stream.flush()
        return found


def _run(stream: BinaryIO, data: Path | None, wanted: "Filter", report: "Report") -> "Exported":
    import time

    from hanse.config import database_url
    from hanse.engines.storage.folder import DATABASE
    from hanse.engines.storage.pages import PostgresPages, SqlitePages
    from hanse.operations.export import export as write

    async def work() -> "Exported":
        url = database_url()
        opening = PostgresPages(url) if url else SqlitePages(data_folder(data) / DATABASE)
        async with opening as pages:
            return await write(pages, stream, wanted, int(time.time()), report)

    return run(work())
