"""WebSocket frames as the relay writes them: unmasked, unfragmented text (RFC 6455), built so that
many of them leave in one write with little work for each.

    frame of an EVENT   head | prefix = ["EVENT",id, | the event's own JSON | ]

An event's JSON is never copied into a message of its own: `bytes.join` puts it straight between a
subscription's prefix and what all subscriptions share.
"""

import struct
from collections.abc import Sequence

from hanse.ports import Row

_SMALL = 126
_MIDDLE = 65_536

_middle_head = struct.Struct(">HH").pack
_next_middle_head = struct.Struct(">BHH").pack  # the `]` that ends one message, the next one's head
_END, _MIDDLE_TEXT = ord("]"), 0x817E


def head(size: int) -> bytes:
    """The header before a text of `size` bytes."""
    if size < _SMALL:
        return bytes((0x81, size))
    if size < _MIDDLE:
        return _middle_head(_MIDDLE_TEXT, size)
    return b"\x81\x7f" + size.to_bytes(8)


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


def answer(prefix: bytes, rows: Sequence[Row], end: bytes) -> bytes:
    """Stored events as EVENT frames, then the frame `end`: the bytes of a whole answer."""
    more = len(prefix) + 1
    if len(rows) == 1:
        body = rows[0][3]
        return b"".join((head(more + len(body)), prefix, body, b"]", end))
    bodies = [row[3] for row in rows]
    sizes = [more + len(body) for body in bodies]
    if min(sizes) >= _SMALL and max(sizes) < _MIDDLE:
        pack = _next_middle_head
        heads = [pack(_END, _MIDDLE_TEXT, size) for size in sizes]
    else:
        heads = [b"]" + head(size) for size in sizes]
    heads[0] = heads[0][1:]
    # Filled by slices: a third cheaper than a loop that appends three parts for each row.
    parts = [prefix] * (3 * len(rows))
    parts[0::3] = heads
    parts[2::3] = bodies
    parts += (b"]", end)
    return b"".join(parts)
