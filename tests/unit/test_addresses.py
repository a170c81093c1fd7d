"""Whose a connection is: the peer's, or what a proxy of ours says."""

import pytest

from hanse.errors import Invalid, RateLimited
from hanse.servers.relay.addresses import Networks, counted, origin
from hanse.servers.relay.handshake import Places
from hanse.servers.relay.relay import SocketLimits
from hanse.servers.relay.shares import Share, Shares

PROXIES = Networks(("127.0.0.0/8", "10.0.0.0/8"), "proxy")


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "192.0.2.9, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "192.0.2.9, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("127.0.0.1", "10.9.9.9", "10.9.9.9"),
        ("127.0.0.1", "rubbish", "127.0.0.1"),
        ("127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("127.0.0.1", "198.51.100.1:50123", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1:port", "127.0.0.1"),
        ("127.0.0.1", "[]:1", "127.0.0.1"),
        ("::ffff:203.0.113.7", None, "203.0.113.7"),
        ("", None, ""),
    ],
)
def test_only_proxies_of_ours_are_believed(peer: str, forwarded: str | None, found: str) -> None:
    assert origin(peer, forwarded, PROXIES) == found


def test_networks_hold_addresses_and_remember_a_bounded_number() -> None:
    found = Networks(("192.0.2.0/24", "2001:db8::/32"), "trust-address")
    assert found.has("192.0.2.200")
    assert found.has("2001:db8::5")
    assert not found.has("192.0.3.1")
    assert not found.has("nonsense")
    assert Networks(("127.0.0.0/8",), "x").has("")


def test_what_is_no_network_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="trust-address"):
        Networks(("everyone",), "trust-address")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a unix socket", "a unix socket"),
    ],
)
def test_an_address_counts_as_its_site(address: str, found: str) -> None:
    assert counted(address) == found


def test_addresses_of_one_site_share_what_an_address_may_have() -> None:
    shares = Shares(10, 10, 100)
    first, second = Share(shares, "2001:db8::1"), Share(shares, "2001:db8::2")
    first.take(6)
    with pytest.raises(RateLimited):
        second.take(6)
    Share(shares, "2001:db8:0:1::2").take(6)
    first.leave(6)
    second.take(6)
    places = Places(SocketLimits(of_one_address_max=2))
    assert [places.take(f"2001:db8::{end}") for end in (1, 2, 3)] == [True, True, False]
    places.leave("2001:db8::1")
    assert places.take("2001:db8::3")
