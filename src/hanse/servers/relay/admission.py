"""Admission: which events may enter, as a list of small policies.

A policy is a function `(event, context) -> None` that raises what it refuses with. In order:

    on arrival      rate of the address                       no parsing for who is too fast
    before the      size, kind, denied, time, marks,          2 µs; a signature costs 30. They
    signature       contents, work of strangers               change nothing
    after it        work of agents, membership, offers,       the author is known; on the loop
                    evidence, rate of key and operator,
                    the operator's own

What is refused before the signature check is the message that came: the answer blames nobody whose
name it only bears, and takes nothing from their share. What is refused after it as too much may be
spam, and is counted (`blamed`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hanse.errors import Blocked, HanseError, RateLimited, Restricted, WorkNeeded
from hanse.ports import Clock
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.registry.offer_event import read_offer
from hanse.servers.relay.addresses import Networks, counted, origin
from hanse.servers.relay.context import Books, Context, House, Policy, Prepare, Sender, Source
from hanse.servers.relay.lists import Lists
from hanse.servers.relay.policies.contents import contents
from hanse.servers.relay.policies.shape import EARLY
from hanse.servers.relay.policies.standing import (
    bearer_of,
    membership,
    rate,
    too_fast,
    work_of_agents,
    work_of_strangers,
)
from hanse.servers.relay.rules import Rules
from hanse.trust.appeal import read_appeal
from hanse.trust.attestation import is_attestation, read_attestation
from hanse.trust.endorsement import read_endorsement
from hanse.trust.rotation import check_fresh, read_statement

SPAM: Final = (RateLimited, WorkNeeded, Blocked)
"""Refusals by a late policy that count as spam: too fast, without work, or what the operator's own
rule does not want. Mistakes and closed doors do not."""

Blame = Callable[[PublicKey], None]


def offers_hold(event: Event, context: Context) -> None:
    """An offer must be one: schemas, prices and promises are checked before anybody can find it."""
    if event.kind == kinds.OFFER:
        read_offer(event)


def evidence_holds(event: Event, context: Context) -> None:
    """What trust is computed from must hold by its kind's rules; a key statement must be fresh, but
    from a peer, whose log is copied."""
    if event.kind == kinds.ATTESTATION:
        if is_attestation(event):
            read_attestation(event, context.now_s)
    elif event.kind == kinds.ENDORSEMENT:
        read_endorsement(event)
    elif event.kind == kinds.APPEAL:
        read_appeal(event)
    elif event.kind == kinds.KEY_STATEMENT:
        read_statement(event)
        if context.source.door != "peer":
            check_fresh(event, context.now_s)


class Admission:
    """The policies of one relay, in order, and what they share. Policies that its settings never
    need are left out."""

    def __init__(
        self,
        *,
        rules: Rules,
        lists: Lists,
        house: House,
        clock: Clock,
        more: Sequence[Policy] = (),
        prepare: Prepare | None = None,
        blame: Blame | None = None,
    ) -> None:
        self.rules = rules
        self.lists = lists
        self.house = house
        self.prepare = prepare
        """What must be read before the late policies can look at an event, if anything."""
        self._blame = blame
        self._clock = clock
        self._books = Books(rules)
        self._proxies = Networks(rules.rates.proxies, "proxy")
        works, closed = rules.work.bits > 0, rules.members.only
        self.early: tuple[Policy, ...] = (
            *EARLY,
            contents,
            *((work_of_strangers,) if works else ()),
        )
        self.late: tuple[Policy, ...] = (
            *((work_of_agents,) if works else ()),
            *((membership,) if closed else ()),
            offers_hold,
            evidence_holds,
            rate,
            *more,
        )

    def context(self, source: Source) -> Context:
        """What the policies look at, as of now."""
        return Context(
            now_s=self._clock.now_s(),
            now_ms=self._clock.monotonic_ms(),
            rules=self.rules,
            lists=self.lists,
            books=self._books,
            house=self.house,
            source=source,
        )

    def refused(self, event: Event, reason: HanseError, context: Context) -> None:
        """A late policy refused this; who sent it is charged if that was spam."""
        if self._blame is not None and isinstance(reason, SPAM):
            bearer = bearer_of(event, context)
            if bearer is not None:
                self._blame(bearer)

    def arrive(self, source: Source, count: int = 1) -> None:
        """One event, or what costs as much as `count`, came from there. Raises RateLimited. Peers
        have a pace of their own."""
        books = self._books
        if source.door == "peer" or books.trusted.has(source.address):
            return
        wait = books.by_address.take(counted(source.address), self._clock.monotonic_ms(), count)
        if wait:
            raise too_fast(wait, self.rules.rates.address, "address")

    def reads(self, peer: str, count: int = 1) -> None:
        """One request to read, or one that costs as much as `count`, came from this peer by HTTP,
        where there is no connection to bound. Raises Restricted for a denied address, RateLimited
        as for an event."""
        source = Sender(self.origin(peer, None))
        if source.address in self.lists.denied_addresses:
            raise Restricted("this address may not read", field="address")
        self.arrive(source, count)

    def stays(self, peer: str, keys: Iterable[PublicKey]) -> None:
        """Whether who came from this peer with these keys may go on. Raises Blocked."""
        if self.origin(peer, None) in self.lists.denied_addresses:
            raise Blocked("this address may not read here", field="address")
        if any(key in self.lists.denied_keys for key in keys):
            raise Blocked("this key was banned here", field="Authorization")

    def origin(self, peer: str, forwarded: str | None) -> str:
        """See `addresses.origin`."""
        return origin(peer, forwarded, self._proxies)

    def is_proxy(self, address: str) -> bool:
        """Whether this is a proxy of ours: what comes from there comes from others."""
        return self._proxies.has(address)
