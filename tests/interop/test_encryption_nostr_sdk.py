"""Another implementation reads ours and we read theirs: NIP-44, NIP-19 and NIP-49 (rust-nostr)."""

import nostr_sdk
import pytest

from hanse.protocol import address, encryption, passphrase
from hanse.protocol.address import AddressPointer, EventPointer, Profile
from hanse.protocol.keys import PublicKey, SecretKey

OURS, THEIRS = SecretKey(bytes([5]) * 32), SecretKey(bytes([6]) * 32)
EVENT_ID = "ab" * 32
TEXTS = ["a", "hello", "ünïcode 🦀", "x" * 32, "x" * 33, "x" * 1000, "é" * 30000, "x" * 65408]
# nostr-sdk 0.45.1 writes no more than 65408 bytes and reads up to 65535: it does not know NIP-44's
# long form yet, which our unit tests hold to the NIP's own sums instead.


def their_secret(key: SecretKey) -> nostr_sdk.SecretKey:
    return nostr_sdk.SecretKey.parse(key.reveal().hex())


def their_public(key: PublicKey) -> nostr_sdk.PublicKey:
    return nostr_sdk.PublicKey.parse(key)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text[:1]}-{len(text)}")
def test_they_decrypt_what_we_encrypt(text: str) -> None:
    key = encryption.conversation_key(OURS, THEIRS.public)
    payload = encryption.encrypt(text, key, bytes(range(32)))
    found = nostr_sdk.nip44_decrypt(their_secret(THEIRS), their_public(OURS.public), payload)
    assert found == text


def test_they_decrypt_our_longest_text_in_the_short_form() -> None:
    test_they_decrypt_what_we_encrypt("x" * 65535)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text[:1]}-{len(text)}")
def test_we_decrypt_what_they_encrypt(text: str) -> None:
    payload = nostr_sdk.nip44_encrypt(
        their_secret(THEIRS), their_public(OURS.public), text, nostr_sdk.Nip44Version.V2
    )
    key = encryption.conversation_key(OURS, THEIRS.public)
    assert encryption.decrypt(payload, key) == text


def test_they_read_and_write_the_same_keys_and_ids() -> None:
    assert their_public(OURS.public).to_bech32() == address.encode_npub(OURS.public)
    assert their_secret(OURS).to_bech32() == address.encode_nsec(OURS)
    assert nostr_sdk.EventId.parse(EVENT_ID).to_bech32() == address.encode_note(EVENT_ID)


def test_they_read_our_profile_and_we_read_theirs() -> None:
    ours = Profile(pubkey=OURS.public, relays=("wss://one.example", "wss://two.example"))
    theirs = nostr_sdk.Nip19Profile.from_bech32(address.encode_nprofile(ours))
    assert theirs.public_key().to_hex() == ours.pubkey
    assert tuple(str(relay) for relay in theirs.relays()) == ours.relays
    assert address.decode_nprofile(theirs.to_bech32()) == ours


@pytest.mark.parametrize(
    "ours",
    [
        EventPointer(id=EVENT_ID),
        EventPointer(id=EVENT_ID, relays=("wss://one.example",), author=OURS.public, kind=31402),
    ],
)
def test_they_read_our_event_pointer_and_we_read_theirs(ours: EventPointer) -> None:
    theirs = nostr_sdk.Nip19Event.from_bech32(address.encode_nevent(ours))
    author, kind = theirs.author(), theirs.kind()
    assert theirs.event_id().to_hex() == ours.id
    assert (author.to_hex() if author else None) == ours.author
    assert (kind.as_u16() if kind else None) == ours.kind
    assert address.decode_nevent(theirs.to_bech32()) == ours


@pytest.mark.parametrize("identifier", ["", "offer", "ünïcode"])
def test_they_read_our_address_pointer_and_we_read_theirs(identifier: str) -> None:
    kind = 31402 if identifier else 10002
    ours = AddressPointer(
        identifier=identifier, pubkey=OURS.public, kind=kind, relays=("wss://one.example",)
    )
    theirs = nostr_sdk.Nip19Coordinate.from_bech32(address.encode_naddr(ours))
    coordinate = theirs.coordinate()
    assert coordinate.identifier() == identifier
    assert coordinate.public_key().to_hex() == ours.pubkey
    assert coordinate.kind().as_u16() == kind
    assert address.decode_naddr(theirs.to_bech32()) == ours


def test_they_open_a_key_we_locked() -> None:
    text = passphrase.encrypt(
        OURS.reveal(), "pässphrase ﬁ", salt=bytes(range(16)), nonce=bytes(range(24)), log_n=10
    )
    theirs = nostr_sdk.EncryptedSecretKey.from_bech32(text)
    assert theirs.decrypt("pässphrase fi").to_hex() == OURS.reveal().hex()


def test_we_open_a_key_they_locked() -> None:
    text = nostr_sdk.EncryptedSecretKey(
        their_secret(OURS), "pässphrase ﬁ", 10, nostr_sdk.KeySecurity.MEDIUM
    ).to_bech32()
    assert passphrase.decrypt(text, "pässphrase fi") == OURS.reveal()
