"""What the node remembers of its peers: who they are, and up to when the logs were compared."""

from collections.abc import Sequence

import msgspec

from hanse.engines.storage.database import Database, Transaction
from hanse.protocol.peer import Peer, Resume, read_peer

_LIST = "peers"


class StoredPeers:
    """Kept among the values a database knows about itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def peers(self) -> list[Peer]:
        """The peers that were added."""
        found = await self._database.one("meta_get", _LIST)
        rows = msgspec.json.decode(found[0]) if found else []
        return [read_peer(row["url"], row["direction"], row["filters"]) for row in rows]

    async def keep(self, peers: Sequence[Peer]) -> None:
        """These are the peers that were added."""
        value = msgspec.json.encode([found.as_dict() for found in peers])
        await self._database.write(lambda tx: tx.all("meta_set", _LIST, value))

    async def load(self, url: str) -> Resume:
        """Up to when a peer's log and ours were compared."""
        found = await self._database.one("meta_get", _name(url))
        return msgspec.json.decode(found[0], type=Resume) if found else Resume()

    async def save(self, url: str, resume: Resume | None) -> None:
        """Remember it, or forget it."""

        def operation(tx: Transaction) -> None:
            if resume is None:
                tx.all("meta_delete", _name(url))
            else:
                tx.all("meta_set", _name(url), msgspec.json.encode(resume))

        await self._database.write(operation)


def _name(url: str) -> str:
    return f"peer {url}"
