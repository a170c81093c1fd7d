"""A client's connection to a node's relay: keeps an inbox open, asks and waits.

It lives through one link after another (link.py has a link's states): when one ends, however it
did, the next is opened after a pause that grows while they fail, until the connection is closed.
What was under way when a link ended fails with Unavailable; asking again with the same idempotency
key is safe. Closing has an end, whatever the node or a service does.
"""

import asyncio
import logging
import random
import time
import urllib.request
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import Any, Self
from urllib.error import HTTPError

import msgspec

from hanse.agent.link import OPEN_S, Link, State, now_s, refusal
from hanse.errors import HanseError, Invalid, PastDeadline, Unavailable
from hanse.protocol import kinds, message, rpc
from hanse.protocol.event import Event, Tags, check_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey, public_key

DRAIN_S = 2.0
"""How long answers under way may take when we close, and again once they were cancelled."""

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0
DOCUMENT_BYTES_MAX = 1 << 20
READ_MAX = 500
"""Events kept of one read."""

Handler = Callable[[Event], Awaitable[Event | None]]

_log = logging.getLogger("hanse.agent")


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
        self._link: Link | None = None
        self._ready = asyncio.Event()
        self._failure: HanseError = Unavailable("no connection", hint="is the node up?")
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._oks: dict[str, asyncio.Future[tuple[bool, str]]] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self._reads: dict[str, tuple[list[Event], asyncio.Future[list[Event]]]] = {}
        self._read = 0

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
        # Tasks of our own, not a TaskGroup's: its end waits for every task, however long a service
        # takes to notice that it was cancelled, and its failures cancel whoever opened it.
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._life = self._loop.create_task(self._live())
        try:
            await self._opened
        except BaseException:  # cancelled, too: nothing may go on trying
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            # Answers under way may still leave; a service that hangs must not keep us from ending.
            self._handler = None
            if self._handling:
                await asyncio.wait(self._handling, timeout=DRAIN_S)
            for task in self._handling:
                task.cancel()
            if self._handling:
                await asyncio.wait(self._handling, timeout=DRAIN_S)
        finally:
            await self._close()

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

    async def stored(self, filter: Filter, timeout_s: float = OPEN_S) -> list[Event]:
        """What the node's log holds for a filter now, each with a good signature, newest first."""
        await self._wait_ready(min(timeout_s, OPEN_S))
        self._read += 1
        name = f"read{self._read}"
        future: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._reads[name] = [], future
        try:
            self._send(message.request(name, filter))
            async with asyncio.timeout(timeout_s):
                found = await future
            self._send(message.drop(name))
        except TimeoutError as exc:
            raise Unavailable("the node did not answer a read") from exc
        finally:
            self._reads.pop(name, None)
        for event in found:
            check_event(event)
        return found

    # --- life ---------------------------------------------------------------------------------

    async def _wait_ready(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise self._unreachable() from None

    def _unreachable(self) -> Unavailable:
        return Unavailable(f"{self.url}: {self._failure.reason}", hint=self._failure.hint)

    async def _live(self) -> None:
        pause = PAUSE_MIN_S
        while True:
            self._link = link = Link(
                self.url, self._secret, self._auth, self._listening, self._receive
            )
            self._failure = await link.live()
            was_ready = self._ready.is_set()
            self._break()
            if not self._opened.done():
                self._opened.set_exception(self._unreachable())  # who just starts hears at once
                return
            if was_ready and not link.refused:
                pause = PAUSE_MIN_S
            # Not all at once: a node that comes back has all its agents at the door.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(PAUSE_MAX_S, pause * 2)

    def _listening(self) -> None:
        self._ready.set()
        if not self._opened.done():
            self._opened.set_result(None)

    def _break(self) -> None:
        """What waits for an answer will not get it any more."""
        self._ready.clear()
        lost = Unavailable("the connection to the node broke", hint="repeat with the same key")
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *self._oks.values()]
        waiting += [future for _, future in self._reads.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(lost)

    async def _close(self) -> None:
        try:
            if self._link is not None:
                await self._link.close()
        finally:
            self._life.cancel()
            await asyncio.wait({self._life}, timeout=DRAIN_S)
            self._break()
            self._ready.set()  # who still waits for it finds that it is down

    # --- messages -----------------------------------------------------------------------------

    def _send(self, text: bytes) -> None:
        if self._link is None or self._link.state is not State.LISTENING:
            raise Unavailable("the connection to the node is down")
        self._link.send(text)

    def _receive(self, found: message.RelayMessage) -> None:
        match found:
            case message.RelayMessage("EVENT", (name, *_), Event() as event) if name in self._reads:
                if len(self._reads[name][0]) < READ_MAX:
                    self._reads[name][0].append(event)
            case message.RelayMessage("EOSE", (str() as name, *_)) if name in self._reads:
                events, future = self._reads[name]
                if not future.done():
                    future.set_result(events)
            case message.RelayMessage("CLOSED", (str() as name, str() as text, *_)) if (
                name in self._reads
            ):
                future = self._reads[name][1]
                if not future.done():
                    future.set_exception(refusal(text))
            case message.RelayMessage(verb="EVENT", event=Event() as event):
                self._event(event)
            case message.RelayMessage(verb="OK", arguments=(id, bool() as accepted, text, *_)):
                self._ok(str(id), accepted, str(text))
            case _:
                pass

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
            task = self._loop.create_task(self._handle(self._handler, event))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

    async def _handle(self, handler: Handler, event: Event) -> None:
        try:
            answer = await handler(event)
            if answer is not None:
                self._send(message.publish(answer))
        except Unavailable:
            pass  # the node has given the call up by now
        # Somebody else's code: whatever it raises costs this request, not the connection.
        except Exception:
            _log.exception("a request of the node could not be answered")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another place's key is not the node's."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """See the base class: None is an HTTPError for the caller."""


def node_key(url: str) -> PublicKey:
    """The node's key, from its NIP-11 document. Raises Unavailable or Invalid. Blocks."""
    address = url.replace("ws", "http", 1)
    asked = urllib.request.Request(address, headers={"Accept": "application/nostr+json"})
    end = time.monotonic() + OPEN_S
    try:
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(asked, timeout=OPEN_S) as found:
            text = b""
            while part := found.read1(1 << 16):
                text += part
                if len(text) > DOCUMENT_BYTES_MAX:
                    raise Unavailable(f"{url}: NIP-11 document over {DOCUMENT_BYTES_MAX} bytes")
                if time.monotonic() > end:
                    raise Unavailable(f"{url}: no NIP-11 document after {OPEN_S:g} s")
        document = msgspec.json.decode(text, type=dict[str, Any])
    except HTTPError as exc:
        if 300 <= exc.code < 400:
            hint = "name the node's own URL"
            raise Unavailable(f"{url}: sends us elsewhere (HTTP {exc.code})", hint=hint) from exc
        raise Unavailable(f"{url}: {exc}", hint="is it a node?") from exc
    except (OSError, HTTPException, ValueError) as exc:
        raise Unavailable(f"{url}: {exc}", hint="is the node up?") from exc
    return public_key(str(document.get("self", "")), "NIP-11 self")
