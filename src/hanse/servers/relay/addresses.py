"""Network addresses: which are in a list of networks, whose a connection through a proxy is, and
which count as one."""

import functools
import ipaddress
import re
from collections.abc import Iterable

from hanse.errors import Invalid

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED_MAX = 10_000
"""Addresses whose membership is remembered: asking costs 2 µs, looking up 30 ns."""

FORWARDED_MAX = 20
"""Addresses read of an X-Forwarded-For header."""

_WITH_PORT = re.compile(r"\s*(?:\[(?P<six>[^]]+)\]|(?P<four>[\d.]+)):\d{1,5}\s*")
"""As some proxies write an address."""


class Networks:
    """A list of networks. A Unix socket's empty address counts as this machine's."""

    def __init__(self, texts: Iterable[str], field: str) -> None:
        try:
            self._networks: list[Network] = [ipaddress.ip_network(text) for text in texts]
        except ValueError as exc:
            raise Invalid.at(field, str(exc), "e.g. 127.0.0.0/8 or 10.1.2.3") from exc
        self._remembered: dict[str, bool] = {}

    def has(self, address: str) -> bool:
        """Whether one of the networks holds this address."""
        found = self._remembered.get(address)
        if found is None:
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            found = self._remembered[address] = self._holds(address)
        return found

    def _holds(self, address: str) -> bool:
        try:
            read = ipaddress.ip_address(address or "127.0.0.1")
        except ValueError:
            return False
        return any(read in network for network in self._networks)


def is_loopback(address: str) -> bool:
    """Whether the other end is on this machine: an agent of its own, or a proxy for everybody."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True  # a Unix socket has no address


def plain(text: str) -> str | None:
    """An IP address in its one spelling, IPv4 also when it came as IPv6; None if it is none."""
    try:
        found = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


SITE_BITS = 64
"""Of an IPv6 address so many bits are its site's: whoever has one address there has all."""


@functools.lru_cache(maxsize=REMEMBERED_MAX)
def counted(address: str) -> str:
    """What an address counts as wherever something is counted by address: an IPv6 one as its /64,
    every other as itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    rest = found.max_prefixlen - SITE_BITS
    return f"{ipaddress.IPv6Address(int(found) >> rest << rest)}/{SITE_BITS}"


def origin(peer: str, forwarded: str | None, proxies: Networks) -> str:
    """The address of a client: the peer's own, or, if that is a proxy of ours, the last one in its
    X-Forwarded-For that is not. What stands before that one, the client may have made up."""
    found = plain(peer) or peer
    if not forwarded or not proxies.has(found):
        return found
    for text in reversed(forwarded.split(",")[-FORWARDED_MAX:]):
        ported = _WITH_PORT.fullmatch(text)
        read = plain(ported["six"] or ported["four"] if ported else text)
        if read is None:
            return found
        found = read
        if not proxies.has(found):
            break
    return found
