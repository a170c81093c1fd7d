"""NIP-49: the official key, the construction under it, and what is refused."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hanse.errors import Invalid, TooLarge, WrongPassphrase
from hanse.protocol import passphrase
from hanse.protocol.address import bech32_decode, bech32_encode
from hanse.protocol.passphrase import Handling, hchacha20

OFFICIAL = (
    "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm"
    "8623nsl8xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
)
OFFICIAL_HEX = "3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683"
SECRET = bytes(range(32))
SALT, NONCE = bytes(16), bytes(24)


def locked(text: str = "pass", log_n: int = 1) -> str:
    """A key under so few rounds that a test takes no time."""
    return passphrase.encrypt(SECRET, text, salt=SALT, nonce=NONCE, log_n=log_n)


def altered(text: str, at: int, value: int) -> str:
    raw = bytearray(bech32_decode("ncryptsec", text))
    raw[at] = value
    return bech32_encode("ncryptsec", bytes(raw))


# ---- What the specifications show ----------------------------------------------------------------


def test_the_official_key_opens() -> None:
    assert passphrase.decrypt(OFFICIAL, "nostr").hex() == OFFICIAL_HEX


def test_the_official_key_is_written_the_same_from_its_parts() -> None:
    raw = bech32_decode("ncryptsec", OFFICIAL)
    found = passphrase.encrypt(
        bytes.fromhex(OFFICIAL_HEX),
        "nostr",
        salt=raw[2:18],
        nonce=raw[18:42],
        log_n=raw[1],
        handling=Handling(raw[42]),
    )
    assert found == OFFICIAL


def test_hchacha20_gives_the_subkey_of_its_draft() -> None:
    # draft-irtf-cfrg-xchacha-03, section 2.2.1
    subkey = hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert subkey.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


def test_the_inner_box_is_the_one_of_its_draft() -> None:
    # draft-irtf-cfrg-xchacha-03, appendix A.3.1: the tag over its text and associated data
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    box = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    sealed = box.encrypt(bytes(4) + nonce[16:], text, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:8].hex() == "bd6d179d3e83d43b"
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"


def test_the_official_spellings_of_a_passphrase_open_each_other() -> None:
    # NIP-49: U+212B U+2126 U+1E9B U+0323 normalise to U+00C5 U+03A9 U+1E69
    typed, normal = "\u212b\u2126\u1e9b\u0323", "\u00c5\u03a9\u1e69"
    assert locked(typed) == locked(normal)
    assert passphrase.decrypt(locked(typed), normal) == SECRET


# ---- What is refused -----------------------------------------------------------------------------


def test_another_passphrase_does_not_open_it() -> None:
    # Not tried: "pass\0". scrypt begins with HMAC, which fills its key with zeros.
    for text in ("", "Pass", "pass ", "password"):
        with pytest.raises(WrongPassphrase) as caught:
            passphrase.decrypt(locked(), text)
        assert caught.value.slug == "wrong-passphrase"


def test_an_empty_passphrase_is_still_a_passphrase() -> None:
    assert passphrase.decrypt(locked(""), "") == SECRET


@pytest.mark.parametrize("at", [2, 17, 18, 41, 42, 43, 90])
def test_a_changed_byte_does_not_open(at: int) -> None:
    good = locked()
    value = bech32_decode("ncryptsec", good)[at] ^ 1
    with pytest.raises(WrongPassphrase):
        passphrase.decrypt(altered(good, at, value), "pass")


def test_the_handling_byte_is_carried_and_authenticated() -> None:
    for handling in Handling:
        text = passphrase.encrypt(
            SECRET, "pass", salt=SALT, nonce=NONCE, log_n=1, handling=handling
        )
        assert bech32_decode("ncryptsec", text)[42] == handling
        assert passphrase.decrypt(text, "pass") == SECRET
        with pytest.raises(WrongPassphrase):
            passphrase.decrypt(altered(text, 42, (handling + 1) % 3), "pass")


@pytest.mark.parametrize("version", [0, 1, 3])
def test_another_version_is_named_as_the_reason(version: int) -> None:
    with pytest.raises(Invalid, match="version"):
        passphrase.decrypt(altered(locked(), 0, version), "pass")


@pytest.mark.parametrize("log_n", [23, 63, 255])
def test_more_rounds_than_the_bound_are_refused_before_any_is_run(log_n: int) -> None:
    with pytest.raises(TooLarge) as caught:
        passphrase.decrypt(altered(locked(), 1, log_n), "pass")
    assert caught.value.field == "log_n"
    with pytest.raises(TooLarge):
        passphrase.encrypt(SECRET, "pass", salt=SALT, nonce=NONCE, log_n=log_n)


def test_a_reader_may_set_its_own_bound() -> None:
    assert passphrase.decrypt(locked(log_n=4), "pass", log_n_max=4) == SECRET
    with pytest.raises(TooLarge):
        passphrase.decrypt(locked(log_n=5), "pass", log_n_max=4)


def test_no_rounds_at_all_are_refused() -> None:
    with pytest.raises(Invalid, match="1 or more"):
        passphrase.decrypt(altered(locked(), 1, 0), "pass")
    with pytest.raises(Invalid, match="1 or more"):
        locked(log_n=0)


@pytest.mark.parametrize("size", [0, 1, 2, 90, 92])
def test_a_text_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(Invalid, match="91 bytes"):
        passphrase.decrypt(bech32_encode("ncryptsec", bytes([2]) * size), "pass")


def test_a_text_that_is_no_ncryptsec_is_refused() -> None:
    for text in ("", "ncryptsec1", OFFICIAL[:-1], OFFICIAL.replace("ncryptsec", "nsec")):
        with pytest.raises(Invalid) as caught:
            passphrase.decrypt(text, "nostr")
        assert caught.value.slug == "invalid"


@pytest.mark.parametrize(
    ("secret", "salt", "nonce", "field"),
    [
        (SECRET[:31], SALT, NONCE, "secret key"),
        (SECRET, SALT + b"x", NONCE, "salt"),
        (SECRET, SALT, NONCE[:12], "nonce"),
    ],
)
def test_parts_of_another_length_are_refused(
    secret: bytes, salt: bytes, nonce: bytes, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        passphrase.encrypt(secret, "pass", salt=salt, nonce=nonce, log_n=1)
    assert caught.value.field == field


def test_a_passphrase_that_is_not_unicode_is_refused_without_repeating_it() -> None:
    with pytest.raises(Invalid) as caught:
        locked("hunter2 \udcff")
    assert caught.value.field == "passphrase"
    assert "hunter2" not in str(caught.value)
