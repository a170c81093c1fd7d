"""Statements for the newest of several authors or kinds, on SQLite.

Of each value the newest events are in order, in one part or in both. How far back the answer
reaches is found by the index alone; what is newer than that is sorted:

- `guessed`: of many values a sample says how far to look back; few are all looked at. If that is
  not far enough, or there is too much to sort, too few rows come, or too many;
- `reaching`: then it is found out for certain, by twice as many looks.

A value in one part counts as one by itself. Where the small part alone tells how far back, most of
the large one is not looked into: table `slice` says how new it is there.
"""

from array import array
from typing import Any

from apsw import carray

from hanse.engines.storage.parts import LARGE, SLICE_SHIFT, SMALL
from hanse.engines.storage.plain import LISTED_MAX, padded
from hanse.engines.storage.selection import ARRAY, BY_ID, COLUMNS, Selection, Try
from hanse.engines.storage.tagged import NEVER
from hanse.protocol.filter import Filter

FEED_EACH = 20
"""So many times its limit a feed is sorted out of, at most, before it is read with more care."""

SAMPLED_FROM = 65
SAMPLE = 8
"""From so many values on, every eighth stands for all in the guess how far back a feed reaches."""

_SURPLUS = 5
"""Quarters of what the sample's share of the limit is: with a quarter more than that, 1 guess in
300 falls short over authors who write very unlike amounts."""

Conditions = tuple[list[Any], list[Any]]
"""Parameters of what each value's events must fulfil, with and without `since`."""


def guessed(whole: Selection, near: Selection, *, sampled: bool, recent: bool) -> Try:
    """Of a selection over `wanted.value`, and the same without `since`, which nothing that the
    guess gives needs; `sampled`, `recent`: as the filter is. The values are one parameter: each by
    itself, and a row of VALUES for it, would be a tenth of the whole."""
    asked = "some AS wanted" if sampled else "wanted"
    parts, worth = "", ""
    if whole.merges:
        parts, worth = " CROSS JOIN part", f" AND {_worth('part', 'reach')}"
    ways = [asked + parts]
    if recent:
        ways = [f"part CROSS JOIN {asked} WHERE part.n = {n}" for n in (SMALL, LARGE)]
    each = f"SELECT ({_nth(whole)}) AS at FROM "
    looks = [f"(SELECT at FROM ({each}{way}) ORDER BY at DESC LIMIT 1 OFFSET ?)" for way in ways]
    # If the sample says nothing, nothing is looked for. Without a LIMIT it would be asked twice.
    first = f"SELECT coalesce({', '.join(looks)}, ?) AS at LIMIT 1"
    reach = f"SELECT at FROM ({first}) WHERE at IS NOT NULL"
    some = f"some(value) AS ({ARRAY}), " if sampled else ""
    # At most FEED_EACH times the limit are sorted. The row of no event comes last, as SQLite takes
    # a UNION ALL, and is sorted first: where it is missing, there were more.
    sql = (
        f"WITH wanted(value) AS ({ARRAY}), {some}reach(at) AS MATERIALIZED ({reach}) "
        f"SELECT {COLUMNS} FROM (SELECT seq, at FROM ("
        f"SELECT {near.seq} AS seq, {near.time} AS at "
        f"FROM reach{parts} CROSS JOIN wanted CROSS JOIN {_within(near)}{worth} "
        f"AND {near.time} >= reach.at UNION ALL SELECT 0, {NEVER} LIMIT ?) "
        "ORDER BY at DESC LIMIT ?) AS newest "
        "LEFT JOIN event ON event.seq = newest.seq ORDER BY newest.at DESC"
    )
    return Try(sql, [], sql + BY_ID, complete=not sampled, capped=True)


def guessed_params(
    found: Filter, column: str, values: list[int], limit: int, now_s: int
) -> list[Any]:
    """For `guessed`."""
    whole, near = conditions(found, column, now_s)
    count = len(values)
    sample = values[:: -(-count // _sampled(count))] if is_sampled(found, column) else []
    params: list[Any] = [carray(array("q", values))]
    if sample:
        params.append(carray(array("q", sample)))
        limit_of_sample = -(-limit * _SURPLUS * len(sample) // (4 * count))
        deep, many = _depth(limit_of_sample, len(sample))
    else:
        deep, many = _depth(limit, count)
    look = [*whole, deep - 1, many - 1]
    params += look + look if is_recent(found, column) else look
    params.append(None if sample else found.since or 0)
    params += (*near, limit * FEED_EACH, limit + 1)
    return params


def is_sampled(found: Filter, column: str) -> bool:
    """Whether a few of its values stand for all. Not with `since`: few events may be newer, and
    those are all of the answer, which a guess cannot tell."""
    values = found.authors if column == "event.pubkey" else found.kinds
    return found.since is None and values is not None and len(values) >= SAMPLED_FROM


def is_recent(found: Filter, column: str) -> bool:
    """Whether the small part is asked by itself, and the large one only if that is not enough: of
    what is older the small one has little. Kinds are in no parts."""
    return found.until is None and column == "event.pubkey"


def conditions(found: Filter, column: str, now_s: int) -> Conditions:
    """Of a plain filter, in the order of `FilterSql._select`."""
    kinds: list[Any] = []
    if column == "event.pubkey" and found.kinds is not None:
        listed = len(found.kinds) <= LISTED_MAX
        kinds = padded(found.kinds) if listed else [carray(array("q", found.kinds))]
    rest = [now_s] if found.until is None else [found.until, now_s]
    near = kinds + rest
    return (near if found.since is None else [*kinds, found.since, *rest]), near


def reaching(whole: Selection, near: Selection) -> Try:
    """The same selections.

    If `many` values have `deep` events each since some time, and `many` times `deep` is the limit,
    then nothing older belongs. Of a hundred authors most may write elsewhere: how deep to look
    follows from how many have any. One may have written a million since the others fell silent:
    what is older than its newest `limit` does not belong, either.
    """
    parts, of = (" CROSS JOIN part", ", part.n") if whole.merges else ("", "")
    some = f"SELECT 1 FROM {whole.index} WHERE {whole.conditions}"
    lead = (
        f"WITH asked(value) AS ({ARRAY}), wanted AS MATERIALIZED (SELECT asked.value{of} "
        f"FROM asked{parts} WHERE EXISTS ({some.replace('wanted.value', 'asked.value')})), "
    )
    deep = _nth(whole, back="(SELECT deep - 1 FROM depth)")
    own = _nth(near, since="reach.at")
    worth = f" AND {_worth('wanted', 'least')}" if whole.merges else ""

    def sorted_by(ties: str) -> str:
        newest = (
            "depth AS MATERIALIZED (SELECT most, (2 * most - 1) / many + 1 AS deep "
            "FROM (SELECT ? AS most, max(count(*), 1) AS many FROM wanted)), "
            "reach(at) AS MATERIALIZED (SELECT coalesce((SELECT at FROM "
            f"(SELECT ({deep}) AS at FROM wanted) "
            "ORDER BY at DESC LIMIT 1 OFFSET (SELECT (most - 1) / deep FROM depth)), ?)), "
            f"least(at) AS MATERIALIZED (SELECT coalesce((SELECT max(({own})) FROM wanted), "
            "reach.at) FROM reach) "
            f"SELECT {COLUMNS} FROM (SELECT {near.seq}, {near.time} "
            f"FROM least CROSS JOIN wanted CROSS JOIN {_within(near, ties)}{worth} "
            f"AND {near.time} >= least.at ORDER BY {near.time} DESC{ties} LIMIT ?) AS newest "
            "CROSS JOIN event WHERE event.seq = newest.seq "
            f"ORDER BY newest.created_at DESC{ties}"
        )
        return lead + newest.replace("part.n", "wanted.n")

    return Try(sorted_by(""), [], sorted_by(BY_ID))


def reaching_params(
    values: list[int], conditions: Conditions, since: int | None, limit: int
) -> list[Any]:
    """For `reaching`."""
    whole, near = conditions
    params = [carray(array("q", values)), *whole, limit, *whole, since or 0]
    return [*params, *near, limit - 1, *near, limit]


def _sampled(count: int) -> int:
    """How many of so many values are a sample, at most."""
    return (1 << (count - 1).bit_length()) // SAMPLE


def _depth(limit: int, values: int) -> tuple[int, int]:
    """See `reaching`: how many events of how many values."""
    deep = -(-2 * limit // values)
    return deep, -(-limit // deep)


def _nth(chosen: Selection, back: str = "?", since: str = "") -> str:
    """The time of the event so far back from one value's newest, in one part if there are any."""
    newer = f" AND {chosen.time} >= {since}" if since else ""
    return (
        f"SELECT {chosen.time} FROM {chosen.index} WHERE {chosen.conditions}{newer} "
        f"ORDER BY {chosen.time} DESC LIMIT 1 OFFSET {back}"
    )


def _worth(of: str, reach: str) -> str:
    """Whether to look for a wanted value in a part, which has this name, as far back as that."""
    newer = f"SELECT n FROM slice WHERE newest >= (SELECT at FROM {reach})"
    return f"({of}.n = {SMALL} OR wanted.value >> {SLICE_SHIFT} IN ({newer}))"


def _within(near: Selection, ties: str = "") -> str:
    """Source and conditions of what each value has, to be ordered like that."""
    if not near.merges:
        return f"event WHERE {near.conditions}"
    event, joins = near.event(ties)
    return f"tag{event} WHERE {' AND '.join([near.conditions, *joins])}"
