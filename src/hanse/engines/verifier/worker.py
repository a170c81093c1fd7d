"""The process that checks signatures: `python -m hanse.engines.verifier.worker`, on a socket as its
standard input.

    in    pubkey ‖ digest ‖ sig, 128 bytes each        out   READY once, then GOOD or BAD for each

It ends when the other side does, and only then: who stops a node with all its processes would have
it gone while the node still answers.
"""

import signal
import socket

from hanse.protocol.signature import PACKED_BYTES, verify_packed

READY = b"\x02"

READ_BYTES = 64 << 10
ANSWERED_AT_ONCE = 32 * PACKED_BYTES
"""So many bytes are checked before their answer leaves: the node goes on with them meanwhile."""


def main() -> None:
    """Serve until the socket ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as line:
        line.sendall(READY)
        left = b""
        while data := line.recv(READ_BYTES):
            data = left + data
            whole = len(data) - len(data) % PACKED_BYTES
            for first in range(0, whole, ANSWERED_AT_ONCE):
                line.sendall(verify_packed(data[first : min(first + ANSWERED_AT_ONCE, whole)]))
            left = data[whole:]


if __name__ == "__main__":
    main()
