"""Backup and restore of a SQLite database, by SQLite's own online copy.

A backup reads one state of the database while the node goes on: what was answered OK before it
began is in it, the log with the books. A copy is checked before it gets its name, and again before
it takes a database's place:

    copy ─→ draft ─→ integrity, references, the books' sum ─→ on disk ─→ its name
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from hanse.engines.storage.folder import DATABASE, alone
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.pages import has_fresh, left_beside
from hanse.engines.storage.parts import BITS
from hanse.errors import Invalid, NotFound, Unavailable
from hanse.operations.files import Report, drafted, sync_folder

PAGES = 2048
"""Pages copied between two reports: 16 MiB."""

OLD = "hanse.db.old"
RESTORED = "hanse.db.restored"
_STEPS = 1_000_000
"""Steps of a check between two chances for Ctrl-C."""

PARTED = 21
"""From this version on ids are in a table of their own, which SQLite does not check for us."""

_UNFINDABLE = f"""
SELECT EXISTS (SELECT 1 FROM event WHERE NOT EXISTS (
    SELECT 1 FROM event_id AS found WHERE found.part = event.seq >> {BITS}
    AND found.head = substr(event.id, 1, 8) AND found.seq = event.seq
)) OR (SELECT count(*) FROM event_id) <> (SELECT count(*) FROM event)
"""

_ASIDE = """
INSERT INTO fresh (last, count, events) SELECT * FROM (SELECT ? AS last, ?, ?)
WHERE last > (SELECT seq FROM position WHERE name = 'log') ON CONFLICT DO NOTHING
"""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a checked database holds."""

    bytes: int
    events: int
    last_seq: int
    accounts: int
    calls: int
    version: int


def back_up(folder: Path, target: Path, report: Report) -> Copied:
    """Copy the folder's database to `target`, whether or not a node runs on it. Raises NotFound,
    Conflict if `target` exists, Invalid if the copy is not whole, Unavailable for a full disk."""
    source = folder / DATABASE
    if not source.is_file():
        raise NotFound("holds no database", field=str(folder), hint="name its folder with --data")
    with drafted(target) as draft:
        _copy(source, draft, report)
        return check(draft, report, source)


def restore(source: Path, folder: Path, report: Report, *, keep_old: bool = False) -> Copied:
    """Put a copy in the place of the folder's database, which stays beside it until that is done.
    Raises Unavailable while a node runs there, Invalid for a copy that is not whole."""
    if not source.is_file():
        raise NotFound("is not there", field=str(source))
    with alone(folder, "restore"):
        database, old, ready = folder / DATABASE, folder / OLD, folder / RESTORED
        for left in (ready, *_beside(ready)):  # of a restore that was cut short
            left.unlink(missing_ok=True)
        with drafted(ready) as draft:
            check(source, report)
            _copy(source, draft, report)
            found = check(draft, report, source)
        if database.exists():
            _set_aside(database, old)
        os.replace(ready, database)
        sync_folder(folder)
        if not keep_old:
            for left in (old, *_beside(old)):
                left.unlink(missing_ok=True)
        return found


def check(path: Path, report: Report, origin: Path | None = None) -> Copied:
    """Read a whole database: its pages and indexes, references, that its books' sum is zero. Raises
    Invalid naming what is wrong, with it or with what it is a copy of."""
    report("checking", 0, 0)
    name = str(origin or path)
    with _opened(path, apsw.SQLITE_OPEN_READONLY, name) as connection:

        def one(sql: str) -> int:
            found = connection.execute(sql).fetchone()
            return int(found[0] or 0) if found else 0

        version = one("PRAGMA user_version")
        tables = one("SELECT count(*) FROM sqlite_schema WHERE name IN ('event','account','call')")
        if tables != 3:
            raise Invalid.at(name, "is no database of a node")
        if version > migrations("sqlite")[-1][0]:
            raise Invalid.at(name, f"is of a newer version ({version})", "upgrade hanse")
        faults = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if faults != ["ok"]:
            raise Invalid.at(name, f"is damaged: {faults[0]}")
        if version >= PARTED and one(_UNFINDABLE):
            raise Invalid.at(name, "is damaged: its index of ids is not that of its events")
        if connection.execute("PRAGMA foreign_key_check").fetchone():
            raise Invalid.at(name, "is damaged: a row refers to one that is not there")
        posted = one("SELECT sum(credits_posted - debits_posted) FROM account")
        held = one("SELECT sum(credits_pending - debits_pending) FROM account")
        if posted or held:
            raise Invalid.at(name, f"its books do not sum to zero: {posted}, {held} on hold")
        aside = has_fresh(connection)
        return Copied(
            bytes=path.stat().st_size,
            events=one("SELECT count(*) FROM event")
            + (one("SELECT sum(count) FROM fresh") if aside else 0),
            last_seq=max(
                one("SELECT coalesce(max(seq), 0) FROM event"),
                one("SELECT max(last) FROM fresh") if aside else 0,
            ),
            accounts=one("SELECT count(*) FROM account"),
            calls=one("SELECT count(*) FROM call"),
            version=version,
        )


def _copy(source: Path, draft: Path, report: Report) -> None:
    free, needed = shutil.disk_usage(draft.parent).free, source.stat().st_size
    if free < needed:
        text = f"no room: {needed} bytes are needed, {free} are free"
        raise Unavailable(text, field=str(draft.parent))
    with (
        _opened(source, apsw.SQLITE_OPEN_READWRITE) as reading,
        _opened(draft, apsw.SQLITE_OPEN_READWRITE, str(source)) as writing,
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
        writing.executemany(_ASIDE, aside)
        writing.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, nothing beside it


def _set_aside(database: Path, old: Path) -> None:
    """The old database under another name too, whole in one file if it can still be read."""
    with (
        contextlib.suppress(Invalid, Unavailable),
        _opened(database, apsw.SQLITE_OPEN_READWRITE) as db,
    ):
        if has_fresh(db):
            db.executemany(_ASIDE, left_beside(db, database, 0))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for left in (old, *_beside(old)):
        left.unlink(missing_ok=True)
    # A log that is left (the old one is damaged) would be taken for the new database's own.
    for path, kept in zip(_beside(database), _beside(old), strict=True):
        if path.exists():
            os.replace(path, kept)
    try:
        os.link(database, old)
    except OSError:  # a file system without links
        shutil.copy2(database, old)


def _beside(path: Path) -> list[Path]:
    return [Path(f"{path}{end}") for end in ("-wal", "-shm", "-fresh", "-fresh-wal", "-fresh-shm")]


@contextlib.contextmanager
def _opened(path: Path, flags: int, name: str = "") -> Iterator[apsw.Connection]:
    """A connection until the block ends, with SQLite's errors in our words."""
    try:
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(5000)
            connection.set_progress_handler(lambda: False, _STEPS)  # Ctrl-C is heard there
            yield connection
        finally:
            connection.close()
    except (apsw.NotADBError, apsw.CorruptError) as exc:
        raise Invalid.at(name or str(path), f"is damaged: {exc}") from exc
    except (apsw.FullError, apsw.IOError) as exc:
        raise Unavailable(
            f"cannot be written: {exc}", field=str(path), hint="is the disk full?"
        ) from exc
    except apsw.Error as exc:
        raise Unavailable(f"cannot be used: {exc}", field=name or str(path)) from exc
