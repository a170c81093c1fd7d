"""NIP-OA: the draft's vector, each way a tag can fail, and each condition's edge."""

import hashlib

import msgspec
import pytest

from hanse.errors import Invalid
from hanse.protocol.attestation import Attestation, attest, check, from_tags
from hanse.protocol.keys import PublicKey, SecretKey

OWNER = SecretKey((1).to_bytes(32, "big"))
AGENT = SecretKey((2).to_bytes(32, "big"))
CONDITIONS = "kind=1&created_at<1713957000"
SIGNATURE = (
    "8b7df2575caf0a108374f8471722b233c53f9ff827a8b0f91861966c3b9dd5cb"
    "2e189eae9f49d72187674c2f5bd244145e10ff86c9f257ffe65a1ee5f108b369"
)
TAG = (
    "auth",
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    CONDITIONS,
    SIGNATURE,
)
AT = 1713956400


def signed(conditions: str) -> Attestation:
    """An owner's true signature over conditions that `attest` would not write."""
    preimage = f"nostr:agent-auth:{AGENT.public}:{conditions}".encode()
    signature = OWNER.sign(hashlib.sha256(preimage).digest())
    return Attestation(owner=OWNER.public, conditions=conditions, signature=signature)


def test_the_vector_of_the_draft_holds_for_its_event() -> None:
    found = from_tags((("t", "x"), TAG))
    assert found is not None
    assert found.owner == OWNER.public
    check(found, AGENT.public, 1, AT)


def test_the_tag_is_written_as_it_was_read() -> None:
    found = from_tags((TAG,))
    assert found is not None
    assert found.tag == TAG


def test_what_an_owner_signs_holds_for_the_agent() -> None:
    for conditions in ("", "kind=0", CONDITIONS, "created_at>0&created_at>0&kind=1"):
        found = attest(OWNER, AGENT.public, conditions)
        assert found.conditions == conditions
        assert from_tags((found.tag,)) == found
        if conditions != "kind=0":
            check(found, AGENT.public, 1, AT)


def test_an_event_without_the_tag_has_no_attestation() -> None:
    assert from_tags(()) is None
    assert from_tags(((), ("p", OWNER.public), ("Auth", "x"))) is None


def test_two_tags_are_refused_even_if_both_hold() -> None:
    with pytest.raises(Invalid, match="more than once"):
        from_tags((TAG, TAG))
    with pytest.raises(Invalid, match="more than once"):
        from_tags((TAG, ("auth",)))


@pytest.mark.parametrize(
    "tag",
    [
        ("auth",),
        TAG[:3],
        (*TAG, ""),
        ("auth", TAG[1].upper(), CONDITIONS, SIGNATURE),
        ("auth", TAG[1][:-1], CONDITIONS, SIGNATURE),
        ("auth", "", CONDITIONS, SIGNATURE),
        ("auth", TAG[1], CONDITIONS, SIGNATURE.upper()),
        ("auth", TAG[1], CONDITIONS, SIGNATURE[:-2]),
        ("auth", TAG[1], CONDITIONS, ""),
    ],
)
def test_a_malformed_tag_is_refused(tag: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        from_tags((tag,))
    assert caught.value.field == "auth"


@pytest.mark.parametrize(
    "conditions",
    [
        "kind=1&",
        "&kind=1",
        "kind=1&&kind=1",
        "&",
        "kind=01",
        "kind=00",
        "kind=",
        "kind=-1",
        "kind=+1",
        "kind=1.0",
        "kind=65536",
        "kind=" + "9" * 5000,
        "kind=٣",
        "kind=1\n",
        " kind=1",
        "kind =1",
        "kind<1",
        "kind>1",
        "Kind=1",
        "created_at=1",
        "created_at<4294967296",
        "created_at>4294967296",
        "created_at<=1",
        "created_at<01",
        "created_at<",
        "p=abc",
        "\ud800",
    ],
)
def test_conditions_outside_the_grammar_are_neither_signed_nor_believed(conditions: str) -> None:
    with pytest.raises(Invalid) as caught:
        attest(OWNER, AGENT.public, conditions)
    assert caught.value.field == "auth"
    if conditions.isprintable() or conditions.endswith("\n"):
        found = signed(conditions)
    else:
        found = Attestation(owner=OWNER.public, conditions=conditions, signature=SIGNATURE)
    with pytest.raises(Invalid) as caught:
        check(found, AGENT.public, 1, 1)
    assert caught.value.field == "auth"
    assert "signature" not in caught.value.reason


@pytest.mark.parametrize(
    ("conditions", "kind", "created_at"),
    [
        ("kind=0", 0, 0),
        ("kind=65535", 65535, 0),
        ("created_at<4294967295", 1, 4294967294),
        ("created_at<1", 1, 0),
        ("created_at>0", 1, 1),
        ("created_at>4294967295", 1, 4294967296),
        ("created_at>4&created_at<6", 1, 5),
    ],
)
def test_a_condition_that_holds_lets_the_event_pass(
    conditions: str, kind: int, created_at: int
) -> None:
    check(attest(OWNER, AGENT.public, conditions), AGENT.public, kind, created_at)


@pytest.mark.parametrize(
    ("conditions", "kind", "created_at"),
    [
        ("kind=1", 2, AT),
        ("kind=1&kind=2", 1, AT),
        ("kind=1&kind=2", 2, AT),
        ("created_at<5", 1, 5),
        ("created_at<0", 1, 0),
        ("created_at>5", 1, 5),
        ("created_at>4&created_at<6", 1, 4),
        ("created_at>4&created_at<6", 1, 6),
        ("kind=1&created_at<1713957000", 1, 1713957000),
    ],
)
def test_one_condition_that_fails_refuses_the_event(
    conditions: str, kind: int, created_at: int
) -> None:
    with pytest.raises(Invalid, match="is not met") as caught:
        check(attest(OWNER, AGENT.public, conditions), AGENT.public, kind, created_at)
    assert caught.value.field == "auth"


def test_nobody_attests_themselves() -> None:
    with pytest.raises(Invalid, match="same key"):
        attest(OWNER, OWNER.public)
    preimage = f"nostr:agent-auth:{OWNER.public}:".encode()
    signature = OWNER.sign(hashlib.sha256(preimage).digest())
    own = Attestation(owner=OWNER.public, conditions="", signature=signature)
    with pytest.raises(Invalid, match="same key"):
        check(own, OWNER.public, 1, AT)


def test_an_attestation_for_one_agent_does_not_cover_another() -> None:
    other = SecretKey((3).to_bytes(32, "big"))
    with pytest.raises(Invalid, match="signature"):
        check(attest(OWNER, AGENT.public), other.public, 1, AT)


def test_an_owner_who_did_not_sign_is_not_believed() -> None:
    other = SecretKey((3).to_bytes(32, "big"))
    claimed = msgspec.structs.replace(attest(OWNER, AGENT.public), owner=other.public)
    with pytest.raises(Invalid, match="signature"):
        check(claimed, AGENT.public, 1, AT)


def test_an_owner_key_off_the_curve_is_not_believed() -> None:
    claimed = msgspec.structs.replace(attest(OWNER, AGENT.public), owner=PublicKey("0" * 64))
    with pytest.raises(Invalid, match="signature"):
        check(claimed, AGENT.public, 1, AT)


def test_conditions_count_as_written() -> None:
    found = attest(OWNER, AGENT.public, CONDITIONS)
    for other in ("created_at<1713957000&kind=1", "kind=1", "", f"{CONDITIONS}&kind=1"):
        with pytest.raises(Invalid, match="signature"):
            check(msgspec.structs.replace(found, conditions=other), AGENT.public, 1, AT)
