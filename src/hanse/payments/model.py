"""Values of the double-entry ledger, and the rules that hold whatever keeps it.

A transfer never changes; a pending one is resolved
once, by a post, a void or an expiry:

    SINGLE            moves at once
    PENDING → POST    moves
            → VOID    returns: the promise was broken
            → EXPIRE  returns: nobody resolved it in time

An account's balance is credits minus debits. The sum over all accounts is zero at every commit.
"""

import enum

import msgspec

from hanse.errors import Invalid
from hanse.protocol.amount import Amount


class AccountKind(enum.StrEnum):
    """What an account is for. Only ISSUE may go below zero: it is what the operator granted."""

    AGENT = "agent"
    ESCROW = "escrow"
    FEES = "fees"
    ISSUE = "issue"


ISSUE_NAME = "issue:test-credits"
ESCROW_NAME = "escrow"
FEES_NAME = "fees"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account as it stands: posted balance and what is on hold, in msat (may be negative)."""

    name: str
    kind: AccountKind
    balance_msat: int
    held_msat: int

    @property
    def available_msat(self) -> int:
        """What can be spent now."""
        return self.balance_msat - self.held_msat


class TransferKind(enum.IntEnum):
    """How a transfer acts; see the table on top."""

    SINGLE = 0
    PENDING = 1
    POST = 2
    VOID = 3
    EXPIRE = 4


class Fee(msgspec.Struct, frozen=True):
    """The node's share of a settled price, in parts per million, rounded down."""

    ppm: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.ppm <= 1_000_000:
            raise Invalid.at("fee", "must be 0 to 1,000,000 parts per million")

    def of(self, price: Amount) -> Amount:
        """The fee on a price; never more than the price."""
        return Amount(price.msat * self.ppm // 1_000_000)
