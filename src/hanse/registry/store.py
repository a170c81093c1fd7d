"""What the registry asks of others: offers by address, found by words, a view of the log; and where
operators stand with each other."""

from typing import Protocol

from hanse.protocol.keys import PublicKey
from hanse.registry.model import Match, Offer


class Standing(Protocol):
    """How far one operator trusts another."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """0 (unknown) to 4."""

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        """0 to 1."""


class OwnOnly:
    """Implements `Standing` for who has no trust graph: one's own operator, and nobody else."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """See `Standing`."""
        return 4 if viewer == operator else 0

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        """See `Standing`."""
        return 1.0 if viewer == operator else 0.0


class OfferStore(Protocol):
    """Reads of the offers' view; it follows the log by itself."""

    async def offer(self, address: str, now_s: int) -> Offer | None:
        """The live offer at a `kind:pubkey:d` address."""

    async def named(self, name: str, now_s: int) -> list[Offer]:
        """Live offers whose identifier or name is exactly this, newest first, at most 10."""

    async def search(self, words: list[str], limit: int, now_s: int) -> list[Match]:
        """Capabilities that share words, best first. No words: the newest offers."""

    async def count(self, now_s: int) -> int:
        """How many live offers there are."""
