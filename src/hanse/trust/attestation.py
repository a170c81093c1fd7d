"""Kind 30085, one agent's rating of another: the profile we pin, its rules, and what one weighs.

Owns the format and the weight of one attestation; whom its author is to a reader, it does not know.
docs/reference/attestations.md says which of the two proposals each rule is from, and why.

    tags      d  "<subject>:<context>"    p  subject    t  context    expiration  Unix seconds
              commitment_class?  half_life_class?  status?  v?  consistency_window?
    content   {"subject", "context", "rating": 1..5, "confidence": 0..1, "evidence"?: [{"type"}]}
"""

import enum
import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hanse.errors import Invalid, Stale
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, field_error
from hanse.protocol.keys import PublicKey, is_hex
from hanse.protocol.work import shortfall

DAY_S: Final = 86_400
LIFETIME_MAX_S: Final = 730 * DAY_S
"""However far its expiration lies, an attestation ends so long after it was written."""

FUTURE_S: Final = 900
"""How far ahead of a reader's clock it may have been written: the relay's own tolerance."""

CONTEXT_MAX: Final = 200
EVIDENCE_MAX: Final = 64
NEGATIVE_MAX: Final = 2
"""Ratings up to this one are negative."""

BETRAYED: Final = 1
"""The rating that says somebody cheated."""

NEGATIVE_WEIGHT: Final = 2.0
BURST_WINDOW_S: Final = DAY_S
BURST_MAX: Final = 5
PROVEN_WORK_BITS: Final = 20
"""Work (NIP-13) in the attestation's own id that counts as a computational proof."""

_ONCE = ("d", "p", "t", "expiration", "commitment_class", "half_life_class", "status", "v")


class Commitment(enum.StrEnum):
    """What an attestation cost its author, cheapest first."""

    SELF_ASSERTION = "self_assertion"
    SOCIAL_ENDORSEMENT = "social_endorsement"
    COMPUTATIONAL_PROOF = "computational_proof"
    TIME_LOCK = "time_lock"
    ECONOMIC_SETTLEMENT = "economic_settlement"


COMMITMENT_WEIGHTS: Final = {
    Commitment.SELF_ASSERTION: 1.0,
    Commitment.SOCIAL_ENDORSEMENT: 1.05,
    Commitment.COMPUTATIONAL_PROOF: 1.1,
    Commitment.TIME_LOCK: 1.15,
    Commitment.ECONOMIC_SETTLEMENT: 1.25,
}


class HalfLife(enum.StrEnum):
    """How fast what is known of a context grows old."""

    SLOW = "slow"
    STANDARD = "standard"
    FAST = "fast"


HALF_LIVES_S: Final = {
    HalfLife.SLOW: 180 * DAY_S,
    HalfLife.STANDARD: 90 * DAY_S,
    HalfLife.FAST: 30 * DAY_S,
}

CONTEXT_HALF_LIVES: Final = {
    "task/code-review": HalfLife.SLOW,
    "task/translation": HalfLife.SLOW,
    "code.review": HalfLife.SLOW,
    "translation": HalfLife.SLOW,
    "nip90.translation": HalfLife.SLOW,
    "task/payment-routing": HalfLife.FAST,
    "payment.routing": HalfLife.FAST,
    "responsiveness": HalfLife.FAST,
    "uptime": HalfLife.FAST,
}
"""Contexts that are not `standard`, with all below them (`code.review.python`)."""


class Evidence(msgspec.Struct, frozen=True):
    """One piece of evidence as its author wrote it: a type and string fields."""

    type: str
    fields: dict[str, str]

    def get(self, name: str) -> str:
        """A field, or an empty text."""
        return self.fields.get(name, "")


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """A checked attestation. `expires` is bounded; `claimed` is only its author's word."""

    id: str
    author: PublicKey
    subject: PublicKey
    context: str
    rating: int
    confidence: float
    created_at: int
    expires: int
    claimed: Commitment = Commitment.SELF_ASSERTION
    half_life: HalfLife = HalfLife.STANDARD
    revoked: bool = False
    worked: bool = False
    version: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_negative(self) -> bool:
        """Whether it warns."""
        return self.rating <= NEGATIVE_MAX

    def is_live(self, now_s: int) -> bool:
        """Whether it counts now: written, not expired, not revoked."""
        return not self.revoked and self.created_at <= now_s + FUTURE_S and now_s < self.expires


# --- reading --------------------------------------------------------------------------------------


def is_attestation(event: Event) -> bool:
    """Whether the event is one at all. Another proposal uses the same kind for WebRTC; its events
    are no bad attestations, they are none, and are dropped without a word."""
    if event.kind != kinds.ATTESTATION:
        return False
    subject, colon, context = (event.tag("d") or "").partition(":")
    return (
        bool(colon)
        and is_hex(subject, 64)
        and bool(context)
        and ":" not in context
        and event.tag("p") is not None
    )


def read_attestation(event: Event, now_s: int | None = None) -> Attestation:
    """An attestation, all ten rules checked in the order of the proposal; the signature is not.
    Without `now_s` the last one, that it has not expired, is left to `is_live`. Raises Invalid."""
    if event.kind != kinds.ATTESTATION:
        raise Invalid.at("attestation.kind", f"must be {kinds.ATTESTATION}")
    content = _content(event)
    tags = {name: _single(event.tags, name) for name in _ONCE}
    if not is_hex(content.subject, 64):
        raise Invalid.at("attestation.content.subject", "must be 64 lower-case hex characters")
    if content.subject != tags["p"]:
        raise Invalid.at("attestation.content.subject", "is not the p tag's key")
    if content.context != tags["t"]:
        raise Invalid.at("attestation.content.context", "is not the t tag's")
    _check_context(content.context)
    if tags["d"] != f"{tags['p']}:{tags['t']}":
        raise Invalid.at("attestation.tags.d", "must be the p tag, a colon and the t tag")
    rating = _rating(content.rating)
    if not (math.isfinite(content.confidence) and 0 <= content.confidence <= 1):
        raise Invalid.at("attestation.content.confidence", "must be 0 to 1")
    expiration = _seconds(tags["expiration"], "expiration")
    if event.pubkey == content.subject:
        raise Invalid.at("attestation.pubkey", "nobody attests themselves")
    _check_window(event)
    found = Attestation(
        id=event.id,
        author=event.pubkey,
        subject=PublicKey(content.subject),
        context=content.context,
        rating=rating,
        confidence=content.confidence,
        created_at=event.created_at,
        expires=min(expiration, event.created_at + LIFETIME_MAX_S),
        claimed=_commitment(tags["commitment_class"] or content.commitment_class or ""),
        half_life=half_life(content.context, tags["half_life_class"] or ""),
        revoked=tags["status"] == "revoked",
        worked=shortfall(event.id, event.tags, PROVEN_WORK_BITS) is None,
        version=tags["v"] or "",  # an unknown one is read as far as it can be
        evidence=_evidence(content.evidence),
    )
    if now_s is not None:
        _check_time(found, now_s)
    return found


def attestation_draft(
    subject: PublicKey,
    context: str,
    rating: int,
    confidence: float,
    *,
    created_at: int,
    expires: int,
    commitment: Commitment = Commitment.SELF_ASSERTION,
    evidence: Sequence[Evidence] = (),
    revoked: bool = False,
) -> tuple[str, Tags]:
    """Content and tags of an attestation to sign. Raises Invalid for what no reader would take."""
    _check_context(context)
    _rating(rating)
    if not (math.isfinite(confidence) and 0 <= confidence <= 1):
        raise Invalid.at("attestation.content.confidence", "must be 0 to 1")
    if not created_at < expires <= created_at + LIFETIME_MAX_S:
        days = LIFETIME_MAX_S // DAY_S
        raise Invalid.at("attestation.tags.expiration", f"must lie within {days} days")
    content: dict[str, Any] = {
        "subject": subject,
        "context": context,
        "rating": rating,
        "confidence": confidence,
    }
    if evidence:
        content["evidence"] = [{"type": found.type, **found.fields} for found in evidence]
    tags: Tags = (
        ("d", f"{subject}:{context}"),
        ("p", subject),
        ("t", context),
        ("expiration", str(expires)),
        ("commitment_class", commitment.value),
        *((("status", "revoked"),) if revoked else ()),
    )
    return msgspec.json.encode(content).decode(), tags


def half_life(context: str, asked: str = "") -> HalfLife:
    """The class of a context: the reader's own map, by the longest name that holds it. What an
    author asks for may only make their attestation grow old faster."""
    name, found = context.lower(), HalfLife.STANDARD
    while name:
        if name in CONTEXT_HALF_LIVES:
            found = CONTEXT_HALF_LIVES[name]
            break
        name = name[: max(name.rfind("."), name.rfind("/"), 0)]
    wanted = HalfLife(asked) if asked in set(HalfLife) else found
    return min(found, wanted, key=lambda one: HALF_LIVES_S[one])


class _Content(msgspec.Struct, frozen=True):
    subject: str
    rating: int | float
    context: str
    confidence: float
    evidence: Any = None
    commitment_class: str | None = None


_decode = msgspec.json.Decoder(_Content).decode
_decode_any = msgspec.json.Decoder().decode


def _content(event: Event) -> _Content:
    try:
        return _decode(event.content)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "attestation.content") from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Invalid.at("attestation.content", "is not JSON") from exc


def _single(tags: Tags, name: str) -> str | None:
    found = [tag[1] if len(tag) > 1 else "" for tag in tags if tag and tag[0] == name]
    if len(found) > 1:
        raise Invalid.at(f"attestation.tags.{name}", "stands more than once")
    return found[0] if found else None


def _check_context(context: str) -> None:
    if not 0 < len(context) <= CONTEXT_MAX or not context.isprintable():
        raise Invalid.at(
            "attestation.content.context", f"must have 1 to {CONTEXT_MAX} printable characters"
        )
    if ":" in context:
        raise Invalid.at("attestation.content.context", "must have no colon", "use dots")


def _rating(rating: int | float) -> int:
    if isinstance(rating, bool) or rating != rating // 1:  # 4.0 and 4 are one number in JSON
        raise Invalid.at("attestation.content.rating", "must be an integer")
    if not 1 <= rating <= 5:
        raise Invalid.at("attestation.content.rating", "must be 1 to 5")
    return int(rating)


def _seconds(text: str | None, name: str) -> int:
    if not text or not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Invalid.at(f"attestation.tags.{name}", "must be Unix seconds")
    return int(text)


def _check_window(event: Event) -> None:
    """What it observed lies before it was written: by its own clock, so that every reader agrees
    whenever they read."""
    for tag in event.tags:
        if tag and tag[0] == "consistency_window":
            values = (*tag[1:], "", "")
            start = _seconds(values[0], "consistency_window")
            end = _seconds(values[1], "consistency_window")
            if not start < end <= event.created_at + FUTURE_S:
                raise Invalid.at(
                    "attestation.tags.consistency_window", "must start before it ends, in the past"
                )


def _check_time(found: Attestation, now_s: int) -> None:
    if found.created_at > now_s + FUTURE_S:
        raise Stale("is in the future", field="attestation.created_at")
    if now_s >= found.expires:
        raise Stale("has passed", field="attestation.tags.expiration")


def _commitment(text: str) -> Commitment:
    return Commitment(text) if text in set(Commitment) else Commitment.SELF_ASSERTION


def _evidence(found: Any) -> tuple[Evidence, ...]:
    """A list, or a string that holds one as the older proposal writes it. Unknown shapes are left
    out: evidence of a kind nobody knows is no reason to refuse the rating."""
    if isinstance(found, str):
        try:
            found = _decode_any(found)
        except (msgspec.DecodeError, RecursionError):
            return ()
    if not isinstance(found, list):
        return ()
    return tuple(
        Evidence(
            one["type"],
            {
                key: str(value)
                for key, value in one.items()
                if key != "type" and isinstance(value, str | int) and not isinstance(value, bool)
            },
        )
        for one in found[:EVIDENCE_MAX]
        if isinstance(one, dict) and isinstance(one.get("type"), str)
    )


# --- weighing -------------------------------------------------------------------------------------


class Decay(enum.StrEnum):
    """How weight falls with age. Both halve it at the half-life; Gaussian forgets sooner after."""

    EXPONENTIAL = "exponential"
    GAUSSIAN = "gaussian"


def decay(age_s: float, half_life_s: float, kind: Decay = Decay.EXPONENTIAL) -> float:
    """The share of weight left at an age: 1 for the future, 0.5 at the half-life."""
    if age_s <= 0:
        return 1.0
    halves = age_s / half_life_s
    return float(2.0 ** -(halves if kind is Decay.EXPONENTIAL else halves * halves))


def proven(found: Attestation, *, settled: bool = False) -> Commitment:
    """The commitment that holds: a claim counts only as far as it was checked. `settled` says that
    `settlement` found both signatures. A time lock cannot be checked here, so it counts nothing."""
    if settled:
        return Commitment.ECONOMIC_SETTLEMENT
    if found.worked:
        return Commitment.COMPUTATIONAL_PROOF
    if found.claimed is Commitment.SOCIAL_ENDORSEMENT:
        return Commitment.SOCIAL_ENDORSEMENT
    return Commitment.SELF_ASSERTION


def burst_factors(times: Sequence[int]) -> list[float]:
    """For each attestation of one author, given by time: 1, or 1/√n when it lies in a window of
    BURST_WINDOW_S with n of them, more than BURST_MAX. In the order given."""
    order = sorted(range(len(times)), key=times.__getitem__)
    counts: list[int] = []  # of the window that starts with each
    end = 0
    for start in range(len(order)):
        while end < len(order) and times[order[end]] - times[order[start]] < BURST_WINDOW_S:
            end += 1
        counts.append(end - start)
    factors = [1.0] * len(times)
    best: deque[int] = deque()  # starts whose window still holds this one, largest first
    for place, index in enumerate(order):
        while best and counts[best[-1]] <= counts[place]:
            best.pop()
        best.append(place)
        while times[index] - times[order[best[0]]] >= BURST_WINDOW_S:
            best.popleft()
        count = counts[best[0]]
        factors[index] = 1.0 if count <= BURST_MAX else 1 / math.sqrt(count)
    return factors


def weight(
    found: Attestation,
    now_s: int,
    commitment: Commitment,
    *,
    kind: Decay = Decay.EXPONENTIAL,
    burst: float = 1.0,
) -> float:
    """What one attestation weighs now; 0 if it does not count."""
    if not found.is_live(now_s):
        return 0.0
    return (
        found.confidence
        * decay(now_s - found.created_at, HALF_LIVES_S[found.half_life], kind)
        * (NEGATIVE_WEIGHT if found.is_negative else 1.0)
        * COMMITMENT_WEIGHTS[commitment]
        * burst
    )


def tier1(weighed: Sequence[tuple[int, float]]) -> float | None:
    """The weighted mean of (rating, weight), 1 to 5; None when nothing weighs: unknown, not bad."""
    total = math.fsum(weight for _, weight in weighed)
    if total <= 0:
        return None
    return math.fsum(rating * weight for rating, weight in weighed) / total


# --- diversity ------------------------------------------------------------------------------------


class Diversity(msgspec.Struct, frozen=True, kw_only=True):
    """How independent of each other those who attest one subject are."""

    attestors: int
    clusters: int
    entropy_bits: float
    herfindahl: float

    @property
    def share(self) -> float:
        """Clusters per attestor: 1 when nobody is tied to another."""
        return self.clusters / self.attestors

    def tier2(self, score: float) -> float:
        """The Tier 1 score times the diversity."""
        return self.share * score


def diversity(
    subject: PublicKey,
    authors: Sequence[PublicKey],
    others: Sequence[tuple[PublicKey, PublicKey]],
) -> Diversity | None:
    """Of the authors of a subject's attestations, one entry for each; None without any. `others`
    are (author, subject) of their further attestations: two authors are tied when they attest each
    other, or both a third."""
    if not authors:
        return None
    names = sorted(set(authors))
    parent = {name: name for name in names}

    def root(name: PublicKey) -> PublicKey:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    edges = {(author, target) for author, target in others if author in parent}
    first: dict[PublicKey, PublicKey] = {}
    for author, target in sorted(edges):
        if target == subject:
            continue
        if target in parent and (target, author) in edges:
            parent[root(author)] = root(target)
        parent[root(author)] = root(first.setdefault(target, author))
    shares = [count / len(authors) for count in Counter(authors).values()]
    return Diversity(
        attestors=len(names),
        clusters=len({root(name) for name in names}),
        entropy_bits=-math.fsum(share * math.log2(share) for share in shares) + 0.0,
        herfindahl=math.fsum(share * share for share in shares),
    )
