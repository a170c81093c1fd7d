"""Checks signatures in a process of its own, and in threads as long as there is none.

The C library lets go of Python's lock for each signature; under load a thread then waits to have it
back, each time, and so does the event loop: on a busy machine up to a seventh of all that an event
costs. A process pays that once for many. It is started when first something is to be checked, since
many a node is never under load; what it leaves unanswered is checked here, and a new one started
later.
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import msgspec

from hanse.engines.verifier.worker import READY
from hanse.protocol.signature import verify_packed

_log = logging.getLogger("hanse.verifier")

THREADS = 2
RESTART_S = 10.0
"""So long after a process was lost, or did not start, another is tried."""
ANSWER_S = 5.0
"""A process that says nothing for so long, though it was asked, is given up."""
END_S = 5.0
"""How long one may take to end."""

_COMMAND = (sys.executable, "-m", "hanse.engines.verifier.worker")


class _Asked(msgspec.Struct, gc=False):
    """One question under way."""

    packed: bytes
    count: int
    answer: asyncio.Future[bytes]

    def take(self, found: asyncio.Future[bytes]) -> None:
        """Somebody else answered."""
        if not self.answer.done():
            self.answer.set_result(found.result())


class VerifierProcess:
    """Implements `ports.Verifier`. `async with` ends what it started."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._command = command
        self._line: _Line | None = None
        self._starting: asyncio.Task[None] | None = None
        self._not_before_s = 0.0
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, "hanse-verify")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closed = True
        if self._starting is not None:
            await self._starting
        if self._line is not None:
            await self._line.end()
        await self._loop.run_in_executor(None, self._threads.shutdown)

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._line.process.pid if self._line is not None else None

    def check(self, packed: Sequence[bytes]) -> asyncio.Future[bytes]:
        """See `ports.Verifier`."""
        joined = b"".join(packed)
        if self._line is not None:
            return self._line.ask(joined, len(packed))
        if self._starting is None and self._loop.time() >= self._not_before_s:
            self._starting = self._loop.create_task(self._start())
        return self._here(joined)

    def _here(self, packed: bytes) -> asyncio.Future[bytes]:
        return self._loop.run_in_executor(self._threads, verify_packed, packed)

    # --- the process --------------------------------------------------------------------------

    async def _start(self) -> None:
        self._not_before_s = self._loop.time() + RESTART_S
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await self._loop.run_in_executor(
                    self._threads, self._spawn, theirs.fileno()
                )
            _, line = await self._loop.create_connection(lambda: _Line(self, process), sock=ours)
            if await line.began and not line.ended.done():
                self._line = line
        except OSError as exc:
            ours.close()
            _log.warning("no process for signatures, so threads check them: %s", exc)
        finally:
            self._starting = None

    def _spawn(self, line: int) -> subprocess.Popen[bytes]:
        # A session of its own: ^C in a terminal is for the node, which then ends this one.
        return subprocess.Popen(
            self._command, stdin=line, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def lost(self, process: subprocess.Popen[bytes], unanswered: Iterable[_Asked]) -> None:
        """The process ended, or is given up: what it was asked is checked here."""
        self._line = None
        self._not_before_s = self._loop.time() + RESTART_S
        if not self._closed:
            _log.warning("the process for signatures is gone: threads check them, until the next")
        for asked in unanswered:
            self._here(asked.packed).add_done_callback(asked.take)
        self._threads.submit(_reap, process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """See that it ends."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Line(asyncio.Protocol):
    """The socket to one process. Answers come in the order of the questions."""

    def __init__(self, owner: VerifierProcess, process: subprocess.Popen[bytes]) -> None:
        self._owner = owner
        self.process = process
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._asked: deque[_Asked] = deque()
        self._answers = b""
        self._heard = True
        self._watch = loop.call_later(ANSWER_S, self._look)

    def connection_made(self, transport: Any) -> None:
        """asyncio: it is connected. uvloop's transports are none of asyncio's."""
        self._transport: asyncio.Transport = transport

    def ask(self, packed: bytes, count: int) -> asyncio.Future[bytes]:
        """Hand it `count` signatures."""
        answer: asyncio.Future[bytes] = self.began.get_loop().create_future()
        self._asked.append(_Asked(packed, count, answer))
        self._transport.write(packed)
        return answer

    def data_received(self, data: bytes) -> None:
        """asyncio: some answers came."""
        self._heard = True
        if not self.began.done():
            self.began.set_result(data[:1] == READY)
            data = data[1:]
        answers, asked = self._answers + data, self._asked
        while asked and len(answers) >= asked[0].count:
            first = asked.popleft()
            if not first.answer.done():
                first.answer.set_result(answers[: first.count])
            answers = answers[first.count :]
        self._answers = answers

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it ended."""
        self._watch.cancel()
        if not self.began.done():
            self.began.set_result(False)
        self.ended.set_result(None)
        self._owner.lost(self.process, self._asked)

    async def end(self) -> None:
        """Hang up, upon which the process ends."""
        self._transport.close()
        await self.ended

    def _look(self) -> None:
        if not self._heard and (self._asked or not self.began.done()):
            self.process.kill()
            return
        self._heard = False
        self._watch = self.began.get_loop().call_later(ANSWER_S, self._look)
