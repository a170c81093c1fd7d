"""The doors for other directories, together."""

from hanse.ports import Clock
from hanse.protocol.keys import PublicKey
from hanse.servers.api.catalog import CatalogRoutes
from hanse.servers.api.handles import Handles
from hanse.servers.api.mcp_registry import McpRegistryRoutes
from hanse.servers.api.reply import Routes
from hanse.servers.api.shown import Catalog, Look, Site
from hanse.servers.api.wellknown import WellKnownRoutes


def directories(
    site: Site,
    catalog: Catalog,
    handles: Handles,
    own: dict[str, PublicKey],
    look: Look,
    clock: Clock,
) -> list[Routes]:
    """Agent cards (A2A), a catalog (ARD) and an MCP registry of one node. `own` are the names of
    the operator's own agents."""
    return [
        WellKnownRoutes(site, catalog, handles, own, clock),
        CatalogRoutes(site, catalog, look, clock),
        McpRegistryRoutes(site, catalog, clock),
    ]
