"""What a key that ended, or that its identity left, says as evidence is refused, whatever its date.

Trust leaves out what such a key dates after its end; a thief would date it before. So a relay that
heard of the end takes no more of it, nor deletions of what the owner said. Peers' logs are copied.
"""

from collections.abc import Callable
from typing import Final

from hanse.errors import Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.context import Context, Policy
from hanse.servers.relay.policies.standing import operator_of

EVIDENCE: Final = frozenset(
    {kinds.ATTESTATION, kinds.ENDORSEMENT, kinds.APPEAL, kinds.FOLLOWS, kinds.DELETION}
)


def refuse_ended(speaks: Callable[[PublicKey], bool]) -> Policy:
    """A policy, after the signature check. `speaks` says whether a key speaks for somebody now; it
    may raise Unavailable."""

    def ended_keys(event: Event, context: Context) -> None:
        if event.kind not in EVIDENCE or context.source.door == "peer":
            return
        if not speaks(event.pubkey):
            raise Restricted(
                "was retired, stolen or moved: it speaks for nobody",
                field="pubkey",
                hint="sign with the new key",
            )
        operator = operator_of(event, context)
        if operator is not None and not speaks(operator):
            raise Restricted(
                "is by a key that was retired, stolen or moved",
                field="auth",
                hint="let the operator attest this agent anew",
            )

    return ended_keys
