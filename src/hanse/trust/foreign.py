"""What other protocols' events say of somebody: one small reader for each, weak by its weights.

None of them carries a proof that we could check, so none counts like a dealing. A reader gives None
for what is not of its format: that is somebody else's event, and no error.

| kind | what | weighs at most |
|---|---|---|
| 30386 | agent reputation attestation | 0.5 by a counterparty, 0.35 by an observer |
| 1984 | report (NIP-56) | 0.5 impersonation and malware, 0.25 spam and illegal, tastes nothing |
| 1111 | review of a ContextVM server (CEP-24) | nothing: it has words and no rating; it is told |
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, is_hex

DAY_S: Final = 86_400
LIFETIME_MAX_S: Final = 365 * DAY_S
DIMENSIONS_MAX: Final = 20
CONTEXT_MAX: Final = 200
HALF_LIFE_HOURS: Final = 720.0
STALE: Final = math.log2(20)
"""Half-lives after which 30386's own text calls one stale: a twentieth is left."""

FIGURE_WEIGHTS: Final = {"bilateral": 0.5, "observer": 0.35}
REPORT_WEIGHTS: Final = {"impersonation": 0.5, "malware": 0.5, "spam": 0.25, "illegal": 0.25}

_SHARES: Final[dict[str, tuple[int, Callable[[float], float]]]] = {
    "payment_success_rate": (5, lambda found: found),
    "settlement_rate": (5, lambda found: found),
    "dispute_rate": (5, lambda found: 1 - found),
    "uptime_percent": (1, lambda found: found / 100),
}
"""Dimensions that say how large a share went well: the fewest samples, and the share."""


class Hearsay(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a key, unproven. Neither good nor bad: it is only told."""

    id: str
    kind: int
    author: PublicKey
    subject: PublicKey
    context: str = ""
    good: float = 0.0
    bad: float = 0.0
    at_s: int
    expires: int

    @property
    def weight(self) -> float:
        """How much it says, either way."""
        return self.good + self.bad


def read_foreign(event: Event) -> Hearsay | None:
    """What an event of another protocol says; None if nothing that we can use."""
    reader = READERS.get(event.kind)
    found = reader(event) if reader is not None else None
    return found if found is not None and found.subject != found.author else None


# --- kind 30386 -----------------------------------------------------------------------------------


def read_figures(event: Event) -> Hearsay | None:
    """An agent reputation attestation: the mean share of what went well."""
    subject, service = _one(event, "p"), _one(event, "service_type")
    weight = FIGURE_WEIGHTS.get(_one(event, "attestation_type"))
    labelled = "agent-reputation" in event.values("L") and "attestation" in event.values("l")
    named = (event.tag("d") or "").partition(":")[2]
    if weight is None or not labelled or not is_hex(subject, 64):
        return None
    if not service or service != named or len(service) > CONTEXT_MAX or "\0" in service:
        return None
    shares = [found for found in map(_share, _tags(event, "dimension")) if found is not None]
    hours = _number(event.tag("half_life_hours") or str(HALF_LIFE_HOURS))
    if not shares or hours is None or hours <= 0:
        return None
    share = math.fsum(shares) / len(shares)
    life_s = min(LIFETIME_MAX_S, int(hours * 3600 * STALE))
    return Hearsay(
        id=event.id,
        kind=event.kind,
        author=event.pubkey,
        subject=PublicKey(subject),
        context=service,
        good=weight * share,
        bad=weight * (1 - share),
        at_s=event.created_at,
        expires=event.created_at + max(1, life_s),
    )


def _share(tag: tuple[str, ...]) -> float | None:
    if len(tag) < 4 or tag[1] not in _SHARES:
        return None
    fewest, share_of = _SHARES[tag[1]]
    value, samples = _number(tag[2]), _number(tag[3])
    if value is None or samples is None or samples < fewest:
        return None
    share = share_of(value)
    return share if 0 <= share <= 1 else None


# --- kind 1984 ------------------------------------------------------------------------------------


def read_report(event: Event) -> Hearsay | None:
    """A report of one key, or of one event by it."""
    named = _tags(event, "p")
    typed = [tag for tag in named if len(tag) > 2 and tag[2]]
    if typed:
        what, named = typed[0][2], typed
    else:
        about = [tag for tag in _tags(event, "e") if len(tag) > 2 and tag[2]]
        what = about[0][2] if about else ""
    weight = REPORT_WEIGHTS.get(what)
    if weight is None or len(named) != 1 or not is_hex(named[0][1], 64):
        return None
    return _told(event, named[0][1], bad=weight)


# --- kind 1111 ------------------------------------------------------------------------------------


def read_review(event: Event) -> Hearsay | None:
    """A comment on a ContextVM server's announcement, no answer to another comment."""
    server = f"{kinds.SERVER_ANNOUNCEMENT}"
    if (_one(event, "K"), _one(event, "k")) != (server, server):
        return None
    kind, _, rest = _one(event, "A").partition(":")
    subject, colon, identifier = rest.partition(":")
    if kind != server or not colon or identifier or not is_hex(subject, 64):
        return None
    if any(value != subject for value in (*event.values("P"), *event.values("p"))):
        return None
    return _told(event, subject)


READERS: Final[dict[int, Callable[[Event], Hearsay | None]]] = {
    kinds.COMMENT: read_review,
    kinds.REPORT: read_report,
    kinds.FIGURES: read_figures,
}


def may_speak(event: Event) -> bool:
    """Whether a look at an event's kind and one tag leaves it possible: most comments are none."""
    return event.kind in READERS and (
        event.kind != kinds.COMMENT or event.tag("K") == f"{kinds.SERVER_ANNOUNCEMENT}"
    )


def _told(event: Event, subject: str, bad: float = 0.0) -> Hearsay:
    return Hearsay(
        id=event.id,
        kind=event.kind,
        author=event.pubkey,
        subject=PublicKey(subject),
        bad=bad,
        at_s=event.created_at,
        expires=event.created_at + LIFETIME_MAX_S,
    )


def _tags(event: Event, name: str) -> list[tuple[str, ...]]:
    found = [tuple(tag) for tag in event.tags if len(tag) > 1 and tag[0] == name]
    return found[:DIMENSIONS_MAX]


def _one(event: Event, name: str) -> str:
    """A tag's value; nothing if it stands more than once, for then it contradicts itself."""
    found = event.values(name)
    return found[0] if len(found) == 1 else ""


def _number(text: str) -> float | None:
    try:
        found = float(text) if len(text) <= 32 else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None
