"""What the payments room needs kept: accounts and grants. Holds belong to the broker's calls."""

from typing import Protocol

from hanse.payments.model import Account
from hanse.protocol.amount import Amount


class Ledger(Protocol):
    """The node's own book. Every verb is atomic and on disk when it returns."""

    async def grant(self, id: bytes, to: str, amount: Amount, memo: str, at_ms: int) -> bool:
        """Issue test credits to an account, opening it if new. False if this id was done before;
        raises Conflict if it was done with other content."""

    async def account(self, name: str) -> Account | None:
        """One account, or None."""

    async def accounts(self) -> list[Account]:
        """Every account, in order of creation."""

    async def sum_msat(self) -> int:
        """The sum of all balances: zero, always."""

    async def held_msat(self) -> int:
        """What is on hold in all accounts."""
