"""Backup and restore by the command line: real nodes, real files, a disk that is full."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.relay_peer import a_peer
from tests.system.cli_home import ROOT, Home, Running
from tests.system.on_disk import ids_aside, opened

from hanse.engines.storage.sqlite_schema import hash_authors

pytestmark = pytest.mark.heavy  # a process or more for each test


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.json("init")
    return found


@contextmanager
def a_node(home: Home, *words: str) -> Iterator[tuple[Running, str]]:
    """A node of this home, and its URL."""
    with home.started("up", "--port", "0", "--json", *words) as running:
        yield running, json.loads(running.line())["url"]


async def published(url: str, count: int, word: str = "") -> set[str]:
    """Ids of notes that the node answered OK."""
    async with a_peer(url) as peer:
        return {(await peer.keep(peer.note(f"{word}{number}"))).id for number in range(count)}


def ids_in(path: Path) -> set[str]:
    connection = opened(path)
    rows: Any = connection.execute("SELECT hex(id) FROM event").fetchall()
    aside = set(ids_aside(connection, path))
    connection.close()
    return {id.lower() for (id,) in rows} | aside


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_backup_of_a_busy_node_holds_all_that_was_ok_before_it_began(
    home: Home, tmp_path: Path
) -> None:
    copies = [tmp_path / f"copy{number}.db" for number in range(3)]
    with a_node(home) as (_, url):
        acknowledged: set[str] = set()
        ending = asyncio.Event()

        async def publish() -> None:
            async with a_peer(url) as peer:
                while not ending.is_set():
                    acknowledged.add((await peer.keep(peer.note(f"{len(acknowledged)}"))).id)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(publish())
            for copy in copies:
                before = set(acknowledged)
                found = await asyncio.to_thread(home.json, "backup", str(copy))
                after = set(acknowledged)
                kept = ids_in(copy)
                assert before <= kept
                assert len(kept) == found["events"]
                assert len(kept - after) <= 4  # those whose OK was under way
            ending.set()
    assert len(ids_in(copies[0])) < len(ids_in(copies[2]))
    assert files(tmp_path) == {"home", *(copy.name for copy in copies)}


async def test_a_restored_node_has_the_log_and_the_books_of_the_backup(
    home: Home, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with a_node(home) as (_, url):
        ids = await published(url, 5)
        home.json("backup", str(copy))
        await published(url, 3, "later")
        home.json("grant", home.json("agent", "list")["agents"][0]["npub"], "77sat")
        books = home.json("books")
    assert home.json("restore", str(copy))["events"] == 5
    assert files(home.folder / "data") == {"hanse.db", "node.lock"}
    assert ids_in(home.folder / "data/hanse.db") == ids
    with a_node(home) as (_, url):
        async with a_peer(url) as peer:
            assert set(await peer.ask({"kinds": [1]})) == ids
        again = home.json("books")
        assert again["sum_msat"] == books["sum_msat"] == 0
        assert again["accounts"] != books["accounts"]


async def test_a_backup_never_takes_the_place_of_a_file(home: Home, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    with a_node(home):
        line = home.refused("backup", str(copy))
    assert line == f"duplicate: {copy}: is there already (name another file)"
    assert copy.read_text() == "mine"


def test_without_a_database_there_is_nothing_to_back_up(home: Home, tmp_path: Path) -> None:
    assert "holds no database (name its folder with --data)" in home.refused("backup", "x.db")
    assert files(tmp_path) == {"home"}


async def test_a_restore_waits_for_no_node_and_touches_nothing_of_one(
    home: Home, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with a_node(home) as (_, url):
        home.json("backup", str(copy))
        ids = await published(url, 2)
        assert "another node runs on this folder" in home.refused("restore", str(copy))
        async with a_peer(url) as peer:
            assert set(await peer.ask({"kinds": [1]})) == ids


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _scribbled(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(4096, size, 4096):
            file.seek(place + 5)
            file.write(b"\xff" * 50)


def _other(path: Path) -> None:
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _unbalanced(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE account SET credits_posted = credits_posted + 1")
    connection.close()


def _unfindable(path: Path) -> None:
    row = (1 << 40, bytes(32), bytes(32), 1, 1, b"{}")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute(
            "INSERT INTO event (seq, id, pubkey, created_at, kind, json) VALUES (?,?,?,?,?,?)", row
        )


def _found_without_being_there(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("INSERT INTO event_id VALUES (0, zeroblob(8), 1)")


def _without_its_author(path: Path) -> None:
    _unfindable(path)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("INSERT INTO event_id VALUES (0, zeroblob(8), ?)", (1 << 40,))


def _with_an_author_of_another_kind(path: Path) -> None:
    _without_its_author(path)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        hash_authors(connection)
        connection.execute(
            "INSERT INTO tag SELECT 0, author_hash(pubkey), created_at, seq, kind + 1, expires "
            "FROM event WHERE seq = ?",
            (1 << 40,),
        )


def _newer_than_it_says(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        newer = "SELECT newest + 1 FROM slice WHERE n = 0"
        connection.execute(f"INSERT INTO tag VALUES (0, 1, ({newer}), 1, 1, NULL)")


def _without_a_slice(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("DELETE FROM slice WHERE n = 0")


def _without_its_secret(path: Path) -> None:
    _with_an_author_of_another_kind(path)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'tag-key'")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 999), "is damaged"),
        (_cut, "is damaged"),
        (_scribbled, "is damaged"),
        (_other, "is no database of a node"),
        (_unfindable, "is damaged: its index of ids"),
        (_found_without_being_there, "is damaged: its index of ids"),
        (_without_its_author, "is damaged: its index of authors"),
        (_with_an_author_of_another_kind, "is damaged: its index of authors"),
        (_newer_than_it_says, "is damaged: its large part is newer than it says"),
        (_without_a_slice, "is damaged: its large part is newer than it says"),
        (_without_its_secret, "is damaged: its secret for tags is gone"),
        (_unbalanced, "its books do not sum to zero"),
    ],
)
async def test_a_copy_that_is_not_whole_is_refused_and_the_old_database_stays(
    home: Home, tmp_path: Path, damage: Any, reason: str
) -> None:
    copy = tmp_path / "copy.db"
    with a_node(home) as (_, url):
        ids = await published(url, 30)
        home.json("backup", str(copy))
    damage(copy)
    line = home.refused("restore", str(copy))
    assert reason in line
    assert str(copy) in line
    assert files(home.folder / "data") == {"hanse.db", "node.lock"}
    assert ids_in(home.folder / "data/hanse.db") == ids


def test_a_refused_restore_leaves_no_folder_that_it_made(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 999)
    for more in ((), ("--at-restart",)):
        line = home.refused("restore", "bad.db", "--data", "new/data", *more)
        assert "is damaged" in line
        assert not (tmp_path / "new").exists()


async def test_a_damaged_database_is_replaced_and_can_be_kept_beside(
    home: Home, tmp_path: Path
) -> None:
    copy, database = tmp_path / "copy.db", home.folder / "data/hanse.db"
    with a_node(home) as (_, url):
        ids = await published(url, 3)
        home.json("backup", str(copy))
    database.write_bytes(b"damaged" * 1000)
    Path(f"{database}-wal").write_bytes(b"left over")
    home.json("restore", str(copy), "--keep-old")
    assert ids_in(database) == ids
    assert (home.folder / "data/hanse.db.old").read_bytes() == b"damaged" * 1000
    assert not Path(f"{database}-wal").exists()


async def test_a_full_disk_leaves_no_half_backup(home: Home, tmp_path: Path) -> None:
    with a_node(home) as (_, url):
        await published(url, 200, "much " * 200)
        # A bound on the size of a file the process writes: what it feels like when none is left.
        done = subprocess.run(
            ["bash", "-c", f"ulimit -f 100; exec {sys.executable} -m hanse backup copy.db"],
            env=os.environ | {"HANSE_HOME": str(home.folder), "PYTHONPATH": str(ROOT / "src")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "is the disk full?" in done.stderr
        assert "Traceback" not in done.stderr
        assert files(tmp_path) == {"home"}
        home.json("backup", "copy.db")


def test_postgresql_is_told_to_use_its_own_tools(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", HANSE_DATABASE="postgresql://localhost/hanse")
    assert "pg_dump --format=custom" in home.refused("backup", "x.db")
    assert "pg_restore" in home.refused("restore", "x.db")
    assert "autovacuum" in home.refused("vacuum")
