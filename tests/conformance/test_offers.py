"""The offers' view: follows the log, and can be thrown away."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanse.engines.storage.log import EventLog
from hanse.engines.storage.offers import StoredOffers
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Capability, Match, Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags

NOW = 1_800_000_000


class View:
    """A log and the view that follows it."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.log = EventLog(database, lambda: secrets.token_bytes(32))
        self.offers = StoredOffers(database)

    async def add(self, *events: Event) -> None:
        """Append, and let the view follow."""
        await self.log.append_many(list(events))
        await self.offers.advance()

    async def found(self, *words: str) -> list[Match]:
        """What a search finds."""
        return await self.offers.search(list(words), 50, NOW)


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    """An empty one."""
    async with SqliteDatabase(str(tmp_path / "hanse.db")) as database:
        found = View(database)
        await found.log.open()
        yield found


def offer(
    secret: SecretKey, name: str, summary: str, at: int = NOW, expires: int | None = None
) -> Event:
    """A signed offer with one capability."""
    value = Offer(
        provider=secret.public,
        operator=secret.public,
        identifier=name,
        name=name,
        summary=summary,
        capabilities=(Capability(name=f"{name}_it", description=summary, price=Amount(1)),),
        promise=Promise(),
    )
    tags = offer_tags(value, url="ws://127.0.0.1:1", node=secret.public)
    if expires is not None:
        tags = (*tags, ("expiration", str(expires)))
    return sign_event(
        secret, kind=kinds.OFFER, created_at=at, content=offer_content(value), tags=tags
    )


async def test_an_offer_is_found_by_its_words_and_by_its_name(view: View) -> None:
    secret = new_secret()
    await view.add(offer(secret, "translate", "Turn German text into English"))
    assert [match.capability for match in await view.found("german", "english")] == ["translate_it"]
    assert await view.found("weather") == []
    assert [found.name for found in await view.offers.named("translate", NOW)] == ["translate"]


async def test_a_newer_version_takes_the_place_of_the_older(view: View) -> None:
    secret = new_secret()
    await view.add(offer(secret, "clock", "Tells the time", NOW))
    await view.add(offer(secret, "clock", "Tells the weather", NOW + 1))
    assert await view.found("time") == []
    assert len(await view.found("weather")) == 1
    assert await view.offers.count(NOW) == 1


@pytest.mark.parametrize("by", ["address", "id"])
async def test_a_deleted_offer_vanishes_from_search(view: View, by: str) -> None:
    secret = new_secret()
    event = offer(secret, "clock", "Tells the time")
    await view.add(event)
    tag = ("e", event.id) if by == "id" else ("a", f"{kinds.OFFER}:{secret.public}:clock")
    deletion = sign_event(secret, kind=kinds.DELETION, created_at=NOW + 1, tags=(tag,))
    await view.add(deletion)
    assert await view.found("time") == []
    assert await view.offers.named("clock", NOW) == []


async def test_an_expired_offer_is_not_found(view: View) -> None:
    await view.add(offer(new_secret(), "clock", "Tells the time", expires=NOW))
    assert await view.found("time") == []
    assert await view.offers.count(NOW - 1) == 1


async def test_the_view_rebuilt_from_the_log_answers_the_same(view: View) -> None:
    secret = new_secret()
    for number in range(20):
        await view.add(offer(secret, f"tool{number}", f"Does thing {number} with text", NOW))
    await view.add(
        sign_event(
            secret,
            kind=kinds.DELETION,
            created_at=NOW + 1,
            tags=(("a", f"{kinds.OFFER}:{secret.public}:tool3"),),
        )
    )
    before = await view.found("text", "thing")
    await view.offers.rebuild()
    assert len(before) == 19
    assert sorted(await view.found("text", "thing"), key=str) == sorted(before, key=str)
