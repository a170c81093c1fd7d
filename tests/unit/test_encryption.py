"""NIP-44 version 2: the official vectors, the long form, and what is refused."""

import binascii
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from hanse.errors import HanseError, Invalid, TooLarge
from hanse.protocol import encryption
from hanse.protocol.keys import PublicKey, SecretKey

V2: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "nip44.json").read_text())[
    "v2"
]
VALID, INVALID = V2["valid"], V2["invalid"]
KEY = bytes.fromhex("c41c775356fd92eadc63ff5a0dc1da211b268cbea22316767095b2871ea1412d")
NONCE = bytes(31) + b"\x01"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(padded: bytes, version: int = 2) -> str:
    """A payload that authenticates, whatever is in it."""
    key, nonce, mac_key = encryption.message_keys(KEY, NONCE)
    cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None)
    text = cipher.encryptor().update(padded)
    mac = hmac.digest(mac_key, NONCE + text, "sha256")
    raw = bytes((version,)) + NONCE + text + mac
    return binascii.b2a_base64(raw, newline=False).decode()


# ---- Official vectors ----------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VALID["get_conversation_key"])
def test_the_conversation_key_is_the_official_one(vector: dict[str, str]) -> None:
    found = encryption.conversation_key(
        SecretKey.from_hex(vector["sec1"]), PublicKey(vector["pub2"])
    )
    assert found.hex() == vector["conversation_key"]


@pytest.mark.parametrize("vector", INVALID["get_conversation_key"], ids=lambda v: v["note"])
def test_a_key_outside_the_curve_gives_no_conversation_key(vector: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        encryption.conversation_key(SecretKey.from_hex(vector["sec1"]), PublicKey(vector["pub2"]))


@pytest.mark.parametrize("vector", VALID["get_message_keys"]["keys"])
def test_the_message_keys_are_the_official_ones(vector: dict[str, str]) -> None:
    key = bytes.fromhex(VALID["get_message_keys"]["conversation_key"])
    found = encryption.message_keys(key, bytes.fromhex(vector["nonce"]))
    assert [part.hex() for part in found] == [
        vector["chacha_key"],
        vector["chacha_nonce"],
        vector["hmac_key"],
    ]


def test_the_padded_lengths_are_the_official_ones() -> None:
    assert len(VALID["calc_padded_len"]) == 24
    for length, padded in VALID["calc_padded_len"]:
        assert encryption.padded_length(length) == padded


def test_padding_reaches_the_next_eighth_of_a_power_of_two_beyond_the_vectors() -> None:
    lengths = (1, 256, 257, 65535, 65537, 81920, 81921, 131072, 131073, 2**32 - 1)
    padded = (32, 256, 320, 65536, 81920, 81920, 98304, 131072, 163840, 2**32)
    assert tuple(map(encryption.padded_length, lengths)) == padded


@pytest.mark.parametrize("vector", VALID["encrypt_decrypt"])
def test_both_sides_write_and_read_the_official_payload(vector: dict[str, str]) -> None:
    one, two = SecretKey.from_hex(vector["sec1"]), SecretKey.from_hex(vector["sec2"])
    key = encryption.conversation_key(one, two.public)
    assert key == encryption.conversation_key(two, one.public)
    assert key.hex() == vector["conversation_key"]
    payload = encryption.encrypt(vector["plaintext"], key, bytes.fromhex(vector["nonce"]))
    assert payload == vector["payload"]
    assert encryption.decrypt(payload, key) == vector["plaintext"]


@pytest.mark.parametrize("vector", VALID["encrypt_decrypt_long_msg"])
def test_a_long_official_text_gives_the_official_payload(vector: dict[str, Any]) -> None:
    text = vector["pattern"] * vector["repeat"]
    assert sha256(text) == vector["plaintext_sha256"]
    key, nonce = bytes.fromhex(vector["conversation_key"]), bytes.fromhex(vector["nonce"])
    payload = encryption.encrypt(text, key, nonce)
    assert sha256(payload) == vector["payload_sha256"]
    assert encryption.decrypt(payload, key) == text


@pytest.mark.parametrize("vector", INVALID["decrypt"], ids=lambda v: v["note"])
def test_an_official_bad_payload_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        encryption.decrypt(vector["payload"], bytes.fromhex(vector["conversation_key"]))
    assert caught.value.field == "payload"
    reasons = {  # the note's first words → ours
        "unknown encryption version": "is of a version not supported here",
        "invalid base64": "is not base64",
        "invalid MAC": "was changed, or is for another key",
        "invalid padding": "its padding is wrong",
        "invalid payload length": "is under 132 characters",
    }
    expected = [words for note, words in reasons.items() if vector["note"].startswith(note)]
    assert [caught.value.reason] == expected


def test_of_the_lengths_once_invalid_only_nothing_still_is() -> None:
    # The vectors' file predates NIP-44's change of 2026-06-28; the NIP's text is the newer word.
    lengths = INVALID["encrypt_msg_lengths"]
    assert lengths == [0, 65536, 100000, 10000000]
    with pytest.raises(Invalid, match="empty"):
        encryption.encrypt("", KEY, NONCE)
    for length in lengths[1:]:
        payload = encryption.encrypt("x" * length, KEY, NONCE, plaintext_max=length)
        assert encryption.decrypt(payload, KEY, plaintext_max=length) == "x" * length


# ---- The long form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "padded", "expected"),
    [  # from the NIP's text; `padded` counts the prefix of 2 or 6 bytes
        (65535, 65538, "6d8c2810d1e870fbaa1f0a0937126cca837a15f9260e27060c331d70a3c0bc84"),
        (65536, 65542, "b7b4edb36ba92e267d322d56d9aebc22e7fa96ff52e3c12adc07f07a43cbc616"),
        (65537, 81926, "eeb7c7c5373894ea2c1547cfd3ccb15d5a0b2d619da852e5c79df792dcc9e435"),
    ],
)
def test_the_prefix_grows_at_65536_bytes(length: int, padded: int, expected: str) -> None:
    payload = encryption.encrypt("a" * length, KEY, NONCE)
    assert len(binascii.a2b_base64(payload)) == 65 + padded
    assert sha256(payload) == expected
    assert encryption.decrypt(payload, KEY) == "a" * length


@pytest.mark.parametrize("length", [0, 1, 32, 65535])
def test_a_short_text_in_the_long_form_is_refused(length: int) -> None:
    size = encryption.padded_length(max(1, length))
    padded = bytes(2) + length.to_bytes(4, "big") + b"a" * length + bytes(size - length)
    with pytest.raises(Invalid, match="prefix"):
        encryption.decrypt(sealed(padded), KEY)


# ---- Bounds --------------------------------------------------------------------------------------


def test_a_text_at_the_bound_passes_and_one_byte_more_does_not() -> None:
    at_bound = "é" * 50
    payload = encryption.encrypt(at_bound, KEY, NONCE, plaintext_max=100)
    assert encryption.decrypt(payload, KEY, plaintext_max=100) == at_bound
    with pytest.raises(TooLarge) as caught:
        encryption.encrypt(at_bound + "a", KEY, NONCE, plaintext_max=100)
    assert caught.value.field == "plaintext"


def test_the_default_bound_is_one_mebibyte() -> None:
    text = "a" * 2**20
    payload = encryption.encrypt(text, KEY, NONCE)
    assert encryption.decrypt(payload, KEY) == text
    with pytest.raises(TooLarge):
        encryption.encrypt(text + "a", KEY, NONCE)


def test_a_payload_too_long_for_the_bound_is_refused_before_it_is_decoded() -> None:
    payload = encryption.encrypt("a" * 2000, KEY, NONCE)
    with pytest.raises(TooLarge, match="too long"):
        encryption.decrypt(payload, KEY, plaintext_max=1000)
    with pytest.raises(TooLarge, match="too long"):
        encryption.decrypt("!" * 2_000_000, KEY)


def test_a_text_over_the_bound_that_hides_in_its_padding_is_refused() -> None:
    payload = encryption.encrypt("a" * 110, KEY, NONCE)
    with pytest.raises(TooLarge, match="its text"):
        encryption.decrypt(payload, KEY, plaintext_max=100)


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padded", "reason"),
    [
        (b"\x00\x21" + b"a" * 33 + bytes(30), "padding"),  # one zero short
        (b"\x00\x05hello" + bytes(26), "99 bytes"),
        (b"\x00\x05hello" + bytes(28), "padding"),  # one over
        (b"\x00\x05hello" + bytes(26) + b"!", "padding"),  # something hidden in it
        (b"\x00\x40hello" + bytes(27), "padding"),  # longer than what is there
        (b"\x00\x02\xff\xfe" + bytes(30), "UTF-8"),
        (b"\x00\x03\xed\xa0\x80" + bytes(29), "UTF-8"),  # a surrogate
        (bytes(34), "prefix"),
        (b"\x00\x00\xff\xff\xff\xff" + bytes(60), "padding"),  # claims 4 GiB
    ],
)
def test_what_authenticates_can_still_be_malformed(padded: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        encryption.decrypt(sealed(padded), KEY)


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_another_version_is_named_as_the_reason(version: int) -> None:
    padded = b"\x00\x05hello" + bytes(27)
    assert encryption.decrypt(sealed(padded), KEY) == "hello"
    with pytest.raises(Invalid, match="version"):
        encryption.decrypt(sealed(padded, version), KEY)


def test_base64_with_more_than_one_spelling_is_refused() -> None:
    good = VALID["encrypt_decrypt"][0]["payload"]
    assert encryption.decrypt(good, KEY) == "a"
    longer = sealed(b"\x00\x21" + b"a" * 33 + bytes(31))  # 131 bytes: ends in one "="
    assert longer.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stray = alphabet[alphabet.index(longer[-2]) | 1]
    assert stray != longer[-2], "the last digit has two bits to spare"
    for spelling in (
        good + "\n",
        f"{good[:60]} {good[60:]}",
        f"{good[:60]}!{good[60:]}",
        longer[:-1],
        longer + "=",
        f"{longer[:-2]}{stray}=",
        longer.replace("+", "-").replace("/", "_") + "-",
    ):
        with pytest.raises(Invalid, match="base64"):
            encryption.decrypt(spelling, KEY)


def test_another_key_does_not_open_a_payload() -> None:
    payload = encryption.encrypt("hello", KEY, NONCE)
    with pytest.raises(Invalid, match="another key"):
        encryption.decrypt(payload, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_and_nonces_of_another_length_are_refused(length: int) -> None:
    payload = encryption.encrypt("hello", KEY, NONCE)
    with pytest.raises(Invalid, match="key: must have 32 bytes"):
        encryption.encrypt("hello", bytes(length), NONCE)
    with pytest.raises(Invalid, match="nonce: must have 32 bytes"):
        encryption.encrypt("hello", KEY, bytes(length))
    with pytest.raises(Invalid, match="key: must have 32 bytes"):
        encryption.decrypt(payload, bytes(length))


def test_text_that_is_not_unicode_is_refused_without_repeating_it() -> None:
    with pytest.raises(HanseError) as caught:
        encryption.encrypt("secret words \ud800", KEY, NONCE)
    assert caught.value.field == "plaintext"
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
