"""Statements for what has one of several values of a tag, over both parts on SQLite.

Most such lists find little: replies to the notes on a page, say. So first all that has any of the
values is gathered and sorted, as long as it is not too much (`gathered`). If it is, the newest of
each value are merged, which is bounded by values times limit (`merged`).
"""

from array import array
from typing import Any

from apsw import carray

from hanse.engines.storage.plain import padded
from hanse.engines.storage.selection import ARRAY, BY_ID, COLUMNS, ORDER, Selection, Try, spread

EACH = 2
"""So many times its limit is gathered, at most: each costs 1 µs, for nothing if there are more."""

NEVER = 1 << 62


def gathered(chosen: Selection) -> Try:
    """Of a selection whose tag's hash is `wanted.value`. Parameters: an array of hashes, those of
    the selection, EACH times the limit, and the limit and one."""
    # The row of no event comes last, as SQLite takes a UNION ALL, and is sorted first: where it is
    # missing, there were more.
    every = chosen.sql("event.seq AS seq, tag.created_at AS at", lead="wanted CROSS JOIN ")
    sql = (
        f"WITH wanted(value) AS ({ARRAY}) SELECT {COLUMNS} FROM (SELECT seq, at FROM ("
        f"{every.replace('SELECT', 'SELECT DISTINCT', 1)} UNION ALL SELECT 0, {NEVER} LIMIT ?) "
        "ORDER BY at DESC LIMIT ?) AS newest "
        "LEFT JOIN event ON event.seq = newest.seq ORDER BY newest.at DESC"
    )
    return Try(sql, [], sql + BY_ID, capped=True)


def gathered_params(hashes: list[int], conditions: list[Any], limit: int) -> list[Any]:
    """For `gathered`; `conditions` are the selection's."""
    return [carray(array("q", hashes)), *conditions, EACH * limit, limit + 1]


def merged(chosen: Selection, hashes: list[int], limit: int) -> Try:
    """The newest of each value, of a selection whose tag's hash is `wanted.value`."""
    wanted = padded(sorted(hashes))
    rows = ",".join(["(?)"] * len(wanted))

    def of_each(inner: str) -> str:
        return (
            f"WITH wanted(value) AS (VALUES {rows}) SELECT {COLUMNS} FROM event "
            "WHERE event.seq IN (SELECT each.seq FROM wanted CROSS JOIN event AS each "
            f"WHERE each.seq IN ({inner} LIMIT ?)){ORDER} LIMIT ?"
        )

    params = [*wanted, *chosen.params, limit, limit]
    exact = chosen.sql("event.seq", chosen.order, [chosen.floor(1 + len(wanted))])
    quick = chosen.newest("event.seq")
    return Try(spread(of_each(quick)), params, spread(of_each(exact)))
