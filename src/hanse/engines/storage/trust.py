"""Trust's view: follows the log, keeps endorsements, attestations, follows, receipts, key
statements and who answers for whom.

It may be thrown away: `rebuild` reads the log again from the start, and ends in the same state.
"""

import contextlib
from collections.abc import Collection
from typing import Any

import msgspec

from hanse.engines.storage.columns import address_of, decode_row
from hanse.engines.storage.database import Database, Transaction
from hanse.errors import Invalid
from hanse.ports import SOON_S
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import identify
from hanse.protocol.receipt import Receipt, read_receipt
from hanse.trust.appeal import Appeal, read_appeal
from hanse.trust.attestation import BETRAYED, Attestation, is_attestation, read_attestation
from hanse.trust.columns import Columns, Gathering
from hanse.trust.endorsement import read_endorsement, read_follows
from hanse.trust.foreign import READERS, Hearsay, may_speak, read_foreign
from hanse.trust.model import Endorsement
from hanse.trust.rotation import Statement, read_statement

VIEW = "trust"
STEP = 500
"""Events applied in one commit."""

FOREVER = 2**53
CHANGES_MAX = 1_000
PAGE = 10_000
ENDORSEMENTS_MAX = 2_000
"""Of one operator: a year of the highest quota has 240."""

ATTESTATIONS_MAX = 5_000
"""Of one subject, the newest; a million of them cost no more."""

APPEALS_MAX = 500
"""Of one operator, the newest."""

BETWEEN_MAX = 50
HEARSAY_MAX = 500
TIMES_MAX = 2_000
RECEIPTS_MAX = 500
STATEMENTS_MAX = 500
AGENTS_MAX = 200
FOLLOWERS_MAX = 5_000

_OWNED = (kinds.OFFER, kinds.PROFILE)
"""Kinds that only say who answers for their author."""

_KINDS = frozenset(
    {
        kinds.FOLLOWS,
        kinds.ATTESTATION,
        kinds.ENDORSEMENT,
        kinds.APPEAL,
        kinds.KEY_STATEMENT,
        kinds.RECEIPT,
        *_OWNED,
    }
)
_FOREIGN = tuple(sorted(READERS))
_REMOVING = frozenset({kinds.DELETION, kinds.VANISH})
_OURS = _KINDS.union(_REMOVING)
_READ = _OURS.union(_FOREIGN)
_PROMPT = _OURS - {kinds.PROFILE, kinds.FOLLOWS, kinds.DELETION}
_CHANGING = (kinds.ENDORSEMENT, kinds.KEY_STATEMENT, kinds.APPEAL)
"""Kinds that a reader in memory holds something of; of attestations it is accusations only."""

Place = tuple[str, int, str]
"""Author, created_at and id: the order that endorsements are read in."""

_appeal = msgspec.json.Decoder(Appeal).decode
_attestation = msgspec.json.Decoder(Attestation).decode
_hearsay = msgspec.json.Decoder(Hearsay).decode
_receipt = msgspec.json.Decoder(Receipt).decode
_statement = msgspec.json.Decoder(Statement).decode


class StoredTrust:
    """Implements `trust.store.TrustStore`, and keeps the view up to date."""

    attestations_max = ATTESTATIONS_MAX

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ------------------------------------------------------------------------------

    async def changes(self, after: int) -> tuple[list[PublicKey], int]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all("trust_changes", after, CHANGES_MAX)
        return [PublicKey(row[0]) for row in rows], rows[-1][1] if rows else after

    async def reached(self) -> int:
        """See `trust.store.TrustStore`."""
        found = await self._database.one("trust_reached")
        return int(found[0]) if found else 0

    async def endorsements(self, now_s: int) -> Columns:
        """See `trust.store.TrustStore`."""
        found = Gathering(ENDORSEMENTS_MAX)
        after: Place | None = ("", 0, "")
        while after is not None:
            after = await self._database.read_aside(_gather, found, after, now_s)
        return await self._database.read_aside(lambda _: found.done())

    async def endorsements_by(self, author: PublicKey, now_s: int) -> list[Endorsement]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all("trust_endorsements_by", author, now_s, ENDORSEMENTS_MAX)
        return [
            Endorsement(by=author, of=of, domain=domain, grade=grade, at_s=at_s, expires_s=ends_s)
            for of, domain, grade, at_s, ends_s in rows
        ]

    async def accusations_by(
        self, authors: Collection[PublicKey], now_s: int, limit: int
    ) -> list[Attestation]:
        """See `trust.store.TrustStore`."""
        return await self._database.read(_accusations, sorted(authors), now_s, limit)

    async def appeals_of(
        self, receipts: Collection[str], authors: Collection[PublicKey], now_s: int
    ) -> list[Appeal]:
        """See `trust.store.TrustStore`."""
        return await self._database.read(_appeals, frozenset(receipts), sorted(authors), now_s)

    async def attestations_of(self, subject: PublicKey, now_s: int) -> list[Attestation]:
        """See `trust.store.TrustStore`."""
        rows = await self._about(subject, kinds.ATTESTATION, now_s, ATTESTATIONS_MAX)
        return [_attestation(row[2]) for row in rows]

    async def attestations_between(
        self, authors: Collection[PublicKey], subjects: Collection[PublicKey], now_s: int
    ) -> list[Attestation]:
        """See `trust.store.TrustStore`."""
        return await self._database.read(_between, sorted(authors), sorted(subjects), now_s)

    async def attestation_times(self, author: PublicKey, after_s: int) -> dict[str, int]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all(
            "trust_times", author, kinds.ATTESTATION, after_s, TIMES_MAX
        )
        return {row[0]: row[1] for row in rows}

    async def receipts_of(self, node: PublicKey, provider: PublicKey) -> list[Receipt]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all(
            "trust_between", node, kinds.RECEIPT, provider, 0, RECEIPTS_MAX
        )
        return [_receipt(row[0]) for row in rows]

    async def hearsay_of(self, subject: PublicKey, now_s: int) -> list[Hearsay]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all("trust_hearsay", subject, *_FOREIGN, now_s, HEARSAY_MAX)
        return [_hearsay(row[0]) for row in rows]

    async def hearsay_between(
        self, authors: Collection[PublicKey], subject: PublicKey, now_s: int
    ) -> list[Hearsay]:
        """See `trust.store.TrustStore`."""
        return await self._database.read(_hearsay_between, sorted(authors), subject, now_s)

    async def refused_of(self, keys: Collection[PublicKey]) -> list[tuple[PublicKey, int, int]]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.read(lambda tx: tx.among("refused_of", keys))
        return [(PublicKey(key), int(day), int(count)) for key, day, count in rows]

    async def event(self, id: str) -> Event | None:
        """See `trust.store.TrustStore`."""
        found = await self._database.one("event_by_id", bytes.fromhex(id))
        return decode_row(found[4]) if found else None

    async def statements_about(self, key: PublicKey) -> list[Statement]:
        """See `trust.store.TrustStore`."""
        rows = await self._about(key, kinds.KEY_STATEMENT, 0, STATEMENTS_MAX)
        return [_statement(row[2]) for row in rows]

    async def attestations_by(self, author: PublicKey, now_s: int) -> list[Attestation]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all(
            "trust_of_author", author, kinds.ATTESTATION, now_s, ATTESTATIONS_MAX
        )
        return [_attestation(row[1]) for row in rows]

    async def statements(self) -> list[Statement]:
        """See `trust.store.TrustStore`."""
        rows = await self._paged(kinds.KEY_STATEMENT, 0)
        return [_statement(row[2]) for row in rows]

    async def operators_of(self, keys: Collection[PublicKey]) -> dict[PublicKey, PublicKey]:
        """See `trust.store.TrustStore`."""
        return await self._database.read(_operators, keys)

    async def agents_of(self, operator: PublicKey) -> list[PublicKey]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all("trust_agents", operator, AGENTS_MAX)
        return [PublicKey(row[0]) for row in rows]

    async def followers_of(self, key: PublicKey) -> list[PublicKey]:
        """See `trust.store.TrustStore`."""
        rows = await self._database.all("trust_followers", key, FOLLOWERS_MAX)
        return [PublicKey(row[0]) for row in rows]

    async def _paged(self, kind: int, now_s: int) -> list[Any]:
        found: list[Any] = []
        author = ""
        while True:
            rows = await self._database.all("trust_by_kind", kind, author, now_s, PAGE)
            if len(rows) == PAGE:  # the last author may go on beyond the page: read it again whole
                last = rows[-1][0]
                rows = [row for row in rows if row[0] != last] or rows
            if not rows:
                return found
            found += rows
            author = rows[-1][0]

    async def _about(self, key: str, kind: int, now_s: int, limit: int) -> list[Any]:
        return await self._database.all("trust_about", key, kind, now_s, limit)

    # --- following the log --------------------------------------------------------------------

    def due_s(self, event: Event) -> float | None:
        """See `views.View`. People's profiles, follow lists, reviews and deletions are many."""
        if event.kind in _PROMPT:
            return 0.0
        return SOON_S if event.kind in _READ and (event.kind in _OURS or may_speak(event)) else None

    async def advance(self) -> None:
        """Apply all that the log holds beyond this view."""
        while await self._database.write(_step):
            pass

    async def rebuild(self) -> None:
        """Throw the view away and build it again from the log."""
        await self._database.write(_clear)
        await self.advance()

    async def sweep(self, now_s: int) -> int:
        """Forget what has ended, as the log does; how many. It counted for nothing already."""
        gone = 0
        while count := await self._database.write(_sweep, now_s):
            gone += count
        return gone

    async def prune(self) -> int:
        """Forget what left the log without an event that says so: erased by the operator. How
        many."""
        return await self._database.write(_prune)


def _clear(tx: Transaction) -> None:
    tx.all("trust_clear_events")
    tx.all("trust_clear_follows")
    tx.all("view_set", VIEW, 0)


def _step(tx: Transaction) -> bool:
    found = tx.one("view_seq", VIEW)
    seq = int(found[0]) if found else 0
    rows, reached, more = tx.after(seq, _READ, STEP)
    for seq, event in rows:
        if event.kind in _KINDS or may_speak(event):
            _keep(tx, seq, event)
        elif event.kind == kinds.DELETION:
            _drop(tx, event.pubkey)
        elif event.kind == kinds.VANISH:
            tx.all("trust_drop_vanished", event.pubkey, event.created_at, kinds.KEY_STATEMENT)
            _drop(tx, event.pubkey)
    tx.all("view_set", VIEW, reached)
    return more


def _keep(tx: Transaction, seq: int, event: Event) -> None:
    name = address_of(event) or event.id
    row: tuple[Any, ...] | None = None
    # The door checks these before they are kept; what older rules or a peer let in is left out.
    with contextlib.suppress(Invalid):
        row = _row(event)
    if event.kind == kinds.FOLLOWS:
        tx.all("trust_unfollow", event.pubkey)
    if event.kind == kinds.ATTESTATION:
        _accused(tx, name, event.pubkey, row)
    if row is None:
        tx.all("trust_drop", name)  # a version that says nothing replaces one that did
    else:
        tx.all("trust_put", name, seq, event.kind, event.pubkey, *row)
        if event.kind == kinds.FOLLOWS:
            tx.many("trust_follow", [(event.pubkey, key) for key in read_follows(event)])
    if event.kind in _CHANGING:
        tx.all("trust_changed", event.pubkey)
        if event.kind == kinds.KEY_STATEMENT and row is not None and row[1] != event.pubkey:
            tx.all("trust_changed", row[1])


def _accused(tx: Transaction, name: str, author: str, row: tuple[Any, ...] | None) -> None:
    """Somebody says that another betrayed them, or does no more."""
    before = tx.one("trust_graded", name)
    for operator, grade in ([before] if before else []) + ([(row[0], row[3])] if row else []):
        if grade == BETRAYED:
            for key in {author, operator}:
                tx.all("trust_changed", key)


def _row(event: Event) -> tuple[Any, ...] | None:
    """operator, source, domain, grade, created_at, expires, id, document. Raises Invalid."""
    operator = identify(event).operator
    source, domain, grade, expires, document = "", "", 0, FOREVER, b""
    if event.kind == kinds.ATTESTATION:
        if not is_attestation(event):
            return None
        rated = read_attestation(event)
        if rated.revoked:
            return None
        source, domain, expires = rated.subject, rated.context, rated.expires
        grade = rated.rating
        document = msgspec.json.encode(rated)
    elif event.kind == kinds.ENDORSEMENT:
        vouch = read_endorsement(event)
        source, domain, grade, expires = vouch.of, vouch.domain, vouch.grade, vouch.expires_s
    elif event.kind == kinds.APPEAL:
        appeal = read_appeal(event)
        source, expires = appeal.receipt, appeal.expires_s
        document = msgspec.json.encode(appeal)
    elif event.kind == kinds.RECEIPT:
        receipt = read_receipt(event)
        source, domain = receipt.provider, receipt.capability
        document = msgspec.json.encode(receipt)
    elif event.kind == kinds.KEY_STATEMENT:
        said = read_statement(event)
        source, document = said.about, msgspec.json.encode(said)
    elif event.kind in READERS:
        heard = read_foreign(event)
        if heard is None:
            return None
        source, domain, expires = heard.subject, heard.context, heard.expires
        document = msgspec.json.encode(heard)
    elif event.kind in _OWNED and operator == event.pubkey:
        return None  # says nothing of who answers for whom
    if "\0" in domain:  # PostgreSQL has no text with it
        return None
    return operator, source, domain, grade, event.created_at, expires, event.id, document


def _drop(tx: Transaction, author: str) -> None:
    """Of one author, what the log has let go."""
    if tx.one("trust_speaks", author) is not None:
        tx.settle()
        tx.all("trust_drop_gone_of", author)
    _drop_follows(tx, author)
    tx.all("trust_changed", author)


def _drop_follows(tx: Transaction, author: str) -> None:
    if tx.one("trust_has", author, kinds.FOLLOWS) is None:
        tx.all("trust_unfollow", author)


def _gather(tx: Transaction, found: Gathering, after: Place, now_s: int) -> Place | None:
    """One page more; where the next one starts, or None at the end."""
    rows = tx.all("trust_endorsements", *after, now_s, PAGE)
    found.add([row[:6] for row in rows])
    return (rows[-1][0], rows[-1][4], rows[-1][6]) if len(rows) == PAGE else None


def _accusations(
    tx: Transaction, authors: list[PublicKey], now_s: int, limit: int
) -> list[Attestation]:
    # Those of each that are left out are more than `limit` newer ones of the same author.
    found = [
        _attestation(row[0])
        for author in authors
        for row in tx.all("trust_accusations", author, now_s, limit)
    ]
    return sorted(found, key=lambda one: (-one.created_at, one.id))[:limit]


def _appeals(
    tx: Transaction, receipts: frozenset[str], authors: list[PublicKey], now_s: int
) -> list[Appeal]:
    # By author: of one receipt strangers may write as many as they like.
    found = [
        _appeal(row[0])
        for author in (authors if receipts else ())
        for row in tx.all("trust_newest", author, kinds.APPEAL, now_s, APPEALS_MAX)
    ]
    return [one for one in found if one.receipt in receipts]


def _between(
    tx: Transaction, authors: list[PublicKey], subjects: list[PublicKey], now_s: int
) -> list[Attestation]:
    return [
        _attestation(row[0])
        for author in authors
        for subject in subjects
        for row in tx.all("trust_between", author, kinds.ATTESTATION, subject, now_s, BETWEEN_MAX)
    ]


def _hearsay_between(
    tx: Transaction, authors: list[PublicKey], subject: PublicKey, now_s: int
) -> list[Hearsay]:
    return [
        _hearsay(row[0])
        for author in authors
        for kind in _FOREIGN
        for row in tx.all("trust_between", author, kind, subject, now_s, BETWEEN_MAX)
    ]


def _operators(tx: Transaction, keys: Collection[PublicKey]) -> dict[PublicKey, PublicKey]:
    newest: dict[str, tuple[int, str, str]] = {}
    for author, operator, created_at, id in tx.among("trust_operators", keys):
        claim = (-created_at, id, operator)
        newest[author] = min(claim, newest.get(author, claim))
    return {key: PublicKey(newest[key][2]) if key in newest else key for key in keys}


def _sweep(tx: Transaction, now_s: int) -> int:
    names = tx.all("trust_ended", now_s, STEP)
    tx.many("trust_drop", names)
    return len(names)


def _prune(tx: Transaction) -> int:
    tx.settle()
    gone = tx.all("trust_gone")
    for name, author, kind in gone:
        tx.all("trust_drop", name)
        if kind == kinds.FOLLOWS:
            _drop_follows(tx, author)
        tx.all("trust_changed", author)
    return len(gone)
