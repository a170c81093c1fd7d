"""Vacuum: gives room back that removed events left.

While a node runs, in small steps between its writes: the write-ahead log goes into the database and
is cut, the search index is put in order, free pages at the end are given back if the database was
made for that. With the node stopped, the whole file is written anew, which gives back the most and
makes it ready for small steps.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from hanse.engines.storage.files import Report
from hanse.engines.storage.folder import DATABASE, alone, holder
from hanse.errors import NotFound, Unavailable

MERGE_PAGES = 200
"""Pages of the search index put in order in one step."""

FREE_PAGES = 500
"""Free pages given back in one step."""

STEPS_MAX = 100_000
_INDEX = "event_text"


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on disk before and after, the write-ahead log with them; free ones inside; whether all
    was written anew."""

    before: int
    after: int
    free: int
    whole: bool


def vacuum(folder: Path, report: Report) -> Freed:
    """Give back what can be given back now. Raises NotFound, Unavailable."""
    path = folder / DATABASE
    if not path.is_file():
        raise NotFound("holds no database", field=str(folder), hint="name its folder with --data")
    before = _size(path)
    with contextlib.ExitStack() as stack:
        whole = holder(folder) is None
        if whole:
            stack.enter_context(alone(folder, "vacuum"))
        connection = stack.enter_context(_opened(path))
        _index(connection, report)
        if whole:
            _anew(connection, path, report)
        else:
            _give_back(connection, report)
        report("writing back", 0, 0)
        # First what needs no lock, so that the node's writes wait only for the cut.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        free = _number(connection, "freelist_count") * _number(connection, "page_size")
    return Freed(before=before, after=_size(path), free=free, whole=whole)


def _index(connection: apsw.Connection, report: Report) -> None:
    report("search index", 0, 0)
    # A negative number begins a merge of everything, a positive one goes on with it; done when a
    # step changes next to nothing (SQLite's FTS5, `merge`).
    pages = -MERGE_PAGES
    for _ in range(STEPS_MAX):
        changes = connection.total_changes()
        connection.execute(f"INSERT INTO {_INDEX}({_INDEX}, rank) VALUES ('merge', {pages})")
        if connection.total_changes() - changes < 2:
            return
        pages = MERGE_PAGES


def _anew(connection: apsw.Connection, path: Path, report: Report) -> None:
    free, needed = shutil.disk_usage(path.parent).free, path.stat().st_size
    if free < 2 * needed:
        text = f"no room: {2 * needed} bytes are needed, {free} are free"
        raise Unavailable(text, field=str(path.parent))
    report("writing anew", 0, 0)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")


def _give_back(connection: apsw.Connection, report: Report) -> None:
    if _number(connection, "auto_vacuum") != 2:
        return
    total = _number(connection, "freelist_count")
    left = total
    while left:
        connection.execute(f"PRAGMA incremental_vacuum({FREE_PAGES})").fetchall()
        left, before = _number(connection, "freelist_count"), left
        report("free pages", total - left, total)
        if left >= before:
            return  # the node needed some meanwhile


def _number(connection: apsw.Connection, name: str) -> int:
    found = connection.execute(f"PRAGMA {name}").fetchone()
    return int(found[0]) if found else 0


def _size(path: Path) -> int:
    files = (path, Path(f"{path}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            yield connection
        finally:
            connection.close()
    except apsw.Error as exc:
        raise Unavailable(f"cannot be vacuumed: {exc}", field=str(path)) from exc
