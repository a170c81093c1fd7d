"""What the store says of one operator, as values that trust is computed from.

Every read is bounded. Keys become the identities they belong to now; what their own agents say of
an operator is not heard.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from hanse.errors import Invalid
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, is_hex
from hanse.protocol.receipt import BLAMELESS, Fault, Receipt, verify_receipt
from hanse.trust.attestation import (
    BURST_WINDOW_S,
    COMMITMENT_WEIGHTS,
    Attestation,
    burst_factors,
    proven,
)
from hanse.trust.circles import Circles
from hanse.trust.foreign import Hearsay
from hanse.trust.model import WEIGHT_MAX, Cause, Operator, Outcome, check_domain, covers
from hanse.trust.outcomes import credits_of
from hanse.trust.rotation import STEPS_MAX
from hanse.trust.settlement import Settlement, claim_of, settled
from hanse.trust.spam import DAY_S, spam_outcomes
from hanse.trust.store import TrustStore

CLAIMS_MAX: Final = 200
"""Receipts looked up for one answer, the newest claims first."""

KEYS_MAX: Final = 64
"""Keys of one operator's agents and past whose evidence is read."""

BURST_AUTHORS_MAX: Final = 200
CRIERS_MAX: Final = 8
"""Raters not believed whose other warnings are looked at, the loudest first."""

CRIES_KEYS_MAX: Final = 4
"""Keys of one operator that are read for it."""

FLOOD: Final = 500
"""So much hearsay about one key that what friends say is asked for by name."""

FRIENDS_MAX: Final = 64
"""Members of a circle whose praise shows a cry to be false."""

CALL_GOOD, CALL_BAD = 0.25, 0.5
"""What one call of this node is worth beside a rating: one that settled, one that failed."""

NEUTRAL: Final = 3
BROKEN: Final = frozenset({Fault.SCHEMA, Fault.UNSIGNED, Fault.MALFORMED})
"""Faults that nobody but the provider can cause, and that the node saw for itself."""

VERIFIED_MAX: Final = 4_096
"""Receipts whose signatures were checked and hold, remembered."""


class Reader:
    """Reads evidence. `node` is this node's key, whose receipts are believed."""

    def __init__(self, store: TrustStore, circles: Circles, node: PublicKey) -> None:
        self._store = store
        self._circles = circles
        self._node = node
        self._verified: OrderedDict[str, Receipt] = OrderedDict()

    async def keys(self, subject: PublicKey) -> list[PublicKey]:
        """An operator, the keys it had before, and its agents."""
        keys = [*self._circles.past(subject)][:STEPS_MAX]
        for key in [*keys]:
            keys += await self._store.agents_of(key)
        return list(dict.fromkeys(keys))[:KEYS_MAX]

    async def owners(self, keys: Iterable[PublicKey]) -> dict[PublicKey, PublicKey]:
        """The operator, as it is now, who answers for each key."""
        owners = await self._store.operators_of(list(dict.fromkeys(keys)))
        return {key: self._circles.current(owner) for key, owner in owners.items()}

    async def attestations(
        self, subject: PublicKey, trusted: Collection[PublicKey], now_s: int
    ) -> list[Attestation]:
        """What is said of somebody; of a flood the newest, and all that the trusted say."""
        heard: list[Attestation] = []
        flooded = []
        for key in await self.keys(subject):
            told = await self._store.attestations_of(key, now_s)
            heard += told
            if len(told) >= self._store.attestations_max:
                flooded.append(key)
        if flooded:
            # Asked for by name: a flood of others' must not push out what those one trusts say.
            friends = [key for friend in trusted for key in self._circles.past(friend)]
            heard += await self._store.attestations_between(friends, flooded, now_s)
        found = {one.id: one for one in heard}
        return [
            one
            for one in found.values()
            if one.is_live(now_s) and self._circles.spoke(one.author, one.created_at)
        ]

    async def outcomes(
        self,
        heard: list[Attestation],
        subject: PublicKey,
        trusted: Collection[PublicKey],
        now_s: int,
    ) -> list[Outcome]:
        """What attestations are worth: praise of others than the trusted with a proof only."""
        owners = await self.owners([one.author for one in heard])
        proofs = await self.settled(heard)
        bursts = await self._bursts(heard, set(owners), now_s)
        outcomes = []
        for one in heard:
            rater = owners[one.author]
            if rater == subject:
                continue  # its own agents say what it wants to hear
            proof = proofs.get(one.id)
            weight = (
                one.confidence
                * COMMITMENT_WEIGHTS[proven(one, settled=proof is not None)]
                * bursts.get(one.id, 1.0)
            )
            good = max(0, one.rating - NEUTRAL) / 2 * weight
            bad = max(0, NEUTRAL - one.rating) / 2 * weight
            if proof is None and rater not in trusted:
                good = 0.0
            if good or bad:
                outcomes.append(
                    Outcome(
                        rater=rater,
                        subject=subject,
                        domain=domain_of(one.context),
                        good=good,
                        bad=bad,
                        at_s=one.created_at,
                    )
                )
        return outcomes

    async def settled(self, heard: Iterable[Attestation]) -> dict[str, Settlement]:
        """The attestations that a payment is proved for, among the newest claims."""
        claims = [
            (one, claim)
            for one in sorted(heard, key=lambda one: (-one.created_at, one.id))
            if (claim := claim_of(one)) is not None
        ][:CLAIMS_MAX]
        receipts: dict[str, Event] = {}
        for _, claim in claims:
            id = claim.get("receipt")
            event = await self._store.event(id) if is_hex(id, 64) else None
            if event is not None:
                receipts[id] = event
        named = {key for event in receipts.values() for key in event.values("p")}
        keys = {key for key in named if is_hex(key, 64)}
        owners = await self.owners([PublicKey(key) for key in sorted(keys)])
        current = self._circles.current
        return settled(
            (one for one, _ in claims),
            receipts,
            lambda key: owners.get(key, current(key)),
            self._verify,
        )

    def _verify(self, event: Event) -> Receipt:
        found = self._verified.get(event.id)
        if found is None:
            found = self._verified[event.id] = verify_receipt(event)
            if len(self._verified) > VERIFIED_MAX:
                self._verified.popitem(last=False)
        return found

    async def _bursts(
        self, heard: list[Attestation], authors: set[PublicKey], now_s: int
    ) -> dict[str, float]:
        """The factor of each attestation written in a burst, by id."""
        since = min((one.created_at for one in heard), default=now_s) - BURST_WINDOW_S
        factors: dict[str, float] = {}
        for author in sorted(authors)[:BURST_AUTHORS_MAX]:
            times = await self._store.attestation_times(author, since)
            factors |= zip(times, burst_factors(list(times.values())), strict=True)
        return factors

    async def calls(self, subject: PublicKey) -> list[Outcome]:
        """What this node saw itself: calls that settled, and calls that failed by the provider."""
        keys = await self.keys(subject)
        found = [
            receipt for key in keys for receipt in await self._store.receipts_of(self._node, key)
        ]
        owners = await self.owners([receipt.caller for receipt in found])
        told = Counter(
            (
                owners[receipt.caller],
                domain_of(receipt.capability),
                receipt.closed_ms // 1000,
                Cause.LATE if receipt.fault == Fault.TOO_LATE else Cause.CALL,
                CALL_GOOD if receipt.price_msat and not receipt.fault else 0.0,
                CALL_BAD if receipt.fault else 0.0,
                receipt.fault in BROKEN,
            )
            for receipt in found
            if owners[receipt.caller] != subject and receipt.fault not in BLAMELESS
        )
        # Calls of one second are one outcome, as heavy as all: of two alike only one would count.
        return [
            Outcome(
                rater=rater,
                subject=subject,
                domain=domain,
                good=min(WEIGHT_MAX, good * count),
                bad=min(WEIGHT_MAX, bad * count),
                broke=broke,
                at_s=at_s,
                cause=cause,
                count=count,
            )
            for (rater, domain, at_s, cause, good, bad, broke), count in told.items()
        ]

    async def spam(self, subject: PublicKey, by: PublicKey, now_s: int) -> list[Outcome]:
        """What this node's relay, which is `by`'s, refused of somebody. Days on which a key ended
        or moved are left out: it may have been a thief."""
        days: Counter[int] = Counter()
        for key, day, count in await self._store.refused_of(await self.keys(subject)):
            if self._circles.spoke(key, (day + 1) * DAY_S - 1):
                days[day] += count
        return spam_outcomes(days, by=by, of=subject, now_s=now_s)

    async def hearsay(
        self, subject: PublicKey, trusted: Collection[PublicKey], domain: str, now_s: int
    ) -> list[tuple[PublicKey, Hearsay]]:
        """What other protocols' events say, by operator: of each and each kind the weightiest that
        bears on the domain, however many keys and words it has."""
        heard: dict[str, Hearsay] = {}
        for key in await self.keys(subject):
            found = await self._store.hearsay_of(key, now_s)
            if len(found) >= FLOOD:
                friends = [key for friend in trusted for key in self._circles.past(friend)]
                found += await self._store.hearsay_between(friends, key, now_s)
            heard |= {one.id: one for one in found}
        owners = await self.owners([one.author for one in heard.values()])
        best: dict[tuple[PublicKey, int], Hearsay] = {}
        for one in sorted(heard.values(), key=lambda one: (-one.weight, -one.at_s, one.id)):
            by, said = owners[one.author], domain_of(one.context) if one.context else ""
            near = covers(said, domain) or covers(domain, said)
            if by != subject and near and self._circles.spoke(one.author, one.at_s):
                best.setdefault((by, one.kind), msgspec.structs.replace(one, context=said))
        return [
            (by, msgspec.structs.replace(one, subject=subject)) for (by, _), one in best.items()
        ]

    async def credits(
        self,
        outcomes: Iterable[Outcome],
        reach_of: Callable[[Operator], float],
        trusted: Collection[PublicKey],
        now_s: int,
    ) -> dict[Operator, float]:
        """What is left of the voices of those who often warned of whom the circle finds good.
        `reach_of` is 0 for who is believed, or not reached."""
        loud = {PublicKey(one.rater): reach_of(one.rater) for one in outcomes if one.bad}
        criers = sorted((name for name in loud if loud[name]), key=lambda name: (-loud[name], name))
        if not criers:
            return {}
        said: list[Attestation] = []
        for name in (*criers[:CRIERS_MAX], *sorted(trusted)[:FRIENDS_MAX]):
            for key in (await self.keys(name))[:CRIES_KEYS_MAX]:
                said += await self._store.attestations_by(key, now_s)
        owners = await self.owners([key for one in said for key in (one.author, one.subject)])
        told = [
            Outcome(
                rater=owners[one.author],
                subject=owners[one.subject],
                good=max(0, one.rating - NEUTRAL) / 2 * one.confidence,
                bad=max(0, NEUTRAL - one.rating) / 2 * one.confidence,
                at_s=one.created_at,
            )
            for one in said
            if one.rating != NEUTRAL and one.confidence and one.is_live(now_s)
        ]
        return credits_of(told, trusted, now_s)


def domain_of(context: str) -> str:
    """A context as a domain; one whose words are not joined by single dots speaks of itself."""
    name = context.removeprefix("task/")
    try:
        check_domain(name)
    except Invalid:
        return "unnamed"
    return name
