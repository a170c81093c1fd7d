"""What is shown of an offer: all it says, prices as integers of millisatoshi."""

from hanse.broker import shown
from hanse.keyring import new_secret
from hanse.protocol.address import encode_npub
from hanse.protocol.amount import Amount
from hanse.registry.model import Capability, Example, Metered, Offer, Period, Promise
from hanse.registry.quality import Quality

KEY = new_secret().public


def test_an_offer_shows_every_way_to_pay_and_what_a_call_does() -> None:
    capability = Capability(
        name="translate",
        price=Amount(0),
        by_call=False,
        metered=(Metered(unit="token", per=1000, price=Amount(500)),),
        period=Period(span="month", price=Amount(9_000_000), calls=100),
        side_effects="none",
        idempotent=True,
        data_handling="not kept",
        examples=(Example(input={"text": "hi"}, output={"text": "salut"}),),
    )
    offer = Offer(
        provider=KEY,
        operator=KEY,
        identifier="t",
        name="t",
        summary="",
        capabilities=(capability,),
        promise=Promise(regions=("EU",)),
        payment_methods=("lightning",),
        terms="be kind",
    )
    found = shown.offer(offer, lambda _name: Quality())
    (row,) = found["capabilities"]
    assert row["price_msat"] is None  # and not 0: that would be free
    assert row["metered"] == [{"unit": "token", "per": 1000, "price_msat": 500}]
    assert row["period"] == {"span": "month", "price_msat": 9_000_000, "calls": 100}
    assert (row["by_call"], row["side_effects"], row["idempotent"]) == (False, "none", True)
    assert row["examples"] == [
        {"input": {"text": "hi"}, "output": {"text": "salut"}, "probe": False}
    ]
    assert (found["payment_methods"], found["terms"], found["source"]) == (
        ["lightning"],
        "be kind",
        "",
    )
    assert found["untrusted"]["from"] == KEY


def test_what_was_verified_stands_beside_who_says_so() -> None:
    offer = Offer(
        provider=KEY,
        operator=KEY,
        identifier="t",
        name="t",
        summary="",
        capabilities=(Capability(name="c", price=Amount(0), by_call=False),),
        promise=Promise(),
        source="https://a.example",
        verified="domain bank.example",
    )
    found = shown.offer(offer, lambda _name: Quality())
    assert found["verified"] == f"domain bank.example, says {encode_npub(KEY)}"
