"""The relay: what an event, an answer, a delivery and an idle connection cost its CPU and memory.

A node as `hanse up` starts it, with every feature on, in a fresh folder; or, with --against, any
relay that runs already. The load generator is C (bench/loadgen), on the same cores, and checks
every answer: each event acknowledged once, each answer the right events (counted and summed
against a search by hand), each delivery made once. CPU is user + system of the relay's process
tree, memory its anonymous memory, both from /proc. What it does with events after the last OK
counts as theirs; queries begin when it rests.

    verify      one bare Schnorr check, in this process: the floor under an event
    load        the store goes in, 8 connections × 32 under way
    query       14 rows over that store, 8 connections, one query under way on each
    ingest      notes, 8 connections × 16 under way; and one connection, one at a time
    mixed       the same, of which a tenth replaces or deletes something
    10k idle    the same with 10,000 open subscriptions that match nothing
    fan-out     1,000 subscribers; 16 events under way, and one at a time
    idle        connections with one subscription each, on a node of its own

    --growth    instead: cost per event and per query while the log grows, drawn as SVG

Last line: {"verify_cpu_ms", "ingest_cpu_ms_per_event", "ingest_ok_per_s", "ok_p50_ms",
"query_ROW_cpu_ms", "fanout_us_per_delivery", "fanout_p50_ms", "idle_kib", …}. Exits with 1 if any
answer was wrong. A relay with rate limits must not count them against 127.0.0.1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from coincurve import PublicKeyXOnly

from bench.loadgen import Mismatch, Target, build, files, load, stop
from bench.plot import write_plot
from bench.stores import (
    CHUNK,
    ROWS,
    fan_events,
    mixed_events,
    note_events,
    query_file,
    store_events,
)
from hanse.protocol.event import parse_event

CONNECTIONS = 8
WINDOW = 16
LOAD_WINDOW = 32
SUBSCRIBERS = 1000
OTHER_SUBSCRIPTIONS = 10_000
GROWTH = (100_000, 300_000, 1_000_000, 3_000_000, 5_000_000)
IDLE_FILTER = json.dumps({"kinds": [1], "authors": [f"{1:064x}"]}, separators=(",", ":"))


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each load."""

    events: int = 100_000
    query_s: float = 2.0
    rounds: int = 3
    notes: int = 20_000
    serial: int = 4_000
    fan: int = 400
    fan_serial: int = 200
    idle: int = 10_000


QUICK = Amounts(
    events=20_000, query_s=0.5, notes=4_000, serial=800, fan=150, fan_serial=60, idle=2_000
)


# --- the relay under load ---------------------------------------------------------------------


@contextmanager
def started() -> Iterator[Target]:
    """A node of this checkout on a fresh folder, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder:
        home = Path(folder)
        environment = os.environ | {"HANSE_HOME": folder}
        hanse = [sys.executable, "-m", "hanse"]
        subprocess.run([*hanse, "init", "--json"], env=environment, check=True, capture_output=True)
        process = subprocess.Popen(
            [*hanse, "up", "--port", "0", "--data", str(home / "data"), "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                stop("the node did not start")
            port = int(json.loads(line)["url"].rpartition(":")[2].strip("/"))
            yield Target(host="127.0.0.1", port=port, pids=(process.pid,))
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def verify_cpu_ms(sample: Path) -> float:
    """CPU of one bare signature check: the median of five passes over the same events."""
    events = [parse_event(line) for line in sample.read_bytes().splitlines()[:2000]]
    triples = [
        (PublicKeyXOnly(bytes.fromhex(event.pubkey)), bytes.fromhex(event.sig), event.id)
        for event in events
    ]
    checks = [(key.verify, signature, bytes.fromhex(id)) for key, signature, id in triples]
    passes = []
    for _ in range(5):
        begun = time.process_time()
        for verify, signature, digest in checks:
            assert verify(signature, digest)
        passes.append((time.process_time() - begun) / len(checks) * 1000)
    return statistics.median(passes)


class Bench:
    """One relay, the loads on it, and the figures they gave."""

    def __init__(self, program: Path, amounts: Amounts, seed: int) -> None:
        self.program = program
        self.amounts = amounts
        self.seed = seed
        self.figures: dict[str, float] = {}

    def load(self, target: Target, mode: str, *arguments: object) -> dict[str, Any]:
        """One run of the generator."""
        return load(self.program, target, mode, *arguments)

    def note(self, **figures: float) -> None:
        """Keep figures, and show them as they come."""
        for name, value in figures.items():
            self.figures[name] = float(f"{value:.4g}")
            print(f"  {name:32} {self.figures[name]:g}", flush=True)

    def make(self) -> None:
        """Make every event first: signing must not share the cores with what is measured."""
        amounts, seed = self.amounts, self.seed
        query_file(store_events(seed), amounts.events)
        for number in range(amounts.rounds):
            note_events(seed + 10 + number).files(amounts.notes)
        mixed_events(seed + 30).files(amounts.notes)
        note_events(seed + 8).files(amounts.serial)
        note_events(seed + 9).files(amounts.notes)
        fan_events(seed + 20).files(amounts.fan)
        fan_events(seed + 21).files(amounts.fan_serial)

    def run(self, target: Target) -> None:
        """Everything but the idle connections."""
        self.note(
            verify_cpu_ms=verify_cpu_ms(note_events(self.seed + 10).files(self.amounts.notes)[0])
        )
        self.fill(target, 0, self.amounts.events)
        self.queries(target, self.amounts.events)
        self.ingest(target)
        self.fan_out(target)

    def fill(self, target: Target, kept: int, wanted: int) -> tuple[float, float]:
        """Bring the store from `kept` to `wanted` events; CPU ms per event, and of a bare check of
        a signature meanwhile, which says how fast the machine was."""
        paths = store_events(self.seed).files(wanted)[kept // CHUNK :]
        parts = [paths[first : first + 10] for first in range(0, len(paths), 10)]
        costs, rates, checks = [], [], []
        for part in parts:
            found = self.load(target, "ingest", CONNECTIONS, LOAD_WINDOW, 0, *files(part))
            costs += [float(found["server_cpu_ms"])] * len(part)
            rates.append(float(found["per_s"]))
            checks.append(verify_cpu_ms(part[0]))
        cost, check = statistics.mean(costs), statistics.median(checks)
        self.note(load_cpu_ms_per_event=cost, load_ok_per_s=statistics.median(rates))
        return cost, check

    def queries(self, target: Target, events: int) -> dict[str, float]:
        """CPU ms per answer of every row."""
        path = query_file(store_events(self.seed), events)
        costs = {}
        for row in ROWS:
            found = self.load(target, "query", path, row, CONNECTIONS, self.amounts.query_s)
            costs[row] = float(found["server_cpu_ms"])
            self.note(
                **{
                    f"query_{row}_cpu_ms": found["server_cpu_ms"],
                    f"query_{row}_per_s": found["per_s"],
                }
            )
        return costs

    def ingest(self, target: Target) -> None:
        """Notes on top of the store."""
        amounts, seed = self.amounts, self.seed
        rounds = [
            self.load(
                target,
                "ingest",
                CONNECTIONS,
                WINDOW,
                0,
                *files(note_events(seed + 10 + number).files(amounts.notes)),
            )
            for number in range(amounts.rounds)
        ]
        self.note(
            ingest_cpu_ms_per_event=statistics.median(found["server_cpu_ms"] for found in rounds),
            ingest_ok_per_s=statistics.median(found["per_s"] for found in rounds),
            ingest_ok_p50_ms=statistics.median(found["ok_p50_ms"] for found in rounds),
            ingest_ok_p99_ms=statistics.median(found["ok_p99_ms"] for found in rounds),
        )
        mixed = files(mixed_events(seed + 30).files(amounts.notes))
        found = self.load(target, "ingest", CONNECTIONS, WINDOW, 0, *mixed)
        self.note(
            ingest_mixed_cpu_ms_per_event=found["server_cpu_ms"],
            ingest_mixed_ok_per_s=found["per_s"],
        )
        serial = files(note_events(seed + 8).files(amounts.serial))
        found = self.load(target, "ingest", 1, 1, 0, *serial)
        self.note(
            ok_p50_ms=found["ok_p50_ms"],
            ok_per_s=found["per_s"],
            ok_cpu_ms=found["server_cpu_ms"],
        )
        notes = files(note_events(seed + 9).files(amounts.notes))
        found = self.load(target, "ingest", CONNECTIONS, WINDOW, OTHER_SUBSCRIPTIONS, *notes)
        self.note(ingest_cpu_ms_per_event_10k_idle=found["server_cpu_ms"])

    def fan_out(self, target: Target) -> None:
        """One publisher and SUBSCRIBERS who all want what it says."""
        for window, seed, count in (
            (WINDOW, self.seed + 20, self.amounts.fan),
            (1, self.seed + 21, self.amounts.fan_serial),
        ):
            events = fan_events(seed)
            wanted = json.dumps({"kinds": [1], "#t": [events.topic]}, separators=(",", ":"))
            path = events.files(count)[0]
            found = self.load(target, "fanout", SUBSCRIBERS, window, wanted, path)
            cost_us = found["server_cpu_ms"] * 1000
            if window == 1:
                self.note(
                    fanout_w1_us_per_delivery=cost_us,
                    fanout_p50_ms=found["delivery_p50_ms"],
                    fanout_last_p50_ms=found["last_p50_ms"],
                )
            else:
                self.note(fanout_us_per_delivery=cost_us, fanout_per_s=found["per_s"])

    def idle(self, target: Target) -> None:
        """Connections that only listen."""
        found = self.load(target, "idle", self.amounts.idle, IDLE_FILTER)
        self.note(
            idle_kib=found["anon_kib_each"],
            idle_connections=found["connections"],
            idle_open_cpu_ms=found["server_cpu_ms"],
        )

    def growth(self, target: Target, most: int, path: Path) -> None:
        """Cost at each size up to `most`, printed and drawn."""
        lines: dict[str, list[tuple[float, float]]] = {}
        kept = 0
        for size in [size for size in GROWTH if size <= most]:
            query_file(store_events(self.seed), size)
            print(f"{size} events", flush=True)
            cost, check = self.fill(target, kept, size)
            lines.setdefault("ingest", []).append((size, cost))
            lines.setdefault("a signature check", []).append((size, check))
            self.figures[f"ingest_cpu_ms_per_event_{size}"] = cost
            self.note(**{f"ingest_checks_per_event_{size}": cost / check})
            for row, cost in self.queries(target, size).items():
                lines.setdefault(row, []).append((size, cost))
                self.figures[f"query_{row}_cpu_ms_{size}"] = cost
            kept = size
        write_plot(path, "Cost while the log grows", "events in the log", "CPU ms each", lines)
        print(f"drawn in {path}")


# --- the command ------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="bench.relay", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller store, shorter runs")
    parser.add_argument("--events", type=int, help="size of the store (with --growth: at most)")
    parser.add_argument("--growth", type=Path, metavar="SVG", help="measure while the log grows")
    parser.add_argument("--against", metavar="HOST:PORT", help="a relay that runs already")
    parser.add_argument("--pid", default="", help="its process ids, by comma")
    parser.add_argument("--seed", type=int, default=2, help="other events, for a used relay")
    found = parser.parse_args()
    if found.against and not found.pid:
        parser.error("--against needs --pid: whose CPU is it?")
    if found.growth and (found.events or GROWTH[0]) < GROWTH[0]:
        parser.error(f"--growth begins at {GROWTH[0]} events")
    if found.events is not None and (found.events < CHUNK or found.events % CHUNK):
        parser.error(f"--events must be a multiple of {CHUNK}")
    return found


def measure(asked: argparse.Namespace, bench: Bench) -> None:
    """All that was asked for, on one relay."""
    with ExitStack() as stack:
        if asked.against:
            host, _, port = asked.against.rpartition(":")
            pids = tuple(int(pid) for pid in asked.pid.split(","))
            target = Target(host=host or "127.0.0.1", port=int(port), pids=pids)
        else:
            target = stack.enter_context(started())
        if asked.growth:
            bench.growth(target, asked.events or 3_000_000, asked.growth)
            return
        bench.run(target)
        if asked.against:
            bench.idle(target)
            return
    # On a node of its own: memory that earlier loads gave back would hide what a connection takes.
    with started() as target:
        bench.idle(target)


def main() -> None:
    """Build, make, measure, print."""
    asked = arguments()
    program = build()
    amounts = QUICK if asked.quick else Amounts()
    if asked.events and not asked.growth:
        amounts = msgspec.structs.replace(amounts, events=asked.events)
    bench = Bench(program, amounts, asked.seed)
    print("making events …", flush=True)
    if not asked.growth:
        bench.make()
    try:
        measure(asked, bench)
    except Mismatch as exc:
        print(f"wrong answers: {exc}", file=sys.stderr)
        raise SystemExit(1) from exc
    print(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
