"""Whether a database file is whole: its pages, what we keep in them, and the books.

Any version that this one can bring up to date; nothing is written.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from hanse.engines.storage.files import Report
from hanse.engines.storage.fresh import has_fresh
from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.sqlite_schema import hash_authors
from hanse.errors import Invalid, Unavailable

_STEPS = 1_000_000
"""Steps of a check between two chances for Ctrl-C."""

PARTED = 21
"""From this version on ids are in a table of their own, which SQLite does not check for us."""

TAGGED = 22
"""From this one on authors are, too."""

SLICED = 25
"""From this one on it is written down how new each slice of the large part is."""

_UNFINDABLE = """
SELECT EXISTS (SELECT 1 FROM event WHERE NOT EXISTS (
    SELECT 1 FROM event_id AS found WHERE found.part IN (SELECT n FROM part)
    AND found.head = substr(event.id, 1, 8) AND found.seq = event.seq
)) OR (SELECT count(*) FROM event_id) <> (SELECT count(*) FROM event)
"""

_UNSIGNED = """
SELECT EXISTS (SELECT 1 FROM event WHERE NOT EXISTS (
    SELECT 1 FROM tag WHERE tag.part IN (SELECT n FROM part)
    AND tag.hash = author_hash(event.pubkey)
    AND tag.created_at = event.created_at AND tag.seq = event.seq
    AND tag.kind = event.kind AND tag.expires IS event.expires
))
"""

_TOO_NEW = """
SELECT count(*) <> 64 OR max(EXISTS (
    SELECT 1 FROM tag WHERE part = 0 AND hash BETWEEN n << 58 AND (n << 58) | 0x3FFFFFFFFFFFFFF
    AND created_at > newest
)) FROM slice
"""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a checked database holds."""

    bytes: int
    events: int
    last_seq: int
    accounts: int
    calls: int
    version: int


def check(path: Path, report: Report, origin: Path | None = None) -> Copied:
    """Read a whole database: its pages and indexes, references, that its books' sum is zero. Raises
    Invalid naming what is wrong, with it or with what it is a copy of."""
    report("checking", 0, 0)
    name = str(origin or path)
    with opened(path, apsw.SQLITE_OPEN_READONLY, name) as connection:

        def one(sql: str) -> int:
            found = connection.execute(sql).fetchone()
            return int(found[0] or 0) if found else 0

        hash_authors(connection, name)

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
        if version >= TAGGED and one(_UNSIGNED):
            raise Invalid.at(name, "is damaged: its index of authors is not that of its events")
        if version >= SLICED and one(_TOO_NEW):
            raise Invalid.at(name, "is damaged: its large part is newer than it says")
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


@contextlib.contextmanager
def opened(path: Path, flags: int, name: str = "") -> Iterator[apsw.Connection]:
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
