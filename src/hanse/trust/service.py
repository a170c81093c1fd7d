"""Trust's verb: what a viewer should think of a subject in a domain, and why.

Owns how evidence is put together; the numbers come from acceptance, graph, outcomes and levels. The
graph of endorsements is held in memory and follows the store's changes; all else is read for the
question at hand, each read bounded.
"""

from collections.abc import Collection, Iterable

import msgspec

from hanse.errors import Invalid
from hanse.ports import Clock
from hanse.protocol.event import Tags
from hanse.protocol.keys import PublicKey, public_key
from hanse.trust.acceptance import accept
from hanse.trust.attestation import DAY_S
from hanse.trust.betrayals import Betrayals, Told
from hanse.trust.circles import Aside, Circles, at_once
from hanse.trust.endorsement import endorsement_draft
from hanse.trust.foreign import Hearsay
from hanse.trust.gather import gather
from hanse.trust.graph import Graph
from hanse.trust.levels import Evidence, answer
from hanse.trust.model import (
    Answer,
    Level,
    Operator,
    Outcome,
    Reason,
    Side,
    check_domain,
    covers,
)
from hanse.trust.outcomes import BELIEVED
from hanse.trust.permissions import DEFAULT_LEVELS, Levels
from hanse.trust.picture import NODES, NODES_MAX, Picture, picture
from hanse.trust.quota import Quotas
from hanse.trust.reader import Reader
from hanse.trust.rotation import Standing, Statement, identity
from hanse.trust.standing import Standings
from hanse.trust.store import TrustStore
from hanse.trust.view import View


class Trust:
    """Answers for any viewer. `node` is this node's key, whose receipts are believed; what its
    relay refused as spam is evidence to its `operator`."""

    def __init__(
        self,
        store: TrustStore,
        clock: Clock,
        *,
        node: PublicKey,
        operator: PublicKey | None = None,
        table: Levels = DEFAULT_LEVELS,
        aside: Aside = at_once,
    ) -> None:
        self._store = store
        self._clock = clock
        self._operator = operator
        self.table = table
        self._circles = Circles(store, table.levels[Level.CIRCLE].vouches_per_month, aside)
        self._reader = Reader(store, self._circles, node)
        self._betrayals = Betrayals(store, self._circles, self._reader)
        self.standings = Standings(self._circles, self._betrayals, clock)

    @property
    def ready(self) -> bool:
        """Whether it has read what operators say of each other; before that it raises
        Unavailable."""
        return self._circles.ready

    async def load(self) -> None:
        """Read what operators say of each other, ahead of the first question."""
        await self._circles.refresh(self._clock.now_s())
        await self.standings.advance()

    def speaks_for(self, identity: PublicKey, key: PublicKey) -> bool:
        """Whether a key speaks for an identity now: with a rotation, at once. Before all is read it
        is known of the identity's own key alone."""
        if not self.ready:
            return key == identity
        return key == self.standings.current(identity) and self.standings.speaks(key)

    async def heir(self, key: PublicKey) -> PublicKey:
        """The key that speaks for a key's identity now; may be asked before all is read."""
        about: dict[PublicKey, list[Statement]] = {}
        while True:
            found = identity(key, about, self._clock.now_s()).current
            if found in about:
                return found
            about[found] = await self._store.statements_about(found)

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
        scene = await self._scene(me, domain, now_s)
        circle, barred, graph = scene.circle, scene.told.barred, scene.graph

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
            scene.view,
            viewer=me,
            circle=circle,
            grades=graph.given(me),
            level=level,
            domain=domain,
            limit=limit,
        )

    async def _standing(self, key: PublicKey, now_s: int) -> Standing:
        return identity(key, {key: await self._store.statements_about(key)}, now_s).chain[0]

    async def _scene(self, viewer: PublicKey, domain: str, now_s: int) -> "_Scene":
        circles = self._circles
        named = circles.circle(viewer, domain, now_s)
        told = await self._betrayals.told(viewer, named, now_s)
        circle = named - told.barred
        graph = await circles.graph(domain)
        return _Scene(
            viewer=viewer,
            domain=domain,
            now_s=now_s,
            circle=circle,
            told=told,
            graph=graph,
            view=graph.view(circle or {viewer}, told.barred),
        )

    async def _judge(self, case: "_Case", now_s: int) -> Answer:
        subject = case.subject
        scene = await self._scene(case.viewer, case.domain, now_s)
        trusted = {scene.viewer, *scene.circle}
        outcomes = await self._outcomes(scene, subject)
        hearsay = await self._reader.hearsay(subject, trusted, case.domain, now_s)
        outcomes += [_heard_as(one, case.domain) for one in _heard_of(hearsay, trusted)]
        raters = {one.rater for one in outcomes if one.weighs}
        evidence = gather(
            scene.graph,
            scene.view,
            self._circles.counted(scene.circle, subject),
            outcomes,
            credits=await self._reader.credits(outcomes, scene.loudness, trusted, now_s),
            unbacked=await self._unbacked(scene, raters | {subject}),
            viewer=scene.viewer,
            circle=scene.circle,
            subject=subject,
            now_s=now_s,
            domain=case.domain,
        )
        found = await self._with_follows(answer(evidence), scene.circle)
        return _with_reviews(found, {by for by, one in hearsay if not one.weight} & scene.circle)

    async def _outcomes(self, scene: "_Scene", subject: PublicKey) -> list[Outcome]:
        """Dealings with somebody: told with attestations, seen by this node, betrayals, charges."""
        trusted = {scene.viewer, *scene.circle}
        heard = await self._reader.attestations(subject, trusted, scene.now_s)
        heard = scene.told.unspoken(heard)
        outcomes = await self._reader.outcomes(heard, subject, trusted, scene.now_s)
        outcomes += await self._reader.calls(subject)
        if self._operator is not None and scene.viewer == self._circles.current(self._operator):
            outcomes += await self._reader.spam(subject, scene.viewer, scene.now_s)
        outcomes += scene.told.of(subject)
        outcomes += await self._betrayals.charges(subject, scene.told, scene.now_s)
        return [_heard_as(one, scene.domain) for one in outcomes]

    async def _unbacked(self, scene: "_Scene", names: Collection[Operator]) -> frozenset[Operator]:
        """Of these, who seems backed only by vouches over the quotas that their vouchers' levels
        give, as this viewer sees them."""
        levels, circles = self.table.levels, self._circles
        quotas = Quotas(
            lambda name: circles.vouched(PublicKey(name)),
            lambda level: levels[level].vouches_per_month,
            lambda name: self._guarantor_level(scene, PublicKey(name)),
            scene.domain,
            scene.now_s,
        )
        return await quotas.unbacked(scene.graph, scene.view, names)

    async def _guarantor_level(self, scene: "_Scene", name: PublicKey) -> Level:
        """The level of somebody whom the circle accepts, by what the circle and other guarantors
        saw. What the merely backed say is left out: who they are depends on such levels."""
        if name == scene.viewer or name in scene.circle:
            return Level.CIRCLE
        outcomes = await self._outcomes(scene, name)
        raters = {one.rater for one in outcomes}
        evidence = Evidence(
            viewer=scene.viewer,
            subject=name,
            now_s=scene.now_s,
            acceptance=accept(
                self._circles.counted(scene.circle, name), scene.circle, name, scene.domain
            ),
            domain=scene.domain,
            circle=scene.circle,
            outcomes=tuple(outcomes),
            voices={rater: BELIEVED for rater in raters if scene.is_guarantor(rater)},
        )
        return answer(evidence).level

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


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer sees of a domain now: its circle without those who betrayed it."""

    viewer: PublicKey
    domain: str
    now_s: int
    circle: frozenset[PublicKey]
    told: Told
    graph: Graph
    view: View

    def is_guarantor(self, name: Operator) -> bool:
        """Whether enough of the circle endorse somebody."""
        number = self.graph.index(name)
        return number is not None and self.view.of(number).guarantor

    def loudness(self, name: Operator) -> float:
        """The reach of who is no guarantor."""
        number = self.graph.index(name)
        seen = self.view.of(number) if number is not None else None
        return 0.0 if seen is None or seen.guarantor else seen.reach


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
