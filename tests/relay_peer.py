"""A plain Nostr client over the `websockets` package: what the relay's tests speak with."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hanse.keyring import new_secret
from hanse.protocol import kinds, message
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey

WAIT_S = 10
SEALED = "Ag" + 130 * "A"
"""What a relay takes for encrypted text (NIP-44)."""


class Peer:
    """One connection and its key."""

    def __init__(self, socket: ClientConnection, url: str, secret: SecretKey) -> None:
        self.socket = socket
        self.url = url
        self.secret = secret
        self.challenge = ""

    async def say(self, *parts: Any) -> None:
        await self.socket.send(json.dumps(parts))

    async def hear(self) -> list[Any]:
        """The next message. Fails the test if none comes."""
        async with asyncio.timeout(WAIT_S):
            found: list[Any] = json.loads(await self.socket.recv())
        return found

    async def publish(self, event: Event) -> tuple[bool, str]:
        """Publish and hear the OK; what came before it must not."""
        await self.socket.send(message.publish(event).decode())
        verb, id, accepted, text = await self.hear()
        assert (verb, id) == ("OK", event.id)
        return accepted, text

    async def keep(self, event: Event) -> Event:
        """Publish what must be accepted."""
        assert (await self.publish(event))[0]
        return event

    async def ask(self, *filters: dict[str, Any], name: str = "q") -> list[str]:
        """Ids of what is stored; the subscription stays open."""
        await self.say("REQ", name, *(filters or ({},)))
        found = []
        while (heard := await self.hear())[0] == "EVENT":
            assert heard[1] == name
            found.append(heard[2]["id"])
        assert heard[:2] == ["EOSE", name]
        return found

    async def nothing_more(self) -> None:
        """Nothing waits: the answer to what is said now is the next message."""
        assert await self.ask({"limit": 0}, name="marker") == []
        await self.say("CLOSE", "marker")

    async def prove(self, secret: SecretKey | None = None, **changes: Any) -> tuple[bool, str]:
        """Answer the challenge (NIP-42)."""
        event = sign_event(
            secret or self.secret,
            kind=kinds.CLIENT_AUTH,
            created_at=changes.get("created_at", now()),
            tags=[["relay", self.url], ["challenge", self.challenge]],
        )
        await self.socket.send(message.authenticate(event).decode())
        verb, id, accepted, text = await self.hear()
        assert (verb, id) == ("OK", event.id)
        return accepted, text

    async def close_code(self) -> int | None:
        """The code the relay closes with; messages before it are skipped."""
        async with asyncio.timeout(WAIT_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None

    def note(self, content: str = "", kind: int = 1, **changes: Any) -> Event:
        """A signed event of now."""
        fields: dict[str, Any] = {"kind": kind, "created_at": now(), "content": content}
        return sign_event(self.secret, **(fields | changes))


@asynccontextmanager
async def a_peer(url: str, secret: SecretKey | None = None, **options: Any) -> AsyncIterator[Peer]:
    """A connection that has heard its challenge."""
    async with connect(url, max_size=None, **options) as socket:
        peer = Peer(socket, url, secret or new_secret())
        verb, peer.challenge = await peer.hear()
        assert verb == "AUTH"
        yield peer


def now() -> int:
    return int(time.time())


async def eventually(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Wait until it holds; fail if it does not within WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not (await found if isinstance(found := condition(), Awaitable) else found):
            await asyncio.sleep(0.005)
