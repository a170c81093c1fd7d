"""The gate of the HTTP doors: an Authorization header to a principal, each request proof once.

Time comes in as an argument. Proofs seen within their window are remembered, bounded; when the
memory is full the gate refuses, since it could no longer tell a replay.
"""

from urllib.parse import urlsplit

from hanse.errors import AuthRequired, RateLimited
from hanse.protocol import http_auth
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import Principal, identify
from hanse.protocol.session import host_of

SEEN_MAX = 200_000
"""Proofs remembered: about 20 MB."""


USED = "was used before: sign each request anew"


class HttpGate:
    """Knows the names this node is reached by and which proofs were used."""

    def __init__(self, node: PublicKey, hosts: frozenset[str], seen_max: int = SEEN_MAX) -> None:
        self._node = node
        self._hosts = hosts
        self._seen_max = seen_max
        self._seen: dict[str, int] = {}

    def who(
        self, header: str | None, *, target: str, method: str, body: bytes, now: int
    ) -> Principal | None:
        """Who sends this request; None without a header. `target` is path and query as requested.
        Raises AuthRequired."""
        if not header:
            return None
        scheme, event = http_auth.read_header(header)
        if scheme == "bearer":
            http_auth.check_token(event, node=self._node, now=now)
            return identify(event)
        url = event.tag("u") or ""
        if host_of(url) not in self._hosts:
            raise AuthRequired("names another host", field="Authorization.u")
        try:
            parts = urlsplit(url)
        except ValueError as exc:
            raise AuthRequired("is not a URL", field="Authorization.u") from exc
        # A relay's URL is written with and without its last slash (NIP-86).
        if parts.fragment:
            raise AuthRequired("has a fragment, which no request has", field="Authorization.u")
        signed = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # The host is one of ours and the target is compared below: the URL is this request's.
        if signed != target:
            raise AuthRequired("is not this request's URL", field="Authorization.u")
        http_auth.check_request(event, url=url, method=method, body=body, now=now)
        self._once(event.id, now)
        return identify(event)

    def _once(self, id: str, now: int) -> None:
        if id in self._seen:
            raise AuthRequired(USED, field="Authorization")
        if len(self._seen) >= self._seen_max:
            window = 2 * http_auth.REQUEST_WINDOW_S
            self._seen = {key: at for key, at in self._seen.items() if now - at <= window}
            if len(self._seen) >= self._seen_max:
                raise RateLimited("too many signed requests", hint="use a bearer token")
        self._seen[id] = now
