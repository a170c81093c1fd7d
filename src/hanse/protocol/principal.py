"""A principal: the key that acts, and the operator's key that answers for it (NIP-OA).

A key without an attestation answers for itself: it is its own operator.
"""

import msgspec

from hanse.protocol import attestation
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey


class Principal(msgspec.Struct, frozen=True):
    """An agent and its operator."""

    agent: PublicKey
    operator: PublicKey

    @property
    def attested(self) -> bool:
        """Whether another key answers for the agent."""
        return self.agent != self.operator


def identify(event: Event) -> Principal:
    """Who stands behind a checked event, by its `auth` tag. Raises Invalid for a bad tag: a claim
    of ownership that does not hold is refused, not ignored."""
    found = attestation.from_tags(event.tags)
    if found is None:
        return Principal(event.pubkey, event.pubkey)
    attestation.check(found, event.pubkey, event.kind, event.created_at)
    return Principal(event.pubkey, found.owner)
