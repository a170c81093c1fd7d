"""What the node remembers of its peers: who they are, and up to when the logs were compared.

Nodes that share the database share both. So one peer at a time is changed, in a transaction that
reads the list it changes.
"""

from typing import Any

import msgspec

from hanse.engines.storage.database import Database, Transaction
from hanse.errors import TooLarge
from hanse.protocol.peer import Peer, Resume, read_peer

_LIST = "peers"


class _Compared(Resume, frozen=True):
    """A resume point, and what was compared. One without is of an earlier version."""

    peer: dict[str, Any] | None = None


class StoredPeers:
    """Kept among the values a database knows about itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def peers(self) -> list[Peer]:
        """The peers that were added."""
        return await self._database.read(_peers)

    async def put(self, peer: Peer, most: int) -> list[Peer]:
        """Keep one, in place of an older one of its URL; all there are then. Raises TooLarge for
        a new one if there are `most` already."""
        return await self._database.write(_put, peer, most)

    async def remove(self, url: str) -> list[Peer]:
        """Keep one no longer, nor its resume point; all there are then."""
        return await self._database.write(_remove, url)

    async def load(self, peer: Peer) -> Resume:
        """Up to when a peer's log and ours were compared, by these filters and in this direction:
        what another one left out is older than its resume point."""
        found = await self._database.one("meta_get", _name(peer.url))
        if found is None:
            return Resume()
        kept = msgspec.json.decode(found[0], type=_Compared)
        if kept.peer is None or _read(kept.peer) != peer:
            return Resume()
        return Resume(kept.since, kept.whole, kept.left)

    async def save(self, peer: Peer, resume: Resume) -> None:
        """Remember it."""
        kept = _Compared(resume.since, resume.whole, resume.left, peer.as_dict())
        await self._database.write(_set, _name(peer.url), kept)


def _peers(tx: Transaction) -> list[Peer]:
    found = tx.one("meta_get", _LIST)
    return [_read(row) for row in msgspec.json.decode(found[0])] if found else []


def _put(tx: Transaction, peer: Peer, most: int) -> list[Peer]:
    kept = {found.url: found for found in _peers(tx)}
    if peer.url not in kept and len(kept) >= most:
        raise TooLarge(f"at most {most}", field="peers")
    return _keep(tx, [*(kept | {peer.url: peer}).values()])


def _remove(tx: Transaction, url: str) -> list[Peer]:
    tx.all("meta_delete", _name(url))
    return _keep(tx, [found for found in _peers(tx) if found.url != url])


def _keep(tx: Transaction, peers: list[Peer]) -> list[Peer]:
    _set(tx, _LIST, [found.as_dict() for found in peers])
    return peers


def _set(tx: Transaction, name: str, value: Any) -> None:
    tx.all("meta_set", name, msgspec.json.encode(value))


def _read(row: dict[str, Any]) -> Peer:
    return read_peer(row["url"], row["direction"], row["filters"])


def _name(url: str) -> str:
    return f"peer {url}"
