"""Key values: who somebody is (`PublicKey`, lower-case hex) and what proves it (`SecretKey`).

A public key is carried as 64 lower-case hex characters, the form events use. Upper case would make
a second name for the same key, so it is refused (NIP-01 wants lower case).
"""

from typing import NewType

from hanse.errors import Invalid
from hanse.protocol.signature import Signer

PublicKey = NewType("PublicKey", str)
"""64 lower-case hex characters: the x coordinate of a secp256k1 point."""

_HEX = frozenset("0123456789abcdef")


def is_hex(text: str, length: int) -> bool:
    """Whether `text` is exactly `length` lower-case hex characters."""
    return len(text) == length and _HEX.issuperset(text)


def public_key(text: str, field: str = "pubkey") -> PublicKey:
    """Check and name a public key in hex. Raises Invalid."""
    if not is_hex(text, 64):
        raise Invalid.at(field, "must be 64 lower-case hex characters")
    return PublicKey(text)


class SecretKey:
    """A 32-byte secp256k1 secret. Its repr never shows it."""

    __slots__ = ("_raw", "_signer", "public")

    def __init__(self, raw: bytes) -> None:
        try:
            self._signer = Signer(raw)
        except ValueError as exc:
            raise Invalid.at("secret key", str(exc)) from exc
        self._raw = raw
        self.public = PublicKey(self._signer.pubkey.hex())

    @classmethod
    def from_hex(cls, text: str) -> "SecretKey":
        """From 64 hex characters. Raises Invalid, without repeating the text."""
        if not is_hex(text, 64):
            raise Invalid.at("secret key", "must be 64 lower-case hex characters")
        return cls(bytes.fromhex(text))

    def reveal(self) -> bytes:
        """The raw 32 bytes, for storing or key agreement."""
        return self._raw

    def sign(self, digest: bytes, aux: bytes = bytes(32)) -> str:
        """BIP-340 signature of a 32-byte digest, 128 hex characters."""
        return self._signer.sign(digest, aux).hex()

    def __repr__(self) -> str:
        return f"SecretKey(***, public={self.public[:8]}…)"

    __str__ = __repr__
