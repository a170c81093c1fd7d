"""What a stranger's level permits here, and how much work stands in for it (with `--by-level`).

The table and the rule are trust's (`trust/permissions.py`); this maps kinds to what they do, and
lets the work follow the load.
"""

from collections.abc import Callable
from typing import Final

from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.work import committed_target, difficulty
from hanse.servers.relay.context import Context
from hanse.servers.relay.policies.standing import known, operator_of
from hanse.trust.model import Level
from hanse.trust.permissions import Action, Levels, Load, announced_bits, may

ACTIONS: Final = {
    kinds.OFFER: Action.PUBLISH,
    kinds.RPC: Action.CALL,
    kinds.GIFT_WRAP: Action.MESSAGE,
    kinds.EPHEMERAL_GIFT_WRAP: Action.MESSAGE,
    kinds.ENDORSEMENT: Action.VOUCH,
}
"""What an event of a kind does; any other is written publicly."""

ALWAYS: Final = kinds.LASTING
"""Whoever asks to vanish is heard, and whoever loses a key."""


class ByLevel:
    """A policy, after the signature check. `level_of` says how an operator stands with this one."""

    def __init__(self, table: Levels, level_of: Callable[[PublicKey], Level]) -> None:
        self._table = table
        self._level_of = level_of
        self._load = Load()
        self._seen = 0

    def __call__(self, event: Event, context: Context) -> None:
        """Raises WorkNeeded or Restricted: the level, what is missing, and the way there."""
        if event.kind in ALWAYS or known(event, context):
            return
        self._seen += 1
        level = self._level_of(operator_of(event, context) or event.pubkey)
        if event.kind == kinds.APPEAL:
            level = max(level, Level.STRANGER)  # who is barred may say why it should not be
        action = ACTIONS.get(event.kind, Action.WRITE)
        refused = may(
            level, action, _work_of(event), table=self._table, extra_bits=self._load.extra_bits
        )
        if refused is not None:
            raise refused.error()

    @property
    def bits(self) -> int:
        """What writing takes a stranger now: NIP-11's `min_pow_difficulty`."""
        return announced_bits(self._table, self._load.extra_bits)

    def minute(self) -> int:
        """A minute has passed: the bits from now on."""
        self._load, self._seen = self._load.after(self._seen), 0
        return self.bits


def _work_of(event: Event) -> int:
    """The work that counts: what was aimed for, if it was reached."""
    found, target = difficulty(event.id), committed_target(event.tags) or 0
    return target if target <= found else 0
