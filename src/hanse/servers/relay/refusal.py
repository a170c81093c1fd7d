"""What a connection hears that is refused for its address: an HTTP answer, then its end.

    refused ─→ the request's first bytes ─→ answered, our side closed ─→ theirs closed
       └─────────────────────┴── LINGER_S, or LINGER_BYTES_MAX ──┴─→ cut off

Nothing of a request is parsed or kept for this. What still comes of it is thrown away for a moment:
a connection closed over unread bytes is reset, and a reset takes the answer out of its client's
hands.
"""

import asyncio
from http import HTTPStatus

from hanse.errors import HanseError

AT_ONCE_MAX = 100
"""Refused connections that are answered at once; one more is cut off."""

LINGER_S = 1.0
"""From the refusal to the end."""

LINGER_BYTES_MAX = 2 << 20
"""Bytes thrown away of one connection: more than any request has that we take."""


class Refusals:
    """Those of one node."""

    def __init__(self) -> None:
        self.under_way = 0

    def begin(self, transport: asyncio.Transport, reason: HanseError) -> "Refusal | None":
        """Refuse a connection for this reason; None, and it is cut off, if too many are."""
        if self.under_way >= AT_ONCE_MAX:
            transport.abort()
            return None
        self.under_way += 1
        return Refusal(self, transport, reason)


class Refusal:
    """One connection's. Whoever began it tells what comes, and that it is over."""

    def __init__(
        self, refusals: Refusals, transport: asyncio.Transport, reason: HanseError
    ) -> None:
        self._refusals = refusals
        self._transport = transport
        self._reason = reason
        self._is_answered = False
        self._room = LINGER_BYTES_MAX
        self._alarm = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def heard(self, size: int) -> None:
        """So many bytes came."""
        self._room -= size
        if self._room < 0:
            self._transport.abort()
        elif not self._is_answered:
            self.answer()

    def answer(self) -> None:
        """There is a request: without one, no answer would be taken for one (RFC 9112 9.2)."""
        self._is_answered = True
        self._transport.write(response(self._reason))
        self._transport.write_eof()

    def over(self) -> None:
        """The connection is lost."""
        self._alarm.cancel()
        self._refusals.under_way -= 1


def response(reason: HanseError) -> bytes:
    """The whole response. When there will be a place nobody knows: it names no time to wait."""
    body = f"{reason.wire}\n".encode()
    status = HTTPStatus(reason.status)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "content-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
