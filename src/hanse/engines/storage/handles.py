"""Handles: names, the keys they are for, and what became of those that were claimed."""

from typing import Final

import msgspec

from hanse.engines.storage.database import Database, Row, Transaction
from hanse.errors import Conflict, Restricted, Stale, TooLarge
from hanse.protocol.handle import Handle, shape
from hanse.protocol.keys import PublicKey

HANDLES_MAX = 10_000
CLAIMED_MAX: Final = 9_000
"""Of those, so that claims never take the operator's own room."""


class StoredHandles:
    """Implements `identity.store.HandleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle(self, name: str) -> Handle | None:
        """One by its name, lapsed or not."""
        found = await self._database.one("handle_get", name)
        return _handle(found) if found else None

    async def handles(self) -> list[Handle]:
        """All, by name."""
        return [_handle(row) for row in await self._database.all("handle_list")]

    async def add(self, handle: Handle) -> None:
        """Keep one that the operator gives, for good even if its key had claimed it. Raises
        Conflict, TooLarge."""
        await self._database.write(_add, handle)

    async def claim(self, handle: Handle, most: int) -> None:
        """Keep a claimed one, or renew it. Raises Conflict, Restricted, TooLarge, Stale."""
        await self._database.write(_claim, handle, most)

    async def remove(self, name: str) -> bool:
        """Forget it; False if there is none."""
        return await self._database.write(_remove, name)

    async def renew(self, name: str, pubkey: PublicKey, until_s: int) -> None:
        """Let a claimed one live on."""
        await self._database.write(_renew, name, pubkey, until_s)

    async def claimed(self) -> int:
        """How many were claimed."""
        found = await self._database.one("handle_claimed_count")
        return found[0] if found else 0

    async def lapsed(self, before_s: int, limit: int) -> list[Handle]:
        """Those that ended before a time, the longest ago first."""
        return [_handle(row) for row in await self._database.all("handle_lapsed", before_s, limit)]


def _handle(row: Row) -> Handle:
    name, pubkey, operator, until_s, moved, said_s, statement = row
    return Handle(name, PublicKey(pubkey), operator, until_s, moved, said_s, bytes(statement))


class _Signed(msgspec.Struct):
    pubkey: str = ""


def _signer(handle: Handle) -> str:
    """Who signed its statement; empty without one."""
    return msgspec.json.decode(handle.statement, type=_Signed).pubkey if handle.statement else ""


def forget_handles(tx: Transaction, pubkey: str, until_s: int) -> None:
    """Forget what a key said of handles up to a time (NIP-62): names it claimed go."""
    tx.all("handle_vanish", pubkey, until_s)
    tx.all("handle_silence", b"", pubkey, until_s)


def _add(tx: Transaction, handle: Handle) -> None:
    known = tx.one("handle_get", handle.name)
    if known is not None:
        if known[1] != handle.pubkey:
            raise Conflict("is another key's: remove it first", field=f"handle {handle.name}")
        tx.all("handle_keep", handle.name)
        return
    _refuse_alike(tx, handle)
    _insert(tx, handle, HANDLES_MAX)


def _claim(tx: Transaction, handle: Handle, most: int) -> None:
    _refuse_vanished(tx, handle)
    known = tx.one("handle_get", handle.name)
    if known is not None:
        if known[1] != handle.pubkey:
            raise Conflict("is another key's", field=f"handle {handle.name}")
        if known[5] > handle.said_s:
            raise Stale("a newer statement is kept", field="statement.created_at")
        said = (handle.moved, handle.said_s, handle.statement, _signer(handle))
        tx.all("handle_update", handle.operator, handle.until_s, *said, handle.name)
        return
    _refuse_alike(tx, handle)
    theirs = tx.one("handle_claimed_by", handle.operator)
    if theirs is None or theirs[0] >= most:
        way = "give one back, or rise a level"
        raise Restricted(f"your operator has {most} already", field="handles", hint=way)
    claimed = tx.one("handle_claimed_count")
    if claimed is None or claimed[0] >= CLAIMED_MAX:
        raise TooLarge(f"this node keeps at most {CLAIMED_MAX} claimed ones", field="handles")
    _insert(tx, handle, HANDLES_MAX)


def _refuse_vanished(tx: Transaction, handle: Handle) -> None:
    signer = bytes.fromhex(_signer(handle))
    for _, until_s in tx.among("vanished", [signer] if signer else []):
        if handle.said_s <= until_s:
            raise Restricted("its key asked to vanish since", field="statement.created_at")


def _refuse_alike(tx: Transaction, handle: Handle) -> None:
    for (name,) in tx.all("handle_unshaped"):  # from before names had shapes
        tx.all("handle_shape", shape(name) or "_", name)
    for name, pubkey, operator in tx.all("handle_like", shape(handle.name) or "_"):
        theirs = {pubkey, operator} - {""}
        if not theirs & {handle.pubkey, handle.operator}:
            raise Conflict(f"looks like {name!r}, another's", field=f"handle {handle.name}")


def _insert(tx: Transaction, handle: Handle, most: int) -> None:
    count = tx.one("handle_count")
    if count is None or count[0] >= most:
        raise TooLarge(f"this node keeps at most {most}", field="handles")
    tx.all(
        "handle_insert",
        handle.name,
        handle.pubkey,
        shape(handle.name) or "_",
        handle.operator,
        handle.until_s,
        handle.moved,
        handle.said_s,
        handle.statement,
        _signer(handle),
    )


def _renew(tx: Transaction, name: str, pubkey: PublicKey, until_s: int) -> None:
    tx.all("handle_renew", until_s, name, pubkey)


def _remove(tx: Transaction, name: str) -> bool:
    return tx.one("handle_delete", name) is not None
