"""Search: what matches, what constraints exclude, how shapes fit, in which order and why."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fakes.offers import NOW, VIEWER, Stall, key, offer

from hanse.engines.embedders.static import StaticEmbedder
from hanse.errors import Invalid, Unavailable
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry import rank
from hanse.registry.model import NOTHING_PROMISED, Offer, Promise
from hanse.registry.quality import Ended
from hanse.registry.search import Constraints, Search, Weights

SMS = Search(words="send an sms")


@pytest.fixture
def stall() -> Stall:
    """One that knows words only."""
    return Stall()


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    """The table of word vectors."""
    return StaticEmbedder()


def ended(name: str, by: int, payer: int, number: int, end: str = "settled") -> Ended:
    """A call of the offer `name` by provider `by`."""
    return Ended(
        id=number.to_bytes(32),
        address=f"31402:{key(by)}:{name}",
        capability=name,
        major=1,
        caller=key(payer),
        provider=key(by),
        payer=key(payer),
        payee=key(by),
        end=end,
        latency_ms=100,
        at_s=NOW - 10,
        paid_msat=1000,
        received_msat=1000,
    )


# --- words and meaning ----------------------------------------------------------------------------


async def test_without_an_embedder_words_answer_and_the_answer_says_so(stall: Stall) -> None:
    stall.put(offer("sms", "Send a text to a phone"), offer("weather", "Tomorrow's rain", by=2))
    found = await stall.find(SMS)
    assert [hit.offer.identifier for hit in found.hits] == ["sms"]
    assert found.notes[0].startswith("by words only")
    assert found.hits[0].reasons[0] == "matches send, sms"


async def test_another_form_of_a_word_matches(stall: Stall) -> None:
    stall.put(offer("a", "Translates documents"))
    assert await stall.names(Search(words="translating a document")) == ["a"]


async def test_what_means_the_same_is_found_without_a_word_in_common(
    embedder: StaticEmbedder,
) -> None:
    stall = Stall(embedder)
    stall.put(
        offer("a", "Picture generator that paints images from text"),
        offer("b", "Stock market quotes for shares", by=2),
    )
    hit = await stall.hit(Search(words="drawing artwork"))
    assert hit.offer.identifier == "a"
    assert hit.figures["words"] == 0 < hit.figures["vectors"]
    assert "alike in meaning" in hit.reasons[0]


class Broken:
    """Implements `registry.store.Embedder`: it cannot be reached, until it can."""

    name, size = "broken", 64
    works = False

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder`."""
        if not self.works:
            raise Unavailable("no answer")
        return np.full((len(texts), 64), 0.125, dtype=np.float32)


async def test_an_embedder_that_fails_leaves_words_and_says_so() -> None:
    stall = Stall(Broken())
    stall.put(offer("sms", "Send a text"))
    found = await stall.find(SMS)
    assert [hit.offer.identifier for hit in found.hits] == ["sms"]
    assert found.notes == ("by words only: no answer",)


async def test_nothing_that_matches_is_nothing_found(stall: Stall) -> None:
    stall.put(offer("weather", "Tomorrow's rain"))
    found = await stall.find(Search(words="walrus"))
    assert (found.hits, found.total) == ([], 0)


async def test_without_words_everything_is_found_the_cheapest_of_equals_first(
    stall: Stall,
) -> None:
    stall.put(offer("dear", price=90_000), offer("cheap", by=2, price=1000))
    assert await stall.names(Search()) == ["cheap", "dear"]


# --- constraints ----------------------------------------------------------------------------------

FULL = Promise(
    latency_p95_ms=500,
    success_rate=0.99,
    availability=0.999,
    throughput_per_s=20,
    regions=("US", "EU"),
    data_residence=("DE",),
    certifications=("SOC2",),
)


def full() -> list[object]:
    """Constraints that the offer of FULL meets, each beside one that it does not."""
    return [
        (Constraints(max_price=Amount(2000)), Constraints(max_price=Amount(1999)), "price"),
        (Constraints(latency_p95_ms=500), Constraints(latency_p95_ms=499), "latency"),
        (Constraints(success_rate=0.99), Constraints(success_rate=0.995), "success"),
        (Constraints(availability=0.999), Constraints(availability=0.9999), "availability"),
        (
            Constraints(throughput_per_s=20),
            Constraints(throughput_per_s=20.1),
            "throughput_per_s",
        ),
        (Constraints(regions=("us", "EU")), Constraints(regions=("US", "JP")), "regions"),
        (
            Constraints(data_residence=("DE",)),
            Constraints(data_residence=("US",)),
            "data_residence",
        ),
        (
            Constraints(certifications=("soc2",)),
            Constraints(certifications=("HIPAA",)),
            "certifications",
        ),
        (
            Constraints(payment_methods=("hanse",)),
            Constraints(payment_methods=("hanse", "cash")),
            "payment_methods",
        ),
        (Constraints(topics=("SMS",)), Constraints(topics=("maps",)), "topics"),
        (Constraints(version="^2"), Constraints(version="^1"), "version"),
        (Constraints(provider=key(1)), Constraints(provider=key(9)), "provider"),
        (Constraints(operator=key(5)), Constraints(operator=key(1)), "operator"),
        (Constraints(online=True), Constraints(online=False), "online"),
        (Constraints(imported=False), Constraints(imported=True), "imported"),
        (
            Constraints(side_effects=("none", "writes")),
            Constraints(side_effects=("none",)),
            "side_effects",
        ),
    ]


@pytest.mark.parametrize(("met", "broken", "name"), full())
async def test_a_constraint_keeps_what_meets_it_and_counts_what_does_not(
    stall: Stall, met: Constraints, broken: Constraints, name: str
) -> None:
    stall.put(
        offer(
            "sms",
            "Send a text",
            of=5,
            price=2000,
            promise=FULL,
            payment_methods=("hanse", "lightning"),
            topics=("sms",),
            version="2.1.0",
            side_effects="writes",
        )
    )
    kept = await stall.find(Search(words="sms", constraints=met))
    assert (len(kept.hits), kept.total, kept.excluded) == (1, 1, {})
    lost = await stall.find(Search(words="sms", constraints=broken))
    assert (lost.hits, lost.total, lost.excluded) == ([], 0, {name: 1})


def imported(name: str, text: str = "", *, by: int, verified: str = "") -> Offer:
    """As `hanse import` lists somebody's service."""
    promise = NOTHING_PROMISED
    return offer(
        name, text, by=by, source="https://far.example", verified=verified, promise=promise
    )


async def test_an_importers_trust_and_connection_are_not_the_imported_offers() -> None:
    stall = Stall(standing=Circle())
    stall.put(imported("sms", by=7), offer("own", "sms", by=7))
    asked = Search(words="sms", viewer=VIEWER)
    hits = {hit.offer.identifier: hit for hit in (await stall.find(asked)).hits}
    hit = hits["sms"]
    assert (hit.level, hit.online, hit.figures["trust"]) == (0, False, rank.STRANGER)
    assert hit.figures["presence"] == rank.OFFLINE_FACTOR
    assert (hits["own"].level, hits["own"].online) == (3, True)
    for constraint in (Constraints(level=1), Constraints(online=True)):
        search = Search(words="sms", viewer=VIEWER, constraints=constraint)
        assert await stall.names(search) == ["own"]


async def test_an_imported_offer_does_not_pass_an_equal_one_whose_provider_is_away(
    stall: Stall,
) -> None:
    stall.put(imported("sms", by=1), offer("sms", by=2))
    stall.presence.leave(key(2))
    found = await stall.find(Search(words="sms"))
    assert [hit.offer.provider for hit in found.hits] == [key(2), key(1)]


async def test_imported_offers_are_told_apart_by_how_they_fit(stall: Stall) -> None:
    stall.put(imported("a", "Weather of a city", by=1), imported("b", "Weather", by=2))
    hits = (await stall.find(Search(words="weather city"))).hits
    assert [hit.offer.identifier for hit in hits] == ["a", "b"]
    assert hits[0].score > hits[1].score > 0


async def test_an_imported_offer_says_what_was_checked_and_that_nothing_is_promised(
    stall: Stall,
) -> None:
    stall.put(imported("a", "fax", by=1), imported("b", "fax", by=2, verified="domain x.example"))
    reasons = {
        hit.offer.identifier: hit.reasons for hit in (await stall.find(Search(words="fax"))).hits
    }
    assert "imported from https://far.example, not verified" in reasons["a"]
    assert "no calls measured yet; promises nothing" in reasons["a"]
    assert "imported from https://far.example, domain x.example, says its importer" in reasons["b"]


async def test_what_is_not_promised_meets_no_constraint(stall: Stall) -> None:
    stall.put(offer("sms", version="latest", by_call=False))
    for asked in (
        Constraints(availability=0.5),
        Constraints(throughput_per_s=0.001),
        Constraints(regions=("US",)),
        Constraints(side_effects=("irreversible",)),
        Constraints(version="*"),
        Constraints(max_price=Amount(10**12)),
    ):
        assert (await stall.find(Search(words="sms", constraints=asked))).total == 0


async def test_a_range_that_cannot_be_read_is_refused_by_name(stall: Stall) -> None:
    stall.put(offer("sms"))
    with pytest.raises(Invalid, match=r"constraints\.version"):
        await stall.find(Search(words="sms", constraints=Constraints(version="two")))


class Circle:
    """Implements `Standing`: the viewer trusts operator 7."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        """See `Standing`."""
        return 3 if (viewer, operator) == (VIEWER, key(7)) else 0

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        """See `Standing`."""
        return self.level(viewer, operator) / 4


async def test_the_viewers_trust_ranks_and_its_level_excludes() -> None:
    stall = Stall(standing=Circle())
    stall.put(offer("a", "sms", by=1), offer("b", "sms", by=2, of=7))
    seen = Search(words="sms", viewer=VIEWER)
    assert await stall.names(seen) == ["b", "a"]
    assert (await stall.hit(seen)).level == 3
    assert (await stall.hit(Search(words="sms"))).level is None
    trusted = Search(words="sms", viewer=VIEWER, constraints=Constraints(level=2))
    found = await stall.find(trusted)
    assert ([hit.offer.identifier for hit in found.hits], found.excluded) == (["b"], {"level": 1})
    nobody = Search(words="sms", constraints=Constraints(level=1))
    assert await stall.names(nobody) == []


# --- shapes ---------------------------------------------------------------------------------------


def takes(required: list[str], **properties: object) -> dict[str, object]:
    """An input schema."""
    return {"type": "object", "properties": properties, "required": required}


async def test_by_shape_every_required_input_must_be_given_with_its_type(stall: Stall) -> None:
    text, number = {"type": "string"}, {"type": "number"}
    stall.put(
        offer("city", input_schema=takes(["city"], city=text, days=number)),
        offer("both", by=2, input_schema=takes(["city", "days"], city=text, days=number)),
        offer("place", by=3, input_schema=takes(["place"], place=text)),
        offer("nothing", by=4, input_schema={"type": "object"}),
    )
    assert set(await stall.names(Search(takes={"city": text}))) == {"city", "nothing"}
    given = {"city": text, "days": {"type": "integer"}, "more": {}}
    assert set(await stall.names(Search(takes=given))) == {"city", "both", "nothing"}
    assert set(await stall.names(Search(takes={"city": number}))) == {"nothing"}
    assert set(await stall.names(Search(takes={"city": {}}))) == {"city", "nothing"}


async def test_by_shape_what_is_inside_counts_and_references_are_followed(stall: Stall) -> None:
    person = takes(["name"], name={"type": "string"})
    stall.put(
        offer(
            "greet",
            input_schema=takes(["person"], person={"$ref": "#/$defs/P"}) | {"$defs": {"P": person}},
        )
    )
    inside = {"person": {"type": "object", "properties": {"name": {"type": "string"}}}}
    assert await stall.names(Search(takes=inside)) == ["greet"]
    assert await stall.names(Search(takes={"person": {"type": "object"}})) == []


async def test_by_shape_what_any_alternative_demands_is_demanded(stall: Stall) -> None:
    schema = takes([], a={"type": "string"}, b={"type": "string"})
    stall.put(
        offer("one", input_schema=schema | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    )
    assert await stall.names(Search(takes={"a": {"type": "string"}})) == []
    both = {"a": {"type": "string"}, "b": {"type": "string"}}
    assert await stall.names(Search(takes=both)) == ["one"]


async def test_by_shape_the_output_must_have_at_least_what_is_asked(stall: Stall) -> None:
    out = {"type": "object", "properties": {"id": {"type": "integer"}, "ok": {"type": "boolean"}}}
    stall.put(offer("a", output_schema=out), offer("b", by=2))
    assert await stall.names(Search(returns={"id": {"type": "number"}})) == ["a"]
    assert await stall.names(Search(returns={"id": {}})) == ["a"]
    assert await stall.names(Search(returns={"id": {"type": "string"}})) == []
    assert await stall.names(Search(returns={"id": {}, "when": {}})) == []


async def test_an_exact_capability_is_found_by_its_name_alone(stall: Stall) -> None:
    stall.put(offer("send_sms", "x"), offer("send_sms_fast", "x", by=2))
    assert await stall.names(Search(capability="send_sms")) == ["send_sms"]


# --- order ----------------------------------------------------------------------------------------


async def test_what_fits_better_is_cheaper_or_connected_comes_first(stall: Stall) -> None:
    stall.put(
        offer("here", "sms", by=1),
        offer("away", "sms", by=2),
        offer("dear", "sms", by=3, price=500_000),
        offer("vague", "a long text of other things that also says sms once", by=4),
    )
    stall.presence.leave(key(2))
    assert (await stall.names(Search(words="sms")))[0] == "here"
    assert (await stall.names(Search(words="sms", weights=Weights(price=10))))[-1] == "dear"


async def test_a_promise_kept_for_others_comes_before_the_same_promise(stall: Stall) -> None:
    stall.put(offer("new", "sms", by=1), offer("kept", "sms", by=2), offer("broken", "sms", by=3))
    for number in range(20):
        stall.observed.voices.brought(key(100 + number), 100_000)
        stall.observed.record(ended("kept", 2, 100 + number, number))
        stall.observed.record(ended("broken", 3, 100 + number, 50 + number, "too-late"))
    stall.finder.refigure(stall.store.kept.values())
    assert await stall.names(Search(words="sms")) == ["kept", "new", "broken"]
    off = Search(words="sms", weights=Weights(quality=0))
    assert len({hit.score for hit in (await stall.find(off)).hits}) == 1


async def test_one_operator_does_not_fill_a_page_while_others_match(stall: Stall) -> None:
    stall.put(*(offer(f"flood{n}", "sms sms", by=n + 10, of=1) for n in range(30)))
    stall.put(*(offer(f"other{n}", "sms and more of it", by=n + 50) for n in range(10)))
    first = await stall.names(Search(words="sms"))
    assert sum(name.startswith("flood") for name in first) == 3
    everything = [
        name
        for offset in range(0, 40, 10)
        for name in await stall.names(Search(words="sms", offset=offset))
    ]
    assert len(everything) == len(set(everything)) == 40


async def test_pages_follow_each_other_and_the_same_question_has_the_same_answer(
    stall: Stall,
) -> None:
    stall.put(*(offer(f"o{n}", "sms", by=n + 1) for n in range(25)))
    whole = await stall.names(Search(words="sms", limit=25))
    pages = [await stall.names(Search(words="sms", limit=10, offset=at)) for at in (0, 10, 20)]
    assert [name for page in pages for name in page] == whole
    assert (await stall.find(Search(words="sms"))).total == 25


async def test_facets_count_all_that_passed(stall: Stall) -> None:
    stall.put(
        offer("a", "sms", topics=("text",), promise=FULL),
        offer("b", "sms", by=2, topics=("text", "fast"), price=20_000),
    )
    facets = (await stall.find(Search(words="sms", limit=1, facets=True))).facets
    assert facets["topics"] == {"text": 2, "fast": 1}
    assert facets["regions"] == {"eu": 1, "us": 1}
    assert facets["price"] == {"to 1 sat": 1, "to 100 sat": 1}


# --- what goes ------------------------------------------------------------------------------------


async def test_a_newer_version_takes_the_place_of_the_older_and_what_expires_is_gone(
    stall: Stall,
) -> None:
    stall.put(offer("a", "sms"))
    stall.put(offer("a", "weather"))
    stall.put(offer("b", "sms", by=2), expires=NOW)
    assert await stall.names(Search(words="sms")) == []
    assert await stall.names(Search(words="weather")) == ["a"]
    assert stall.finder.index.expire(NOW) == 1
    assert len(stall.finder.index) == 1
