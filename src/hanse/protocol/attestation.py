"""Who answers for an agent: NIP-OA, the owner's signature in an `auth` tag.

Owns the tag, its conditions and the check. The tag is a capability the agent may put on any of its
events; the agent stays the author. The event itself must be verified first, and on an unsigned
rumor the seal around it (NIP-59). Conditions speak of the event's own `created_at`, which the agent
chooses: they are no expiry by the clock.

    ["auth", owner, conditions, signature]
    signature   by owner over sha256("nostr:agent-auth:" agent ":" conditions)
    conditions  "" or clause ("&" clause)*, signed as written
    clause      "kind=" 0..65535  |  "created_at<" 0..2^32-1  |  "created_at>" 0..2^32-1
"""

import hashlib
import re

import msgspec

from hanse.errors import Invalid
from hanse.protocol.keys import PublicKey, SecretKey, is_hex, public_key
from hanse.protocol.signature import verify

_FIELD = "auth"
_CLAUSE = re.compile(r"(kind=|created_at<|created_at>)(0|[1-9][0-9]{0,9})")
_VALUE_MAX = {"kind=": 65535, "created_at<": 2**32 - 1, "created_at>": 2**32 - 1}


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """An owner's word for an agent, as carried: well-formed, not yet checked. Raises Invalid."""

    owner: PublicKey
    conditions: str
    signature: str

    def __post_init__(self) -> None:
        public_key(self.owner, _FIELD)
        if not is_hex(self.signature, 128):
            raise Invalid.at(_FIELD, "its signature must be 128 lower-case hex characters")

    @property
    def tag(self) -> tuple[str, str, str, str]:
        """The `auth` tag."""
        return ("auth", self.owner, self.conditions, self.signature)


def attest(owner_secret: SecretKey, agent: PublicKey, conditions: str = "") -> Attestation:
    """Sign for an agent. Raises Invalid for conditions outside the grammar or the owner's own
    key."""
    public_key(agent, "agent")
    _read_conditions(conditions)
    if owner_secret.public == agent:
        raise Invalid.at(_FIELD, "the owner and the agent are the same key")
    signature = owner_secret.sign(_digest(agent, conditions))
    return Attestation(owner=owner_secret.public, conditions=conditions, signature=signature)


def from_tags(tags: tuple[tuple[str, ...], ...]) -> Attestation | None:
    """The attestation among an event's tags, None without an `auth` tag. Raises Invalid for two
    of them or a malformed one."""
    found = [tag for tag in tags if tag and tag[0] == "auth"]
    if not found:
        return None
    if len(found) > 1:
        raise Invalid.at(_FIELD, "stands more than once")
    if len(found[0]) != 4:
        raise Invalid.at(_FIELD, "must have four elements")
    _, owner, conditions, signature = found[0]
    return Attestation(owner=PublicKey(owner), conditions=conditions, signature=signature)


def check(attestation: Attestation, agent: PublicKey, kind: int, created_at: int) -> None:
    """Whether it covers the agent's event of that kind and time (seconds). Raises Invalid."""
    if attestation.owner == agent:
        raise Invalid.at(_FIELD, "the owner and the agent are the same key")
    for name, value in _read_conditions(attestation.conditions):
        if not _holds(name, value, kind, created_at):
            raise Invalid.at(_FIELD, f"the condition {name}{value} is not met")
    digest = _digest(agent, attestation.conditions)
    if not verify(bytes.fromhex(attestation.owner), digest, bytes.fromhex(attestation.signature)):
        raise Invalid.at(_FIELD, "its signature is not the owner's for this agent")


def _digest(agent: PublicKey, conditions: str) -> bytes:
    return hashlib.sha256(f"nostr:agent-auth:{agent}:{conditions}".encode()).digest()


def _read_conditions(conditions: str) -> list[tuple[str, int]]:
    if not conditions:
        return []
    return [_read_clause(clause) for clause in conditions.split("&")]


def _read_clause(clause: str) -> tuple[str, int]:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        raise Invalid.at(
            _FIELD, "a condition is none of kind=n, created_at<t and created_at>t in plain decimals"
        )
    name, value = found[1], int(found[2])
    if value > _VALUE_MAX[name]:
        raise Invalid.at(_FIELD, f"the value of {name} is over {_VALUE_MAX[name]}")
    return name, value


def _holds(name: str, value: int, kind: int, created_at: int) -> bool:
    if name == "kind=":
        return kind == value
    return created_at < value if name == "created_at<" else created_at > value
