"""Who is connected to this process, counted per key, and whose last connection just ended."""

from collections.abc import Callable, Iterable

from hanse.protocol.keys import PublicKey


class LocalPresence:
    """Implements `ports.Presence`."""

    def __init__(self) -> None:
        self.turn = 0
        self._counts: dict[PublicKey, int] = {}
        self._on_gone: list[Callable[[PublicKey], None]] = []

    def is_present(self, pubkey: PublicKey) -> bool:
        """See `ports.Presence`."""
        return pubkey in self._counts

    def keys(self) -> Iterable[PublicKey]:
        """See `ports.Presence`."""
        return self._counts.keys()

    def arrive(self, pubkey: PublicKey) -> None:
        """See `ports.Presence`."""
        before = self._counts.get(pubkey, 0)
        self._counts[pubkey] = before + 1
        self.turn += not before

    def leave(self, pubkey: PublicKey) -> None:
        """See `ports.Presence`."""
        left = self._counts.get(pubkey, 0) - 1
        if left > 0:
            self._counts[pubkey] = left
            return
        self._counts.pop(pubkey, None)
        self.turn += 1
        for tell in self._on_gone:
            tell(pubkey)

    def when_gone(self, tell: Callable[[PublicKey], None]) -> None:
        """See `ports.Presence`."""
        self._on_gone.append(tell)

    def __len__(self) -> int:
        return len(self._counts)
