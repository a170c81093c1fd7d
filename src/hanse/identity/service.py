"""Handles at this node: given by the operator, claimed by others, kept alive, left behind.

A claimed name lives for LIFE_S after the last sign of life of its key: any event of it in the log,
looked for when the name would lapse, so nothing is done for each event. Then it is not answered any
more, and waits GRACE_S for its key.

A name belongs to an identity: it is kept under the key that came first and told as the one that
speaks for it now, so that a rotation that is undone leaves nothing behind.
"""

from collections.abc import Callable, Mapping

import msgspec

from hanse.errors import Conflict, NotFound, Restricted, WorkNeeded
from hanse.identity.model import (
    FORWARD_S,
    FREE_LEVEL,
    GRACE_S,
    LIFE_S,
    Terms,
    check_claimable,
    most_of,
)
from hanse.identity.statement import Statement, check_fresh, read_statement
from hanse.identity.store import HandleStore, Standing
from hanse.ports import Clock, Log
from hanse.protocol import kinds, work
from hanse.protocol.event import Event, encode_event, parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.handle import Handle, is_handle_name, shape
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import Principal, identify

SWEPT_MAX = 100
"""Lapsed names looked at in one sweep."""


class Names:
    """The handles of one node. `own` are those of the operator's own agents; `domain` is what
    stands behind the `@`."""

    def __init__(
        self,
        *,
        store: HandleStore,
        log: Log,
        clock: Clock,
        operator: PublicKey,
        own: Mapping[str, PublicKey],
        domain: str,
        terms: Terms,
        standing: Standing,
        is_barred: Callable[[PublicKey], bool],
    ) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._operator = operator
        # An agent may have a name that no reader could ask for: it has no handle then.
        self.own = {name: key for name, key in own.items() if is_handle_name(name)}
        self._own_shapes = {shape(name): key for name, key in self.own.items()}
        self.domain = domain
        self.terms = terms
        self._standing = standing
        self._is_barred = is_barred

    async def handle(self, name: str) -> Handle | None:
        """One by its name, if it lives."""
        found = await self._store.handle(name)
        if found is None:
            return None
        if found.until_s and found.until_s <= self._clock.now_s():
            found = await self._revived(found)
        return self._told(found) if found is not None else None

    def _told(self, found: Handle) -> Handle | None:
        """A name with the key that speaks for it now; None if none does."""
        heir = self.current(found.pubkey)
        if not self._standing.standing(self._operator, heir):
            return None
        if found.statement and parse_event(found.statement).pubkey != heir:
            found = msgspec.structs.replace(found, moved="", statement=b"")
        return msgspec.structs.replace(found, pubkey=heir)

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""
        return self._standing.current(key)

    async def answer(self, name: str) -> Handle | None:
        """As `handle`, and the operator's own agents'."""
        found = await self.handle(name)
        if found is None and name in self.own:
            return Handle(name, self.own[name])
        return found

    async def profile(self, pubkey: PublicKey) -> Event | None:
        """A key's newest profile (kind 0) in the log."""
        key = frozenset({pubkey})
        asked = Filter(authors=key, kinds=frozenset({kinds.PROFILE}), limit=1)
        rows = (await self._log.query([asked], limit=1, now_s=self._clock.now_s())).rows
        return parse_event(rows[0][3]) if rows else None

    async def handles(self) -> list[Handle]:
        """All that are kept, by name."""
        return await self._store.handles()

    async def shown_terms(self) -> dict[str, object]:
        """On which terms a name can be claimed now."""
        return self.terms.shown(self.domain, await self._store.claimed())

    async def add(self, handle: Handle) -> None:
        """Keep one that the operator gives. Raises Conflict, TooLarge."""
        await self._store.add(handle)

    async def remove(self, name: str) -> bool:
        """Take one away, whoever has it; False if there is none."""
        return await self._store.remove(name)

    async def release(self, name: str, who: Principal) -> None:
        """Give a name back, by its key or who answers for it. Raises Restricted."""
        found = await self._store.handle(name)
        theirs = () if found is None else (found.pubkey, PublicKey(found.operator))
        if who.agent not in map(self.current, theirs):
            raise Restricted("is not yours: its key gives it back, or who answers", field="name")
        await self._store.remove(name)

    async def state(self, event: Event) -> Handle:
        """Take what a key says about a handle here: that it claims it, or has moved. Raises
        Invalid, Stale, Restricted, WorkNeeded, Conflict, TooLarge."""
        said, who = read_statement(event), identify(event)
        check_fresh(event, self._clock.now_s())
        if said.handle.domain != self.domain:
            raise NotFound(f"{said.handle.domain} is not this node's", field="statement.d")
        for key in {event.pubkey, who.operator}:
            if self._is_barred(key) or not self._standing.standing(self._operator, key):
                raise Restricted("this key is barred, or was given up", field="statement.pubkey")
        known = await self._store.handle(said.handle.name)
        mine = known is not None and self.current(known.pubkey) == event.pubkey
        mine = mine or (known is None and self.own.get(said.handle.name) == event.pubkey)
        if said.moved is not None and not mine:
            raise Restricted("only the key that has a handle moves it", field="statement.d")
        level = self._level(who)
        if known is not None and not mine:
            raise Conflict("is another key's", field=f"handle {known.name}")
        if not mine:
            await self._check_new(said, level)
        handle = self._held(said, who, known)
        await self._store.claim(handle, most_of(level))
        return handle

    def _held(self, said: Statement, who: Principal, known: Handle | None) -> Handle:
        now_s, event = self._clock.now_s(), said.event
        for_good = known is not None and not known.until_s
        life_s = LIFE_S if said.moved is None else FORWARD_S
        return Handle(
            name=said.handle.name,
            pubkey=event.pubkey if known is None else known.pubkey,
            operator=who.operator if known is None or not for_good else known.operator,
            until_s=0 if for_good else now_s + life_s,
            moved=str(said.moved or ""),
            said_s=event.created_at,
            statement=encode_event(event),
        )

    async def _check_new(self, said: Statement, level: int) -> None:
        """Whether a key that has not the name may have it."""
        name, event = said.handle.name, said.event
        if not self.terms.open and level < 4:
            raise Restricted(
                "names are not claimed here", field="handles", hint="ask its operator for one"
            )
        check_claimable(name)
        if self._own_shapes.get(shape(name), event.pubkey) != event.pubkey:
            raise Conflict("is, or looks like, one of the operator's own", field=f"handle {name}")
        if level < FREE_LEVEL:
            bits = self.terms.bits_now(await self._store.claimed())
            missing = work.shortfall(event.id, event.tags, bits)
            if missing is not None:
                raise WorkNeeded(
                    f"level {max(1, level)} claims a name with {bits} bits of work: {missing}",
                    field="statement.nonce",
                    hint=f"mine {bits} bits (NIP-13), or reach level {FREE_LEVEL}: have three "
                    "operators whom this node's trusts vouch for you",
                )

    def _level(self, who: Principal) -> int:
        if who.operator == self._operator:
            return 4
        return self._standing.level(self._operator, who.operator)

    # --- living -------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Free the names whose time to come back is over; how many."""
        gone = 0
        for found in await self._store.lapsed(self._clock.now_s() - GRACE_S, SWEPT_MAX):
            if await self._revived(found) is None:
                gone += await self._store.remove(found.name)
        return gone

    async def _revived(self, found: Handle) -> Handle | None:
        """A lapsed name whose key wrote something since, renewed; else None."""
        if found.moved:
            return None  # where a key went is told for a time, whatever it does there
        now_s = self._clock.now_s()
        authors = frozenset({found.pubkey, self.current(found.pubkey)})
        asked = Filter(authors=authors, limit=1)
        rows = (await self._log.query([asked], limit=1, now_s=now_s)).rows
        until_s = min(rows[0][1], now_s) + LIFE_S if rows else 0
        if until_s <= now_s:
            return None
        await self._store.renew(found.name, found.pubkey, until_s)
        return found
