"""Measured quality of one capability: how its calls ended and how long they took, in windows.

Every ended call is added to its payer's tallies: that of the hour, that of the day. What is read is
the sum of the tallies in a window, each payer's weighed by how much its voice counts (`voices.py`),
no payer's more than CALLS_OF_A_VOICE calls' worth. `engines/storage/quality.py` keeps the same
tallies over a restart.

With few calls the promise counts as PRIOR_SAMPLES imagined calls, so that one lucky call proves
little and one broken promise is felt at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from hanse.registry import throughput
from hanse.registry.chance import differ, wilson
from hanse.registry.histogram import Counts, bucket_of, merged, percentile, share_within
from hanse.registry.model import Promise
from hanse.registry.throughput import MINUTE_S, Load, Minute, judge, load_of

HOUR_S = 3600
DAY_S = 86_400
HOURS_KEPT = 50
DAYS_KEPT = 62
"""Two windows of each length: this one and the one before it."""

PRIOR_SAMPLES = 5
CALLS_OF_A_VOICE = 100
"""Calls of one payer that count in full; more of them count together as so many."""

SETTLED = "settled"
DECLINED = "declined-input"
SCHEMA = "schema-violation"
UNCOUNTED = frozenset({"deadline-below-promise", "node-stopped"})
"""Ends that are nobody's failure: counted, shown, never held against the provider."""
UNREACHED = frozenset({"provider-offline", "provider-died"})

WindowName = Literal["hour", "day", "month"]
_WINDOWS: dict[WindowName, tuple[int, int]] = {
    "hour": (HOUR_S, 2),
    "day": (HOUR_S, 25),
    "month": (DAY_S, 31),
}
"""The slot that is running, and as many before it as make the window up."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry learns from one ended call. `payer` and `payee` are operators."""

    id: bytes
    address: str
    capability: str
    major: int
    caller: str
    provider: str
    payer: str
    payee: str
    end: str
    latency_ms: int | None
    at_s: int
    paid_msat: int = 0
    received_msat: int = 0
    busy: bool = False
    """Whether the provider refused it as one too many."""


class Tally(msgspec.Struct, array_like=True):
    """Calls of one payer in one slot: how they ended, the latencies of those that settled by
    bucket, when the last one settled. Of all payers together (LOAD): calls by minute."""

    ends: dict[str, int] = {}
    latencies: dict[int, int] = {}
    last_s: int = 0
    minutes: dict[int, Minute] = {}

    def add(self, end: str, latency_ms: int | None, at_s: int) -> None:
        """One more call."""
        self.ends[end] = self.ends.get(end, 0) + 1
        if end == SETTLED:
            bucket = bucket_of(latency_ms or 0)
            self.latencies[bucket] = self.latencies.get(bucket, 0) + 1
            self.last_s = max(self.last_s, at_s)

    def count(self, at_s: int, *, settled: bool, busy: bool) -> None:
        """One more call of anybody; `settled` for others than the provider's own operator."""
        throughput.count(self.minutes, at_s, settled=settled, busy=busy)
        if settled:
            self.ends[SETTLED] = self.ends.get(SETTLED, 0) + 1

    def merge(self, other: "Tally") -> None:
        """All of another one's calls."""
        for end, count in other.ends.items():
            self.ends[end] = self.ends.get(end, 0) + count
        for bucket, count in other.latencies.items():
            self.latencies[bucket] = self.latencies.get(bucket, 0) + count
        self.last_s = max(self.last_s, other.last_s)
        throughput.merge(self.minutes, other.minutes)

    @property
    def counted(self) -> int:
        """Calls that say something about the provider."""
        return sum(count for end, count in self.ends.items() if end not in UNCOUNTED)


Place = tuple[str, int, int]
"""Of a tally: payer, length of the slot, the slot's number since 1970."""


def places_of(payer: str, at_s: int) -> tuple[Place, Place]:
    """The tallies a call belongs to: its hour's and its day's."""
    return (payer, HOUR_S, at_s // HOUR_S), (payer, DAY_S, at_s // DAY_S)


def oldest_slot(span: int, now_s: int) -> int:
    """The first slot that is still kept."""
    return now_s // span - (HOURS_KEPT if span == HOUR_S else DAYS_KEPT) + 1


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Figures from real calls. Rates and latencies are weighed by voices; latencies in ms over
    settled calls; None before the first. Counts are of calls, without the `unheard`."""

    samples: int = 0
    success_rate: float | None = None
    latency_p50_ms: int | None = None
    latency_p95_ms: int | None = None
    last_seen_s: int | None = None
    latency_p99_ms: int | None = None
    success_low: float | None = None
    """With 97.5 % confidence the success rate is at least this (Wilson)."""
    availability: float | None = None
    """The share of calls, paid ones and probes, that reached a connected provider."""
    voices: float = 0.0
    """How many independent payers stand behind the figures."""
    weight: float = 0.0
    """How many calls the figures are worth."""
    refunds: dict[str, int] = {}
    """Refunded calls by fault, also those that are nobody's failure."""
    unheard: int = 0
    """Calls that count for nothing: between keys of one operator, or paid with what went round."""
    throughput_per_s: float | None = None
    """The most calls settled in one minute, a second: it can do so much, perhaps more."""
    throughput_low_per_s: float | None = None
    """The same with each call as its payer's voice counts."""
    turned_away: int = 0
    """Calls that the provider refused as too many, of the last HOURS_KEPT hours."""

    @property
    def declined(self) -> int:
        """Calls whose input met the schema and was declined all the same."""
        return self.refunds.get(DECLINED, 0)

    @property
    def schema_violations(self) -> int:
        """Answers that broke the capability's own schema."""
        return self.refunds.get(SCHEMA, 0)


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Measured figures shrunk toward the promise: what a caller should count on."""

    success_rate: float
    latency_p95_ms: int
    latency_p50_ms: int | None = None
    latency_p99_ms: int | None = None
    availability: float | None = None
    throughput_per_s: float | None = None
    proof: float = 0.0
    """How far independent payers saw the promise kept, 0 (nobody did) to 1."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A promised figure against a window. `kept` None: nothing measured it; `sure`: the calls are
    enough to say so."""

    promised: float
    measured: float | None
    kept: bool | None
    sure: bool


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """This window against the one before: the change of the success rate, and of the median in ms;
    `sure` when chance explains a difference like it less than once in 20 times."""

    success: float
    success_sure: bool
    latency_p50_ms: int | None
    latency_sure: bool


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window: what was measured in it, which promises were kept, how it differs from the one
    before."""

    measured: Measured
    kept: dict[str, Kept]
    trend: Trend | None


class Word(msgspec.Struct, frozen=True):
    """What another node says it measured, as far as this viewer believes it: so many calls."""

    weight: float
    success_rate: float
    latencies: dict[int, float]


Weigh = Callable[[Iterable[str]], Mapping[str, float]]
"""Each payer's voice, 0 to 1."""


def _equal(payers: Iterable[str]) -> Mapping[str, float]:
    return dict.fromkeys(payers, 1.0)


PAYERS_MAX = 4096
"""Payers of one capability whose calls are told apart in memory."""

OTHERS = "others"

PROBE = "probe"
"""Stands for the payer where nobody paid: counts for availability alone."""

LOAD = "load"
"""Stands for all payers together, the provider's own operator too: calls by minute."""

PROOF_HALF = 2.0
"""So many voices, all glad, make up half of a proof."""

UNPROVEN = 0.25
"""What a promise alone is worth beside one that everybody saw kept."""

UNKNOWN = UNPROVEN * 0.5**4
"""The figure of what nobody promised anything of and nobody measured: it may work or not."""


class Quality:
    """What is known of one capability in one major version."""

    __slots__ = ("_cached", "_now_s", "_payers", "_swept", "_weigh", "latest_s", "tallies", "words")

    def __init__(self, weigh: Weigh = _equal, now_s: Callable[[], int] | None = None) -> None:
        self.tallies: dict[Place, Tally] = {}
        self.words: Sequence[Word] = ()
        self.latest_s = 0
        self._weigh = weigh
        self._now_s = now_s
        self._cached: dict[tuple[WindowName, int], Reading] = {}
        self._payers: set[str] | None = None
        """Counted only once there may be too many: most capabilities have a few."""
        self._swept = 0

    # --- learning -----------------------------------------------------------------------------

    def record(
        self, success: bool, latency_ms: int, at_s: int, *, payer: str = "", fault: str = ""
    ) -> None:
        """Add one finished call."""
        self.add(payer, SETTLED if success else fault or "failed", latency_ms, at_s)
        self.load(at_s, settled=success)

    def add(self, payer: str, end: str, latency_ms: int | None, at_s: int) -> None:
        """Add one ended call of a payer."""
        for place in places_of(self._known(payer), at_s):
            self._tally(place).add(end, latency_ms, at_s)
        self.latest_s = max(self.latest_s, at_s)
        self._cached.clear()

    def load(self, at_s: int, *, settled: bool, busy: bool = False) -> None:
        """Add one ended call to those of its minute, whoever paid it; `settled` for others."""
        for place in places_of(LOAD, at_s):
            tally = self._tally(place)
            tally.count(at_s, settled=settled, busy=busy)
            if place[1] == DAY_S:
                throughput.trim(tally.minutes)
        self._cached.clear()

    def put(self, place: Place, tally: Tally) -> None:
        """A tally as it was kept."""
        payer, span, slot = place
        name = payer if payer == LOAD else self._known(payer)
        self.tallies.setdefault((name, span, slot), new_tally()).merge(tally)
        self.latest_s = max(self.latest_s, slot * span)
        self._cached.clear()

    def refresh(self) -> None:
        """Voices or words changed: what was read before may not hold."""
        self._cached.clear()

    def _tally(self, place: Place) -> Tally:
        found = self.tallies.get(place)
        if found is None:
            found = self.tallies[place] = new_tally()
            self._forget(place[2])
        return found

    def _known(self, payer: str) -> str:
        """The payer, or OTHERS when there are too many to tell apart."""
        if len(self.tallies) < PAYERS_MAX:
            return payer
        if self._payers is None:
            self._payers = {found for found, _, _ in self.tallies}
        if payer not in self._payers:
            if len(self._payers) >= PAYERS_MAX:
                return OTHERS
            self._payers.add(payer)
        return payer

    def _forget(self, slot: int) -> None:
        """Drop what is too old, once in each slot."""
        if slot <= self._swept:
            return
        self._swept = slot
        now_s = self._now_s() if self._now_s else self.latest_s
        least = {span: oldest_slot(span, now_s) for span in (HOUR_S, DAY_S)}
        for place in [found for found in self.tallies if found[2] < least[found[1]]]:
            del self.tallies[place]
        self._payers = None

    # --- reading ------------------------------------------------------------------------------

    def measured(self, window: WindowName = "month") -> Measured:
        """The figures over a window that ends now."""
        return self._reading(window).measured

    def weighed(self, window: WindowName = "month") -> tuple[Measured, dict[int, float]]:
        """The figures of a window with the latencies they come from, by bucket."""
        found = self._reading(window)
        return found.measured, found.latencies

    def expected(self, promise: Promise) -> Expected:
        """The figures to count on, given what was promised."""
        return expect(self._reading("month"), promise, self.words)

    def kept(self, promise: Promise, window: WindowName = "month") -> dict[str, Kept]:
        """Each promised figure that calls can measure, and whether it was kept."""
        return _kept(self._reading(window), promise)

    def trend(self, window: WindowName = "day") -> Trend | None:
        """This window against the one before; None if one of them is empty."""
        return _trend(self._reading(window), self._reading(window, back=1))

    def windows(self, promise: Promise) -> dict[WindowName, Window]:
        """All that is known, against what is promised, by window."""
        return {
            name: Window(
                measured=self.measured(name), kept=self.kept(promise, name), trend=self.trend(name)
            )
            for name in _WINDOWS
        }

    def _reading(self, window: WindowName, back: int = 0) -> "Reading":
        span, slots = _WINDOWS[window]
        now_s = self._now_s() if self._now_s else self.latest_s
        last = now_s // span - back * slots
        known = self._cached.get((window, back))
        if known is not None and known.last == last:
            return known
        payers: dict[str, Tally] = {}
        for (payer, length, slot), tally in self.tallies.items():
            if length == span and last - slots < slot <= last:
                whole = payers.get(payer)
                if whole is None:
                    whole = payers[payer] = new_tally()
                whole.merge(tally)
        found = read(payers, self._weigh, last, self._load(payers, span, last, slots))
        self._cached[window, back] = found
        return found

    def _load(self, payers: Mapping[str, Tally], span: int, last: int, slots: int) -> Load:
        """The calls by minute in a window. A day's tally has its best minutes alone, so refusals
        are read of its hours, as far as these are kept."""
        best = payers[LOAD].minutes.values() if LOAD in payers else ()
        if span == HOUR_S:
            return load_of(best, best)
        first, end = (last - slots + 1) * span // MINUTE_S, (last + 1) * span // MINUTE_S
        whole = (
            minute
            for (payer, length, _), tally in self.tallies.items()
            if payer == LOAD and length == HOUR_S
            for number, minute in tally.minutes.items()
            if first <= number < end
        )
        return load_of(best, whole)


class Reading(msgspec.Struct, frozen=True):
    """A window as it was weighed."""

    measured: Measured
    latencies: dict[int, float]
    last: int
    load: Load
    voice: float
    """What a call counts on average, 0 to 1."""


def new_tally() -> Tally:
    """One without calls."""
    return Tally({}, {}, 0, {})


def read(payers: Mapping[str, Tally], weigh: Weigh, last: int, load: Load) -> Reading:
    """Weigh each payer's calls and say what they amount to."""
    probes = payers.get(PROBE)
    voices = weigh(payer for payer in payers if payer not in (PROBE, LOAD))
    parts: list[tuple[Tally, float]] = []
    unheard = samples = 0
    total = good = heard = spoken = 0.0
    refunds: dict[str, int] = {}
    for payer, voice in voices.items():
        tally = payers[payer]
        counted = tally.counted
        if voice <= 0:
            unheard += counted
            continue
        for end, count in tally.ends.items():
            if end != SETTLED:
                refunds[end] = refunds.get(end, 0) + count
        if not counted:
            continue
        worth = voice * min(1.0, CALLS_OF_A_VOICE / counted)
        parts.append((tally, worth))
        samples += counted
        spoken += voice * tally.ends.get(SETTLED, 0)
        heard += voice
        total += counted * worth
        good += tally.ends.get(SETTLED, 0) * worth
    latencies = merged((tally.latencies, worth) for tally, worth in parts)
    others = payers[LOAD].ends.get(SETTLED, 0) if LOAD in payers else 0
    average = min(1.0, spoken / others) if others else 0.0
    rate = load.most / MINUTE_S if load.most and samples else None
    measured = Measured(
        samples=samples,
        success_rate=good / total if total else None,
        latency_p50_ms=percentile(latencies, 0.50),
        latency_p95_ms=percentile(latencies, 0.95),
        latency_p99_ms=percentile(latencies, 0.99),
        last_seen_s=max((tally.last_s for tally, _ in parts), default=0) or None,
        success_low=wilson(good, total)[0] if total else None,
        availability=_availability(parts, probes),
        voices=heard,
        weight=total,
        refunds=refunds,
        unheard=unheard,
        throughput_per_s=rate,
        throughput_low_per_s=None if rate is None else rate * average,
        turned_away=load.refusals,
    )
    return Reading(measured, latencies, last, load, average)


def _availability(parts: list[tuple[Tally, float]], probes: Tally | None) -> float | None:
    asked = missed = 0.0
    for tally, worth in [*parts, *([(probes, 1.0)] if probes else [])]:
        asked += tally.counted * worth
        missed += worth * sum(tally.ends.get(end, 0) for end in UNREACHED)
    return 1 - missed / asked if asked else None


def expect(reading: Reading, promise: Promise, words: Iterable[Word] = ()) -> Expected:
    """Shrink what was measured toward the promise by PRIOR_SAMPLES imagined calls. What other nodes
    say counts as calls too, as many as they are believed."""
    seen = reading.measured
    total, good = seen.weight, seen.weight * (seen.success_rate or 0.0)
    latencies: Counts = reading.latencies
    for word in words:
        total += word.weight
        good += word.weight * word.success_rate
        latencies = merged([(latencies, 1.0), (word.latencies, 1.0)])
    prior = PRIOR_SAMPLES
    trust = good / (good + prior)

    def latency(share: float, promised: int | None) -> int | None:
        found = percentile(latencies, share)
        if found is None or promised is None:
            return found or promised
        if bucket_of(found) == bucket_of(promised):
            found = min(found, promised)  # not to be told from what was promised
        return round(trust * found + (1 - trust) * promised)

    glad = seen.voices * (seen.success_rate or 0.0)
    available = seen.availability
    if promise.availability is not None:
        was = promise.availability if available is None else available
        available = (total * was + prior * promise.availability) / (total + prior)
    return Expected(
        success_rate=(good + prior * promise.success_rate) / (total + prior),
        latency_p50_ms=latency(0.50, promise.latency_p50_ms),
        latency_p95_ms=latency(0.95, promise.latency_p95_ms) or promise.latency_p95_ms,
        latency_p99_ms=latency(0.99, promise.latency_p99_ms),
        availability=available,
        throughput_per_s=_throughput(reading, promise),
        proof=glad / (glad + PROOF_HALF),
    )


def _throughput(reading: Reading, promise: Promise) -> float | None:
    """What was seen, or what was promised unless it was surely broken: until somebody asks for as
    much, nothing else is known."""
    seen, promised = reading.measured.throughput_low_per_s, promise.throughput_per_s
    if promised is None or judge(reading.load, reading.voice, promised) == (False, True):
        return seen
    return max(promised, seen or 0.0)


def figure(expected: Expected, promise: Promise) -> float:
    """The quality part of a score, 0 to 1: success, to the fourth power so that 0.80 counts half of
    0.95; latency, 1 within the promise; and how far independent payers prove it. A promise costs
    nothing, and who makes the boldest must not pass who kept one."""
    latency = min(1.0, promise.latency_p95_ms / max(1, expected.latency_p95_ms))
    proven = UNPROVEN + (1 - UNPROVEN) * expected.proof
    return float(expected.success_rate**4 * latency * proven)


def _kept(reading: Reading, promise: Promise) -> dict[str, Kept]:
    seen, found = reading.measured, dict[str, Kept]()
    for name, share in (
        ("latency_p50_ms", 0.50),
        ("latency_p95_ms", 0.95),
        ("latency_p99_ms", 0.99),
    ):
        limit = getattr(promise, name)
        if limit is None:
            continue
        within = share_within(reading.latencies, limit)
        bounds = wilson((within or 0.0) * sum(reading.latencies.values()), _weight(reading))
        kept = None if within is None else within >= share * (1 - 1e-9)
        found[name] = Kept(
            promised=limit,
            measured=percentile(reading.latencies, share),
            kept=kept,
            sure=kept is not None and not bounds[0] < share <= bounds[1],
        )
    for name, rate in (("success_rate", seen.success_rate), ("availability", seen.availability)):
        promised = getattr(promise, name)
        if promised is None:
            continue
        kept = None if rate is None else rate >= promised * (1 - 1e-9)
        low, high = wilson((rate or 0.0) * seen.weight, seen.weight)
        sure = kept is not None and not low < promised <= high
        found[name] = Kept(promised=promised, measured=rate, kept=kept, sure=sure)
    if promise.throughput_per_s is not None:
        rate_per_s = promise.throughput_per_s
        kept, sure = judge(reading.load, reading.voice, rate_per_s)
        found["throughput_per_s"] = Kept(
            promised=rate_per_s, measured=seen.throughput_per_s, kept=kept, sure=sure
        )
    return found


def _weight(reading: Reading) -> float:
    return sum(reading.latencies.values())


def _trend(now: Reading, before: Reading) -> Trend | None:
    one, two = now.measured, before.measured
    if one.success_rate is None or two.success_rate is None:
        return None
    change = one.success_rate - two.success_rate
    sure = differ(one.success_rate, one.weight, two.success_rate, two.weight)
    shift, shift_sure = None, False
    middle = percentile(merged([(now.latencies, 1.0), (before.latencies, 1.0)]), 0.5)
    if middle and one.latency_p50_ms is not None and two.latency_p50_ms is not None:
        shift = one.latency_p50_ms - two.latency_p50_ms
        shift_sure = differ(  # the median test: how many of each lie under the middle of both
            share_within(now.latencies, middle) or 0.0,
            _weight(now),
            share_within(before.latencies, middle) or 0.0,
            _weight(before),
        )
    return Trend(success=change, success_sure=sure, latency_p50_ms=shift, latency_sure=shift_sure)


def major_of(version: str) -> int:
    """The major number of a semantic version; 0 for what is none."""
    head = version.partition(".")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) <= 9 else 0
