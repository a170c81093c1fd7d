"""What a key says that ended, or that its identity left, is refused.

Trust leaves out what such a key dates after its end; a thief would date it before. So of evidence,
of what replaces and deletes, and of what is only passed on, a relay that heard of the end takes no
more, whatever the date. Notes from before the end may still come: history is copied late. Peers'
logs are copied as they are.

Right after a start, before it is read whose keys ended, evidence is refused and all else taken: the
answer of a call under way cannot wait.
"""

from collections.abc import Callable
from typing import Final

from hanse.errors import Restricted, Unavailable
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.kinds import KindClass, kind_class
from hanse.servers.relay.context import Context, Policy
from hanse.servers.relay.policies.standing import operator_of

EVIDENCE: Final = frozenset(
    {kinds.ATTESTATION, kinds.ENDORSEMENT, kinds.APPEAL, kinds.FOLLOWS, kinds.DELETION}
)


def refuse_ended(spoke: Callable[[PublicKey, int], bool]) -> Policy:
    """A policy, after the signature check. `spoke` says whether a key still spoke for somebody at a
    time; it may raise Unavailable."""

    def known(key: PublicKey, at_s: int) -> bool:
        try:
            return spoke(key, at_s)
        except Unavailable:
            return True

    def ended_keys(event: Event, context: Context) -> None:
        # Key statements and requests to vanish: an identity can still be got back, or leave.
        if event.kind in kinds.LASTING or context.source.door == "peer":
            return
        evidence, at_s = event.kind in EVIDENCE, context.now_s
        if not evidence and kind_class(event.kind) is KindClass.REGULAR:
            at_s = event.created_at
        if not (spoke if evidence else known)(event.pubkey, at_s):
            raise Restricted(
                "was retired, stolen or moved: it speaks for nobody",
                field="pubkey",
                hint="sign with the new key",
            )
        operator = operator_of(event, context) if evidence else None
        if operator is not None and not spoke(operator, at_s):
            raise Restricted(
                "is by a key that was retired, stolen or moved",
                field="auth",
                hint="let the operator attest this agent anew",
            )

    return ended_keys
