"""A search as a line of text: words, and constraints among them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hanse.errors import HanseError
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.asked import Asked, narrowed, read_asked
from hanse.registry.search import Constraints

KEY = PublicKey("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def test_constraints_stand_among_the_words() -> None:
    text = (
        "send max_price:3sat an sms latency_p95_ms:500 success_rate:0.99 regions:US,EU "
        "payment_methods:lightning regions:CA version:^2 level:2 online:true throughput_per_s:5 "
        f"provider:{encode_npub(KEY)} side_effects:none,reads capability:send_sms language:en"
    )
    assert read_asked(text) == Asked(
        "send an sms",
        Constraints(
            max_price=Amount(3000),
            latency_p95_ms=500,
            success_rate=0.99,
            throughput_per_s=5,
            level=2,
            regions=("US", "EU", "CA"),
            payment_methods=("lightning",),
            version="^2",
            provider=KEY,
            online=True,
            side_effects=("none", "reads"),
        ),
        "send_sms",
    )


@pytest.mark.parametrize(
    ("text", "nothing"),
    [("", True), ("language:en", True), ("...", True), ("sms", False), ("level:1", False)],
)
def test_what_asks_for_nothing_is_known(text: str, nothing: bool) -> None:
    assert read_asked(text).nothing is nothing


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("max_price:cheap", "search.max_price"),
        ("latency_p95_ms:fast", "search.latency_p95_ms"),
        ("latency_p95_ms:0", "search.latency_p95_ms"),
        ("success_rate:2", "search.success_rate"),
        ("success_rate:nan", "search.success_rate"),
        ("throughput_per_s:inf", "search.throughput_per_s"),
        ("level:9", "search.level"),
        ("online:yes", "search.online"),
        ("provider:me", "search.provider"),
        ("side_effects:magic", "search.side_effects"),
        ("level:1 level:2", "search.level"),
        ("regions:" + ",".join(f"A{n}" for n in range(30)), "search.regions"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(text: str, field: str) -> None:
    with pytest.raises(HanseError) as caught:
        read_asked(text)
    assert caught.value.field == field


def test_a_filters_own_author_and_topics_narrow_it() -> None:
    asked = Constraints(topics=("sms",))
    assert narrowed(asked, provider=KEY, topics=["us"]) == Constraints(
        provider=KEY, topics=("sms", "us")
    )
    assert narrowed(asked, provider=None, topics=()) == asked
    other = Constraints(provider=PublicKey("0" * 64))
    assert narrowed(other, provider=KEY, topics=()).topics == ("\0",)


@given(some.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(HanseError):
        assert isinstance(read_asked(text), Asked)
