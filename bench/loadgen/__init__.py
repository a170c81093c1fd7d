"""The load generator: C on one epoll, built here on first use and run per measurement.

C because it shares the machine with the relay it measures: its own cost must stay small, and every
answer is still checked. Only the benchmark needs a compiler.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

SOURCES = Path(__file__).parent
RUN_MAX_S = 1800


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A running relay and the processes whose CPU and memory count as its own."""

    host: str
    port: int
    pids: tuple[int, ...]


class Mismatch(Exception):
    """The relay answered something other than what is right; holds the figures and the words."""


def cache_folder() -> Path:
    """Where built and made things are kept between runs: one folder of this user's."""
    folder = Path(tempfile.gettempdir()) / f"hanse-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        stop(f"{folder} belongs to somebody else: name another with TMPDIR=…")
    return folder


def compiler() -> str | None:
    """$CC or cc, if it is here."""
    return shutil.which(os.environ.get("CC") or "cc")


def build() -> Path:
    """The program; compiled once per content of its sources. Exits with 2 without a compiler."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    program = cache_folder() / f"loadgen-{digest}"
    if program.exists():
        return program
    found = compiler()
    if found is None:
        stop("this benchmark builds its load generator: install a C compiler (cc), or set CC=…")
    building = program.with_suffix(f".{os.getpid()}")
    code = [str(path) for path in sources if path.suffix == ".c"]
    done = subprocess.run(
        [found, "-O2", "-o", str(building), *code], capture_output=True, text=True
    )
    if done.returncode:
        stop(f"{found} cannot build the load generator:\n{done.stderr}")
    building.rename(program)
    return program


def load(program: Path, target: Target, mode: str, *arguments: object) -> dict[str, Any]:
    """One run's figures. Raises Mismatch if any answer was wrong, missing or given twice."""
    done = run(program, target, mode, *arguments)
    if done.returncode or not done.stdout:
        raise Mismatch(f"{mode}: {done.stdout.strip() or 'no figures'}\n{done.stderr.strip()}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def run(
    program: Path, target: Target, mode: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """One run as it ended."""
    pids = ",".join(map(str, target.pids))
    command = [str(program), target.host, str(target.port), pids, mode, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_MAX_S)


def files(paths: Sequence[Path]) -> list[str]:
    """Paths as arguments."""
    return [str(path) for path in paths]


def stop(why: str) -> NoReturn:
    """Say why the benchmark cannot run, and exit with 2."""
    print(f"bench: {why}", file=sys.stderr)
    raise SystemExit(2)
