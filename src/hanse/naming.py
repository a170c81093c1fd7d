"""A node's part in handles: the names it serves, and the look-ups it makes for agents."""

from collections.abc import Mapping
from typing import NamedTuple

from hanse.config import Config
from hanse.engines.storage.database import Database
from hanse.engines.storage.handles import StoredHandles
from hanse.engines.web.domains import WebDomains
from hanse.identity.resolver import Resolver
from hanse.identity.service import Names
from hanse.ports import Clock, Log
from hanse.protocol.handle import ROOT
from hanse.protocol.keys import PublicKey
from hanse.protocol.session import host_of
from hanse.servers.relay.lists import Lists
from hanse.trust.service import Trust


class Place(NamedTuple):
    """Whose node it is, and where agents reach it."""

    config: Config
    operator: PublicKey
    agents: Mapping[str, PublicKey]
    url: str


def names(
    place: Place,
    database: Database,
    log: Log,
    clock: Clock,
    trust: Trust,
    lists: Lists,
) -> Names:
    """The handles at a node; `lists` are the relay's."""
    config, operator, agents, url = place
    return Names(
        store=StoredHandles(database),
        log=log,
        clock=clock,
        operator=operator,
        own={ROOT: operator, **agents},
        domain=host_of(url),
        terms=config.handle_terms,
        standing=trust.standings,
        is_barred=lambda key: key in lists.denied_keys,
    )


def resolver(place: Place, names: Names, clock: Clock, hosts: frozenset[str]) -> Resolver:
    """Look-ups, here and at other domains."""
    domains = WebDomains(place.config.near)
    return Resolver(names=names, domains=domains, clock=clock, hosts=hosts, url=place.url)
