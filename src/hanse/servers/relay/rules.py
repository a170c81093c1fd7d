"""The settings of the admission policies, each declared once; NIP-11 shows what clients need."""

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.buckets import Rate

LOOPBACK = ("127.0.0.0/8", "::1/128")

KINDS_MAX = 500
"""Kinds that are allowed, and that are denied: NIP-11 names them all."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on an event's tags and the characters of its content."""

    tags_max: int = 2000
    content_max: int = 400_000


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """Which kinds of others' events are taken: those of `allow` (all if it is empty) and what takes
    back (`lists.BACK`), never those of `deny`. The house's own are not asked for their kind."""

    allow: frozenset[int] = frozenset()
    deny: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for field, found in (("kind", self.allow), ("deny-kind", self.deny)):
            if len(found) > KINDS_MAX:
                raise Invalid.at(field, f"at most {KINDS_MAX} of them")
            if not all(0 <= kind <= kinds.KIND_MAX for kind in found):
                raise Invalid.at(field, f"must be 0 to {kinds.KIND_MAX}")
        for kind in self.allow:
            check_allowed(kind)
        for kind in self.deny:
            check_denied(kind, "deny-kind")


def check_allowed(kind: int, field: str = "kind") -> None:
    """Raises Invalid for a kind that no relay takes."""
    if kind in kinds.NEVER_PUBLISHED:
        raise Invalid.at(field, f"{kind} is a proof of identity, which is never taken")


def check_denied(kind: int, field: str = "kind") -> None:
    """Raises Invalid for a kind that every relay takes."""
    if kind == kinds.VANISH:
        raise Invalid.at(field, f"{kind} is a request to vanish, which is always heard (NIP-62)")


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How far `created_at` may be from now, in seconds. `past_s` None: as old as one likes."""

    future_s: int = 900
    past_s: int | None = None
    ephemeral_window_s: int = 120


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of work (NIP-13) that a stranger's event needs, in bits."""

    bits: int = 0


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that are known here: they, and the agents they attest as operators, need no work. With
    `only`, nobody else's events are taken. Keys allowed over NIP-86 count as listed."""

    keys: frozenset[PublicKey] = frozenset()
    only: bool = False


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Events a second and at once. `trusted` networks are not limited; `proxies` are those whose
    X-Forwarded-For is believed."""

    address: Rate = Rate(200, 2000)
    key: Rate = Rate(50, 500)
    operator: Rate = Rate(500, 5000)
    names_max: int = 100_000
    trusted: tuple[str, ...] = LOOPBACK
    proxies: tuple[str, ...] = LOOPBACK


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    size: Size = Size()
    kinds: Kinds = Kinds()
    times: Times = Times()
    work: Work = Work()
    members: Members = Members()
    rates: Rates = Rates()

    @property
    def restrict_writes(self) -> bool:
        """Whether an event by anybody needs more than to be well-formed (NIP-11)."""
        return self.members.only or self.work.bits > 0 or bool(self.kinds.allow)
