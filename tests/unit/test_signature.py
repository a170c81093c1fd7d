"""The signature seam against BIP-340's own vectors, and at its edges."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol.keys import SecretKey
from hanse.protocol.signature import Signer, verify

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bip340.json").read_text()
)["vectors"]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _name(vector: dict[str, Any]) -> str:
    return f"{vector['index']}-{vector['comment'][:40]}"


def _bytes(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


# Events sign a sha256, so the seam takes 32 bytes only; the rest of the vectors must be refused.
OF_32_BYTES = [vector for vector in VECTORS if len(vector["message"]) == 64]
OF_OTHER_SIZES = [vector for vector in VECTORS if len(vector["message"]) != 64]
SIGNABLE = [vector for vector in OF_32_BYTES if vector["secret"]]


def test_all_official_vectors_are_here() -> None:
    assert [vector["index"] for vector in VECTORS] == list(range(19))
    assert (len(OF_32_BYTES), len(OF_OTHER_SIZES), len(SIGNABLE)) == (15, 4, 4)


@pytest.mark.parametrize("vector", OF_32_BYTES, ids=_name)
def test_verification_agrees_with_the_bip(vector: dict[str, Any]) -> None:
    pubkey, message, signature = _bytes(vector, "pubkey", "message", "signature")
    assert verify(pubkey, message, signature) is vector["valid"]
    assert verify(pubkey, message, signature) is vector["valid"], "the cached key must agree"


@pytest.mark.parametrize("vector", SIGNABLE, ids=_name)
def test_signing_gives_the_signature_in_the_bip(vector: dict[str, Any]) -> None:
    secret, pubkey, aux, message = _bytes(vector, "secret", "pubkey", "aux", "message")
    signer = Signer(secret)
    assert signer.pubkey == pubkey
    assert signer.sign(message, aux).hex() == vector["signature"]


@pytest.mark.parametrize("vector", OF_OTHER_SIZES, ids=_name)
def test_a_message_that_is_not_a_digest_is_refused(vector: dict[str, Any]) -> None:
    secret, pubkey, message, signature = _bytes(vector, "secret", "pubkey", "message", "signature")
    assert not verify(pubkey, message, signature)
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(secret).sign(message)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_verifies_nothing(length: int) -> None:
    vector = SIGNABLE[1]
    message, signature = _bytes(vector, "message", "signature")
    assert not verify(bytes.fromhex(vector["pubkey"] * 2)[:length], message, signature)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    vector = SIGNABLE[1]
    pubkey, message, signature = _bytes(vector, "pubkey", "message", "signature")
    assert not verify(pubkey, message, (signature * 2)[:length])


@pytest.mark.parametrize("scalar", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_a_scalar_outside_the_group_is_no_secret_key(scalar: int) -> None:
    with pytest.raises(ValueError, match="order"):
        Signer(scalar.to_bytes(32, "big"))
    with pytest.raises(Invalid) as caught:
        SecretKey(scalar.to_bytes(32, "big"))
    assert caught.value.field == "secret key"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(bytes([1]) * length)


def test_signing_without_randomness_gives_the_same_signature_twice() -> None:
    signer = Signer(bytes([7]) * 32)
    assert signer.sign(bytes(32)) == signer.sign(bytes(32))
    assert signer.sign(bytes(32)) != signer.sign(bytes(32), bytes([1]) * 32)


def test_a_signature_fits_only_its_own_digest_and_key() -> None:
    signer, other = Signer(bytes([7]) * 32), Signer(bytes([8]) * 32)
    signature = signer.sign(bytes(32))
    assert verify(signer.pubkey, bytes(32), signature)
    assert not verify(signer.pubkey, bytes([1]) * 32, signature)
    assert not verify(other.pubkey, bytes(32), signature)


def test_a_secret_key_never_shows_itself() -> None:
    key = SecretKey(bytes(range(1, 33)))
    for shown in (repr(key), str(key), f"{key}"):
        assert key.reveal().hex()[:8] not in shown
        assert key.public[:8] in shown
