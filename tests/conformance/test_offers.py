"""The offers' view: follows the log, and can be thrown away."""

import asyncio
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conformance.engines import Stores
from tests.fakes.offers import NOW, VIEWER, Connected, Still

from hanse.engines.storage.database import Transaction
from hanse.engines.storage.indexing import Indexing
from hanse.engines.storage.offers import RULES, STEP
from hanse.errors import Conflict, Invalid, Unavailable
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.finder import Finder
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.observed import Observed
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.registry.search import Constraints, Search


class View:
    """A log, the view that follows it, and the index that follows the view."""

    def __init__(self, kept: Stores) -> None:
        self.kept = kept
        self.log = kept.log
        self.offers = kept.offers
        self.finder, self.indexing = self.fresh()
        self.log.follow(self.indexing.saw)

    def fresh(self) -> tuple[Finder, Indexing]:
        """An empty index of the same offers."""
        finder = Finder(
            store=self.offers,
            presence=Connected(),
            clock=Still(),
            observed=Observed(VIEWER, lambda: NOW),
        )
        return finder, Indexing(self.offers, finder, self.kept.database)

    async def add(self, *events: Event) -> None:
        """Append, and let the views follow."""
        await self.log.append_many(list(events))
        await self.offers.advance()
        await self.indexing.advance()

    async def found(self, *words: str) -> list[str]:
        """The capabilities a search finds."""
        found = await self.finder.find(Search(words=" ".join(words), limit=50))
        assert found.total == len(found.hits)
        return [hit.capability.name for hit in found.hits]


@pytest.fixture
def view(kept: Stores) -> View:
    """An empty one."""
    return View(kept)


def offer(
    secret: SecretKey,
    name: str,
    summary: str,
    at: int = NOW,
    expires: int | None = None,
    methods: tuple[str, ...] = (),
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
        payment_methods=methods,
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
    assert await view.found("german", "english") == ["translate_it"]
    assert await view.found("weather") == []
    assert [found.name for found in await view.offers.named("translate", NOW)] == ["translate"]


async def test_an_offer_committed_between_the_views_steps_is_found(view: View) -> None:
    await view.offers.advance()
    await view.log.append_many([offer(new_secret(), "clock", "Tells the time")])
    await view.indexing.advance()
    assert await view.found("time") == ["clock_it"]


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


async def test_what_older_rules_kept_is_read_anew_once_when_a_node_starts(view: View) -> None:
    secret = new_secret()
    offers = [
        offer(secret, f"tool{number}", f"Does thing {number}", methods=("lightning",))
        for number in range(STEP + 20)
    ]
    await view.add(*offers)

    def as_before(tx: Transaction) -> None:
        """What a version kept that knew no payment methods, nor rules."""
        for seq, expires, document in tx.all("offers_after", 0, 2 * STEP):
            old = msgspec.json.decode(document)
            del old["payment_methods"]
            name, made = old["identifier"], old["created_at"]
            address = f"{kinds.OFFER}:{secret.public}:{name}"
            text = msgspec.json.encode(old)
            tx.all("offer_upsert", address, seq, name, name, made, expires, text)
        tx.all("view_set", "offers-rules", 0)

    await view.kept.database.write(as_before)
    assert (await view.offers.named("tool3", NOW))[0].payment_methods == ()
    await view.offers.open()
    kept = await view.offers.after(0, 2 * STEP)
    assert len(kept) == STEP + 20
    assert {found.payment_methods for _, _, found in kept} == {("hanse", "lightning")}
    fresh, indexing = view.fresh()
    await indexing.fill()
    await indexing.finish()
    asked = Search(constraints=Constraints(payment_methods=("lightning",)))
    assert (await fresh.find(asked)).total == STEP + 20
    await view.kept.database.write(as_before)
    await view.kept.database.write(lambda tx: tx.all("view_set", "offers-rules", RULES))
    await view.offers.open()  # it was done: nothing is read again
    assert (await view.offers.named("tool3", NOW))[0].payment_methods == ()


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
    assert len(before) == 19
    await view.offers.rebuild()
    view.finder, rebuilt = view.fresh()
    assert await rebuilt.fill()
    assert await view.found("text", "thing") == before


async def test_the_offers_of_who_vanished_are_not_found(view: View) -> None:
    secret, other = new_secret(), new_secret()
    await view.add(offer(secret, "clock", "Tells the time"), offer(other, "watch", "Tells time"))
    await view.add(sign_event(secret, kind=kinds.VANISH, created_at=NOW))
    assert await view.found("time") == ["watch_it"]
    assert await view.offers.named("clock", NOW) == []
    await view.add(offer(secret, "clock", "Tells the time", NOW + 1))
    assert len(await view.found("time")) == 2


async def test_an_erased_offer_is_pruned(view: View) -> None:
    secret, event = new_secret(), offer(new_secret(), "clock", "Tells the time")
    await view.add(event, offer(secret, "watch", "Tells the time"))
    await view.log.erase(ids=[event.id])
    gone = await view.offers.prune()
    assert (len(gone), await view.offers.prune()) == (1, [])
    await view.indexing.forget(gone)
    assert await view.found("time") == ["watch_it"]


async def test_what_another_node_indexed_is_found_here(view: View) -> None:
    """Two nodes on one database: whoever moves the view on, each hears of every event."""
    finder, other = view.fresh()
    await other.fill()
    view.log.follow(other.saw)
    secret = new_secret()
    event = offer(secret, "clock", "Tells the time")
    await view.add(event)
    await view.offers.advance()
    await other.advance()
    assert len((await finder.find(Search(words="time"))).hits) == 1
    tag = ("e", event.id)
    await view.add(sign_event(secret, kind=kinds.DELETION, created_at=NOW + 1, tags=(tag,)))
    await other.advance()
    assert (await finder.find(Search(words="time"))).hits == []


async def test_an_offer_that_could_not_be_embedded_is_when_that_works(view: View) -> None:
    embedder = Shaky()
    view.finder = Finder(
        store=view.offers,
        presence=Connected(),
        clock=Still(),
        observed=Observed(VIEWER, lambda: NOW),
        embedder=embedder,
    )
    indexing = Indexing(view.offers, view.finder, view.kept.database)
    await view.add(offer(new_secret(), "clock", "Tells the time"))
    assert await indexing.fill()
    assert (await view.finder.find(Search(words="time"))).hits[0].figures["vectors"] == 0
    embedder.works = True
    await indexing.tend(NOW)
    assert (await view.finder.find(Search(words="time"))).hits[0].figures["vectors"] == 1


class Shaky:
    """Implements `registry.store.Embedder`: it works when told; all texts mean the same."""

    name, size = "shaky", 64
    works = False

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder`."""
        if not self.works:
            raise Unavailable("no answer")
        return np.full((len(texts), 64), 0.125, dtype=np.float32)


# --- one version after another ----------------------------------------------------------------


def sending(
    secret: SecretKey, version: str, at: int, *, needs: tuple[str, ...] = (), **tags: str
) -> Event:
    """An offer of one capability whose input needs these properties."""
    schema = {
        "type": "object",
        "properties": {"to": {"type": "string"}},
        "required": list(needs),
    }
    value = Offer(
        provider=secret.public,
        operator=secret.public,
        identifier="post",
        name="Post",
        summary="Sends letters",
        capabilities=(Capability(name="send", input_schema=schema, price=Amount(1)),),
        promise=Promise(),
        version=version,
    )
    return sign_event(
        secret,
        kind=kinds.OFFER,
        created_at=at,
        content=offer_content(value),
        tags=(*offer_tags(value, url="ws://x", node=secret.public), *tags.items()),
    )


async def test_a_version_that_breaks_callers_is_refused_and_the_older_stays(view: View) -> None:
    secret = new_secret()
    await view.add(sending(secret, "1.0.0", NOW))
    (refused,) = await view.log.append_many([sending(secret, "1.1.0", NOW + 1, needs=("to",))])
    assert isinstance(refused, Invalid)
    assert refused.wire.startswith(
        "invalid: capabilities.send.schema.properties.to: was not required before; "
        "raise the major version"
    )
    await view.offers.advance()
    (kept,) = await view.offers.named("post", NOW)
    assert kept.version == "1.0.0"


async def test_with_a_major_version_it_takes_the_place_of_the_older(view: View) -> None:
    secret = new_secret()
    await view.add(sending(secret, "1.0.0", NOW))
    await view.add(sending(secret, "2.0.0", NOW + 1, needs=("to",)))
    (kept,) = await view.offers.named("post", NOW)
    assert kept.version == "2.0.0"


async def test_of_versions_that_come_at_once_each_is_compared_with_the_one_before(
    view: View,
) -> None:
    secret = new_secret()
    outcomes = await view.log.append_many(
        [
            sending(secret, "1.0.0", NOW),
            sending(secret, "1.1.0", NOW + 1, needs=("to",)),
            sending(secret, "2.0.0", NOW + 2, needs=("to",)),
            sending(secret, "2.0.1", NOW + 3, needs=("to", "from")),
        ]
    )
    assert [isinstance(one, Invalid) for one in outcomes] == [False, True, False, True]


async def test_of_many_writers_at_once_none_gets_a_break_past(view: View) -> None:
    secret = new_secret()
    await view.add(sending(secret, "1.0.0", NOW))
    async with asyncio.TaskGroup() as tasks:
        for second in range(1, 20):
            event = sending(secret, f"1.{second}.0", NOW + second, needs=("to",))
            tasks.create_task(view.log.append_many([event]))
    await view.offers.advance()
    (kept,) = await view.offers.named("post", NOW)
    assert kept.version == "1.0.0"


async def test_an_older_version_that_comes_late_is_not_compared(view: View) -> None:
    secret = new_secret()
    await view.add(sending(secret, "2.0.0", NOW + 5, needs=("to",)))
    (late,) = await view.log.append_many([sending(secret, "1.0.0", NOW)])
    assert isinstance(late, Conflict)


async def test_after_a_deletion_or_its_expiry_an_offer_may_begin_anew(view: View) -> None:
    secret = new_secret()
    await view.add(sending(secret, "1.0.0", NOW))
    gone = (("a", f"31402:{secret.public}:post"),)
    deletion = sign_event(secret, kind=kinds.DELETION, created_at=NOW + 1, content="", tags=gone)
    await view.add(deletion, sending(secret, "1.0.0", NOW + 2, needs=("to",)))
    assert len(await view.offers.named("post", NOW)) == 1
    other = new_secret()
    expiring = sending(other, "1.0.0", NOW, expiration=str(NOW + 10))
    outcomes = await view.log.append_many(
        [expiring, sending(other, "1.0.0", NOW + 10, needs=("to",))]
    )
    assert all(isinstance(one, int) for one in outcomes)


async def test_what_was_imported_is_not_compared_until_its_provider_publishes(view: View) -> None:
    secret, source = new_secret(), "mcp:registry.example/post"
    outcomes = await view.log.append_many(
        [
            sending(secret, "1.0.0", NOW, imported=source),
            sending(secret, "1.0.0", NOW + 1, needs=("to",), imported=source),
            sending(secret, "1.0.0", NOW + 2, needs=("to", "from")),
        ]
    )
    assert [isinstance(one, Invalid) for one in outcomes] == [False, False, True]
