"""The node's settings: name, default, help, each declared once; read from flags and environment.

Strings become a frozen `Config` here, and nothing else reads the environment for the node.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from hanse.broker.service import Bounds
from hanse.engines.embedders.endpoint import Endpoint
from hanse.engines.peers.mirror import Pace
from hanse.engines.storage.upkeep import Keeping
from hanse.errors import Invalid
from hanse.identity.model import Terms
from hanse.payments.model import Fee
from hanse.protocol.amount import Amount
from hanse.protocol.handle import read_handle
from hanse.protocol.keys import PublicKey
from hanse.protocol.peer import Peer
from hanse.protocol.session import Limits, host_of
from hanse.registry.liveness import Bounds as Liveness
from hanse.registry.observed import QUALITY_MAX
from hanse.servers.relay.compare import CompareLimits
from hanse.servers.relay.reads import ReadLimits
from hanse.servers.relay.relay import SocketLimits
from hanse.servers.relay.rules import Rules
from hanse.servers.relay.words import Words, check_word
from hanse.trust.permissions import DEFAULT_LEVELS, Levels

PORT = 7447
DOORS = frozenset({"api", "mcp"})
DATABASES = ("postgresql", "postgres")
BUSES = ("nats", "tls")
INSTANCE_MAX = 128
NEAR_MAX = 64


class SecretUrl(msgspec.Struct, frozen=True):
    """The URL of a server, perhaps with a password in it: shown without."""

    text: str

    def __repr__(self) -> str:
        scheme, _, rest = self.text.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

    __str__ = __repr__


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is started with."""

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT
    public_url: str | None = None
    name: str = "hanse"
    words: Words = Words()
    fee: Fee = Fee()
    starting_grant: Amount = Amount(10_000_000)
    doors: frozenset[str] = DOORS
    query_limit_max: int = 500
    keeping: Keeping = Keeping()
    quality_max: int = QUALITY_MAX
    liveness: Liveness = Liveness()
    drain_s: float = 5.0
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    rules: Rules = Rules()
    policies: tuple[str, ...] = ()
    admins: frozenset[PublicKey] = frozenset()
    socket_limits: SocketLimits = SocketLimits()
    session_limits: Limits = Limits()
    read_limits: ReadLimits = ReadLimits()
    compare_limits: CompareLimits = CompareLimits()
    broker_bounds: Bounds = Bounds()
    database: SecretUrl | None = None
    bus: SecretUrl | None = None
    instance: str = ""
    peers: tuple[Peer, ...] = ()
    peer_pace: Pace = Pace()
    embeddings: Endpoint | None = None
    levels: Levels = DEFAULT_LEVELS
    by_level: bool = False
    handle_terms: Terms = Terms()
    near: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise Invalid.at("port", "must be 0 to 65535")
        check_word("name", self.name)
        unknown = self.doors - DOORS
        if unknown:
            raise Invalid.at("doors", f"{sorted(unknown)} unknown", f"any of {sorted(DOORS)}")
        if self.doors == {"mcp"}:
            raise Invalid.at("doors", "mcp stands on api's server", "name both: api,mcp")
        _networks(self.metrics_from)
        url = self.public_url
        if url is not None and not (url.startswith(("ws://", "wss://")) and host_of(url)):
            raise Invalid.at("public_url", "must be a ws:// or wss:// URL")
        # What these are is not quoted: it may hold a password.
        if self.database is not None and not _is_url(self.database.text, DATABASES):
            raise Invalid.at("database", "must be a postgresql:// URL", "leave it out for SQLite")
        if self.bus is not None:
            if not all(_is_url(text, BUSES) for text in self.bus.text.split(",")):
                raise Invalid.at("bus", "must be nats:// or tls:// URLs, by comma")
            if self.database is None:
                raise Invalid.at("bus", "joins nodes on one database", "set HANSE_DATABASE too")
        if self.database is not None and self.keeping.bytes_max is not None:
            text = "PostgreSQL does not tell how full it is"
            raise Invalid.at("log-max", text, "bound it by events, e.g. 5000000events")
        if len(self.near) > NEAR_MAX:
            raise Invalid.at("near", f"at most {NEAR_MAX} of them")
        for host in self.near:
            if read_handle(host, "near").domain != host:
                raise Invalid.at("near", f"{host[:64]!r} is no host:port in lower case")
        if len(self.instance) > INSTANCE_MAX:
            raise Invalid.at("instance", f"must have at most {INSTANCE_MAX} characters")

    @property
    def metrics_networks(self) -> list[IPv4Network | IPv6Network]:
        """Who reads /metrics without being the operator."""
        return _networks(self.metrics_from)

    def hosts(self, port: int) -> frozenset[str]:
        """The `host:port` names that reach this node."""
        names = {"127.0.0.1", "localhost", "[::1]"}
        if self.host not in ("0.0.0.0", "::"):
            names.add(f"[{self.host}]" if ":" in self.host else self.host)
        found = {host_of(f"ws://{name}:{port}") for name in names}  # port 80 is left out of names
        if self.public_url is not None:
            found.add(host_of(self.public_url))
        return frozenset(found)


def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(found) for found in texts]
    except ValueError as exc:
        raise Invalid.at("metrics-from", str(exc), "e.g. 127.0.0.0/8,10.0.0.0/8") from exc


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and (parts.port or 1) > 0
    except ValueError:  # of the port, or brackets
        return False


def server_url(
    given: str | None, variable: str, environment: Mapping[str, str] | None = None
) -> SecretUrl | None:
    """The URL given, or the one in the environment; None if neither names one."""
    found = given or (os.environ if environment is None else environment).get(variable)
    return SecretUrl(found) if found else None


def home_folder(environment: Mapping[str, str] | None = None) -> Path:
    """$HANSE_HOME, or ~/.hanse."""
    found = (os.environ if environment is None else environment).get("HANSE_HOME")
    return Path(found).expanduser() if found else Path.home() / ".hanse"


def database_url(environment: Mapping[str, str] | None = None) -> str | None:
    """$HANSE_DATABASE, the URL of a PostgreSQL database, or None for SQLite in the data folder."""
    return (os.environ if environment is None else environment).get("HANSE_DATABASE") or None


def embeddings(environment: Mapping[str, str] | None = None) -> Endpoint | None:
    """The endpoint that $HANSE_EMBEDDINGS, _MODEL, _SIZE and _KEY name, or None. Raises Invalid."""
    found = os.environ if environment is None else environment
    url = found.get("HANSE_EMBEDDINGS")
    if not url:
        return None
    size = found.get("HANSE_EMBEDDINGS_SIZE", "256")
    if not (size.isascii() and size.isdigit() and len(size) <= 6):
        raise Invalid.at("embeddings.size", "must be a number")
    return Endpoint(
        url=url,
        model=found.get("HANSE_EMBEDDINGS_MODEL", ""),
        size=int(size),
        key=found.get("HANSE_EMBEDDINGS_KEY") or None,
    )


def passphrase(environment: Mapping[str, str] | None = None) -> str | None:
    """$HANSE_PASSPHRASE, or None."""
    return (os.environ if environment is None else environment).get("HANSE_PASSPHRASE") or None
