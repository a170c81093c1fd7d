"""ARD (v0.9): /.well-known/ai-catalog.json, POST /search, GET /agents.

The catalog names the node, how to ask its registry, and the newest offers; all of them are reached
by pages of /agents, or by searching. Federation is not done: every mode answers with what is here.
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query, Request
from fastapi.responses import Response

from hanse.errors import Invalid
from hanse.ports import Clock
from hanse.protocol.address import encode_npub
from hanse.registry.model import Offer
from hanse.servers.api.reply import answers, body_of, decoded, json, read
from hanse.servers.api.shown import (
    PAGE_MAX,
    Catalog,
    Look,
    Site,
    cached,
    instant,
    is_shown,
    page_size,
    urn,
    walked,
)

NEWEST = 100
TEXT_MAX = 1000
FILTERS_MAX = 20
VALUES_MAX = 50
SEARCH_PAGE = 10
LIST_PAGE = 20
OFFSET_MAX = 500
LOOKED_AT = 50
"""Hits that one search looks at: filters apply to them."""

SERVER_CARD = "application/mcp-server-card+json"
AGENT_CARD = "application/a2a-agent-card+json"
REGISTRY = "application/ai-registry+json"
_CATALOG = {"application/json": {"type": "object", "required": ["specVersion", "entries"]}}
_RESULTS = {"application/json": {"type": "object", "required": ["results"]}}
_ITEMS = {"application/json": {"type": "object", "required": ["items"]}}


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ARD §7.1."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
    filter: dict[str, str | list[str]] = {}


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /search (ARD §7.2)."""

    query: Asked
    federation: Literal["auto", "referrals", "none"] = "auto"
    pageSize: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = SEARCH_PAGE  # noqa: N815  # ARD's
    pageToken: str = ""  # noqa: N815  # ARD's


class CatalogRoutes:
    """The routes over the registry and the offers' view."""

    def __init__(self, site: Site, catalog: Catalog, look: Look, clock: Clock) -> None:
        self._site = site
        self._catalog = catalog
        self._look = look
        self._clock = clock

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        add = app.add_api_route
        add(
            "/.well-known/ai-catalog.json",
            self._manifest,
            methods=["GET"],
            summary="What is here (ARD)",
            responses=answers(_CATALOG, "a catalog"),
        )
        add(
            "/search",
            self._search,
            methods=["POST"],
            summary="Find services in plain words (ARD)",
            openapi_extra=body_of(_search_schema()),
            responses=answers(_RESULTS, "entries, best first"),
        )
        add("/explore", self._explore, methods=["POST"], include_in_schema=False)
        add(
            "/agents",
            self._list,
            methods=["GET"],
            summary="Every offer, page by page (ARD)",
            responses=answers(_ITEMS, "entries, newest first"),
        )

    async def _manifest(self, request: Request) -> Response:
        offers, _ = await walked(self._site, self._catalog, None, NEWEST, self._clock.now_s())
        site = self._site
        own = f"urn:air:{urn_host(site)}:node"
        entries: list[dict[str, Any]] = [
            {
                "identifier": f"{own}:registry",
                "displayName": f"{site.name}: registry",
                "type": REGISTRY,
                "url": f"{site.http_url}/",
                "description": "Every offer: POST /search, GET /agents.",
            },
            {
                "identifier": f"{own}:card",
                "displayName": site.name,
                "type": AGENT_CARD,
                "url": f"{site.http_url}/.well-known/agent-card.json",
                "description": "The node: finds services, calls them, pays for them.",
            },
            *(entry(site, offer) for offer in offers),
        ]
        host = {"displayName": site.name, "documentationUrl": f"{site.http_url}/docs"}
        return cached(request, {"specVersion": "1.0", "host": host, "entries": entries})

    async def _list(
        self,
        request: Request,
        pageSize: Annotated[int | None, Query(description=f"1 to {PAGE_MAX}")] = None,  # noqa: N803
        pageToken: str | None = None,  # noqa: N803  # ARD's names
    ) -> Response:
        unknown = sorted(set(request.query_params) - {"pageSize", "pageToken"})
        if unknown:
            raise Invalid.at(
                f"query.{unknown[0][:64]}", "is not known here", "POST /search filters"
            )
        size = page_size(pageSize, LIST_PAGE, "query.pageSize")
        offers, following = await walked(
            self._site, self._catalog, pageToken, size, self._clock.now_s()
        )
        found: dict[str, Any] = {"items": [entry(self._site, offer) for offer in offers]}
        return cached(request, found | ({"pageToken": following} if following else {}))

    async def _explore(self) -> Response:
        reason = {"error": "NOT_IMPLEMENTED", "message": "this registry counts no facets"}
        return json(reason, 501)

    async def _search(self, request: Request) -> Response:
        asked: Search = decoded(await read(request), Search)
        offset = _offset(asked.pageToken)
        wanted = _wanted(asked.query.filter)
        results: list[dict[str, Any]] = []
        seen: set[str] = set()
        hits, used = await self._look(asked.query.text, LOOKED_AT, offset), 0
        for hit in hits:
            used += 1
            if not is_shown(self._site, hit.offer) or hit.offer.address in seen:
                continue
            seen.add(hit.offer.address)
            row = entry(self._site, hit.offer)
            if all(_fits(row, path, values) for path, values in wanted.items()):
                score = max(0, min(100, round(hit.score * 100)))
                results.append(row | {"score": score, "source": f"{self._site.http_url}/"})
            if len(results) == asked.pageSize:
                break
        found: dict[str, Any] = {"results": results}
        more = used < len(hits) or len(hits) == LOOKED_AT
        if more and offset + used <= OFFSET_MAX:
            found["pageToken"] = str(offset + used)
        if asked.federation == "referrals":
            found["referrals"] = []
        return json(found)


def urn_host(site: Site) -> str:
    """The publisher in our own URNs: a domain, or what stands for one on a machine without."""
    return site.host if ":" not in site.host else "localhost"


def entry(site: Site, offer: Offer) -> dict[str, Any]:
    """An offer as a catalog's entry."""
    npub = encode_npub(offer.provider)
    found: dict[str, Any] = {
        "identifier": urn(site, offer),
        "displayName": offer.name,
        "type": SERVER_CARD,
        "url": f"{site.http_url}/agents/{npub}/server-card.json?offer={_quoted(offer.identifier)}",
        "description": offer.summary or offer.name,
        "capabilities": [found.name for found in offer.capabilities],
        "version": offer.version,
        "updatedAt": instant(offer.created_at),
        "metadata": {
            "provider": npub,
            "operator": encode_npub(offer.operator),
            "offer": offer.address,
        },
    }
    return found | ({"tags": list(offer.topics)} if offer.topics else {})


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _wanted(filter: dict[str, str | list[str]]) -> dict[str, list[str]]:
    found = {key: [one] if isinstance(one, str) else one for key, one in filter.items()}
    if len(found) > FILTERS_MAX or any(len(values) > VALUES_MAX for values in found.values()):
        raise Invalid.at("query.filter", f"at most {FILTERS_MAX} keys of {VALUES_MAX} values")
    return found


def _fits(row: dict[str, Any], path: str, values: list[str]) -> bool:
    """ARD §7.1: any of the values, at a dotted path; `publisher` is in the identifier."""
    if path == "publisher":
        return row["identifier"].split(":")[2] in values
    found: Any = row
    for part in path.split(".")[:5]:
        found = found.get(part) if isinstance(found, dict) else None
    several = found if isinstance(found, list) else [found]
    return any(str(one) in values for one in several if one is not None)


def _offset(token: str) -> int:
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= 6 and int(token) <= OFFSET_MAX):
        raise Invalid.at("pageToken", "is not one of ours", "begin again without one")
    return int(token)


def _search_schema() -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = msgspec.json.schema(Search)["$defs"]
    found = parts["Search"]
    return found | {"properties": found["properties"] | {"query": parts["Asked"]}}
