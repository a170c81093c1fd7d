"""Live delivery: which open subscriptions an event goes to.

Each filter is indexed under the values of its most selective condition (ids, then tags, authors,
kinds), so an event looks only at subscriptions that name one of its own values. `Filter.matches`
then decides.
"""

from collections.abc import Iterable
from typing import Protocol

from hanse.protocol import kinds, message
from hanse.protocol.event import Event, encode_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

Key = tuple[str, object]
ANY: Key = ("any", None)


class Receiver(Protocol):
    """A connection that events can go to."""

    @property
    def identities(self) -> set[PublicKey]:
        """The keys it has proved."""

    def send(self, text: bytes) -> None:
        """Queue one message for writing."""


class Watcher:
    """One live subscription of one connection. `after` is the newest sequence number that its
    stored answer covered: live delivery goes on from there, with nothing missed or sent twice."""

    __slots__ = ("after", "filters", "keys", "prefix", "receiver")

    def __init__(self, receiver: Receiver, subscription: str, filters: tuple[Filter, ...]) -> None:
        self.receiver = receiver
        self.filters = filters
        self.prefix = message.event_prefix(subscription)
        self.keys = frozenset(key for found in filters for key in keys_of(found))
        self.after = 0


class Watch:
    """All live subscriptions of this relay."""

    def __init__(self) -> None:
        self._index: dict[Key, set[Watcher]] = {}
        self._by_name: dict[tuple[Receiver, str], Watcher] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def add(self, receiver: Receiver, subscription: str, filters: tuple[Filter, ...]) -> Watcher:
        """Open a subscription; one of the same name is replaced."""
        self.drop(receiver, subscription)
        watcher = Watcher(receiver, subscription, filters)
        self._by_name[receiver, subscription] = watcher
        for key in watcher.keys:
            self._index.setdefault(key, set()).add(watcher)
        return watcher

    def drop(self, receiver: Receiver, subscription: str) -> None:
        """Close a subscription, if it is open."""
        watcher = self._by_name.pop((receiver, subscription), None)
        if watcher is None:
            return
        for key in watcher.keys:
            found = self._index[key]
            found.discard(watcher)
            if not found:
                del self._index[key]

    def appended(self, seq: int, event: Event) -> None:
        """Deliver an event that the log just committed."""
        self._deliver(event, seq)

    def passing(self, event: Event) -> int:
        """Deliver an event that is not kept; how many subscriptions it reached."""
        return self._deliver(event, None)

    def _deliver(self, event: Event, seq: int | None) -> int:
        raw = b""
        reached = 0
        for watcher in self._candidates(event):
            if seq is not None and seq <= watcher.after:
                continue
            if not may_read(event, watcher.receiver.identities):
                continue
            if not any(found.matches(event) for found in watcher.filters):
                continue
            raw = raw or encode_event(event) + b"]"
            watcher.receiver.send(watcher.prefix + raw)
            reached += 1
        return reached

    def _candidates(self, event: Event) -> Iterable[Watcher]:
        found: dict[Watcher, None] = {}
        for key in event_keys(event):
            for watcher in self._index.get(key, ()):
                found[watcher] = None
        return list(found)


def may_read(event: Event, identities: set[PublicKey]) -> bool:
    """A private kind goes only to a recipient that proved itself."""
    if event.kind not in kinds.PRIVATE:
        return True
    return any(PublicKey(found) in identities for found in event.values("p"))


def keys_of(found: Filter) -> list[Key]:
    """Where a filter is indexed: the values of its most selective condition."""
    if found.ids is not None:
        return [("id", id) for id in found.ids]
    if found.tags:
        letter, wanted = min(found.tags, key=lambda tag: len(tag[1]))
        return [("#" + letter, value) for value in wanted]
    if found.authors is not None:
        return [("author", author) for author in found.authors]
    if found.kinds is not None:
        return [("kind", kind) for kind in found.kinds]
    return [ANY]


def event_keys(event: Event) -> Iterable[Key]:
    """Every key a matching filter could be indexed under."""
    yield ("id", event.id)
    yield ("author", event.pubkey)
    yield ("kind", event.kind)
    yield ANY
    for tag in event.tags:
        if len(tag) > 1 and len(tag[0]) == 1:
            yield ("#" + tag[0], tag[1])
