"""What the storage's operations may rely on, whichever engine runs them.

An operation is a plain function over a `Transaction`. `Database.write` runs it in the next commit,
`Database.read` over one state of the data; neither says on which engine. Queries go by name
(`queries/*.sql`); only what `filter_sql` builds goes as text.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from hanse.counters import Commits
from hanse.engines.storage.filter_sql import Dialect
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Run, Tail
from hanse.errors import HanseError, Unavailable
from hanse.protocol.event import Event

_log = logging.getLogger("hanse.storage")

P = ParamSpec("P")
T = TypeVar("T")

Row = tuple[Any, ...]
Reader = Callable[[int, Event], None]

REMEMBERED_MAX = 100_000

QUEUE_MAX = 20_000
"""Operations waiting to be written; beyond it new ones are refused, not queued."""

BATCH_MAX = 512
"""Operations in one commit: bounds how long the first one waits for the last."""


SPAN = 20_000
"""Events of other kinds that a view passes over in one commit: some milliseconds."""


class ConstraintBroken(Exception):
    """The database itself refused a row: a CHECK, a unique index, a trigger."""


class Transaction(Protocol):
    """What an operation may do: run named queries, and say which events it appended."""

    @property
    def remembered(self) -> dict[str, int]:
        """Numbers that hold until a rollback, by name; at most REMEMBERED_MAX."""

    @property
    def appended(self) -> list[tuple[int, Event]]:
        """What this transaction appended to the log, in order."""

    def all(self, name: str, *params: Any) -> list[Row]:
        """Run a named query, all rows. Raises ConstraintBroken."""

    def one(self, name: str, *params: Any) -> Row | None:
        """Run a named query, its first row or None. Raises ConstraintBroken."""

    def many(self, name: str, rows: Sequence[Row]) -> None:
        """Run a named query once per row. Raises ConstraintBroken."""

    def among(self, name: str, values: Iterable[Any]) -> list[Row]:
        """Run a named query whose one parameter is a list, written `IN ($values)`."""

    def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """Run what `filter_sql` built."""

    @property
    def defers(self) -> bool:
        """Whether it keeps events aside: then what it answers is as if they were in the tables."""

    def defer(self, run: Run) -> None:
        """Keep this aside: on disk with this commit, in the tables with a later one."""

    def known_among(self, ids: list[bytes]) -> set[bytes]:
        """Which of these ids are kept, in the tables or aside."""

    def enter(self, rows: Sequence[Row], tags: Sequence[Row], hash: TagHash) -> None:
        """Put events into the tables, as `Run` has them: at least one, in their order."""

    def leave(
        self, events: Sequence[tuple[int, Event]], tags: Sequence[Row], hash: TagHash
    ) -> None:
        """Take events and their tags, (hash, created_at, seq), out of the tables."""

    def author(self, pubkey: bytes, hash: TagHash) -> Any:
        """What queries of an author's events take for the author."""

    def after(
        self, seq: int, kinds: Collection[int], most: int
    ) -> tuple[list[tuple[int, Event]], int, bool]:
        """For views that follow the log: the next events of these kinds in its order, about so many
        at most, whether they are in the tables or aside; up to which number that is all; whether to
        go on from there."""

    def settle(self) -> None:
        """Put into the tables what is kept aside: before anything that has to find it there."""

    def resume(self, hash: TagHash) -> int:
        """Take up what an earlier process kept aside. Returns the log's newest number."""


class Database(Protocol):
    """One engine: keeps, reads, and tells what was appended."""

    @property
    def dialect(self) -> Dialect:
        """How `filter_sql` must write for it."""

    @property
    def reads_wait(self) -> bool:
        """Whether every read waits for another process. If not, most end on the spot, and may be
        begun outside a task."""

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in the next commit; its result, once that is on disk.

        Raises what the operation raised (then it changed nothing), Unavailable if the disk refuses,
        Closed after the end.
        """

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a reading operation over one state of the data. Raises TooBroad when it takes longer
        than the engine's budget, Unavailable if the database refuses."""

    async def read_aside(
        self,
        operation: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `read`, for what an engine may not be able to stop soon: never on the loop."""

    async def all(self, name: str, *params: Any) -> list[Row]:
        """Run one named reading query, all rows. Raises as `read` does."""

    async def one(self, name: str, *params: Any) -> Row | None:
        """Run one named reading query, its first row or None. Raises as `read` does."""

    async def select(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """Run one statement that `filter_sql` built. Raises as `read` does."""

    def select_now(self, sql: str, params: Sequence[Any]) -> list[Row] | None:
        """The same on the spot; None if it would take long, or must wait. Raises Closed."""

    def may_have(self, ids: Collection[str]) -> bool:
        """Whether any event with one of these ids may be in the tables: no is certain, for all that
        was moved there before what is aside was last asked."""

    @property
    def commits(self) -> Commits:
        """What the commits so far were like."""

    async def size_bytes(self) -> int:
        """Bytes that all of it takes on disk; 0 if it is not on one."""

    async def used_bytes(self) -> int | None:
        """Bytes of it that hold something; None if the engine cannot tell."""

    async def append(self, events: list[Event], hash: TagHash) -> list[int | HanseError | None]:
        """`append.append_all` in the next commit. Raises as `write` does."""

    @property
    def tail(self) -> Tail:
        """What was announced and is kept aside: reads see only what is in the tables."""

    async def settle(self, *, queued: bool = False) -> None:
        """Return once what was appended until now is in the tables; `queued`: with it what waits
        for its commit. Raises Unavailable."""

    def follow(self, reader: Reader) -> None:
        """Call `reader(seq, event)` on the loop for every appended event, after its commit, in
        order, whichever node appended it."""

    def tell(self, teller: Callable[[int], None]) -> None:
        """Call `teller(seq)` after each commit of this node that appended events up to `seq`."""

    def look(self, seq: int) -> None:
        """Another node says that the log has reached `seq`."""


def tell(followers: Sequence[Reader], seq: int, event: Event) -> None:
    """Tell all who follow the log. What one of them cannot take is no reason for a writer to end:
    the commit stands, and its callers wait to hear so."""
    for reader in followers:
        try:
            reader(seq, event)
        except Exception:  # whatever it is, it is that reader's
            _log.exception("a reader of the log failed at %d", seq)


class Job:
    """An operation that waits for its commit."""

    __slots__ = ("error", "future", "moves", "operation", "result")

    def __init__(
        self,
        operation: Callable[[Transaction], Any],
        future: "asyncio.Future[Any] | None",
        *,
        moves: bool = False,
    ) -> None:
        self.moves = moves
        """Whether what is kept aside should move into the tables before."""
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def finish(self) -> None:
        """Tell whoever waits how it ended. On the loop."""
        if self.future is None or self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(refusal(self.error))


def refusal(error: BaseException) -> BaseException:
    """What went wrong inside an operation, in our words: an error of ours stays as it is."""
    if isinstance(error, HanseError) or not isinstance(error, Exception):
        return error
    found = Unavailable(f"the database refused: {error}")
    found.__cause__ = error
    return found
