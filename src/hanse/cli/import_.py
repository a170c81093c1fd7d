"""`hanse import`: take in events from lines of JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hanse.cli.progress import Folder, bar, data_folder
from hanse.cli.terminal import Json, NodeUrl, answer, err, out, quoted, run, told

if TYPE_CHECKING:
    from hanse.operations.files import Report
    from hanse.operations.intake import Taken

SHOWN = 20
"""Bad lines that are shown to eyes."""


def import_(
    file: Annotated[str, typer.Argument(help="Lines of JSON, or - for standard input.")],
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="Stop at the first line that is refused.")
    ] = False,
    data: Folder = None,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Take events in, one a line, as `hanse export` writes them.

    Each is checked as if it came in by a door, rates aside. If your node runs, it takes them; if
    not, they go straight into its database. Do it again after a stop: what is there is passed over.

    Example:  hanse import events.jsonl
    """
    with told(json):
        folder = data_folder(data)
        with _opened(file) as (stream, size), bar(quiet=json) as report:
            found = run(_take(stream, size, folder, node, stop_on_error, report))
        counts = {
            "lines": found.lines,
            "kept": found.kept,
            "duplicates": found.duplicates,
            "older": found.older,
            "refused": dict(found.refused),
            "problems": [{"line": line, "reason": reason} for line, reason in found.problems],
        }
        answer(json, counts, lambda: _show(found))


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int]]:
    """The stream and its size, 0 if that is unknown."""
    import sys

    from hanse.errors import NotFound, Unavailable

    if file == "-":
        yield sys.stdin.buffer, 0
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream, Path(file).stat().st_size
    except FileNotFoundError as exc:
        raise NotFound("is not there", field=file) from exc
    except OSError as exc:
        raise Unavailable(f"cannot be read: {exc.strerror}", field=file) from exc


def _show(found: "Taken") -> None:
    for line, reason in found.problems[:SHOWN]:
        err(f"line {line}: {quoted(reason)}")
    refused = found.refused.total()
    if refused > SHOWN:
        err(f"and {refused - SHOWN} more")
    out(f"{found.kept} events kept, {found.duplicates} were here, {refused} refused.")
    if found.older:
        out(f"  of {found.older} a newer version is here")


async def _take(
    stream: BinaryIO,
    size: int,
    folder: Path,
    node: str | None,
    stop_on_error: bool,
    report: "Report",
) -> "Taken":
    import secrets
    import time
    from contextlib import AsyncExitStack

    from hanse.cli.home import keyring
    from hanse.clock import SystemClock
    from hanse.config import database_url
    from hanse.engines.peers.link import Link
    from hanse.engines.storage.database import Database
    from hanse.engines.storage.folder import DATABASE, alone, holder
    from hanse.engines.storage.log import EventLog
    from hanse.engines.storage.moderation import StoredModeration
    from hanse.engines.storage.sqlite import SqliteDatabase
    from hanse.operations.intake import Store, Through, take
    from hanse.protocol.session import host_of

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = database_url()
        running = None if url else holder(folder)
        target = node or (running if running and running.startswith("ws") else None)
        if target is not None:
            link = await enter(Link(target, None, lambda: int(time.time())))
            return await take(stream, size, Through(link), report, stop_on_error=stop_on_error)
        database: Database
        if url is not None:
            from hanse.engines.storage.postgres import PostgresDatabase

            database = await enter(PostgresDatabase(url))
        else:
            stack.enter_context(alone(folder, "import"))
            database = await enter(SqliteDatabase(str(folder / DATABASE)))
        log = EventLog(database, lambda: secrets.token_bytes(32))
        await log.open()
        known = keyring().known_node()
        hosts = frozenset({host_of(known.url)} if known else ())
        keeper = Store(log, await StoredModeration(database).load(), hosts, SystemClock())
        return await take(stream, size, keeper, report, stop_on_error=stop_on_error)
