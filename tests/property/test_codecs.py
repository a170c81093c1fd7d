"""Codecs under random input: what is written reads back, and anything else is Invalid."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.protocol import address, attestation, encryption, passphrase, work
from hanse.protocol.address import AddressPointer, EventPointer, Profile
from hanse.protocol.keys import PublicKey, SecretKey

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

hex32 = st.binary(min_size=32, max_size=32).map(bytes.hex)
pubkeys = hex32.map(PublicKey)
kinds = st.integers(0, 65535)
relays = st.lists(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255),
    max_size=6,
).map(tuple)
secrets = st.integers(1, 2**255).map(lambda scalar: SecretKey(scalar.to_bytes(32, "big")))
keys32 = st.binary(min_size=32, max_size=32)
any_text = st.text(st.characters())  # lone surrogates too

profiles = st.builds(Profile, pubkey=pubkeys, relays=relays)
events = st.builds(
    EventPointer, id=hex32, relays=relays, author=st.none() | pubkeys, kind=st.none() | kinds
)
addresses = st.builds(
    AddressPointer,
    identifier=st.text(max_size=63),  # at most four bytes each
    pubkey=pubkeys,
    kind=kinds,
    relays=relays,
)

CODECS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], str], Callable[[str], Any]]] = {
    "npub": (pubkeys, address.encode_npub, address.decode_npub),
    "nsec": (
        secrets.map(SecretKey.reveal),
        lambda raw: address.encode_nsec(SecretKey(raw)),
        address.decode_nsec,
    ),
    "note": (hex32, address.encode_note, address.decode_note),
    "nprofile": (profiles, address.encode_nprofile, address.decode_nprofile),
    "nevent": (events, address.encode_nevent, address.decode_nevent),
    "naddr": (addresses, address.encode_naddr, address.decode_naddr),
}


def result(attempt: Callable[[], Any]) -> Any:
    """What it gives, or the Invalid it raises; anything else it raises fails the test."""
    try:
        return attempt()
    except Invalid as refused:
        return refused


def changed(data: st.DataObject, text: str, alphabet: str) -> str:
    """The text with one character replaced, put in, or taken out."""
    at = data.draw(st.integers(0, len(text) - 1), label="at")
    char = data.draw(st.sampled_from(alphabet), label="char")
    kept = data.draw(st.sampled_from(((0, 1), (0, 0), (1, 1))), label="replace, insert, remove")
    if kept == (0, 1):
        found = text[:at] + char + text[at + 1 :]
    elif kept == (0, 0):
        found = text[:at] + char + text[at:]
    else:
        found = text[:at] + text[at + 1 :]
    assume(found != text)
    return found


# ---- Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", CODECS)
@given(data=st.data())
def test_an_address_reads_back(prefix: str, data: st.DataObject) -> None:
    values, encode, decode = CODECS[prefix]
    value = data.draw(values)
    text = encode(value)
    assert text.startswith(f"{prefix}1")
    assert decode(text) == value
    assert decode(text.upper()) == value


@pytest.mark.parametrize("prefix", CODECS)
@given(data=st.data())
def test_an_address_with_one_character_replaced_is_refused(
    prefix: str, data: st.DataObject
) -> None:
    # Only replaced: BIP-173 knows that a "q" put in before a final "p" can go unseen.
    values, encode, decode = CODECS[prefix]
    text = encode(data.draw(values))
    at = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from(BECH32 + "1bio!"))
    assume(char != text[at])
    with pytest.raises(Invalid):
        decode(text[:at] + char + text[at + 1 :])


@pytest.mark.parametrize("prefix", CODECS)
@given(text=any_text, raw=st.binary(max_size=300))
def test_any_text_gives_an_address_or_invalid(prefix: str, text: str, raw: bytes) -> None:
    _, encode, decode = CODECS[prefix]
    for attempt in (text, f"{prefix}1{text}", address.bech32_encode(prefix, raw)):
        value = result(partial(decode, attempt))
        if isinstance(value, Invalid):
            assert value.field
            assert value.reason
        elif prefix != "nsec":  # 32 bytes read, but perhaps no scalar of the curve
            assert decode(encode(value)) == value


@given(entries=st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=40)), max_size=6))
def test_any_entries_give_a_value_or_invalid(entries: list[tuple[int, bytes]]) -> None:
    raw = b"".join(bytes((kind, len(value))) + value for kind, value in entries)
    for prefix in ("nprofile", "nevent", "naddr"):
        _, encode, decode = CODECS[prefix]
        try:
            value = decode(address.bech32_encode(prefix, raw))
        except Invalid:
            continue
        assert decode(encode(value)) == value


@given(text=any_text)
def test_any_text_is_a_public_key_or_invalid(text: str) -> None:
    for attempt in (text, f"npub1{text}", f"nprofile1{text}", f"nsec1{text}"):
        try:
            found = address.read_public_key(attempt)
        except Invalid:
            continue
        assert len(found) == 64


@given(raw=st.binary(max_size=400))
def test_bech32_reads_back_any_bytes(raw: bytes) -> None:
    assert address.bech32_decode("hanse", address.bech32_encode("hanse", raw)) == raw


# ---- Encryption ----------------------------------------------------------------------------------


@given(one=secrets, two=secrets)
def test_both_sides_find_the_same_conversation_key(one: SecretKey, two: SecretKey) -> None:
    assert encryption.conversation_key(one, two.public) == encryption.conversation_key(
        two, one.public
    )


@given(pubkey=any_text | hex32)
def test_any_text_as_a_key_gives_a_conversation_key_or_invalid(pubkey: str) -> None:
    try:
        found = encryption.conversation_key(SecretKey(bytes([1]) * 32), PublicKey(pubkey))
    except Invalid:
        return
    assert len(found) == 32


@given(text=st.text(min_size=1), times=st.integers(1, 2000), key=keys32, nonce=keys32)
def test_an_encrypted_text_reads_back(text: str, times: int, key: bytes, nonce: bytes) -> None:
    long = text * times
    assert encryption.decrypt(encryption.encrypt(long, key, nonce), key) == long


@given(text=st.text(min_size=1, max_size=200), key=keys32, nonce=keys32, data=st.data())
def test_a_payload_with_one_character_changed_is_refused(
    text: str, key: bytes, nonce: bytes, data: st.DataObject
) -> None:
    payload = changed(data, encryption.encrypt(text, key, nonce), BASE64 + " \n-_é")
    with pytest.raises(Invalid):
        encryption.decrypt(payload, key)


@given(payload=any_text | st.text(BASE64, min_size=132), key=keys32)
def test_any_text_as_a_payload_is_refused(payload: str, key: bytes) -> None:
    with pytest.raises(Invalid):
        encryption.decrypt(payload, key)


@given(text=any_text, key=keys32, nonce=keys32)
def test_any_text_is_encrypted_or_invalid(text: str, key: bytes, nonce: bytes) -> None:
    payload = result(lambda: encryption.encrypt(text, key, nonce))
    if isinstance(payload, Invalid):
        assert payload.field == "plaintext"
    else:
        assert encryption.decrypt(payload, key) == text


@given(length=st.integers(1, 2**32 - 1))
def test_padding_hides_the_length_at_a_bounded_cost(length: int) -> None:
    padded = encryption.padded_length(length)
    assert padded >= max(32, length)
    assert padded % 32 == 0
    assert padded - length < max(32, length / 4)
    assert encryption.padded_length(padded) == padded


# ---- Passphrases ---------------------------------------------------------------------------------


@given(
    secret=keys32,
    words=st.text(max_size=40),
    salt=st.binary(min_size=16, max_size=16),
    nonce=st.binary(min_size=24, max_size=24),
    log_n=st.integers(1, 6),
)
def test_a_locked_key_opens_with_its_passphrase(
    secret: bytes, words: str, salt: bytes, nonce: bytes, log_n: int
) -> None:
    text = passphrase.encrypt(secret, words, salt=salt, nonce=nonce, log_n=log_n)
    assert len(text) == 162
    assert passphrase.decrypt(text, words) == secret


@given(at=st.integers(0, 90), flip=st.integers(1, 255), words=any_text)
def test_a_locked_key_with_one_byte_changed_is_refused(at: int, flip: int, words: str) -> None:
    text = passphrase.encrypt(bytes(32), "pass", salt=bytes(16), nonce=bytes(24), log_n=1)
    raw = bytearray(address.bech32_decode("ncryptsec", text))
    raw[at] ^= flip
    spoilt = address.bech32_encode("ncryptsec", bytes(raw))
    for attempt in ("pass", words):
        with pytest.raises(Invalid):
            passphrase.decrypt(spoilt, attempt, log_n_max=8)


@given(text=any_text, raw=st.binary(max_size=120), words=any_text)
def test_any_text_as_a_locked_key_is_refused(text: str, raw: bytes, words: str) -> None:
    for attempt in (text, f"ncryptsec1{text}", address.bech32_encode("ncryptsec", raw)):
        with pytest.raises(Invalid):
            passphrase.decrypt(attempt, words, log_n_max=8)


# ---- Work and attestations -----------------------------------------------------------------------

any_tags = st.lists(
    st.lists(st.sampled_from(("auth", "nonce", "20", "")) | any_text | hex32, max_size=5).map(
        tuple
    ),
    max_size=4,
).map(tuple)


@given(event_id=any_text | hex32, tags=any_tags, minimum=st.integers(-1, 300))
def test_any_tags_give_an_answer_about_work(
    event_id: str, tags: tuple[tuple[str, ...], ...], minimum: int
) -> None:
    try:
        found = work.shortfall(event_id, tags, minimum)
    except Invalid:
        assert minimum > 0
        return
    if found is None and minimum > 0:
        target = work.committed_target(tags)
        assert target is not None
        assert minimum <= target <= work.difficulty(event_id)


@given(tags=any_tags)
def test_any_tags_give_an_attestation_or_invalid(tags: tuple[tuple[str, ...], ...]) -> None:
    found = result(lambda: attestation.from_tags(tags))
    if isinstance(found, Invalid):
        assert found.field == "auth"
    else:
        assert (found is None) == all(not tag or tag[0] != "auth" for tag in tags)


@given(conditions=any_text | st.text("kindcreate_t=<>&019"), owner=secrets, agent=secrets)
def test_only_what_can_be_attested_passes_the_check(
    conditions: str, owner: SecretKey, agent: SecretKey
) -> None:
    assume(owner.public != agent.public)
    try:
        found = attestation.attest(owner, agent.public, conditions)
    except Invalid:
        found = attestation.Attestation(
            owner=owner.public, conditions=conditions, signature="0" * 128
        )
        with pytest.raises(Invalid, match=r"condition|value"):
            attestation.check(found, agent.public, 1, 1)
    else:
        assert attestation.from_tags((found.tag,)) == found


@given(owner=secrets, agent=secrets, at=st.integers(0, 511))
def test_an_attestation_with_one_bit_of_its_signature_flipped_is_refused(
    owner: SecretKey, agent: SecretKey, at: int
) -> None:
    assume(owner.public != agent.public)
    good = attestation.attest(owner, agent.public)
    attestation.check(good, agent.public, 1, 1)
    flipped = int(good.signature, 16) ^ 1 << at
    spoilt = attestation.Attestation(owner=good.owner, conditions="", signature=f"{flipped:0128x}")
    with pytest.raises(Invalid, match="signature"):
        attestation.check(spoilt, agent.public, 1, 1)
