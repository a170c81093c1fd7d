"""`hanse backup`: a whole copy of the node's database, while it runs."""

from pathlib import Path
from typing import Annotated

import typer

from hanse.cli.progress import Folder, bar, data_folder, only_sqlite, readable
from hanse.cli.terminal import Json, answer, out, told


def backup(
    file: Annotated[Path, typer.Argument(help="The new file; an old one is never replaced.")],
    data: Folder = None,
    json: Json = False,
) -> None:
    """Copy your node's database, log and books, into FILE. The node may run meanwhile.

    All that was answered OK before is in it. The copy is checked before it gets its name. Keys are
    not in it: keep HOME's .key and .auth files too, sealed with HANSE_PASSPHRASE.

    Example:  hanse backup /mnt/backups/monday.db
    """
    with told(json):
        only_sqlite("backup", "pg_dump --format=custom, see docs/operations.md")
        import msgspec

        from hanse.operations.backup import back_up

        with bar(quiet=json) as report:
            found = back_up(data_folder(data), file, report)

        def show() -> None:
            out(f"{file}: {found.events} events, {found.calls} calls, {found.accounts} accounts")
            out(f"  {readable(found.bytes)}, whole; the books sum to zero")
            out("  Keys are not in it: keep your home's .key and .auth files too.")

        answer(json, {"file": str(file), **msgspec.to_builtins(found)}, show)
