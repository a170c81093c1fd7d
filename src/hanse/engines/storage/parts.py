"""Parts of a large log, on SQLite: what finds events by their ids and tags is divided by number.

Ids and tags come in no order: in one index of all of them, events that enter together share no page
once it is large, and each dirties two or three. So the tables `event_id` and `tag` begin with the
part of the log, a million events long, that the event is in. What enters goes to the last part, and
costs the same however many are before it. Who looks up has to look into each of them.
"""

BITS = 20
"""An event's part is its number without so many bits. Written into databases."""


class Parts:
    """How many parts one database has, for statements that name each of them."""

    __slots__ = ("bits", "count")

    def __init__(self, bits: int = BITS) -> None:
        self.bits = bits
        self.count = 1

    def of(self, seq: int) -> int:
        """The part of the event with that number."""
        return seq >> self.bits

    def reach(self, seq: int) -> None:
        """The tables will hold the log up to this number. To be said before that is committed; and
        a part is listed when the one before it has a quarter left: nobody meets one that is not."""
        count = self.of(seq + (1 << self.bits) // 4) + 1
        if count > self.count:
            self.count = count
