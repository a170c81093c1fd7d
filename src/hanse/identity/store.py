"""What handles ask of others: names kept, who is trusted, and what other domains say."""

from typing import Any, Protocol

from hanse.protocol.event import Event
from hanse.protocol.handle import Handle
from hanse.protocol.keys import PublicKey


class HandleStore(Protocol):
    """Names at this node."""

    async def handle(self, name: str) -> Handle | None:
        """One by its name, lapsed or not."""

    async def handles(self) -> list[Handle]:
        """All, by name."""

    async def add(self, handle: Handle) -> None:
        """Keep one that the operator gives, for good even if its key had claimed it. Raises
        Conflict if another key has the name or one that looks like it, TooLarge."""

    async def claim(self, handle: Handle, most: int) -> None:
        """Keep a claimed one, or renew it. Raises Conflict, Restricted when its operator has
        `most` already or its signer asked to vanish since, TooLarge, Stale when a newer statement
        is kept."""

    async def remove(self, name: str) -> bool:
        """Forget it; False if there is none."""

    async def renew(self, name: str, pubkey: PublicKey, until_s: int) -> None:
        """Let a claimed one live on."""

    async def claimed(self) -> int:
        """How many were claimed."""

    async def lapsed(self, before_s: int, limit: int) -> list[Handle]:
        """Those that ended before a time, the longest ago first."""


class Standing(Protocol):
    """How far one operator trusts another."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """0 (unknown) to 4."""

    def standing(self, viewer: PublicKey, operator: PublicKey) -> int:
        """As `level`, but 1 for a stranger, and 0 only for a key that speaks for nobody now."""

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""


class Domains(Protocol):
    """What other domains say."""

    async def names(self, domain: str, name: str) -> Any:
        """The NIP-05 document of a domain for a name. Raises NotFound, Unavailable, Invalid."""

    async def profile(self, pubkey: PublicKey, relays: tuple[str, ...]) -> Event | None:
        """A key's newest profile (kind 0, checked) at these relays; None if they have none, or
        cannot be asked."""
