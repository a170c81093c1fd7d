"""How fast the trust service answers over a database: made-up vouches, read as a node reads them.

The view's table is filled directly: what is measured begins where a node starts. Run by
bench/trust.py in a process of its own, so that its memory is the service's alone.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Process
from pathlib import Path

import apsw
import numpy as np

from bench.circles import CIRCLE, KIB_PER_MIB
from hanse.clock import SystemClock
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.trust import StoredTrust
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.trust.service import Trust

VIEWERS = 5
QUESTIONS = 200
DAY_S = 86_400
LIFE_S = 180 * DAY_S
_PUT = (
    "INSERT OR REPLACE INTO trust_event (name, seq, kind, author, operator, source, domain, grade,"
    " created_at, expires, id, document) VALUES (?, ?, 31410, ?, ?, ?, '', ?, ?, ?, ?, x'')"
)
_CHANGED = (
    "INSERT OR REPLACE INTO trust_change (author, seq)"
    " VALUES (?, (SELECT coalesce(max(seq), 0) + 1 FROM trust_change))"
)
Row = tuple[str, int, str, str, str, int, int, int, str]


async def measure(operators: int, endorsements: int, seed: int = 0) -> dict[str, float]:
    """Seconds until it is loaded, medians and 95th percentiles in ms, memory in MiB."""
    draw = np.random.default_rng(seed)
    names = [f"{number:064x}" for number in range(1, operators + 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "hanse.db")
        async with SqliteDatabase(path):
            pass  # makes the tables
        viewers = [names[each] for each in draw.choice(operators, VIEWERS, replace=False).tolist()]
        # In a process of its own, or the peak of memory would be its.
        filling = Process(target=_fill, args=(path, names, viewers, endorsements, draw))
        filling.start()
        filling.join()
        async with SqliteDatabase(path) as database:
            return await _measured(database, path, names, viewers, draw)


async def _measured(
    database: SqliteDatabase,
    path: str,
    names: list[str],
    viewers: list[str],
    draw: np.random.Generator,
) -> dict[str, float]:
    longest = most_mib = load_s = 0.0
    store = StoredTrust(database)
    trust = Trust(store, SystemClock(), node=PublicKey("f" * 64), aside=asyncio.to_thread)

    async def load() -> None:
        nonlocal load_s
        begun = time.perf_counter()
        await trust.load()
        load_s = time.perf_counter() - begun

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        while not load_s:  # meanwhile: how long the loop is held up, and the most memory
            most_mib = max(most_mib, _memory_mib())
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - begun)
    figures = {"service_operators": float(len(names)), "service_load_s": load_s}
    figures["service_load_holds_up_ms"] = longest * 1000
    times: dict[str, list[float]] = {"first": [], "warm": [], "fold": []}

    async def ask(what: str, viewer: str) -> None:
        subject = names[int(draw.integers(len(names)))]
        begun = time.perf_counter()
        await trust.explain(viewer, subject)
        times[what].append((time.perf_counter() - begun) * 1000)

    for viewer in viewers:
        await ask("first", viewer)
    writing = apsw.Connection(path)
    for number in range(QUESTIONS):
        viewer = viewers[number % VIEWERS]
        await ask("warm", viewer)
        by, of = names[int(len(names) * draw.random() ** 2)], names[int(draw.integers(len(names)))]
        if by == of:
            continue
        with writing:
            writing.execute(_PUT, _row(by, of, 5, int(time.time()) - 1))
            writing.execute(_CHANGED, (by,))
        begun = time.perf_counter()
        await trust.standings.advance()
        times["fold"].append((time.perf_counter() - begun) * 1000)
    writing.close()
    for name, found in times.items():
        figures[f"service_{name}_ms"] = float(np.median(found))
        figures[f"service_{name}_p95_ms"] = float(np.percentile(found, 95))
    figures["service_mib"] = max(most_mib, _memory_mib())
    figures["service_kept_mib"] = _memory_mib()
    return figures


def _fill(
    path: str, names: list[str], viewers: list[str], endorsements: int, draw: np.random.Generator
) -> None:
    """Indexes are made last: a third of the time."""
    connection = apsw.Connection(path)
    connection.execute("PRAGMA synchronous=OFF; PRAGMA cache_size=-200000")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'trust_event' AND sql LIKE '%INDEX%'"
    ).fetchall()
    with connection:
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.executemany(_PUT, _rows(names, viewers, endorsements, draw))
        connection.execute(
            "INSERT INTO trust_change SELECT author, row_number() OVER ()"
            " FROM (SELECT DISTINCT author FROM trust_event)"
        )
        for _, sql in indexes:
            connection.execute(str(sql))
    connection.close()


def _rows(
    names: list[str], viewers: list[str], endorsements: int, draw: np.random.Generator
) -> Iterator[Row]:
    """Some give and get far more than others, as people do: squares of uniform draws."""
    now_s, many = int(time.time()), len(names)
    for viewer in viewers:
        for of in draw.choice(many, CIRCLE, replace=False).tolist():
            if names[of] != viewer:
                yield _row(viewer, names[of], 5, now_s - DAY_S)
    order = draw.permutation(many)
    by = (many * draw.random(endorsements) ** 2).astype(np.int64)
    of = order[(many * draw.random(endorsements) ** 2).astype(np.int64)]
    at_s = now_s - draw.integers(1, LIFE_S - DAY_S, endorsements)
    grade = draw.integers(1, 4, endorsements)
    told = np.unique(by * many + of, return_index=True)[1]  # nobody says the same twice
    told = told[by[told] != of[told]]
    rows = zip(*(found[told].tolist() for found in (by, of, grade, at_s)), strict=True)
    for each_by, each_of, each_grade, each_at_s in rows:
        yield _row(names[each_by], names[each_of], each_grade, each_at_s)


def _row(by: str, of: str, grade: int, at_s: int) -> Row:
    name = f"{kinds.ENDORSEMENT}:{by}:{of}:"
    return name, 0, by, by, of, grade, at_s, at_s + LIFE_S, name[-64:]


def _memory_mib() -> float:
    """What is ours alone: the database is mapped, too, and those pages are the system's to take."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise SystemExit("this kernel does not tell the memory of a process")


def main() -> None:
    """Measure one size: operators, endorsements."""
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2])))))


if __name__ == "__main__":
    main()
