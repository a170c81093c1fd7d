"""The operator's routes for federation: which relays this node shares its log with, and a sync now.

    GET    /api/v1/peers       every peer and how it is
    POST   /api/v1/peers       {"url", "direction", "filters"}, or {"from": npub}: that key's relays
    DELETE /api/v1/peers?url=  mirror it no more
    POST   /api/v1/sync        {"url", "direction", "filter"}: lines of JSON, the last the outcome

A sync's lines are {"progress": …} while it runs, then {"result": …} or {"problem": …}: it may take
longer than a client waits for a silent answer. Who hangs up ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Protocol

import msgspec
import orjson
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse

from hanse.errors import HanseError, Invalid
from hanse.protocol.address import read_public_key
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.keys import PublicKey
from hanse.protocol.peer import Direction, Peer, read_direction, read_peer, relay_url
from hanse.servers.api.reply import Callers, body_of, decoded, json, read

NDJSON = "application/x-ndjson"
TOLD_EVERY_S = 0.2


class Tally(Protocol):
    """How far a sync is."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""


class Peers(Protocol):
    """Who mirrors and syncs."""

    def statuses(self) -> list[dict[str, Any]]:
        """Every peer and how it is."""

    async def add(self, peer: Peer) -> dict[str, Any]:
        """Mirror this peer from now on."""

    async def remove(self, url: str) -> None:
        """Mirror it no more."""

    async def relays(self, pubkey: PublicKey) -> list[tuple[str, Direction]]:
        """The relays a key names as its own (NIP-65)."""

    async def sync(
        self, url: str, filter: Filter, direction: Direction, tell: Callable[[Any], None]
    ) -> Tally:
        """Bring our log and a relay's together once; `tell` hears of progress."""


class NewPeer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/v1/peers. With `from`, each relay's own marker says the direction, and
    `ws://` ones are left out unless `plain`."""

    url: str = ""
    from_: str = msgspec.field(default="", name="from")
    direction: str = ""
    filters: tuple[dict[str, Any], ...] = ()
    plain: bool = False


class NewSync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/v1/sync."""

    url: str
    direction: str = Direction.BOTH.value
    filter: Annotated[dict[str, Any], msgspec.Meta(description="NIP-01")] = {}


class PeerRoutes:
    """The routes over the node's peers."""

    def __init__(self, peers: Peers, callers: Callers) -> None:
        self._peers = peers
        self._callers = callers

    def add_to(self, app: FastAPI) -> None:
        """See `Routes`."""
        add, path = app.add_api_route, "/api/v1/peers"
        add(path, self._list, methods=["GET"], summary="Every peer and how it is (operator)")
        add(
            path,
            self._add,
            methods=["POST"],
            summary="Mirror a peer from now on (operator)",
            openapi_extra=body_of(msgspec.json.schema(NewPeer)["$defs"]["NewPeer"]),
        )
        add(path, self._remove, methods=["DELETE"], summary="Mirror a peer no more (operator)")
        add(
            "/api/v1/sync",
            self._sync,
            methods=["POST"],
            summary="Bring our log and a relay's together once (operator)",
            openapi_extra=body_of(msgspec.json.schema(NewSync)["$defs"]["NewSync"]),
        )

    async def _list(self, request: Request) -> Response:
        await self._callers.operator_only(request, b"")
        return json({"peers": self._peers.statuses()})

    async def _add(self, request: Request) -> Response:
        body = await read(request)
        await self._callers.operator_only(request, body)
        asked = decoded(body, NewPeer)
        if bool(asked.url) == bool(asked.from_):
            raise Invalid.at("body", "must name either `url` or `from`")
        if asked.from_:
            return json(await self._add_from(asked))
        peer = read_peer(asked.url, asked.direction or Direction.BOTH.value, asked.filters)
        return json({"added": [await self._peers.add(peer)], "left_out": []})

    async def _add_from(self, asked: NewPeer) -> dict[str, Any]:
        """Add the relays of a key's own list. What one relay is refused for keeps no other out."""
        added: list[dict[str, Any]] = []
        left_out: list[dict[str, str]] = []
        for url, marked in await self._peers.relays(read_public_key(asked.from_, "from")):
            if url.startswith("ws:") and not asked.plain:
                left_out.append({"url": url, "reason": "is not encrypted"})
                continue
            try:
                peer = read_peer(url, asked.direction or marked.value, asked.filters)
                added.append(await self._peers.add(peer))
            except HanseError as exc:
                left_out.append({"url": url, "reason": exc.reason})
        return {"added": added, "left_out": left_out}

    async def _remove(
        self, request: Request, url: Annotated[str, Query(description="The peer's URL")]
    ) -> Response:
        await self._callers.operator_only(request, b"")
        await self._peers.remove(relay_url(url))
        return json({"removed": relay_url(url)})

    async def _sync(self, request: Request) -> Response:
        body = await read(request)
        await self._callers.operator_only(request, body)
        asked = decoded(body, NewSync)
        found = parse_filter(asked.filter)
        if found.limit is not None:
            raise Invalid.at("filter.limit", "means nothing here: all that matches is shared")
        url, direction = relay_url(asked.url), read_direction(asked.direction)
        return StreamingResponse(self._lines(url, found, direction), media_type=NDJSON)

    async def _lines(self, url: str, filter: Filter, direction: Direction) -> AsyncIterator[bytes]:
        """The sync's progress and outcome. Ended early, it ends the sync."""
        latest: dict[str, Any] = {}

        def tell(tally: Tally) -> None:
            latest.update(tally.as_dict())

        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(_outcome(self._peers.sync(url, filter, direction, tell)))
            try:
                while not (await asyncio.wait([work], timeout=TOLD_EVERY_S))[0]:
                    yield _line("progress", latest)
                yield work.result()
            finally:
                work.cancel()


async def _outcome(work: Any) -> bytes:
    try:
        return _line("result", (await work).as_dict())
    except HanseError as exc:
        return _line("problem", exc.as_dict())


def _line(name: str, found: dict[str, Any]) -> bytes:
    return orjson.dumps({name: found}) + b"\n"
