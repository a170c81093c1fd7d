"""Who betrayed whom with proof, as a viewer and its circle tell it, and what was overruled.

A betrayal is a rating 1 that rests on a settled call, by the viewer or by whom it trusts. It takes
the betrayer's level at once, and all weight of its vouches and ratings. Accusers who are accused
themselves are heard all the same, the cautious way; who unvouches them is rid of what they said.

An appeal (appeal.py) overrules an accusation when the viewer grants it, or as many of its circle as
accept a stranger: not the accused or the accuser, nor who stands for the accused, nor any accused.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import VOUCHERS_NEEDED
from hanse.trust.appeal import Appeal
from hanse.trust.attestation import COMMITMENT_WEIGHTS, Attestation, Commitment
from hanse.trust.circles import Circles
from hanse.trust.levels import BETRAYAL_S
from hanse.trust.model import Outcome
from hanse.trust.outcomes import charge_vouchers
from hanse.trust.reader import Reader, domain_of
from hanse.trust.settlement import Settlement, claim_of
from hanse.trust.store import TrustStore

MEMO_MAX: Final = 256
"""Viewers whose accusations are remembered, until somebody of theirs says something new."""

MEMO_S: Final = 10
"""But no longer than this: whose agent an accused key is may have changed."""

ACCUSED_MAX: Final = 200
"""Accusations of one circle that are looked at, the newest."""


class Betrayal(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One accusation with proof. `plea` is what the accused says of it."""

    of: PublicKey
    by: PublicKey
    attestation: str
    receipt: str
    domain: str
    bad: float
    at_s: int
    plea: str = ""

    def outcome(self) -> Outcome:
        """As evidence."""
        return Outcome(
            rater=self.by,
            subject=self.of,
            domain=self.domain,
            bad=self.bad,
            at_s=self.at_s,
            proven=True,
            receipt=self.receipt,
            plea=self.plea,
        )


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer holds true: accusations that count, receipts whose accusation was overruled,
    and whom the viewer itself says cheats, with or without proof."""

    betrayals: tuple[Betrayal, ...] = ()
    overruled: frozenset[str] = frozenset()
    own: frozenset[PublicKey] = frozenset()

    @property
    def barred(self) -> frozenset[PublicKey]:
        """Whose word has no weight."""
        return self.own.union(one.of for one in self.betrayals)

    def of(self, subject: PublicKey) -> list[Outcome]:
        """The betrayals of one."""
        return [one.outcome() for one in self.betrayals if one.of == subject]

    def unspoken(self, heard: Iterable[Attestation]) -> list[Attestation]:
        """What is left of attestations beside the accusations: a payment speaks once."""
        used = self.overruled.union(one.receipt for one in self.betrayals)
        return [
            one
            for one in heard
            if (claim := claim_of(one)) is None or claim.get("receipt") not in used
        ]


class _Known(msgspec.Struct, frozen=True):
    from_s: int
    until_s: int
    keys: frozenset[PublicKey]
    told: Told


class Betrayals:
    """Reads accusations of circles, and remembers them until one of theirs says something new."""

    def __init__(self, store: TrustStore, circles: Circles, reader: Reader) -> None:
        self._store = store
        self._circles = circles
        self._reader = reader
        self._memo: OrderedDict[tuple[PublicKey, frozenset[PublicKey]], _Known] = OrderedDict()
        self._generation = 0

    def knows(self, viewer: PublicKey, circle: frozenset[PublicKey], now_s: int) -> bool:
        """Whether `told` would answer from memory."""
        self._forget()
        known = self._memo.get((viewer, circle))
        return known is not None and known.from_s <= now_s < known.until_s

    async def told(self, viewer: PublicKey, circle: frozenset[PublicKey], now_s: int) -> Told:
        """What a viewer and a circle of it say."""
        self._forget()
        pair = (viewer, circle)
        known = self._memo.get(pair)
        if known is None or not known.from_s <= now_s < known.until_s:
            generation = self._generation
            known = await self._read(viewer, circle, now_s)
            self._forget()
            if generation != self._generation:
                return known.told  # what changed while it was read may be missing: not remembered
            self._memo[pair] = known
            if len(self._memo) > MEMO_MAX:
                self._memo.popitem(last=False)
        self._memo.move_to_end(pair)
        return known.told

    async def charges(self, subject: PublicKey, told: Told, now_s: int) -> list[Outcome]:
        """What it costs the subject to have vouched for who then betrayed somebody trusted: of each
        cheat the heaviest charge, no more."""
        stood = self._circles.stood_for(subject)
        charges: dict[PublicKey, Outcome] = {}
        for one in told.betrayals:
            for charge in charge_vouchers(one.outcome(), stood):
                other = charges.get(one.of)
                if other is None or (other.bad, other) < (charge.bad, charge):
                    charges[one.of] = charge
        pleas = await self._pleas({one.receipt for one in charges.values()}, subject, now_s)
        return [
            msgspec.structs.replace(charges[cheat], plea=pleas.get(charges[cheat].receipt, ""))
            for cheat in sorted(charges)
        ]

    def _forget(self) -> None:
        news = self._circles.news()
        if news is None:
            self._memo.clear()
        elif news:
            for pair, one in [*self._memo.items()]:
                if not one.keys.isdisjoint(news):
                    del self._memo[pair]
        self._generation += news is None or bool(news)

    async def _read(self, viewer: PublicKey, circle: frozenset[PublicKey], now_s: int) -> _Known:
        keys: dict[PublicKey, PublicKey] = {}  # of all who may accuse → whose
        for one in (viewer, *sorted(circle)):
            keys |= dict.fromkeys(await self._reader.keys(one), one)
        heard = [
            one
            for one in await self._store.accusations_by(keys, now_s, ACCUSED_MAX)
            if one.is_live(now_s) and self._circles.spoke(one.author, one.created_at)
        ]
        accused = await self._reader.owners([one.subject for one in heard])
        proofs = await self._reader.settled(heard)
        own = await self._own(heard, keys, accused, proofs, viewer, now_s)
        found = [
            _betrayal(one, keys[one.author], accused[one.subject], proofs[one.id].receipt)
            for one in heard
            if one.id in proofs
            and one.confidence > 0
            and one.created_at > now_s - BETRAYAL_S
            and keys[one.author] not in own
            and accused[one.subject] not in (viewer, keys[one.author])
        ]
        counts, overruled, speakers = await self._appealed(found, viewer, circle, now_s)
        unproven = any(claim_of(one) is not None and one.id not in proofs for one in heard)
        ends = [one.expires for one in heard]
        ends += [one.at_s + BETRAYAL_S for one in counts]
        return _Known(
            from_s=now_s,
            # A receipt may come after the rating that rests on it.
            until_s=min([*ends, now_s + (1 if unproven else MEMO_S)]),
            keys=frozenset(keys) | speakers,
            told=Told(betrayals=tuple(sorted(counts)), overruled=overruled, own=own),
        )

    async def _own(
        self,
        heard: list[Attestation],
        keys: Mapping[PublicKey, PublicKey],
        accused: Mapping[PublicKey, PublicKey],
        proofs: Mapping[str, Settlement],
        viewer: PublicKey,
        now_s: int,
    ) -> frozenset[PublicKey]:
        """Whom the viewer says cheats, but for what it has forgiven."""
        mine = [
            one for one in heard if keys[one.author] == viewer and accused[one.subject] != viewer
        ]
        receipts = {proofs[one.id].receipt for one in mine if one.id in proofs}
        said = await self._store.appeals_of(receipts, self._circles.past(viewer), now_s)
        forgiven = {one.receipt for one in said if one.action == "grant"}
        return frozenset(
            accused[one.subject]
            for one in mine
            if one.id not in proofs or proofs[one.id].receipt not in forgiven
        )

    async def _appealed(
        self,
        found: list[Betrayal],
        viewer: PublicKey,
        circle: frozenset[PublicKey],
        now_s: int,
    ) -> tuple[list[Betrayal], frozenset[str], frozenset[PublicKey]]:
        """The accusations that count, the receipts of those that do not, and whose appeals were
        read."""
        if not found:
            return [], frozenset(), frozenset()
        accused = {one.of for one in found}
        judges = {key: one for one in (viewer, *circle) for key in self._circles.past(one)}
        pleading = {key: one for one in accused for key in self._circles.past(one)}
        appeals = await self._store.appeals_of(
            {one.receipt for one in found}, {*judges, *pleading}, now_s
        )
        said = [one for one in appeals if self._circles.spoke(one.by, one.at_s)]
        counts, overruled = [], set()
        for one in found:
            grants = {
                judges[each.by]
                for each in said
                if each.action == "grant" and each.receipt == one.receipt and each.by in judges
            }
            others = grants - accused - {one.by, viewer}
            enough = one.by != viewer and self._apart(others, one.of) >= VOUCHERS_NEEDED
            if viewer in grants or enough:
                overruled.add(one.receipt)
            else:
                plea = _plea(
                    said, one.receipt, {key for key in pleading if pleading[key] == one.of}
                )
                counts.append(msgspec.structs.replace(one, plea=plea))
        return counts, frozenset(overruled), frozenset({*judges, *pleading})

    def _apart(self, judges: Iterable[PublicKey], accused: PublicKey) -> int:
        """How many of these do not stand for the accused."""
        return sum(all(each.of != accused for each in self._circles.vouched(one)) for one in judges)

    async def _pleas(self, receipts: set[str], by: PublicKey, now_s: int) -> dict[str, str]:
        if not receipts:
            return {}
        keys = set(self._circles.past(by))
        appeals = await self._store.appeals_of(receipts, keys, now_s)
        return {receipt: _plea(appeals, receipt, keys) for receipt in receipts}


def _betrayal(one: Attestation, by: PublicKey, of: PublicKey, receipt: str) -> Betrayal:
    return Betrayal(
        of=of,
        by=by,
        attestation=one.id,
        receipt=receipt,
        domain=domain_of(one.context),
        bad=one.confidence * COMMITMENT_WEIGHTS[Commitment.ECONOMIC_SETTLEMENT],
        at_s=one.created_at,
    )


def _plea(appeals: Iterable[Appeal], receipt: str, keys: set[PublicKey]) -> str:
    said = [
        (one.at_s, one.by, one.reason or "no reason given")
        for one in appeals
        if one.action == "appeal" and one.receipt == receipt and one.by in keys
    ]
    return max(said)[2] if said else ""
