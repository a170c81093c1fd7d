"""What trust needs kept: evidence by who wrote it and whom it is about. A view of the log."""

from collections.abc import Collection
from typing import Protocol

from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.receipt import Receipt
from hanse.trust.appeal import Appeal
from hanse.trust.attestation import Attestation
from hanse.trust.columns import Columns
from hanse.trust.foreign import Hearsay
from hanse.trust.model import Endorsement
from hanse.trust.rotation import Statement


class TrustStore(Protocol):
    """Reads of trust's view; it follows the log by itself. Every answer has its bound."""

    attestations_max: int
    """How many of one subject are read."""

    async def changes(self, after: int) -> tuple[list[PublicKey], int]:
        """Whose endorsements or keys changed after a number of changes, and up to which one."""

    async def reached(self) -> int:
        """Up to which number that is told of changes."""

    async def endorsements(self, now_s: int) -> Columns:
        """All that have not ended, together by author, as many of each as of one alone."""

    async def endorsements_by(self, author: PublicKey, now_s: int) -> list[Endorsement]:
        """Those of one operator that have not ended."""

    async def attestations_of(self, subject: PublicKey, now_s: int) -> list[Attestation]:
        """The newest of one subject that have not ended."""

    async def attestations_by(self, author: PublicKey, now_s: int) -> list[Attestation]:
        """Those that one key wrote and that have not ended, oldest first."""

    async def attestations_between(
        self, authors: Collection[PublicKey], subjects: Collection[PublicKey], now_s: int
    ) -> list[Attestation]:
        """What these say of those and that has not ended, however many others speak of them."""

    async def accusations_by(
        self, authors: Collection[PublicKey], now_s: int, limit: int
    ) -> list[Attestation]:
        """The newest of these authors that say somebody betrayed them (rating 1)."""

    async def appeals_of(
        self, receipts: Collection[str], authors: Collection[PublicKey], now_s: int
    ) -> list[Appeal]:
        """What these say of the accusations that rest on those receipts."""

    async def attestation_times(self, author: PublicKey, after_s: int) -> dict[str, int]:
        """When one key wrote its attestations, by id, since a time."""

    async def receipts_of(self, node: PublicKey, provider: PublicKey) -> list[Receipt]:
        """The newest receipts of one provider's calls that one node signed."""

    async def hearsay_of(self, subject: PublicKey, now_s: int) -> list[Hearsay]:
        """The newest that other protocols' events say of one key."""

    async def hearsay_between(
        self, authors: Collection[PublicKey], subject: PublicKey, now_s: int
    ) -> list[Hearsay]:
        """The same by these authors, however many others speak of it."""

    async def refused_of(self, keys: Collection[PublicKey]) -> list[tuple[PublicKey, int, int]]:
        """What this node's relay refused of them as spam: key, day since 1970, how many events."""

    async def event(self, id: str) -> Event | None:
        """An event of the log."""

    async def statements(self) -> list[Statement]:
        """All key statements."""

    async def statements_about(self, key: PublicKey) -> list[Statement]:
        """The key statements about one key."""

    async def operators_of(self, keys: Collection[PublicKey]) -> dict[PublicKey, PublicKey]:
        """For each key the operator that answers for it by its newest attested event, else the key
        itself."""

    async def agents_of(self, operator: PublicKey) -> list[PublicKey]:
        """The keys that some event says an operator answers for."""

    async def followers_of(self, key: PublicKey) -> list[PublicKey]:
        """Who follows a key."""
