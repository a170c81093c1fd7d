"""What a node answers by HTTP: its API and the MCP door as one application, or NIP-11 alone."""

import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from hanse import __version__
from hanse.broker.desk import Desk
from hanse.config import Config
from hanse.engines.peers.peers import Peers
from hanse.engines.storage.catalog import StoredCatalog
from hanse.engines.storage.proofs import StoredProofs
from hanse.errors import Restricted
from hanse.figures import Figures
from hanse.identity.resolver import Resolver
from hanse.identity.service import Names
from hanse.payments.service import Payments
from hanse.ports import Clock
from hanse.protocol.http_gate import HttpGate
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.search import Search
from hanse.registry.service import Registry
from hanse.servers.api.bare import bare_app
from hanse.servers.relay.addresses import counted
from hanse.servers.relay.admission import Admission
from hanse.servers.relay.answer import ANSWER_BYTES_MAX
from hanse.servers.relay.context import Sender
from hanse.servers.relay.info import limitation, only_info, relay_info
from hanse.servers.relay.ingest import Ingest
from hanse.servers.relay.moderation import Moderation
from hanse.servers.relay.relay import Relay
from hanse.trust.service import Trust

if TYPE_CHECKING:
    from hanse.servers.api.reply import Callers, Routes


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind the HTTP doors."""

    config: Config
    node: PublicKey
    operator: PublicKey
    is_operator: Callable[[PublicKey], bool]
    """Whether a key speaks for the operator now."""
    agents: Mapping[str, PublicKey]
    url: str
    info: dict[str, Any]
    clock: Clock
    desk: Desk
    trust: Trust
    payments: Payments
    figures: Figures
    ingest: Ingest
    admission: Admission
    relay: Relay
    moderation: Moderation
    peers: Peers
    names: Names
    resolver: Resolver
    catalog: StoredCatalog
    proofs: StoredProofs
    registry: Registry
    secret: SecretKey
    changed: Callable[[float], Awaitable[None]]
    """Waits for the registry's next change, at most so many seconds."""


def described(config: Config, node: PublicKey, operator: PublicKey) -> dict[str, Any]:
    """The NIP-11 document that the settings make."""
    return relay_info(
        name=config.name,
        words=config.words,
        node=node,
        operator=operator,
        version=__version__,
        limitation=limitation(
            limit_max=config.query_limit_max,
            rules=config.rules,
            sockets=config.socket_limits,
            sessions=config.session_limits,
            reads=config.read_limits,
            compares=config.compare_limits,
        ),
        is_bare="api" not in config.doors,
    )


def application(
    behind: Behind, hosts: frozenset[str], start: Callable[[Coroutine[Any, Any, None]], None]
) -> Any:
    """The ASGI application. `start` runs what must live as long as the node."""
    config = behind.config
    if "api" not in config.doors:
        return bare_app(only_info(behind.info), behind.figures.reasons)
    # Imported here: FastAPI takes half a second to load, and a bare relay needs none of it.
    from hanse.servers.api.app import Api
    from hanse.servers.api.edge import Edge
    from hanse.servers.api.reply import Callers

    gate = HttpGate(behind.node, hosts)
    callers = Callers(gate, behind.proofs, behind.clock, behind.is_operator, _stays(behind))
    app = Api(
        desk=behind.desk,
        payments=behind.payments,
        callers=callers,
        info=behind.info,
        status=behind.figures.status,
        version=__version__,
        more=_routes(behind, callers),
    ).app()
    if "mcp" in config.doors:
        from starlette.routing import Mount, Route

        from hanse.servers.mcp.http import McpDoor

        door = McpDoor(
            desk=behind.desk,
            gate=gate,
            clock=behind.clock,
            hosts=hosts,
            name=config.name,
            version=__version__,
            reads=behind.admission.reads,
        )
        start(door.run())
        # Both spellings: a redirect would cost every request a second trip.
        app.router.routes += [Route("/mcp", door), Mount("/mcp", door)]
    return Edge(app, behind.clock, lambda: secrets.token_hex(8))


def _routes(behind: Behind, callers: "Callers") -> "list[Routes]":
    from hanse.servers.api.handles import HandleRoutes
    from hanse.servers.api.health import HealthRoutes
    from hanse.servers.api.management import Management
    from hanse.servers.api.peers import PeerRoutes
    from hanse.servers.api.services import ServiceRoutes
    from hanse.servers.api.trust import TrustRoutes
    from hanse.servers.api.twins import Twins
    from hanse.servers.api.watches import Watches

    health = HealthRoutes(
        reasons=behind.figures.reasons,
        families=behind.figures.families,
        callers=callers,
        networks=behind.config.metrics_networks,
    )
    ingest, origin = behind.ingest, behind.admission.origin
    twins = Twins(
        submit=lambda raw, respond, sender: ingest.submit(
            raw, respond, Sender.of(origin(sender.address, None), sender.who)
        ),
        reads=behind.admission.reads,
        answer=behind.relay.answer,
        callers=callers,
        answer_bytes_max=ANSWER_BYTES_MAX,
    )
    management = Management(
        moderation=behind.moderation,
        callers=callers,
        admins=behind.config.admins,
    )
    reads, relays = behind.admission.reads, [behind.url]
    handles = HandleRoutes(behind.names, behind.resolver, relays, callers, reads)
    watches = Watches(behind.changed, lambda: behind.figures.draining)
    services = ServiceRoutes(behind.desk, callers, watches, reads, counted)
    trust = TrustRoutes(behind.desk, callers, behind.trust)
    peers = PeerRoutes(behind.peers, callers)
    tables = _directories(behind)
    return [services, trust, twins, handles, health, management, peers, *tables]


def _stays(behind: Behind) -> Callable[[str, Collection[PublicKey]], None]:
    def stays(address: str, keys: Collection[PublicKey]) -> None:
        behind.admission.stays(address, keys)
        if not all(behind.trust.standings.speaks(key) for key in keys):
            raise Restricted("this key speaks for nobody any more", field="Authorization")

    return stays


def _directories(behind: Behind) -> "list[Routes]":
    """What other directories read: agent cards, a catalog, an MCP registry."""
    from hanse.servers.api.directories import directories
    from hanse.servers.api.shown import Hit, Site

    site = Site(
        name=behind.config.name,
        version=__version__,
        http_url=behind.url.replace("ws", "http", 1).rstrip("/"),
        relay_url=behind.url,
        node=behind.secret,
        mcp="mcp" in behind.config.doors,
        withheld=behind.registry.why_withheld,
    )

    async def look(words: str, limit: int, offset: int) -> list[Hit]:
        found = await behind.registry.find(Search(words=words, limit=limit, offset=offset))
        return [Hit(hit.offer, hit.score) for hit in found.hits]

    names, reads = behind.names, behind.admission.reads
    return directories(site, behind.catalog, names, names.own, look, behind.clock, reads)
