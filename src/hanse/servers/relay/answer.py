"""Answering a REQ from the store: one read, all frames of the answer in one write, then EOSE."""

from collections.abc import Sequence
from typing import Protocol

from hanse.errors import HanseError
from hanse.ports import Clock
from hanse.protocol import kinds, message
from hanse.protocol.event import parse_event
from hanse.protocol.filter import Filter
from hanse.servers.relay.watch import Receiver, Watcher, may_read

ANSWER_BYTES_MAX = 8 << 20
"""Event bytes in one answer: it is built in memory and written at once."""


class StoredRow(Protocol):
    """A stored event as the store hands it out."""

    @property
    def kind(self) -> int: ...
    @property
    def json(self) -> bytes: ...


class Stored(Protocol):
    """What answering needs of a store."""

    def query(
        self, filters: Sequence[Filter], limit: int, now_s: int
    ) -> tuple[Sequence[StoredRow], int]:
        """Stored events that pass, newest first, and the newest sequence number of that same
        snapshot."""


class Answer:
    """Answers stored queries."""

    def __init__(self, store: Stored, clock: Clock, limit_max: int) -> None:
        self._store = store
        self._clock = clock
        self._limit_max = limit_max

    def answer(
        self, receiver: Receiver, subscription: str, filters: tuple[Filter, ...], watcher: Watcher
    ) -> bool:
        """Send what is stored, then EOSE, and let `watcher` go on from there. False if the store
        could not answer: then the client was told CLOSED, and nothing may follow.

        Commits are announced on this same loop, so whatever the snapshot did not hold yet comes
        to the watcher later, with a higher sequence number.
        """
        try:
            rows, watcher.after = self._store.query(filters, self._limit_max, self._clock.now_s())
        except HanseError as exc:
            receiver.send(message.closed(subscription, exc.wire))
            return False
        room = ANSWER_BYTES_MAX
        for row in rows:
            room -= len(row.json)
            if room < 0:
                break  # as with a limit: the client asks on with `until`
            if row.kind in kinds.PRIVATE and not may_read(
                parse_event(row.json), receiver.identities
            ):
                continue
            receiver.send(watcher.prefix + row.json + b"]")
        receiver.send(message.eose(subscription))
        return True
