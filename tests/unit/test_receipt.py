"""Receipts: verified offline; whatever was changed in one is refused, and the field named."""

from typing import Any

import msgspec
import orjson
import pytest
from tests.fakes.calls import Parties

from hanse.broker.receipt import receipt_event, verify_receipt
from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event

PARTIES = Parties.new()
SETTLED = receipt_event(PARTIES.node, PARTIES.settled())
REFUNDED = receipt_event(PARTIES.node, PARTIES.refunded())


def resigned(
    event: Event, tags: tuple[tuple[str, ...], ...] | None = None, **content: Any
) -> Event:
    """The receipt with some of its content changed, signed again by the node: a lying node."""
    body = orjson.loads(event.content) | content
    return sign_event(
        PARTIES.node,
        kind=event.kind,
        created_at=event.created_at,
        content=orjson.dumps(body).decode(),
        tags=event.tags if tags is None else tags,
    )


def refusal(event: Event) -> Invalid:
    """What verifying refuses with."""
    with pytest.raises(Invalid) as refused:
        verify_receipt(event, PARTIES.node.public)
    assert refused.value.reason
    return refused.value


def test_a_settled_receipt_says_who_paid_whom_for_what() -> None:
    found = verify_receipt(SETTLED, PARTIES.node.public)
    assert found.outcome == "settled"
    assert (found.price_msat, found.paid_msat, found.fee_msat) == (2000, 1980, 20)
    assert (found.caller, found.provider) == (PARTIES.caller.public, PARTIES.provider.public)
    assert found.fault is None


def test_a_refunded_receipt_pays_nothing_and_says_why() -> None:
    found = verify_receipt(REFUNDED, PARTIES.node.public)
    assert (found.outcome, found.fault) == ("refunded", "too-late")
    assert (found.paid_msat, found.fee_msat) == (0, 0)
    assert found.output_sha256 is None
    assert found.delivery is None


def test_a_receipt_survives_its_json_form() -> None:
    text = msgspec.json.encode(SETTLED)
    assert verify_receipt(msgspec.json.decode(text, type=Event), PARTIES.node.public)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "0" * 64}, "event.id"),
        ({"content": SETTLED.content.replace("1980", "1981")}, "event.id"),
        ({"created_at": SETTLED.created_at + 1}, "event.id"),
        ({"tags": SETTLED.tags[1:]}, "event.id"),
        ({"pubkey": new_secret().public}, "event.id"),
        ({"sig": "0" * 128}, "event.sig"),
        ({"sig": REFUNDED.sig}, "event.sig"),
        ({"sig": SETTLED.sig.upper()}, "event.sig"),
    ],
)
def test_a_receipt_changed_after_signing_is_refused(change: dict[str, Any], field: str) -> None:
    assert refusal(msgspec.structs.replace(SETTLED, **change)).field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"call": "0" * 64}, "delivery"),
        ({"input_sha256": "0" * 64}, "delivery"),
        ({"output_sha256": "0" * 64}, "delivery"),
        ({"output_sha256": None}, "delivery"),
        ({"output_sha256": "A" * 64}, "delivery"),
        ({"delivery": None}, "delivery"),
        ({"delivery": ""}, "delivery"),
        ({"delivery": "0" * 128}, "delivery"),
        ({"delivery": PARTIES.node.sign(bytes(32))}, "delivery"),
        ({"price_msat": 3000, "paid_msat": 2980}, "delivery"),
        ({"price_msat": 2001}, "price_msat"),
        ({"paid_msat": 1981}, "price_msat"),
        ({"fee_msat": 0}, "price_msat"),
        ({"fee_msat": -20, "paid_msat": 2020}, ""),
        ({"fault": "too-late"}, "fault"),
        ({"outcome": "paid"}, "outcome"),
        ({"price_msat": 2000.5}, "price_msat"),
        ({"price_msat": True}, "price_msat"),
        ({"latency_ms": "12"}, "latency_ms"),
        ({"opened_ms": None}, "opened_ms"),
    ],
)
def test_a_settled_receipt_that_does_not_hold_is_refused(
    change: dict[str, Any], field: str
) -> None:
    wanted = f"receipt.content.{field}" if field else "receipt.content"
    assert refusal(resigned(SETTLED, **change)).field == wanted


def test_the_price_is_bound_by_the_providers_signature() -> None:
    cheaper = resigned(SETTLED, price_msat=1000, paid_msat=990, fee_msat=10)
    assert refusal(cheaper).field == "receipt.content.delivery"


def test_another_providers_delivery_is_refused() -> None:
    other = new_secret().public
    tags = tuple(("p", other) if "provider" in tag else tag for tag in SETTLED.tags)
    assert refusal(resigned(SETTLED, tags, provider=other)).field == "receipt.content.delivery"


@pytest.mark.parametrize("name", ["caller", "provider"])
def test_tags_must_name_caller_and_provider(name: str) -> None:
    tags = tuple(tag for tag in SETTLED.tags if name not in tag)
    assert refusal(resigned(SETTLED, tags)).field == "receipt.tags.p"
    other: dict[str, Any] = {name: new_secret().public}
    assert refusal(resigned(SETTLED, **other)).field == "receipt.tags.p"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"paid_msat": 1980}, "paid_msat"),
        ({"fee_msat": 20}, "paid_msat"),
        ({"fault": None}, "fault"),
        ({"fault": "bad-mood"}, "fault"),
    ],
)
def test_a_refunded_receipt_that_does_not_hold_is_refused(
    change: dict[str, Any], field: str
) -> None:
    assert refusal(resigned(REFUNDED, **change)).field == f"receipt.content.{field}"


def test_a_refund_is_not_made_a_settlement_without_a_delivery() -> None:
    claimed = resigned(REFUNDED, outcome="settled", fault=None, paid_msat=1980, fee_msat=20)
    assert refusal(claimed).field == "receipt.content.delivery"


def test_a_receipt_of_another_node_is_refused_when_a_node_is_named() -> None:
    stranger = receipt_event(new_secret(), PARTIES.settled())
    assert verify_receipt(stranger).outcome == "settled"
    assert refusal(stranger).field == "receipt.pubkey"


@pytest.mark.parametrize("name", sorted({*orjson.loads(SETTLED.content)} - {"version"}))
def test_a_receipt_without_one_of_its_fields_is_refused(name: str) -> None:
    body = orjson.loads(SETTLED.content)
    del body[name]
    text = orjson.dumps(body).decode()
    bare = sign_event(
        PARTIES.node, kind=kinds.RECEIPT, created_at=1, content=text, tags=SETTLED.tags
    )
    assert refusal(bare).field == f"receipt.content.{name}"


@pytest.mark.parametrize(
    ("kind", "content", "version", "field"),
    [
        (kinds.NOTE, SETTLED.content, "1.0.0", "receipt.kind"),
        (kinds.RECEIPT, SETTLED.content, "2.0.0", "receipt.tags.v"),
        (kinds.RECEIPT, SETTLED.content, "", "receipt.tags.v"),
        (kinds.RECEIPT, "not json", "1.0.0", "receipt.content"),
        (kinds.RECEIPT, "[]", "1.0.0", "receipt.content"),
    ],
)
def test_what_is_not_a_receipt_is_refused(
    kind: int, content: str, version: str, field: str
) -> None:
    tags = tuple(("v", version) if tag[0] == "v" else tag for tag in SETTLED.tags)
    event = sign_event(PARTIES.node, kind=kind, created_at=1, content=content, tags=tags)
    assert refusal(event).field == field


def test_a_newer_minor_version_is_read() -> None:
    tags = tuple(("v", "1.7.0") if tag[0] == "v" else tag for tag in SETTLED.tags)
    assert verify_receipt(resigned(SETTLED, tags, mood="good")).outcome == "settled"
