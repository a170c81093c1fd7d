"""Homes and processes for the tests of the command line: real ones, ended by their own pid."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0


class Home:
    """A home folder, and `hanse` run with it."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.work = folder.parent
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HANSE_")}
        self._environment = kept | {
            "HANSE_HOME": str(folder),
            "PYTHONPATH": str(ROOT / "src"),
            **more,
        }

    def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """`hanse WORDS` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "hanse", *words],
            env=self._environment,
            cwd=self.work,
            input=stdin,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The one JSON object that `hanse WORDS --json` prints."""
        done = self.run(*words, "--json")
        assert done.returncode == code, (words, done.stdout, done.stderr)
        (line,) = done.stdout.splitlines()
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def refused(self, *words: str, stdin: bytes = b"") -> str:
        """The one line on stderr of `hanse WORDS`, which must be refused with exit code 1."""
        done = self.run(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, ""), (words, done.stdout, done.stderr)
        (line,) = done.stderr.splitlines()
        return line

    @contextmanager
    def started(self, *words: str) -> Iterator["Running"]:
        """`hanse WORDS` in the background, stopped when the block ends."""
        process = subprocess.Popen(
            [sys.executable, "-m", "hanse", *words],
            env=self._environment,
            cwd=self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            running.stop()


class Running:
    """A `hanse` process in the background."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout, self._lines.put)),
            threading.Thread(target=self._read, args=(process.stderr, self._errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, keep: Any) -> None:
        with stream:
            for line in stream:
                keep(line)
        keep("")

    def line(self) -> str:
        """The next line it prints."""
        found = self._lines.get(timeout=WAIT_S)
        assert found, f"it ended: {''.join(self._errors)}"
        return found.rstrip("\n")

    def children(self) -> list[int]:
        """The pids of its child processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does, and return its exit code. Killed if it does not obey."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            for reader in self._readers:
                reader.join(WAIT_S)

    @property
    def said(self) -> str:
        """All it wrote to stderr; complete once it has ended."""
        return "".join(self._errors)


def is_gone(pid: int) -> bool:
    """Whether a process has ended within a bounded wait; one that only waits to be reaped has."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False
