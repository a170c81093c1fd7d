"""What is sent against trust, at a real node: each has a named outcome, and moves nothing."""

import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.conformance.test_trust_view import deletion, rating, signed, vouch
from tests.conftest import running_node
from tests.system.test_nip05 import Site
from tests.system.test_trust_doors import publish

from hanse.clock import SystemClock
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.engines.storage.trust import StoredTrust
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.attestation import LIFETIME_MAX_S, Attestation
from hanse.trust.service import Trust

AUTHOR, SUBJECT, FRIEND = new_secret(), new_secret().public, new_secret()


@pytest.fixture
async def site(tmp_path: Path, operator: SecretKey) -> AsyncIterator[Site]:
    async with running_node(tmp_path / "data", operator) as node:
        yield Site(node)


Content = dict[str, Any] | str


def made(
    now_s: int, content: Content = "", tags: dict[str, str] | None = None, more: Tags = ()
) -> Event:
    """A rating with some of it replaced: members of its content, or all; tags by name."""
    good = rating(AUTHOR, SUBJECT, 5, now_s)
    text = content if isinstance(content, str) else json.dumps(json.loads(good.content) | content)
    changed = tuple((name, (tags or {}).get(name, value)) for name, value in good.tags)
    draft = (text or good.content, changed + more)
    return signed(AUTHOR, kinds.ATTESTATION, draft, now_s)


def of_itself(now_s: int) -> Event:
    me = AUTHOR.public
    return made(now_s, {"subject": me}, {"p": me, "d": f"{me}:sms"})


def vouched_by_itself(now_s: int) -> Event:
    good, me = vouch(AUTHOR, SUBJECT, at_s=now_s), AUTHOR.public
    tags = tuple((name, value.replace(SUBJECT, me)) for name, value in good.tags)
    return signed(AUTHOR, kinds.ENDORSEMENT, (good.content.replace(SUBJECT, me), tags), now_s)


REFUSED: dict[str, tuple[Callable[[int], Event], str]] = {
    "of oneself": (of_itself, "invalid: attestation.pubkey: nobody attests themselves"),
    "rating 4.5": (
        lambda now_s: made(now_s, {"rating": 4.5}),
        "invalid: attestation.content.rating: must be an integer",
    ),
    "confidence 1.01": (
        lambda now_s: made(now_s, {"confidence": 1.01}),
        "invalid: attestation.content.confidence: must be 0 to 1",
    ),
    "confidence NaN": (
        lambda now_s: made(now_s, {"confidence": float("nan")}),
        "invalid: attestation.content: is not JSON",
    ),
    "confidence beyond all numbers": (
        lambda now_s: made(now_s, made(now_s).content.replace('dence":1.0', 'dence":1e999')),
        "invalid: attestation.content",
    ),
    "of the future": (lambda now_s: made(now_s + 5000), "invalid: event.created_at"),
    "that has ended": (
        lambda now_s: made(now_s, tags={"expiration": str(now_s - 1)}),
        "invalid: ",
    ),
    "with two subjects": (
        lambda now_s: made(now_s, more=(("p", "0" * 64),)),
        "invalid: attestation.tags.p: stands more than once",
    ),
    "with two expirations": (
        lambda now_s: made(now_s, more=(("expiration", "99999999999"),)),
        "invalid: ",
    ),
    "whose tags say another context": (
        lambda now_s: made(now_s, tags={"t": "code", "d": f"{SUBJECT}:code"}),
        "invalid: attestation.content.context: is not the t tag's",
    ),
    "a vouch for oneself": (
        vouched_by_itself,
        "invalid: endorsement.pubkey: nobody vouches for themselves",
    ),
}


async def score(site: Site, operator: SecretKey, of: str = SUBJECT) -> dict[str, Any]:
    _, found = await site.ask("GET", f"/api/v1/trust/{of}", by=operator)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", REFUSED)
async def test_an_attestation_is_refused_by_the_name_of_what_is_wrong(
    site: Site, operator: SecretKey, name: str
) -> None:
    now_s = int(time.time())
    await publish(site, vouch(operator, AUTHOR.public, at_s=now_s - 9))
    make, reason = REFUSED[name]
    told = await publish(site, make(now_s))
    assert not told["accepted"], told
    assert told["message"].startswith(reason), told
    assert (await score(site, operator))["score"] == 0.5


async def test_d_with_two_colons_is_somebody_elses_event_and_says_nothing(
    site: Site, operator: SecretKey
) -> None:
    now_s = int(time.time())
    await publish(site, vouch(operator, AUTHOR.public, at_s=now_s - 9))
    assert (await publish(site, made(now_s, tags={"d": f"{SUBJECT}:sms:x"})))["accepted"]
    assert (await score(site, operator))["score"] == 0.5


async def test_an_endless_expiry_ends_after_two_years(site: Site, operator: SecretKey) -> None:
    now_s = int(time.time())
    await publish(site, vouch(operator, AUTHOR.public, at_s=now_s - 9))
    endless = made(now_s, tags={"expiration": "9" * 15})
    assert (await publish(site, endless))["accepted"]
    assert (await score(site, operator))["score"] > 0.5
    until = now_s + LIFETIME_MAX_S
    for at_s, heard in ((until - 1, 1), (until, 0)):
        assert len(await site.node.evidence.attestations_of(SUBJECT, at_s)) == heard


async def test_what_is_sent_again_counts_once_and_what_was_deleted_stays_deleted(
    site: Site, operator: SecretKey
) -> None:
    now_s = int(time.time())
    await publish(site, vouch(operator, AUTHOR.public, at_s=now_s - 9))
    said = made(now_s - 5)
    assert (await publish(site, said))["message"] == ""
    once = (await score(site, operator))["score"]
    again = await publish(site, said)
    assert (again["accepted"], again["message"].partition(":")[0]) == (True, "duplicate")
    assert (await score(site, operator))["score"] == once > 0.5
    assert (await publish(site, deletion(AUTHOR, said, at_s=now_s)))["accepted"]
    assert (await score(site, operator))["score"] == 0.5
    back = await publish(site, said)
    assert not back["accepted"], back
    assert back["message"].startswith("restricted: event: its author"), back
    assert (await score(site, operator))["score"] == 0.5


async def test_a_ring_of_vouches_lifts_nobody_and_a_burst_weighs_as_its_root(
    site: Site, operator: SecretKey
) -> None:
    now_s, ring = int(time.time()), [new_secret() for _ in range(6)]
    for one in ring:
        for other in ring:
            if one is not other:
                assert (await publish(site, vouch(one, other.public, at_s=now_s)))["accepted"]
    assert [(await score(site, operator, one.public))["level"] for one in ring] == [1] * 6
    await publish(site, vouch(operator, AUTHOR.public, at_s=now_s - 9))
    await publish(site, made(now_s))
    alone = (await score(site, operator))["score"]
    for number in range(24):
        await publish(site, rating(AUTHOR, new_secret().public, 5, now_s - number))
    # One of 25 in a day weighs a fifth: the score is (1 + 1/5) of (2 + 1/5), about.
    assert (await score(site, operator))["score"] == pytest.approx(1.2 / 2.2, abs=0.01)
    assert alone == pytest.approx(2 / 3, abs=0.01)


PUT = (
    "INSERT INTO trust_event (name, seq, kind, author, operator, source, domain, grade,"
    " created_at, expires, id, document) VALUES (?, ?, 30085, ?, ?, ?, 'sms', ?, ?, ?, ?, ?)"
)
FLOOD = 1_000_000


def flood(now_s: int, friend: str) -> Iterator[tuple[Any, ...]]:
    """As the view keeps them: of a million strangers, half praise and half warn; and, long before
    all these, one of a friend."""
    for number in range(FLOOD + 1):
        author = f"{number:064x}" if number < FLOOD else friend
        stars = 5 if number % 2 == 0 else 1
        at_s = now_s - number % 1000 if number < FLOOD else now_s - 90_000
        one = Attestation(
            id=f"{number:064x}",
            author=PublicKey(author),
            subject=SUBJECT,
            context="sms",
            rating=stars,
            confidence=1.0,
            created_at=at_s,
            expires=now_s + 86_400,
        )
        name = f"30085:{author}:{SUBJECT}:sms"
        row = (name, number, author, author, SUBJECT, stars, at_s, one.expires, one.id)
        yield (*row, msgspec.json.encode(one))


@pytest.mark.heavy
async def test_a_million_attestations_on_one_subject_cost_a_bounded_time_and_memory(
    tmp_path: Path, operator: SecretKey
) -> None:
    path, now_s = str(tmp_path / "hanse.db"), int(time.time())
    async with SqliteDatabase(path):
        pass  # makes the tables
    connection = apsw.Connection(path)
    connection.execute("PRAGMA synchronous=OFF")
    with connection:
        connection.executemany(PUT, flood(now_s, FRIEND.public))
    by, of = operator.public, FRIEND.public
    row = (f"31410:{by}:{of}:", 1, by, by, of, 5, now_s - 9, now_s + 86_400, "e" * 64, b"")
    connection.execute(PUT.replace("30085", "31410").replace("'sms'", "''"), row)
    connection.close()
    async with SqliteDatabase(path) as database:
        trust = Trust(StoredTrust(database), SystemClock(), node=PublicKey("f" * 64))
        await trust.load()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.process_time()
        found = await trust.explain(operator.public, SUBJECT, "sms")
        assert time.process_time() - begun < 1.0
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown / 1024 < 256  # pages of the database that it looks at among them
    assert found.level == 1
    assert found.score > 0.5  # the friend's word is heard, and no stranger's
