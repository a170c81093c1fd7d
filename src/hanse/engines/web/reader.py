"""The web as this node reads it: nothing that a source says can make us ask inside our own network.

- https and wss; http and ws only at loopback, and only if the operator named an address there
- the hosts and ports that the operator named may be anywhere; every other, be it named by a
  document or by a redirect, must have public addresses alone. They are looked at when they are
  resolved, and it is those addresses that are connected to
- no redirect of a `nostr.json` is followed (NIP-05): only the host itself says whose its names are
- sizes, times, redirects and requests are bounded; no cookies, no credentials, no proxies
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hanse.errors import HanseError, Invalid, NotFound, TooLarge, Unavailable
from hanse.protocol.canonical import read_json

URL_MAX = 2048
READ_BYTES = 64 * 1024
_NAMES = "/.well-known/nostr.json"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE, _PLAIN = frozenset({"https", "wss"}), frozenset({"http", "ws"})
_NOT_PUBLIC = tuple(
    IPv6Network(text)
    for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10")
)
"""Addresses that hold an IPv4 one, which need not be public, and those of a site."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of the web at once: the defaults are an import's."""

    requests: int = 1000
    document_bytes: int = 8 << 20
    whole_bytes: int = 256 << 20
    request_s: float = 20.0
    whole_s: float = 600.0
    redirects: int = 3


class Refused(Invalid):
    """The address may not be asked."""


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if any(address in network for network in _NOT_PUBLIC):
            return False
        address = address.ipv4_mapped or address
    return address.is_global and not address.is_multicast


def is_loopback(host: str) -> bool:
    """Whether a host's name is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Resolver(AbstractResolver):
    """Resolves names, and refuses those that lead elsewhere than they may."""

    def __init__(self, named: frozenset[tuple[str, int]]) -> None:
        self._named = named
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver`."""
        found = await self._inner.resolve(host, port, family)
        if (host, port) not in self._named and not all(is_public(one["host"]) for one in found):
            raise Refused.at("url", f"{host} is not on the open internet")
        return found

    async def close(self) -> None:
        """See `AbstractResolver`."""
        await self._inner.close()


class Web:
    """Reads documents. `named` are the URLs that the operator named. `async with`."""

    def __init__(self, named: str | Iterable[str] = (), bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.requests = 0
        self.bytes = 0
        urls = (named,) if isinstance(named, str) else named
        self._named = frozenset(_place(_parts(url)) for url in urls)
        self._documents: dict[str, bytes] = {}  # as they came: read, they take twenty times as much

    async def __aenter__(self) -> Self:
        self._end = asyncio.get_running_loop().time() + self.bounds.whole_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(self._named), limit=4),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.bounds.request_s),
            headers={"Accept": "application/json, */*;q=0.5", "User-Agent": "hanse"},
            trace_configs=[_no_redirects()],
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def json(self, url: str) -> Any:
        """A JSON document. Raises what `document` does, and Invalid for what is not JSON."""
        raw = await self.document(url)
        return read_json(raw, url, bytes_max=self.bounds.document_bytes)

    async def document(self, url: str) -> bytes:
        """A document, fetched once however often it is asked for. Raises Refused, NotFound,
        TooLarge, Unavailable."""
        address = urlunsplit(_parts(url)._replace(fragment=""))
        if self._left_s() <= 0:
            raise _enough(address)
        if address not in self._documents:
            self._documents[address] = await self._read(address)
        return self._documents[address]

    @asynccontextmanager
    async def socket(self, url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A connection to a relay. Raises Refused, Unavailable; so does what is done with it."""
        self._check(url)
        try:
            async with (
                asyncio.timeout(self._taken(url)),
                self._session.ws_connect(url, max_msg_size=self.bounds.document_bytes) as found,
            ):
                yield found
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise _told(url, exc) from exc

    async def _read(self, url: str) -> bytes:
        redirects = 0 if _parts(url).path == _NAMES else self.bounds.redirects
        try:
            for _ in range(redirects + 1):
                self._check(url)
                answer = await self._asked(url)
                if isinstance(answer, bytes):
                    return answer
                url = urlunsplit(_parts(urljoin(url, answer)))
        except HanseError:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise _told(url, exc) from exc
        raise Unavailable(f"{url}: redirects more than {redirects} times")

    def _taken(self, url: str) -> float:
        """One request more: how long it may take."""
        self.requests += 1
        left_s = self._left_s()
        if self.requests > self.bounds.requests or left_s <= 0:
            raise _enough(url)
        return min(left_s, self.bounds.request_s)

    async def _asked(self, url: str) -> bytes | str:
        """The document, or where it is instead."""
        async with (
            asyncio.timeout(self._taken(url)),
            self._session.get(url, allow_redirects=False) as found,
        ):
            if found.status in _REDIRECTS and "location" in found.headers:
                return found.headers["location"][:URL_MAX]
            if found.status in (404, 410):
                raise NotFound(f"{url}: is not there")
            if found.status != 200:
                raise Unavailable(f"{url}: answered {found.status}")
            parts: list[bytes] = []
            size = 0
            async for part in found.content.iter_chunked(READ_BYTES):
                size += len(part)
                self.bytes += len(part)
                if size > self.bounds.document_bytes or self.bytes > self.bounds.whole_bytes:
                    raise TooLarge(f"is over {self.bounds.document_bytes} bytes", field=url)
                parts.append(part)
            return b"".join(parts)

    def _left_s(self) -> float:
        return self._end - asyncio.get_running_loop().time()

    def _check(self, url: str) -> None:
        parts = _parts(url)
        host = (parts.hostname or "").lower()
        near = is_loopback(host)
        if parts.scheme not in _SAFE and not (parts.scheme in _PLAIN and near):
            raise Refused.at("url", f"{url[:200]} is not https or wss")
        if _place(parts) in self._named:
            return
        if near or (_is_literal(host) and not is_public(host)):
            raise Refused.at("url", f"{host} is not on the open internet")


def _enough(url: str) -> Unavailable:
    return Unavailable(f"{url}: the import has asked for enough", hint="see docs/import.md")


def _no_redirects() -> aiohttp.TraceConfig:
    """Redirects are followed here or not at all: a connection to a relay would follow its own."""

    async def refuse(*_: object) -> None:
        raise Refused.at("url", "answered with a redirect")

    found = aiohttp.TraceConfig()
    found.on_request_redirect.append(refuse)
    return found


def _told(url: str, exc: BaseException) -> HanseError:
    """What went wrong on the way, in our words."""
    if isinstance(exc.__cause__, Refused):
        return exc.__cause__
    return Unavailable(f"{url}: {exc or type(exc).__name__}")


def _parts(url: str) -> Any:
    """A URL's parts, in the form that is connected to: of its host, too. Digits of other scripts
    (`127。0。0。1`) become digits there."""
    if len(url) > URL_MAX or not url.isprintable() or " " in url:
        raise Refused.at("url", f"{url[:200]!r} is not a URL")
    try:
        parts = urlsplit(str(URL(url)))
        _ = parts.port  # raises for one that is no number
    except ValueError as exc:
        raise Refused.at("url", f"{url[:200]!r} is not a URL") from exc
    if not parts.hostname:
        raise Refused.at("url", f"{url[:200]!r} is not a URL")
    if parts.username is not None or parts.password is not None:
        raise Refused.at("url", "must hold no user and no password")
    if _ends_in_number(parts.hostname) and not _is_literal(parts.hostname):
        raise Refused.at("url", f"{parts.hostname} is no name and no address")
    return parts


def _place(parts: Any) -> tuple[str, int]:
    default = 443 if parts.scheme in _SAFE else 80
    return (parts.hostname or "").lower(), parts.port or default


def _ends_in_number(host: str) -> bool:
    """Whether a host's name is one that is read as an IPv4 address (`127.1`, `2130706433`)."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def _is_literal(host: str) -> bool:
    """Whether it is an address: those are connected to without being resolved."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
