"""Signatures of agent cards (A2A 1.0 §8.4): whose holds, and what makes one worthless."""

import copy
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid, NotFound
from hanse.operations.imports import a2a
from hanse.protocol import jws
from hanse.protocol.address import encode_npub
from hanse.protocol.canonical import canonical
from hanse.protocol.keys import SecretKey

SECRET = SecretKey(bytes(31) + b"\x07")
JKU = "https://pilot.example.com/jwks.json"

# The example of A2A 1.0 §8.4.1: what proto3 leaves out is left out, what is required stays.
FRAGMENT = {
    "name": "Example Agent",
    "description": "",
    "capabilities": {"streaming": False, "pushNotifications": False, "extensions": []},
    "skills": [],
}
CANONICAL = (
    b'{"capabilities":{"pushNotifications":false,"streaming":false},"description":"",'
    b'"name":"Example Agent","skills":[]}'
)


def a_card() -> dict[str, Any]:
    return {
        "name": "Pilot – é",
        "description": "Plans berths.",
        "version": "1.0.0",
        "supportedInterfaces": [
            {
                "url": "https://pilot.example.com/a2a",
                "protocolBinding": "JSONRPC",
                "protocolVersion": "1.0",
                "tenant": "",
            }
        ],
        "capabilities": {"streaming": False, "extensions": []},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "securitySchemes": {},
        "skills": [
            {"id": "a", "name": "A", "description": "d", "tags": ["t"], "examples": []},
        ],
    }


def signed(card: dict[str, Any], key: Any, alg: str, **header: Any) -> dict[str, Any]:
    """The card with a signature over the specification's canonical form."""
    header = {"alg": alg, "typ": "JOSE", "kid": "k1", "jku": JKU} | header
    protected = jws.encode(orjson.dumps(header))
    message = f"{protected}.{jws.encode(a2a._forms(card)[0])}".encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        digest = {32: hashes.SHA256(), 48: hashes.SHA384(), 66: hashes.SHA512()}[size]
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        raw = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.sign(message)
    elif alg.startswith("PS"):
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        raw = key.sign(message, pad, hashes.SHA256())
    else:
        raw = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return card | {"signatures": [{"protected": protected, "signature": jws.encode(raw)}]}


def jwk(key: Any) -> dict[str, Any]:
    """The public half, as a key set has it."""
    public = key.public_key()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers, size = public.public_numbers(), (key.key_size + 7) // 8
        curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return {
            "kty": "EC",
            "kid": "k1",
            "crv": curve.get(key.curve.name, key.curve.name),
            "x": jws.encode(numbers.x.to_bytes(size, "big")),
            "y": jws.encode(numbers.y.to_bytes(size, "big")),
        }
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {
            "kty": "OKP",
            "kid": "k1",
            "crv": "Ed25519",
            "x": jws.encode(public.public_bytes_raw()),
        }
    numbers = public.public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    return {
        "kty": "RSA",
        "kid": "k1",
        "n": jws.encode(numbers.n.to_bytes(size, "big")),
        "e": jws.encode(numbers.e.to_bytes(3, "big")),
    }


async def proof(card: dict[str, Any], key: Any = None, **keys: Any) -> str:
    """What the card is verified by, when its host's key set holds `key`."""

    async def fetch(url: str) -> Any:
        assert url == JKU
        return {"keys": [jwk(key) | keys]}

    (found,) = (await a2a.read(card, fetch=fetch)).listings
    return found.verified


def test_a_card_is_signed_in_the_form_that_the_specification_shows() -> None:
    assert a2a._forms(FRAGMENT)[0] == CANONICAL


@pytest.mark.parametrize(
    ("alg", "make"),
    [
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
        ("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
        ("ES256K", lambda: ec.generate_private_key(ec.SECP256K1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
        ("RS256", lambda: rsa.generate_private_key(65537, 2048)),
        ("PS256", lambda: rsa.generate_private_key(65537, 2048)),
    ],
)
async def test_a_signature_by_the_hosts_key_verifies_the_card_and_no_other(
    alg: str, make: Any
) -> None:
    key = make()
    card = signed(a_card(), key, alg)
    assert await proof(card, key) == "signature k1 at pilot.example.com"
    changed = copy.deepcopy(card)
    changed["skills"][0]["description"] = "other"
    with pytest.raises(Invalid, match="does not hold"):
        await proof(changed, key)
    with pytest.raises(Invalid, match="does not hold"):
        await proof(card, make())


async def test_algorithms_that_prove_nothing_are_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for alg in ("none", "HS256", "ES256K"):
        with pytest.raises(Invalid, match="signatures"):
            await proof(signed(a_card(), key, alg), key)
    with pytest.raises(Invalid, match="not the key's"):
        await proof(signed(a_card(), key, "ES256"), key, alg="ES384")
    with pytest.raises(Invalid, match="extension"):
        await proof(signed(a_card(), key, "ES256", crit=["b64"], b64=False), key)


async def test_a_key_kept_elsewhere_or_that_cannot_be_had_leaves_the_card_unverified() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for jku in ("https://evil.example/jwks.json", "http://pilot.example.com/jwks.json", None):
        assert await proof(signed(a_card(), key, "ES256", jku=jku), key) == ""
    both = a_card()
    first = both["supportedInterfaces"][0]
    both["supportedInterfaces"].insert(0, first | {"url": "https://victim.example/a2a"})
    assert await proof(signed(both, key, "ES256"), key) == ""
    card = signed(a_card(), key, "ES256")
    assert await proof(card, key, kid="another") == ""
    (found,) = (await a2a.read(card)).listings  # from a file: nothing is asked of the web
    assert found.verified == ""


def by_nostr(secret: SecretKey, **header: str) -> dict[str, Any]:
    """A card that a Nostr key signed."""
    npub = encode_npub(secret.public)
    protected = jws.encode(orjson.dumps({"alg": "ES256K", "kid": npub, **header}))
    card = a_card()
    signature = jws.sign(secret, protected, a2a._forms(card)[0])
    return card | {"signatures": [{"protected": protected, "signature": signature}]}


async def test_a_nostr_key_proves_a_card_if_the_agents_host_calls_it_its_own() -> None:
    npub = encode_npub(SECRET.public)
    own = jws.public_jwk(SECRET.public, npub)
    forged = jws.public_jwk(SecretKey(bytes(31) + bytes([99])).public, npub)
    names = "https://pilot.example.com/.well-known/nostr.json?name=_"
    asked: list[str] = []

    async def verified(card: dict[str, Any], **said: Any) -> str:
        async def fetch(url: str) -> Any:
            asked.append(url)
            if url not in said:
                raise NotFound("is not there")
            return said[url]

        (found,) = (await a2a.read(card, fetch=fetch)).listings
        return found.verified

    proof = f"signature {npub} at pilot.example.com"
    named = {"names": {"_": SECRET.public}}
    assert await verified(by_nostr(SECRET), **{names: named}) == proof
    assert await verified(by_nostr(SECRET, jku=JKU), **{JKU: {"keys": [own]}}) == proof
    # Anybody can sign anybody's card: the host knows nothing of it, or of another key.
    assert await verified(by_nostr(SECRET)) == ""
    assert await verified(by_nostr(SECRET), **{names: {"names": {"_": "0" * 64}}}) == ""
    assert await verified(by_nostr(SECRET, jku=JKU), **{JKU: {"keys": [forged]}}) == ""
    evil = "https://evil.example/jwks.json"
    assert await verified(by_nostr(SECRET, jku=evil), **{evil: {"keys": [own]}}) == ""
    assert evil not in asked
    (from_file,) = (await a2a.read(by_nostr(SECRET))).listings
    assert from_file.verified == ""


async def test_a_signature_that_proves_nothing_does_not_hide_one_that_does() -> None:
    npub = encode_npub(SECRET.public)
    card, stranger = by_nostr(SECRET), by_nostr(SecretKey(bytes(31) + bytes([98])))
    card["signatures"] = [*stranger["signatures"], *card["signatures"]]

    async def fetch(url: str) -> Any:
        return {"names": {"_": SECRET.public}}

    (found,) = (await a2a.read(card, fetch=fetch)).listings
    assert found.verified == f"signature {npub} at pilot.example.com"


async def test_a_card_that_a_nostr_key_signed_and_somebody_changed_is_refused() -> None:
    card = by_nostr(SECRET)
    card["name"] = "Another"
    with pytest.raises(Invalid, match="does not hold"):
        await a2a.read(card)


async def test_every_nostr_key_can_sign_a_card() -> None:
    for secret in (SECRET, *(SecretKey(bytes(31) + bytes([number])) for number in range(1, 9))):
        npub = encode_npub(secret.public)
        protected = jws.encode(orjson.dumps({"alg": "ES256K", "kid": npub}))
        card = a_card()
        signature = jws.sign(secret, protected, a2a._forms(card)[0])
        card["signatures"] = [{"protected": protected, "signature": signature}]
        assert (await a2a.read(card)).listings
        assert signature == jws.sign(secret, protected, a2a._forms(a_card())[0])  # always the same


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_no_signature_and_no_crash(signature: bytes, payload: bytes) -> None:
    key = jws.public_jwk(SECRET.public, "k")
    text = jws.encode(signature)
    if not text:
        with pytest.raises(Invalid):
            jws.holds("e30", payload, text, "ES256K", key)
    else:
        assert not jws.holds("e30", payload, text, "ES256K", key)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=6), st.text(max_size=6))
def test_any_key_is_a_key_or_refused_by_name(key: dict[str, Any], alg: str) -> None:
    with pytest.raises(Invalid):
        jws.holds("e30", b"x", "AAAA", alg, key | {"kty": "EC", "crv": "P-256"})


def test_base64url_is_read_back() -> None:
    for size in range(1, 40):
        assert jws.decode(jws.encode(bytes(range(size))), "x") == bytes(range(size))
    assert canonical({"b": 1, "a": 2}) == b'{"a":2,"b":1}'
