"""A backup that waits for the next start: it takes the database's place whole, or nothing changes,
wherever a start is killed; the old database is never lost, and nothing of it mixed with the new."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.conformance.engines import stores
from tests.conformance.events import Words, an_event

from hanse.engines.storage.folder import alone, restoring
from hanse.engines.storage.pages import SqlitePages
from hanse.engines.storage.replacement import forget, in_place, none_waits
from hanse.errors import Conflict, Invalid, NotFound, Unavailable
from hanse.operations.backup import back_up, restore
from hanse.operations.prepare import prepare

KEPT, SAVED = 6, 2
ROOT = Path(__file__).resolve().parents[2]


def quiet(*_: object) -> None:
    """Hears nothing."""


@pytest.fixture
async def copy(tmp_path: Path) -> Path:
    """A backup of SAVED events, of a database that was killed later with KEPT."""
    folder = tmp_path / "running"
    folder.mkdir()
    async with stores("deferring", folder) as kept:
        log = Words(kept.log)
        await log.keep(*(an_event(content=f"{number}") for number in range(SAVED)))
        back_up(folder, tmp_path / "copy", quiet)
        await log.keep(an_event(content="in a table"))
        await kept.database.settle()
        await log.keep(*(an_event(content=f"aside {number}") for number in range(KEPT - SAVED - 1)))
        shutil.copytree(folder, tmp_path / "data")
    return tmp_path / "copy"


@pytest.fixture
def data(tmp_path: Path, copy: Path) -> Path:
    """The folder as the kill left it: with logs, and with events beside the database."""
    left = files(tmp_path / "data")
    assert {"hanse.db", "hanse.db-wal", "hanse.db-fresh", "hanse.db-fresh-wal"} <= set(left)
    return tmp_path / "data"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def events_in(database: Path) -> int:
    """What a node finds that starts on it, under a name of its own."""
    folder = database.parent / "looked into"
    folder.mkdir()
    for path in database.parent.glob("*"):
        if path == database or path.name.startswith(f"{database.name}-"):
            shutil.copy2(path, folder / path.name.replace(database.name, "hanse.db"))
    async with stores("deferring", folder) as kept:
        found = await kept.log.last_seq()
        assert await kept.database.select("PRAGMA integrity_check", ()) == [("ok",)]
    async with SqlitePages(folder / "hanse.db") as pages:
        assert len(await pages.after(0, 100, 0)) == found
    shutil.rmtree(folder)
    return found


async def test_a_start_puts_it_in_place_and_leaves_the_old_database_in_one_file(
    data: Path, copy: Path
) -> None:
    assert prepare(copy, data, quiet).events == SAVED
    assert await events_in(data / "hanse.db") == KEPT
    for _ in range(2):
        assert in_place(data) == data / "hanse.db"
        assert set(files(data)) == {"hanse.db", "hanse.db.old", "hanse.db.old-fresh"}
        assert await events_in(data / "hanse.db") == SAVED
    (data / "hanse.db.old-fresh").unlink()
    assert await events_in(data / "hanse.db.old") == KEPT


async def test_a_folder_without_a_database_gets_the_one_that_waits(
    tmp_path: Path, copy: Path
) -> None:
    prepare(copy, tmp_path / "new", quiet)
    in_place(tmp_path / "new")
    assert set(files(tmp_path / "new")) == {"hanse.db"}
    assert await events_in(tmp_path / "new" / "hanse.db") == SAVED


@pytest.mark.parametrize("when", ["now", "at the next start"])
async def test_what_a_lost_database_left_beside_it_is_not_taken_for_the_new_ones(
    data: Path, copy: Path, when: str
) -> None:
    (data / "hanse.db").unlink()
    if when == "now":
        restore(copy, data, quiet, keep_old=True)
    else:
        prepare(copy, data, quiet)
        in_place(data)
    assert "hanse.db-wal" not in files(data)
    assert "hanse.db.old-wal" in files(data)
    assert await events_in(data / "hanse.db") == SAVED


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from hanse.engines.storage import replacement

data, links = Path(sys.argv[1]), sys.argv[2] == "links"
def no_link(*_):
    raise OSError("none here")
if not links:
    os.link = no_link

def at(line):
    passed = 0
    def watch(frame, event, _):
        nonlocal passed
        if frame.f_code.co_filename != replacement.__file__:
            return None
        passed += event == "line"
        if passed == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return watch
    return watch

for line in range(1, 1000):
    folder = data.parent / f"killed {line}"
    shutil.copytree(data, folder)
    child = os.fork()
    if not child:
        sys.settrace(at(line))
        replacement.in_place(folder)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(line)
"""


@pytest.mark.parametrize("links", ["links", "no links"])
async def test_a_start_killed_at_any_line_is_completed_by_the_next_or_taken_back(
    tmp_path: Path, data: Path, copy: Path, links: str
) -> None:
    prepare(copy, data, quiet)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED, str(data), links],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = int(done.stdout.splitlines()[-1])
    assert lines > 30
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for line in range(1, lines):
        killed, back = tmp_path / f"killed {line}", tmp_path / "taken back"
        left = files(killed)
        if frozenset(left.items()) in seen:  # the folder is as it was a line before
            continue
        seen.add(frozenset(left.items()))
        if "hanse.db.next" in left:
            shutil.copytree(killed, back)
            if (killed / "hanse.db.old").exists() and links == "links":  # a copy has no links
                (back / "hanse.db.old").unlink()
                os.link(back / "hanse.db", back / "hanse.db.old")
            forget(back)
            assert not {"hanse.db.next", "hanse.db.old"} & set(files(back))
            assert await events_in(back / "hanse.db") == KEPT
            shutil.rmtree(back)
        in_place(killed)
        assert await events_in(killed / "hanse.db") == SAVED
        assert await events_in(killed / "hanse.db.old") == KEPT
    assert len(seen) > 5


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _newer(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA user_version = 999")


@pytest.mark.parametrize(
    ("change", "reason"), [(_cut, "is damaged"), (_newer, "is of a newer version")]
)
async def test_what_is_not_whole_any_more_refuses_the_start_and_changes_nothing(
    data: Path, copy: Path, change: Callable[[Path], None], reason: str
) -> None:
    prepare(copy, data, quiet)
    change(data / "hanse.db.next")
    before = files(data)
    with pytest.raises(Invalid, match=reason) as refused:
        in_place(data)
    assert refused.value.field == str(data / "hanse.db.next")
    assert "take it back: hanse restore --forget" in refused.value.hint
    assert files(data) == before
    forget(data)
    assert in_place(data) == data / "hanse.db"
    assert await events_in(data / "hanse.db") == KEPT


async def test_a_database_that_cannot_be_set_aside_whole_refuses_the_start(
    data: Path, copy: Path
) -> None:
    prepare(copy, data, quiet)
    (data / "hanse.db").write_bytes(b"damaged" * 1000)
    before = files(data)
    with pytest.raises(Invalid, match="cannot be set aside whole"):
        in_place(data)
    after = files(data)
    del before["hanse.db-shm"], after["hanse.db-shm"]  # no data, but who reads them
    assert after == before


async def test_a_start_waits_for_no_reader_and_takes_nothing_from_under_one(
    data: Path, copy: Path
) -> None:
    prepare(copy, data, quiet)
    with closing(apsw.Connection(str(data / "hanse.db"))) as reading:
        rows = reading.execute("SELECT count(*) FROM event").fetchall()
        with pytest.raises(Unavailable, match="cannot be set aside"):
            in_place(data)
        assert reading.execute("SELECT count(*) FROM event").fetchall() == rows
    in_place(data)
    assert await events_in(data / "hanse.db") == SAVED


async def test_an_old_database_that_somebody_keeps_is_never_replaced(
    data: Path, copy: Path
) -> None:
    old = data / "hanse.db.old"
    old.write_bytes(b"kept")
    with pytest.raises(Conflict, match=r"hanse\.db\.old: is there already"):
        prepare(copy, data, quiet)
    old.unlink()
    prepare(copy, data, quiet)
    old.write_bytes(b"kept")
    for _ in range(2):
        before = files(data)
        with pytest.raises(Conflict, match=r"hanse\.db\.old: is there already"):
            in_place(data)
        assert files(data) == before
        (data / "hanse.db").unlink(missing_ok=True)  # what it leaves goes to no other's side
    forget(data)
    assert old.read_bytes() == b"kept"


async def test_without_a_database_a_restore_leaves_the_old_one_that_somebody_keeps(
    data: Path, copy: Path
) -> None:
    for path in data.glob("hanse.db*"):
        path.unlink()
    (data / "hanse.db.old").write_bytes(b"kept")
    restore(copy, data, quiet, keep_old=True)
    assert (data / "hanse.db.old").read_bytes() == b"kept"


async def test_while_one_waits_no_other_is_taken(data: Path, copy: Path) -> None:
    prepare(copy, data, quiet)
    before = files(data)
    for another in (prepare, restore):
        with pytest.raises(Conflict, match="waits for the next start already"):
            another(copy, data, quiet)
    with pytest.raises(Conflict):
        none_waits(data)
    assert {name: before[name] for name in before} == {
        name: found for name, found in files(data).items() if name != "node.lock"
    }


async def test_one_restore_works_at_a_time_and_no_start_meanwhile(data: Path, copy: Path) -> None:
    prepare(copy, data, quiet)
    with restoring(data):
        for work in (
            lambda: prepare(copy, data, quiet),
            lambda: restore(copy, data, quiet),
            lambda: forget(data),
            lambda: in_place(data),
        ):
            with pytest.raises(Unavailable, match="a restore works here"):
                work()
    in_place(data)


async def test_nodes_that_start_and_stop_while_it_copies_keep_their_database(
    data: Path, copy: Path
) -> None:
    stages: set[str] = set()

    def starting(stage: str, _done: int, _whole: int) -> None:
        stages.add(stage)
        with alone(data, "ws://127.0.0.1:1"):
            in_place(data)
        for another in (prepare, restore):
            with pytest.raises(Unavailable, match="a restore works here"):
                another(copy, data, quiet)

    prepare(copy, data, starting)
    assert stages == {"checking", "copying"}
    assert await events_in(data / "hanse.db") == KEPT
    with alone(data, "ws://127.0.0.1:1"):
        in_place(data)
    assert await events_in(data / "hanse.db") == SAVED


async def test_a_restore_that_was_killed_while_it_copied_leaves_no_room_taken(
    data: Path, copy: Path
) -> None:
    (data / ".hanse.db.next.123").write_bytes(b"half")
    in_place(data)
    assert ".hanse.db.next.123" in files(data)
    prepare(copy, data, quiet)
    assert ".hanse.db.next.123" not in files(data)


async def test_where_nothing_waits_there_is_nothing_to_take_back(
    data: Path, tmp_path: Path
) -> None:
    before = files(data)
    with pytest.raises(NotFound, match="nothing waits for the next start"):
        forget(data)
    with pytest.raises(NotFound, match="is not there"):
        forget(tmp_path / "nowhere")
    assert files(data) == before


async def test_a_copy_that_is_not_whole_never_waits(data: Path, copy: Path) -> None:
    _cut(copy)
    before = files(data)
    with pytest.raises(Invalid, match="is damaged"):
        prepare(copy, data, quiet)
    assert files(data) == before
