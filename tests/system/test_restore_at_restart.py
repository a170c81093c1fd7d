"""Restore while the node runs: it goes on, and begins with the backup when it is started again."""

import json
import signal
from pathlib import Path

import pytest
from tests.relay_peer import a_peer
from tests.system.cli_home import Home
from tests.system.test_backup import _cut, a_node, files, home, ids_in, published

pytestmark = pytest.mark.heavy  # a process or more for each test
__all__ = ["home"]


async def asked(url: str) -> set[str]:
    """Ids of the notes that a node shows."""
    async with a_peer(url) as peer:
        return set(await peer.ask({"kinds": [1]}))


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_node_goes_on_with_its_database_until_it_is_started_again(
    home: Home, tmp_path: Path, ended: signal.Signals
) -> None:
    copy, data = tmp_path / "copy.db", home.folder / "data"
    with a_node(home) as (running, url):
        saved = await published(url, 5)
        home.json("backup", str(copy))
        since = await published(url, 2, "since")
        found = home.json("restore", str(copy), "--at-restart")
        assert found["events"] == 5
        assert (found["in_place"], found["running"]) == (False, True)
        assert found["waits"] == str(data / "hanse.db.next")
        assert found["old"] == str(data / "hanse.db.old")
        assert found["take_back"] == "hanse restore --forget"
        since |= await published(url, 2, "later")
        assert await asked(url) == saved | since
        running.stop(ended)
    told: list[list[str]] = []
    for _ in range(2):
        with a_node(home) as (running, url):
            assert await asked(url) == saved
            assert home.json("books")["sum_msat"] == 0
        told.append([line for line in running.said.splitlines() if "node.restored" in line])
    ((line,), again) = told
    assert (json.loads(line)["events"], json.loads(line)["old"]) == (5, found["old"])
    assert again == []
    for path in data.glob("hanse.db.old*"):
        path.rename(tmp_path / path.name)
    home.json("restore", str(tmp_path / "hanse.db.old"))
    assert ids_in(data / "hanse.db") == saved | since
    assert files(data) == {"hanse.db", "node.lock"}


async def test_it_is_done_by_its_option_only_and_says_what_it_means(
    home: Home, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    with a_node(home):
        home.json("backup", copy)
        line = home.refused("restore", copy)
        assert "another node runs on this folder (stop it, or use --at-restart" in line
        said = home.run("restore", copy, "--at-restart").stdout
    assert "goes on with its own database until you restart it" in said
    assert "all that happened after the backup is gone, what happens from now on, too" in said
    assert "Restart the node, or take it back: hanse restore --forget" in said


async def test_until_the_restart_it_can_be_taken_back(home: Home, tmp_path: Path) -> None:
    copy, data = str(tmp_path / "copy.db"), home.folder / "data"
    with a_node(home) as (_, url):
        home.json("backup", copy)
        ids = await published(url, 2)
        home.json("restore", copy, "--at-restart")
        assert "waits for the next start already" in home.refused("restore", copy, "--at-restart")
        found = home.json("restore", "--forget")
        assert found == {"data": str(data), "removed": str(data / "hanse.db.next")}
        assert "nothing waits for the next start" in home.refused("restore", "--forget")
    with a_node(home) as (_, url):
        assert await asked(url) == ids
    assert files(data) == {"hanse.db", "node.lock"}


async def test_a_node_does_not_start_with_what_was_damaged_while_it_waited(
    home: Home, tmp_path: Path
) -> None:
    copy, data = str(tmp_path / "copy.db"), home.folder / "data"
    with a_node(home) as (_, url):
        home.json("backup", copy)
        ids = await published(url, 2)
        home.json("restore", copy, "--at-restart")
    _cut(data / "hanse.db.next")
    line = home.refused("up", "--port", "0")
    assert f"{data / 'hanse.db.next'}: is damaged" in line
    assert "(take it back: hanse restore --forget)" in line
    home.json("restore", "--forget")
    with a_node(home) as (_, url):
        assert await asked(url) == ids


async def test_while_one_waits_nothing_is_put_into_the_database_it_replaces(
    home: Home, tmp_path: Path
) -> None:
    copy, data = str(tmp_path / "copy.db"), home.folder / "data"
    with a_node(home) as (_, url):
        await published(url, 2)
        home.json("backup", copy)
        home.json("export", "lines.jsonl")
        home.json("restore", copy, "--at-restart")
    ids = ids_in(data / "hanse.db")
    for words in (("import", "lines.jsonl"), ("restore", copy)):
        line = home.refused(*words)
        assert "waits for the next start already (start the node, or take it back" in line
    assert ids_in(data / "hanse.db") == ids


def test_without_a_node_it_waits_for_the_next_start_all_the_same(
    home: Home, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    with a_node(home):
        home.json("backup", copy)
    assert home.json("restore", copy, "--at-restart")["running"] is False
    with a_node(home) as (running, _):
        pass
    assert "node.restored" in running.said


def test_a_wrong_use_says_what_is_missing(home: Home) -> None:
    assert "file: is missing" in home.refused("restore")
    assert "forget: goes with --data only" in home.refused("restore", "x.db", "--forget")
