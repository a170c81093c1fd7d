"""The node's peers: those of its config and those that were added, each with its mirror.

Adding and removing takes effect at once and is remembered. Nodes that share a database share the
list, and each mirrors every peer over a connection of its own: what comes twice is a duplicate, and
when one stops, nobody has to notice. A sync on request runs beside them.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Self
from weakref import WeakValueDictionary

from hanse.engines.peers.link import Link
from hanse.engines.peers.mirror import Mirror, Pace
from hanse.engines.peers.ports import Kept, Notes, Paced, Submit
from hanse.engines.peers.sync import Sync, Tally, holds
from hanse.errors import Conflict, HanseError, Invalid, NotFound, RateLimited
from hanse.protocol import kinds
from hanse.protocol.event import Event, parse_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.peer import Direction, Peer, has_expired, relays_of
from hanse.protocol.session import host_of

PEERS_MAX = 64
SYNCS_MAX = 4
ASK_S = 10.0


class Peers:
    """Owns a task per peer. `async with` starts them and stops them."""

    def __init__(
        self,
        *,
        log: Kept,
        notes: Notes,
        submit: Submit,
        secret: SecretKey,
        hosts: frozenset[str],
        now_s: Callable[[], int],
        jitter: Callable[[], float],
        fixed: Iterable[Peer],
        pace: Pace,
    ) -> None:
        self._log = log
        self._notes = notes
        self._submit = submit
        self._secret = secret
        self._hosts = hosts
        self._now_s = now_s
        self._jitter = jitter
        self._fixed = {found.url: found for found in fixed}
        self._pace = pace
        self._mirrors: dict[str, tuple[Mirror, asyncio.Task[None]]] = {}
        self._pushed_to: list[Mirror] = []
        self._paces: WeakValueDictionary[str, Paced] = WeakValueDictionary()
        self._syncs = 0
        self._turn = asyncio.Lock()
        self._open = False

    async def __aenter__(self) -> Self:
        for found in self._fixed.values():
            self._check(found)
        kept = await self._notes.peers()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        await self._mirror(kept)
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        for _, task in self._mirrors.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        return len(self._mirrors)

    def appended(self, _seq: int, event: Event) -> None:
        """An event entered our log. Costs nothing while no peer is pushed to."""
        for mirror in self._pushed_to:
            mirror.appended(event)

    def statuses(self) -> list[dict[str, Any]]:
        """Every peer, what is shared with it and how it is."""
        return [self._status(url) for url in sorted(self._mirrors)]

    async def add(self, peer: Peer) -> dict[str, Any]:
        """Mirror this peer from now on; one that was added before is changed. Raises Conflict for a
        peer of the config, Invalid for this node itself, TooLarge when there are too many."""
        self._check(peer)
        if peer.url in self._fixed:
            raise _fixed()
        async with self._turn:
            kept = await self._notes.put(peer, PEERS_MAX - len(self._fixed))
            await self._stop(peer.url)
            await self._mirror(kept)
            return self._status(peer.url)

    async def remove(self, url: str) -> None:
        """Mirror it no more, and forget it. Raises NotFound, or Conflict for one of the config."""
        if url in self._fixed:
            raise _fixed()
        async with self._turn:
            if url not in [found.url for found in await self._notes.peers()]:
                raise NotFound("is no peer of this node", field="url")
            await self._mirror(await self._notes.remove(url))

    async def refresh(self) -> None:
        """Take over what was added and removed at other nodes. Raises Unavailable."""
        async with self._turn:
            kept = await self._notes.peers()
            if self._open:  # a sweep goes on until all else has stopped
                await self._mirror(kept)

    async def relays(self, pubkey: PublicKey) -> list[tuple[str, Direction]]:
        """The relays this key names as its own (NIP-65), from our log and our peers. Raises
        NotFound."""
        asked = Filter(kinds=frozenset({kinds.RELAY_LIST}), authors=frozenset({pubkey}))
        found = await self._log.query([asked], limit=1, now_s=self._now_s())
        lists = [parse_event(bytes(row[3])) for row in found.rows]
        urls = list(self._mirrors)
        answers = await asyncio.gather(*(self._ask(url, asked) for url in urls))
        lists += [event for events in answers for event in events]
        lists = [event for event in lists if not has_expired(event, self._now_s())]
        if not lists:
            hint = f"looked here and at {len(urls)} peers"
            raise NotFound("no list of relays (kind 10002) is known", field="from", hint=hint)
        # NIP-01: of one second the lowest id stays.
        return relays_of(min(lists, key=lambda event: (-event.created_at, event.id)))

    async def sync(
        self, url: str, filter: Filter, direction: Direction, tell: Callable[[Tally], None]
    ) -> Tally:
        """Bring our log and a relay's together once. Raises Unavailable, RateLimited when too many
        run, and what Sync raises."""
        self._check(Peer(url=url, filters=(filter,)))
        if self._syncs >= SYNCS_MAX:
            raise RateLimited(f"at most {SYNCS_MAX} syncs run at once")
        self._syncs += 1
        try:
            async with Link(url, self._secret, self._now_s) as link:
                sync = Sync(link, self._log, self._paced(url), direction, self._now_s, tell)
                await sync.run(filter)
                return sync.tally
        finally:
            self._syncs -= 1

    # --- parts ----------------------------------------------------------------------------------

    def _check(self, peer: Peer) -> None:
        if self._is_own(peer):
            raise Invalid.at("url", "is this node itself")

    def _is_own(self, peer: Peer) -> bool:
        return host_of(peer.url) in self._hosts

    def _status(self, url: str) -> dict[str, Any]:
        mirror, _ = self._mirrors[url]
        return mirror.status() | {"source": "config" if url in self._fixed else "added"}

    async def _mirror(self, kept: Iterable[Peer]) -> None:
        """Mirror these and those of the config, as they are now, and no others. One that is this
        node itself another node added: it may, we cannot."""
        wanted = {found.url: found for found in kept if not self._is_own(found)} | self._fixed
        for url, (mirror, _) in list(self._mirrors.items()):
            if wanted.get(url) != mirror.peer:
                await self._stop(url)
        for url, found in wanted.items():
            if url not in self._mirrors:
                self._start(found)

    def _paced(self, url: str) -> Submit:
        """The way in of one peer's events, for its mirror and its syncs."""
        paced = self._paces.get(url)
        if paced is None:
            paced = Paced(self._submit, self._pace.events_per_s, self._pace.events_burst)
            self._paces[url] = paced
        return paced

    def _start(self, peer: Peer) -> None:
        mirror = Mirror(
            peer,
            log=self._log,
            notes=self._notes,
            submit=self._paced(peer.url),
            secret=self._secret,
            now_s=self._now_s,
            jitter=self._jitter,
            pace=self._pace,
        )
        self._mirrors[peer.url] = mirror, self._tasks.create_task(mirror.run())
        if peer.direction.pushes:
            self._pushed_to.append(mirror)

    async def _stop(self, url: str) -> None:
        found = self._mirrors.pop(url, None)
        if found is None:
            return
        mirror, task = found
        if mirror in self._pushed_to:
            self._pushed_to.remove(mirror)
        task.cancel()
        await asyncio.wait([task])

    async def _ask(self, url: str, asked: Filter) -> list[Event]:
        """A peer's answer, of events that hold; nothing if it has none in time, or refuses."""
        try:
            async with asyncio.timeout(ASK_S), Link(url, self._secret, self._now_s) as link:
                found = await link.fetch(asked, 10)
        except (HanseError, TimeoutError):
            return []
        return [event for event in found if holds(event)]


def _fixed() -> Conflict:
    hint = "start the node without that --peer"
    return Conflict("is set in this node's config", field="url", hint=hint)
