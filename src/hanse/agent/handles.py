"""Handles as an agent uses them, by HTTP at its node: look one up, claim one, move away."""

import asyncio
import secrets
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import orjson
from yarl import URL

from hanse.agent.link import now_s
from hanse.errors import HanseError, Invalid, Unavailable, WorkNeeded
from hanse.identity.resolver import Resolved
from hanse.identity.statement import statement
from hanse.protocol.event import Tags, encode_event
from hanse.protocol.handle import Address, handle_name, read_handle
from hanse.protocol.http_auth import request_header
from hanse.protocol.keys import SecretKey

ANSWER_S = 60.0
ANSWER_BYTES_MAX = 1 << 20


class Handles:
    """One agent's requests about handles."""

    def __init__(self, node_url: str, secret: SecretKey, auth: Tags) -> None:
        self._http_url = node_url.replace("ws", "http", 1).rstrip("/")
        self._secret = secret
        self._auth = auth

    async def resolve(self, handle: str) -> Resolved:
        """Who `name@domain` is, checked both ways. Raises what the node answers with."""
        asked = quote(str(read_handle(handle)), safe="")
        found = await self._request("GET", f"/api/v1/handles/find?handle={asked}")
        try:
            return msgspec.convert(found, Resolved)
        except msgspec.ValidationError as exc:
            raise Unavailable(f"the node's answer cannot be read: {exc}") from exc

    async def terms(self) -> dict[str, Any]:
        """What claiming a name at the node needs."""
        return await self._request("GET", "/api/v1/handles/terms")

    async def claim(self, name: str) -> dict[str, Any]:
        """Claim a name at the node, or renew it: with the work it asks of strangers, if it does."""
        terms = await self.terms()
        try:
            return await self._state(name, terms["domain"], None, 0)
        except WorkNeeded:  # neither ours already nor ours by trust
            return await self._state(name, terms["domain"], None, terms["work_bits"])

    async def move(self, name: str, to: str) -> dict[str, Any]:
        """Let a name at the node say that its key is found as another handle now."""
        moved = read_handle(to, "to")
        return await self._state(name, (await self.terms())["domain"], moved, 0)

    async def release(self, name: str) -> dict[str, Any]:
        """Give a name back."""
        path = f"/api/v1/handles/{quote(handle_name(name), safe='')}"
        return await self._request("DELETE", path)

    async def _state(
        self, name: str, domain: str, moved: Address | None, bits: int
    ) -> dict[str, Any]:
        handle = read_handle(f"{handle_name(name)}@{domain}")
        event = await asyncio.to_thread(
            statement,
            self._secret,
            handle,
            now_s=now_s(),
            moved=moved,
            tags=self._auth,
            bits=bits,
        )
        found = await self._request("POST", "/api/v1/handles/statements", encode_event(event))
        return found | {"handle": str(handle)}

    async def _request(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        url = self._http_url + path
        # A signature is for one use: without the salt two of one second would be the same.
        tags = (*self._auth, ("salt", secrets.token_hex(8)))
        header = request_header(
            self._secret, url=url, method=method, body=body, now=now_s(), tags=tags
        )
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    method,
                    # As it was signed: nothing is quoted or unquoted again.
                    URL(url, encoded=True),
                    data=body or None,
                    headers={"Authorization": header, "Content-Type": "application/json"},
                    allow_redirects=False,
                ) as answer,
            ):
                raw = await answer.content.read(ANSWER_BYTES_MAX)
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            hint = "is the node up?"
            raise Unavailable(f"{url}: {exc or type(exc).__name__}", hint=hint) from exc
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise Unavailable(f"the node answered {status}") from exc
        if not isinstance(found, dict):
            raise Invalid.at("answer", "is not an object")
        if status != 200:
            raise HanseError.from_dict(found)
        return found
