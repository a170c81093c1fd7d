"""What a relay says of itself (NIP-11), and the one list of NIPs it speaks."""

from typing import Any, Final

import orjson

from hanse.protocol import message, session
from hanse.protocol.event import EVENT_BYTES_MAX
from hanse.protocol.filter import ITEMS_MAX, SEARCH_MAX, VALUES_MAX
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.buckets import Rate
from hanse.servers.relay.compare import CompareLimits
from hanse.servers.relay.reads import ReadLimits
from hanse.servers.relay.relay import SocketLimits
from hanse.servers.relay.rules import Rules
from hanse.servers.relay.words import Words

NOSTR_JSON = "application/nostr+json"

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Content-Type, Accept, Authorization",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
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

BY_HTTP: Final = frozenset({86, 98})
"""Those that a bare relay does not do."""


def relay_info(
    *,
    name: str,
    words: Words,
    node: PublicKey,
    operator: PublicKey,
    version: str,
    limitation: dict[str, Any],
    is_bare: bool,
) -> dict[str, Any]:
    """The NIP-11 document. `self` is the node's own key, which signs receipts; a bare relay has no
    HTTP but this."""
    return {
        "name": name,
        **words.said(),
        "pubkey": words.pubkey or operator,
        "self": node,
        "supported_nips": [nip for nip in SUPPORTED if not (is_bare and nip in BY_HTTP)],
        "version": version,
        "limitation": limitation,
    }


def limitation(
    *,
    limit_max: int,
    rules: Rules,
    sockets: SocketLimits,
    sessions: session.Limits,
    reads: ReadLimits,
    compares: CompareLimits,
) -> dict[str, Any]:
    """Every bound that a client meets: NIP-11's fields, then ours (docs/settings.md). What is not
    bounded is left out."""
    found = {
        "max_message_length": sockets.message_bytes_max,
        "max_subscriptions": sessions.subscriptions_max,
        "max_limit": limit_max,
        "default_limit": limit_max,
        "max_subid_length": message.SUBSCRIPTION_ID_MAX,
        "max_filters": message.FILTERS_MAX,
        "max_event_tags": rules.size.tags_max,
        "max_content_length": rules.size.content_max,
        "min_pow_difficulty": rules.work.bits,
        "created_at_lower_limit": rules.times.past_s,
        "created_at_upper_limit": rules.times.future_s,
        "auth_required": False,
        "payment_required": False,
        "restricted_writes": rules.restrict_writes,
        "created_at_ephemeral_limit": rules.times.ephemeral_window_s,
        "max_event_length": EVENT_BYTES_MAX,
        "max_search_length": SEARCH_MAX,
        "max_list_values": ITEMS_MAX,
        "max_request_values": VALUES_MAX,
        **_of_connections(sockets, sessions),
        "max_reads": reads.running_max,
        "max_reads_waiting": reads.waiting_max,
        "max_compared_events": compares.items_max,
        "max_compared_events_of_all": compares.items_of_all_max,
        "comparison_idle_s": compares.idle_s,
        **_rate("address", rules.rates.address),
        **_rate("key", rules.rates.key),
        **_rate("operator", rules.rates.operator),
        "allowed_kinds": sorted(rules.kinds.allow - rules.kinds.deny) or None,
        "denied_kinds": sorted(rules.kinds.deny) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _of_connections(sockets: SocketLimits, sessions: session.Limits) -> dict[str, Any]:
    return {
        "max_connections": sockets.connections_max,
        "max_connections_of_address": sockets.of_one_address_max,
        "max_unsent_bytes": sockets.unsent_bytes_max,
        "ping_s": sockets.ping_s,
        "max_filter_values": sockets.values_max,
        "max_filter_values_of_address": sockets.values_of_address_max,
        "max_filter_values_of_all": sockets.values_of_all_max,
        "max_identities": sessions.identities_max,
        "max_comparisons": sessions.comparisons_max,
        "max_requests_per_s": sessions.requests_per_s,
        "max_requests_at_once": sessions.requests_burst,
        "max_unreadable_messages": sessions.refusals_max,
    }


def _rate(of: str, rate: Rate) -> dict[str, float]:
    return {
        f"max_events_of_{of}_per_s": rate.per_s,
        f"max_events_of_{of}_at_once": rate.burst,
    }


def only_info(info: dict[str, Any]) -> Any:
    """The NIP-11 document as an ASGI app, as it is when it is asked for."""
    cors = [(name.lower().encode(), value.encode()) for name, value in CORS.items()]

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        asked = scope["method"] != "OPTIONS"
        headers = [(b"content-type", NOSTR_JSON.encode()), *cors] if asked else cors
        status = 200 if asked else 204
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(info) if asked else b""})

    return app
