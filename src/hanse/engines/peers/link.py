"""One connection to another relay, as its client: ask, send, compare, watch.

The relay at the other end is a stranger. What it sends is bounded in size and number; what was not
asked for is counted, and too much of it ends the connection. A link that ended stays ended: whoever
needs another opens one. Redirects are not followed: no relay chooses where we connect.

What a relay refuses because it wants to know who asks is asked once more when it knows (NIP-42).
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from hanse.engines.peers.proof import Proof
from hanse.errors import AuthRequired, HanseError, Invalid, RateLimited, Restricted, Unavailable
from hanse.protocol import message
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

T = TypeVar("T")

OPEN_S = 10.0
CLOSE_S = 2.0
CHALLENGE_S = 0.5
ANSWER_S = 30.0
COMPARE_S = 15.0
MESSAGE_BYTES_MAX = 1 << 20
FRAGMENTS_MAX = 4096
FETCH_BYTES_MAX = 64 << 20
UNASKED_MAX = 200
UNSENT_BYTES_MAX = 16 << 20
LIVE = "live"

_QUIET = logging.getLogger("hanse.picows")
_QUIET.setLevel(logging.CRITICAL)

Receive = Callable[[Event, int], bool]
"""Takes a live event and the size of the message it came in; False when it can take no more."""


class NoComparison(HanseError):
    """The relay does not compare sets (NIP-77), or not this one."""


class TooMuchToCompare(NoComparison):
    """The relay would compare a smaller set."""


class _Fetch:
    """Stored events that were asked for, until EOSE."""

    def __init__(self, most: int) -> None:
        self.answer: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._events: list[Event] = []
        self._most = most
        self._room = FETCH_BYTES_MAX

    def take(self, event: Event, size: int) -> None:
        """One event. Raises Invalid when it is more than was asked for."""
        self._room -= size
        if len(self._events) >= self._most or self._room < 0:
            raise Invalid.at("EVENT", "more than was asked for")
        self._events.append(event)

    def end(self) -> None:
        """No more are stored."""
        if not self.answer.done():
            self.answer.set_result(self._events)


class _Socket(WSListener):
    """Puts one connection's frames together and hands whole messages on."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._parts: list[bytes] = []
        self._size = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._link.opened(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            payload = frame.get_payload_as_bytes()
            self._parts.append(payload)
            self._size += len(payload)
            if self._size > MESSAGE_BYTES_MAX or len(self._parts) > FRAGMENTS_MAX:
                self._link.fail(f"sent a message over {MESSAGE_BYTES_MAX} bytes")
            elif frame.fin:
                whole = b"".join(self._parts)
                self._parts, self._size = [], 0
                self._link.receive(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._link.fail("the connection broke")


class Link:
    """A relay at the other end of a WebSocket. `async with` opens it; raises Unavailable.

    `secret` answers the relay's challenge (NIP-42), if it has one.
    """

    def __init__(self, url: str, secret: SecretKey | None, now_s: Callable[[], int]) -> None:
        self.url = url
        self.transport: WSTransport | None = None
        self._waits = secret is not None
        self._proof = Proof(url, secret, now_s, self._proof_settled)
        self._number = 0
        self._asked = 0
        self._unasked = 0
        self._fetches: dict[str, _Fetch] = {}
        self._oks: dict[str, asyncio.Future[tuple[bool, str]]] = {}
        self._comparing: asyncio.Future[bytes] | None = None
        self._comparison = ""
        self._live: Receive | None = None
        self._live_filters: tuple[Filter, ...] = ()
        self._live_proofs = 0
        self._live_refusal = ""

    async def __aenter__(self) -> Self:
        self._lost: asyncio.Future[Unavailable] = asyncio.get_running_loop().create_future()
        self._challenged = asyncio.Event()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open()
            if self.transport is None:
                # picows takes a socket that ends during the handshake for an open one.
                raise Unavailable("hung up during the handshake")
        except TimeoutError as exc:
            self.fail("not opened in time")
            raise Unavailable(f"{self.url}: no answer within {OPEN_S:g} s") from exc
        # picows raises classes of its own for a refused upgrade; all mean the same here.
        except Exception as exc:
            self.fail("not opened")
            raise Unavailable(f"{self.url}: {exc or type(exc).__name__}") from exc
        except asyncio.CancelledError:
            self.fail("given up")
            raise
        try:
            # A relay may leave out without a word what is not for strangers: if it wants to know at
            # once who we are, tell it before we ask anything.
            if self._waits:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHALLENGE_S):
                        await self._challenged.wait()
        except BaseException:  # whatever it was goes on; the connection must not
            await self.__aexit__()
            raise
        return self

    async def _open(self) -> None:
        self._opened, _ = await ws_connect(
            lambda: _Socket(self),
            self.url,
            ssl_context=ssl.create_default_context() if self.url.startswith("wss:") else None,
            websocket_handshake_timeout=OPEN_S,
            max_frame_size=MESSAGE_BYTES_MAX,
            max_redirects=0,
            enable_auto_ping=True,
            auto_ping_idle_timeout=30,
            auto_ping_reply_timeout=30,
            logger_name=_QUIET,
        )

    async def __aexit__(self, *exc: object) -> None:
        self.fail("closed by us")
        # picows keeps what ended the connection until somebody takes it; we know it by now.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await self._opened.wait_disconnected()

    # --- what we say ----------------------------------------------------------------------------

    async def fetch(self, filter: Filter, most: int) -> list[Event]:
        """Stored events that the filter matches, `most` at most; no signature was checked."""
        return await self._known(lambda: self._fetch(filter, most))

    async def _fetch(self, filter: Filter, most: int) -> list[Event]:
        name = self._name()
        waiting = self._fetches[name] = _Fetch(most)
        try:
            self._send(message.request(name, filter))
            found = await self._answer(waiting.answer, ANSWER_S)
        finally:
            del self._fetches[name]
            if self.transport is not None:
                self._send(message.drop(name))
        return [event for event in found if filter.matches(event)]

    async def publish(self, id: str, json: bytes) -> tuple[bool, str]:
        """Send an event; whether it was accepted, and the relay's words."""
        try:
            return await self._known(lambda: self._publish(id, json))
        except AuthRequired as exc:
            return False, exc.wire

    async def _publish(self, id: str, json: bytes) -> tuple[bool, str]:
        if id in self._oks:  # live and by a sync at once: one answer is for both
            both: tuple[bool, str] = await self._answer(self._oks[id], ANSWER_S)
            return both
        answer = self._oks[id] = asyncio.get_running_loop().create_future()
        try:
            self._send(b'["EVENT",' + json + b"]")
            found: tuple[bool, str] = await self._answer(answer, ANSWER_S)
            return found
        finally:
            self._oks.pop(id, None)

    async def compare(self, first: bytes, filter: Filter) -> bytes:
        """Open a comparison; the relay's first answer. Raises NoComparison if it makes none."""
        try:
            return await self._known(lambda: self._open_comparison(first, filter))
        except AuthRequired as exc:
            raise NoComparison(exc.wire) from exc

    async def _open_comparison(self, first: bytes, filter: Filter) -> bytes:
        self._comparison = self._name()
        return await self._compared(message.neg_open(self._comparison, filter, first))

    async def compare_on(self, next: bytes) -> bytes:
        """The next question of the open comparison."""
        try:
            return await self._compared(message.neg_more(self._comparison, next))
        except AuthRequired as exc:
            raise NoComparison(exc.wire) from exc

    def end_comparison(self) -> None:
        """The comparison is over."""
        if self.transport is not None:
            self._send(message.neg_close(self._comparison))

    def watch(self, filters: tuple[Filter, ...], receive: Receive) -> None:
        """From now on hand new events that any of the filters matches to `receive`."""
        self._live = receive
        self._live_filters = filters
        self._watch()

    def _watch(self) -> None:
        self._live_proofs = self._proof.accepted
        self._send(message.request(LIVE, *self._live_filters))

    async def until_lost(self) -> None:
        """Wait for the end of the link, then raise why."""
        raise await asyncio.shield(self._lost)

    # --- life -----------------------------------------------------------------------------------

    def opened(self, transport: WSTransport) -> None:
        """The handshake is done; too late, if we gave it up meanwhile."""
        if self._lost.done():
            transport.disconnect(graceful=False)
        else:
            self.transport = transport

    def fail(self, reason: str) -> None:
        """End the link; all who wait for an answer hear why."""
        if self._lost.done():
            return
        lost = Unavailable(f"{self.url}: {reason}")
        self._lost.set_result(lost)
        waiting: list[asyncio.Future[Any]] = [found.answer for found in self._fetches.values()]
        waiting += self._oks.values()
        waiting += [self._comparing] if self._comparing else []
        for answer in waiting:
            if not answer.done():
                answer.set_exception(lost)
        self._proof.end(reason)
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.disconnect(graceful=False)

    def _name(self) -> str:
        self._number += 1
        return str(self._number)

    def _send(self, text: bytes) -> None:
        if self.transport is None:
            raise self._lost.result() if self._lost.done() else Unavailable(f"{self.url}: not open")
        if self.transport.underlying_transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self.fail("does not read what we send")
            raise self._lost.result()
        self.transport.send(WSMsgType.TEXT, text)

    async def _known(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What was asked for; asked once more if the relay first had to know who asks."""
        proofs = self._proof.accepted
        try:
            return await ask()
        except AuthRequired as exc:
            await self._proof.wait()
            if self._lost.done():
                raise self._lost.result() from exc
            if self._proof.accepted == proofs:
                raise AuthRequired(self._unproved(exc.reason)) from exc
        return await ask()

    def _unproved(self, reason: str) -> str:
        refusal = self._proof.refusal
        return f"{reason}; our proof was refused: {refusal}" if refusal else reason

    def _proof_settled(self) -> None:
        """Live events come first: none may fall between them and what is asked for again."""
        why, self._live_refusal = self._live_refusal, ""
        if not why or self._lost.done():
            return
        proved = self._live is not None and self._proof.accepted > self._live_proofs
        if proved and word_of(why) == "auth-required":
            with contextlib.suppress(Unavailable):  # then the link has failed, and says so
                self._watch()
        else:
            self.fail(f"ended our subscription: {self._unproved(why)}")

    async def _answer(self, answer: asyncio.Future[Any], wait_s: float) -> Any:
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(answer)
        except TimeoutError as exc:
            raise Unavailable(f"{self.url}: no answer within {wait_s:g} s") from exc

    async def _compared(self, text: bytes) -> bytes:
        self._comparing = asyncio.get_running_loop().create_future()
        try:
            self._send(text)
            async with asyncio.timeout(COMPARE_S):
                return await self._comparing
        except TimeoutError as exc:
            raise NoComparison(f"no answer within {COMPARE_S:g} s") from exc
        finally:
            self._comparing = None

    # --- what the relay says ----------------------------------------------------------------------

    def receive(self, text: bytes) -> None:
        """One message of the relay."""
        try:
            self._perform(message.parse_relay_message(text), len(text))
        except HanseError as exc:
            self._odd(exc.text)

    def _perform(self, found: message.RelayMessage, size: int) -> None:
        match found:
            case message.RelayMessage("EVENT", (name, *_), Event() as event):
                self._event(str(name), event, size)
            case message.RelayMessage("EOSE", (str() as name, *_)) if name in self._fetches:
                self._fetches[name].end()
            case message.RelayMessage("EOSE", ("live", *_)):
                pass
            case message.RelayMessage("CLOSED", (str() as name, str() as why, *_)):
                self._closed(name, why)
            case message.RelayMessage("OK", (str() as id, bool() as taken, str() as why, *_)):
                self._ok(id, taken, why[:300])
            case message.RelayMessage("NEG-MSG", (self._comparison, str() as text, *_)):
                self._settle(self._comparing, _unhexed(text))
            case message.RelayMessage("NEG-ERR", (self._comparison, str() as why, *_)):
                self._refuse(self._comparing, _no_comparison(why[:300]))
            case message.RelayMessage("AUTH", (str() as challenge, *_)):
                self._authenticate(challenge)
            case message.RelayMessage("NOTICE", (str() as why, *_)):
                # A relay that does not know NEG-OPEN says so in words for people.
                self._refuse(self._comparing, NoComparison(why[:300]))
            case _:
                self._odd("said what nobody asked for")

    def _event(self, name: str, event: Event, size: int) -> None:
        waiting = self._fetches.get(name)
        if waiting is not None:
            self._asked += 1
            try:
                waiting.take(event, size)
            except Invalid as exc:
                self.fail(exc.text)
        elif name == LIVE and self._live is not None:
            self._asked += 1
            if not self._live(event, size):
                self.fail("sends more than we can take")
        else:
            self._odd("sent an event that nobody asked for")

    def _ok(self, id: str, taken: bool, why: str) -> None:
        if self._proof.heard(id, taken, why):
            return
        answer = self._oks.get(id)
        if not taken and word_of(why) == "auth-required":
            self._refuse(answer, refusal(why))
        else:
            self._settle(answer, (taken, why))

    def _closed(self, name: str, why: str) -> None:
        if name == LIVE:
            self._live_refusal = why[:300] or "no reason given"
            if not (word_of(why) == "auth-required" and self._proof.is_pending):
                self._proof_settled()
            return
        waiting = self._fetches.get(name)
        self._refuse(waiting.answer if waiting else None, refusal(why[:300]))

    def _settle(self, answer: asyncio.Future[Any] | None, value: Any) -> None:
        if answer is None:
            self._odd("answered what nobody asked")
        elif not answer.done():
            answer.set_result(value)

    def _refuse(self, answer: asyncio.Future[Any] | None, why: HanseError) -> None:
        if answer is None:
            self._odd(why.text)
        elif not answer.done():
            answer.set_exception(why)

    def _odd(self, what: str) -> None:
        # Some are honest: what was under way when we had enough. They never outnumber the rest.
        self._unasked += 1
        if self._unasked > UNASKED_MAX + self._asked:
            self.fail(f"too much that we cannot use: {what}")

    def _authenticate(self, challenge: str) -> None:
        self._odd("asked who we are again and again")
        answer = self._proof.answer(challenge)
        if answer is not None:
            self._send(answer)
        self._challenged.set()


def refusal(text: str) -> HanseError:
    """A relay's `word: reason` as the error it means."""
    word, _, reason = text.partition(":")
    known: dict[str, type[HanseError]] = {
        found.word: found for found in (AuthRequired, RateLimited, Restricted, Invalid)
    }
    return known.get(word, Unavailable)(reason.strip() or text or "no reason given")


def _no_comparison(text: str) -> HanseError:
    """A NEG-ERR as the error it means."""
    word = word_of(text)
    if word == "auth-required":
        return refusal(text)
    return TooMuchToCompare(text) if text.startswith("blocked") else NoComparison(text)


def word_of(text: str) -> str:
    """The machine-readable word of a relay's refusal, or `error`."""
    word = text.partition(":")[0]
    return word if word.replace("-", "").isalpha() and len(word) <= 20 else "error"


def _unhexed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise Invalid.at("NEG-MSG", "must be hex") from exc
