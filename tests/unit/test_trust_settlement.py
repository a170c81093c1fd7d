"""Proof of payment: both sides signed, one call counts once, one operator's keys count nothing."""

import hashlib
import random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.calls import Parties

from hanse.broker.receipt import receipt_event
from hanse.errors import Invalid
from hanse.protocol.event import Event, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.receipt import read_receipt
from hanse.trust.attestation import Attestation, Evidence, attestation_draft, read_attestation
from hanse.trust.settlement import (
    amount_band,
    settled,
    settlement_evidence,
    verify_settlement,
)

PARTIES = Parties.new()
RECEIPT = receipt_event(PARTIES.node, PARTIES.settled())
WRITTEN_S = RECEIPT.created_at + 5
OTHER = SecretKey(bytes([9]) * 32)


def itself(key: PublicKey) -> PublicKey:
    return key


def evidence(of: Event = RECEIPT, **changes: str) -> Evidence:
    found = settlement_evidence(of.id, read_receipt(of))
    return Evidence(found.type, found.fields | changes)


def attestation(
    by: SecretKey = PARTIES.caller,
    of: PublicKey = PARTIES.provider.public,
    *pieces: Evidence,
    at_s: int = WRITTEN_S,
    context: str = "sms",
) -> Attestation:
    content, tags = attestation_draft(
        of,
        context,
        5,
        1.0,
        created_at=at_s,
        expires=at_s + 86_400,
        evidence=pieces or (evidence(),),
    )
    return read_attestation(sign_event(by, kind=30085, created_at=at_s, content=content, tags=tags))


def refusal(found: Attestation, receipt: Event = RECEIPT, operator_of: Any = itself) -> str:
    with pytest.raises(Invalid) as refused:
        verify_settlement(found, receipt, operator_of)
    return refused.value.field


def test_both_signatures_over_one_call_prove_a_payment() -> None:
    proof = verify_settlement(attestation(), RECEIPT, itself)
    assert (proof.payer, proof.payee) == (PARTIES.caller.public, PARTIES.provider.public)
    assert (proof.price_msat, proof.node) == (2000, PARTIES.node.public)


def test_an_operator_may_attest_for_its_agents_and_be_attested_for_them() -> None:
    payers = {PARTIES.caller.public: OTHER.public}
    found = attestation(OTHER)
    proof = verify_settlement(found, RECEIPT, lambda key: payers.get(key, key))
    assert proof.payer == OTHER.public


@pytest.mark.parametrize(
    ("pieces", "field"),
    [
        ((Evidence("free_text", {"data": "paid, honest"}),), "attestation.content.evidence"),
        ((Evidence("lightning_preimage", {"preimage": "00"}),), "attestation.content.evidence"),
        ((evidence(receipt="0" * 64),), "evidence.receipt"),
        ((evidence(call="0" * 64),), "evidence.call"),
        ((evidence(amount_band="1e6"),), "evidence.amount_band"),
        ((evidence(payment_hash="0" * 64),), "evidence.payment_hash"),
    ],
)
def test_evidence_that_says_something_else_proves_nothing(
    pieces: tuple[Evidence, ...], field: str
) -> None:
    assert refusal(attestation(PARTIES.caller, PARTIES.provider.public, *pieces)) == field


def test_only_who_paid_may_say_so_and_only_of_who_was_paid() -> None:
    assert refusal(attestation(OTHER)) == "attestation.pubkey"
    assert refusal(attestation(of=OTHER.public)) == "attestation.content.subject"


def test_keys_of_one_operator_prove_nothing_to_each_other() -> None:
    assert refusal(attestation(), operator_of=lambda _: OTHER.public) == "receipt.content.provider"
    both = {PARTIES.caller.public, PARTIES.provider.public}
    owned = attestation(OTHER)
    found = refusal(owned, operator_of=lambda key: OTHER.public if key in both else key)
    assert found == "receipt.content.provider"


def test_a_refunded_call_a_gift_and_a_forged_receipt_prove_nothing() -> None:
    refunded = receipt_event(PARTIES.node, PARTIES.refunded())
    assert refusal(naming(refunded), refunded) == "receipt.content.outcome"
    body = orjson.loads(RECEIPT.content)
    for change, field in (
        ({"price_msat": 9_000, "paid_msat": 8_980}, "receipt.content.delivery"),
        ({"provider": OTHER.public}, "receipt.tags.p"),
    ):
        forged = sign_event(
            PARTIES.node,
            kind=RECEIPT.kind,
            created_at=RECEIPT.created_at,
            content=orjson.dumps(body | change).decode(),
            tags=RECEIPT.tags,
        )
        assert refusal(naming(forged), forged) == field
    unsigned = msgspec.structs.replace(RECEIPT, sig="0" * 128)
    assert refusal(naming(unsigned), unsigned) == "event.sig"


def naming(receipt: Event) -> Attestation:
    """An attestation that names this receipt, whatever else it says."""
    return attestation(PARTIES.caller, PARTIES.provider.public, evidence(receipt=receipt.id))


def test_a_rating_from_before_the_call_or_years_after_it_does_not_rest_on_it() -> None:
    assert refusal(attestation(at_s=RECEIPT.created_at - 1000)) == "attestation.created_at"
    late = RECEIPT.created_at + 731 * 86_400
    assert refusal(attestation(at_s=late)) == "attestation.created_at"


def test_bands_are_powers_of_ten() -> None:
    bands = {0: "0", 1: "1e0", 9: "1e0", 10: "1e1", 999: "1e2", 2000: "1e3"}
    assert {msat: amount_band(msat) for msat in bands} == bands


def calls(count: int) -> list[Event]:
    """Receipts of as many calls between the same two."""
    found = []
    for number in range(count):
        call = msgspec.structs.replace(
            PARTIES.settled(), id=hashlib.sha256(b"%d" % number).digest()
        )
        signed = msgspec.structs.replace(call, delivery=PARTIES.delivery(call))
        found.append(receipt_event(PARTIES.node, signed))
    return found


RECEIPTS = calls(3)


@settings(max_examples=25, deadline=None)
@given(
    uses=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_a_call_counts_once_and_the_order_of_arrival_does_not_matter(
    uses: list[tuple[int, int]], seed: int
) -> None:
    found = [
        attestation(
            PARTIES.caller,
            PARTIES.provider.public,
            evidence(RECEIPTS[which]),
            at_s=WRITTEN_S + later,
            context=f"c{place}",
        )
        for place, (which, later) in enumerate(uses)
    ]
    by_id = {receipt.id: receipt for receipt in RECEIPTS}
    proofs = settled(found, by_id, itself)
    assert len({proof.call for proof in proofs.values()}) == len(proofs)
    assert len(proofs) == len({which for which, _ in uses})
    mixed = found + found
    random.Random(seed).shuffle(mixed)
    assert settled(mixed, by_id, itself) == proofs
