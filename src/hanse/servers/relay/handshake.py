"""The way in: an HTTP connection becomes a WebSocket, or is served by the app, or ends in time.

uvicorn reads HTTP; here it learns patience's bounds: so many connections in all and of one address,
so long and so many bytes for a request to arrive. Then picows parses frames on uvicorn's port:
uvicorn's `ws=` takes any asyncio protocol factory, and a subclass of picows' protocol feeds it the
upgrade request that uvicorn had already read. Its constructor is semi-private: the lock pins
picows, and tests open, fragment, overflow and abort real connections.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from picows import WSCloseCode, WSUpgradeRequest
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hanse.errors import Blocked, HanseError, RateLimited
from hanse.servers.relay.addresses import counted, is_loopback
from hanse.servers.relay.refusal import Refusal, Refusals
from hanse.servers.relay.relay import Relay, SocketLimits
from hanse.servers.relay.socket import Connection

_log = logging.getLogger("hanse.relay")

READ_BUFFER_BYTES = 2048
"""picows' least. It doubles when a message needs more, and never shrinks."""

LARGE_BUFFER_BYTES = 64 << 10
"""From here on a read buffer is large: of those there may be only so many at once."""

FAREWELL_S = 1.0
"""How long a client may take to answer the close of a node that stops."""

SPARE_CONNECTIONS = 1000
"""HTTP connections beside the WebSockets."""


_get_buffer = WSProtocol.get_buffer  # for each read: `super()` would cost as much as the call


class Quiet:
    """The logger that picows gets: it makes one for each connection if it is given a real one. What
    clients do wrong is no news; what raises in our code is."""

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802  logging's name
        """See `logging.Logger`."""
        return False

    def debug(self, *_: object) -> None:
        """See `logging.Logger`."""

    log = info = warning = error = debug

    def exception(self, text: str, *arguments: object) -> None:
        """See `logging.Logger`."""
        _log.exception(text, *arguments)


_QUIET = Quiet()


class Places:
    """How many connections there are, in all and for each address. A proxy's are everybody's: each
    counts for whom it is, once that is known."""

    def __init__(
        self, limits: SocketLimits, is_proxy: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._limits = limits
        self._is_proxy = is_proxy
        self.taken = 0
        self._of: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """Take a place for a connection; False if there is none."""
        if self.is_full or not self._count(address):
            return False
        self.taken += 1
        return True

    @property
    def is_full(self) -> bool:
        """Whether there is none for anybody."""
        return self.taken >= self._limits.connections_max + SPARE_CONNECTIONS

    def move(self, before: str, now: str) -> bool:
        """Count a connection for another address; False, and it stays, if that has its most."""
        if before != now:
            if not self._count(now):
                return False
            self._uncount(before)
        return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        self.taken -= 1
        self._uncount(address)

    def _count(self, address: str) -> bool:
        site = counted(address)
        of_one = self._of.get(site, 0)
        if of_one >= self._limits.of_one_address_max and not self._is_many(address):
            return False
        self._of[site] = of_one + 1
        return True

    def _is_many(self, address: str) -> bool:
        return is_loopback(address) or self._is_proxy(address)

    def _uncount(self, address: str) -> None:
        site = counted(address)
        left = self._of[site] - 1
        if left:
            self._of[site] = left
        else:
            del self._of[site]


class Entrance:
    """Makes the protocols that uvicorn asks for: `http` and `websocket`."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.places = Places(relay.limits, relay.admission.is_proxy)
        self.refusals = Refusals()
        self._large: dict[UvicornSocket, None] = {}

    def http(self, *arguments: Any, **named: Any) -> "PatientHttp":
        """uvicorn's `http=` factory."""
        return PatientHttp(self, *arguments, **named)

    def websocket(self, config: Any, server_state: Any, app_state: Any) -> "UvicornSocket":
        """uvicorn's `ws=` factory."""
        return UvicornSocket(self, server_state)

    def accept(self, request: WSUpgradeRequest, address: str) -> Connection | None:
        """The listener of a new WebSocket from this address, or None to refuse it."""
        if request.path.split(b"?")[0] != b"/":
            return None
        relay = self.relay
        if relay.draining or len(relay.connections) >= relay.limits.connections_max:
            return None
        return Connection(self.relay, address)

    def grew(self, socket: "UvicornSocket") -> None:
        """Its read buffer became large: over the bound, the one that grew first gives its up."""
        self._large[socket] = None
        if len(self._large) > self.relay.limits.large_buffers_max:
            first = next(iter(self._large))
            del self._large[first]
            first.transport.send_close(WSCloseCode.GOING_AWAY, b"the relay needs its memory back")
            first.transport.disconnect()

    def left(self, socket: "UvicornSocket") -> None:
        """It ended."""
        self.places.leave(socket.address)
        self._large.pop(socket, None)


class PatientHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with an end to its patience."""

    def __init__(self, entrance: Entrance, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._entrance = entrance
        self._limits = entrance.relay.limits
        self._peer = ""
        self.address: str | None = None
        """Whom the connection counts for, while it has a place."""
        self._refusal: Refusal | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio."""
        super().connection_made(transport)
        self._peer = self._origin(self.client[0] if self.client else "", None)
        if self._entrance.places.take(self._peer):
            self.address = self._peer
            if self.client:  # uvicorn looks it up among the proxies as it is written
                self.client = self._peer, self.client[1]
            self._wait()
        elif self._entrance.places.is_full:
            transport.abort()
        else:
            self._refusal = self._entrance.refusals.begin(transport, self._too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio."""
        self._wait_no_more()
        if self._refusal is not None:
            self._refusal.over()
        if self.address is not None:
            self._entrance.places.leave(self.address)
            self.address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        if self._refusal is not None:
            self._refusal.heard(len(data))
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.request_head_bytes_max + len(data):
                self.transport.abort()
                return
            if self._alarm is None:
                self._wait()  # the next request on a connection that is kept
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """httptools. From here on it is known whom a proxy's connection is for."""
        self._head_bytes = -1
        if not self._move(self._origin(self._peer, self._forwarded())):
            self._refuse(self._too_many())
            raise _NoPlace
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """httptools."""
        self._head_bytes = 0
        self._wait_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """uvicorn. A proxy keeps its connection, for whoever comes next."""
        if not self.pipeline:
            self._move(self._peer)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn: what came is no HTTP, or was refused a place. That has its answer, or none."""
        if self._refusal is None and not self.transport.is_closing():
            super().send_400_response(msg)

    def handle_websocket_upgrade(self) -> None:
        """uvicorn: from here on picows reads; the place goes with the connection."""
        if self.address in self._entrance.relay.admission.lists.denied_addresses:
            self._refuse(Blocked("this address may not connect"))
            return
        self._wait_no_more()
        super().handle_websocket_upgrade()
        # Nothing more comes here, and what this holds is more than the WebSocket's own state.
        self.parser = None  # type: ignore[assignment]
        self.headers = []
        self.scope = None  # type: ignore[assignment]

    def _origin(self, peer: str, forwarded: str | None) -> str:
        return self._entrance.relay.admission.origin(peer, forwarded)

    def _forwarded(self) -> str | None:
        """All that X-Forwarded-For says: a proxy may add its line below one that a client sent."""
        lines = [value for name, value in self.headers if name == b"x-forwarded-for"]
        return b",".join(lines).decode("latin-1") if lines else None

    def _move(self, address: str) -> bool:
        """Count for this address from now on; False if it has no place."""
        if self.address is None or not self._entrance.places.move(self.address, address):
            return False
        self.address = address
        return True

    def _too_many(self) -> RateLimited:
        return RateLimited(f"at most {self._limits.of_one_address_max} connections of one address")

    def _refuse(self, reason: HanseError) -> None:
        """Answer a request with this and take nothing more. One behind another that is not answered
        yet is cut off with it: whose answer comes first would not be told apart."""
        self._wait_no_more()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        self._refusal = self._entrance.refusals.begin(self.transport, reason)
        if self._refusal is not None:
            self._refusal.answer()

    def _wait(self) -> None:
        self._alarm = self.loop.call_later(self._limits.request_s, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class _NoPlace(Exception):
    """Ends the reading of a request whose client has no place."""


class UvicornSocket(WSProtocol):  # type: ignore[misc]  # picows ships no types for its C classes
    """picows' protocol as uvicorn wants one."""

    __slots__ = ("_entrance", "_is_large", "_server_state", "address")

    def __init__(self, entrance: Entrance, server_state: Any) -> None:
        super().__init__(
            None,  # host and path: client side only
            None,
            False,
            self._accept,
            _QUIET,
            True,  # disconnect when a listener raises
            5,  # handshake timeout, s
            False,  # no pings of its own: `Relay` has one task for all
            None,
            None,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # no pongs of its own: they must not pile up
            entrance.relay.limits.message_bytes_max,
            None,
            READ_BUFFER_BYTES,
        )
        self._entrance = entrance
        self._server_state = server_state
        self._is_large = False
        self.address = ""

    def _accept(self, request: WSUpgradeRequest) -> Connection | None:
        return self._entrance.accept(request, self.address)

    def get_buffer(self, size_hint: int) -> memoryview:
        """asyncio: where to read to."""
        found: memoryview = _get_buffer(self, size_hint)
        # Half of it is free when it has just doubled.
        if len(found) > LARGE_BUFFER_BYTES // 2 and not self._is_large:
            self._is_large = True
            self._entrance.grew(self)
        return found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        super().connection_made(transport)
        # uvicorn's protocol has the connection until this one has read the request again.
        self.address = cast("PatientHttp", transport.get_protocol()).address or ""
        self._server_state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio."""
        self._server_state.connections.discard(self)
        self._entrance.left(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """uvicorn: the server is ending."""
        self.transport.send_close(WSCloseCode.GOING_AWAY, b"the node is stopping")
        # To end now, with its messages unread, would reset the connection: the client would lose
        # the last OKs. It ends with the client's own close, or after a while.
        loop = asyncio.get_running_loop()
        loop.call_later(FAREWELL_S, self.transport.disconnect)

    def data_received(self, data: bytes) -> None:
        """uvicorn replays the upgrade request it had read; picows reads into its own buffer."""
        view = memoryview(data)
        while view:
            buffer = self.get_buffer(-1)
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            del buffer
            view = view[count:]
            self.buffer_updated(count)
