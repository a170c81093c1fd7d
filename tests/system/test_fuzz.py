"""Short runs of both fuzzers; `python -m tests.fuzz.socket --seconds 600` and
`python -m tests.fuzz.inside -max_total_time=600 FOLDER` are the long ones."""

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.mutate import Source
from tests.fuzz.socket import fuzz

SECONDS = float(os.environ.get("HANSE_FUZZ_S", "20"))
SEED = 1
RUNS = int(os.environ.get("HANSE_FUZZ_RUNS", "100000"))
"""Inputs of the one that coverage guides: some 8 s."""

guided = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris has wheels for Linux on x86-64 and Python 3.11 to 3.13 only",
)

BREAKS = """
import sys
from tests.fuzz import inside

def breaks(data):
    if data[:1] == b"[":
        raise KeyError("planted")

inside.READERS[:] = [breaks]
inside.main(sys.argv)
"""
"""A fuzzer whose reader has a fault."""


def test_the_same_seed_gives_the_same_messages() -> None:
    one, two, other = Source(1, 10**9), Source(1, 10**9), Source(2, 10**9)
    texts = [one.text() for _ in range(50)]
    assert [two.text() for _ in range(50)] == texts
    assert [other.text() for _ in range(50)] != texts


@pytest.mark.heavy
def test_whatever_is_sent_is_answered_or_cut_off_and_never_a_fault_of_ours(tmp_path: Path) -> None:
    report = asyncio.run(fuzz(SECONDS, SEED, tmp_path))
    assert report.broken == [], report.text
    assert min(report.sent[kind] for kind in ("text", "frame", "request")) > 20


def _guided(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    flags = ["-seed=1", f"-runs={RUNS}", "-timeout=20", f"-artifact_prefix={folder.parent}/"]
    return subprocess.run(
        [sys.executable, *command, *flags, str(folder)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@guided
@pytest.mark.heavy
def test_no_bytes_that_coverage_leads_to_break_what_reads_a_strangers(tmp_path: Path) -> None:
    done = _guided("-m", "tests.fuzz.inside", folder=tmp_path / "corpus")
    assert done.returncode == 0, done.stderr[-2000:]
    covered = [int(found) for found in re.findall(r"cov: (\d+)", done.stderr)]
    assert covered[-1] > covered[0] * 1.2


@guided
@pytest.mark.heavy
def test_a_planted_fault_is_found_and_its_bytes_are_kept(tmp_path: Path) -> None:
    done = _guided("-c", BREAKS, folder=tmp_path / "corpus")
    assert done.returncode != 0
    assert "planted" in done.stdout + done.stderr
    (kept,) = tmp_path.glob("crash-*")
    assert kept.read_bytes()[1:2] == b"["
