"""The offers' view read in order, for those who list everything: catalogs and registries."""

import msgspec

from hanse.engines.storage.database import Database
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Offer

_decode = msgspec.json.Decoder(Offer).decode
_FIRST = (2**53, "")


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

    async def of_provider(self, provider: PublicKey, limit: int, now_s: int) -> list[Offer]:
        """A provider's live offers."""
        start = f"{kinds.OFFER}:{provider}"
        rows = await self._database.all(
            "catalog_of_provider", f"{start}:", f"{start};", now_s, limit
        )
        return [_decode(row[0]) for row in rows]
