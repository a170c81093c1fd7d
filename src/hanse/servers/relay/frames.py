"""WebSocket frames as the relay writes them: unmasked, unfragmented text (RFC 6455), built so that
many of them leave in one write with little work for each.

    frame of an EVENT   head | prefix = ["EVENT",id, | the event's own JSON | ]

An event's JSON is never copied into a message of its own: `bytes.join` puts it straight between a
subscription's prefix and what all subscriptions share.
"""

import struct
from collections.abc import Sequence

_SMALL = 126
_MIDDLE = 65_536

_middle_head = struct.Struct(">HH").pack
_MIDDLE_TEXT = 0x817E

_KNOWN = 4096
"""Sizes whose headers are made once: nearly all events are smaller."""


def head(size: int) -> bytes:
    """The header before a text of `size` bytes."""
    if size < _SMALL:
        return bytes((0x81, size))
    if size < _MIDDLE:
        return _middle_head(_MIDDLE_TEXT, size)
    return b"\x81\x7f" + size.to_bytes(8)


_next_heads = tuple(b"]" + head(size) for size in range(_KNOWN))
"""By size: the `]` that ends one message, and the next one's header."""


def frame(text: bytes) -> bytes:
    """One message as a frame."""
    return head(len(text)) + text


def between(bodies: Sequence[bytes], prefix_size: int) -> list[bytes]:
    """What stands before, between and after the prefixes of a row of EVENT frames: a subscription's
    prefix of that size joins it to the bytes to send. `bodies` are events' JSON."""
    more = prefix_size + 1
    found = [head(more + len(bodies[0]))]
    last = b""
    for body in bodies:
        if last:
            found.append(b"%b]%b" % (last, head(more + len(body))))
        last = body
    found.append(last + b"]")
    return found


def answer(prefix: bytes, bodies: Sequence[bytes], sizes: Sequence[int], end: bytes) -> bytes:
    """Stored events, whose JSON has these sizes, as EVENT frames, then the frame `end`: the bytes
    of a whole answer."""
    more = len(prefix) + 1
    heads = [
        _next_heads[more + size] if more + size < _KNOWN else b"]" + head(more + size)
        for size in sizes
    ]
    heads[0] = heads[0][1:]
    # Filled by slices: a third cheaper than a loop that appends three parts for each row.
    parts = [prefix] * (3 * len(bodies))
    parts[0::3] = heads
    parts[2::3] = bodies
    parts += (b"]", end)
    return b"".join(parts)


def answer_of_one(prefix: bytes, body: bytes, end: bytes) -> bytes:
    """The same of one event."""
    return b"".join((head(len(prefix) + len(body) + 1), prefix, body, b"]", end))
