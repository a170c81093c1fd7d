"""A client and a provider of their own over `websockets`: they say whatever a test tells them to.

Nothing of `hanse.agent` is used, so nothing here is polite: no check, no retry, no bound.
"""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Self

import msgspec
import orjson
from tests.fakes.calls import CAPABILITY, OUTPUT
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hanse.broker.answer import DELIVERY_META
from hanse.broker.receipt import delivery_digest
from hanse.broker.service import CALL_META
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds, message
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags

Frame = str | bytes | Iterable[str] | AsyncIterable[str] | None
"""What `websockets` sends: text, binary, or a fragmented text. None hangs up."""

WAIT_S = 10.0


class RawClient:
    """One authenticated connection. `said` keeps every NOTICE and CLOSED."""

    def __init__(self, node: Node, secret: SecretKey | None = None) -> None:
        self.node = node
        self.secret = secret or new_secret()
        self.said: list[str] = []
        self._oks: dict[str, asyncio.Future[tuple[bool, str]]] = {}
        self._heard: asyncio.Queue[Event] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self.node.url, max_size=None, compression=None, ping_interval=None, close_timeout=1
        )
        self._group = await asyncio.TaskGroup().__aenter__()
        challenge = orjson.loads(await self._socket.recv())
        assert challenge[0] == "AUTH"
        self._reader = self._group.create_task(self._read(self._socket))
        tags = (("relay", self.node.url), ("challenge", challenge[1]))
        await self._confirmed("AUTH", self.signed(kinds.CLIENT_AUTH, "", tags))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reader.cancel()
        await self._group.__aexit__(None, None, None)
        await self._socket.close()

    def signed(
        self, kind: int, content: str, tags: Iterable[Iterable[str]] = (), *, age_s: int = 0
    ) -> Event:
        """An event of this client, `age_s` seconds old."""
        at = int(time.time()) - age_s
        return sign_event(self.secret, kind=kind, created_at=at, content=content, tags=tags)

    async def subscribe(self) -> None:
        """Open the inbox: requests and answers to this key."""
        found = {"kinds": [kinds.RPC], "#p": [self.secret.public], "limit": 0}
        await self.send(orjson.dumps(["REQ", "inbox", found]).decode())

    async def send(self, frame: Frame) -> None:
        """Send a frame as it is; None hangs up without a word."""
        if frame is None:
            self._socket.transport.abort()
        else:
            await self._socket.send(frame)

    async def publish(self, event: Event) -> tuple[bool, str]:
        """Send an event; the node's OK for it."""
        return await self._confirmed("EVENT", event)

    async def heard(self) -> Event:
        """The next event that came for this key."""
        async with asyncio.timeout(WAIT_S):
            return await self._heard.get()

    async def ask(
        self, tool: str, arguments: dict[str, Any], tags: Iterable[Iterable[str]] = ()
    ) -> Event:
        """A signed request to the node, not sent."""
        body = {"jsonrpc": "2.0", "id": "1", "method": "tools/call"}
        params = {"params": {"name": tool, "arguments": arguments}}
        text = orjson.dumps(body | params).decode()
        return self.signed(kinds.RPC, text, (("p", self.node.pubkey), *tags))

    async def _confirmed(self, verb: str, event: Event) -> tuple[bool, str]:
        future: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self._oks[event.id] = future
        await self.send(orjson.dumps([verb, msgspec.to_builtins(event)]).decode())
        async with asyncio.timeout(WAIT_S):
            return await future

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                await self._hear(orjson.loads(text))
        except ConnectionClosed:
            pass  # the node hung up on us, as well it may

    async def _hear(self, found: list[Any]) -> None:
        match found:
            case ["OK", id, accepted, text] if id in self._oks:
                if not self._oks[id].done():
                    self._oks[id].set_result((accepted, text))
            case ["EVENT", _, event]:
                await self.hear(msgspec.convert(event, Event))
            case ["NOTICE", text] | ["CLOSED", _, text]:
                self.said.append(text)

    async def hear(self, event: Event) -> None:
        """An event came."""
        self._heard.put_nowait(event)


class Asked(msgspec.Struct, frozen=True):
    """One request of the node to a provider."""

    event: Event
    call: str
    terms: dict[str, Any]


Answer = Callable[["RawProvider", Asked], Iterable[Frame]]


class RawProvider(RawClient):
    """Publishes one offer and answers each call with the frames that a function returns."""

    def __init__(self, node: Node, answer: Answer) -> None:
        super().__init__(node)
        self._answer = answer
        self.asked: list[Asked] = []
        self.offer = Offer(
            provider=self.secret.public,
            operator=self.secret.public,
            identifier="greet",
            name="greet",
            summary="Greet somebody by name.",
            capabilities=(CAPABILITY,),
            promise=Promise(latency_p95_ms=200, success_rate=0.99),
        )

    async def serve(self) -> None:
        """Publish the offer, and listen for calls."""
        await self.subscribe()
        tags = offer_tags(self.offer, url=self.node.url, node=self.node.pubkey)
        accepted, text = await self.publish(
            self.signed(kinds.OFFER, offer_content(self.offer), tags)
        )
        assert accepted, text

    async def hear(self, event: Event) -> None:
        """The node asks."""
        body = orjson.loads(event.content)
        asked = Asked(event, body["id"], body["params"]["_meta"][CALL_META])
        self.asked.append(asked)
        try:
            for frame in self._answer(self, asked):
                await self.send(frame)
        except ConnectionClosed:
            pass  # it hung up while we were talking

    # --- what an answer may be made of ------------------------------------------------------------

    def result(self, asked: Asked, output: dict[str, Any] = OUTPUT) -> dict[str, Any]:
        """An output with a true delivery signature."""
        signed = delivery_digest(
            asked.call, asked.terms["input_sha256"], digest_hex(output), asked.terms["price_msat"]
        )
        return {**output, "_meta": {DELIVERY_META: self.secret.sign(signed)}}

    def event(
        self,
        asked: Asked,
        content: str | dict[str, Any],
        *,
        to: str | None = None,
        secret: SecretKey | None = None,
        age_s: int = 0,
    ) -> Event:
        """An answer event: a JSON-RPC body without its head, or any text at all."""
        if isinstance(content, dict):
            whole = {"jsonrpc": "2.0", "id": asked.call} | content
            content = orjson.dumps(whole).decode()
        return sign_event(
            secret or self.secret,
            kind=kinds.RPC,
            created_at=int(time.time()) - age_s,
            content=content,
            tags=(("p", self.node.pubkey), ("e", to or asked.event.id)),
        )

    def frame(self, event: Event) -> str:
        """An event as a message to the node."""
        return message.publish(event).decode()

    def honest(self, asked: Asked) -> Event:
        """The answer that is paid."""
        return self.event(asked, {"result": self.result(asked)})
