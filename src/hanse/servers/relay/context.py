"""What a policy may look at beside the event: the time, the settings, the lists, and the sender."""

from collections.abc import Awaitable, Callable, Mapping, Set
from types import MappingProxyType
from typing import Protocol

import msgspec

from hanse.protocol import attestation
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import Principal, identify
from hanse.servers.relay.addresses import Networks
from hanse.servers.relay.buckets import Buckets
from hanse.servers.relay.lists import Lists
from hanse.servers.relay.rules import Rules

NO_OPERATORS: Mapping[PublicKey, PublicKey] = MappingProxyType({})

OWNERS_MAX = 10_000
"""Attestations remembered as good: an agent puts the same one on all its events."""


class Source(Protocol):
    """Who sends an event: a connection, or a request."""

    @property
    def address(self) -> str:
        """Its network address; empty for this process or a Unix socket."""

    @property
    def identities(self) -> Set[PublicKey]:
        """The keys it has proved."""

    @property
    def operators(self) -> Mapping[PublicKey, PublicKey]:
        """Those of its keys that an operator attested: agent → operator."""

    @property
    def door(self) -> str:
        """The door it came in by: `socket`, `http` or `peer`."""


class Sender(msgspec.Struct, frozen=True):
    """A `Source` that holds no connection."""

    address: str = ""
    identities: frozenset[PublicKey] = frozenset()
    operators: Mapping[PublicKey, PublicKey] = NO_OPERATORS
    door: str = "http"

    @staticmethod
    def of(address: str, who: Principal | None) -> "Sender":
        """The sender of one request."""
        if who is None:
            return Sender(address)
        operators = {who.agent: who.operator} if who.attested else NO_OPERATORS
        return Sender(address, frozenset({who.agent}), operators)


class House(msgspec.Struct, frozen=True):
    """Whose relay this is, and the `host[:port]` names that reach it."""

    own: frozenset[PublicKey]
    operator: PublicKey
    hosts: frozenset[str]


class Books:
    """What policies remember: token buckets and good attestations. Used on the loop only."""

    def __init__(self, rules: Rules) -> None:
        rates = rules.rates
        self.by_address = Buckets(rates.address, rates.names_max)
        self.by_key = Buckets(rates.key, rates.names_max)
        self.by_operator = Buckets(rates.operator, rates.names_max)
        self.trusted = Networks(rates.trusted, "trust-address")
        self._owners: dict[tuple[str, tuple[str, ...]], PublicKey] = {}

    def owner(self, event: Event, tag: tuple[str, ...]) -> PublicKey:
        """Who attested the author, by this `auth` tag. Raises Invalid if nobody did."""
        key = (event.pubkey, tag)
        found = self._owners.get(key)
        if found is None:
            found = identify(event).operator
            # Conditions are about each event; without any, what held once holds.
            read = attestation.from_tags(event.tags)
            if read is not None and not read.conditions:
                if len(self._owners) >= OWNERS_MAX:
                    self._owners.clear()
                self._owners[key] = found
        return found


class Context:
    """For one batch of events; `source` is set anew for each."""

    __slots__ = ("books", "house", "lists", "now_ms", "now_s", "rules", "source")

    def __init__(
        self,
        *,
        now_s: int,
        now_ms: float,
        rules: Rules,
        lists: Lists,
        books: Books,
        house: House,
        source: Source,
    ) -> None:
        self.now_s = now_s
        self.now_ms = now_ms
        """Milliseconds on a clock that never jumps."""
        self.rules = rules
        self.lists = lists
        self.books = books
        self.house = house
        self.source = source


Prepare = Callable[[Event, Context], Awaitable[None]]
"""Reads what policies need to know of an event's author. May raise HanseError."""

Policy = Callable[[Event, Context], None]
"""Raises a HanseError to refuse."""
