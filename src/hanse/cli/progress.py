"""What the operator's verbs on the log share: a bar on standard error, and where the log is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hanse.engines.storage.files import Report

Folder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the database (default: HOME/data).")
]


@contextmanager
def bar(*, quiet: bool) -> Iterator["Report"]:
    """Shows what is reported while the block runs, if somebody is there to see it."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    shown = not quiet and sys.stderr.isatty()
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not shown
    ) as found:
        task = found.add_task("", total=None)

        def report(stage: str, done: int, whole: int) -> None:
            found.update(task, description=stage, completed=done, total=whole or None)

        yield report


def data_folder(given: Path | None) -> Path:
    """The folder that was given, or this home's."""
    from hanse.config import home_folder

    return given or home_folder() / "data"


def only_sqlite(verb: str, instead: str) -> None:
    """Raises Invalid when the log is in PostgreSQL, which has its own tool for this."""
    from hanse.config import database_url
    from hanse.errors import Invalid

    if database_url() is not None:
        raise Invalid.at("HANSE_DATABASE", f"PostgreSQL has its own {verb}", instead)


def readable(count: int) -> str:
    """Bytes for eyes."""
    size, units = float(count), ["bytes", "KB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}" if units[0] != "bytes" else f"{count} bytes"
