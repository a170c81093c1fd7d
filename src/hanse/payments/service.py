"""Payments' verbs: grant test credits, read balances, show the books."""

import hashlib

import msgspec

from hanse.errors import Invalid
from hanse.payments.model import Account
from hanse.payments.store import Ledger
from hanse.ports import Clock
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey

MEMO_MAX = 200


class Books(msgspec.Struct, frozen=True):
    """Every account and their sum (zero), in msat."""

    accounts: list[Account]
    sum_msat: int


class Payments:
    """Rules over the ledger that are not part of one call."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def grant(self, key: str, to: PublicKey, amount: Amount, memo: str) -> bool:
        """Give an agent test credits, once per `key`. False if that key was done before."""
        if amount.msat == 0:
            raise Invalid.at("amount", "must be more than zero")
        if len(memo) > MEMO_MAX:
            raise Invalid.at("memo", f"has more than {MEMO_MAX} characters")
        id = hashlib.sha256(f"hanse:grant:{key}".encode()).digest()
        return await self._ledger.grant(id, to, amount, memo, self._clock.now_ms())

    async def balance(self, of: PublicKey) -> tuple[int, int]:
        """(available, on hold) in msat; zeros for a key that never had an account."""
        found = await self._ledger.account(of)
        return (found.available_msat, found.held_msat) if found else (0, 0)

    async def books(self) -> Books:
        """Every account, and the sum over them."""
        return Books(await self._ledger.accounts(), await self._ledger.sum_msat())

    async def totals(self) -> tuple[int, int]:
        """(the sum over all accounts, what is on hold), in msat."""
        return await self._ledger.sum_msat(), await self._ledger.held_msat()
