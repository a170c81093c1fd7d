"""Signatures of JSON documents by other people's keys: JWS (RFC 7515) with JWK (RFC 7517).

Checks what agent cards are signed with (A2A 1.0 §8.4), and signs with a node's own key: ES256K (RFC
8812), ECDSA on the curve that Nostr's keys are on. The key is the point with the even y coordinate,
as BIP-340 has it, so that whoever knows an npub can check a signature without asking anybody. One
key signs in two ways here: each derives its nonce from the message by a rule of its own (RFC 6979,
BIP-340), so that no nonce serves both.
Symmetric algorithms and `none` are not among those that are known.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from hanse.errors import Invalid
from hanse.protocol.keys import PublicKey, SecretKey

ES256K = "ES256K"
TEXT_MAX = 16 * 1024
"""Characters of one encoded part: a header, a signature, a key's number."""

RSA_BITS = range(2048, 8193)
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256()),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384()),
    "ES512": ("P-521", ec.SECP521R1(), hashes.SHA512()),
    ES256K: ("secp256k1", ec.SECP256K1(), hashes.SHA256()),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

Check = Callable[[bytes, bytes], bool]
"""Whether a signature (first) over a message (second) holds."""


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: Any, field: str) -> bytes:
    """base64url without padding. Raises Invalid."""
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_MAX or not text.isascii():
        raise Invalid.at(field, f"must be base64url of at most {TEXT_MAX} characters")
    try:
        raw = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Invalid.at(field, "is not base64url") from exc


def holds(protected: str, payload: bytes, signature: str, alg: Any, key: dict[str, Any]) -> bool:
    """Whether a detached JWS over `payload` holds under a public JWK. Raises Invalid for an
    algorithm or a key that cannot be used."""
    check = _checker(alg, key)
    message = f"{protected}.{encode(payload)}".encode("ascii")
    return check(decode(signature, "signature"), message)


def sign(secret: SecretKey, protected: str, payload: bytes) -> str:
    """The ES256K signature over a protected header (encoded) and a payload; always the same one."""
    number = int.from_bytes(secret.reveal(), "big")
    key = ec.derive_private_key(number, ec.SECP256K1())
    if key.public_key().public_numbers().y % 2:
        key = ec.derive_private_key(_ORDER - number, ec.SECP256K1())
    message = f"{protected}.{encode(payload)}".encode("ascii")
    found = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(found)
    return encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def public_jwk(key: PublicKey, kid: str) -> dict[str, Any]:
    """The JWK of a Nostr key. Raises Invalid if it is no point."""
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256K1(), b"\x02" + bytes.fromhex(key)
        )
    except ValueError as exc:
        raise Invalid.at("key", "is not a point of the curve") from exc
    numbers = point.public_numbers()
    return {
        "kty": "EC",
        "crv": "secp256k1",
        "x": encode(numbers.x.to_bytes(32, "big")),
        "y": encode(numbers.y.to_bytes(32, "big")),
        "alg": ES256K,
        "use": "sig",
        "kid": kid,
    }


def _checker(alg: Any, key: dict[str, Any]) -> Check:
    if not isinstance(alg, str) or not isinstance(key, dict):
        raise Invalid.at("alg", "is missing")
    if key.get("alg") not in (None, alg):
        raise Invalid.at("alg", "is not the key's")
    try:
        if alg in _CURVES:
            return _elliptic(alg, key)
        if alg == "EdDSA":
            return _edwards(key)
        if alg[:2] in ("RS", "PS") and alg[2:] in _HASHES:
            return _rsa(alg, key)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Invalid.at("key", "cannot be used") from exc
    raise Invalid.at("alg", f"{alg[:16]!r} is not one we check")


def _elliptic(alg: str, key: dict[str, Any]) -> Check:
    name, curve, digest = _CURVES[alg]
    if key.get("kty") != "EC" or key.get("crv") != name:
        raise Invalid.at("key", f"must be on {name} for {alg}")
    public = ec.EllipticCurvePublicNumbers(_number(key, "x"), _number(key, "y"), curve).public_key()
    size = (curve.key_size + 7) // 8

    def check(signature: bytes, message: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
        return _tried(lambda: public.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest)))

    return check


def _edwards(key: dict[str, Any]) -> Check:
    if key.get("kty") != "OKP" or key.get("crv") != "Ed25519":
        raise Invalid.at("key", "must be on Ed25519 for EdDSA")
    public = ed25519.Ed25519PublicKey.from_public_bytes(decode(key.get("x"), "key.x"))
    return lambda signature, message: _tried(lambda: public.verify(signature, message))


def _rsa(alg: str, key: dict[str, Any]) -> Check:
    if key.get("kty") != "RSA":
        raise Invalid.at("key", f"must be RSA for {alg}")
    public = rsa.RSAPublicNumbers(_number(key, "e"), _number(key, "n")).public_key()
    if public.key_size not in RSA_BITS:
        raise Invalid.at("key", f"must have {RSA_BITS[0]} to {RSA_BITS[-1]} bits")
    digest = _HASHES[alg[2:]]
    pad: padding.AsymmetricPadding = (
        padding.PKCS1v15()
        if alg[0] == "R"
        else padding.PSS(padding.MGF1(digest), digest.digest_size)
    )
    return lambda signature, message: _tried(lambda: public.verify(signature, message, pad, digest))


def _number(key: dict[str, Any], name: str) -> int:
    return int.from_bytes(decode(key.get(name), f"key.{name}"), "big")


def _tried(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
