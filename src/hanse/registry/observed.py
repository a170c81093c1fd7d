"""What the node's calls showed, in memory: the quality of each capability, and whose voice counts.

A call is learned when it ends here (`record`), or when it is read from the store in the order of
the log (`catch_up`): of those learned first, the store's is passed over. So a call that another
node of the cluster ended counts too, and none counts twice.
"""

from collections.abc import Callable, Iterable

import msgspec

from hanse.protocol.keys import PublicKey
from hanse.registry.quality import (
    DAY_S,
    LOAD,
    PROBE,
    SETTLED,
    Ended,
    Place,
    Quality,
    Tally,
    Word,
    major_of,
    new_tally,
    places_of,
)
from hanse.registry.store import OwnOnly, Standing
from hanse.registry.throughput import trim
from hanse.registry.voices import Voices

QUALITY_MAX = 100_000
"""Capabilities whose calls are remembered in memory; the oldest unused goes first."""

TOLD_MAX = 20_000
"""Calls read from the store that may yet be recorded here: more than can be open."""

Key = tuple[str, str, int]
"""Address, capability, major version."""


class Kept(msgspec.Struct, frozen=True):
    """One tally as it was kept."""

    address: str
    capability: str
    major: int
    place: Place
    tally: Tally


class Observed:
    """The quality of every capability that was called, as this node's operator sees it."""

    def __init__(
        self,
        viewer: PublicKey,
        now_s: Callable[[], int] | None = None,
        standing: Standing | None = None,
        quality_max: int = QUALITY_MAX,
    ) -> None:
        self.voices = Voices(viewer, standing or OwnOnly())
        self.seq = 0
        """How far in the log calls were read."""
        self._now_s = now_s
        self._max = quality_max
        self._quality: dict[Key, Quality] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._operators: dict[str, str] = {}
        self._ahead: set[bytes] = set()
        self._told: dict[bytes, None] = {}
        self._said: dict[str, set[tuple[str, int]]] = {}

    # --- reading ------------------------------------------------------------------------------

    def quality(self, address: str, capability: str, version: str = "") -> Quality:
        """What is known of one capability in the major version of an offer; without a version, in
        the newest that was called. Changing it changes nothing here if nothing was known."""
        return self.known(address, capability, version) or self._new(address)

    def known(self, address: str, capability: str, version: str = "") -> Quality | None:
        """The same; None if nothing is known."""
        major = major_of(version) if version else self._newest.get((address, capability), 0)
        return self._quality.get((address, capability, major))

    def each(self) -> Iterable[tuple[Key, Quality]]:
        """All that is remembered."""
        return list(self._quality.items())

    # --- learning -----------------------------------------------------------------------------

    def record(self, ended: Ended) -> None:
        """Learn from a call that ended here, before the log tells of it."""
        if ended.id in self._told:
            del self._told[ended.id]  # its commit was read before its ending went on here
        elif ended.id not in self._ahead:
            self._ahead.add(ended.id)
            self._learn(ended)

    def catch_up(self, calls: Iterable[tuple[int, Ended]], seq: int) -> None:
        """Learn from calls, each with its receipt's number, in the order of the log, up to a
        number: each that was not learned yet. Who reads twice at once teaches nothing twice."""
        for number, ended in calls:
            if number <= self.seq:
                continue
            self.seq = number
            if ended.id in self._ahead:
                self._ahead.remove(ended.id)
            else:
                self._told[ended.id] = None
                if len(self._told) > TOLD_MAX:
                    del self._told[next(iter(self._told))]
                self._learn(ended)
        self.seq = max(self.seq, seq)

    def probed(self, address: str, capability: str, major: int, end: str, at_s: int) -> None:
        """A free probe ended so."""
        self._of((address, capability, major)).add(PROBE, end, None, at_s)

    def clear(self) -> None:
        """Forget everything, to be filled anew."""
        self.voices.forget()
        self._quality.clear()
        self._newest.clear()
        self._operators.clear()
        self._ahead.clear()
        self._told.clear()
        self.seq = 0

    def load(self, kept: Iterable[Kept], seq: int) -> None:
        """Start from what was kept, which holds every call up to a number."""
        for row in kept:
            self._of((row.address, row.capability, row.major)).put(row.place, row.tally)
        self.seq = seq

    def serves(self, address: str, operator: str) -> None:
        """Who answers for an offer: its own operator's calls count for nothing."""
        self._operators[address.split(":", 2)[1]] = operator

    def said_of(self, address: str) -> set[tuple[str, int]]:
        """Capabilities (name, major) of an offer that other nodes' words are kept of."""
        return self._said.get(address, set())

    def said(self, key: Key, words: list[Word]) -> None:
        """What other nodes say of a capability, as far as they are believed."""
        of_offer = self._said.setdefault(key[0], set())
        (of_offer.add if words else of_offer.discard)(key[1:])
        if not of_offer:
            del self._said[key[0]]
        if words or key in self._quality:
            self._of(key).words = words

    def refresh(self) -> None:
        """Voices changed by what is not a call: money came in, somebody is trusted now."""
        for found in self._quality.values():
            found.refresh()

    def _learn(self, ended: Ended) -> None:
        self.voices.learn(ended)
        self.serves(ended.address, ended.payee)
        quality = self._of((ended.address, ended.capability, ended.major))
        quality.add(ended.payer, ended.end, ended.latency_ms, ended.at_s)
        quality.load(ended.at_s, settled=_for_others(ended), busy=ended.busy)

    def _of(self, key: Key) -> Quality:
        found = self._quality.pop(key, None) or self._new(key[0])
        self._quality[key] = found  # re-inserted last: the first key is the least used
        self._newest[key[:2]] = max(key[2], self._newest.get(key[:2], 0))
        if len(self._quality) > self._max:
            gone = next(iter(self._quality))
            del self._quality[gone]
            if self._newest.get(gone[:2]) == gone[2]:
                del self._newest[gone[:2]]
        return found

    def _new(self, address: str) -> Quality:
        provider = address.split(":", 2)[1] if ":" in address else address

        def weigh(payers: Iterable[str]) -> dict[str, float]:
            return self.voices.weights(payers, self._operators.get(provider, provider))

        return Quality(weigh, self._now_s)


def _for_others(ended: Ended) -> bool:
    return ended.end == SETTLED and ended.payer != ended.payee


def tallied(calls: Iterable[Ended], since_s: int = 0) -> dict[tuple[Key, Place], Tally]:
    """The tallies that these calls make, by capability and place; without those before a time."""
    found: dict[tuple[Key, Place], Tally] = {}
    for ended in calls:
        if ended.at_s < since_s:
            continue
        key = (ended.address, ended.capability, ended.major)
        for place in places_of(ended.payer, ended.at_s):
            _tally(found, key, place).add(ended.end, ended.latency_ms, ended.at_s)
        for place in places_of(LOAD, ended.at_s):
            tally = _tally(found, key, place)
            tally.count(ended.at_s, settled=_for_others(ended), busy=ended.busy)
    return found


def together(place: Place, known: Tally, more: Tally) -> Tally:
    """What was kept at a place with what came since; of a day's minutes only the best go on."""
    known.merge(more)
    if place[1] == DAY_S:
        trim(known.minutes)
    return known


def _tally(found: dict[tuple[Key, Place], Tally], key: Key, place: Place) -> Tally:
    tally = found.get((key, place))
    if tally is None:
        tally = found[key, place] = new_tally()
    return tally
