"""What the registry asks of others: offers kept by address (a view of the log), texts made into
vectors, and where operators stand with each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hanse.protocol.keys import PublicKey
from hanse.registry.model import Offer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    async def by_seq(self, seqs: Sequence[int], now_s: int) -> dict[int, Offer]:
        """The live offers whose events have these numbers."""

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
