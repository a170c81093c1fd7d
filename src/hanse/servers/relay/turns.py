"""What leaves together at the end of one turn of the loop, over all clients.

To wake the reader is a seventh of what a small answer costs, and one who is awake reads several. So
under load the answers of one turn wait for each other. Without load nothing waits: the reader asks
on while we still tidy up, and nobody falls asleep in between.
"""

import asyncio
from typing import Protocol

BUSY = 4.5
"""Answers in a turn, over the last ones, from which on those of the next one wait."""
RECENT = 8
"""Turns that count for it: after one of many, some with the last few of them follow."""

ANSWERS_TOGETHER = 8
ANSWERS_BYTES = 64 << 10
"""So many of them wait for each other, or so large."""


class Writer(Protocol):
    """A client as far as bytes go to it."""

    def queue(self, frames: bytes) -> None:
        """Keep whole frames until `flush`, for which it asks with `Turns.flush_soon`."""

    def deliver(self, frames: bytes) -> None:
        """Write whole frames, behind what is queued."""

    def flush(self) -> None:
        """Write what is queued."""


class Turns:
    """Of one relay. Make it where its loop runs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writers: list[Writer] = []
        self._ends = False
        """Whether the end of this turn will be told."""
        self._answers = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._load = 0.0
        """Answers in a turn lately."""

    def flush_soon(self, writer: Writer) -> None:
        """Have it flushed at the end of this turn: one callback for all."""
        if not self._ends:
            self._begin()
        self._writers.append(writer)

    def answer(self, writer: Writer, frames: bytes) -> None:
        """Write an answer: now, or with others of this turn."""
        if not self._ends:
            self._begin()
        self._answers += 1
        if self._load < BUSY:
            writer.deliver(frames)
            return
        writer.queue(frames)
        self._waiting += 1
        self._waiting_bytes += len(frames)
        if self._waiting >= ANSWERS_TOGETHER or self._waiting_bytes > ANSWERS_BYTES:
            self._flush()

    def _begin(self) -> None:
        self._ends = True
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._ends = False
        self._load += (self._answers - self._load) / RECENT
        self._answers = 0
        self._flush()

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        self._waiting = self._waiting_bytes = 0
        for writer in writers:
            writer.flush()
