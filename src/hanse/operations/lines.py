"""Lines of a stream, numbered and bounded, read ahead of whoever wants them by one batch."""

from typing import BinaryIO

LINE_BYTES_MAX = 1 << 20
"""A longer line holds no event: it is passed over, and told by its number."""

BATCH = 2000
BATCH_BYTES_MAX = 8 << 20
_CHUNK = 1 << 20

Line = tuple[int, bytes | None]
"""Its number from 1, and what it says; None if it is too long."""


class Lines:
    """The lines of one stream. `read_bytes` says how far it has come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = b""
        self._whole: list[bytes | None] = []
        self._number = 0
        self._skipping = False
        self._ended = False
        self.read_bytes = 0

    def batch(self) -> list[Line]:
        """The next lines that are not empty; none at the end. Waits for the stream."""
        found: list[Line] = []
        room = BATCH_BYTES_MAX
        while len(found) < BATCH and room > 0 and (self._whole or not self._ended):
            if not self._whole:
                self._read()
                continue
            line = self._whole.pop()
            self._number += 1
            if line is None:
                found.append((self._number, None))
            elif line := line.strip():
                found.append((self._number, line))
                room -= len(line)
        return found

    def _read(self) -> None:
        chunk = self._stream.read(_CHUNK)
        self.read_bytes += len(chunk)
        self._ended = not chunk
        whole: list[bytes | None] = []
        whole += (self._rest + chunk).split(b"\n")
        rest = whole.pop() or b""
        if self._skipping:
            if whole or self._ended:
                whole[:1] = [None]  # the end of what is too long
                self._skipping = False
            else:
                rest = b""
        if self._ended:
            whole += [rest] if rest else []
            rest = b""
        elif len(rest) > LINE_BYTES_MAX:
            self._skipping, rest = True, b""
        self._rest = rest
        self._whole = whole[::-1]
