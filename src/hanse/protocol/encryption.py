"""Text for one reader: NIP-44 version 2, with the long form of 2026-06-28.

Owns the key two parties share, and payloads in both directions. Makes no randomness: the nonce
comes in, and the caller must never use one twice under a conversation key. The event around a
payload must be verified first; a payload alone does not say who wrote it.

| payload, in base64 | bytes |
|---|---|
| version, 2 | 1 |
| nonce | 32 |
| ciphertext: ChaCha20 of the padded text | 34 or more |
| HMAC-SHA256 over nonce and ciphertext | 32 |

| padded text | bytes |
|---|---|
| length below 65536, big-endian | 2 |
| or, from 65536 on: two zeros and the length as u32 | 6 |
| the text in UTF-8 | 1 or more |
| zeros up to the padded length | rest |

Texts over 65535 bytes were invalid before the change; older readers refuse the long form.
"""

import binascii
import hmac

from coincurve import PublicKey as Point
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from hanse.errors import Invalid, TooLarge
from hanse.protocol.keys import PublicKey, SecretKey, public_key

PLAINTEXT_MAX = 1024 * 1024
"""Default bound in UTF-8 bytes: twice the default event, so no event of ours is too long for it."""

_VERSION = 2
_SALT = b"nip44-v2"
_LONG = 0x10000  # the first length that needs the six-byte prefix
_LENGTH_MAX = 0xFFFFFFFF
_OVERHEAD = 1 + 32 + 32  # version, nonce, MAC
_RAW_MIN = _OVERHEAD + 2 + 32
_TEXT_MIN = 132  # base64 of that
_FIELD = "payload"

# ---- Public functions ----------------------------------------------------------------------------


def conversation_key(secret: SecretKey, other: PublicKey) -> bytes:
    """The 32 bytes both sides share: the same for (a, B) and (b, A). Secret; worth keeping, as it
    costs a curve multiplication. Raises Invalid if `other` is not on the curve."""
    try:
        # secp256k1_ecdh would run in constant time, but hands out the bare x only to a callback,
        # and cffi cannot make one where writable code is forbidden (systemd's
        # MemoryDenyWriteExecute; tried with PR_SET_MDWE). NIP-44 names this function instead.
        shared = Point(b"\x02" + bytes.fromhex(public_key(other))).multiply(secret.reveal())
    except ValueError:
        raise Invalid.at("pubkey", "is not a point on the curve") from None
    return hmac.digest(_SALT, shared.format()[1:], "sha256")


def encrypt(
    plaintext: str, conversation_key: bytes, nonce: bytes, *, plaintext_max: int = PLAINTEXT_MAX
) -> str:
    """The base64 payload of a text of 1 to `plaintext_max` UTF-8 bytes, under a fresh random nonce
    of 32 bytes. Raises Invalid, TooLarge."""
    cipher_key, cipher_nonce, mac_key = message_keys(conversation_key, nonce)
    sealed = _chacha20(cipher_key, cipher_nonce, _pad(plaintext, plaintext_max))
    mac = hmac.digest(mac_key, nonce + sealed, "sha256")
    raw = b"".join((bytes((_VERSION,)), nonce, sealed, mac))
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def decrypt(payload: str, conversation_key: bytes, *, plaintext_max: int = PLAINTEXT_MAX) -> str:
    """The text of a payload. Raises Invalid if it is malformed or was not written under this key,
    TooLarge if its text would be over `plaintext_max` bytes."""
    raw = _unwrap(payload, plaintext_max)
    nonce, sealed, mac = raw[1:33], raw[33:-32], raw[-32:]
    cipher_key, cipher_nonce, mac_key = message_keys(conversation_key, nonce)
    if not hmac.compare_digest(mac, hmac.digest(mac_key, nonce + sealed, "sha256")):
        raise Invalid.at(_FIELD, "was changed, or is for another key")
    return _unpad(_chacha20(cipher_key, cipher_nonce, sealed), plaintext_max)


# ---- The steps, as the official vectors test them ------------------------------------------------


def message_keys(conversation_key: bytes, nonce: bytes) -> tuple[bytes, bytes, bytes]:
    """HKDF-expand to the ChaCha20 key (32 bytes), its nonce (12) and the HMAC key (32)."""
    if len(conversation_key) != 32:
        raise Invalid.at("conversation key", "must have 32 bytes")
    if len(nonce) != 32:
        raise Invalid.at("nonce", "must have 32 bytes")
    block = out = b""
    for count in (1, 2, 3):
        block = hmac.digest(conversation_key, block + nonce + bytes((count,)), "sha256")
        out += block
    return out[:32], out[32:44], out[44:76]


def padded_length(length: int) -> int:
    """How many bytes a text of `length` bytes (1 or more) takes, without its length prefix.

    Steps of an eighth of the next power of two, and of 32 bytes up to 256.
    """
    if length <= 32:
        return 32
    step = max(32, (1 << (length - 1).bit_length()) // 8)
    return -(-length // step) * step


def _prefix(length: int) -> bytes:
    return length.to_bytes(2, "big") if length < _LONG else bytes(2) + length.to_bytes(4, "big")


def _pad(plaintext: str, plaintext_max: int) -> bytes:
    try:
        text = plaintext.encode()
    except UnicodeEncodeError:
        raise Invalid.at("plaintext", "is not Unicode text") from None
    bound = min(plaintext_max, _LENGTH_MAX)
    if not text:
        raise Invalid.at("plaintext", "is empty")
    if len(text) > bound:
        raise TooLarge(f"is over {bound} bytes", field="plaintext")
    return b"".join((_prefix(len(text)), text, bytes(padded_length(len(text)) - len(text))))


def _unpad(padded: bytes, plaintext_max: int) -> str:
    start = 2
    length = int.from_bytes(padded[:2], "big")
    if not length:
        start = 6
        length = int.from_bytes(padded[2:6], "big")
        # A short text in the long form would be a second way to write it, and zero a text of none.
        if length < _LONG:
            raise Invalid.at(_FIELD, "its length prefix is wrong")
    end = start + length
    if len(padded) != start + padded_length(length) or padded.count(0, end) != len(padded) - end:
        raise Invalid.at(_FIELD, "its padding is wrong")
    # The payload's own bound allows for padding, so the text can still be over.
    if length > plaintext_max:
        raise TooLarge(f"its text is over {plaintext_max} bytes", field=_FIELD)
    try:
        return padded[start:end].decode()
    except UnicodeDecodeError:
        raise Invalid.at(_FIELD, "its text is not UTF-8") from None


def _unwrap(payload: str, plaintext_max: int) -> bytes:
    """The bytes of a payload of a plausible size and the right version."""
    if payload.startswith("#"):
        raise Invalid.at(_FIELD, "is of a version not supported here")
    if len(payload) < _TEXT_MIN:
        raise Invalid.at(_FIELD, f"is under {_TEXT_MIN} characters")
    longest = max(1, plaintext_max)
    raw_max = _OVERHEAD + len(_prefix(min(longest, _LENGTH_MAX))) + padded_length(longest)
    if len(payload) > -(-raw_max // 3) * 4:
        raise TooLarge(f"is too long for a text of {plaintext_max} bytes", field=_FIELD)
    try:
        text = payload.encode("ascii")
        raw = binascii.a2b_base64(text)
    except (UnicodeEncodeError, binascii.Error):
        raise Invalid.at(_FIELD, "is not base64") from None
    # The decoder skips foreign characters and stray bits; writing it again shows there were none.
    if binascii.b2a_base64(raw, newline=False) != text:
        raise Invalid.at(_FIELD, "is not base64")
    if raw[0] != _VERSION:
        raise Invalid.at(_FIELD, "is of a version not supported here")
    if len(raw) < _RAW_MIN:
        raise Invalid.at(_FIELD, f"is under {_RAW_MIN} bytes")
    return raw


def _chacha20(key: bytes, nonce: bytes, text: bytes) -> bytes:
    # The library's nonce is RFC 8439's block counter, here 0, and then the nonce.
    cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None)
    return cipher.encryptor().update(text)
