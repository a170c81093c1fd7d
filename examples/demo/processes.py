"""The demo's processes: started in order, waited for by their first line, all ended at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

READY_S = 60


class Processes:
    """Owns every process of the demo. Their errors go to files in `logs`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, home: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS` as the operator whose keys are in `home`."""
        errors = (self._logs / f"{name}.log").open("w", encoding="utf-8")
        with errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=os.environ | {"HANSE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._running.append((name, process))
        return process

    def first_line(self, process: subprocess.Popen[str]) -> str:
        """Wait until a started process says it is ready."""
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            name = next(name for name, found in self._running if found is process)
            words = (self._logs / f"{name}.log").read_text(encoding="utf-8")
            raise SystemExit(f"{name} did not start:\n{words[-2000:]}")
        return line

    def end(self) -> None:
        """Stop all, last first; whoever does not listen within 5 s is killed."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        for _, process in reversed(self._running):
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def hanse(home: Path, *arguments: str) -> Any:
    """One `hanse … --json` command of an operator; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "hanse", *arguments, "--json"],
        env=os.environ | {"HANSE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"hanse {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)
