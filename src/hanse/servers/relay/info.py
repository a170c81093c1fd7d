"""What a relay says of itself (NIP-11), and the one list of NIPs it speaks."""

from typing import Any, Final

import orjson

from hanse.protocol import message, session
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.relay import SocketLimits
from hanse.servers.relay.rules import Rules

NOSTR_JSON = "application/nostr+json"

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Content-Type, Accept, Authorization",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
}

NIPS: Final[dict[int, str]] = {
    1: "events, subscriptions, replaceable and addressable kinds",
    2: "follow lists, the newest kept",
    9: "deletion by the author",
    11: "the relay's description of itself",
    13: "proof of work of strangers, if the operator asks for it",
    17: "lists of inbox relays are checked",
    40: "expired events are neither taken nor served",
    42: "authentication, several keys on a connection",
    45: "COUNT, with HyperLogLog",
    50: "search by words of the content",
    56: "reports wait for the operator's decision",
    59: "gift wraps have one recipient, and go to that key once it is authenticated",
    62: "requests to vanish",
    65: "lists of relays are checked",
    67: "EOSE says whether there is more",
    70: "protected events are taken from their authenticated author only",
    77: "comparing sets of events (negentropy)",
    86: "management over HTTP, signed by the operator",
    98: "requests over HTTP are signed",
}
"""What this relay does; what only clients do is not listed."""

SUPPORTED: Final = tuple(sorted(NIPS))


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
        "version": version,
        "limitation": {
            "max_message_length": limits.message_bytes_max,
            "max_subscriptions": session_limits.subscriptions_max,
            "max_limit": limit_max,
            "default_limit": limit_max,
            "max_subid_length": message.SUBSCRIPTION_ID_MAX,
            "max_filters": message.FILTERS_MAX,
            "max_event_tags": rules.size.tags_max,
            "max_content_length": rules.size.content_max,
            "min_pow_difficulty": rules.work.bits,
            "created_at_upper_limit": rules.times.future_s,
            "auth_required": False,
            "payment_required": False,
            "restricted_writes": rules.restrict_writes,
        },
    }


def only_info(info: dict[str, Any]) -> Any:
    """A bare relay's HTTP, as an ASGI app: the NIP-11 document and nothing else."""
    body = orjson.dumps(info)
    cors = [(name.lower().encode(), value.encode()) for name, value in CORS.items()]

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked = scope["method"] != "OPTIONS"
        headers = [(b"content-type", NOSTR_JSON.encode()), *cors] if asked else cors
        status = 200 if asked else 204
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if asked else b""})

    return app
