"""Agent cards (A2A 1.0): the node's at /.well-known/agent-card.json, each provider's under /agents.

The node does not speak A2A's own bindings, so no card claims one: the interfaces that are named are
MCP, ContextVM and HTTP. Cards are signed by the node (JWS, ES256K) with the key that its npub
names, in a form from which no reader drops anything: nothing in a card is empty.
"""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from hanse.broker.tools import TOOLS
from hanse.errors import NotFound
from hanse.ports import Clock
from hanse.protocol import jws
from hanse.protocol.address import encode_npub, read_public_key
from hanse.protocol.canonical import canonical
from hanse.protocol.handle import handle_name
from hanse.protocol.keys import PublicKey
from hanse.registry.elsewhere import EXTENSION, offer_meta
from hanse.registry.model import Capability, Offer
from hanse.servers.api.handles import Handles
from hanse.servers.api.mcp_registry import server_card
from hanse.servers.api.reply import answers
from hanse.servers.api.shown import PROVIDER_OFFERS_MAX, Catalog, Site, cached

OFFERS_MAX = 50
"""Offers in one agent's card, each with at most 100 skills in 64 KB."""

CARD_BYTES_MAX = 1 << 20
"""Of offers in one agent's card; the first is always there."""

JWKS_PATH = "/.well-known/jwks.json"
CARD = {"application/json": {"type": "object", "required": ["name", "skills"]}}
SERVER_CARD = "application/mcp-server-card+json"
_BINDINGS = "urn:hanse:a2a:binding"
_MODES = ["application/json"]


class WellKnownRoutes:
    """The routes over the offers' view."""

    def __init__(
        self,
        site: Site,
        catalog: Catalog,
        handles: Handles,
        own: dict[str, PublicKey],
        clock: Clock,
    ) -> None:
        self._site = site
        self._catalog = catalog
        self._handles = handles
        self._own = own
        self._clock = clock

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        add = app.add_api_route
        add(
            "/.well-known/agent-card.json",
            self._node,
            methods=["GET"],
            summary="The node's agent card (A2A)",
            responses=answers(CARD, "a signed agent card"),
        )
        add(JWKS_PATH, self._keys, methods=["GET"], summary="The key that signs cards (JWK set)")
        add(
            "/agents/{who}/.well-known/agent-card.json",
            self._agent,
            methods=["GET"],
            summary="A provider's agent card (A2A), by npub, hex key or handle",
            responses=answers(CARD, "a signed agent card"),
        )
        add(
            "/agents/{who}/server-card.json",
            self._server_card,
            methods=["GET"],
            summary="One offer of a provider as an MCP server card",
            responses=answers({SERVER_CARD: {"type": "object"}}, "a server card"),
        )

    async def _node(self, request: Request) -> Response:
        return cached(request, signed(self._site, node_card(self._site)))

    async def _keys(self, request: Request) -> Response:
        kid = encode_npub(self._site.node.public)
        return cached(request, {"keys": [jws.public_jwk(self._site.node.public, kid)]})

    async def _agent(self, request: Request, who: str) -> Response:
        provider = await self._provider(who)
        offers = await self._offers(provider, lambda _identifier, source: not source, OFFERS_MAX)
        if not offers:
            raise NotFound("this agent offers nothing here", field="who")
        return cached(request, signed(self._site, agent_card(self._site, provider, offers)))

    async def _server_card(self, request: Request, who: str, offer: str) -> Response:
        provider = await self._provider(who)
        found = await self._offers(provider, lambda name, source: not source and name == offer, 1)
        if found:
            return cached(request, server_card(self._site, found[0]), SERVER_CARD)
        raise NotFound("this agent has no such offer", field="query.offer")

    async def _offers(
        self, provider: PublicKey, fits: Callable[[str, str], bool], most: int
    ) -> list[Offer]:
        found = await self._catalog.of_provider(
            provider, PROVIDER_OFFERS_MAX, self._clock.now_s(), fits, most
        )
        return [offer for offer in found if not self._site.withheld(offer)]

    async def _provider(self, who: str) -> PublicKey:
        if who.startswith("npub1") or len(who) == 64:
            return read_public_key(who, "who")
        name = handle_name(who, "who")
        given = await self._handles.handle(name)
        if given is not None:
            return given.pubkey
        if name in self._own:
            return self._own[name]
        raise NotFound("nobody has this name", field="who", hint="name an npub")


def node_card(site: Site) -> dict[str, Any]:
    """The card of the node itself: what its tools do for whoever calls."""
    skills = [
        {
            "id": tool.name,
            "name": tool.title,
            "description": tool.description,
            "tags": ["registry", "payments"],
        }
        for tool in TOOLS
    ]
    about = "A node where agents find each other's services, call them and pay per call."
    return _card(site, site.name, about, site.version, skills)


def agent_card(site: Site, provider: PublicKey, offers: list[Offer]) -> dict[str, Any]:
    """The card of a provider: a skill for each capability of its offers, as many as it holds."""
    carried = _carried(offers)
    offers = offers[: len(carried)]
    several = len(offers) > 1
    skills = [_skill(offer, found, several) for offer in offers for found in offer.capabilities]
    name = offers[0].name if not several else f"Agent {encode_npub(provider)[:16]}"
    about = [f"{offer.name}: {offer.summary}" if several else offer.summary for offer in offers]
    summary = "\n".join(text for text in about if text.strip()) or name
    # As text: a reader of protocol buffers drops what is empty in a schema, and with it the
    # signature.
    extension = {
        "uri": EXTENSION,
        "description": "The offers behind the skills: schemas, prices, addresses.",
        "params": {"agent": encode_npub(provider), "offers": carried},
    }
    return _card(site, name, summary, offers[0].version, skills, [extension])


def _carried(offers: list[Offer]) -> list[str]:
    found: list[str] = []
    for offer in offers:
        told = {
            "name": offer.name,
            "summary": offer.summary,
            "version": offer.version,
            "topics": list(offer.topics),
        }
        text = orjson.dumps(offer_meta(offer) | told).decode()
        if found and sum(map(len, found)) + len(text) > CARD_BYTES_MAX:
            break
        found.append(text)
    return found


def _card(
    site: Site,
    name: str,
    about: str,
    version: str,
    skills: list[dict[str, Any]],
    extensions: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    places = [(site.relay_url, "contextvm"), (f"{site.http_url}/api/v1", "http")]
    if site.mcp:
        places.insert(0, (site.mcp_url, "mcp"))
    capabilities: dict[str, Any] = {"streaming": False, "pushNotifications": False}
    if extensions:
        capabilities["extensions"] = extensions
    return {
        "name": name,
        "description": about,
        "version": version or "0",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": f"{_BINDINGS}:{kind}", "protocolVersion": "1.0"}
            for url, kind in places
        ],
        "provider": {"organization": site.name or "Hanse", "url": site.http_url},
        "documentationUrl": f"{site.http_url}/docs",
        "capabilities": capabilities,
        "securitySchemes": {
            "nostr": {
                "httpAuthSecurityScheme": {
                    "scheme": "Nostr",
                    "description": "A signed event for each request (NIP-98).",
                }
            }
        },
        "defaultInputModes": _MODES,
        "defaultOutputModes": _MODES,
        "skills": skills,
    }


def _skill(offer: Offer, found: Capability, several: bool) -> dict[str, Any]:
    skill: dict[str, Any] = {
        "id": f"{offer.identifier}/{found.name}" if several else found.name,
        "name": found.title or found.name,
        "description": found.description or offer.summary or found.name,
        "tags": [topic for topic in offer.topics if topic] or ["hanse"],
    }
    if found.examples:
        skill["examples"] = [orjson.dumps(one.input).decode() for one in found.examples]
    return skill


def signed(site: Site, card: dict[str, Any]) -> dict[str, Any]:
    """The card with the node's signature."""
    header = {
        "alg": jws.ES256K,
        "typ": "JOSE",
        "kid": encode_npub(site.node.public),
        "jku": site.http_url + JWKS_PATH,
    }
    protected = jws.encode(canonical(header))
    signature = jws.sign(site.node, protected, canonical(card))
    return card | {"signatures": [{"protected": protected, "signature": signature}]}
