"""What paid calls teach about words: who searched, paid and was served said what the words mean.

A lesson is the words of a search and the capability whose *paid* call then settled or was refunded.
Per capability the lessons make a profile: the direction of their vectors, and for each word the
share of lessons that had it. A new search is compared with the profiles:

    telling = strength × (direction + 2 × words) / 3                            -1 to 1

direction  cosine of the search's vector and the profile's
words      for each word of the search, how much more often lessons of this capability have it than
           lessons at large, weighed by how few capabilities' lessons have it
strength   v / (v + VOICES_HALF) of the voices v behind it

A payer's operator has one voice (its weight, `voices.py`; 0 at its own offers), reached with a few
lessons and shared by all of its lessons: who pays itself a thousand times teaches nothing, and one
customer less than three. A refund counts against. Lessons halve with every HALF_LIFE_S.
Everything follows from the set of lessons kept, in whatever order they came.
"""

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.protocol.words import query_words, stem
from hanse.registry.entry import key_of

CAPABILITIES_MAX = 20_000
"""Capabilities with lessons; the one whose newest is the oldest goes first."""
LESSONS_OF_ONE_MAX = 256
"""Lessons of one capability: the newest."""
OF_PAYER_MAX = 128
"""And of one payer among them."""
HALF_LIFE_S = 90 * 86_400
VOICES_HALF = 1.0
VOICE_HALF = 2.0
"""Lessons that reach half of a payer's voice."""
WORDS_OF_ONE_MAX = 256
LIFT_MAX = 3.0
DIRECTION_MIN = 0.2
"""Cosines below this say nothing."""
TELLING_MIN = 0.01
TELLING_MAX = 200
"""Capabilities whose lessons count in one search."""

Vector = NDArray[np.float32]


class Voices(Protocol):
    """How much payers' voices count (`voices.Voices`)."""

    def weights(self, payers: Iterable[str], provider: str) -> Mapping[str, float]:
        """By payer, 0 to 1."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `payer` and `payee` are operators."""

    id: bytes
    address: str
    capability: str
    words: str
    payer: str
    payee: str
    settled: bool
    at_s: int


class _Kept(msgspec.Struct, frozen=True):
    lesson: Lesson
    words: tuple[str, ...]
    vector: NDArray[np.int8] | None


class _Profile(msgspec.Struct):
    """What the lessons of one capability add up to, as of `at_s`."""

    at_s: int
    voices: float
    direction: Vector | None
    shares: dict[str, float]


class Lessons:
    """All lessons that are remembered, by capability."""

    def __init__(self, voices: Voices, size: int) -> None:
        self._voices = voices
        self._size = size
        self._kept: OrderedDict[int, dict[bytes, _Kept]] = OrderedDict()
        self._profiles: dict[int, _Profile] = {}
        self._stale: set[int] = set()
        self._slots: dict[int, int] = {}
        """Of a capability's key: its row in what follows."""
        self._free: list[int] = []
        self._keys: list[int] = []
        self._directions = np.zeros((0, size), dtype=np.float32)
        self._by_word: dict[str, dict[int, float]] = {}
        self._columns: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._busy = threading.Lock()

    def __len__(self) -> int:
        return self._total

    # --- learning -----------------------------------------------------------------------------

    def add(self, found: Sequence[Lesson], vectors: Vector | None) -> None:
        """Learn; each id once. `vectors` of their words, or None."""
        with self._busy:
            self._add(found, vectors)

    def _add(self, found: Sequence[Lesson], vectors: Vector | None) -> None:
        for at, lesson in enumerate(found):
            words = tuple(dict.fromkeys(stem(word) for word in query_words(lesson.words)))
            if not words or lesson.payer == lesson.payee:
                continue
            key = key_of(lesson.address, lesson.capability)
            kept = self._kept.setdefault(key, {})
            if lesson.id in kept:
                continue
            vector = None
            if vectors is not None and self._size:
                vector = np.round(vectors[at] * 127).astype(np.int8)
            kept[lesson.id] = _Kept(lesson, words, vector)
            self._count(words, 1)
            self._bound(kept, lesson.payer)
            self._stale.add(key)
        while len(self._kept) > CAPABILITIES_MAX:
            oldest = min(self._kept, key=lambda key: (self._newest(key), key))
            for one in self._kept.pop(oldest).values():
                self._count(one.words, -1)
            self._stale.add(oldest)

    def _newest(self, key: int) -> int:
        return max(one.lesson.at_s for one in self._kept[key].values())

    def _bound(self, kept: dict[bytes, _Kept], payer: str) -> None:
        for most, of in ((OF_PAYER_MAX, payer), (LESSONS_OF_ONE_MAX, None)):
            mine = [one for one in kept.values() if of is None or one.lesson.payer == of]
            if len(mine) > most:
                oldest = min(mine, key=lambda one: (one.lesson.at_s, one.lesson.id))
                del kept[oldest.lesson.id]
                self._count(oldest.words, -1)

    def _count(self, words: Sequence[str], by: int) -> None:
        self._total += by
        for word in words:
            self._counts[word] += by
            if not self._counts[word]:
                del self._counts[word]

    def refresh(self) -> None:
        """Voices changed: everything is to be weighed anew."""
        with self._busy:
            self._stale.update(self._kept)

    # --- what was learned ---------------------------------------------------------------------

    def telling(self, words: Sequence[str], vector: Vector | None, now_s: int) -> dict[int, float]:
        """By capability's key, what lessons say of these words; the most telling TELLING_MAX."""
        if not self._kept and not self._profiles:
            return {}
        with self._busy:
            return self._telling(words, vector, now_s)

    def _telling(self, words: Sequence[str], vector: Vector | None, now_s: int) -> dict[int, float]:
        self._settle()
        roots = list(dict.fromkeys(stem(word) for word in words))
        if not roots:
            return {}
        found = self._by_words(roots)
        if vector is not None and self._size:
            cosines = np.round(self._directions @ vector, 6).astype(np.float64)
            cosines = cosines[: len(found)]
            found += np.where(np.abs(cosines) > DIRECTION_MIN, cosines / 3, 0.0)
        slots = np.flatnonzero(np.abs(found) >= TELLING_MIN)
        telling = {}
        for slot in slots.tolist():
            key = self._keys[slot]
            profile = self._profiles[key]
            voices = profile.voices * 0.5 ** (max(0, now_s - profile.at_s) / HALF_LIFE_S)
            value = round(float(found[slot]) * voices / (voices + VOICES_HALF), 6)
            if abs(value) >= TELLING_MIN:
                telling[key] = max(-1.0, min(1.0, value))
        if len(telling) > TELLING_MAX:
            best = sorted(telling, key=lambda key: (-abs(telling[key]), key))[:TELLING_MAX]
            return {key: telling[key] for key in best}
        return telling

    def _by_words(self, roots: list[str]) -> NDArray[np.float64]:
        found = np.zeros(len(self._keys))
        rarities = {word: self._rarity(word) for word in roots}
        most = sum(rarities.values())
        for word in roots:
            if word not in self._by_word:
                continue
            slots, shares = self._column(word)
            at_large = (self._counts[word] + 1) / max(1, self._total)
            lift = np.minimum(1.0, np.log1p(np.abs(shares) / at_large) / LIFT_MAX)
            found[slots] += np.sign(shares) * lift * (rarities[word] / most * 2 / 3)
        return np.round(found, 9)

    def _column(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        known = self._columns.get(word)
        if known is None:
            shares = self._by_word[word]
            known = self._columns[word] = (
                np.fromiter(shares.keys(), dtype=np.int64, count=len(shares)),
                np.fromiter(shares.values(), dtype=np.float64, count=len(shares)),
            )
        return known

    def _rarity(self, word: str) -> float:
        count, have = len(self._profiles), len(self._by_word.get(word, ()))
        return math.log(1 + (count - have + 0.5) / (have + 0.5))

    def _settle(self) -> None:
        """Bring profiles up to date, only those that changed."""
        if not self._stale:
            return
        stale, self._stale = self._stale, set()
        for key in stale:
            old = self._profiles.pop(key, None)
            slot = self._slots.get(key, -1)
            for word in old.shares if old else ():
                self._columns.pop(word, None)
                self._by_word[word].pop(slot, None)
                if not self._by_word[word]:
                    del self._by_word[word]
            kept = self._kept.get(key)
            if not kept:
                if slot >= 0:
                    self._directions[self._slots.pop(key)] = 0
                    self._free.append(slot)
                continue
            if slot < 0:
                slot = self._slots[key] = self._slot(key)
            profile = self._profiles[key] = self._profile(list(kept.values()))
            self._directions[slot] = 0 if profile.direction is None else profile.direction
            for word, share in profile.shares.items():
                self._columns.pop(word, None)
                self._by_word.setdefault(word, {})[slot] = share

    def _slot(self, key: int) -> int:
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
            return slot
        self._keys.append(key)
        if len(self._keys) > len(self._directions):
            more = np.zeros((max(64, len(self._keys) // 2), self._size), dtype=np.float32)
            self._directions = np.concatenate([self._directions, more])
            self._columns.clear()
        return len(self._keys) - 1

    def _profile(self, kept: list[_Kept]) -> _Profile:
        kept.sort(key=lambda one: (one.lesson.at_s, one.lesson.id))
        at_s = kept[-1].lesson.at_s
        weights = self._weights(kept, at_s)
        total = sum(abs(weight) for weight in weights)
        shares: dict[str, float] = {}
        summed = np.zeros(self._size)
        plain = np.zeros(self._size)
        for one, weight in zip(kept, weights, strict=True):
            for word in one.words:
                shares[word] = shares.get(word, 0.0) + weight
            if one.vector is not None:
                summed += weight * one.vector
                plain += abs(weight) * one.vector
        length = float(np.linalg.norm(plain))
        # As if one more lesson had none of the words: a single one is not a rule.
        spread = total + total / len(kept) if kept else 1.0
        return _Profile(
            at_s=at_s,
            voices=total,
            direction=(summed / length).astype(np.float32) if length > 0 else None,
            shares=_largest({word: share / spread for word, share in shares.items() if spread}),
        )

    def _weights(self, kept: list[_Kept], at_s: int) -> list[float]:
        """Of each lesson, below 0 for a refund: the payers' voices, each shared by its lessons."""
        payers = Counter(one.lesson.payer for one in kept)
        voices: dict[str, float] = {}
        for payee in {one.lesson.payee for one in kept}:
            mine = {one.lesson.payer for one in kept if one.lesson.payee == payee}
            for payer, weight in self._voices.weights(sorted(mine), payee).items():
                voices[payer] = min(voices.get(payer, 1.0), weight)
        found = []
        for one in kept:
            lesson = one.lesson
            count = payers[lesson.payer]
            voice = voices.get(lesson.payer, 0.0) * count / (count + VOICE_HALF)
            weight = voice / count * 0.5 ** ((at_s - lesson.at_s) / HALF_LIFE_S)
            found.append(weight if lesson.settled else -weight)
        return found


def _largest(shares: dict[str, float]) -> dict[str, float]:
    kept = {word: share for word, share in shares.items() if share}
    if len(kept) <= WORDS_OF_ONE_MAX:
        return kept
    best = sorted(kept, key=lambda word: (-abs(kept[word]), word))[:WORDS_OF_ONE_MAX]
    return {word: kept[word] for word in best}
