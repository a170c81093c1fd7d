"""Where on SQLite the rows lie that find events: in a large part, and a small one for what is new.

Ids and tags come in no order: in one index of all of them, events that enter together share no page
once it is large, and each dirties two or three; authors are little better. So the tables `event_id`
and `tag`, where an author stands as one more tag, begin with a part. What enters goes to the small
one. By the way, slice by slice of its hashes, that moves to the large one: a slice when its turn
has come round again, so that many rows of it share pages there, too. Who looks up has two places to
look into, however large the log is. How new each slice of the large part is at most stands in table
`slice`: who asks for what is newer need not look there.

Nothing depends on when a row moves: it is in one of the two, and looked for in both.
"""

LARGE = 0
SMALL = 1
PARTS = (LARGE, SMALL)

SLICES = 64

SLICE_SHIFT = 58
"""So many of a hash's 64 bits are not the number of its slice in the table of that name."""

EVERY = 4096
"""Events from one slice to the next: so many enter at once. A round of all is 2^18 events, half of
which are in the small part on the average."""


class Slices:
    """Which slice is due, as the one writer knows it."""

    __slots__ = ("_at", "_count", "_every")

    def __init__(self, count: int = SLICES, every: int = EVERY) -> None:
        self._count = count
        self._every = every
        self._at = 0

    def open(self, newest: int) -> None:
        """The tables hold the log up to this number."""
        self._at = newest // self._every

    def due(self, last: int) -> list[tuple[int, int]]:
        """What has to move when events up to this number enter: the first and last of the hashes,
        which are below 2^64. Said once: what a rollback undoes moves a round later."""
        at = last // self._every
        due = range(max(self._at, at - self._count) + 1, at + 1)
        self._at = max(self._at, at)
        return [self._slice(number % self._count) for number in due]

    def _slice(self, number: int) -> tuple[int, int]:
        return (number << 64) // self._count, ((number + 1) << 64) // self._count - 1
