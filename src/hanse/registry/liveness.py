"""Whether an offer lives: who was last there, what probes showed, how its price moved.

Everything here is said of a hit, in its reasons; an offer that nobody stood behind for a while
sinks in searches, and then leaves them. Its event stays: to publish it again, or to connect, brings
it back at once.

    fresh    its provider is connected, or was, or published it, or delivered, within STALE_S
    stale    not for longer: the score falls evenly, to SUNK at GONE_S
    gone     not since GONE_S: left out of searches

    zombie   nobody ever connected, or nothing that was asked ever came back well
    decoy    probes of its own examples were answered otherwise than the examples say
    drift    its price rose within DRIFT_S, or it asked for another one than its offer says
"""

from collections.abc import Callable, Iterable

import msgspec

from hanse.errors import Invalid
from hanse.protocol.amount import Amount
from hanse.registry.model import Offer
from hanse.registry.quality import DAY_S, SETTLED, Quality
from hanse.registry.search import Hit

SUNK = 0.05
ZOMBIE_S = DAY_S
"""An offer may be so old before it is told that nobody ever stood behind it."""
ASKED_MIN = 3
"""Calls and probes before their silence says something."""
DRIFT_S = 30 * DAY_S
DRIFT_SHARE = 1.2
"""A price that rose by less is no drift."""
PROBES_KEPT = 50
CHANGES_KEPT = 20

UNLIKE = "unlike-its-example"
"""How a probe ends that came back well formed and not as the example says."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Settings."""

    stale_s: int = 7 * DAY_S
    gone_s: int = 30 * DAY_S
    probes_a_minute: int = 30
    probe_every_s: int = 3600
    summaries: bool = True
    telemetry: bool = True

    def __post_init__(self) -> None:
        if not 3600 <= self.stale_s <= self.gone_s <= 10 * 365 * DAY_S:
            raise Invalid.at("stale", "must be an hour or more, and no longer than gone")
        if not 0 <= self.probes_a_minute <= 1000:
            raise Invalid.at("probes", "must be 0 to 1000 a minute")
        if not 60 <= self.probe_every_s <= DAY_S:
            raise Invalid.at("probe-every", "must be a minute to a day")


class Change(msgspec.Struct, frozen=True):
    """A price that changed."""

    at_s: int
    before_msat: int
    after_msat: int


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What a hit should know of how alive it is: `factor` on its score, and why."""

    factor: float = 1.0
    gone: bool = False
    reasons: tuple[str, ...] = ()


class Liveness:
    """Signs of life of every offer."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.seen: dict[str, int] = {}
        """When each provider was last connected, Unix seconds."""
        self._probes: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._changes: dict[tuple[str, str], list[Change]] = {}
        self._asked_more: dict[tuple[str, str], int] = {}

    # --- learning -----------------------------------------------------------------------------

    def saw(self, provider: str, at_s: int) -> None:
        """It was connected."""
        self.seen[provider] = max(at_s, self.seen.get(provider, 0))

    def probed(self, address: str, capability: str, end: str, at_s: int) -> None:
        """A free probe ended so."""
        probes = self._probes.setdefault((address, capability), [])
        probes.append((at_s, end))
        del probes[:-PROBES_KEPT]

    def priced(self, address: str, capability: str, change: Change) -> None:
        """Its price changed."""
        changes = self._changes.setdefault((address, capability), [])
        changes.append(change)
        changes.sort(key=lambda found: found.at_s)
        del changes[:-CHANGES_KEPT]

    def overcharged(self, address: str, capability: str, at_s: int) -> None:
        """The provider refused a call because it asks for another price than its offer says."""
        self._asked_more[address, capability] = at_s

    def last_probe(self, address: str, capability: str) -> int:
        """When it was last probed; 0 if never."""
        probes = self._probes.get((address, capability))
        return probes[-1][0] if probes else 0

    # --- judging ------------------------------------------------------------------------------

    def last_seen(self, offer: Offer, quality: Quality) -> int:
        """The last sign that somebody stands behind an offer."""
        delivered = quality.measured().last_seen_s or 0
        return max(offer.created_at, self.seen.get(offer.provider, 0), delivered)

    def signs(
        self, offer: Offer, capability: str, quality: Quality, *, online: bool, now_s: int
    ) -> Signs:
        """What is to be said of one capability now."""
        quiet_s = 0 if online else max(0, now_s - self.last_seen(offer, quality))
        stale_s, gone_s = self.bounds.stale_s, self.bounds.gone_s
        reasons: list[str] = []
        factor = 1.0
        if quiet_s > stale_s:
            part = (quiet_s - stale_s) / max(1, gone_s - stale_s)
            factor = max(SUNK, 1 - (1 - SUNK) * part)
            reasons.append(f"stale: no sign of its provider for {quiet_s // DAY_S} days")
        key = (offer.address, capability)
        probes = self._probes.get(key, [])
        reasons += self._zombie(offer, quality, probes, online, now_s)
        reasons += self._decoy(probes)
        reasons += self._drift(key, now_s)
        return Signs(factor=factor, gone=quiet_s > gone_s, reasons=tuple(reasons))

    def apply(
        self, hits: Iterable[Hit], quality_of: Callable[[Hit], Quality], now_s: int
    ) -> tuple[list[Hit], int]:
        """The hits with what their signs say, best first, without those that are gone; and how
        many these are."""
        found: list[Hit] = []
        gone = 0
        for hit in hits:
            signs = self.signs(
                hit.offer,
                hit.capability.name,
                quality_of(hit),
                online=hit.online,
                now_s=now_s,
            )
            if signs.gone:
                gone += 1
            elif signs.reasons:
                found.append(
                    msgspec.structs.replace(
                        hit,
                        score=round(hit.score * signs.factor, 6),
                        reasons=hit.reasons + signs.reasons,
                    )
                )
            else:
                found.append(hit)
        found.sort(key=lambda hit: (-hit.score, hit.offer.address, hit.capability.name))
        return found, gone

    def _zombie(
        self,
        offer: Offer,
        quality: Quality,
        probes: list[tuple[int, str]],
        online: bool,
        now_s: int,
    ) -> list[str]:
        measured = quality.measured()
        answered = measured.last_seen_s is not None or any(end == SETTLED for _, end in probes)
        asked = measured.samples + len(probes)
        if not answered and asked >= ASKED_MIN:
            return [f"zombie: asked {asked} times, it never answered well"]
        never = not offer.source and not online and offer.provider not in self.seen and not answered
        if never and now_s - offer.created_at > ZOMBIE_S:
            return ["zombie: its provider was never connected here"]
        return []

    def _decoy(self, probes: list[tuple[int, str]]) -> list[str]:
        unlike = sum(end == UNLIKE for _, end in probes)
        if not unlike:
            return []
        return [f"decoy: {unlike} of {len(probes)} probes came back unlike its own example"]

    def _drift(self, key: tuple[str, str], now_s: int) -> list[str]:
        reasons = []
        known = self._changes.get(key, ())
        changes = [change for change in known if change.at_s >= now_s - DRIFT_S]
        if changes:
            first, last = changes[0].before_msat, changes[-1].after_msat
            if last > first * DRIFT_SHARE:
                times = "once" if len(changes) == 1 else f"{len(changes)} times"
                reasons.append(
                    f"price drift: from {Amount(first)} to {Amount(last)} in "
                    f"{DRIFT_S // DAY_S} days, changed {times}"
                )
        asked_s = self._asked_more.get(key)
        if asked_s is not None and asked_s >= now_s - DRIFT_S:
            reasons.append("price drift: it asked for another price than its offer says")
        return reasons
