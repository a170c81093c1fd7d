"""A database that waits beside the node's for the next start, and takes its place then.

    check what waits ─→ the old one: all of it in one file ─→ its second name ─→ rename what waits

Until that rename, the one step that counts, the old database is whole under its own name and what
waits keeps its own. So a start that is cut short anywhere is gone through again, or taken back.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import structlog

from hanse.engines.storage.files import sync_folder
from hanse.engines.storage.folder import DATABASE, NEXT, OLD, any_of, beside, restoring
from hanse.engines.storage.fresh import fresh_beside, gather
from hanse.engines.storage.whole import Copied, check, opened
from hanse.errors import Conflict, Invalid, NotFound, Unavailable

log = structlog.get_logger("hanse")

BACK = "take it back: hanse restore --forget"


def waits(folder: Path) -> bool:
    """Whether a database waits there for the next start."""
    return os.path.lexists(folder / NEXT)


def none_waits(folder: Path) -> None:
    """Raises Conflict if one waits: it would take the place of what is done now."""
    if waits(folder):
        text = "waits for the next start already"
        raise Conflict(text, field=str(folder / NEXT), hint=f"start the node, or {BACK}")


def in_place(folder: Path) -> Path:
    """The node's database, once what waits for this start is in its place. For who has the folder
    alone. Raises Invalid if it is not whole, Conflict, Unavailable; then nothing has changed."""
    if waits(folder):
        with restoring(folder), _told(folder / NEXT):
            if waits(folder):  # it may have been taken back just now
                _replace(folder)
    return folder / DATABASE


def forget(folder: Path) -> Path:
    """Take back what waits for the next start. Raises NotFound if nothing does, Unavailable."""
    waiting, database, old = folder / NEXT, folder / DATABASE, folder / OLD
    if not folder.is_dir():
        raise NotFound("is not there", field=str(folder), hint="name the folder with --data")
    with restoring(folder), _told(waiting):
        if not waits(folder):
            raise NotFound("nothing waits for the next start", field=str(folder))
        # What a start that was cut short has done.
        if old.exists() and not any_of(database):
            os.rename(old, database)
        elif old.exists() and database.exists() and old.samefile(database):
            old.unlink()
        sync_folder(folder)
        waiting.unlink()
        sync_folder(folder)
    return waiting


def _replace(folder: Path) -> None:
    waiting, database, old = folder / NEXT, folder / DATABASE, folder / OLD
    found = _checked(waiting)
    there = database.exists()
    # One that a start which was cut short put there is the database itself, or all there is of it.
    if old.exists() and any_of(database) and not (there and old.samefile(database)):
        raise Conflict("is there already", field=str(old), hint=f"move it away, or {BACK}")
    if there:
        _gather(database)
    # Nothing of the old one may lie beside the new. What is in these is in the old one's file, too.
    for path, kept in zip(beside(database), beside(old), strict=True):
        if path.exists():
            os.replace(path, kept)
    if there:
        _name(database, old)
    sync_folder(folder)
    os.replace(waiting, database)
    sync_folder(folder)
    # As a warning, the level of a node that was told no other: what it knew since is not there now.
    log.warning(
        "node.restored",
        database=str(database),
        events=found.events,
        calls=found.calls,
        old=str(old) if old.exists() else None,
    )


def _checked(waiting: Path) -> Copied:
    try:
        return check(waiting, lambda *_: None)
    except Invalid as exc:
        hint = f"{exc.hint}, or {BACK}" if exc.hint else BACK
        raise Invalid.at(exc.field, exc.reason, hint) from exc


def _gather(database: Path) -> None:
    """All of it into its one file. Nobody else has it open then, or SQLite refuses: who closed the
    old one later would remove the new one's log."""
    file = str(database)
    try:
        with opened(database, apsw.SQLITE_OPEN_READWRITE) as db:
            gather(db, database)
            _close_log(db)
        fresh = fresh_beside(database)
        if fresh.exists():
            with opened(fresh, apsw.SQLITE_OPEN_READWRITE) as db:
                _close_log(db)
    except Invalid as exc:
        hint = "hanse restore --forget, then hanse restore FILE, which sets aside what it can"
        raise Invalid.at(file, f"{exc.reason}, and cannot be set aside whole", hint) from exc
    except Unavailable as exc:
        hint = f"end what reads it, a backup or an export, or {BACK}"
        raise Unavailable(f"cannot be set aside: {exc.reason}", field=file, hint=hint) from exc


def _close_log(db: apsw.Connection) -> None:
    if db.execute("PRAGMA journal_mode = DELETE").fetchall() != [("delete",)]:
        raise Unavailable("another process has it open")


def _name(database: Path, old: Path) -> None:
    if old.exists():
        return  # it was done before a start was cut short
    try:
        os.link(database, old)
    except OSError:  # a file system without links
        os.rename(database, old)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(f"cannot be replaced: {exc.strerror}", field=str(path)) from exc
