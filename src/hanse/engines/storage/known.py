"""Which ids may be in the tables: a Bloom filter (Bloom, 1970), so that for a new event, and nearly
all are new, nobody looks into an index that has long outgrown the caches.

It says "perhaps" of every id that is there and of 1 in 70 that are not: then the index is asked.
Readers who ask for an id that is nowhere, as most relays are asked for most ids, hear so from it.
Made anew whenever a database is opened, in a thread and a page at a time; until that is done
everything is "perhaps". Removed events stay in it. 2 to 4 bytes for each event.
"""

import logging
import struct
import threading
from collections.abc import Iterable

import apsw

from hanse.engines.storage.database import Row
from hanse.engines.storage.parts import SMALL
from hanse.engines.storage.sqlite_transaction import SqliteTransaction, connect

_log = logging.getLogger("hanse.storage")

BITS_EACH = 16
"""With two of them set for each id."""
LEAST = 1 << 20
"""Ids that the smallest filter is for: 2 MiB, of which an empty one takes nothing."""
PAGE = 4096
PAUSE_S = 0.002
"""Between two pages of ids: what is being done meanwhile comes first."""

_two = struct.Struct("<II").unpack_from


class _Layer:
    """A filter for so many ids."""

    __slots__ = ("bits", "left", "mask")

    def __init__(self, ids: int) -> None:
        self.left = 1 << (max(ids, LEAST) - 1).bit_length()
        self.bits = bytearray(self.left * BITS_EACH // 8)
        self.mask = self.left * BITS_EACH - 1

    def add(self, ids: Iterable[bytes]) -> None:
        bits, mask = self.bits, self.mask
        for id in ids:
            first, second = _two(id)
            first &= mask
            second &= mask
            bits[first >> 3] |= 1 << (first & 7)
            bits[second >> 3] |= 1 << (second & 7)
            self.left -= 1

    def has(self, id: bytes) -> bool:
        bits, mask = self.bits, self.mask
        first, second = _two(id)
        first &= mask
        second &= mask
        return bool(bits[first >> 3] >> (first & 7) & bits[second >> 3] >> (second & 7) & 1)


class Known:
    """The ids of one database. One thread adds, others may ask meanwhile."""

    def __init__(self) -> None:
        self._layers = [_Layer(LEAST)]
        self._filled = False
        self._adding = threading.Lock()
        """Held by who adds a layer."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def filled(self) -> bool:
        """Whether all that was there when it was opened is in it."""
        return self._filled

    def add(self, ids: Iterable[bytes]) -> None:
        """These are about to enter the tables."""
        newest = self._layers[-1]
        newest.add(ids)
        if newest.left <= 0:
            with self._adding:
                self._layers = [*self._layers, _Layer(len(newest.bits) * 8 // BITS_EACH * 2)]

    def possible(self, ids: list[bytes]) -> list[bytes]:
        """Those that may be there: all others are not."""
        if not self._filled:
            return ids
        found: list[bytes] = []
        for layer in self._layers:
            has = layer.has
            found += [id for id in ids if has(id)]
        return found

    def has_any(self, ids: Iterable[str]) -> bool:
        """Whether any of these, in hex, may be there."""
        if not self._filled:
            return True
        for id in ids:
            first, second = _two(bytes.fromhex(id))
            # As `_Layer.has`, without a call: every REQ by id comes through here.
            for layer in self._layers:
                bits, at = layer.bits, first & layer.mask
                if bits[at >> 3] >> (at & 7) & 1:
                    at = second & layer.mask
                    if bits[at >> 3] >> (at & 7) & 1:
                        return True
        return False

    # --- what was there before ----------------------------------------------------------------

    def open(self, path: str | None) -> None:
        """Begin to read the ids of the database at `path`; without one, nothing is there yet."""
        if path is None:
            self._filled = True
            return
        self._thread = threading.Thread(
            target=self._fill, args=(path,), name="hanse-known", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Give up reading, if it is still done. May wait for a page."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _fill(self, path: str) -> None:
        try:
            connection = connect(path)
            try:
                self._read(connection)
            finally:
                connection.close()
        except Exception:  # whatever it is, the index is asked of every id, as before
            _log.exception("the ids that are kept could not be read")

    def _read(self, connection: apsw.Connection) -> None:
        tx = SqliteTransaction(connection, {})
        ((count,),) = tx.all("event_count")
        layer = _Layer(count)
        last: Row = (SMALL + 1, b"", 0)
        while rows := tx.all("event_heads", *last, PAGE):
            layer.add([head for _, head, _ in rows])
            last = rows[-1]
            if self._stop.wait(PAUSE_S):
                return
        # What entered meanwhile was added to the newest, wherever this reading had come to.
        if last[1]:
            with self._adding:
                self._layers = [layer, *self._layers]
        self._filled = True
