"""A client's connection to a node's relay: authenticates, keeps an inbox, asks and waits.

Reconnects by itself, with growing pauses, until closed. What was under way when the connection
broke fails with Unavailable; asking again with the same idempotency key is safe.
"""

import asyncio
import logging
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import Any, Self

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from hanse.errors import HanseError, Invalid, PastDeadline, Unavailable
from hanse.protocol import kinds, message, rpc
from hanse.protocol.event import Event, Tags, check_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey, public_key

INBOX = "inbox"
OPEN_S = 10.0
DRAIN_S = 2.0
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0
MESSAGE_BYTES_MAX = 1 << 20

Handler = Callable[[Event], Awaitable[Event | None]]

_QUIET = logging.getLogger("hanse.picows")
_QUIET.setLevel(logging.CRITICAL)


class _Socket(WSListener):
    """Collects one connection's frames and hands whole messages on."""

    def __init__(
        self,
        opened: Callable[[WSTransport], None],
        receive: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._receive = receive
        self._ended = ended
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._opened(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._receive(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._ended()


class Connection:
    """One key's connection. `node` is the node's key, if known; else its NIP-11 says it."""

    def __init__(
        self, url: str, secret: SecretKey, auth: Tags, node: PublicKey | None = None
    ) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise Invalid.at("node", "must be a ws:// or wss:// URL")
        self.url = url
        self._secret = secret
        self._auth = auth
        self._node = node
        self._handler: Handler | None = None
        self._transport: WSTransport | None = None
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._oks: dict[str, asyncio.Future[tuple[bool, str]]] = {}
        self._failure: HanseError | None = None
        self._entered = False
        self._handling: set[asyncio.Task[None]] = set()

    @property
    def node(self) -> PublicKey:
        """The node's key."""
        if self._node is None:
            raise Unavailable("not connected yet")
        return self._node

    def on_request(self, handler: Handler) -> None:
        """Answer the node's requests with `handler(event) -> answer event or None`."""
        self._handler = handler

    async def __aenter__(self) -> Self:
        if self._node is None:
            self._node = await asyncio.to_thread(node_key, self.url)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._supervisor = self._tasks.create_task(self._supervise())
        opened = self._tasks.create_task(self._ready.wait())
        await asyncio.wait(
            (opened, self._supervisor), timeout=OPEN_S, return_when=asyncio.FIRST_COMPLETED
        )
        opened.cancel()
        if not self._ready.is_set():
            await self.__aexit__()
            raise self._unreachable()
        self._entered = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._supervisor.cancel()
        # Answers under way may still leave; a service that hangs must not keep us from ending.
        self._handler = None
        if self._handling:
            await asyncio.wait(self._handling, timeout=DRAIN_S)
        for task in self._handling:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        if self._transport is not None:
            self._transport.disconnect()

    async def publish(self, event: Event, timeout_s: float = OPEN_S) -> None:
        """Send an event and wait until the node says it is on disk. Raises what it refuses with."""
        future = asyncio.get_running_loop().create_future()
        self._oks[event.id] = future
        try:
            self._send(message.publish(event))
            async with asyncio.timeout(timeout_s):
                accepted, text = await future
        except TimeoutError as exc:
            raise Unavailable("the node did not confirm the event") from exc
        finally:
            self._oks.pop(event.id, None)
        if not accepted:
            raise refusal(text)

    async def request(
        self, method: str, params: dict[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """Ask the node by JSON-RPC and wait for its signed answer. Raises its error as
        HanseError."""
        await self._wait_ready(min(timeout_s, OPEN_S))
        event = rpc.request_event(
            self._secret, self.node, method, params, id="1", created_at=now_s(), tags=self._auth
        )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Event] = loop.create_future()
        self._answers[event.id] = answer
        try:
            self._send(message.publish(event))
            async with asyncio.timeout(timeout_s):
                found = await answer
        except TimeoutError as exc:
            raise PastDeadline(f"no answer from the node within {timeout_s:g} s") from exc
        finally:
            self._answers.pop(event.id, None)
        read = rpc.parse_rpc(found)
        if not isinstance(read, rpc.RpcAnswer):
            raise Invalid.at("content", "the node's answer is not one")
        if read.error is not None:
            rpc.raise_error(read.error)
        return read.result or {}

    # --- life ---------------------------------------------------------------------------------

    async def _wait_ready(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise self._unreachable() from None

    def _unreachable(self) -> Unavailable:
        reason = self._failure.reason if self._failure else "no connection"
        return Unavailable(f"{self.url}: {reason}", hint="is the node up?")

    async def _supervise(self) -> None:
        pause = PAUSE_MIN_S
        while True:
            self._lost = asyncio.Event()
            try:
                await self._connect()
                pause = PAUSE_MIN_S
                await self._lost.wait()
            except (OSError, HanseError, TimeoutError) as exc:
                self._failure = exc if isinstance(exc, HanseError) else Unavailable(str(exc))
            self._down()
            if not self._entered:
                return  # who is just starting hears at once that nobody answers
            await asyncio.sleep(pause)
            pause = min(PAUSE_MAX_S, pause * 2)

    async def _connect(self) -> None:
        context = ssl.create_default_context() if self.url.startswith("wss:") else None
        # picows raises classes of its own for a refused upgrade; all mean the same here.
        try:
            await ws_connect(
                lambda: _Socket(self._use, self._receive, self._lost.set),
                self.url,
                ssl_context=context,
                max_frame_size=MESSAGE_BYTES_MAX,
                enable_auto_ping=True,
                auto_ping_idle_timeout=20,
                auto_ping_reply_timeout=20,
                logger_name=_QUIET,
            )
        except OSError:
            raise
        except Exception as exc:  # see above: their base class is Exception
            raise Unavailable(f"the node refused the connection: {exc}") from exc

    def _use(self, transport: WSTransport) -> None:
        # Before the first frame: the node's challenge comes with the handshake.
        self._transport = transport

    def _down(self) -> None:
        self._ready.clear()
        if self._transport is not None:
            self._transport.disconnect()
            self._transport = None
        lost = Unavailable("the connection to the node broke", hint="repeat with the same key")
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *self._oks.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(lost)

    # --- messages -----------------------------------------------------------------------------

    def _send(self, text: bytes) -> None:
        if self._transport is None:
            raise Unavailable("the connection to the node is down")
        self._transport.send(WSMsgType.TEXT, text)

    def _receive(self, text: bytes) -> None:
        try:
            found = message.parse_relay_message(text)
        except HanseError:
            return  # a relay that talks nonsense gets no answer from us
        match found:
            case message.RelayMessage(verb="EVENT", event=Event() as event):
                self._event(event)
            case message.RelayMessage(verb="OK", arguments=(id, bool() as accepted, text, *_)):
                self._ok(str(id), accepted, str(text))
            case message.RelayMessage(verb="AUTH", arguments=(str() as challenge, *_)):
                self._authenticate(challenge)
            case message.RelayMessage(verb="EOSE"):
                self._ready.set()
            case message.RelayMessage(verb="CLOSED" | "NOTICE", arguments=arguments):
                self._failure = refusal(str(arguments[-1]))
            case _:
                pass

    def _authenticate(self, challenge: str) -> None:
        tags = (("relay", self.url), ("challenge", challenge), *self._auth)
        event = sign_event(self._secret, kind=kinds.CLIENT_AUTH, created_at=now_s(), tags=tags)
        self._send(message.authenticate(event))
        mine = frozenset({self._secret.public})
        inbox = Filter(kinds=frozenset({kinds.RPC}), tags=(("p", mine),), limit=0)
        self._send(message.request(INBOX, inbox))

    def _ok(self, id: str, accepted: bool, text: str) -> None:
        future = self._oks.get(id)
        if future is not None and not future.done():
            future.set_result((accepted, text))
        answer = self._answers.get(id)
        if answer is not None and not accepted and not answer.done():
            answer.set_exception(refusal(text))

    def _event(self, event: Event) -> None:
        # Only the node speaks to us here; a signature that does not hold is not its word.
        if event.pubkey != self._node or event.kind != kinds.RPC:
            return
        try:
            check_event(event)
        except Invalid:
            return
        answered = self._answers.get(event.tag("e") or "")
        if answered is not None:
            if not answered.done():
                answered.set_result(event)
        elif self._handler is not None and event.tag("e") is None:
            task = self._tasks.create_task(self._handle(self._handler, event))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

    async def _handle(self, handler: Handler, event: Event) -> None:
        answer = await handler(event)
        if answer is not None and self._transport is not None:
            self._send(message.publish(answer))


def refusal(text: str) -> HanseError:
    """A relay's `word: reason` as the error it means."""
    word, _, reason = text.partition(": ")
    kinds_of: dict[str, type[HanseError]] = {
        found.word: found for found in reversed(HanseError.__subclasses__())
    }
    return kinds_of.get(word, HanseError)(reason or text)


def node_key(url: str) -> PublicKey:
    """The node's key, from its NIP-11 document. Raises Unavailable or Invalid. Blocks."""
    address = url.replace("ws", "http", 1)
    asked = urllib.request.Request(address, headers={"Accept": "application/nostr+json"})
    try:
        with urllib.request.urlopen(asked, timeout=OPEN_S) as found:
            document = msgspec.json.decode(found.read(1 << 20), type=dict[str, Any])
    except (OSError, HTTPException, ValueError) as exc:
        raise Unavailable(f"{url}: {exc}", hint="is the node up?") from exc
    return public_key(str(document.get("self", "")), "NIP-11 self")


def now_s() -> int:
    """Unix seconds."""
    return int(time.time())
