"""Export, import and vacuum by the command line: what goes out comes in, whatever happens."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from tests.relay_peer import a_peer
from tests.system.cli_home import Home
from tests.system.test_backup import a_node, ids_in

from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event, sign_event

pytestmark = pytest.mark.heavy  # a process or more for each test

SECRET, OTHER = new_secret(), new_secret()
NOW = int(time.time())


def an_event(content: str = "", kind: int = 1, at: int = NOW, *tags: tuple[str, ...]) -> Event:
    return sign_event(SECRET, kind=kind, created_at=at, content=content, tags=tags)


def of_all_sorts() -> list[Event]:
    """Events of every class, none of which takes another's place."""
    wrapped = sign_event(
        OTHER,
        kind=kinds.GIFT_WRAP,
        created_at=NOW,
        content="A" + "g" * 199,
        tags=[["p", SECRET.public]],
    )
    return [
        *(an_event(f"note {number} é🦀", 1, NOW - number) for number in range(300)),
        an_event("{}", kinds.PROFILE),
        an_event("text", 30_023, NOW, ("d", "x")),
        an_event("", kinds.DELETION, NOW, ("e", "ab" * 32)),
        an_event("mine alone", 1, NOW, ("-",)),
        an_event("for a while", 1, NOW, ("expiration", str(NOW + 9999))),
        wrapped,
    ]


def written(path: Path, events: list[Event]) -> Path:
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    return path


def ids(path: Path) -> list[str]:
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.json("init")
    return found


@contextmanager
def another(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "another")
    found.json("init")
    yield found


def test_what_was_exported_comes_in_elsewhere_as_the_same_log(home: Home, tmp_path: Path) -> None:
    events = of_all_sorts()
    source = written(tmp_path / "events.jsonl", events)
    found = home.json("import", str(source))
    assert (found["kept"], found["refused"], found["problems"]) == (len(events), {}, [])
    out = tmp_path / "out.jsonl"
    assert home.json("export", str(out))["events"] == len(events)
    assert out.read_bytes() == source.read_bytes()  # in the order they came in
    with another(tmp_path) as second:
        assert second.json("import", str(out))["kept"] == len(events)
        third = tmp_path / "third.jsonl"
        second.json("export", str(third))
        assert third.read_bytes() == out.read_bytes()


async def test_a_node_that_runs_takes_an_import_by_its_door(home: Home, tmp_path: Path) -> None:
    events = [event for event in of_all_sorts() if ("-",) not in event.tags]
    source = written(tmp_path / "events.jsonl", events)
    with a_node(home) as (_, url):
        async with a_peer(url) as peer:
            await peer.say("REQ", "live", {"kinds": [kinds.PROFILE]})
            while (await peer.hear())[0] != "EOSE":
                pass
            assert home.json("import", str(source))["kept"] == len(events)
            assert (await peer.hear())[2]["kind"] == kinds.PROFILE
        again = home.json("import", str(source))
        assert (again["kept"], again["duplicates"]) == (0, len(events))
        done = home.run("export", "-")
        assert len(done.stdout.splitlines()) == len(events)
        assert f"{len(events)} events" in done.stderr


@pytest.mark.parametrize("running", [False, True])
async def test_bad_lines_are_named_by_number_and_the_others_kept(
    home: Home, tmp_path: Path, running: bool
) -> None:
    good, stale = an_event("good"), an_event("soon", 1, NOW + 9_999)
    forged = orjson.dumps({**orjson.loads(encode_event(good)), "content": "changed"})
    source = tmp_path / "events.jsonl"
    lines = [
        *(b"", encode_event(good), b"{", b'{"id":1}', forged.replace(good.id.encode(), b"0" * 64)),
        *(encode_event(stale), encode_event(an_event("x", 20_001)), encode_event(an_event("last"))),
    ]
    source.write_bytes(b"\n".join(lines))
    if running:
        with a_node(home):
            found = home.json("import", str(source))
    else:
        found = home.json("import", str(source))
    assert (found["kept"], found["refused"]) == (2, {"invalid": 5})
    reasons = {row["line"]: row["reason"] for row in found["problems"]}
    assert sorted(reasons) == [3, 4, 5, 6, 7]
    assert reasons[3] == "invalid: event: is not JSON"
    assert "event.id" in reasons[4]
    assert "does not match" in reasons[5]
    assert "in the future" in reasons[6]
    assert "ephemeral" in reasons[7]


@pytest.mark.parametrize("running", [False, True])
async def test_a_dry_run_checks_and_counts_and_keeps_nothing(
    home: Home, tmp_path: Path, running: bool
) -> None:
    here, new = an_event("here"), an_event("new")
    home.json("import", str(written(tmp_path / "first.jsonl", [here])))
    source = written(tmp_path / "events.jsonl", [here, new, new])
    line = encode_event(an_event("signed"))
    forged = orjson.dumps({**orjson.loads(line), "sig": "0" * 128})
    source.write_bytes(source.read_bytes() + b"\n".join([b"{", forged]))
    words = ("import", str(source), "--dry-run")
    if running:
        with a_node(home):
            found = home.json(*words)
    else:
        found = home.json(*words)
    counts = (found["dry_run"], found["kept"], found["duplicates"], found["refused"])
    assert counts == (True, 1, 2, {"invalid": 2})
    assert [row["line"] for row in found["problems"]] == [4, 5]
    assert ids_in(home.folder / "data/hanse.db") == {here.id}


def test_a_dry_run_makes_no_database(home: Home, tmp_path: Path) -> None:
    written(tmp_path / "events.jsonl", [an_event("one"), an_event("two", 1, NOW + 9_999)])
    done = home.run("import", "events.jsonl", "--dry-run", "--data", "other")
    assert done.stdout == "1 events would be kept, 0 were here, 1 refused.\n"
    assert "in the future" in done.stderr
    assert not (tmp_path / "other").exists()
    line = home.refused("import", "-", "--dry-run", "--stop-on-error", stdin=b"{")
    assert line.endswith("(0 events before it would be kept)")


def test_what_is_for_lists_is_refused_for_events(home: Home, tmp_path: Path) -> None:
    written(tmp_path / "events.jsonl", [an_event()])
    for name, words in (("share", ["--share"]), ("limit", ["--limit", "5"])):
        line = home.refused("import", "events.jsonl", *words)
        assert line == f"invalid: {name}: is for lists of services, and this holds events"
    assert not (home.folder / "data").exists()


def test_an_import_of_which_every_line_is_refused_fails(home: Home) -> None:
    assert home.json("import", "-", code=0)["lines"] == 0
    done = home.run("import", "-", stdin=b"{\n[]\n")
    assert (done.returncode, done.stdout) == (1, "0 events kept, 0 were here, 2 refused.\n")


def test_stopping_at_an_error_keeps_what_stood_before_it(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "events.jsonl"
    first, last = encode_event(an_event("first")), encode_event(an_event("last"))
    source.write_bytes(b"\n".join([first, b"[]", last]))
    line = home.refused("import", str(source), "--stop-on-error")
    assert line.startswith("invalid: line 2: ")
    assert line.endswith("(1 events before it were kept)")
    done = home.run("import", "-", stdin=source.read_bytes())
    assert done.stdout == "1 events kept, 1 were here, 1 refused.\n"
    assert done.stderr.startswith("line 2: invalid: ")


def test_an_import_that_was_killed_is_done_again(home: Home, tmp_path: Path) -> None:
    events = [an_event(f"note {number}", 1, NOW - number) for number in range(12_000)]
    source = written(tmp_path / "events.jsonl", events)
    database = home.folder / "data/hanse.db"
    before_any = written(tmp_path / "first.jsonl", events[:2000])
    home.json("import", str(before_any))  # so that a kill meets events, not the making of tables
    for _ in range(3):
        kept = ids_in(database)
        with home.started("import", str(source)) as running:
            while running.process.poll() is None:
                if len(ids_in(database)) > len(kept):
                    running.stop(signal.SIGKILL)
                time.sleep(0.005)
        assert len(ids_in(database)) % 2000 == 0  # a batch is there whole or not at all
    found = home.json("import", str(source))
    assert (found["kept"] + found["duplicates"], found["refused"]) == (len(events), {})
    assert ids_in(database) == {event.id for event in events}


def test_a_filter_narrows_an_export(home: Home, tmp_path: Path) -> None:
    written(tmp_path / "events.jsonl", of_all_sorts())
    home.json("import", "events.jsonl")
    found = home.json("export", "--filter", '{"kinds":[0,30023]}', "some.jsonl")
    assert found["events"] == len(ids(tmp_path / "some.jsonl")) == 2
    line = home.refused("export", "--filter", '{"limit":3}', "few.jsonl")
    assert line == "invalid: filter.limit: is for queries (use since and until)"
    assert not (tmp_path / "few.jsonl").exists()
    assert "is there already" in home.refused("export", "some.jsonl")


def test_what_the_operator_removed_is_not_imported_again(home: Home, tmp_path: Path) -> None:
    doomed = an_event("doomed")
    removal = an_event("", kinds.DELETION, NOW, ("e", doomed.id))
    written(tmp_path / "events.jsonl", [doomed, removal])
    assert home.json("import", "events.jsonl")["kept"] == 2
    found = home.json("import", "events.jsonl")
    assert (found["kept"], found["duplicates"], found["refused"]) == (0, 1, {"restricted": 1})


async def test_a_vacuum_gives_back_what_retention_left(home: Home, tmp_path: Path) -> None:
    old = [an_event("much " * 500, 1, 1000 + number) for number in range(1500)]
    written(tmp_path / "events.jsonl", [*old, an_event("new")])
    home.json("import", "events.jsonl")
    with a_node(home, "--retain", "1=30d") as (_, url):
        async with a_peer(url) as peer:
            while len(await peer.ask({"kinds": [1]})) > 1:
                pass
        small = home.json("vacuum")
        assert not small["whole"]
        assert small["free"] > 1_000_000
    found = home.json("vacuum")
    assert found["whole"]
    assert found["after"] < found["before"] - 1_000_000
    assert found["free"] == 0
    written(tmp_path / "more.jsonl", old)
    home.json("import", "more.jsonl")
    with a_node(home, "--log-max", "1events") as (_, url):
        async with a_peer(url) as peer:
            while len(await peer.ask({"kinds": [1]})) > 1:
                pass
        steps = home.json("vacuum")  # the database is made for small steps now
        assert not steps["whole"]
        assert steps["free"] == 0
    assert len(json.loads(home.run("export", "-").stdout)["id"]) == 64


def test_settings_that_make_no_sense_are_named_before_the_node_starts(home: Home) -> None:
    assert "retain: '1' is not KIND=AGE" in home.refused("up", "--retain", "1")
    assert "retain: kind 31402 is always kept" in home.refused("up", "--retain", "31402=1d")
    for text in ("10gb", "10", "10GBevents"):
        line = home.refused("up", "--log-max", text)
        assert f"log-max: '{text}' is not a size with its unit" in line
