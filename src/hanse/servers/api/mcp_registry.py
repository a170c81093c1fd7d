"""The registry as MCP registries are asked (generic registry API 2025-12-01): /v0.1, and /v0 as
older clients do. Read only.

A server is an offer. Its remote is the node's MCP door, where `call_service` calls it; which tools
it has stands in `_meta`, since `server.json` has no place for them.
"""

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response

from hanse.errors import NotFound
from hanse.ports import Clock
from hanse.protocol.address import decode_npub
from hanse.registry.elsewhere import META, offer_meta, tool
from hanse.registry.model import Offer
from hanse.servers.api.reply import answers
from hanse.servers.api.shown import (
    PAGE_MAX,
    PROVIDER_OFFERS_MAX,
    Catalog,
    Site,
    cached,
    card_url,
    instant,
    page_size,
    server_name,
    since,
    slug_end,
    walked,
)

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
OFFICIAL = "io.modelcontextprotocol.registry/official"
PAGE = 30
TEXT_MAX = 100
ROOTS = ("/v0.1", "/v0")
_LIST = {"application/json": {"type": "object", "required": ["servers"]}}
_ONE = {"application/json": {"type": "object", "required": ["server"]}}


class McpRegistryRoutes:
    """The routes over the offers' view."""

    def __init__(self, site: Site, catalog: Catalog, clock: Clock) -> None:
        self._site = site
        self._catalog = catalog
        self._clock = clock

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        for root in ROOTS:
            add, path = app.add_api_route, f"{root}/servers"
            add(
                path,
                self._list,
                methods=["GET"],
                summary="Offers as MCP servers (MCP registry)",
                responses=answers(_LIST, "servers, and metadata.nextCursor"),
            )
            # The name holds a slash, encoded or not: `path` takes both.
            add(
                path + "/{name:path}/versions",
                self._versions,
                methods=["GET"],
                summary="The versions of one server (MCP registry)",
                responses=answers(_LIST, "its only version"),
            )
            add(
                path + "/{name:path}/versions/{version}",
                self._version,
                methods=["GET"],
                summary="One version of a server, or `latest` (MCP registry)",
                responses=answers(_ONE, "the server"),
            )

    async def _list(
        self,
        request: Request,
        cursor: str | None = None,
        limit: Annotated[int | None, Query(description=f"1 to {PAGE_MAX}")] = None,
        search: Annotated[str | None, Query(max_length=200)] = None,
        updated_since: str | None = None,
        version: Annotated[str | None, Query(max_length=255)] = None,
    ) -> Response:
        words = (search or "").lower()

        def fits(offer: Offer) -> bool:
            if version not in (None, "", "latest", offer.version):
                return False
            names = f"{server_name(self._site, offer)} {offer.name}".lower()
            return words in names

        offers, following = await walked(
            self._site,
            self._catalog,
            cursor,
            page_size(limit, PAGE, "query.limit"),
            self._clock.now_s(),
            since_s=since(updated_since, "query.updated_since"),
            fits=fits,
        )
        return cached(request, self._listed(offers, following))

    async def _versions(self, request: Request, name: str) -> Response:
        return cached(request, self._listed([await self._offer(name)], ""))

    async def _version(self, request: Request, name: str, version: str) -> Response:
        offer = await self._offer(name)
        if version not in ("latest", offer.version):
            raise NotFound(f"{version[:64]!r} is not kept", field="version", hint=offer.version)
        return cached(request, server_response(self._site, offer))

    async def _offer(self, name: str) -> Offer:
        end = name.rpartition("/")[2]
        if name == f"{self._site.namespace}/{end}" and end.startswith("npub1"):
            npub, _, wanted = end.partition(".")
            offers = await self._catalog.of_provider(
                decode_npub(npub),
                PROVIDER_OFFERS_MAX,
                self._clock.now_s(),
                lambda identifier, source: not source and slug_end(identifier) == wanted,
                1,
            )
            if offers and not self._site.withheld(offers[0]):
                return offers[0]
        raise NotFound("no server has this name", field="name", hint="GET /v0.1/servers lists all")

    def _listed(self, offers: list[Offer], following: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"count": len(offers)}
        if following:
            metadata["nextCursor"] = following
        return {
            "servers": [server_response(self._site, offer) for offer in offers],
            "metadata": metadata,
        }


def server(site: Site, offer: Offer) -> dict[str, Any]:
    """An offer as `server.json`."""
    found: dict[str, Any] = {
        "$schema": SCHEMA,
        "name": server_name(site, offer),
        "title": _cut(offer.name),
        "description": _cut(offer.summary) or _cut(offer.name),
        "version": offer.version,
        "websiteUrl": card_url(site, offer.provider),
    }
    if site.mcp:
        key = {
            "name": "Authorization",
            "description": "NIP-98 or a bearer token: who calls, and pays",
            "isSecret": True,
        }
        found["remotes"] = [{"type": "streamable-http", "url": site.mcp_url, "headers": [key]}]
    return found


def server_card(site: Site, offer: Offer) -> dict[str, Any]:
    """An offer as a server card: with its tools."""
    tools = [tool(found) for found in offer.capabilities]
    return server(site, offer) | {"tools": tools, "_meta": {META: offer_meta(offer)}}


def server_response(site: Site, offer: Offer) -> dict[str, Any]:
    """An offer as a registry answers for a server."""
    official = {
        "status": "active",
        "publishedAt": instant(offer.created_at),
        "updatedAt": instant(offer.created_at),
        "isLatest": True,
    }
    return {"server": server(site, offer), "_meta": {OFFICIAL: official, META: offer_meta(offer)}}


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…"
