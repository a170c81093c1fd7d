"""The table of kinds: what each number means, which rule keeps it, and who may read it.

Classes follow NIP-01: 1000-9999, 4-44, 1 and 2 regular; 0, 3 and 10000-19999 replaceable;
20000-29999 ephemeral; 30000-39999 addressable.
"""

import enum
from typing import Final

import msgspec


class KindClass(enum.Enum):
    """How a log keeps events of a kind."""

    REGULAR = "regular"
    REPLACEABLE = "replaceable"
    EPHEMERAL = "ephemeral"
    ADDRESSABLE = "addressable"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `private` kinds are served only to a p-tagged, proven recipient;
    `searched` ones can be found by the words of their content (NIP-50)."""

    number: int
    name: str
    spec: str
    private: bool = False
    searched: bool = False
    ours: bool = False


PROFILE: Final = 0
NOTE: Final = 1
FOLLOWS: Final = 3
DELETION: Final = 5
REPOST: Final = 6
SEAL: Final = 13
GENERIC_REPOST: Final = 16
VANISH: Final = 62
RECEIPT: Final = 2402
KEY_STATEMENT: Final = 2410
GIFT_WRAP: Final = 1059
COMMENT: Final = 1111
REPORT: Final = 1984
RELAY_LIST: Final = 10002
INBOX_LIST: Final = 10050
EPHEMERAL_GIFT_WRAP: Final = 21059
WRAP_SHIFT_S: Final = 2 * 86_400
"""So far back a gift wrap's time may lie before its writing (NIP-59)."""
CLIENT_AUTH: Final = 22242
TELEMETRY: Final = 21402
RPC: Final = 25910
SERVER_ANNOUNCEMENT: Final = 11316
TOOLS_ANNOUNCEMENT: Final = 11317
RESOURCES_ANNOUNCEMENT: Final = 11318
TEMPLATES_ANNOUNCEMENT: Final = 11319
PROMPTS_ANNOUNCEMENT: Final = 11320
HTTP_AUTH: Final = 27235
TOKEN: Final = 27519
ATTESTATION: Final = 30085
QUALITY: Final = 30384
FIGURES: Final = 30386
OFFER: Final = 31402
ENDORSEMENT: Final = 31410
HANDLE: Final = 31411
APPEAL: Final = 31412
HANDLER: Final = 31990

TABLE: Final[tuple[Kind, ...]] = (
    Kind(number=PROFILE, name="profile", spec="NIP-01", searched=True),
    Kind(number=NOTE, name="note", spec="NIP-10", searched=True),
    Kind(number=FOLLOWS, name="follow list", spec="NIP-02"),
    Kind(number=DELETION, name="deletion", spec="NIP-09"),
    Kind(number=REPOST, name="repost", spec="NIP-18"),
    Kind(number=9, name="chat message", spec="NIP-C7", searched=True),
    Kind(number=11, name="thread", spec="NIP-7D", searched=True),
    Kind(number=SEAL, name="seal", spec="NIP-59"),
    Kind(number=GENERIC_REPOST, name="repost of any kind", spec="NIP-18"),
    Kind(number=42, name="channel message", spec="NIP-28", searched=True),
    Kind(number=VANISH, name="request to vanish", spec="NIP-62"),
    Kind(number=GIFT_WRAP, name="gift wrap", spec="NIP-59", private=True),
    Kind(number=COMMENT, name="comment", spec="NIP-22", searched=True),
    Kind(number=REPORT, name="report", spec="NIP-56"),
    Kind(number=RECEIPT, name="call receipt", spec="docs/protocol.md", ours=True),
    Kind(number=KEY_STATEMENT, name="key statement", spec="docs/reference/keys.md", ours=True),
    Kind(number=RELAY_LIST, name="relay list", spec="NIP-65"),
    Kind(number=INBOX_LIST, name="inbox relays", spec="NIP-17"),
    Kind(number=SERVER_ANNOUNCEMENT, name="MCP server", spec="ContextVM CEP-6"),
    Kind(number=TOOLS_ANNOUNCEMENT, name="MCP server's tools", spec="ContextVM CEP-6"),
    Kind(number=RESOURCES_ANNOUNCEMENT, name="MCP server's resources", spec="ContextVM CEP-6"),
    Kind(number=TEMPLATES_ANNOUNCEMENT, name="its resource templates", spec="ContextVM CEP-6"),
    Kind(number=PROMPTS_ANNOUNCEMENT, name="MCP server's prompts", spec="ContextVM CEP-6"),
    Kind(number=EPHEMERAL_GIFT_WRAP, name="gift wrap, not kept", spec="NIP-59", private=True),
    Kind(number=CLIENT_AUTH, name="client authentication", spec="NIP-42"),
    Kind(number=TELEMETRY, name="what changed in a registry", spec="docs/quality.md", ours=True),
    Kind(number=RPC, name="MCP JSON-RPC message", spec="ContextVM", private=True),
    Kind(number=HTTP_AUTH, name="HTTP authentication", spec="NIP-98"),
    Kind(number=TOKEN, name="bearer token", spec="nips PR 2187"),
    Kind(number=30023, name="article", spec="NIP-23", searched=True),
    Kind(number=ATTESTATION, name="attestation", spec="nips PR 2320"),
    Kind(number=QUALITY, name="assertion on an addressable event", spec="NIP-85"),
    Kind(number=FIGURES, name="agent's figures", spec="nip-agent-reputation"),
    Kind(number=OFFER, name="offer", spec="nips PR 2291", searched=True),
    Kind(number=ENDORSEMENT, name="endorsement", spec="docs/reference/endorsements.md", ours=True),
    Kind(number=HANDLE, name="handle statement", spec="docs/protocol.md", ours=True),
    Kind(number=APPEAL, name="appeal", spec="docs/reference/appeals.md", ours=True),
    Kind(number=HANDLER, name="handler information", spec="NIP-89"),
)

SERVER_ANNOUNCEMENTS: Final = frozenset(range(SERVER_ANNOUNCEMENT, PROMPTS_ANNOUNCEMENT + 1))

PRIVATE: Final = frozenset(row.number for row in TABLE if row.private)

SEARCHED: Final = frozenset(row.number for row in TABLE if row.searched)

LASTING: Final = frozenset({VANISH, KEY_STATEMENT})
"""Neither a deletion nor a request to vanish removes them: a request itself, which says why the
rest is gone, and where an identity went, or who steals a key could erase what its owner prepared.
"""

BINDING: Final = frozenset({DELETION, VANISH, RECEIPT, KEY_STATEMENT})
"""Regular kinds that change what else holds: what a log does next may depend on them."""

KIND_MAX: Final = 65535

NEVER_PUBLISHED: Final = frozenset({CLIENT_AUTH, HTTP_AUTH, TOKEN})
"""Proofs for one connection or request: whoever reads one could use it, so none is relayed."""


def kind_class(kind: int) -> KindClass:
    """Which NIP-01 class a kind number belongs to."""
    if 20000 <= kind < 30000:
        return KindClass.EPHEMERAL
    if kind in (0, 3) or 10000 <= kind < 20000:
        return KindClass.REPLACEABLE
    if 30000 <= kind < 40000:
        return KindClass.ADDRESSABLE
    return KindClass.REGULAR
