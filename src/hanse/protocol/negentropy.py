"""Which events does each of two sides lack? Set reconciliation, Negentropy protocol v1 (NIP-77).

Both order their items by (created_at, id) and compare ranges of that order by fingerprint. A range
that differs is cut into smaller ones until its ids are few enough to list. The client asks and
learns; the server answers, and keeps nothing between two messages.

    message := 0x61 range…         range := bound mode payload
    bound   := time length prefix  upper end, exclusive, of the range that begins at the last bound
    mode    := 0 skip | 1 fingerprint, 16 bytes | 2 count and ids

Numbers are base 128, most significant digit first. A time is written as 1 + its distance from the
time before it in the message; 0 is infinity. What follows the last range is skipped.

A message that would be over its bound ends early, with one fingerprint of all it did not come to. A
difference in there that was told before is then told again: whoever reads have and need counts an
id once.

A malformed message is refused with Invalid. Work and answer are bounded by the message and the
items, the answer's bytes by `frame_bytes_max` if it is set.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import accumulate

import msgspec

from hanse.errors import Invalid

VERSION = b"\x61"

FRAME_BYTES_MIN = 4096
"""The least bound on a message: one cut of a range must fit, or no message would get further."""

_SKIP, _FINGERPRINT, _IDS = 0, 1, 2
_START, _END = b"\0" * 8, b"\xff" * 8
_ID_BYTES = 32
_FINGERPRINT_BYTES = 16
_DIGITS_MAX = 10
_CUTS = 16
_LISTED_MAX = 2 * _CUTS - 1
_RESERVED_BYTES = 160
"""Kept free in a bounded message: a skip (44), a list's head (49), the last fingerprint (60)."""

_Range = tuple[bytes, bytes, bytes]
"""Lower bound, upper bound, mode and payload. A bound, like an item's key, is 8 bytes of time and
then id bytes, so that bytes compare in the protocol's order; zeros at a bound's end are cut off."""


class Step(msgspec.Struct, frozen=True):
    """What one answer taught the client: its next message (None: done), the ids that only it has,
    and the ids that only the server has."""

    reply: bytes | None
    have: list[bytes]
    need: list[bytes]


class Negentropy:
    """One side: its items, each (created_at, id), and what it says about them."""

    def __init__(self, items: Iterable[tuple[int, bytes]], *, frame_bytes_max: int = 0) -> None:
        if frame_bytes_max and frame_bytes_max < FRAME_BYTES_MIN:
            raise Invalid.at("frame_bytes_max", f"must be 0 (no bound) or from {FRAME_BYTES_MIN}")
        self._frame_bytes_max = frame_bytes_max or 2**63
        try:
            self._keys = sorted({time.to_bytes(8, "big") + id for time, id in items})
        except OverflowError as exc:
            raise Invalid.at("items", "times must be from 0 to 2^64 - 2") from exc
        if self._keys and self._keys[-1] >= _END:
            raise Invalid.at("items", "times must be from 0 to 2^64 - 2")
        if any(len(key) != len(_START) + _ID_BYTES for key in self._keys):
            raise Invalid.at("items", f"ids must have {_ID_BYTES} bytes")
        self._sums: list[int] = []

    def __len__(self) -> int:
        return len(self._keys)

    def initiate(self) -> bytes:
        """The client's first message."""
        out = _Writer(self._frame_bytes_max)
        out.add(self._cut(0, len(self._keys), _START, _END))
        return bytes(out.data)

    def reconcile(self, message: bytes) -> Step:
        """The client reads an answer. Raises Invalid, also for a version we do not speak."""
        if message[:1] != VERSION:
            raise Invalid.at("negentropy", "is not version 1 of the protocol")
        have: list[bytes] = []
        need: list[bytes] = []
        out = _Writer(self._frame_bytes_max)
        ranges, end = self._read(message)
        for first, last, (lower, upper, payload) in ranges:
            if payload[0] == _IDS:
                mine = [key[8:] for key in self._keys[first:last]]
                theirs = dict.fromkeys(_ids(payload))
                have += [id for id in mine if id not in theirs]
                ours = set(mine)
                need += [id for id in theirs if id not in ours]
            elif not self._ask(out, first, last, (lower, upper, payload)):
                self._rest(out, lower, first, end)
                break
        return Step(bytes(out.data) if len(out.data) > 1 else None, have, need)

    def respond(self, message: bytes) -> bytes:
        """The server's answer; to another version, the one it speaks. Raises Invalid."""
        if not message:
            raise Invalid.at("negentropy", "is empty")
        if message[:1] != VERSION:
            return VERSION
        out = _Writer(self._frame_bytes_max)
        ranges, end = self._read(message)
        for first, last, (lower, upper, payload) in ranges:
            if payload[0] == _IDS:
                fit = min(last, first + out.room // _ID_BYTES)
                part = upper if fit == last else lower
                if first < fit < last:
                    part = _between(self._keys[fit - 1], self._keys[fit])
                out.put(lower, part, self._list(first, fit))
                if fit < last:
                    self._rest(out, part, fit, end)
                    break
            elif not self._ask(out, first, last, (lower, upper, payload)):
                self._rest(out, lower, first, end)
                break
        return bytes(out.data)

    # --- ranges -------------------------------------------------------------------------------

    def _read(self, message: bytes) -> tuple[list[tuple[int, int, _Range]], tuple[int, bytes]]:
        """A message's ranges up to the last that asks something, each with the first and last
        (exclusive) index of our items in it; and where they end, as index and bound."""
        found: list[tuple[int, int, _Range]] = []
        first = asked = 0
        for one in _ranges(message):
            last = bisect_left(self._keys, one[1], first)
            found.append((first, last, one))
            first = last
            if one[2][0] != _SKIP:
                asked = len(found)
        del found[asked:]
        return found, (found[-1][1], found[-1][2][1]) if found else (0, _START)

    def _ask(self, out: "_Writer", first: int, last: int, theirs: _Range) -> bool:
        """Answer their fingerprint, if ours differs; False if that has no room in the message."""
        lower, upper, payload = theirs
        if payload[0] != _FINGERPRINT or payload == self._fingerprint(first, last):
            return True
        return out.add(self._cut(first, last, lower, upper))

    def _rest(self, out: "_Writer", lower: bytes, first: int, end: tuple[int, bytes]) -> None:
        """End a full message: what it did not come to is one range, to be cut later on."""
        out.put(lower, end[1], self._fingerprint(first, end[0]))

    def _cut(self, first: int, last: int, lower: bytes, upper: bytes) -> list[_Range]:
        """Ask about a range: list its ids if they are few, else fingerprint equal parts of it."""
        count = last - first
        if count <= _LISTED_MAX:
            return [(lower, upper, self._list(first, last))]
        marks = [first + count * number // _CUTS for number in range(_CUTS + 1)]
        bounds = [_between(self._keys[mark - 1], self._keys[mark]) for mark in marks[1:-1]]
        return [
            (low, high, self._fingerprint(start, end))
            for low, high, start, end in zip(
                [lower, *bounds], [*bounds, upper], marks[:-1], marks[1:], strict=True
            )
        ]

    def _list(self, first: int, last: int) -> bytes:
        ids = b"".join([key[8:] for key in self._keys[first:last]])
        return bytes((_IDS,)) + _number(last - first) + ids

    def _fingerprint(self, first: int, last: int) -> bytes:
        if not self._sums:
            # Running sums make any range's sum one subtraction, whatever it covers.
            numbers = (int.from_bytes(key[8:], "little") for key in self._keys)
            self._sums = list(accumulate(numbers, initial=0))
        total = (self._sums[last] - self._sums[first]) % 2 ** (8 * _ID_BYTES)
        digest = sha256(total.to_bytes(_ID_BYTES, "little") + _number(last - first)).digest()
        return bytes((_FINGERPRINT,)) + digest[:_FINGERPRINT_BYTES]


class _Writer:
    """A message under construction; ranges that nobody put are skipped."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray(VERSION)
        self._bytes_max = bytes_max
        self._time = 0
        self._done = _START

    @property
    def room(self) -> int:
        """Bytes that may still be put."""
        return max(0, self._bytes_max - _RESERVED_BYTES - len(self.data))

    def add(self, ranges: list[_Range]) -> bool:
        """Put all of them, or none if they have no room."""
        before = len(self.data), self._time, self._done
        for found in ranges:
            self.put(*found)
        if len(self.data) <= self._bytes_max - _RESERVED_BYTES:
            return True
        size, self._time, self._done = before
        del self.data[size:]
        return False

    def put(self, lower: bytes, upper: bytes, payload: bytes) -> None:
        """Put a range, after a skip if it does not begin where the last one ended."""
        if lower != self._done:
            self._bound(lower)
            self.data.append(_SKIP)
        self._bound(upper)
        self.data += payload

    def _bound(self, bound: bytes) -> None:
        if bound == _END:
            self.data += b"\0\0"
        else:
            time = int.from_bytes(bound[:8], "big")
            self.data += _number(1 + time - self._time) + bytes((len(bound) - 8,)) + bound[8:]
            self._time = time
        self._done = bound


def _ranges(message: bytes) -> Iterator[_Range]:
    """The ranges of a message of our version, in order. Raises Invalid."""
    at, time, lower = len(VERSION), 0, _START
    while at < len(message):
        if lower == _END:
            raise Invalid.at("negentropy", "has a range after the last")
        distance, at = _read_number(message, at)
        size, at = _read_number(message, at)
        if size > (_ID_BYTES if distance else 0):
            raise Invalid.at("negentropy", "a bound's prefix is too long")
        prefix, at = _take(message, at, size)
        upper = _END
        if distance:
            time += distance - 1
            if time >= 2**64 - 1:
                raise Invalid.at("negentropy", "a bound's time is past infinity")
            upper = time.to_bytes(8, "big") + prefix.rstrip(b"\0")
        if upper < lower:
            raise Invalid.at("negentropy", "bounds must ascend")
        payload, at = _read_payload(message, at)
        yield lower, upper, payload
        lower = upper


def _read_payload(message: bytes, at: int) -> tuple[bytes, int]:
    mode, end = _read_number(message, at)
    if mode == _FINGERPRINT:
        end += _FINGERPRINT_BYTES
    elif mode == _IDS:
        count, end = _read_number(message, end)
        end += count * _ID_BYTES
    elif mode != _SKIP:
        raise Invalid.at("negentropy", f"range mode {mode} is unknown")
    return _take(message, at, end - at)


def _take(message: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(message):
        raise Invalid.at("negentropy", "ends too early")
    return message[at : at + size], at + size


def _read_number(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for digit in message[at : at + _DIGITS_MAX]:
        at += 1
        value = value << 7 | digit & 127
        if digit < 128:
            return value, at
        if value == 0:
            raise Invalid.at("negentropy", "a number begins with zeros")
    raise Invalid.at("negentropy", "ends within a number, or the number is too long")


def _number(value: int) -> bytes:
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))


def _ids(payload: bytes) -> list[bytes]:
    _, start = _read_number(payload, 1)
    return [payload[at : at + _ID_BYTES] for at in range(start, len(payload), _ID_BYTES)]


def _between(before: bytes, after: bytes) -> bytes:
    """The shortest bound that parts two neighbouring items."""
    size = len(_START)
    if before[:size] == after[:size]:
        while before[:size] == after[:size]:
            size += 1
    return after[:8] + after[8:size].rstrip(b"\0")
