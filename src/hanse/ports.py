"""What the inside asks of the outside: time, and the way to others.

Each is a small Protocol; engines and fakes implement them, `node.py` joins them. What a single
room needs kept stands in that room's `store.py`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from hanse.errors import HanseError
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import PublicKey

SOON_S = 0.5
"""How long what nobody waits for may take to reach a view of the log (`views.View.due_s`): each
pass of the views interrupts what moves into the tables (`engines/storage/tail.py`)."""


class Clock(Protocol):
    """The time, so that nothing inside reads it by itself."""

    def now_s(self) -> int:
        """Unix seconds, as events carry them."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic_ms(self) -> float:
        """Milliseconds on a clock that never jumps, for measuring."""


class Verifier(Protocol):
    """Checks many signatures off the event loop."""

    def check(self, packed: Sequence[bytes]) -> Awaitable[bytes]:
        """For each `protocol.event.packed` one byte, as `signature.verify_packed` gives it."""


class Presence(Protocol):
    """Who is connected and has proved it."""

    def is_present(self, pubkey: PublicKey) -> bool:
        """Whether somebody with this key is connected now, to any node of the cluster."""

    def keys(self) -> Iterable[PublicKey]:
        """Everybody who is connected, to any node of the cluster; some may be named twice."""

    @property
    def turn(self) -> int:
        """A number that grows whenever `keys` changes: who remembers them need not ask again."""

    def arrive(self, pubkey: PublicKey) -> None:
        """One more connection proved this key."""

    def leave(self, pubkey: PublicKey) -> None:
        """One connection that had proved this key ended."""


class Attendance(Presence, Protocol):
    """Presence, with the news of who leaves."""

    def when_gone(self, tell: Callable[[PublicKey], None]) -> None:
        """Call `tell(key)` whenever a key's last connection ends."""

    def __len__(self) -> int:
        """How many keys are connected to this node."""


Listener = Callable[[Event], int]
"""Takes an event and says to how many it went on."""


class Bus(Protocol):
    """Carries events to whoever listens now; keeps none."""

    def publish(self, event: Event) -> int:
        """Hand an event to every listener; how many receivers it reached."""

    def listen(self, listener: Listener) -> None:
        """Hear every event published from now on, at this node or at another of its cluster."""

    def listen_here(self, listener: Listener) -> None:
        """Hear what is published at this node: for what must be done once, by one node."""


class Latch(Protocol):
    """Lets many wait for one thing to be done (asyncio.Event is one)."""

    def set(self) -> None:
        """It is done: all who wait go on."""

    async def wait(self) -> object:
        """Wait until it is done."""


class Answered:
    """A reply arrived in time."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event


class TimedOut:
    """The deadline came first."""


class Absent:
    """Nobody with that key is connected."""


class Gone:
    """They were connected, took the request, and left without answering."""


class Stopped:
    """This node stops, and waits no longer: it says nothing about them."""


Reply = Answered | TimedOut | Absent | Gone | Stopped


class Courier(Protocol):
    """Carries one request to a connected key and waits for its answer."""

    async def ask(self, request: Event, to: PublicKey, timeout_ms: float) -> Reply:
        """Deliver `request` and wait at most `timeout_ms`. Only an event by `to` whose `e` tag
        names the request counts as an answer."""

    def stop(self) -> None:
        """Wait no longer: whatever is asked now, or later, ends as Stopped."""


Row = tuple[int, int, bytes, bytes]
"""A stored event: sequence number, created_at, id (32 bytes), its own JSON."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """The answer to a query. `rows` newest first (created_at descending, id ascending), or for one
    filter with a `search` the best match first (NIP-50), each once;
    `seq` is the newest sequence number of that snapshot; `more` says that some filter had more rows
    than its limit."""

    rows: list[Row]
    seq: int
    more: bool


class Log(Protocol):
    """The signed log: appends events, tells what it appended, and answers filters.

    Private kinds are left out of every answer unless p-tagged to a key in `reader`. A read that
    would take more work than its budget raises TooBroad; one that cannot be done now, Unavailable.
    """

    @property
    def reads_wait(self) -> bool:
        """Whether every read waits for another process. If not, most end on the spot, and may be
        begun outside a task."""

    async def append_many(self, events: list[Event]) -> list[int | HanseError | None]:
        """Keep checked events. For each, in order: its sequence number, None if it was here
        already, or the rule that refuses it. On return all that were kept are on disk."""

    def follow(self, reader: Callable[[int, Event], None]) -> None:
        """Call `reader(seq, event)` for each event after it was committed, in order."""

    async def query(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = frozenset(),
    ) -> Found:
        """Events that pass any filter; at most `limit` for each, or its own limit if smaller."""

    def at_once(
        self,
        filters: Sequence[Filter],
        *,
        limit: int,
        now_s: int,
        reader: frozenset[PublicKey] = frozenset(),
    ) -> Found | Coroutine[Any, Any, Found]:
        """`query`, on the spot if it need not wait; otherwise what is left to be awaited."""

    async def count(
        self,
        filters: Sequence[Filter],
        *,
        now_s: int,
        reader: frozenset[PublicKey] = frozenset(),
    ) -> int:
        """How many events pass any filter; their limits do not matter."""

    async def pubkeys(
        self,
        filter: Filter,
        *,
        now_s: int,
        reader: frozenset[PublicKey] = frozenset(),
        limit: int,
    ) -> list[bytes]:
        """The authors (32 bytes) of at most `limit` events that pass."""

    async def outline(
        self,
        filter: Filter,
        *,
        now_s: int,
        reader: frozenset[PublicKey] = frozenset(),
        limit: int,
    ) -> list[tuple[int, bytes]]:
        """(created_at, id) of at most `limit` events that pass."""

    async def event(self, id: str) -> Event | None:
        """One event by id."""

    async def total(self) -> int:
        """How many events are kept."""

    async def last_seq(self) -> int:
        """The newest sequence number."""
