"""Where identities went: the key that speaks for each now, and when a key stopped to speak.

Follows key statements one key at a time: a statement costs what it changes, not what is known.
"""

import heapq
from collections.abc import Iterable

from hanse.protocol.keys import PublicKey
from hanse.trust.rotation import STEPS_MAX, Standing, Statement, standing


class Moves:
    """What all key statements come to. `follow` says what became different."""

    def __init__(self, statements: Iterable[Statement], now_s: int) -> None:
        self.next: dict[PublicKey, PublicKey] = {}
        self.cut: dict[PublicKey, int] = {}
        self._said: dict[PublicKey, list[Statement]] = {}
        self._stood: dict[PublicKey, Standing] = {}
        self._before: dict[PublicKey, set[PublicKey]] = {}  # key → those that moved to it
        self._past: dict[PublicKey, set[PublicKey]] = {}  # identity → its earlier keys
        self._due: list[tuple[int, PublicKey]] = []
        for said in statements:
            self._said.setdefault(said.about, []).append(said)
        self._follow(set(self._said), now_s)

    def current(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now."""
        return self.next.get(key, key)

    def past(self, key: PublicKey) -> tuple[PublicKey, ...]:
        """An identity's key and those it had before."""
        return (key, *sorted(self._past.get(key, ())))

    def tell(
        self, about: dict[PublicKey, list[Statement]], now_s: int
    ) -> dict[PublicKey, set[PublicKey]]:
        """The statements about some keys now. See `due`."""
        changed = {key for key, said in about.items() if said or key in self._said}
        self._said |= {key: about[key] for key in changed}
        return self._follow(changed, now_s)

    def due(self, now_s: int) -> dict[PublicKey, set[PublicKey]]:
        """What time changed: keys that others speak for now, or that ended, each with the keys that
        spoke for it before and speak for it now."""
        return self._follow(set(), now_s)

    def _follow(self, changed: set[PublicKey], now_s: int) -> dict[PublicKey, set[PublicKey]]:
        while self._due and self._due[0][0] <= now_s:
            changed.add(heapq.heappop(self._due)[1])
        different: dict[PublicKey, set[PublicKey]] = {}
        moved: set[PublicKey] = set()
        for key in sorted(changed):
            was = self._stood.get(key) or Standing(key=key)
            now = self._stood[key] = standing(key, self._said.get(key, ()), now_s)
            if was.successor != now.successor:
                moved.add(key)
                self._link(key, was.successor, now.successor)
            if self._end(key, now):
                different[key] = {self.current(key)}
            ahead = [said.at_s for said in self._said.get(key, ()) if said.at_s > now_s]
            ahead += [now.pending.due_s] if now.pending is not None else []
            if ahead:
                heapq.heappush(self._due, (min(ahead), key))
        for key in self._reaching(moved):
            was_key, now_key = self.current(key), self._walk(key)
            if was_key != now_key:
                self._rename(key, was_key, now_key)
                different.setdefault(key, set()).update((was_key, now_key))
        return different

    def _link(self, key: PublicKey, was: PublicKey | None, now: PublicKey | None) -> None:
        if was is not None:
            self._before[was].discard(key)
        if now is not None:
            self._before.setdefault(now, set()).add(key)

    def _end(self, key: PublicKey, now: Standing) -> bool:
        """Whether the time from which a key is not heard changed."""
        stops = [at_s for at_s in (now.ended_s, now.since_s) if at_s is not None]
        was, cut = self.cut.get(key), min(stops, default=None)
        if cut is None:
            self.cut.pop(key, None)
        else:
            self.cut[key] = cut
        return was != cut

    def _reaching(self, keys: set[PublicKey]) -> list[PublicKey]:
        """These, and the keys whose identity was followed through them."""
        found, todo = set(keys), list(keys)
        for _ in range(STEPS_MAX):
            todo = [one for key in todo for one in self._before.get(key, ()) if one not in found]
            found.update(todo)
        return sorted(found)

    def _walk(self, key: PublicKey) -> PublicKey:
        """See `rotation.identity`."""
        seen, last = {key}, key
        while (stood := self._stood.get(last)) is not None and stood.successor is not None:
            if stood.successor in seen or len(seen) >= STEPS_MAX:
                break
            last = stood.successor
            seen.add(last)
        return last

    def _rename(self, key: PublicKey, was: PublicKey, now: PublicKey) -> None:
        if was != key:
            self._past[was].discard(key)
        if now == key:
            self.next.pop(key, None)
        else:
            self.next[key] = now
            self._past.setdefault(now, set()).add(key)
