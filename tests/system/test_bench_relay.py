"""The relay's benchmark: its load generator builds, and notices every kind of wrong answer."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench import loadgen, relay
from bench.plot import write_plot
from bench.stores import ROWS, fan_events, query_file, store_events
from tests.conftest import running_node
from tests.fakes.short_relay import Fault, short_relay

from hanse.protocol.event import check_event, parse_event
from hanse.protocol.filter import parse_filter
from hanse.protocol.keys import SecretKey

EVENTS = 400
PROMISED = {
    "verify_cpu_ms",
    "ingest_cpu_ms_per_event",
    "ingest_ok_per_s",
    "ok_p50_ms",
    "query_ROW_cpu_ms",
    "fanout_us_per_delivery",
    "fanout_p50_ms",
    "idle_kib",
}
needs_compiler = pytest.mark.skipif(loadgen.compiler() is None, reason="needs a C compiler")


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is built and made goes where pytest cleans up."""
    patch = pytest.MonkeyPatch()
    patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("bench")))
    yield
    patch.undo()


async def under_load(port: int, mode: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    target = loadgen.Target(host="127.0.0.1", port=port, pids=(os.getpid(),))
    return await asyncio.to_thread(loadgen.run, loadgen.build(), target, mode, *arguments)


async def filled(port: int) -> subprocess.CompletedProcess[str]:
    return await under_load(port, "ingest", 4, 8, 20, *store_events().files(EVENTS))


async def asked(fault: Fault, row: str) -> subprocess.CompletedProcess[str]:
    async with short_relay(fault) as port:
        assert (await filled(port)).returncode == 0
        queries = query_file(store_events(), EVENTS)
        return await under_load(port, "query", queries, row, 2, 0.2)


@needs_compiler
async def test_right_answers_pass_and_are_counted() -> None:
    async with short_relay() as port:
        done = await filled(port)
        figures = json.loads(done.stdout)
        assert done.returncode == 0, done.stderr
        assert (figures["accepted"], figures["refused"], figures["odd"]) == (EVENTS, 0, 0)
        spent_s = figures["server_cpu_s"]
        queries = query_file(store_events(), EVENTS)
        for row in ("ids20", "tag_t", "home", "range", "miss"):
            done = await under_load(port, "query", queries, row, 2, 0.05)
            assert done.returncode == 0, (row, done.stderr)
            spent_s += json.loads(done.stdout)["server_cpu_s"]
        assert spent_s > 0  # of all together: a system's clock may show no single one


@needs_compiler
@pytest.mark.parametrize("fault", ["one event short", "another event"])
async def test_a_wrong_answer_is_noticed(fault: Fault) -> None:
    done = await asked(fault, "author")
    assert done.returncode == 1
    assert json.loads(done.stdout)["wrong"] > 0
    assert "wrong answer" in done.stderr


@needs_compiler
async def test_a_refused_event_is_noticed() -> None:
    async with short_relay("one refused") as port:
        done = await filled(port)
    assert done.returncode == 1
    assert json.loads(done.stdout)["refused"] == 1


@needs_compiler
@pytest.mark.parametrize(("fault", "twice"), [("none", 0), ("delivered twice", 60)])
async def test_a_delivery_made_twice_is_noticed(fault: Fault, twice: int) -> None:
    events = fan_events(5)
    wanted = json.dumps({"kinds": [1], "#t": [events.topic]})
    async with short_relay(fault) as port:
        done = await under_load(port, "fanout", 3, 4, wanted, events.files(20)[0])
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["delivered"] == 60
    assert figures["twice"] >= twice - 2  # the last ones may come after the end
    assert done.returncode == (1 if twice else 0)


@needs_compiler
async def test_idle_connections_are_held_and_weighed() -> None:
    async with short_relay() as port:
        done = await under_load(port, "idle", 100, json.dumps({"kinds": [1]}))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["subscribed"] == 100


@needs_compiler
async def test_the_last_line_has_every_key_that_is_promised(
    tmp_path: Path,
    operator: SecretKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of it, as small as it can be: whoever compares figures reads them by these names."""
    least = relay.Amounts(
        events=EVENTS, query_s=0.02, rounds=1, notes=100, serial=10, fan=5, fan_serial=5, idle=80
    )
    monkeypatch.setattr(relay, "QUICK", least)
    monkeypatch.setattr(relay, "SUBSCRIBERS", 5)
    monkeypatch.setattr(relay, "OTHER_SUBSCRIPTIONS", 10)
    async with running_node(tmp_path, operator, doors=frozenset()) as node:
        # Whose CPU it is is not said: the generator would wait each time until that rests.
        target = loadgen.Target(host="127.0.0.1", port=node.port, pids=())
        monkeypatch.setattr(relay, "started", lambda: nullcontext(target))
        monkeypatch.setattr(sys, "argv", ["bench.relay", "--quick"])
        await asyncio.to_thread(relay.main)
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    queries = {f"query_{row}_cpu_ms" for row in ROWS}
    assert (PROMISED - {"query_ROW_cpu_ms"}) | queries <= set(figures)
    assert all(isinstance(value, float) for value in figures.values())


def test_the_keys_that_are_promised_are_the_documented_ones() -> None:
    said = re.search(r"Last line: \{(.*?)…\}", relay.__doc__ or "", re.DOTALL)
    assert said is not None
    assert set(re.findall(r'"(\w+)"', said[1])) == PROMISED


def test_made_events_are_signed_and_the_expected_answers_are_what_filters_match() -> None:
    lines = store_events().files(EVENTS)[0].read_bytes().splitlines()
    events = sorted(map(parse_event, lines), key=lambda event: -event.created_at)
    for event in events[:50]:
        check_event(event)
    seen = set()
    for line in query_file(store_events(), EVENTS).read_text().splitlines()[::37]:
        row, text, count, xor = line.split("\t")
        wanted = parse_filter(json.loads(text), "filter")
        found = [event for event in events if wanted.matches(event)][: wanted.limit]
        expected = 0
        for event in found:
            expected ^= int(event.id[:16], 16)
        assert (len(found), expected) == (int(count), int(xor, 16)), line
        seen.add(row)
    assert seen == set(ROWS)


def test_without_a_compiler_the_benchmark_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.relay", "--quick"],
        env=os.environ | {"CC": "no-such-compiler", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert "C compiler" in done.stderr


def test_the_plot_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    lines = {"ingest": [(1e5, 0.1), (1e6, 0.11)], "a < b": [(1e5, 1.0), (1e6, 0.0)]}
    write_plot(path, "Title", "events", "ms", lines)
    drawn = ElementTree.parse(path).getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 2
