"""The only file that touches WebSockets: frames in and out, and the life of one connection.

picows parses frames on uvicorn's port: uvicorn's `ws=` takes any asyncio protocol factory, and a
subclass of picows' protocol feeds it the upgrade request uvicorn had already read. Its constructor
is semi-private: the lock pins picows, and tests open, fragment, overflow and abort real
connections.

Everything sent in one turn of the loop leaves in one write: five times the deliveries per
CPU-second of a write each. A reader that does not keep up is dropped, never waited for.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]

from hanse.errors import HanseError
from hanse.ports import Clock, Presence
from hanse.protocol import message, session
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import identify
from hanse.servers.relay.answer import Answer
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.watch import Watch

_QUIET = logging.getLogger("hanse.picows")
_QUIET.setLevel(logging.CRITICAL)


class SocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one connection's bytes."""

    message_bytes_max: int = 1 << 20
    unsent_bytes_max: int = 16 << 20
    connections_max: int = 10_000
    ping_s: float = 30.0


class Relay:
    """What every connection of this relay shares."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        answer: Answer,
        watch: Watch,
        presence: Presence,
        clock: Clock,
        hosts: frozenset[str],
        new_challenge: Callable[[], str],
        session_limits: session.Limits,
        socket_limits: SocketLimits,
    ) -> None:
        self.ingest = ingest
        self.answer = answer
        self.watch = watch
        self.presence = presence
        self.clock = clock
        self.hosts = hosts
        self.new_challenge = new_challenge
        self.session_limits = session_limits
        self.limits = socket_limits
        self.connections: set[Connection] = set()

    def protocol(self, config: Any, server_state: Any, app_state: Any) -> "UvicornSocket":
        """uvicorn's `ws=` factory."""
        return UvicornSocket(self, server_state)


class Connection(WSListener):
    """One client: turns frames into session effects and effects into frames."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._session = session.Session(relay.new_challenge(), relay.hosts, relay.session_limits)
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._fragmented = False
        self._out: list[bytes] = []
        self._out_size = 0
        self._effects: dict[type, Callable[[Any], None]] = {
            session.Send: lambda effect: self.send(effect.text),
            session.Store: lambda effect: relay.ingest.submit(effect.raw, self.send),
            session.Watch: self._watch,
            session.Query: lambda effect: None,  # answered with its Watch, in one snapshot
            session.Unwatch: lambda effect: relay.watch.drop(self, effect.subscription),
            session.Authenticated: self._authenticated,
            session.Close: self._close,
        }

    @property
    def identities(self) -> set[PublicKey]:
        """The keys this client has proved."""
        return self._session.identities

    # --- from the client ----------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """picows: the handshake is done."""
        self._transport = transport
        self._relay.connections.add(self)
        self._perform(self._session.greet())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """picows: one frame arrived."""
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if kind is WSMsgType.PING or kind is WSMsgType.PONG:
            return
        if kind is WSMsgType.BINARY:
            self._close(session.Close("binary frames are not spoken here"))
            return
        if (kind is WSMsgType.CONTINUATION) != self._fragmented:
            transport.send_close(WSCloseCode.PROTOCOL_ERROR)
            transport.disconnect()
            return
        self._fragmented = not frame.fin
        payload = frame.get_payload_as_bytes()
        if frame.fin and kind is WSMsgType.TEXT:
            self._receive(payload)
            return
        self._parts.append(payload)
        self._parts_size += len(payload)
        if self._parts_size > self._relay.limits.message_bytes_max:
            transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()
        elif frame.fin:
            whole = b"".join(self._parts)
            self._parts, self._parts_size = [], 0
            self._receive(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """picows: the connection ended, however it did."""
        relay = self._relay
        relay.connections.discard(self)
        for name in self._session.subscriptions:
            relay.watch.drop(self, name)
        for pubkey in self._session.identities:
            relay.presence.leave(pubkey)
        self._transport = None

    def pause_writing(self) -> None:
        """asyncio: the buffer is over its mark; `_flush` judges by size."""

    def resume_writing(self) -> None:
        """asyncio: the buffer has room again."""

    # --- effects ------------------------------------------------------------------------------

    def _receive(self, text: bytes) -> None:
        self._perform(self._session.receive(text, self._relay.clock.now_s()))

    def _perform(self, effects: list[session.Effect]) -> None:
        for effect in effects:
            if self._transport is None:
                return
            self._effects[type(effect)](effect)

    def _watch(self, effect: session.Watch) -> None:
        name, relay = effect.subscription, self._relay
        watcher = relay.watch.add(self, name, effect.filters)
        if not relay.answer.answer(self, name, effect.filters, watcher):
            relay.watch.drop(self, name)
            self._session.subscriptions.discard(name)

    def _authenticated(self, effect: session.Authenticated) -> None:
        try:
            identify(effect.event)
        except HanseError as exc:
            # The key is proved; only its owner's attestation is not. Say so, and grant nothing.
            self.send(message.notice(exc.wire))
        self._relay.presence.arrive(effect.event.pubkey)

    def _close(self, effect: session.Close) -> None:
        if self._transport is None:
            return
        self.send(message.notice(f"error: {effect.reason}"))
        self._flush()
        self._transport.send_close(WSCloseCode.POLICY_VIOLATION, effect.reason.encode())
        self._transport.disconnect()

    # --- to the client ------------------------------------------------------------------------

    def send(self, text: bytes) -> None:
        """Queue one text message; it leaves at the end of this turn of the loop."""
        if self._transport is None:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(text)
        self._out_size += len(text)
        if self._out_size > self._relay.limits.unsent_bytes_max:
            # Many large answers asked for in one breath: gone before they fill the memory.
            self._out, self._out_size = [], 0
            transport, self._transport = self._transport, None
            transport.disconnect(graceful=False)

    def _flush(self) -> None:
        out, self._out, self._out_size = self._out, [], 0
        transport = self._transport
        if transport is None or not out or transport.is_close_frame_sent:
            return
        under = transport.underlying_transport
        if under.get_write_buffer_size() > self._relay.limits.unsent_bytes_max:
            transport.disconnect(graceful=False)
            return
        under.write(b"".join([part for text in out for part in (_head(len(text)), text)]))


def _head(size: int) -> bytes:
    """The header of an unfragmented, unmasked text frame (RFC 6455)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


class UvicornSocket(WSProtocol):  # type: ignore[misc]  # picows ships no types for its C classes
    """picows' protocol as uvicorn wants one."""

    def __init__(self, relay: Relay, server_state: Any) -> None:
        limits = relay.limits

        def accept(request: WSUpgradeRequest) -> Connection | None:
            if request.path.split(b"?")[0] != b"/":
                return None
            if len(relay.connections) >= limits.connections_max:
                return None
            return Connection(relay)

        super().__init__(
            None,  # host and path: client side only
            None,
            False,
            accept,
            _QUIET,
            True,  # disconnect when a listener raises
            5,  # handshake timeout, s
            True,
            limits.ping_s,
            limits.ping_s,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            True,
            limits.message_bytes_max,
            None,
            16384,
        )
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        super().connection_made(transport)
        self._server_state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio."""
        self._server_state.connections.discard(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """uvicorn: the server is ending."""
        self.transport.send_close(WSCloseCode.GOING_AWAY, b"the node is stopping")
        self.transport.disconnect()

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
