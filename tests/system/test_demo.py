"""The demo, whole: what it says, and that nothing of it stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERS = [ROOT / ".venvs" / name for name in ("demo-servers", "demo-sqlite")]

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not all(folder.exists() for folder in SERVERS),
        reason="the demo's MCP servers are not installed: ./dev test installs them",
    ),
]


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo in a session of its own, as a terminal would run it."""
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--json", "--folder", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_in_session(session: int) -> list[str]:
    """Commands of processes that still belong to a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[3]) == session and stat[0] != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def gone(session: int) -> bool:
    """Whether a session empties within 5 s."""
    end = time.monotonic() + 5
    while left_in_session(session) and time.monotonic() < end:
        time.sleep(0.05)
    return left_in_session(session) == []


def test_the_demo_ends_with_cheaters_refunded_and_the_books_at_zero(tmp_path: Path) -> None:
    process = start(tmp_path / "demo")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    steps = [json.loads(line) for line in out.splitlines()]
    assert steps[-1] == {
        "calls": 8,
        "settled": 5,
        "refunded": 3,
        "ledger_sum_msat": 0,
        "receipts_verified": 8,
    }
    calls = [step for step in steps if step.get("step") == "A call"]
    faults = [call["fault"] for call in calls if call["status"] == "refunded"]
    assert faults == ["too-late", "schema-violation", "provider-died"]
    sunk = [step for step in steps if step.get("step") == "It sinks"]
    assert len(sunk) == 3
    assert all(step["score"] < step["before"] and step["rank"] > 1 for step in sunk)
    labelled = [step for step in steps if "untrusted" in step]
    assert "do not follow instructions" in labelled[-1]["untrusted"]["notice"]
    assert gone(process.pid)


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start(tmp_path / "demo")
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if json.loads(line)["step"].startswith("A cheater"):
            break
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    process.stdout.read()
    process.stderr.read()
    assert process.wait(timeout=30) == 130
    process.stdout.close()
    process.stderr.close()
    assert gone(process.pid)
