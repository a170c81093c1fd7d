"""Handles the operator gave: a name, and the key it is for."""

from hanse.engines.storage.database import Database, Transaction
from hanse.errors import Conflict, TooLarge
from hanse.protocol.handle import Handle
from hanse.protocol.keys import PublicKey

HANDLES_MAX = 10_000


class StoredHandles:
    """Implements the handles that the API's routes ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle(self, name: str) -> Handle | None:
        """One by its name."""
        found = await self._database.one("handle_get", name)
        return Handle(found[0], PublicKey(found[1])) if found else None

    async def handles(self) -> list[Handle]:
        """All, by name."""
        rows = await self._database.all("handle_list")
        return [Handle(name, PublicKey(pubkey)) for name, pubkey in rows]

    async def add(self, handle: Handle) -> None:
        """Keep it; the same again changes nothing. Raises Conflict, TooLarge."""
        await self._database.write(_add, handle)

    async def remove(self, name: str) -> bool:
        """Forget it; False if there is none."""
        return await self._database.write(_remove, name)


def _add(tx: Transaction, handle: Handle) -> None:
    known = tx.one("handle_get", handle.name)
    if known is not None:
        if known[1] != handle.pubkey:
            raise Conflict("is another key's: remove it first", field=f"handle {handle.name}")
        return
    count = tx.one("handle_count")
    if count is None or count[0] >= HANDLES_MAX:
        raise TooLarge(f"this node keeps at most {HANDLES_MAX}", field="handles")
    tx.all("handle_insert", handle.name, handle.pubkey)


def _remove(tx: Transaction, name: str) -> bool:
    return tx.one("handle_delete", name) is not None
