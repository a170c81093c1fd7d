"""The offers' view read in order, for those who list everything: catalogs and registries."""

from collections.abc import Callable

import msgspec

from hanse.engines.storage.database import Database
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Offer

_decode = msgspec.json.Decoder(Offer).decode
_FIRST = (2**53, "")


class _Named(msgspec.Struct):
    """What tells which offer it is; the rest is passed over, ten times as fast."""

    identifier: str
    source: str = ""


_named = msgspec.json.Decoder(_Named).decode


class StoredCatalog:
    """Implements `servers.api.shown.Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, after: tuple[int, str] | None, since_s: int, limit: int, now_s: int
    ) -> list[Offer]:
        """Live offers published since, newest first; `after` is the last (time, address) seen."""
        rows = await self._database.all("catalog_page", *(after or _FIRST), since_s, now_s, limit)
        return [_decode(row[0]) for row in rows]

    async def of_provider(
        self,
        provider: PublicKey,
        limit: int,
        now_s: int,
        fits: Callable[[str, str], bool] = lambda _identifier, _source: True,
        most: int | None = None,
    ) -> list[Offer]:
        """Of a provider's first `limit` live offers, at most `most` whose identifier and source
        fit."""
        start = f"{kinds.OFFER}:{provider}"
        rows = await self._database.all(
            "catalog_of_provider", f"{start}:", f"{start};", now_s, limit
        )
        found: list[Offer] = []
        for (json,) in rows:
            if len(found) == most:
                break
            named = _named(json)
            if fits(named.identifier, named.source):
                found.append(_decode(json))
        return found
