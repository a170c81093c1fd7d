"""One WebSocket to a node's relay, from its opening to its end.

    opening ─→ proving ─→ listening ─→ closing
       └──────────┴───────────┴───────────┴──→ ended     once, with a reason, for good

    opening     connecting, shaking hands, waiting for the node's challenge (NIP-42)
    proving     the challenge is answered, the inbox asked for
    listening   the node accepted both: its requests and answers arrive
    closing     we said goodbye; what was sent before still leaves

It ends with its socket; when the node refuses the proof or ends the inbox; when it is not
listening after OPEN_S; when the node leaves a ping unanswered, sends what is over a bound or does
not read what we send; and when we close it. Nobody uses a link again: to go on is to open another.
"""

import asyncio
import enum
import logging
import ssl
import time
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from hanse.errors import HanseError, Unavailable
from hanse.protocol import kinds, message
from hanse.protocol.event import Tags, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

INBOX = "inbox"
OPEN_S = 10.0
"""From the first packet to an open inbox."""

IDLE_S = 20.0
PONG_S = 20.0
"""A node that says nothing is pinged; a link whose pings stay unanswered has ended, whatever the
kernel believes."""

FLUSH_S = 2.0
"""How long what was sent may take to leave when we close."""

MESSAGE_BYTES_MAX = 1 << 20
FRAGMENTS_MAX = 4096
UNSENT_BYTES_MAX = 16 << 20
CHALLENGES_MAX = 8

_log = logging.getLogger("hanse.agent")
_QUIET = logging.getLogger("hanse.picows")
_QUIET.setLevel(logging.CRITICAL)


class State(enum.Enum):
    """Where a link is in its life."""

    OPENING = enum.auto()
    PROVING = enum.auto()
    LISTENING = enum.auto()
    CLOSING = enum.auto()
    ENDED = enum.auto()


class Link(WSListener):
    """See above. `listening` is called when it is; `hear` with the messages that come then."""

    def __init__(
        self,
        url: str,
        secret: SecretKey,
        auth: Tags,
        listening: Callable[[], None],
        hear: Callable[[message.RelayMessage], None],
    ) -> None:
        self.url = url
        self.state = State.OPENING
        self.why: HanseError = Unavailable("the connection is closed")
        self.refused = False
        """Whether the node ended it by a refusal: a new one may fare no better."""
        self._secret = secret
        self._auth = auth
        self._listening = listening
        self._hear = hear
        self._transport: WSTransport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()
        self._proofs: dict[str, bool] = {}
        self._has_inbox = False
        self._said = ""
        self._parts: list[bytes] = []
        self._size = 0

    async def live(self) -> HanseError:
        """Open it and see it to its end; why it ended. Nothing of it is left then, nor when this
        is cancelled."""
        late = Unavailable(f"no inbox after {OPEN_S:g} s", hint="is the node up?")
        self._alarm = asyncio.get_running_loop().call_later(OPEN_S, self._end, late)
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open()
            if self._transport is None:
                # picows takes a socket that ends during the handshake for an open one and never
                # says that it ended: a node killed in that moment would be waited for for good.
                self._end(Unavailable("it hung up during the handshake", hint="is the node up?"))
            await self._ended.wait()
        except TimeoutError:
            self._end(late)
        except OSError as exc:
            self._end(Unavailable(str(exc) or type(exc).__name__, hint="is the node up?"))
        # picows raises classes of its own for a refused upgrade; all mean the same here.
        except Exception as exc:
            self._end(Unavailable(f"it refused the connection: {exc}"))
        finally:
            self._end(self.why)
        return self.why

    def send(self, text: bytes) -> None:
        """Send a message. Raises Unavailable if the link is at its end, or comes to it by this."""
        transport = self._transport
        if transport is None or self.state in (State.CLOSING, State.ENDED):
            raise Unavailable("the connection to the node is down")
        if transport.underlying_transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._end(Unavailable("the node does not read what we send"))
            raise self.why
        transport.send(WSMsgType.TEXT, text)

    async def close(self) -> None:
        """End it; what was sent leaves before, within FLUSH_S."""
        transport = self._transport
        if transport is None or self.state is State.ENDED:
            self._end(self.why)
            return
        self.state = State.CLOSING
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._gone.wait()
        except TimeoutError:
            _log.info("the node did not read our last messages")
        finally:
            self._end(self.why)

    async def _open(self) -> None:
        await ws_connect(
            lambda: self,
            self.url,
            ssl_context=ssl.create_default_context() if self.url.startswith("wss:") else None,
            websocket_handshake_timeout=OPEN_S,
            max_frame_size=MESSAGE_BYTES_MAX,
            max_redirects=0,
            enable_auto_ping=True,
            auto_ping_idle_timeout=IDLE_S,
            auto_ping_reply_timeout=PONG_S,
            logger_name=_QUIET,
        )

    def _end(self, why: HanseError) -> None:
        """The one way out of every state."""
        if self.state is State.ENDED:
            return
        self.state, self.why = State.ENDED, why
        if self._alarm is not None:
            self._alarm.cancel()
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
        self._ended.set()

    # --- from picows ----------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Before the first frame: the node's challenge comes with the handshake."""
        if self.state is State.ENDED:
            transport.disconnect(graceful=False)  # given up while it shook hands
        else:
            self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame; only whole messages go on."""
        kind = frame.msg_type
        if self.state is State.ENDED:
            return
        if kind is WSMsgType.CLOSE:
            reason = frame.get_close_reason() or self._said
            self._end(Unavailable(f"it closed the connection: {reason or 'no reason given'}"))
        elif kind is WSMsgType.TEXT or kind is WSMsgType.CONTINUATION:
            payload = frame.get_payload_as_bytes()
            self._parts.append(payload)
            self._size += len(payload)
            if self._size > MESSAGE_BYTES_MAX or len(self._parts) > FRAGMENTS_MAX:
                most = f"{MESSAGE_BYTES_MAX} bytes or {FRAGMENTS_MAX} fragments"
                self._end(Unavailable(f"it sent a message over {most}"))
            elif frame.fin:
                whole, self._parts, self._size = b"".join(self._parts), [], 0
                self._receive(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket ended, however it did."""
        self._gone.set()
        self._end(Unavailable(f"the connection broke{self._said and f' after: {self._said}'}"))

    # --- what the node says ---------------------------------------------------------------------

    def _receive(self, text: bytes) -> None:
        try:
            found = message.parse_relay_message(text)
        except HanseError:
            return  # a relay that talks nonsense gets no answer from us
        try:
            self._perform(found)
        except HanseError as exc:
            self._end(exc)
        # picows would end the socket and keep the reason for itself.
        except Exception:
            _log.exception("a message of the node could not be handled")
            self._end(Unavailable("a message of the node could not be handled"))

    def _perform(self, found: message.RelayMessage) -> None:
        match found:
            case message.RelayMessage("AUTH", (str() as challenge, *_)):
                self._prove(challenge)
            case message.RelayMessage("OK", (str() as id, bool() as taken, str() as text, *_)) if (
                id in self._proofs
            ):
                self._proofs[id] = taken
                if taken:
                    self._advance()
                else:
                    self._refuse("it refused the proof of our key", text)
            case message.RelayMessage("EOSE", (name, *_)) if name == INBOX:
                self._has_inbox = True
                self._advance()
            case message.RelayMessage("CLOSED", (name, str() as text, *_)) if name == INBOX:
                self._refuse("it ended our inbox", text)
            case message.RelayMessage("NOTICE", (str() as text, *_)):
                self._said = text[:300]
            case _:
                self._hear(found)

    def _prove(self, challenge: str) -> None:
        if len(self._proofs) >= CHALLENGES_MAX:
            raise Unavailable("it asked too often who we are")
        tags = (("relay", self.url), ("challenge", challenge), *self._auth)
        proof = sign_event(self._secret, kind=kinds.CLIENT_AUTH, created_at=now_s(), tags=tags)
        self._proofs[proof.id] = False
        self.send(message.authenticate(proof))
        if self.state is State.OPENING:
            self.state = State.PROVING
            mine = frozenset({self._secret.public})
            inbox = Filter(kinds=frozenset({kinds.RPC}), tags=(("p", mine),), limit=0)
            self.send(message.request(INBOX, inbox))

    def _advance(self) -> None:
        if self.state is State.PROVING and self._has_inbox and any(self._proofs.values()):
            self.state = State.LISTENING
            if self._alarm is not None:
                self._alarm.cancel()
            self._listening()

    def _refuse(self, what: str, text: str) -> None:
        self.refused = True
        self._end(Unavailable(f"{what}: {text[:300]}"))


def refusal(text: str) -> HanseError:
    """A relay's `word: reason` as the error it means."""
    word, _, reason = text.partition(": ")
    kinds_of: dict[str, type[HanseError]] = {
        found.word: found for found in reversed(HanseError.__subclasses__())
    }
    return kinds_of.get(word, HanseError)(reason or text)


def now_s() -> int:
    """Unix seconds."""
    return int(time.time())
