"""What a relay says of itself (NIP-11)."""

from typing import Any

from hanse.protocol import message, session
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.admission import Rules
from hanse.servers.relay.socket import SocketLimits

SUPPORTED = (1, 9, 11, 40, 42, 70)


def relay_info(
    *,
    name: str,
    node: PublicKey,
    operator: PublicKey,
    version: str,
    limit_max: int,
    rules: Rules,
    limits: SocketLimits,
    session_limits: session.Limits,
) -> dict[str, Any]:
    """The NIP-11 document. `self` is the node's own key, which signs receipts."""
    return {
        "name": name,
        "description": "A Hanse node: a relay, a registry of paid services, and a broker of calls.",
        "pubkey": operator,
        "self": node,
        "supported_nips": list(SUPPORTED),
        "software": "hanse",
        "version": version,
        "limitation": {
            "max_message_length": limits.message_bytes_max,
            "max_subscriptions": session_limits.subscriptions_max,
            "max_limit": limit_max,
            "default_limit": limit_max,
            "max_subid_length": message.SUBSCRIPTION_ID_MAX,
            "max_event_tags": rules.tags_max,
            "max_content_length": rules.content_max,
            "created_at_upper_limit": rules.future_s,
            "auth_required": False,
            "payment_required": False,
            "restricted_writes": False,
        },
    }
