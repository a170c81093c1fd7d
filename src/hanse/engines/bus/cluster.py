"""Who is connected to any node of a cluster: our own counts, and what the others say of theirs.

Each node numbers its changes. One that misses a number asks for the whole, so a lost message heals
itself with the next beat. A node that is silent for SILENT_S is gone, and its keys with it. No I/O:
the bus carries the words and brings the time.
"""

import itertools
from collections.abc import Callable, Iterable

import msgspec

from hanse.protocol.keys import PublicKey

SILENT_S = 6.0
ASK_S = 0.1
"""Between two times that a node asks for all, or tells all."""

KEYS_MAX = 4000
"""Keys in one word: 270 KB, under the 1 MB that NATS carries."""

NODES_MAX = 256
"""Other nodes that are listened to."""


class Word(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a node says: its changes, numbered by `n`. `all`: `came` is everything it has. `ask`:
    everybody is to say all. `bye`: it stops."""

    node: str
    n: int
    came: list[PublicKey] = []
    left: list[PublicKey] = []
    all: bool = False
    ask: bool = False
    bye: bool = False


class Other:
    """Another node, as far as we heard. `n` is -1 until it has said all."""

    __slots__ = ("heard_s", "keys", "n")

    def __init__(self) -> None:
        self.n = -1
        self.keys: set[PublicKey] = set()
        self.heard_s = 0.0


class ClusterPresence:
    """Implements `ports.Presence` for all nodes. `name` is new with every start of a process."""

    def __init__(self, name: str, tell: Callable[[Word], None]) -> None:
        self._name = name
        self._tell = tell
        self._n = 0
        self.turn = 0
        self._here: dict[PublicKey, int] = {}
        self._others: dict[str, Other] = {}
        self._elsewhere: dict[PublicKey, int] = {}
        self._on_gone: list[Callable[[PublicKey], None]] = []
        self._asked_s = self._told_s = float("-inf")
        self._due = False

    # --- as the rest of the node sees it ------------------------------------------------------

    def is_present(self, pubkey: PublicKey) -> bool:
        """See `ports.Presence`."""
        return pubkey in self._here or pubkey in self._elsewhere

    def keys(self) -> Iterable[PublicKey]:
        """See `ports.Presence`."""
        return itertools.chain(self._here, self._elsewhere)

    def is_elsewhere(self, pubkey: PublicKey) -> bool:
        """Whether the key is connected to another node."""
        return pubkey in self._elsewhere

    def arrive(self, pubkey: PublicKey) -> None:
        """See `ports.Presence`."""
        count = self._here.get(pubkey, 0)
        self._here[pubkey] = count + 1
        if not count:
            self.turn += 1
            self._say(came=[pubkey])

    def leave(self, pubkey: PublicKey) -> None:
        """See `ports.Presence`."""
        left = self._here.get(pubkey, 0) - 1
        if left > 0:
            self._here[pubkey] = left
            return
        if self._here.pop(pubkey, None) is not None:
            self.turn += 1
            self._say(left=[pubkey])
        if pubkey not in self._elsewhere:
            self._gone(pubkey)

    def when_gone(self, tell: Callable[[PublicKey], None]) -> None:
        """Call `tell(key)` whenever a key's last connection to any node ends."""
        self._on_gone.append(tell)

    def __len__(self) -> int:
        """Keys connected to this node."""
        return len(self._here)

    @property
    def others(self) -> int:
        """How many other nodes live."""
        return len(self._others)

    # --- words --------------------------------------------------------------------------------

    def hear(self, word: Word, now_s: float) -> None:
        """What another node says."""
        if word.node == self._name:
            return
        other = self._others.get(word.node)
        if word.bye:
            self._forget(word.node)
            return
        if other is None:
            if len(self._others) >= NODES_MAX:
                return
            other = self._others[word.node] = Other()
        other.heard_s = now_s
        if word.ask:
            self._asked(now_s)
        elif word.all:
            self._replace(other, set(word.came))
            other.n = word.n
        elif word.came or word.left:
            if word.n == other.n + 1 and other.n >= 0:
                other.n = word.n
                self._change(other, word)
            else:
                self._ask(now_s)
        elif word.n != other.n:  # a beat
            self._ask(now_s)

    def beat(self, now_s: float) -> None:
        """Say that we live, and give up on those who do not."""
        for name in [
            name for name, other in self._others.items() if now_s > other.heard_s + SILENT_S
        ]:
            self._forget(name)
        if self._due:
            self.tell_all(now_s)
        else:
            self._tell(Word(node=self._name, n=self._n))

    def begin(self, now_s: float) -> None:
        """We hear the others, for the first time or again: ask for all, and say all."""
        self._asked_s = now_s
        self._tell(Word(node=self._name, n=self._n, ask=True))
        self.tell_all(now_s)

    def end(self) -> None:
        """Say that we stop."""
        self._tell(Word(node=self._name, n=self._n, bye=True))

    def tell_all(self, now_s: float) -> None:
        """Say everything: a first part that replaces, the rest as changes."""
        self._told_s, self._due = now_s, False
        keys = list(self._here)
        self._tell(Word(node=self._name, n=self._n, came=keys[:KEYS_MAX], all=True))
        for start in range(KEYS_MAX, len(keys), KEYS_MAX):
            self._say(came=keys[start : start + KEYS_MAX])

    def _say(
        self, came: list[PublicKey] | None = None, left: list[PublicKey] | None = None
    ) -> None:
        self._n += 1
        self._tell(Word(node=self._name, n=self._n, came=came or [], left=left or []))

    def _ask(self, now_s: float) -> None:
        if now_s >= self._asked_s + ASK_S:
            self._asked_s = now_s
            self._tell(Word(node=self._name, n=self._n, ask=True))

    def _asked(self, now_s: float) -> None:
        if now_s >= self._told_s + ASK_S:
            self.tell_all(now_s)
        else:
            self._due = True

    # --- keys elsewhere -----------------------------------------------------------------------

    def _change(self, other: Other, word: Word) -> None:
        for key in word.came:
            if key not in other.keys:
                other.keys.add(key)
                self._came(key)
        for key in word.left:
            if key in other.keys:
                other.keys.discard(key)
                self._lost(key)

    def _replace(self, other: Other, keys: set[PublicKey]) -> None:
        gone = other.keys - keys
        for key in keys - other.keys:
            self._came(key)
        other.keys = keys
        for key in gone:
            self._lost(key)

    def _forget(self, name: str) -> None:
        other = self._others.pop(name, None)
        for key in other.keys if other is not None else ():
            self._lost(key)

    def _came(self, key: PublicKey) -> None:
        count = self._elsewhere.get(key, 0)
        self._elsewhere[key] = count + 1
        self.turn += not count

    def _lost(self, key: PublicKey) -> None:
        left = self._elsewhere[key] - 1
        if left:
            self._elsewhere[key] = left
            return
        del self._elsewhere[key]
        self.turn += 1
        if key not in self._here:
            self._gone(key)

    def _gone(self, key: PublicKey) -> None:
        for tell in self._on_gone:
            tell(key)
