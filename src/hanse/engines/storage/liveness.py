"""Signs of life as they are kept: when providers were connected, how probes ended, past prices."""

from collections.abc import Iterable, Mapping

import msgspec

from hanse.engines.storage.database import Database, Row, Transaction
from hanse.registry.liveness import DRIFT_S, Change, Liveness
from hanse.registry.model import Offer
from hanse.registry.observed import Observed
from hanse.registry.quality import DAY_S, oldest_slot

PROBES_S = 30 * DAY_S
SEEN_S = 365 * DAY_S
"""How long each is kept."""

LOADED_MAX = 1_000_000

_decode = msgspec.json.Decoder(Offer).decode


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """How one probe ended."""

    address: str
    capability: str
    major: int
    end: str
    at_s: int


class StoredLiveness:
    """Keeps them, and fills a `Liveness` from them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, liveness: Liveness, observed: Observed, now_s: int) -> None:
        """Fill these with what is kept. Call once."""
        for provider, at_s in await self._database.all("seen_list", LOADED_MAX):
            liveness.saw(provider, int(at_s))
        least_s = oldest_slot(DAY_S, now_s) * DAY_S
        for row in reversed(await self._database.all("probe_list", LOADED_MAX)):
            address, capability, at_s, major, end = row
            liveness.probed(address, capability, end, int(at_s))
            if at_s >= least_s:
                observed.probed(address, capability, int(major), end, int(at_s))
        changes = await self._database.all("prices_changed", now_s - DRIFT_S, LOADED_MAX)
        for address, capability, at_s, msat, before in changes:
            liveness.priced(address, capability, Change(int(at_s), int(before), int(msat)))

    async def offers(self, after: str, now_s: int, limit: int) -> list[Offer]:
        """A page of live offers, by address."""
        rows = await self._database.all("offers_page", after, now_s, limit)
        return [_decode(row[1]) for row in rows]

    async def keep(
        self, seen: Mapping[str, int], probed: Iterable[Probed], offers: Iterable[Offer]
    ) -> list[tuple[str, str, Change]]:
        """Add what is new; the prices that changed, by address and capability."""
        return await self._database.write(_keep, dict(seen), list(probed), list(offers))

    async def forget(self, now_s: int) -> None:
        """Remove what is too old to say anything."""
        await self._database.write(_forget, now_s)


# --- operations -------------------------------------------------------------------------------


def _keep(
    tx: Transaction, seen: dict[str, int], probed: list[Probed], offers: list[Offer]
) -> list[tuple[str, str, Change]]:
    for provider, at_s in seen.items():
        tx.all("seen_set", provider, at_s)
    for one in probed:
        tx.all("probe_add", one.address, one.capability, one.at_s, one.major, one.end)
    found: list[tuple[str, str, Change]] = []
    for offer in offers:
        for capability in offer.capabilities:
            if not capability.by_call:
                continue
            last: Row | None = tx.one("price_last", offer.address, capability.name)
            msat, at_s = capability.price.msat, offer.created_at
            if last is not None and (last[0] == msat or last[1] >= at_s):
                continue
            tx.all("price_add", offer.address, capability.name, at_s, msat)
            if last is not None:
                change = Change(at_s, int(last[0]), msat)
                found.append((offer.address, capability.name, change))
    return found


def _forget(tx: Transaction, now_s: int) -> None:
    tx.all("probes_drop", now_s - PROBES_S)
    tx.all("seen_drop", now_s - SEEN_S)
    tx.all("prices_drop", now_s - 2 * DRIFT_S)
