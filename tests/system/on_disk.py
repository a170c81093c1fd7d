"""A node's database as it lies on the disk, beside whatever process has it open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from hanse.engines.storage.fresh import left_beside
from hanse.protocol.event import check_event, parse_event


def opened(path: Path) -> apsw.Connection:
    """It, for reading. Waits while another process recovers or closes it, which locks readers out
    for a moment."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    return connection


def ids_aside(connection: apsw.Connection, path: Path) -> Iterator[str]:
    """Ids of what is in no table yet, each of a whole and valid event."""
    row: Any = connection.execute("SELECT seq FROM position WHERE name = 'log'").fetchone()
    reached = int(row[0])
    for last, count, lines in left_beside(connection, path, reached):
        events = [parse_event(line) for line in lines.split(b"\n")]
        assert (last, count) == (reached + len(events), len(events))
        for event in events:
            check_event(event)
            yield event.id
        reached = last
