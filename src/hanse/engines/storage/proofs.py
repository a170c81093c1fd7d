"""Which signed requests were used (NIP-98), for all processes over one database and past a crash.
Implements `servers/api/reply.py`'s `Proofs`."""

from hanse.engines.storage.database import Database, Transaction

KEPT_S = 240
"""How long one is remembered. It is good for a minute before and after its own time; clocks of two
nodes may differ by as much again."""


class StoredProofs:
    """The table `used_proof` of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, id: str, *, now_s: int) -> bool:
        """See `Proofs`."""
        return await self._database.write(_take, bytes.fromhex(id), now_s)


def _take(tx: Transaction, id: bytes, now_s: int) -> bool:
    tx.all("proof_forget", now_s - KEPT_S)
    return tx.one("proof_take", id, now_s) is not None
