"""Live delivery: which open subscriptions an event goes to, and in what bytes.

Subscriptions with the same filters form one Group: an event is matched once for all of them. Each
group is indexed under the values of its filters' most selective condition (ids, then tags, authors,
kinds), so that an event looks only at groups that name one of its own values; `Filter.matches` then
decides.

What a group has matched in one turn of the loop leaves together: one joining of bytes and one write
for each subscriber, however many events they are. After a large delivery the next waits until
TICK_S have passed since it began, so that under load more events share a write.

A subscription enters the index when the next event comes: many are closed as soon as they were
answered, and cost nothing here. One whose stored answer is still being read is *late*: what arrives
is held back for it, and so is what the answer may already contain (see `go_on`).
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

import msgspec

from hanse.protocol import kinds, message
from hanse.protocol.event import Event, encode_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.frames import between

TICK_S = 0.002
MANY = 256
"""Deliveries in one turn from which on the next turn waits for its tick."""

NEWS_BYTES_MAX = 1 << 20
"""Event bytes that a group collects before they are sent without waiting for the turn's end."""

UNPLACED_MAX = 2000
"""Values in the filters of subscriptions that are not in the index yet: about 0.3 ms to enter."""

HELD_MAX = 1000
HELD_BYTES_MAX = 4 << 20
"""New events held back for one subscription while its stored answer is read."""

READING = -1


class Receiver(Protocol):
    """A connection that events can go to."""

    @property
    def identities(self) -> frozenset[PublicKey]:
        """The keys it has proved."""

    def deliver(self, frames: bytes) -> None:
        """Write these WebSocket frames."""

    def fell_behind(self, watcher: "Watcher") -> None:
        """Too much is new while this subscription's stored answer is read: end it."""


class Watcher(msgspec.Struct, eq=False):
    """One live subscription of one connection.

    `after` is the newest sequence number that its stored answer covered, or READING. Its group is
    found when the next event comes.
    """

    receiver: Receiver
    subscription: str
    filters: tuple[Filter, ...]
    values: int
    prefix: bytes
    group: "Group | None" = None
    after: int = READING
    held: list[tuple[int | None, bytes]] | None = None
    held_size: int = 0


class Group:
    """All subscriptions with the same filters."""

    __slots__ = ("filters", "late", "members", "news", "news_size")

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self.filters = filters
        self.members: dict[Watcher, None] = {}
        """Those to whom every new event goes."""
        self.late: dict[Watcher, None] | None = None
        """Those still being answered, or answered from a snapshot newer than what was announced."""
        self.news: list[bytes] | None = None
        self.news_size = 0

    def matches(self, event: Event) -> bool:
        """Whether any of the filters does."""
        for found in self.filters:  # noqa: SIM110  any() costs more, and this runs for every event
            if found.matches(event):
                return True
        return False


Index = dict[str, dict[object, Group | dict[Group, None]]]
"""By name of a condition and value: the group, or groups if they are several. A feed of 500 authors
has 500 entries here, so that a set for each would cost."""


class Watch:
    """All live subscriptions of this relay."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Filter, ...], Group] = {}
        self._index: Index = {}
        self._placed = 0
        self._unplaced: dict[Watcher, None] = {}
        self._unplaced_values = 0
        self._announced = 0
        self._fresh: list[Group] = []
        self._next_s = 0.0
        self.delivered = 0
        """Events sent live since the start, each subscriber counted."""

    def __len__(self) -> int:
        return self._placed + len(self._unplaced)

    def add(
        self, receiver: Receiver, subscription: str, filters: tuple[Filter, ...], values: int
    ) -> Watcher:
        """Open a subscription. It holds back what is new until `go_on`. `values`: see
        `values_of`."""
        prefix = message.event_prefix(subscription)
        watcher = Watcher(receiver, subscription, filters, values, prefix)
        self._unplaced[watcher] = None
        self._unplaced_values += values + 1
        while self._unplaced_values > UNPLACED_MAX:
            self._place(next(iter(self._unplaced)))
        return watcher

    def go_on(self, watcher: Watcher, seq: int) -> None:
        """Its stored answer was sent, from a snapshot up to `seq`: send what was held back and is
        newer, and from now on what comes, nothing missed and nothing twice."""
        watcher.after = seq
        held, watcher.held = watcher.held, None
        if held is not None:
            news = [body for at, body in held if at is None or at > seq]
            if news:
                watcher.receiver.deliver(watcher.prefix.join(between(news, len(watcher.prefix))))
                self.delivered += len(news)
        if watcher.group is not None and seq <= self._announced:
            self._join(watcher, watcher.group)

    def drop(self, watcher: Watcher) -> None:
        """Close a subscription, once."""
        group = watcher.group
        if group is None:
            del self._unplaced[watcher]
            self._unplaced_values -= watcher.values + 1
            return
        self._placed -= 1
        if watcher in group.members:
            del group.members[watcher]
        elif group.late is not None:
            del group.late[watcher]
        if not group.members and not group.late:
            del self._groups[group.filters]
            self._remove(group)

    def appended(self, seq: int, event: Event) -> None:
        """Deliver an event that the log just committed. They come in order."""
        if self._unplaced:
            self._place_all()
        self._announced = seq
        self._take(event, seq)

    def passing(self, event: Event) -> int:
        """Deliver an event that is not kept; how many subscriptions it reached."""
        if self._unplaced:
            self._place_all()
        return self._take(event, None)

    def flush(self) -> None:
        """Send what was matched since the last time."""
        began_s = time.monotonic()
        fresh, self._fresh = self._fresh, []
        many = 0
        for group in fresh:
            many += self._send_news(group)
        self.delivered += many
        self._next_s = began_s + TICK_S if many >= MANY else 0.0

    def _place_all(self) -> None:
        for watcher in list(self._unplaced):
            self._place(watcher)

    def _place(self, watcher: Watcher) -> None:
        """Into the group of its filters, and with it into the index."""
        del self._unplaced[watcher]
        self._unplaced_values -= watcher.values + 1
        self._placed += 1
        filters = live_form(watcher.filters)
        group = self._groups.get(filters)
        if group is None:
            group = self._groups[filters] = Group(filters)
            self._enter(group)
        watcher.group, watcher.filters = group, group.filters
        if watcher.after != READING and watcher.after <= self._announced:
            self._join(watcher, group)
        else:
            if group.late is None:
                group.late = {}
            group.late[watcher] = None

    def _enter(self, group: Group) -> None:
        for found in group.filters:
            name, values = key_of(found)
            by_value = self._index.setdefault(name, {})
            for value in values:
                there = by_value.setdefault(value, group)
                if isinstance(there, dict):
                    there[group] = None
                elif there is not group:
                    by_value[value] = {there: None, group: None}

    def _remove(self, group: Group) -> None:
        for found in group.filters:
            name, values = key_of(found)
            by_value = self._index[name]
            for value in values:
                there = by_value.get(value)
                if isinstance(there, dict):
                    there.pop(group, None)
                    if not there:
                        del by_value[value]
                elif there is group:
                    del by_value[value]

    # --- taking an event ------------------------------------------------------------------------

    def _take(self, event: Event, seq: int | None) -> int:
        groups = self._candidates(event)
        if not groups:
            return 0
        body = b""
        reached = 0
        recipients: frozenset[str] | None = None
        if event.kind in kinds.PRIVATE:
            recipients = frozenset(event.values("p"))
        for group in groups:
            if not group.matches(event):
                continue
            body = body or encode_event(event)
            if recipients is not None:
                reached += self._give_in_private(group, body, seq, recipients)
                continue
            if group.late:
                reached += self._give_late(group, group.late, body, seq)
            if group.members:
                reached += len(group.members)
                self._add_news(group, body)
        return reached

    def _candidates(self, event: Event) -> Iterable[Group]:
        found: list[Group] = []
        if not self._groups:
            return found
        index = self._index
        for name, value in (
            ("ids", event.id),
            ("authors", event.pubkey),
            ("kinds", event.kind),
            ("", None),
            *[("#" + tag[0], tag[1]) for tag in event.tags if len(tag) > 1 and len(tag[0]) == 1],
        ):
            if name in index and value in index[name]:
                there = index[name][value]
                if isinstance(there, dict):
                    found += there
                else:
                    found.append(there)
        return found if len(found) < 2 else dict.fromkeys(found)

    def _give_late(
        self, group: Group, late: dict[Watcher, None], body: bytes, seq: int | None
    ) -> int:
        reached = 0
        for watcher in list(late):
            if watcher.after == READING:
                reached += self._hold(watcher, body, seq)
            elif seq is None:
                watcher.receiver.deliver(watcher.prefix.join(between([body], len(watcher.prefix))))
                reached += 1
            elif seq > watcher.after:
                self._join(watcher, group)
        return reached

    def _give_in_private(
        self, group: Group, body: bytes, seq: int | None, recipients: frozenset[str]
    ) -> int:
        """A private kind goes only to a recipient that proved itself."""
        reached = 0
        for watcher in [*group.members, *(group.late or ())]:
            if recipients.isdisjoint(watcher.receiver.identities):
                continue
            if watcher.after == READING:
                reached += self._hold(watcher, body, seq)
            elif seq is None or seq > watcher.after:
                watcher.receiver.deliver(watcher.prefix.join(between([body], len(watcher.prefix))))
                reached += 1
        return reached

    def _hold(self, watcher: Watcher, body: bytes, seq: int | None) -> int:
        held = watcher.held
        if held is None:
            held = watcher.held = []
        held.append((seq, body))
        watcher.held_size += len(body)
        if len(held) > HELD_MAX or watcher.held_size > HELD_BYTES_MAX:
            watcher.receiver.fell_behind(watcher)
            return 0
        return 1

    # --- sending --------------------------------------------------------------------------------

    def _join(self, watcher: Watcher, group: Group) -> None:
        """Among its members: what the group has collected so far is not for this one."""
        if group.news:
            self._send_news(group)
        if group.late is not None:
            group.late.pop(watcher, None)
            if not group.late:
                group.late = None
        group.members[watcher] = None

    def _add_news(self, group: Group, body: bytes) -> None:
        if group.news is None:
            group.news = []
            if not self._fresh:
                self._schedule()
            self._fresh.append(group)
        group.news.append(body)
        group.news_size += len(body)
        if group.news_size > NEWS_BYTES_MAX:
            self._send_news(group)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._next_s - time.monotonic() if self._next_s else 0.0
        if wait_s > 0:
            loop.call_later(wait_s, self.flush)
        else:
            loop.call_soon(self.flush)

    def _send_news(self, group: Group) -> int:
        news, group.news, group.news_size = group.news, None, 0
        if not news:
            return 0
        pieces: dict[int, list[bytes]] = {}
        for watcher in list(group.members):
            prefix = watcher.prefix
            size = len(prefix)
            if size not in pieces:
                pieces[size] = between(news, size)
            watcher.receiver.deliver(prefix.join(pieces[size]))
        return len(news) * len(group.members)


def live_form(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """The filters as live delivery sees them: a limit counts stored events only."""
    for found in filters:
        if found.limit is not None:
            break
    else:
        return filters
    return tuple(msgspec.structs.replace(found, limit=None) for found in filters)


def values_of(filters: tuple[Filter, ...]) -> int:
    """How many values their lists have in all."""
    count = 0
    for found in filters:
        if found.ids is not None:
            count += len(found.ids)
        if found.authors is not None:
            count += len(found.authors)
        if found.kinds is not None:
            count += len(found.kinds)
        for _, values in found.tags:
            count += len(values)
    return count


def key_of(found: Filter) -> tuple[str, Iterable[object]]:
    """Where a filter is indexed: its most selective condition, and the values that pass it."""
    if found.ids is not None:
        return "ids", found.ids
    if len(found.tags) == 1:
        ((letter, wanted),) = found.tags
        return "#" + letter, wanted
    if found.tags:
        letter, wanted = min(found.tags, key=lambda tag: len(tag[1]))
        return "#" + letter, wanted
    if found.authors is not None:
        return "authors", found.authors
    if found.kinds is not None:
        return "kinds", found.kinds
    return "", (None,)
