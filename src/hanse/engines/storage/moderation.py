"""The operator's decisions on disk. Implements `servers/relay/moderation.py`'s `Store`."""

from hanse.engines.storage.database import Database, Transaction

Entry = tuple[str, str, str]
"""(list, item, reason)."""


class StoredModeration:
    """The table `moderation` of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[Entry]:
        """Every entry."""
        rows = await self._database.all("moderation_all")
        return [(str(name), str(item), str(reason)) for name, item, reason in rows]

    async def put(self, entry: Entry, remove_from: str = "") -> None:
        """Keep one, and take its item off the list `remove_from`, in one commit."""
        await self._database.write(_put, entry, remove_from)

    async def remove(self, name: str, item: str) -> None:
        """Keep one no longer."""
        await self._database.write(_remove, name, item)


def _put(tx: Transaction, entry: Entry, remove_from: str) -> None:
    tx.all("moderation_put", *entry)
    if remove_from:
        tx.all("moderation_remove", remove_from, entry[1])


def _remove(tx: Transaction, name: str, item: str) -> None:
    tx.all("moderation_remove", name, item)
