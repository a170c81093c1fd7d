"""Backup and restore of a SQLite database, by SQLite's own online copy.

A backup reads one state of the database while the node goes on: what was answered OK before it
began is in it, the log with the books. A copy is checked before it gets its name, and again before
it takes a database's place:

    copy ─→ draft ─→ integrity, references, the books' sum ─→ on disk ─→ its name
"""

import contextlib
import os
import shutil
from pathlib import Path

import apsw

from hanse.engines.storage.files import Report, drafted, sync_folder
from hanse.engines.storage.folder import (
    DATABASE,
    OLD,
    alone,
    any_of,
    beside,
    restoring,
    unmade,
)
from hanse.engines.storage.fresh import gather, has_fresh, left_beside, take_in
from hanse.engines.storage.replacement import none_waits
from hanse.engines.storage.whole import Copied, check, opened
from hanse.errors import Invalid, NotFound, Unavailable

PAGES = 2048
"""Pages copied between two reports: 16 MiB."""

RESTORED = "hanse.db.restored"


def back_up(folder: Path, target: Path, report: Report) -> Copied:
    """Copy the folder's database to `target`, whether or not a node runs on it. Raises NotFound,
    Conflict if `target` exists, Invalid if the copy is not whole, Unavailable for a full disk."""
    source = folder / DATABASE
    if not source.is_file():
        raise NotFound("holds no database", field=str(folder), hint="name its folder with --data")
    with drafted(target) as draft:
        copy(source, draft, report)
        return check(draft, report, source)


def restore(source: Path, folder: Path, report: Report, *, keep_old: bool = False) -> Copied:
    """Put a copy in the place of the folder's database, which stays beside it until that is done.
    Raises Unavailable while a node runs there, Invalid for a copy that is not whole, Conflict if
    another waits for the next start."""
    if not source.is_file():
        raise NotFound("is not there", field=str(source))
    hint = "stop it, or use --at-restart or --data"
    with unmade(folder), alone(folder, "restore", hint), restoring(folder):
        none_waits(folder)
        database, old, ready = folder / DATABASE, folder / OLD, folder / RESTORED
        for left in (ready, *beside(ready)):  # of a restore that was cut short
            left.unlink(missing_ok=True)
        with drafted(ready) as draft:
            check(source, report)
            copy(source, draft, report)
            found = check(draft, report, source)
        _set_aside(database, old)
        os.replace(ready, database)
        sync_folder(folder)
        if not keep_old:
            for left in (old, *beside(old)):
                left.unlink(missing_ok=True)
        return found


def copy(source: Path, draft: Path, report: Report) -> None:
    """A database into an empty file, which nothing lies beside then. Raises Unavailable if there is
    no room."""
    free, needed = shutil.disk_usage(draft.parent).free, source.stat().st_size
    if free < needed:
        text = f"no room: {needed} bytes are needed, {free} are free"
        raise Unavailable(text, field=str(draft.parent))
    with (
        opened(source, apsw.SQLITE_OPEN_READWRITE) as reading,
        opened(draft, apsw.SQLITE_OPEN_READWRITE, str(source)) as writing,
    ):
        # First what is in no table yet: what moves meanwhile is found twice, not missed.
        aside = left_beside(reading, source, 0) if has_fresh(reading) else []
        # One state to the end: without this a copy begins again with every commit of the node.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        writing.execute("PRAGMA synchronous = OFF")  # it is synced whole, before it gets its name
        with writing.backup("main", reading, "main") as copying:
            while not copying.done:
                copying.step(PAGES)
                report("copying", copying.page_count - copying.remaining, copying.page_count)
        reading.execute("COMMIT")
        if has_fresh(writing):
            take_in(writing, aside)
        writing.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, nothing beside it


def _set_aside(database: Path, old: Path) -> None:
    """The old database under another name too, whole in one file if it can still be read."""
    with (
        contextlib.suppress(Invalid, Unavailable),
        opened(database, apsw.SQLITE_OPEN_READWRITE) as db,
    ):
        gather(db, database)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if not any_of(database):
        return
    for left in (old, *beside(old)):
        left.unlink(missing_ok=True)
    # A log that is left (the old one is damaged, or lost) would be taken for the new one's own.
    for path, kept in zip(beside(database), beside(old), strict=True):
        if path.exists():
            os.replace(path, kept)
    if database.exists():
        try:
            os.link(database, old)
        except OSError:  # a file system without links
            shutil.copy2(database, old)
