"""A secret key at rest under a passphrase: NIP-49's `ncryptsec1…`.

Owns the format and its two derivations; makes no randomness (salt and nonce come in) and stores
nothing. The 91 bytes inside the bech32:

| part | bytes |
|---|---|
| version, 2 | 1 |
| log_n: scrypt runs 2^log_n rounds | 1 |
| salt | 16 |
| nonce | 24 |
| handling (see `Handling`), authenticated | 1 |
| the secret under XChaCha20-Poly1305 | 32 + 16 |
"""

import enum
import unicodedata
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hanse.errors import Invalid, TooLarge, WrongPassphrase
from hanse.protocol.address import bech32_decode, bech32_encode

LOG_N: Final = 16
"""Default rounds: 64 MiB and about a tenth of a second, the least row of NIP-49's table."""

LOG_N_MAX: Final = 22
"""The most NIP-49 lists: 4 GiB. A node that opens strangers' files should set less."""

_PREFIX = "ncryptsec"
_VERSION = 2
_SIZE = 1 + 1 + 16 + 24 + 1 + 32 + 16


class Handling(enum.IntEnum):
    """How carefully the secret was kept before, as its writer says."""

    EXPOSED = 0
    CAREFUL = 1
    UNKNOWN = 2


def encrypt(
    secret: bytes,
    passphrase: str,
    *,
    salt: bytes,
    nonce: bytes,
    log_n: int = LOG_N,
    handling: Handling = Handling.UNKNOWN,
) -> str:
    """`ncryptsec1…` of 32 secret bytes, under 16 random bytes of salt and 24 of nonce.

    Takes 2^log_n KiB of memory. Raises Invalid, TooLarge.
    """
    for name, value, length in (
        ("secret key", secret, 32),
        ("salt", salt, 16),
        ("nonce", nonce, 24),
    ):
        if len(value) != length:
            raise Invalid.at(name, f"must have {length} bytes")
    key = _stretch(passphrase, salt, log_n, LOG_N_MAX)
    sealed = _box(key, nonce).encrypt(_inner_nonce(nonce), secret, bytes((handling,)))
    head = bytes((_VERSION, log_n))
    return bech32_encode(_PREFIX, b"".join((head, salt, nonce, bytes((handling,)), sealed)))


def decrypt(text: str, passphrase: str, *, log_n_max: int = LOG_N_MAX) -> bytes:
    """The 32 secret bytes. Raises WrongPassphrase, Invalid for a text that is no ncryptsec, and
    TooLarge if opening it would take over 2^log_n_max KiB or more memory than there is."""
    raw = bech32_decode(_PREFIX, text)
    if len(raw) != _SIZE:
        raise Invalid.at(_PREFIX, f"must carry {_SIZE} bytes")
    if raw[0] != _VERSION:
        raise Invalid.at(_PREFIX, "is of a version not supported here")
    salt, nonce, handling, sealed = raw[2:18], raw[18:42], raw[42:43], raw[43:]
    key = _stretch(passphrase, salt, raw[1], log_n_max)
    try:
        return _box(key, nonce).decrypt(_inner_nonce(nonce), sealed, handling)
    except InvalidTag:
        raise WrongPassphrase(field=_PREFIX) from None


def _stretch(passphrase: str, salt: bytes, log_n: int, log_n_max: int) -> bytes:
    if log_n < 1:
        raise Invalid.at("log_n", "must be 1 or more")
    if log_n > log_n_max:
        raise TooLarge(f"is over {log_n_max}", field="log_n")
    try:
        typed = unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError:
        raise Invalid.at("passphrase", "is not Unicode text") from None
    try:
        # Not hashlib.scrypt: its maxmem ends below 2 GiB, so log_n 21 and 22 would never open.
        return Scrypt(salt=salt, length=32, n=1 << log_n, r=8, p=1).derive(typed)
    except MemoryError:
        raise TooLarge(f"needs {1 << log_n} KiB of memory", field="log_n") from None


# ---- XChaCha20, which the library lacks ----------------------------------------------------------


def _box(key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hchacha20(key, nonce[:16]))


def _inner_nonce(nonce: bytes) -> bytes:
    return bytes(4) + nonce[16:]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The 32-byte subkey of a 32-byte key and 16-byte nonce (draft-irtf-cfrg-xchacha).

    A ChaCha20 keystream block is the state after twenty rounds plus the state before. HChaCha20
    wants rows one and four of the former alone, and of the latter those rows are public: the
    constant and the nonce.
    """
    cipher = Cipher(algorithms.ChaCha20(key, nonce), mode=None)
    block = cipher.encryptor().update(bytes(64))
    return _subtract(block[:16], b"expand 32-byte k") + _subtract(block[48:], nonce)


def _subtract(left: bytes, right: bytes) -> bytes:
    words = (
        int.from_bytes(left[at : at + 4], "little") - int.from_bytes(right[at : at + 4], "little")
        for at in range(0, 16, 4)
    )
    return b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)
