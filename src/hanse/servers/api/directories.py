"""The doors for other directories, together. A request costs its address what many events do: it
may read hundreds of offers."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request

from hanse.ports import Clock
from hanse.protocol.keys import PublicKey
from hanse.servers.api.catalog import CatalogRoutes
from hanse.servers.api.handles import Handles
from hanse.servers.api.mcp_registry import McpRegistryRoutes
from hanse.servers.api.reply import Routes, address_of
from hanse.servers.api.shown import REQUEST_COST, Catalog, Look, Site
from hanse.servers.api.wellknown import WellKnownRoutes


def directories(
    site: Site,
    catalog: Catalog,
    handles: Handles,
    own: dict[str, PublicKey],
    look: Look,
    clock: Clock,
    reads: Callable[[str, int], None],
) -> list[Routes]:
    """Agent cards (A2A), a catalog (ARD) and an MCP registry of one node. `own` are the names of
    the operator's own agents; `reads` counts requests of an address, and raises RateLimited."""
    routes = (
        WellKnownRoutes(site, catalog, handles, own, clock),
        CatalogRoutes(site, catalog, look, clock),
        McpRegistryRoutes(site, catalog, clock),
    )
    return [_Counted(one, reads) for one in routes]


class _Counted:
    """Routes whose requests are counted."""

    def __init__(self, routes: Routes, reads: Callable[[str, int], None]) -> None:
        self._routes = routes
        self._reads = reads

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        router = APIRouter(dependencies=[Depends(self._count)])
        self._routes.add_to(router)
        app.include_router(router)

    async def _count(self, request: Request) -> None:
        self._reads(address_of(request), REQUEST_COST)
