"""Names people can copy: NIP-19 addresses, and the bech32 code (BIP-173) under them.

Owns both directions: values to text and text to values. Knows no relay and opens nothing.

| prefix | value | carried as |
|---|---|---|
| npub | PublicKey | 32 bytes |
| nsec | 32 secret bytes | 32 bytes |
| note | event id, 64 hex characters | 32 bytes |
| nprofile | Profile | TLV |
| nevent | EventPointer | TLV |
| naddr | AddressPointer | TLV |

TLV is a run of (type: u8, length: u8, value): 0 the thing itself, 1 a relay hint in ASCII (any
number), 2 the author's 32 bytes, 3 the kind as u32 big-endian. Unknown types are skipped; of a type
that may stand once, the first counts.

Error texts never repeat the input: it may be a secret pasted into the wrong place.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from hanse.errors import Invalid, TooLarge
from hanse.protocol.keys import PublicKey, SecretKey, is_hex, public_key

TEXT_MAX: Final = 5000
"""Characters in one address: the bound NIP-19 recommends. BIP-173's own 90 is too short for TLV."""

_SPECIAL, _RELAY, _AUTHOR, _KIND = range(4)
_VALUE_MAX = 255  # a TLV length is one byte
_KIND_MAX = 65535  # NIP-19 leaves room for 32 bits, NIP-01 uses 16

# ---- Values --------------------------------------------------------------------------------------


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A key and the relays it is likely read from (nprofile). Raises Invalid."""

    pubkey: PublicKey
    relays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        public_key(self.pubkey)
        _check_relays(self.relays)


class EventPointer(msgspec.Struct, frozen=True, kw_only=True):
    """One event by id, with what helps to find it (nevent). Raises Invalid."""

    id: str
    relays: tuple[str, ...] = ()
    author: PublicKey | None = None
    kind: int | None = None

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_relays(self.relays)
        if self.author is not None:
            public_key(self.author, "author")
        if self.kind is not None:
            _check_kind(self.kind)


class AddressPointer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest event of a kind, author and `d` tag (naddr). Raises Invalid.

    `identifier` is the `d` value, at most 255 bytes of UTF-8; empty for a replaceable event.
    """

    identifier: str
    pubkey: PublicKey
    kind: int
    relays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(_utf8(self.identifier, "identifier")) > _VALUE_MAX:
            raise TooLarge(f"is over {_VALUE_MAX} bytes", field="identifier")
        public_key(self.pubkey)
        _check_kind(self.kind)
        _check_relays(self.relays)


def _check_relays(relays: tuple[str, ...]) -> None:
    for relay in relays:
        if not 0 < len(relay) <= _VALUE_MAX or not _is_visible_ascii(relay):
            raise Invalid.at("relay", f"must be 1 to {_VALUE_MAX} visible ASCII characters")


def _check_kind(kind: int) -> None:
    if not 0 <= kind <= _KIND_MAX:
        raise Invalid.at("kind", f"must lie between 0 and {_KIND_MAX}")


def _check_id(event_id: str) -> None:
    if not is_hex(event_id, 64):
        raise Invalid.at("id", "must be 64 lower-case hex characters")


def _is_visible_ascii(text: str) -> bool:
    return all("!" <= char <= "~" for char in text)


def _utf8(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Invalid.at(field, "is not Unicode text") from None


# ---- Values to text ------------------------------------------------------------------------------


def encode_npub(key: PublicKey) -> str:
    """`npub1…` of a public key. Raises Invalid."""
    return bech32_encode("npub", bytes.fromhex(public_key(key)))


def encode_nsec(secret: SecretKey) -> str:
    """`nsec1…` of a secret key: the secret itself, in the clear."""
    return bech32_encode("nsec", secret.reveal())


def encode_note(event_id: str) -> str:
    """`note1…` of an event id in hex. Raises Invalid."""
    _check_id(event_id)
    return bech32_encode("note", bytes.fromhex(event_id))


def encode_nprofile(profile: Profile) -> str:
    """`nprofile1…`. Raises TooLarge if the relays do not fit."""
    return _join("nprofile", [(_SPECIAL, bytes.fromhex(profile.pubkey)), *_hints(profile.relays)])


def encode_nevent(pointer: EventPointer) -> str:
    """`nevent1…`. Raises TooLarge if the relays do not fit."""
    parts = [(_SPECIAL, bytes.fromhex(pointer.id)), *_hints(pointer.relays)]
    if pointer.author is not None:
        parts.append((_AUTHOR, bytes.fromhex(pointer.author)))
    if pointer.kind is not None:
        parts.append((_KIND, pointer.kind.to_bytes(4, "big")))
    return _join("nevent", parts)


def encode_naddr(pointer: AddressPointer) -> str:
    """`naddr1…`. Raises TooLarge if the relays do not fit."""
    parts = [
        (_SPECIAL, pointer.identifier.encode()),
        *_hints(pointer.relays),
        (_AUTHOR, bytes.fromhex(pointer.pubkey)),
        (_KIND, pointer.kind.to_bytes(4, "big")),
    ]
    return _join("naddr", parts)


def _hints(relays: tuple[str, ...]) -> Iterator[tuple[int, bytes]]:
    return ((_RELAY, relay.encode()) for relay in relays)


def _join(prefix: str, parts: Iterable[tuple[int, bytes]]) -> str:
    return bech32_encode(
        prefix, b"".join(bytes((kind, len(value))) + value for kind, value in parts)
    )


# ---- Text to values ------------------------------------------------------------------------------


def decode_npub(text: str) -> PublicKey:
    """The public key of `npub1…`. Raises Invalid."""
    return PublicKey(_decode_32("npub", text).hex())


def decode_nsec(text: str) -> bytes:
    """The 32 secret bytes of `nsec1…`. Raises Invalid, without repeating the text."""
    return _decode_32("nsec", text)


def decode_note(text: str) -> str:
    """The event id of `note1…`, 64 hex characters. Raises Invalid."""
    return _decode_32("note", text).hex()


def decode_nprofile(text: str) -> Profile:
    """The profile of `nprofile1…`. Raises Invalid."""
    found = _split("nprofile", text)
    return Profile(
        pubkey=PublicKey(_needed("nprofile", found, _SPECIAL, 32).hex()),
        relays=_relays_of("nprofile", found),
    )


def decode_nevent(text: str) -> EventPointer:
    """The event pointer of `nevent1…`. Raises Invalid."""
    found = _split("nevent", text)
    return EventPointer(
        id=_needed("nevent", found, _SPECIAL, 32).hex(),
        relays=_relays_of("nevent", found),
        author=PublicKey(_needed("nevent", found, _AUTHOR, 32).hex()) if _AUTHOR in found else None,
        kind=int.from_bytes(_needed("nevent", found, _KIND, 4), "big") if _KIND in found else None,
    )


def decode_naddr(text: str) -> AddressPointer:
    """The address pointer of `naddr1…`. Raises Invalid."""
    found = _split("naddr", text)
    try:
        identifier = _needed("naddr", found, _SPECIAL, None).decode()
    except UnicodeDecodeError:
        raise Invalid.at("naddr", "the identifier is not UTF-8") from None
    return AddressPointer(
        identifier=identifier,
        pubkey=PublicKey(_needed("naddr", found, _AUTHOR, 32).hex()),
        kind=int.from_bytes(_needed("naddr", found, _KIND, 4), "big"),
        relays=_relays_of("naddr", found),
    )


def read_public_key(text: str, field: str = "pubkey") -> PublicKey:
    """A public key as people write it: hex, npub or nprofile. Raises Invalid."""
    lower = text[:9].lower()
    try:
        if lower.startswith("npub1"):
            return decode_npub(text)
        if lower.startswith("nprofile1"):
            return decode_nprofile(text).pubkey
    except Invalid as exc:
        raise type(exc)(f"{exc.field}: {exc.reason}", field=field) from exc
    if lower.startswith("nsec1"):
        raise Invalid.at(field, "is a secret key: never share it", hint="its npub is meant here")
    return public_key(text, field)


def _decode_32(prefix: str, text: str) -> bytes:
    raw = bech32_decode(prefix, text)
    if len(raw) != 32:
        raise Invalid.at(prefix, "must carry 32 bytes")
    return raw


def _split(prefix: str, text: str) -> dict[int, list[bytes]]:
    raw = bech32_decode(prefix, text)
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(raw):
        if at + 2 > len(raw) or at + 2 + raw[at + 1] > len(raw):
            raise Invalid.at(prefix, "ends in the middle of an entry")
        end = at + 2 + raw[at + 1]
        found.setdefault(raw[at], []).append(raw[at + 2 : end])
        at = end
    return found


def _needed(prefix: str, found: dict[int, list[bytes]], kind: int, length: int | None) -> bytes:
    if kind not in found:
        raise Invalid.at(prefix, f"has no entry of type {kind}")
    value = found[kind][0]
    if length is not None and len(value) != length:
        raise Invalid.at(prefix, f"its entry of type {kind} must have {length} bytes")
    return value


def _relays_of(prefix: str, found: dict[int, list[bytes]]) -> tuple[str, ...]:
    try:
        # Some clients write an empty hint for "none"; it carries nothing.
        return tuple(value.decode("ascii") for value in found.get(_RELAY, ()) if value)
    except UnicodeDecodeError:
        raise Invalid.at(prefix, "a relay hint is not ASCII") from None


# ---- bech32 (BIP-173, not the later bech32m) -----------------------------------------------------

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_DIGITS = {char: digit for digit, char in enumerate(_ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6


def bech32_encode(prefix: str, raw: bytes, *, text_max: int = TEXT_MAX) -> str:
    """`prefix`, "1", `raw` in five-bit digits and a checksum, lower case. Raises TooLarge."""
    digits = list(_to_digits(raw))
    if len(prefix) + 1 + len(digits) + _CHECKSUM > text_max:
        raise TooLarge(f"is over {text_max} characters", field=prefix)
    # The checksum is what makes the remainder of the whole text 1.
    rest = _remainder(prefix, digits + [0] * _CHECKSUM) ^ 1
    digits += [rest >> 5 * (_CHECKSUM - 1 - place) & 31 for place in range(_CHECKSUM)]
    return f"{prefix}1{''.join(_ALPHABET[digit] for digit in digits)}"


def bech32_decode(prefix: str, text: str, *, text_max: int = TEXT_MAX) -> bytes:
    """The bytes in a text of that prefix, all lower or all upper case. Raises Invalid, TooLarge."""
    if len(text) > text_max:
        raise TooLarge(f"is over {text_max} characters", field=prefix)
    # Some letters outside ASCII turn into ASCII ones when their case changes.
    if not text.isascii() or text not in (text.lower(), text.upper()):
        raise Invalid.at(prefix, "must be ASCII in one case")
    lower = text.lower()
    # No digit is "1", so the last one ends the prefix.
    if lower.rpartition("1")[0] != prefix:
        raise Invalid.at(prefix, f"must start with {prefix}1")
    try:
        digits = [_DIGITS[char] for char in lower[len(prefix) + 1 :]]
    except KeyError:
        raise Invalid.at(prefix, "has a character that bech32 does not use") from None
    if len(digits) < _CHECKSUM or _remainder(prefix, digits) != 1:
        raise Invalid.at(prefix, "its checksum is wrong", hint="was it copied whole?")
    return _from_digits(prefix, digits[:-_CHECKSUM])


def _remainder(prefix: str, digits: list[int]) -> int:
    """The checksum polynomial over the prefix (high bits, 0, low bits of each) and the digits."""
    spread = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    state = 1
    for digit in (*spread, *digits):
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ digit
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                state ^= term
    return state


def _to_digits(raw: bytes) -> Iterator[int]:
    held = bits = 0
    for byte in raw:
        held = held << 8 | byte
        bits += 8
        while bits >= 5:
            bits -= 5
            yield held >> bits & 31
        held &= (1 << bits) - 1
    if bits:
        yield held << 5 - bits & 31


def _from_digits(prefix: str, digits: list[int]) -> bytes:
    out = bytearray()
    held = bits = 0
    for digit in digits:
        held = held << 5 | digit
        bits += 5
        if bits >= 8:
            bits -= 8
            out.append(held >> bits)
            held &= (1 << bits) - 1
    # What is left only fills the last digit: under five bits, all zero, or a value had two names.
    if bits >= 5 or held:
        raise Invalid.at(prefix, "does not end on a whole byte")
    return bytes(out)
