"""What the broker needs kept: calls, together with the money they hold."""

from typing import Protocol

from hanse.broker.model import Call
from hanse.protocol.event import Event


class Calls(Protocol):
    """Each verb is one atomic commit, on disk when it returns."""

    async def open_call(self, call: Call) -> Call:
        """Record a new call and hold its price from the caller into escrow. If the id is known the
        stored call comes back unchanged (compare fingerprints). Raises InsufficientFunds."""

    async def close_call(self, call: Call, receipt: Event) -> Call:
        """Store the ended call with its receipt in the log, and move the money: settle pays
        provider and fee, refund voids the hold. A call that had ended before comes back as it
        ended, and nothing moves."""

    async def call(self, id: bytes) -> Call | None:
        """One call, or None."""

    async def open_calls(self) -> list[Call]:
        """Calls not ended, oldest first."""

    async def receipt(self, id: str) -> Event | None:
        """A receipt event by its id or its call's id (hex)."""

    async def counts(self) -> dict[str, int]:
        """How many calls are in each state."""
