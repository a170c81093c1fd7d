"""One client's WebSocket, from its handshake (see `handshake.py`) to its end: frames in and out.

Short messages of one turn of the loop leave in one write, and so do answers under load (see
`turns.py`); live events are frames already and are written as they come. A reader that does not
keep up is dropped, never waited for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from hanse.errors import HanseError
from hanse.ports import Found
from hanse.protocol import message, session
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import identify
from hanse.servers.relay.answer import answer_frames
from hanse.servers.relay.compare import Comparison
from hanse.servers.relay.context import NO_OPERATORS
from hanse.servers.relay.frames import frame as framed
from hanse.servers.relay.reads import Line, failure
from hanse.servers.relay.relay import Relay
from hanse.servers.relay.shares import Share
from hanse.servers.relay.watch import READING, Watcher, values_of

_TEXT = WSMsgType.TEXT  # for each frame: to look a member up costs as much as a call

FRAGMENTS_MAX = 4096
"""Frames of one message: also empty ones take room until the last has come."""


class Connection(WSListener):
    """One client: turns frames into session effects and effects into frames."""

    __slots__ = (
        *("address", "operators"),
        *("_comparisons", "_line", "_out", "_out_size", "_parts", "_parts_size", "_quiet"),
        *("_relay", "_session", "_share", "_transport", "_under", "_watchers"),
    )

    door = "socket"

    def __init__(self, relay: Relay, address: str = "") -> None:
        self._relay = relay
        self.address = address
        self.operators = NO_OPERATORS
        self._session = session.Session(relay.new_challenge(), relay.hosts, relay.session_limits)
        self._transport: WSTransport | None = None
        self._under: Any = None
        self._quiet = 0
        self._line = Line(relay.reads)
        self._out_size = 0
        self._parts_size = 0
        # Made when first needed: an idle connection should cost little.
        self._out: list[bytes] | None = None
        self._parts: list[bytes] | None = None
        self._watchers: dict[str, Watcher] | None = None
        self._comparisons: dict[str, Comparison] | None = None
        self._share = Share(relay.shares, address)

    @property
    def identities(self) -> frozenset[PublicKey]:
        """The keys this client has proved."""
        return self._session.identities

    @property
    def unsent_bytes(self) -> int:
        """What waits to be read by the client."""
        return self._out_size + (self._under.get_write_buffer_size() if self._transport else 0)

    # --- from the client ----------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """picows: the handshake is done."""
        self._transport = transport
        self._under = transport.underlying_transport
        self._relay.connections.add(self)
        self.send(self._session.greet())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """picows: one frame arrived."""
        self._quiet = 0
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            # No extension was agreed on, compression neither (RFC 6455 5.2).
            self._end(WSCloseCode.PROTOCOL_ERROR)
        elif kind is _TEXT and frame.fin and self._parts is None:
            self._receive(frame.get_payload_as_bytes())
        elif kind is _TEXT or kind is WSMsgType.CONTINUATION:
            self._gather(frame)
        elif kind is WSMsgType.CLOSE:
            self._end(WSCloseCode.OK)
        elif kind is WSMsgType.PING:
            # Unanswered while the client does not read: pongs must not pile up here.
            if self._under.get_write_buffer_size() == 0:
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.BINARY:
            self._close(session.Close("binary frames are not spoken here"))

    def _gather(self, frame: WSFrame) -> None:
        """A fragment of a message."""
        first = frame.msg_type is _TEXT
        if first == (self._parts is not None):
            self._end(WSCloseCode.PROTOCOL_ERROR)
            return
        parts = self._parts
        if parts is None:
            parts = self._parts = []
        payload = frame.get_payload_as_bytes()
        parts.append(payload)
        self._parts_size += len(payload)
        if self._parts_size > self._relay.limits.message_bytes_max or len(parts) > FRAGMENTS_MAX:
            self._end(WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            self._parts, self._parts_size = None, 0
            self._receive(b"".join(parts))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """picows: the connection ended, however it did."""
        relay = self._relay
        relay.connections.discard(self)
        self._line.close()
        for watcher in (self._watchers or {}).values():
            relay.watch.drop(watcher)
        self._share.leave(self._share.taken)
        for comparison in (self._comparisons or {}).values():
            comparison.close()
        self._watchers = self._comparisons = None
        for pubkey in self._session.identities:
            relay.presence.leave(pubkey)
        self._transport = self._out = self._parts = None

    def pause_writing(self) -> None:
        """asyncio: the client is behind with reading. What is new still comes, within a bound."""
        self._line.pause()

    def resume_writing(self) -> None:
        """asyncio: it has caught up."""
        self._line.resume()

    def look_after(self) -> None:
        """Called now and then: ping a client that says nothing, drop one that does not answer."""
        self._quiet += 1
        if self._transport is None or self._quiet == 1:
            return
        if self._quiet == 2:
            self._transport.send_ping()
        else:
            self._drop()

    def turn_out(self, reason: str) -> None:
        """End it: the operator does not want this client."""
        self._leave("blocked", reason)

    # --- effects ------------------------------------------------------------------------------

    def _receive(self, text: bytes) -> None:
        for effect in self._session.receive(text, self._relay.clock.now_s()):
            if self._transport is None:
                return
            self._EFFECTS[type(effect)](self, effect)

    def _say(self, effect: session.Send) -> None:
        self.send(effect.text)

    def _store(self, effect: session.Store) -> None:
        self._relay.ingest.submit(effect.raw, self.send, self)

    def _watch(self, effect: session.Watch) -> None:
        relay, name, filters = self._relay, effect.subscription, effect.filters
        watchers = self._watchers
        if watchers is None:
            watchers = self._watchers = {}
        elif name in watchers:
            self._drop_watcher(watchers.pop(name))
        values = values_of(filters)
        try:
            self._share.take(values)
        except HanseError as exc:
            self._end_subscription(name, exc)
            return
        # Watched before it is read: whatever is committed meanwhile is held back, not missed.
        watcher = watchers[name] = relay.watch.add(self, name, filters, values)
        line, identities = self._line, self._session.identities
        if not line.is_free:
            read = relay.answer.stored(filters, identities)
            line.read(name, read, partial(self._stored, watcher))
            return
        try:
            found = relay.answer.at_once(filters, identities)
        except Exception as exc:  # see `failure`
            self._stored(watcher, failure(exc))
            return
        if isinstance(found, Found):
            relay.turns.answer(self, answer_frames(name, watcher.prefix, found))
            relay.watch.go_on(watcher, found.seq)
        else:
            line.read(name, found, partial(self._stored, watcher))

    def _stored(self, watcher: Watcher, found: Found | HanseError) -> None:
        if isinstance(found, HanseError):
            self._end_subscription(watcher.subscription, found)
        else:
            frames = answer_frames(watcher.subscription, watcher.prefix, found)
            self._relay.turns.answer(self, frames)
            self._relay.watch.go_on(watcher, found.seq)

    def _unwatch(self, effect: session.Unwatch) -> None:
        watcher = self._watchers.pop(effect.subscription, None) if self._watchers else None
        if watcher is not None:
            self._drop_watcher(watcher)

    def _drop_watcher(self, watcher: Watcher) -> None:
        if watcher.after == READING:
            self._line.cancel(watcher.subscription)
        self._relay.watch.drop(watcher)
        self._share.leave(watcher.values)

    def fell_behind(self, watcher: Watcher) -> None:
        """See `watch.Receiver`."""
        self._end_subscription(
            watcher.subscription, HanseError("too much came in while this was being answered")
        )

    def _end_subscription(self, name: str, why: HanseError) -> None:
        self._session.ended(name)
        self._unwatch(session.Unwatch(name))
        self.send(message.closed(name, why.wire))

    def _count(self, effect: session.Count) -> None:
        read = self._relay.answer.count(effect.filters, effect.target, self._session.identities)
        self._line.read(object(), read, partial(self._counted, effect.subscription))

    def _counted(self, name: str, found: tuple[int, str | None] | HanseError) -> None:
        if isinstance(found, HanseError):
            self.send(message.closed(name, found.wire))
        else:
            self.send(message.count(name, *found))

    def _open(self, effect: session.Open) -> None:
        name = effect.subscription
        self._forget(session.Forget(name))
        if self._comparisons is None:
            self._comparisons = {}
        comparison = Comparison(self._relay.comparer, partial(self._went_quiet, name))
        self._comparisons[name] = comparison
        read = comparison.begin(effect.filter, effect.text, self._session.identities)
        self._line.read(("NEG", name), read, partial(self._compared, name))

    def _advance(self, effect: session.Advance) -> None:
        name = effect.subscription
        if self._comparisons and name in self._comparisons:
            read = self._comparisons[name].advance(effect.text)
            self._line.read(("NEG", name), read, partial(self._compared, name))

    def _compared(self, name: str, found: bytes | HanseError) -> None:
        if isinstance(found, HanseError):
            self._end_comparison(name, found.wire)
        else:
            self.send(message.neg_more(name, found))

    def _went_quiet(self, name: str) -> None:
        self._end_comparison(name, "closed: nothing was heard for too long")

    def _end_comparison(self, name: str, why: str) -> None:
        self._session.forgotten(name)
        self._forget(session.Forget(name))
        self.send(message.neg_error(name, why))

    def _forget(self, effect: session.Forget) -> None:
        name = effect.subscription
        if self._comparisons and name in self._comparisons:
            self._line.cancel(("NEG", name))
            self._comparisons.pop(name).close()

    def _authenticated(self, effect: session.Authenticated) -> None:
        try:
            who = identify(effect.event)
            if who.attested:
                self.operators = {**self.operators, who.agent: who.operator}
        except HanseError as exc:
            # The key is proved; only its owner's attestation is not. Say so, and grant nothing.
            self.send(message.notice(exc.wire))
        self._relay.presence.arrive(effect.event.pubkey)

    def _close(self, effect: session.Close) -> None:
        self._leave("error", effect.reason)

    def _leave(self, word: str, reason: str) -> None:
        if self._transport is None:
            return
        self.send(message.notice(f"{word}: {reason}"))
        self.flush()
        self._end(WSCloseCode.POLICY_VIOLATION, reason)

    _EFFECTS: ClassVar[dict[type, Callable[["Connection", Any], None]]] = {
        session.Send: _say,
        session.Store: _store,
        session.Watch: _watch,
        session.Unwatch: _unwatch,
        session.Count: _count,
        session.Open: _open,
        session.Advance: _advance,
        session.Forget: _forget,
        session.Authenticated: _authenticated,
        session.Close: _close,
    }

    # --- to the client ------------------------------------------------------------------------

    def send(self, text: bytes) -> None:
        """Queue one text message; it leaves at the end of this turn of the loop."""
        self.queue(framed(text))

    def queue(self, frames: bytes) -> None:
        """See `turns.Writer`."""
        if self._transport is None:
            return
        out = self._out
        if out is None:
            self._out = [frames]
            self._relay.turns.flush_soon(self)
        else:
            out.append(frames)
        self._out_size += len(frames)
        if self._out_size > self._relay.limits.unsent_bytes_max:
            # Many large answers asked for in one breath: gone before they fill the memory.
            self._fall_behind()

    def deliver(self, frames: bytes) -> None:
        """Write whole frames, behind what is queued."""
        out = self._out
        if out is None:
            self._write(frames)
        else:
            out.append(frames)
            self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        out, self._out, self._out_size = self._out, None, 0
        if out:
            self._write(b"".join(out))

    def _write(self, frames: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_close_frame_sent:
            return
        if self._under.get_write_buffer_size() > self._relay.limits.unsent_bytes_max:
            self._fall_behind()
        else:
            self._under.write(frames)

    def _fall_behind(self) -> None:
        self._relay.slow_readers += 1
        self._drop()

    def _drop(self) -> None:
        """End it now, without waiting for the client."""
        transport, self._transport = self._transport, None
        self._out = None
        if transport is not None:
            transport.disconnect(graceful=False)

    def _end(self, code: WSCloseCode, reason: str = "") -> None:
        """Say goodbye in WebSocket's way."""
        if self._transport is not None:
            self.flush()
            self._transport.send_close(code, reason.encode())
            self._transport.disconnect()
