"""`hanse restore`: put a backup in the place of the node's database, now or at its next start."""

from pathlib import Path
from typing import Annotated

import typer

from hanse.cli.progress import Folder, bar, data_folder, only_sqlite, readable
from hanse.cli.terminal import Json, answer, out, told


def restore(
    file: Annotated[Path | None, typer.Argument(help="What `hanse backup` wrote.")] = None,
    data: Folder = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Leave the old database there as hanse.db.old.")
    ] = False,
    at_restart: Annotated[
        bool,
        typer.Option("--at-restart", help="The node may run, and begins with it when it starts."),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Take back what waits for the next start instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a backup in the place of your node's database. Stop the node first, or use --at-restart.

    The file is checked before anything changes, and the old database stays until the new one is in
    its place. What happened since the backup is gone, calls and grants too. FILE stays as it is.

    With --at-restart a checked copy waits beside the database. The node goes on with its own until
    it is started again, and leaves that as hanse.db.old. Until then --forget takes it back.

    Example:  hanse restore /mnt/backups/monday.db
    """
    with told(json):
        only_sqlite("restore", "pg_restore --clean, see docs/operations.md")
        from hanse.errors import Invalid

        folder = data_folder(data)
        if forget:
            if file is not None or at_restart or keep_old:
                raise Invalid.at("forget", "goes with --data only")
            _forget(folder, json)
            return
        if file is None:
            raise Invalid.at("file", "is missing", "what `hanse backup` wrote")
        if at_restart:
            _prepare(file, folder, data, json)
        else:
            _put_back(file, folder, keep_old, json)


def _put_back(file: Path, folder: Path, keep_old: bool, json: bool) -> None:
    import msgspec

    from hanse.engines.storage.folder import OLD
    from hanse.operations.backup import restore as put_back

    with bar(quiet=json) as report:
        found = put_back(file, folder, report, keep_old=keep_old)

    def show() -> None:
        out(f"Restored: {found.events} events, {found.calls} calls, {found.accounts} accounts")
        out(f"  {readable(found.bytes)} in {folder}")
        if keep_old:
            out(f"  the old database is {folder / OLD}")

    answer(json, {"data": str(folder), "in_place": True, **msgspec.to_builtins(found)}, show)


def _prepare(file: Path, folder: Path, data: Path | None, json: bool) -> None:
    import shlex

    import msgspec

    from hanse.engines.storage.folder import NEXT, OLD, holder
    from hanse.operations.prepare import prepare

    with bar(quiet=json) as report:
        found = prepare(file, folder, report)
    waiting, old = folder / NEXT, folder / OLD
    running = holder(folder) is not None
    back = shlex.join(["hanse", "restore", "--forget", *(["--data", str(data)] if data else [])])
    told = {
        "data": str(folder),
        "in_place": False,
        "waits": str(waiting),
        "old": str(old),
        "running": running,
        "take_back": back,
        **msgspec.to_builtins(found),
    }

    def show() -> None:
        out(f"Waits: {found.events} events, {found.calls} calls, {found.accounts} accounts")
        out(f"  {readable(found.bytes)} in {waiting}, whole")
        if running:
            out("  The node goes on with its own database until you restart it.")
        else:
            out("  No node runs there now: the next one that starts begins with it.")
        out("  Then all that happened after the backup is gone, what happens from now on, too;")
        out(f"  it is in {old} only.")
        out(f"Restart the node, or take it back: {back}")

    answer(json, told, show)


def _forget(folder: Path, json: bool) -> None:
    from hanse.engines.storage.replacement import forget

    gone = forget(folder)

    def show() -> None:
        out(f"Removed {gone}. The node starts with the database it has.")

    answer(json, {"data": str(folder), "removed": str(gone)}, show)
