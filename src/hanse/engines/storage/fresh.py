"""The file beside a database: what was acknowledged last may be there alone (`tail.py`).

While there is such a file, the database says that it has one. Who finds that and no file refuses,
and does not go on as if those events had never been.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from hanse.engines.storage.queries import load_queries
from hanse.errors import Unavailable

HAS = "INSERT OR IGNORE INTO meta (name, value) VALUES ('fresh', x'01')"
"""Once the file is there."""

HAS_NONE = "DELETE FROM meta WHERE name = 'fresh'"
"""Before it goes, and in what took in all of it."""

_SAYS = "SELECT 1 FROM meta WHERE name = 'fresh'"

_TAKE_IN = """
INSERT INTO fresh (last, count, events) SELECT * FROM (SELECT ? AS last, ?, ?)
WHERE last > (SELECT seq FROM position WHERE name = 'log') ON CONFLICT DO NOTHING
"""

Kept = tuple[int, int, bytes]
"""The last number of some events, how many they are, and their lines."""


def fresh_beside(path: Path | str) -> Path:
    """The file beside a database."""
    return Path(f"{path}-fresh")


def has_fresh(connection: apsw.Connection) -> bool:
    """Whether events may be outside the tables, which they were not in the first versions."""
    return has_table(connection, "fresh")


def has_table(connection: apsw.Connection, name: str) -> bool:
    """Whether the file has it: older versions had fewer."""
    sql = "SELECT 1 FROM sqlite_schema WHERE name = ?"
    return connection.execute(sql, (name,)).fetchone() is not None


def is_lost(connection: apsw.Connection, path: Path | str) -> bool:
    """Whether a database has such a file, and it is not there."""
    file = fresh_beside(path)
    if file.exists() or not connection.execute(_SAYS).fetchall():
        return False
    return not file.exists()  # a node that starts makes it first, and says so then


def refuse_if_lost(connection: apsw.Connection, path: Path | str) -> None:
    """Raises Unavailable."""
    if is_lost(connection, path):
        file = fresh_beside(path)
        hint = f"put it back; only if it is gone for good, go on without them: touch {file}"
        text = "is missing: events that were acknowledged last may be in it alone"
        raise Unavailable(text, field=str(file), hint=hint)


def left_beside(connection: apsw.Connection, path: Path | str, after: int) -> list[Kept]:
    """What is in no table yet after a number, oldest first. Raises Unavailable if the file is lost,
    apsw.Error."""
    refuse_if_lost(connection, path)
    sql = load_queries()["fresh_after"]
    rows: list[tuple[Any, ...]] = connection.execute(sql, (after,)).fetchall()
    file = fresh_beside(path)
    if file.is_file():
        with contextlib.closing(
            apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        ) as other:
            other.set_busy_timeout(5000)
            if has_fresh(other):  # not in one that a kill left before its table was made
                rows += other.execute(sql, (after,)).fetchall()
    return [(last, count, bytes(lines)) for last, count, lines in rows]


def take_in(connection: apsw.Connection, rows: Iterable[Kept]) -> None:
    """Into the database's own file: it needs no other then."""
    connection.executemany(_TAKE_IN, rows)
    connection.execute(HAS_NONE)


def gather(connection: apsw.Connection, path: Path) -> None:
    """The same of all that is beside it, unless that is lost: then the database goes on to say so.
    Raises apsw.Error."""
    if has_fresh(connection) and not is_lost(connection, path):
        take_in(connection, left_beside(connection, path, 0))
