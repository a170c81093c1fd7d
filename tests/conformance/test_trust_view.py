"""Trust's view on every engine: it follows the log, and rebuilt it is the same."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.engines import Stores, stores
from tests.fakes.calls import Parties

from hanse.broker.receipt import receipt_event
from hanse.engines.storage.trust import ATTESTATIONS_MAX
from hanse.protocol import kinds
from hanse.protocol.attestation import attest
from hanse.protocol.event import Event, Tags, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.attestation import attestation_draft
from hanse.trust.endorsement import endorsement_draft
from hanse.trust.model import Endorsement
from hanse.trust.rotation import End, Rotate, consent, statement_draft

NOW = 1_800_000_000
LIFE_S = 30 * 86_400
ALICE, BOB, CAROL, DAVE = (SecretKey(bytes([number]) * 32) for number in (1, 2, 3, 4))
EVERYBODY = (ALICE, BOB, CAROL, DAVE)


def signed(by: SecretKey, kind: int, draft: tuple[str, Tags], at_s: int = NOW) -> Event:
    content, tags = draft
    return sign_event(by, kind=kind, created_at=at_s, content=content, tags=tags)


def vouch(by: SecretKey, of: PublicKey, domain: str = "", grade: int = 5, at_s: int = NOW) -> Event:
    draft = endorsement_draft(by.public, of, domain, grade, created_at=at_s)
    return signed(by, kinds.ENDORSEMENT, draft, at_s)


def rating(
    by: SecretKey, of: PublicKey, stars: int = 5, at_s: int = NOW, more: Tags = (), **extra: Any
) -> Event:
    content, tags = attestation_draft(
        of, "sms", stars, 1.0, created_at=at_s, expires=at_s + LIFE_S, **extra
    )
    return signed(by, kinds.ATTESTATION, (content, tags + more), at_s)


def follows(by: SecretKey, *of: PublicKey, at_s: int = NOW) -> Event:
    return signed(by, kinds.FOLLOWS, ("", tuple(("p", key) for key in of)), at_s)


def deletion(by: SecretKey, *targets: Event, at_s: int = NOW + 10) -> Event:
    return signed(by, kinds.DELETION, ("", tuple(("e", event.id) for event in targets)), at_s)


def vanish(by: SecretKey, at_s: int = NOW + 10) -> Event:
    return signed(by, kinds.VANISH, ("", (("relay", "ALL_RELAYS"),)), at_s)


async def keep(kept: Stores, *events: Event) -> None:
    """Append one by one, as they come, and let the view follow each."""
    for event in events:
        await kept.log.append_many([event])
        await kept.trust.advance()


async def state(kept: Stores) -> tuple[list[Any], list[Any]]:
    """All that the view holds."""
    rows = await kept.database.select("SELECT * FROM trust_event ORDER BY name", ())
    follow = await kept.database.select("SELECT * FROM trust_follow ORDER BY source, author", ())
    return [tuple(row) for row in rows], [tuple(row) for row in follow]


async def endorsements(kept: Stores, now_s: int = NOW) -> list[Endorsement]:
    """Everything that has not ended, as values."""
    found = await kept.trust.endorsements(now_s)
    return found.read(range(len(found.by)))


async def test_a_vouch_is_found_replaced_and_taken_back(kept: Stores) -> None:
    first, newer = vouch(ALICE, BOB.public), vouch(ALICE, BOB.public, grade=9, at_s=NOW + 1)
    await keep(kept, first, newer, vouch(CAROL, BOB.public))
    found = await endorsements(kept)
    assert sorted((one.by, one.grade) for one in found) == sorted(
        [(ALICE.public, 9), (CAROL.public, 5)]
    )
    await keep(kept, deletion(ALICE, newer))
    assert [one.by for one in await endorsements(kept)] == [CAROL.public]
    assert await kept.trust.endorsements_by(ALICE.public, NOW) == []
    assert await endorsements(kept, NOW + 366 * 86_400) == []


async def test_who_changed_is_told_from_a_number_of_the_log_on(kept: Stores) -> None:
    await keep(kept, vouch(ALICE, BOB.public))
    authors, seq = await kept.trust.changes(0)
    assert authors == [ALICE.public]
    assert await kept.trust.changes(seq) == ([], seq)
    await keep(kept, vouch(BOB, CAROL.public))
    assert (await kept.trust.changes(seq))[0] == [BOB.public]


async def test_ratings_are_found_by_subject_by_author_and_between_them(kept: Stores) -> None:
    await keep(
        kept,
        rating(ALICE, BOB.public, 4),
        rating(CAROL, BOB.public, 1, at_s=NOW + 1),
        rating(CAROL, DAVE.public, 2),
        rating(DAVE, BOB.public, 5, revoked=True),
    )
    heard = await kept.trust.attestations_of(BOB.public, NOW)
    assert [(one.author, one.rating) for one in heard] == [(CAROL.public, 1), (ALICE.public, 4)]
    assert len(await kept.trust.attestations_by(CAROL.public, NOW)) == 2
    between = await kept.trust.attestations_between([ALICE.public], [BOB.public], NOW)
    assert [one.rating for one in between] == [4]
    assert len(await kept.trust.attestation_times(CAROL.public, NOW - 1)) == 2
    assert await kept.trust.attestations_of(BOB.public, NOW + LIFE_S) == heard[:1]


async def test_a_revoked_version_takes_the_place_of_the_one_before(kept: Stores) -> None:
    await keep(
        kept, rating(ALICE, BOB.public), rating(ALICE, BOB.public, at_s=NOW + 1, revoked=True)
    )
    assert await kept.trust.attestations_of(BOB.public, NOW) == []


async def test_a_deleted_rating_does_not_come_back_by_a_replay(kept: Stores) -> None:
    one = rating(ALICE, BOB.public)
    await keep(kept, one, deletion(ALICE, one), one)
    assert await kept.trust.attestations_of(BOB.public, NOW) == []


async def test_follows_are_known_both_ways_and_go_with_their_list(kept: Stores) -> None:
    await keep(kept, follows(ALICE, BOB.public, CAROL.public), follows(DAVE, BOB.public))
    assert await kept.trust.followers_of(BOB.public) == sorted([ALICE.public, DAVE.public])
    await keep(kept, follows(ALICE, CAROL.public, at_s=NOW + 1))
    assert await kept.trust.followers_of(BOB.public) == [DAVE.public]
    await keep(kept, vanish(DAVE))
    assert await kept.trust.followers_of(BOB.public) == []


async def test_a_receipt_is_found_by_the_node_that_signed_and_the_provider(kept: Stores) -> None:
    parties = Parties.new()
    receipt = receipt_event(parties.node, parties.settled())
    await keep(kept, receipt)
    [found] = await kept.trust.receipts_of(parties.node.public, parties.provider.public)
    assert found.price_msat == 2000
    assert await kept.trust.receipts_of(ALICE.public, parties.provider.public) == []
    assert await kept.trust.event(receipt.id) == receipt


async def test_an_operator_answers_for_an_agent_by_a_good_attestation_only(kept: Stores) -> None:
    good = attest(ALICE, BOB.public).tag
    bad = ("auth", DAVE.public, "", "0" * 128)
    await keep(
        kept,
        rating(BOB, CAROL.public, more=(good,)),
        sign_event(CAROL, kind=kinds.PROFILE, created_at=NOW, tags=(bad,)),
    )
    keys = [BOB.public, CAROL.public]
    assert await kept.trust.operators_of(keys) == {
        BOB.public: ALICE.public,
        CAROL.public: CAROL.public,
    }
    assert await kept.trust.agents_of(ALICE.public) == [BOB.public]


async def test_neither_deletion_nor_vanishing_removes_a_key_statement(kept: Stores) -> None:
    move = Rotate(to=BOB.public, consent=consent(BOB, ALICE.public))
    statement = signed(ALICE, kinds.KEY_STATEMENT, statement_draft(ALICE.public, move))
    await keep(kept, statement, deletion(ALICE, statement), vanish(ALICE))
    await kept.log.vanish()
    assert [one.id for one in await kept.trust.statements_about(ALICE.public)] == [statement.id]
    assert await kept.log.event(statement.id) is not None
    await kept.trust.rebuild()
    assert len(await kept.trust.statements()) == 1


async def test_a_key_statement_is_taken_after_a_request_to_vanish(kept: Stores) -> None:
    late = signed(
        ALICE, kinds.KEY_STATEMENT, statement_draft(ALICE.public, End(reason="stolen")), NOW - 5
    )
    await keep(kept, vanish(ALICE), late)
    assert len(await kept.trust.statements_about(ALICE.public)) == 1


async def test_what_the_operator_erases_is_forgotten(kept: Stores) -> None:
    await keep(kept, vouch(ALICE, BOB.public), follows(ALICE, BOB.public), vouch(CAROL, BOB.public))
    await kept.log.erase(pubkey=ALICE.public)
    assert await kept.trust.prune() == 2
    assert [one.by for one in await endorsements(kept)] == [CAROL.public]
    assert await kept.trust.followers_of(BOB.public) == []


async def test_more_than_a_page_is_read_whole(
    kept: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanse.engines.storage.trust.PAGE", 4)
    events = [vouch(by, of.public) for by in EVERYBODY for of in EVERYBODY if by is not of]
    await kept.log.append_many(events)
    await kept.trust.advance()
    assert len(await endorsements(kept)) == 12


async def test_a_flood_of_ratings_is_read_to_its_bound(kept: Stores) -> None:
    flood = [
        sign_event(
            SecretKey((1000 + number).to_bytes(32)),
            kind=kinds.ATTESTATION,
            created_at=NOW + number,
            content=attestation_draft(
                BOB.public, "sms", 5, 1.0, created_at=NOW, expires=NOW + 86_400
            )[0],
            tags=attestation_draft(BOB.public, "sms", 5, 1.0, created_at=NOW, expires=NOW + 86_400)[
                1
            ],
        )
        for number in range(300)
    ]
    await kept.log.append_many([rating(ALICE, BOB.public, 1), *flood])
    await kept.trust.advance()
    heard = await kept.trust.attestations_of(BOB.public, NOW)
    assert len(heard) == 301 <= ATTESTATIONS_MAX
    between = await kept.trust.attestations_between([ALICE.public], [BOB.public], NOW)
    assert [one.rating for one in between] == [1]


KEYS = st.sampled_from(EVERYBODY)
ENDED = statement_draft(ALICE.public, End(reason="stolen"))
EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda by, of, grade, at: vouch(by, PublicKey(of * 64), grade=grade, at_s=NOW + at),
            KEYS,
            st.sampled_from("ab"),
            st.integers(0, 2),
            st.integers(0, 9),
        ),
        st.builds(
            lambda by, at, revoked: rating(by, PublicKey("c" * 64), at_s=NOW + at, revoked=revoked),
            KEYS,
            st.integers(0, 9),
            st.booleans(),
        ),
        st.builds(
            lambda by, of, at: follows(by, PublicKey(of * 64), at_s=NOW + at),
            KEYS,
            st.sampled_from("ab"),
            st.integers(0, 9),
        ),
        st.builds(lambda by, at: vanish(by, NOW + at), KEYS, st.integers(0, 9)),
        st.builds(
            lambda at: signed(ALICE, kinds.KEY_STATEMENT, ENDED, NOW + at), st.integers(0, 9)
        ),
    ),
    max_size=10,
)


def with_deletions(events: Sequence[Event], chosen: Sequence[int]) -> list[Event]:
    """Some of them deleted by their authors at the end, and sent once more."""
    found = [events[index % len(events)] for index in chosen] if events else []
    authors = {secret.public: secret for secret in EVERYBODY}
    gone = [deletion(authors[event.pubkey], event) for event in found]
    return [*events, *gone, *found]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(EVENTS, st.lists(st.integers(0, 20), max_size=3))
async def test_rebuilt_from_the_log_it_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], chosen: list[int]
) -> None:
    async with stores("memory", tmp_path_factory.mktemp("trust")) as kept:
        for event in with_deletions(events, chosen):
            await keep(kept, event)
            if event.kind == kinds.VANISH:
                await kept.log.vanish()
        grown = await state(kept)
        await kept.trust.rebuild()
        assert await state(kept) == grown
