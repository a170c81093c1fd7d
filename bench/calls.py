"""Calls: paid calls end to end, and what they add to calling the same MCP tool directly.

Three processes as in life: the node (`hanse up`), a provider, and this one with the callers.
Each call
is found, priced, held, delivered, checked, settled and receipted, with synchronous=FULL on disk.

    throughput   a function served with the SDK, 32 callers at once, and 1
    added        an MCP tool wrapped by `hanse serve mcp`, one call at a time, against the official
                 client calling that same server directly; both in turn in one run

CPU is user + system of all three processes' trees, from /proc.
Last line: {"paid_calls_per_s", "added_p50_ms", "cpu_ms_per_call", …}.
"""

import argparse
import asyncio
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

from hanse import Agent

CONCURRENT = 32
MCP_SERVER = """
from mcp.server import MCPServer

server = MCPServer("adder")


@server.tool()
async def add(a: int, b: int) -> int:
    "Add two numbers"
    return a + b


server.run()
"""
FUNCTION = """
async def add(a: int, b: int) -> int:
    "Add two numbers"
    return a + b
"""


def hanse(home: Path, *arguments: str) -> Any:
    """One command of the command line; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "hanse", *arguments, "--json"],
        env=os.environ | {"HANSE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@contextmanager
def started(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A long-running command; yields once it printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hanse", *arguments],
        env=os.environ | {"HANSE_HOME": str(home), "PYTHONPATH": f"{home}:{_path()}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"{arguments[0]} did not start")
        yield process
    finally:
        process.terminate()
        process.wait(timeout=10)


def _path() -> str:
    return os.environ.get("PYTHONPATH", "")


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its living children."""
    total = 0.0
    for found in (pid, *_children(pid)):
        fields = Path(f"/proc/{found}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in text]


async def throughput(agent: Agent, seconds: float, concurrent: int) -> tuple[float, list[float]]:
    """(calls per second, latencies in ms) of settled calls by `concurrent` callers."""
    offer = (await agent.find("add two numbers function"))[0]
    assert offer.name == "sum"
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(seed: int) -> None:
        while time.perf_counter() < end:
            begun = time.perf_counter()
            result = await agent.call(offer, {"a": seed, "b": len(latencies)})
            assert result.settled, result
            latencies.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for seed in range(concurrent):
            tasks.create_task(caller(seed))
    return len(latencies) / (time.perf_counter() - begun), latencies


async def added(agent: Agent, server: Path, calls: int) -> tuple[float, float]:
    """(direct p50, paid p50) in ms of the same MCP tool, in turn."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    direct: list[float] = []
    paid: list[float] = []
    command = StdioServerParameters(command=sys.executable, args=[str(server)])
    async with Client(stdio_client(command)) as client:
        for number in range(calls + 5):
            begun = time.perf_counter()
            await client.call_tool("add", {"a": number, "b": 1})
            between = time.perf_counter()
            result = await agent.call("adder", {"a": number, "b": 1}, capability="add")
            ended = time.perf_counter()
            assert result.settled, result
            if number >= 5:  # the first few load modules on both sides
                direct.append((between - begun) * 1000)
                paid.append((ended - between) * 1000)
    return statistics.median(direct), statistics.median(paid)


async def measure(home: Path, pids: list[int], quick: bool) -> dict[str, Any]:
    """All figures."""
    seconds = 4.0 if quick else 10.0
    async with Agent.from_home("default", home) as agent:
        await throughput(agent, 1.0, CONCURRENT)  # warm
        before = [cpu_s(pid) for pid in pids] + [time.process_time()]
        rate, latencies = await throughput(agent, seconds, CONCURRENT)
        after = [cpu_s(pid) for pid in pids] + [time.process_time()]
        used = [
            (end - start) / len(latencies) * 1000 for start, end in zip(before, after, strict=True)
        ]
        alone, single = await throughput(agent, seconds / 4, 1)
        direct, paid = await added(agent, home / "mcp_server.py", 100 if quick else 400)
    ordered = sorted(latencies)
    return {
        "paid_calls_per_s": round(rate),
        "added_p50_ms": round(paid - direct, 3),
        "cpu_ms_per_call": round(sum(used), 3),
        "node_cpu_ms_per_call": round(used[0], 3),
        "provider_cpu_ms_per_call": round(used[1], 3),
        "caller_cpu_ms_per_call": round(used[-1], 3),
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
        "single_calls_per_s": round(alone),
        "single_p50_ms": round(statistics.median(single), 3),
        "direct_mcp_p50_ms": round(direct, 3),
        "paid_mcp_p50_ms": round(paid, 3),
        "calls": len(latencies),
    }


def main() -> None:
    """Set up, run, print, take down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, ExitStack() as stack:
        home = Path(folder)
        (home / "mcp_server.py").write_text(MCP_SERVER)
        (home / "sums.py").write_text(FUNCTION)
        hanse(home, "init")
        for name in ("function", "wrapped"):
            hanse(home, "agent", "add", name)
        up = ("up", "--port", "0", "--grant", "100000000sat", "--json")
        node = stack.enter_context(started(home, *up))
        promise = ("--price", "10sat", "--latency-p95", "500ms", "--json")
        function = stack.enter_context(
            started(
                home,
                "serve",
                "python",
                "--agent",
                "function",
                "--name",
                "sum",
                *promise,
                "--about",
                "add two numbers function",
                "sums:add",
            )
        )
        stack.enter_context(
            started(
                home,
                "serve",
                "mcp",
                "--agent",
                "wrapped",
                *promise,
                "--",
                sys.executable,
                str(home / "mcp_server.py"),
            )
        )
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(measure(home, [node.pid, function.pid], quick))
    print(f"{figures['calls']} calls by {CONCURRENT} callers at once, receipts on, FULL sync")
    for name, value in figures.items():
        print(f"  {name:26} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
