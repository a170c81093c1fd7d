"""A database file made up to date: numbered migrations over one connection."""

import contextlib
import logging
from typing import Any

import apsw

from hanse.engines.storage.migrations import migrations
from hanse.engines.storage.sqlite_transaction import SqliteTransaction
from hanse.engines.storage.tag_hash import KEY_MAX, TagHash
from hanse.errors import HanseError, Invalid, Unavailable

_log = logging.getLogger("hanse.storage")


def newest(connection: apsw.Connection) -> int:
    """The newest number that its tables have, or that was given out."""
    tx = SqliteTransaction(connection, {})
    ((kept,),), ((taken,),) = tx.all("event_covered"), tx.all("event_last_seq")
    return max(int(kept), int(taken))


def migrate(connection: apsw.Connection) -> None:
    """Apply each migration once, in order, each in its own transaction. Raises HanseError for a
    database of a newer version, Unavailable."""
    found = connection.execute("PRAGMA user_version").fetchone()
    done = int(found[0]) if found else 0
    known = migrations("sqlite")
    last = known[-1][0]
    if done > last:
        raise HanseError(f"the database is of a newer version ({done})", hint="upgrade hanse")
    if 0 < done < last:
        _log.warning("the database becomes version %d: a minute for 3 million events", last)
    hash_authors(connection)
    for number, sql in known:
        if number <= done:
            continue
        try:
            with connection:
                connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {number}")
        except apsw.Error as exc:
            raise Unavailable(
                f"the database cannot become version {number}: {exc}",
                hint="a full disk needs room for two copies",
            ) from exc
    if done < last:  # what was written anew stands there a second time
        with contextlib.suppress(apsw.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def hash_authors(connection: apsw.Connection, name: str = "hanse.db") -> None:
    """Give its statements `author_hash(pubkey)`: how an author stands among this database's tags.
    It raises Invalid, about this name, where there are events but not the secret for that."""
    hash: TagHash | None = None

    def author_hash(*pubkey: Any) -> int:
        nonlocal hash
        if hash is None:
            found = connection.execute("SELECT value FROM meta WHERE name = 'tag-key'").fetchone()
            key = found[0] if found else None
            if not isinstance(key, bytes) or len(key) > KEY_MAX:
                raise Invalid.at(
                    name, "is damaged: its secret for tags is gone", "restore a backup"
                )
            hash = TagHash(key)
        return hash.authors([bytes(pubkey[0]).hex()])[0]

    connection.create_scalar_function("author_hash", author_hash, 1, deterministic=True)
