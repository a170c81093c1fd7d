"""What the registry needs of others: offers kept by address (a view of the log), texts made into
vectors, and whom a viewer trusts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hanse.protocol.keys import PublicKey
from hanse.registry.model import Match, Offer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


class Embedder(Protocol):
    """Makes texts into vectors. It may be called from any thread."""

    name: str
    """Vectors of two names do not compare."""
    size: int

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """One row for each text, of length 1, or zeros for one that says nothing. Raises
        Unavailable."""


class Standing(Protocol):
    """Whom a viewer trusts, and how far."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """0 (a stranger) to 4."""

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        """0 to 1."""
