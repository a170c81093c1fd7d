"""What the doors for other directories share: which offers they show, under which names, and how an
answer is cached.

Shown are offers that their providers published. Imported ones are not: what others list is theirs
to show, and would come back to them under our name.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Protocol

import msgspec
import orjson
from fastapi import Request
from fastapi.responses import Response

from hanse.errors import Invalid
from hanse.protocol.address import encode_npub
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.registry.model import Offer

PAGE_MAX = 100
LOOKED_AT_MAX = 300
"""Offers looked at for one page: a filter that fits few of many answers with a cursor instead."""

PROVIDER_OFFERS_MAX = 1000
"""A provider's offers looked at for one of them."""

REQUEST_COST = 20
"""Events of its address's rate that a request to these doors stands for."""

MAX_AGE_S = 60
CURSOR_MAX = 512
SERVER_NAME_MAX = 200
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


class Catalog(Protocol):
    """The offers' view, read in order."""

    async def page(
        self, after: tuple[int, str] | None, since_s: int, limit: int, now_s: int
    ) -> list[Offer]:
        """Live offers published since, newest first; `after` is the last (time, address) seen."""

    async def of_provider(
        self,
        provider: PublicKey,
        limit: int,
        now_s: int,
        fits: Callable[[str, str], bool],
        most: int,
    ) -> list[Offer]:
        """Of a provider's first `limit` live offers, at most `most` whose identifier and source
        fit."""


class Hit(msgspec.Struct, frozen=True):
    """An offer that was found, and how well it fits (0 to 1)."""

    offer: Offer
    score: float


Look = Callable[[str, int, int], Awaitable[list[Hit]]]
"""Finds offers: words, limit, offset. Raises Invalid."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The node as others see it. `node` signs what is signed."""

    name: str
    version: str
    http_url: str
    relay_url: str
    node: SecretKey
    mcp: bool = True
    withheld: Callable[[Offer], str] = lambda _: ""
    """Why an offer is not shown here; "" if it is."""

    @property
    def host(self) -> str:
        """The name without a port, in a form that URNs and namespaces take."""
        rest = self.http_url.partition("://")[2].partition("/")[0]
        return rest.partition("]")[0].strip("[") if rest[:1] == "[" else rest.partition(":")[0]

    @property
    def namespace(self) -> str:
        """The host's name the other way round, as MCP registries name servers."""
        try:
            ip_address(self.host)
        except ValueError:
            return ".".join(reversed(self.host.split(".")))
        return "localhost"

    @property
    def mcp_url(self) -> str:
        """The node's MCP door."""
        return f"{self.http_url}/mcp"


def is_shown(site: Site, offer: Offer) -> bool:
    """Whether other directories hear of it."""
    return not offer.source and not site.withheld(offer)


def slug(offer: Offer) -> str:
    """An offer's name in URNs and server names, one for each: `npub.identifier`, with a hash in
    place of an identifier that has other characters or is long."""
    return f"{encode_npub(offer.provider)}.{slug_end(offer.identifier)}"


def slug_end(identifier: str) -> str:
    """What stands for an identifier in a slug."""
    plain = _PLAIN.fullmatch(identifier) and len(identifier) <= 64
    return identifier if plain else _hashed(identifier)


def _hashed(identifier: str) -> str:
    return "x-" + hashlib.sha256(identifier.encode()).hexdigest()[:40]


def server_name(site: Site, offer: Offer) -> str:
    """The name of an offer as an MCP server: `com.example/npub….identifier`."""
    end = slug(offer)
    return f"{site.namespace[: SERVER_NAME_MAX - len(end) - 1]}/{end}"


def urn(site: Site, offer: Offer) -> str:
    """The identifier of an offer in catalogs (ARD §4.2.1)."""
    npub, _, end = slug(offer).partition(".")
    return f"urn:air:{site.host if ':' not in site.host else 'localhost'}:{npub}:{end}"


def card_url(site: Site, provider: PublicKey) -> str:
    """Where an agent's card is."""
    return f"{site.http_url}/agents/{encode_npub(provider)}/.well-known/agent-card.json"


def instant(at_s: int) -> str:
    """RFC 3339, as the registries write times."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def since(text: str | None, field: str) -> int:
    """Unix seconds of an RFC 3339 time, rounded up; 0 for none. Raises Invalid."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a `+` that was not encoded
    except ValueError as exc:
        raise Invalid.at(field, "must be a time like 2026-01-31T00:00:00Z") from exc
    if found.tzinfo is None:
        raise Invalid.at(field, "must say its zone", "end it with Z")
    return max(0, int(-(-found.timestamp() // 1)))


# --- pages ----------------------------------------------------------------------------------------


async def walked(
    site: Site,
    catalog: Catalog,
    cursor: str | None,
    limit: int,
    now_s: int,
    *,
    since_s: int = 0,
    fits: Callable[[Offer], bool] = lambda _: True,
) -> tuple[list[Offer], str]:
    """A page of offers and the cursor of the next, "" at the end. Raises Invalid."""
    after = _place(cursor) if cursor else None
    found: list[Offer] = []
    looked = 0
    while looked < LOOKED_AT_MAX:
        rows = await catalog.page(after, since_s, PAGE_MAX, now_s)
        for offer in rows:
            looked += 1
            if fits(offer) and is_shown(site, offer):
                if len(found) == limit:
                    assert after is not None
                    return found, _cursor(after)
                found.append(offer)
            after = (offer.created_at, offer.address)
        if len(rows) < PAGE_MAX:
            return found, ""
    assert after is not None
    return found, _cursor(after)


def _cursor(after: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(after)).rstrip(b"=").decode()


def _place(cursor: str) -> tuple[int, str]:
    try:
        if len(cursor) > CURSOR_MAX or not cursor.isascii():
            raise ValueError("too long")
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found: tuple[int, str] = msgspec.json.decode(raw, type=tuple[int, str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as exc:
        raise Invalid.at("cursor", "is not one of ours", "begin again without one") from exc
    return found


def page_size(asked: int | None, otherwise: int, field: str) -> int:
    """How many on a page. Raises Invalid."""
    if asked is None:
        return otherwise
    if not 1 <= asked <= PAGE_MAX:
        raise Invalid.at(field, f"must be 1 to {PAGE_MAX}")
    return asked


# --- answers --------------------------------------------------------------------------------------


def cached(request: Request, found: Any, media: str = "application/json") -> Response:
    """An answer that may be kept for a minute, and costs nothing to ask for again unchanged."""
    body = orjson.dumps(found)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={MAX_AGE_S}"}
    asked = request.headers.get("if-none-match", "")
    if tag in (one.strip().removeprefix("W/") for one in asked.split(",")) or asked == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media, headers=headers)
