"""Proof of payment behind an attestation: a settled call that both sides signed.

The receipt (kind 2402) carries the node's and the provider's signature, the attestation the
payer's. Both must name the same call, band of the amount, subject and payment hash. Pure: who
answers for which key comes in as a function, receipts as events.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from hanse.errors import Invalid
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey
from hanse.protocol.receipt import Receipt, verify_receipt
from hanse.trust.attestation import FUTURE_S, LIFETIME_MAX_S, Attestation, Evidence

EVIDENCE_TYPE: Final = "hanse_call"

OperatorOf = Callable[[PublicKey], PublicKey]
"""The operator who answers for a key; the key itself if nobody does."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What was proved: this payer's operator paid that provider's for one call, at that node."""

    attestation: str
    receipt: str
    call: str
    payment_hash: str
    payer: PublicKey
    payee: PublicKey
    node: PublicKey
    price_msat: int


def payment_hash(receipt: Receipt) -> str:
    """sha256 of the provider's delivery signature, its preimage. Raises Invalid for a call without
    one."""
    if receipt.delivery is None:
        raise Invalid.at("receipt.content.delivery", "is missing: nothing was paid")
    return hashlib.sha256(bytes.fromhex(receipt.delivery)).hexdigest()


def amount_band(msat: int) -> str:
    """The power of ten that an amount reaches: 2,000 msat lie in `1e3`."""
    return f"1e{len(str(msat)) - 1}" if msat > 0 else "0"


def settlement_evidence(receipt_id: str, receipt: Receipt) -> Evidence:
    """What a payer puts into the attestation. Raises Invalid unless the call was settled."""
    if receipt.outcome != "settled":
        raise Invalid.at("receipt.content.outcome", "must be settled")
    return Evidence(
        EVIDENCE_TYPE,
        {
            "receipt": receipt_id,
            "call": receipt.call,
            "amount_band": amount_band(receipt.price_msat),
            "payment_hash": payment_hash(receipt),
        },
    )


def claim_of(attestation: Attestation) -> Evidence | None:
    """The call an attestation claims to rest on: its first such evidence, or None."""
    for found in attestation.evidence:
        if found.type == EVIDENCE_TYPE:
            return found
    return None


def verify_settlement(
    attestation: Attestation,
    receipt_event: Event,
    operator_of: OperatorOf,
    verify: Callable[[Event], Receipt] = verify_receipt,
) -> Settlement:
    """Check one claim against its receipt, the receipt's signatures included (`verify`); the
    attestation's own was checked when it came. Raises Invalid naming the first thing that does not
    fit."""
    claim = claim_of(attestation)
    if claim is None:
        raise Invalid.at("attestation.content.evidence", f"has no {EVIDENCE_TYPE}")
    if claim.get("receipt") != receipt_event.id:
        raise Invalid.at("evidence.receipt", "is another event")
    receipt = verify(receipt_event)
    if receipt.outcome != "settled":
        raise Invalid.at("receipt.content.outcome", "must be settled")
    paid = payment_hash(receipt)
    for name, expected in (
        ("call", receipt.call),
        ("amount_band", amount_band(receipt.price_msat)),
        ("payment_hash", paid),
    ):
        if claim.get(name) != expected:
            raise Invalid.at(f"evidence.{name}", "is not the receipt's")
    if receipt.price_msat == 0:
        raise Invalid.at("receipt.content.price_msat", "must be more than 0: a gift proves nothing")
    payer, payee = operator_of(receipt.caller), operator_of(receipt.provider)
    if attestation.author not in (receipt.caller, payer):
        raise Invalid.at("attestation.pubkey", "is not who paid")
    if attestation.subject not in (receipt.provider, payee):
        raise Invalid.at("attestation.content.subject", "is not who was paid")
    if payer == payee:
        raise Invalid.at("receipt.content.provider", "has the caller's operator")
    closed_s = receipt.closed_ms // 1000
    age_s = attestation.created_at - closed_s
    if not -FUTURE_S <= age_s <= LIFETIME_MAX_S:
        raise Invalid.at("attestation.created_at", "must follow the call, within 730 days")
    return Settlement(
        attestation=attestation.id,
        receipt=receipt_event.id,
        call=receipt.call,
        payment_hash=paid,
        payer=payer,
        payee=payee,
        node=receipt_event.pubkey,
        price_msat=receipt.price_msat,
    )


def settled(
    attestations: Iterable[Attestation],
    receipts: Mapping[str, Event],
    operator_of: OperatorOf,
    verify: Callable[[Event], Receipt] = verify_receipt,
) -> dict[str, Settlement]:
    """Of many attestations those that are proved, by id. Each call and each payment hash counts
    once, for the earliest by (created_at, id): the order they are given in does not matter."""
    used: set[str] = set()
    found: dict[str, Settlement] = {}
    for one in sorted(attestations, key=lambda one: (one.created_at, one.id)):
        claim = claim_of(one)
        receipt = receipts.get(claim.get("receipt")) if claim is not None else None
        if receipt is None:
            continue
        try:
            proof = verify_settlement(one, receipt, operator_of, verify)
        except Invalid:
            continue  # it stays a rating, only without the proof
        if proof.call not in used and proof.payment_hash not in used:
            used |= {proof.call, proof.payment_hash}
            found[one.id] = proof
    return found
