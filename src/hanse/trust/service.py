"""Trust's verb: what a viewer should think of a subject in a domain, and why.

Owns how evidence is put together; the numbers come from acceptance, graph, outcomes and levels. The
graph of endorsements is held in memory and follows the store's changes; all else is read for the
question at hand, each read bounded.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from hanse.errors import Invalid
from hanse.ports import Clock
from hanse.protocol.event import Tags
from hanse.protocol.keys import PublicKey, is_hex, public_key
from hanse.protocol.receipt import BLAMELESS, Fault
from hanse.trust.acceptance import accept
from hanse.trust.attestation import (
    BURST_WINDOW_S,
    COMMITMENT_WEIGHTS,
    DAY_S,
    Attestation,
    burst_factors,
    proven,
)
from hanse.trust.circles import Aside, Circles, at_once
from hanse.trust.endorsement import endorsement_draft
from hanse.trust.foreign import Hearsay
from hanse.trust.gather import gather
from hanse.trust.graph import Graph
from hanse.trust.levels import answer
from hanse.trust.model import (
    WEIGHT_MAX,
    Answer,
    Level,
    Operator,
    Outcome,
    Reason,
    Side,
    check_domain,
    covers,
)
from hanse.trust.outcomes import charge_vouchers, credits_of
from hanse.trust.permissions import DEFAULT_LEVELS, Levels
from hanse.trust.picture import NODES, NODES_MAX, Picture, picture
from hanse.trust.quota import Quotas
from hanse.trust.rotation import STEPS_MAX, Standing, identity
from hanse.trust.settlement import Settlement, claim_of, settled
from hanse.trust.standing import Standings
from hanse.trust.store import TrustStore
from hanse.trust.view import View

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

BETRAYED: Final = 1
"""The rating that says somebody cheated."""

NEUTRAL: Final = 3
BROKEN: Final = frozenset({Fault.SCHEMA, Fault.UNSIGNED, Fault.MALFORMED})
"""Faults that nobody but the provider can cause, and that the node saw for itself."""


class Trust:
    """Answers for any viewer. `node` is this node's key, whose receipts are believed."""

    def __init__(
        self,
        store: TrustStore,
        clock: Clock,
        *,
        node: PublicKey,
        table: Levels = DEFAULT_LEVELS,
        aside: Aside = at_once,
    ) -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self.table = table
        self._circles = Circles(store, table.levels[Level.CIRCLE].vouches_per_month, aside)
        self.standings = Standings(self._circles, clock)

    @property
    def ready(self) -> bool:
        """Whether it has read what operators say of each other; before that it raises
        Unavailable."""
        return self._circles.ready

    async def load(self) -> None:
        """Read what operators say of each other, ahead of the first question."""
        await self._circles.refresh(self._clock.now_s())
        await self.standings.advance()

    async def explain(self, viewer: str, subject: str, domain: str = "") -> Answer:
        """The score, level and reasons. Raises Invalid for what is no key or domain."""
        asked, seen_by = public_key(subject, "subject"), public_key(viewer, "viewer")
        try:
            check_domain(domain)
        except Invalid as exc:
            raise Invalid.at("domain", exc.reason) from exc
        now_s = self._clock.now_s()
        await self._circles.refresh(now_s)
        owners = await self._store.operators_of([asked, seen_by])
        me = self._circles.current(owners[seen_by])
        standing = await self._standing(asked, now_s)
        owner = standing if asked == owners[asked] else await self._standing(owners[asked], now_s)
        for stood in (standing, owner):
            if not stood.usable:
                return _unusable(me, asked, domain, stood, self._circles.current(stood.key))
        case = _Case(viewer=me, subject=self._circles.current(owners[asked]), domain=domain)
        return await self._judge(case, now_s)

    async def level(self, viewer: str, subject: str, domain: str = "") -> Level:
        """Only the level."""
        return (await self.explain(viewer, subject, domain)).level

    def draft(
        self,
        by: PublicKey,
        subject: PublicKey,
        domain: str,
        grade: int,
        days: int,
        reason: str,
    ) -> tuple[int, str, Tags]:
        """created_at, content and tags of an endorsement for its operator to sign. Raises Invalid
        for what no reader would take."""
        now_s = self._clock.now_s()
        content, tags = endorsement_draft(
            by,
            subject,
            domain,
            grade,
            created_at=now_s,
            lifetime_s=days * DAY_S,
            reason=reason,
        )
        return now_s, content, tags

    async def picture(self, viewer: str, domain: str = "", limit: int = NODES) -> Picture:
        """The viewer's circle and whom it leads to. Raises Invalid for what is no key, domain or
        number of nodes."""
        if not 1 <= limit <= NODES_MAX:
            raise Invalid.at("limit", f"must be 1 to {NODES_MAX}")
        asked = public_key(viewer, "viewer")
        try:
            check_domain(domain)
        except Invalid as exc:
            raise Invalid.at("domain", exc.reason) from exc
        now_s, circles = self._clock.now_s(), self._circles
        await circles.refresh(now_s)
        me = circles.current((await self._store.operators_of([asked]))[asked])
        circle = circles.circle(me, domain, now_s)
        barred = await self._barred(me, now_s)
        graph = await circles.graph(domain)

        def level(key: str) -> Level:
            subject = PublicKey(key)
            if key == me or key in circle:
                return Level.CIRCLE
            if key in barred or not circles.spoke(subject, now_s):
                return Level.BARRED
            told = accept(circles.counted(circle, subject), circle, key, domain)
            return Level.ACCEPTED if told.accepted else Level.STRANGER

        return picture(
            graph,
            graph.view(circle or {me}, barred - {me, *circle}),
            viewer=me,
            circle=circle,
            grades=graph.given(me),
            level=level,
            domain=domain,
            limit=limit,
        )

    async def _standing(self, key: PublicKey, now_s: int) -> Standing:
        return identity(key, {key: await self._store.statements_about(key)}, now_s).chain[0]

    async def _judge(self, case: "_Case", now_s: int) -> Answer:
        circles = self._circles
        circle = circles.circle(case.viewer, case.domain, now_s)
        barred = await self._barred(case.viewer, now_s)
        graph = await circles.graph(case.domain)
        view = graph.view(circle or {case.viewer}, barred - {case.viewer, *circle})
        trusted = {case.viewer, *circle}
        heard = await self._attestations(case.subject, trusted, now_s)
        outcomes = await self._outcomes(heard, case.subject, trusted, now_s)
        outcomes += await self._calls(case.subject)
        outcomes += await self._charges(case.subject, trusted, now_s)
        hearsay = await self._hearsay(case.subject, trusted, case.domain, now_s)
        outcomes += _heard_of(hearsay, trusted)
        levels, level_of = self.table.levels, _level_of(trusted)
        quotas = Quotas(
            lambda name: circles.vouched(PublicKey(name)),
            lambda name: levels[level_of(name)].vouches_per_month,
            case.domain,
            now_s,
        )
        raters = {one.rater for one in outcomes}
        evidence = gather(
            graph,
            view,
            circles.counted(circle, case.subject),
            [_heard_as(one, case.domain) for one in outcomes],
            credits=await self._credits(outcomes, graph, view, trusted, now_s),
            unbacked=quotas.unbacked(graph, view, raters | {case.subject}),
            viewer=case.viewer,
            circle=circle,
            subject=case.subject,
            now_s=now_s,
            domain=case.domain,
        )
        found = await self._with_follows(answer(evidence), circle)
        return _with_reviews(found, {by for by, one in hearsay if not one.weight} & circle)

    # --- what others say ----------------------------------------------------------------------

    async def _keys(self, subject: PublicKey) -> list[PublicKey]:
        """An operator, the keys it had before, and its agents."""
        keys = [*self._circles.past(subject)][:STEPS_MAX]
        for key in [*keys]:
            keys += await self._store.agents_of(key)
        return list(dict.fromkeys(keys))[:KEYS_MAX]

    async def _attestations(
        self, subject: PublicKey, trusted: set[PublicKey], now_s: int
    ) -> list[Attestation]:
        heard: list[Attestation] = []
        flooded = []
        for key in await self._keys(subject):
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

    async def _outcomes(
        self,
        heard: list[Attestation],
        subject: PublicKey,
        trusted: set[PublicKey],
        now_s: int,
    ) -> list[Outcome]:
        owners = await self._owners([one.author for one in heard])
        proofs = await self._settled(heard)
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
            good = max(0, one.rating - 3) / 2 * weight
            bad = max(0, 3 - one.rating) / 2 * weight
            if proof is None and rater not in trusted:
                good = 0.0  # praise of others counts with a proof of payment only
            if good or bad:
                outcomes.append(
                    Outcome(
                        rater=rater,
                        subject=subject,
                        domain=_domain(one.context),
                        good=good,
                        bad=bad,
                        at_s=one.created_at,
                        proven=one.rating == BETRAYED and proof is not None and rater in trusted,
                    )
                )
        return outcomes

    async def _owners(self, keys: Iterable[PublicKey]) -> dict[PublicKey, PublicKey]:
        owners = await self._store.operators_of(list(dict.fromkeys(keys)))
        return {key: self._circles.current(owner) for key, owner in owners.items()}

    async def _settled(self, heard: list[Attestation]) -> dict[str, Settlement]:
        """The attestations that a payment is proved for, among the newest claims."""
        claims = [
            (one, claim)
            for one in sorted(heard, key=lambda one: (-one.created_at, one.id))
            if (claim := claim_of(one)) is not None
        ][:CLAIMS_MAX]
        receipts = {}
        for _, claim in claims:
            id = claim.get("receipt")
            event = await self._store.event(id) if is_hex(id, 64) else None
            if event is not None:
                receipts[id] = event
        named = {key for event in receipts.values() for key in event.values("p")}
        keys = {key for key in named if is_hex(key, 64)}
        owners = await self._owners([PublicKey(key) for key in sorted(keys)])
        current = self._circles.current
        return settled(
            (one for one, _ in claims), receipts, lambda key: owners.get(key, current(key))
        )

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

    async def _calls(self, subject: PublicKey) -> list[Outcome]:
        """What this node saw itself: calls that settled, and calls that failed by the provider."""
        keys = await self._keys(subject)
        found = [
            receipt for key in keys for receipt in await self._store.receipts_of(self._node, key)
        ]
        owners = await self._owners([receipt.caller for receipt in found])
        told = Counter(
            (
                owners[receipt.caller],
                _domain(receipt.capability),
                receipt.closed_ms // 1000,
                receipt.fault,
            )
            for receipt in found
            if owners[receipt.caller] != subject
            and (receipt.price_msat if receipt.outcome == "settled" else True)
            and receipt.fault not in BLAMELESS
        )
        # Calls of one second are one outcome, as heavy as all: of two alike only one would count.
        return [
            Outcome(
                rater=rater,
                subject=subject,
                domain=domain,
                good=0.0 if fault else min(WEIGHT_MAX, CALL_GOOD * count),
                bad=min(WEIGHT_MAX, CALL_BAD * count) if fault else 0.0,
                broke=fault in BROKEN,
                at_s=at_s,
            )
            for (rater, domain, at_s, fault), count in told.items()
        ]

    async def _barred(self, viewer: PublicKey, now_s: int) -> set[PublicKey]:
        """Whom the viewer itself says cheats: nothing passes through them."""
        own = await self._store.attestations_by(viewer, now_s)
        named = [one.subject for one in own if one.rating == BETRAYED and one.is_live(now_s)]
        return set((await self._owners(named)).values())

    async def _hearsay(
        self, subject: PublicKey, trusted: set[PublicKey], domain: str, now_s: int
    ) -> list[tuple[PublicKey, Hearsay]]:
        """What other protocols' events say, by operator: of each and each kind the weightiest that
        bears on the domain, however many keys and words it has."""
        heard: dict[str, Hearsay] = {}
        for key in await self._keys(subject):
            found = await self._store.hearsay_of(key, now_s)
            if len(found) >= FLOOD:
                friends = [key for friend in trusted for key in self._circles.past(friend)]
                found += await self._store.hearsay_between(friends, key, now_s)
            heard |= {one.id: one for one in found}
        owners = await self._owners([one.author for one in heard.values()])
        best: dict[tuple[PublicKey, int], Hearsay] = {}
        for one in sorted(heard.values(), key=lambda one: (-one.weight, -one.at_s, one.id)):
            by, said = owners[one.author], _domain(one.context) if one.context else ""
            near = covers(said, domain) or covers(domain, said)
            if by != subject and near and self._circles.spoke(one.author, one.at_s):
                best.setdefault((by, one.kind), msgspec.structs.replace(one, context=said))
        return [
            (by, msgspec.structs.replace(one, subject=subject)) for (by, _), one in best.items()
        ]

    async def _charges(
        self, subject: PublicKey, trusted: set[PublicKey], now_s: int
    ) -> list[Outcome]:
        """What it costs the subject to have vouched for who then betrayed somebody trusted."""
        vouched = self._circles.vouched(subject)
        if not vouched:
            return []
        charges: list[Outcome] = []
        keys = {
            cheat: await self._keys(PublicKey(cheat))
            for cheat in sorted({found.of for found in vouched})[:KEYS_MAX]
        }
        rated = await self._store.rated({key for found in keys.values() for key in found})
        for cheat in (cheat for cheat, found in keys.items() if not rated.isdisjoint(found)):
            heard = [
                one
                for one in await self._attestations(PublicKey(cheat), trusted, now_s)
                if one.rating == BETRAYED
            ]
            for betrayal in await self._outcomes(heard, PublicKey(cheat), trusted, now_s):
                if betrayal.proven:
                    charges += [
                        charge
                        for charge in charge_vouchers(betrayal, vouched)
                        if charge.subject == subject
                    ]
        return charges

    async def _credits(
        self,
        outcomes: list[Outcome],
        graph: Graph,
        view: View,
        trusted: set[PublicKey],
        now_s: int,
    ) -> dict[Operator, float]:
        """What is left of the voices of those who often warned of whom the circle finds good."""
        loud: dict[PublicKey, float] = {}
        for one in outcomes:
            number = graph.index(one.rater) if one.bad else None
            seen = view.of(number) if number is not None else None
            if seen is not None and seen.reach and not seen.guarantor:
                loud[PublicKey(one.rater)] = seen.reach
        criers = sorted(loud, key=lambda name: (-loud[name], name))[:CRIERS_MAX]
        if not criers:
            return {}
        said: list[Attestation] = []
        for name in (*criers, *sorted(trusted)[:FRIENDS_MAX]):
            for key in (await self._keys(name))[:CRIES_KEYS_MAX]:
                said += await self._store.attestations_by(key, now_s)
        owners = await self._owners([key for one in said for key in (one.author, one.subject)])
        told = [
            Outcome(
                rater=owners[one.author],
                subject=owners[one.subject],
                good=max(0, one.rating - 3) / 2 * one.confidence,
                bad=max(0, 3 - one.rating) / 2 * one.confidence,
                at_s=one.created_at,
            )
            for one in said
            if one.rating != NEUTRAL and one.confidence and one.is_live(now_s)
        ]
        return credits_of(told, trusted, now_s)

    async def _with_follows(self, found: Answer, circle: frozenset[PublicKey]) -> Answer:
        """Follows are weak evidence: they are told, and decide nothing."""
        followers = set(await self._store.followers_of(PublicKey(found.subject))) & circle
        if not followers or found.level is Level.CIRCLE:
            return found
        text = f"followed by {len(followers)} of your circle, which decides nothing by itself"
        weak = Reason(side=Side.FOR, text=text, weight=0.1 * len(followers))
        return _told(found, weak)


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    viewer: PublicKey
    subject: PublicKey
    domain: str


def _level_of(trusted: Collection[Operator]) -> Callable[[Operator], Level]:
    """How a guarantor stands: the circle's members, and whom they accept."""
    return lambda name: Level.CIRCLE if name in trusted else Level.ACCEPTED


def _heard_of(
    hearsay: Iterable[tuple[PublicKey, Hearsay]], trusted: Collection[PublicKey]
) -> list[Outcome]:
    """Hearsay as outcomes: nothing of it is proven, so praise is the trusted's alone."""
    found = []
    for by, one in hearsay:
        good = one.good if by in trusted else 0.0
        if good or one.bad:
            found.append(
                Outcome(
                    rater=by,
                    subject=one.subject,
                    domain=one.context,
                    good=good,
                    bad=one.bad,
                    at_s=one.at_s,
                )
            )
    return found


def _with_reviews(found: Answer, reviewers: Collection[PublicKey]) -> Answer:
    """Reviews have words and no rating: they are told, and decide nothing."""
    if not reviewers:
        return found
    text = f"reviewed by {len(reviewers)} of your circle (ContextVM), which decides nothing"
    return _told(found, Reason(side=Side.FOR, text=text, weight=0.0))


def _told(found: Answer, weak: Reason) -> Answer:
    """With one reason more, after all others that speak for the subject."""
    first = next(
        (place for place, one in enumerate(found.reasons) if one.side is not Side.FOR),
        len(found.reasons),
    )
    reasons = (*found.reasons[:first], weak, *found.reasons[first:])
    return msgspec.structs.replace(found, reasons=reasons)


def _heard_as(found: Outcome, domain: str) -> Outcome:
    """What is told of a part speaks of the whole that is asked for; a betrayal with proof speaks of
    everything: who cheats in one trade is not honest in another."""
    if found.proven:
        return msgspec.structs.replace(found, domain="")
    return msgspec.structs.replace(found, domain=domain) if covers(domain, found.domain) else found


def _domain(context: str) -> str:
    """A context as a domain; one whose words are not joined by single dots speaks of itself."""
    name = context.removeprefix("task/")
    try:
        check_domain(name)
    except Invalid:
        return "unnamed"
    return name


def _unusable(
    viewer: PublicKey, subject: PublicKey, domain: str, stood: Standing, now: PublicKey
) -> Answer:
    """A key that moved or ended has no standing of its own from then on."""
    what = f"its owner said it is {stood.ended}" if stood.ended else f"it moved by {stood.by}"
    after = f"; its identity is now {now}" if now != stood.key else ""
    since_s = stood.ended_s if stood.ended_s is not None else stood.since_s or 0
    missing = f"ask for {now}" if now != stood.key else "a new key, with the consent of its owner"
    return Answer(
        viewer=viewer,
        subject=subject,
        domain=domain,
        score=0.0,
        lower_bound=0.0,
        level=Level.BARRED,
        reasons=(
            Reason(
                side=Side.AGAINST,
                text=f"this key speaks for nobody since day {since_s // DAY_S}: {what}{after}",
            ),
            Reason(side=Side.MISSING, text=missing),
        ),
    )
