"""What other domains say of a handle: their nostr.json, and a key's profile at relays they name.

Guarded as `reader` says; no redirect is followed (NIP-05), and every answer is small and soon.
"""

from collections.abc import Iterable
from typing import Any

import aiohttp
import orjson

from hanse.engines.web.reader import Bounds, Web, is_loopback
from hanse.errors import HanseError, Unavailable
from hanse.protocol import kinds
from hanse.protocol.event import Event, check_event, parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

BOUNDS = Bounds(
    requests=4,
    document_bytes=256 * 1024,
    whole_bytes=1 << 20,
    request_s=5.0,
    whole_s=12.0,
    redirects=0,
)
RELAYS_MAX = 2
"""Relays asked for one profile."""

MESSAGES_MAX = 8
"""Messages of a relay that are read for it."""


class WebDomains:
    """Implements `identity.store.Domains`. `near` are `host:port` of the operator's own networks,
    which may be asked although they are not on the open internet."""

    def __init__(self, near: Iterable[str] = ()) -> None:
        self._near = [f"{_scheme(host)}://{host}/" for host in near]

    async def names(self, domain: str, name: str) -> Any:
        """See `Domains`."""
        async with Web(self._near, BOUNDS) as web:
            return await web.json(
                f"{_scheme(domain)}://{domain}/.well-known/nostr.json?name={name}"
            )

    async def profile(self, pubkey: PublicKey, relays: tuple[str, ...]) -> Event | None:
        """See `Domains`."""
        newest: Event | None = None
        async with Web(self._near, BOUNDS) as web:
            for url in relays[:RELAYS_MAX]:
                try:
                    found = await _profile_at(web, url, pubkey)
                except HanseError:
                    continue  # a hint that leads nowhere: the next one
                if found is not None and (newest is None or found.created_at > newest.created_at):
                    newest = found
        return newest


async def _profile_at(web: Web, url: str, pubkey: PublicKey) -> Event | None:
    asked = Filter(kinds=frozenset({kinds.PROFILE}), authors=frozenset({pubkey}), limit=1)
    async with web.socket(url) as socket:
        await socket.send_str(orjson.dumps(["REQ", "profile", asked.as_dict()]).decode())
        for _ in range(MESSAGES_MAX):
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            event = _event_in(message.data)
            if event is None:
                continue
            if event.kind == kinds.PROFILE and event.pubkey == pubkey:
                return event
        return None


def _event_in(text: str) -> Event | None:
    """The checked event of an EVENT message; None for any other. Raises Invalid, Unavailable at
    the end of what is kept."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise Unavailable("is not JSON", field="relay") from exc
    match found:
        case ["EVENT", "profile", dict() as body]:
            event = parse_event(orjson.dumps(body))
            check_event(event)
            return event
        case ["EOSE" | "CLOSED", "profile", *_]:
            raise Unavailable("has no profile of this key", field="relay")
    return None


def _scheme(host: str) -> str:
    name = host.partition(":")[0]
    return "http" if is_loopback(name) else "https"
