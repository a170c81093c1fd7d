"""What the registry needs kept: offers by address, found by words. A view of the log."""

from typing import Protocol

from hanse.registry.model import Match, Offer


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
