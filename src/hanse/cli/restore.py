"""`hanse restore`: put a backup in the place of the node's database."""

from pathlib import Path
from typing import Annotated

import typer

from hanse.cli.progress import Folder, bar, data_folder, only_sqlite, readable
from hanse.cli.terminal import Json, answer, out, told


def restore(
    file: Annotated[Path, typer.Argument(help="What `hanse backup` wrote.")],
    data: Folder = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Leave the old database there as hanse.db.old.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a backup in the place of your node's database. Stop the node first.

    The file is checked before anything changes, and the old database stays until the new one is in
    its place. What happened since the backup is gone, calls and grants too. FILE stays as it is.

    Example:  hanse restore /mnt/backups/monday.db
    """
    with told(json):
        only_sqlite("restore", "pg_restore --clean, see docs/operations.md")
        import msgspec

        from hanse.operations.backup import OLD
        from hanse.operations.backup import restore as put_back

        folder = data_folder(data)
        with bar(quiet=json) as report:
            found = put_back(file, folder, report, keep_old=keep_old)

        def show() -> None:
            out(f"Restored: {found.events} events, {found.calls} calls, {found.accounts} accounts")
            out(f"  {readable(found.bytes)} in {folder}")
            if keep_old:
                out(f"  the old database is {folder / OLD}")

        answer(json, {"data": str(folder), **msgspec.to_builtins(found)}, show)
