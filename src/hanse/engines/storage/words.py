"""Words of events that were kept before there was a search, filled in while the node runs.

`view` row `words`: events up to this number may lack theirs. It goes down to 0, newest events
first; what is appended meanwhile brings its words along.
"""

from hanse.engines.storage.columns import decode_row, searched_text
from hanse.engines.storage.database import Database, Transaction
from hanse.protocol import kinds

VIEW = "words"
STEP = 500
"""Events in one commit."""


async def fill_words(database: Database) -> None:
    """Go on until every event can be found by its words. Nothing to do if they all can."""
    found = await database.one("view_seq", VIEW)
    while found is not None and found[0] > 0:
        found = await database.write(_step)


def _step(tx: Transaction) -> tuple[int]:
    found = tx.one("view_seq", VIEW)
    rows = tx.all("events_up_to", found[0] if found else 0, STEP)
    texts = []
    for seq, json in rows:
        event = decode_row(json)
        if event.kind in kinds.SEARCHED and event.content:
            texts.append((seq, searched_text(event)))
    # Some may have theirs already: a step is safe to repeat.
    tx.many("text_delete", [(seq,) for seq, _ in texts])
    tx.many("text_insert", texts)
    left = rows[-1][0] - 1 if len(rows) == STEP else 0
    tx.all("view_set", VIEW, left)
    return (left,)
