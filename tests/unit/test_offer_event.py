"""The offer codec: what we write we read, what others write we read, and each flaw has a name."""

import re
import socket
from typing import Any

import msgspec
import orjson
import pytest

from hanse.errors import Invalid, TooLarge
from hanse.protocol import attestation, kinds
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.registry.model import (
    CAPABILITIES_MAX,
    Capability,
    Example,
    Metered,
    Offer,
    Period,
    Promise,
)
from hanse.registry.offer_event import (
    CONTENT_BYTES_MAX,
    CONTENT_DEPTH_MAX,
    offer_content,
    offer_tags,
    read_offer,
)

PROVIDER = SecretKey((1).to_bytes(32, "big"))
OPERATOR = SecretKey((2).to_bytes(32, "big"))
NODE = SecretKey((3).to_bytes(32, "big")).public
TAGS: tuple[tuple[str, ...], ...] = (
    ("d", "clock"),
    ("name", "Clock"),
    ("summary", "Tells the time"),
    ("url", "ws://127.0.0.1:7447"),
    ("pmi", "hanse", NODE),
    ("price", "now", "2", "sat"),
)
CAPABILITY: dict[str, Any] = {"name": "now", "schema": {"type": "object"}}


def event(
    *tags: tuple[str, ...],
    without: str = "",
    content: object = None,
    kind: int = kinds.OFFER,
) -> Event:
    """A signed offer event: the usual tags, less those named `without`, plus `tags`."""
    kept = [tag for tag in TAGS if tag[0] != without]
    body = content if content is not None else {"capabilities": [CAPABILITY]}
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    return sign_event(PROVIDER, kind=kind, created_at=1, content=text, tags=(*kept, *tags))


def refusal(found: Event) -> Invalid:
    """What `read_offer` refuses an event with."""
    with pytest.raises(Invalid) as caught:
        read_offer(found)
    return caught.value


def test_a_written_offer_reads_back_as_it_was() -> None:
    auth = attestation.attest(OPERATOR, PROVIDER.public).tag
    offer = Offer(
        provider=PROVIDER.public,
        operator=OPERATOR.public,
        identifier="clock",
        name="Clock",
        summary="Tells the time",
        capabilities=(
            Capability(
                name="now",
                description="The time in a zone",
                input_schema={"type": "object", "properties": {"zone": {"type": "string"}}},
                output_schema={"type": "object"},
                price=Amount(2000),
            ),
            Capability(name="zones", input_schema={"type": "object"}, price=Amount(1)),
        ),
        promise=Promise(latency_p95_ms=250, success_rate=0.995),
        topics=("time", "zones"),
    )
    signed = sign_event(
        PROVIDER,
        kind=kinds.OFFER,
        created_at=7,
        content=offer_content(offer),
        tags=(*offer_tags(offer, url="ws://127.0.0.1:1", node=NODE), auth),
    )
    found = read_offer(signed)
    assert (found.event_id, found.created_at) == (signed.id, 7)
    assert found.capabilities == offer.capabilities
    assert found.promise == offer.promise
    assert found.operator == OPERATOR.public
    assert found.address == f"31402:{PROVIDER.public}:clock"
    assert (found.name, found.summary, found.topics) == ("Clock", "Tells the time", offer.topics)


def test_an_offer_without_an_attestation_answers_for_itself() -> None:
    assert read_offer(event()).operator == PROVIDER.public


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        (event(kind=1), "event.kind", "must be 31402"),
        (event(without="d"), "tags.d", "missing or blank"),
        (event(("d", "  "), without="d"), "tags.d", "missing or blank"),
        (event(("d", "x" * 256), without="d"), "tags.d", "over 255 bytes"),
        (event(("d", "ü" * 128), without="d"), "tags.d", "over 255 bytes"),
        (event(without="name"), "tags.name", "missing or blank"),
        (event(("name", "x" * 256), without="name"), "tags.name", "over 255 bytes"),
        (event(("d", "a\nb"), without="d"), "tags.d", "control"),
        (event(("name", "a\x1b[31m"), without="name"), "tags.name", "control"),
        (event(("name", "bank\u200b"), without="name"), "tags.name", "invisible"),
        (event(("name", "a\u202eknab"), without="name"), "tags.name", "invisible"),
        (event(("imported", " ", "mcp", "x")), "tags.imported", "names no source"),
        (event(without="url"), "tags.url", "1 to 10 times"),
        (event(*[("url", "ws://x")] * 10), "tags.url", "1 to 10 times"),
        (event(("url", "javascript:alert(1)")), "tags.url", "scheme"),
        (event(("url", " FILE:///etc/passwd")), "tags.url", "scheme"),
        (event(("url", "ws://x/\n")), "tags.url", "control characters"),
        (event(("url", "ws://x/" + "y" * 2048)), "tags.url", "over 2048"),
        (event(without="pmi"), "tags.pmi", "1 to 20 times"),
        (event(("summary", "x" * 4097), without="summary"), "tags.summary", "4096"),
        (event(*[("t", "x")] * 51), "tags.t", "at most 50"),
        (event(("t", "x" * 65)), "tags.t", "at most 50 topics of 64"),
        (event(("v", "2.0.0")), "tags.v", "version 2.0.0"),
    ],
)
def test_each_bad_tag_is_refused_by_name(given: Event, field: str, reason: str) -> None:
    found = refusal(given)
    assert found.field == field
    assert reason in found.reason


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (("price", "now"), "must be [price"),
        (("price", "now", "2.5", "sat"), "integer"),
        (("price", "now", "-1", "sat"), "integer"),
        (("price", "now", "", "sat"), "integer"),
        (("price", "now", "٣", "sat"), "integer"),
        (("price", "now", "1" * 17, "sat"), "integer"),
        (("price", "now", "9" * 16, "sat"), "9007199254740991"),
        (("price", "now", "2", "usd"), "not sat or msat"),
        (("price", "now", "2", ""), "not sat or msat"),
    ],
)
def test_a_price_that_is_not_a_whole_number_of_sats_is_refused(
    price: tuple[str, ...], reason: str
) -> None:
    found = refusal(event(price, without="price"))
    assert found.field == "tags.price"
    assert reason in found.reason


def test_a_capability_priced_twice_is_refused() -> None:
    found = refusal(event(("price", "now", "3", "sat")))
    assert (found.field, "twice" in found.reason) == ("tags.price", True)


def test_a_capability_without_a_price_is_refused() -> None:
    found = refusal(event(("price", "later", "2", "sat"), without="price"))
    assert found.field == "content.capabilities[0].name"
    assert "no price" in found.reason


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        ("not json", "content", "not JSON"),
        ("[1]", "content", "must be an object"),
        ("{}", "content.capabilities", "1 to 100"),
        ({"capabilities": {}}, "content.capabilities", "list"),
        ({"capabilities": [1]}, "content.capabilities[0]", "object"),
        ({"capabilities": [{}]}, "content.capabilities[0].name", "1 to 64"),
        ({"capabilities": [{"name": "x" * 65}]}, "content.capabilities[0].name", "1 to 64"),
        ({"capabilities": [{"name": "now", "description": 1}]}, "…description", "must be text"),
        ({"capabilities": [CAPABILITY, CAPABILITY]}, "content.capabilities[1].name", "twice"),
        ({"capabilities": [CAPABILITY | {"schema": 1}]}, "…schema", "JSON Schema object"),
        ({"capabilities": [CAPABILITY | {"schema": {"type": "no"}}]}, "…schema", "usable"),
        ({"capabilities": [CAPABILITY | {"outputSchema": []}]}, "…outputSchema", "object"),
        (
            {"capabilities": [CAPABILITY | {"outputSchema": {"pattern": "(a)\\1"}}]},
            "…outputSchema",
            "regex",
        ),
        ({"capabilities": [CAPABILITY | {"schema": {"pattern": "(?=a)"}}]}, "…schema", "regex"),
    ],
)
def test_each_bad_part_of_the_content_is_refused_by_name(
    content: object, field: str, reason: str
) -> None:
    found = refusal(event(content=content))
    assert found.field == field.replace("…", "content.capabilities[0].")
    assert reason in found.reason


def test_a_capability_whose_name_could_break_a_line_is_refused() -> None:
    found = refusal(
        event(("price", "a\nb", "1", "sat"), content={"capabilities": [{"name": "a\nb"}]})
    )
    assert found.field == "content.capabilities[0].name"
    assert "letters" in found.reason


def test_a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        target = f"http://127.0.0.1:{listening.getsockname()[1]}/schema.json"
        schema = {"type": "object", "properties": {"a": {"$ref": target}}}
        found = refusal(event(content={"capabilities": [CAPABILITY | {"schema": schema}]}))
        with pytest.raises(TimeoutError):
            listening.accept()
    assert found.field == "content.capabilities[0].schema"
    assert "may refer only to places in itself" in found.reason


def test_a_hundred_capabilities_are_taken_and_one_more_is_not() -> None:
    def many(count: int) -> Event:
        names = [f"c{number}" for number in range(count)]
        return event(
            *[("price", name, "1", "sat") for name in names[:CAPABILITIES_MAX]],
            without="price",
            content={"capabilities": [{"name": name} for name in names]},
        )

    assert len(read_offer(many(CAPABILITIES_MAX)).capabilities) == CAPABILITIES_MAX
    found = refusal(many(CAPABILITIES_MAX + 1))
    assert (found.field, "1 to 100" in found.reason) == ("content.capabilities", True)


def test_more_prices_than_capabilities_can_have_are_refused() -> None:
    prices = [("price", f"c{number}", "1", "sat") for number in range(CAPABILITIES_MAX + 1)]
    found = refusal(event(*prices, without="price"))
    assert (found.field, type(found)) == ("tags.price", TooLarge)


def test_content_over_its_bound_is_refused_before_it_is_decoded() -> None:
    found = refusal(event(content="[" * (CONTENT_BYTES_MAX + 1)))
    assert (found.field, type(found)) == ("content", TooLarge)
    assert str(CONTENT_BYTES_MAX) in found.reason


def test_content_nested_too_deeply_is_refused() -> None:
    deep = "[" * (CONTENT_DEPTH_MAX + 1) + "]" * (CONTENT_DEPTH_MAX + 1)
    found = refusal(event(content=deep))
    assert (found.field, type(found)) == ("content", TooLarge)
    assert "nested" in found.reason


def test_offers_by_other_software_are_read() -> None:
    found = read_offer(
        event(
            ("about", "By another name"),
            ("pmi", "bitcoin-onchain", "bc1q"),
            ("pmi", "x402"),
            ("price", "later", "3", "SAT"),
            ("price", "soon", "4", "sats"),
            ("price", "cheap", "5", "msat"),
            without="summary",
            content={
                "capabilities": [
                    {"name": name, "extra": 1} for name in ("now", "later", "soon", "cheap")
                ],
                "unknown": True,
            },
        )
    )
    assert found.summary == "By another name"
    assert [one.price.msat for one in found.capabilities] == [2000, 3000, 4000, 5]
    assert found.capabilities[0].input_schema == {"type": "object"}
    assert found.promise == Promise()


@pytest.mark.parametrize("version", ["1", "1.0.0", "1.9.9"])
def test_every_minor_version_of_our_major_one_is_read(version: str) -> None:
    assert read_offer(event(("v", version))).identifier == "clock"


@pytest.mark.parametrize(
    ("promise", "field", "reason"),
    [
        (("latency_p95_ms", "0"), "promise.latency_p95_ms", "1 to 600000"),
        (("latency_p95_ms", "600001"), "promise.latency_p95_ms", "1 to 600000"),
        (("latency_p95_ms", "-5"), "promise.latency_p95_ms", "1 to 600000"),
        (("success_rate", "0"), "promise.success_rate", "over 0 and at most 1"),
        (("success_rate", "1.01"), "promise.success_rate", "over 0 and at most 1"),
        (("success_rate", "nan"), "promise.success_rate", "over 0 and at most 1"),
        (("success_rate", "inf"), "promise.success_rate", "over 0 and at most 1"),
        (("latency_p95_ms", "fast"), "tags.promise", "number"),
        (("latency_p95_ms", "1.5"), "tags.promise", "number"),
        (("latency_p95_ms", "9" * 5000), "tags.promise", "number"),
    ],
)
def test_a_promise_out_of_range_is_refused(
    promise: tuple[str, str], field: str, reason: str
) -> None:
    found = refusal(event(("promise", *promise)))
    assert found.field == field
    assert reason in found.reason


def test_a_false_claim_of_an_owner_is_refused() -> None:
    wrong = attestation.attest(OPERATOR, NODE).tag
    found = refusal(event(wrong))
    assert (found.field, "owner" in found.reason) == ("auth", True)


# --- what format 1.1 added --------------------------------------------------------------------


def test_everything_an_offer_can_say_reads_back_as_it_was() -> None:
    offer = Offer(
        provider=PROVIDER.public,
        operator=PROVIDER.public,
        identifier="clock",
        name="Clock",
        summary="Tells the time",
        capabilities=(
            Capability(
                name="now",
                title="The time now",
                input_schema={"type": "object"},
                examples=(
                    Example(input={"zone": "UTC"}, output={"time": "12:00"}),
                    Example(input={}),
                ),
                side_effects="none",
                idempotent=True,
                data_handling="Nothing is kept.",
                price=Amount(1500),
                metered=(Metered(unit="output-token", per=1000, price=Amount(2000)),),
                period=Period(span="month", price=Amount(5_000_000), calls=10_000),
            ),
            Capability(
                name="zones",
                input_schema={"type": "object"},
                price=Amount(0),
                by_call=False,
                metered=(Metered(unit="row", price=Amount(1)),),
            ),
        ),
        promise=Promise(
            latency_p50_ms=100,
            latency_p95_ms=250,
            latency_p99_ms=900,
            success_rate=0.995,
            availability=0.9999,
            throughput_per_s=12.5,
            regions=("EU", "US-CA"),
            data_residence=("DE",),
            certifications=("ISO 27001", "SOC 2"),
        ),
        version="2.1.0-rc.1",
        payment_methods=("hanse", "bitcoin-lightning-bolt11"),
        terms="https://clock.example/terms",
        source="mcp:registry.example/clock",
    )
    signed = sign_event(
        PROVIDER,
        kind=kinds.OFFER,
        created_at=7,
        content=offer_content(offer),
        tags=offer_tags(offer, url="ws://127.0.0.1:1", node=NODE),
    )
    found = read_offer(signed)
    assert msgspec.structs.replace(found, event_id="", created_at=0) == offer


def test_what_an_offer_does_not_say_is_not_read_as_a_promise() -> None:
    found = read_offer(event())
    (capability,) = found.capabilities
    assert found.promise == Promise()
    assert (found.promise.availability, found.promise.regions) == (None, ())
    assert (capability.side_effects, capability.idempotent, capability.examples) == (None, None, ())
    assert (capability.by_call, capability.metered, capability.period) == (True, (), None)
    assert found.payment_methods == ("hanse",)


def test_payment_methods_of_other_software_are_read_by_their_names() -> None:
    others = (("pmi", "l402", "lightning"), ("pmi", "x402", "base", "usdc"), ("pmi", ""))
    assert read_offer(event(*others)).payment_methods == ("hanse", "l402", "lightning", "x402")


def test_a_capability_without_a_price_per_call_needs_another() -> None:
    metered = event(("metered", "now", "2", "sat", "1000", "token"), without="price")
    (found,) = read_offer(metered).capabilities
    assert not found.by_call
    assert found.metered == (Metered(unit="token", per=1000, price=Amount(2000)),)
    assert "has no price tag" in refusal(event(without="price")).text


def extra(**more: Any) -> Event:
    """An offer whose one capability says `more`."""
    return event(content={"capabilities": [CAPABILITY | more]})


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        (event(("promise", "latency_p50_ms", "2000")), "promise.latency_p95_ms", "is under"),
        (event(("promise", "latency_p99_ms", "999")), "promise.latency_p99_ms", "is under"),
        (event(("promise", "latency_p99_ms", "0")), "promise.latency_p99_ms", "must be 1 to"),
        (event(("promise", "availability", "1.1")), "promise.availability", "at most 1"),
        (event(("promise", "availability", "nan")), "promise.availability", "at most 1"),
        (event(("promise", "throughput_per_s", "0")), "promise.throughput_per_s", "over 0"),
        (event(("promise", "throughput_per_s", "inf")), "promise.throughput_per_s", "over 0"),
        (event(("promise", "regions", "somewhere nice")), "promise.regions", "places like EU"),
        (event(("promise", "regions", *[f"EU{n}" for n in range(40)])), "promise.regions", "32"),
        (event(("promise", "data_residence", "?")), "promise.data_residence", "places like EU"),
        (event(("promise", "certifications", "x" * 65)), "promise.certifications", "64"),
        (event(("promise", "certifications", " ")), "promise.certifications", "names"),
        (event(("metered", "now", "2", "sat", "1000")), "tags.metered", "must be [metered"),
        (event(("metered", "now", "-2", "sat", "1", "row")), "tags.metered", "non-negative"),
        (event(("metered", "now", "2", "sat", "0", "row")), "metered.per", "must be 1 to"),
        (event(("metered", "now", "2", "sat", "1", "wish")), "metered.unit", "is not one of"),
        (event(*[("metered", "now", "2", "sat", "1", "row")] * 2), "tags.metered", "twice"),
        (event(("period", "now", "2", "sat")), "tags.period", "must be [period"),
        (event(("period", "now", "2", "eur", "day")), "tags.period", "currency"),
        (event(("period", "now", "2", "sat", "eon")), "period.span", "is not one of"),
        (event(("period", "now", "2", "sat", "day", "0")), "period.calls", "must be 1 to"),
        (event(*[("period", "now", "2", "sat", "day")] * 2), "tags.period", "has two"),
        (event(("terms", "x" * 2049)), "tags.terms", "2048"),
        (event(("imported", "x" * 2049)), "tags.imported", "2048"),
        (extra(title="x" * 256), "content.capabilities[0].title", "255"),
        (extra(title="a\nb"), "content.capabilities[0].title", "control"),
        (extra(sideEffects="some"), "content.capabilities[0].sideEffects", "one of none"),
        (extra(idempotent=1), "content.capabilities[0].idempotent", "true or false"),
        (extra(dataHandling="x" * 1025), "content.capabilities[0].dataHandling", "1024"),
        (extra(examples={}), "content.capabilities[0].examples", "a list of at most 10"),
        (extra(examples=[{"input": {}}] * 11), "content.capabilities[0].examples", "at most 10"),
        (extra(examples=[{}]), "content.capabilities[0].examples[0].input", "an object"),
        (
            extra(examples=[{"input": {}, "output": 1}]),
            "content.capabilities[0].examples[0].output",
            "an object",
        ),
    ],
)
def test_each_flaw_of_what_was_added_is_refused_by_name(
    given: Event, field: str, reason: str
) -> None:
    found = refusal(given)
    assert found.field == field
    assert reason in found.text


# --- absurd ones ------------------------------------------------------------------------------


def doubling(levels: int) -> dict[str, Any]:
    """A small schema that asks for 2^levels checks."""
    found: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels + 1):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        found[f"d{level}"] = {"allOf": [below, below]}
    return {"$ref": f"#/$defs/d{levels}", "$defs": found}


def nested(levels: int) -> dict[str, Any]:
    """Schemas on top of each other, by reference: shallow to look at."""
    found = {f"d{level}": {"not": {"$ref": f"#/$defs/d{level + 1}"}} for level in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**found, f"d{levels}": {}}}


@pytest.mark.parametrize("part", ["schema", "outputSchema"])
@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (doubling(30), "checks"),
        (nested(200), "nests over"),
        ({"pattern": "(a{999}){999}"}, "usable"),
        ({"pattern": "(a+)+$" * 20_000}, "64 KiB|bytes|usable|over"),
        ({"anyOf": [{"pattern": f"^{n}"} for n in range(40)]}, "32 patterns"),
        ({"$ref": "file:///etc/passwd"}, "refer"),
        ({"$dynamicRef": "#x"}, "usable|refer"),
        ({"type": "object", "required": "to"}, "usable"),
        ({"minimum": "1"}, "usable"),
    ],
)
def test_a_schema_that_is_none_or_would_explode_is_refused(
    schema: dict[str, Any], reason: str, part: str
) -> None:
    given = event(content={"capabilities": [CAPABILITY | {part: schema}]})
    found = refusal(given)
    assert found.field.startswith("content")
    assert re.search(reason, found.reason)


def test_ten_thousand_capabilities_and_five_megabytes_are_refused_at_once() -> None:
    rows = [{"name": f"c{number}"} for number in range(10_000)]
    assert isinstance(refusal(event(content={"capabilities": rows})), TooLarge)
    prices = [("price", f"c{number}", "1", "sat") for number in range(10_000)]
    assert isinstance(refusal(event(*prices)), TooLarge)
    assert isinstance(refusal(event(content="x" * 5_000_000)), TooLarge)


@pytest.mark.parametrize("named", [OPERATOR.public, "0" * 64, "", "npub1x"])
def test_an_offer_whose_signer_is_not_its_provider_is_refused(named: str) -> None:
    found = refusal(event(("provider", named)))
    assert (found.field, found.reason) == ("tags.provider", "is not who signed the offer")
    body = {"capabilities": [CAPABILITY], "provider": named}
    assert refusal(event(content=body)).field == "content.provider"


def test_a_provider_may_name_itself() -> None:
    for named in (PROVIDER.public, encode_npub(PROVIDER.public)):
        assert read_offer(event(("provider", named))).provider == PROVIDER.public
