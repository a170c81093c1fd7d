"""On which terms a node gives names to others than its operator: pure rules."""

from typing import Any, Final

import msgspec

from hanse.errors import Invalid, Restricted
from hanse.identity.statement import WORK_MAX_BITS
from hanse.protocol.handle import shape

DAY_S: Final = 86_400
NAME_MIN: Final = 3
"""Characters of a claimed name, its marks aside: shorter ones the operator gives."""

LIFE_S: Final = 90 * DAY_S
GRACE_S: Final = 30 * DAY_S
"""How long a name that lapsed waits for its key before others may have it."""

FORWARD_S: Final = 365 * DAY_S
"""How long a name says where its key went."""

CLAIMS_MAX: Final = (1, 1, 5, 20, 100)
"""Claimed names of one operator, by level."""

FREE_LEVEL: Final = 2
"""From here on no work is asked for."""

LOAD_STEP: Final = 100
"""Claimed names of this many ask for one bit more; each doubling for another."""

# fmt: off
RESERVED: Final = frozenset(
    {
        "abuse", "account", "accounts", "admin", "admins", "administrator", "api",
        "anonymous", "billing", "bot", "bots", "contact", "daemon", "everyone",
        "ftp", "guest", "hanse", "help", "helpdesk", "host", "hostmaster",
        "imap", "info", "legal", "localhost", "login", "mail", "mailer-daemon",
        "moderator", "moderators", "mod", "nobody", "node", "noc", "nostr",
        "official", "operator", "operators", "owner", "pay", "payments", "pop3",
        "postmaster", "privacy", "register", "relay", "root", "sales", "security",
        "service", "services", "smtp", "ssl", "staff", "status", "support",
        "sysadmin", "system", "team", "test", "trust", "undefined", "null",
        "none", "usenet", "user", "users", "verified", "verify", "wallet",
        "webmaster", "www",
    }
)
# fmt: on
"""Names that speak for the node: only its operator gives them, nor what looks like one."""

_RESERVED_SHAPES = frozenset(shape(name) for name in RESERVED)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows. `open`: agents that are not theirs may claim names."""

    open: bool = False
    bits: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= WORK_MAX_BITS:
            raise Invalid.at("handle-work", f"must be 0 to {WORK_MAX_BITS} bits")

    def bits_now(self, claimed: int) -> int:
        """The work a claim needs while so many names are claimed."""
        if not self.bits:
            return 0
        return min(WORK_MAX_BITS, self.bits + (claimed // LOAD_STEP).bit_length())

    def shown(self, domain: str, claimed: int) -> dict[str, Any]:
        """The terms for who wants a name."""
        return {
            "domain": domain,
            "open": self.open,
            "work_bits": self.bits_now(claimed),
            "no_work_from_level": FREE_LEVEL,
            "names_by_level": list(CLAIMS_MAX),
            "characters_min": NAME_MIN,
            "life_s": LIFE_S,
            "grace_s": GRACE_S,
            "forward_s": FORWARD_S,
        }


def most_of(level: int) -> int:
    """How many names an operator of a level may have claimed."""
    return CLAIMS_MAX[max(0, min(level, len(CLAIMS_MAX) - 1))]


def check_claimable(name: str) -> None:
    """Raises Restricted for names that only the operator gives."""
    if shape(name) in _RESERVED_SHAPES or len(shape(name)) < NAME_MIN:
        raise Restricted("only the operator gives this name", field="name", hint="choose another")
    if not name[0].isalnum() or not name[-1].isalnum():
        raise Restricted("must begin and end with a letter or digit", field="name")
