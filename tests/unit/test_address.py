"""NIP-19 addresses: the NIP's examples, the parts that may vary, and what is refused."""

from collections.abc import Callable

import pytest

from hanse.errors import Invalid, TooLarge
from hanse.protocol import address
from hanse.protocol.address import (
    AddressPointer,
    EventPointer,
    Profile,
    bech32_decode,
    bech32_encode,
)
from hanse.protocol.keys import PublicKey, SecretKey

NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
NPUB_HEX = PublicKey("7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e")
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
NSEC_HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
NPROFILE = (
    "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4"
    "mhxue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p"
)
PROFILE = Profile(
    pubkey=PublicKey("3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"),
    relays=("wss://r.x.com", "wss://djbas.sadkb.com"),
)
KEY = bytes.fromhex(NPUB_HEX)
DECODERS: dict[str, Callable[[str], object]] = {
    "npub": address.decode_npub,
    "nsec": address.decode_nsec,
    "note": address.decode_note,
    "nprofile": address.decode_nprofile,
    "nevent": address.decode_nevent,
    "naddr": address.decode_naddr,
}


def entries(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(bytes((kind, len(value))) + value for kind, value in parts)


# ---- What the NIP shows --------------------------------------------------------------------------


def test_the_public_key_of_the_nip_reads_and_writes() -> None:
    assert address.decode_npub(NPUB) == NPUB_HEX
    assert address.encode_npub(NPUB_HEX) == NPUB


def test_the_secret_key_of_the_nip_reads_and_writes() -> None:
    assert address.decode_nsec(NSEC).hex() == NSEC_HEX
    assert address.encode_nsec(SecretKey.from_hex(NSEC_HEX)) == NSEC


def test_the_profile_of_the_nip_reads_and_writes() -> None:
    assert address.decode_nprofile(NPROFILE) == PROFILE
    assert address.encode_nprofile(PROFILE) == NPROFILE


def test_an_event_id_reads_back_from_its_note() -> None:
    assert address.encode_note(NSEC_HEX).startswith("note1")
    assert address.decode_note(address.encode_note(NSEC_HEX)) == NSEC_HEX


@pytest.mark.parametrize(
    "pointer",
    [
        EventPointer(id=NSEC_HEX),
        EventPointer(id=NSEC_HEX, kind=0),
        EventPointer(id=NSEC_HEX, relays=("wss://a",), author=NPUB_HEX, kind=65535),
    ],
)
def test_an_event_pointer_reads_back(pointer: EventPointer) -> None:
    assert address.decode_nevent(address.encode_nevent(pointer)) == pointer


@pytest.mark.parametrize("identifier", ["", "offer", "ünïcode", "x" * 255])
def test_an_address_pointer_reads_back(identifier: str) -> None:
    pointer = AddressPointer(
        identifier=identifier, pubkey=NPUB_HEX, kind=31402, relays=("wss://a", "wss://b")
    )
    assert address.decode_naddr(address.encode_naddr(pointer)) == pointer


# ---- What may vary -------------------------------------------------------------------------------


def test_an_address_in_upper_case_reads_the_same() -> None:
    assert address.decode_npub(NPUB.upper()) == NPUB_HEX


def test_unknown_entries_are_skipped() -> None:
    raw = entries((9, b"?"), (0, KEY), (200, b""), (1, b"wss://a"), (9, b"!" * 255))
    found = address.decode_nprofile(bech32_encode("nprofile", raw))
    assert found == Profile(pubkey=NPUB_HEX, relays=("wss://a",))


def test_the_first_of_two_keys_counts() -> None:
    raw = entries((0, KEY), (0, bytes(32)))
    assert address.decode_nprofile(bech32_encode("nprofile", raw)).pubkey == NPUB_HEX


def test_an_empty_relay_hint_is_no_hint() -> None:
    raw = entries((1, b""), (0, KEY))
    assert address.decode_nprofile(bech32_encode("nprofile", raw)).relays == ()


def test_a_public_key_is_read_in_each_form_people_write() -> None:
    for text in (NPUB_HEX, NPUB, NPUB.upper(), address.encode_nprofile(Profile(pubkey=NPUB_HEX))):
        assert address.read_public_key(text) == NPUB_HEX


def test_a_secret_where_a_public_key_is_wanted_is_refused_without_repeating_it() -> None:
    with pytest.raises(Invalid) as caught:
        address.read_public_key(NSEC, "owner")
    assert caught.value.field == "owner"
    assert "secret" in caught.value.reason
    assert NSEC[5:12] not in caught.value.text


@pytest.mark.parametrize("text", ["", "npub", "alice", NPUB_HEX.upper(), NPUB_HEX[:-1]])
def test_a_public_key_in_no_known_form_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        address.read_public_key(text)


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", DECODERS)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda good: "", "must start with"),
        (lambda good: good[:-1], "checksum"),
        (lambda good: good[:-1] + ("q" if good[-1] != "q" else "p"), "checksum"),
        (lambda good: good[:10] + good[10:].upper(), "one case"),
        (lambda good: good[:-1] + "é", "one case"),
        (lambda good: good[:-1] + "b", "does not use"),
        (lambda good: " " + good, "must start with"),
        (lambda good: good + "\n", "does not use"),
        (lambda good: good.replace("1", "", 1), "must start with"),
        (lambda good: good.split("1")[0] + "1", "checksum"),
        (lambda good: "nostr1" + good.split("1")[1], "must start with"),
    ],
)
def test_a_spoilt_address_is_refused_with_its_reason(
    prefix: str, spoil: Callable[[str], str], reason: str
) -> None:
    good = bech32_encode(prefix, KEY)
    with pytest.raises(Invalid, match=reason) as caught:
        DECODERS[prefix](spoil(good))
    assert caught.value.field == prefix


@pytest.mark.parametrize("prefix", DECODERS)
def test_an_address_of_another_kind_is_refused(prefix: str) -> None:
    other = "note" if prefix != "note" else "npub"
    with pytest.raises(Invalid, match=f"must start with {prefix}1"):
        DECODERS[prefix](bech32_encode(other, KEY))


@pytest.mark.parametrize("prefix", ["npub", "nsec", "note"])
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_bare_key_of_another_length_is_refused(prefix: str, length: int) -> None:
    with pytest.raises(Invalid, match="32 bytes"):
        DECODERS[prefix](bech32_encode(prefix, bytes(length)))


@pytest.mark.parametrize(
    ("prefix", "raw", "reason"),
    [
        ("nprofile", b"", "no entry of type 0"),
        ("nprofile", entries((1, b"wss://a")), "no entry of type 0"),
        ("nprofile", entries((0, KEY[:31])), "32 bytes"),
        ("nprofile", entries((0, KEY)) + b"\x01", "middle"),
        ("nprofile", entries((0, KEY)) + b"\x01\x05abcd", "middle"),
        ("nprofile", entries((0, KEY), (1, "wss://é".encode())), "not ASCII"),
        ("nprofile", entries((0, KEY), (1, b"wss://a b")), "visible ASCII"),
        ("nevent", entries((0, KEY), (2, b"")), "32 bytes"),
        ("nevent", entries((0, KEY), (3, b"\x00\x01")), "4 bytes"),
        ("nevent", entries((0, KEY), (3, b"\x00\x01\x00\x00")), "65535"),
        ("naddr", entries((2, KEY), (3, bytes(4))), "no entry of type 0"),
        ("naddr", entries((0, b"d"), (3, bytes(4))), "no entry of type 2"),
        ("naddr", entries((0, b"d"), (2, KEY)), "no entry of type 3"),
        ("naddr", entries((0, b"\xff"), (2, KEY), (3, bytes(4))), "not UTF-8"),
    ],
)
def test_malformed_entries_are_refused(prefix: str, raw: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        DECODERS[prefix](bech32_encode(prefix, raw))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Profile(pubkey=PublicKey(NPUB_HEX.upper())),
        lambda: Profile(pubkey=NPUB_HEX, relays=("",)),
        lambda: Profile(pubkey=NPUB_HEX, relays=("wss://é",)),
        lambda: Profile(pubkey=NPUB_HEX, relays=("x" * 256,)),
        lambda: EventPointer(id="00"),
        lambda: EventPointer(id=NSEC_HEX, author=PublicKey("00")),
        lambda: EventPointer(id=NSEC_HEX, kind=-1),
        lambda: EventPointer(id=NSEC_HEX, kind=65536),
        lambda: AddressPointer(identifier="é" * 128, pubkey=NPUB_HEX, kind=30000),
        lambda: AddressPointer(identifier="\ud800", pubkey=NPUB_HEX, kind=30000),
        lambda: address.encode_npub(PublicKey("00")),
        lambda: address.encode_note("zz" * 32),
    ],
)
def test_a_value_that_could_not_be_written_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(Invalid):
        build()


def test_an_address_over_5000_characters_is_neither_written_nor_read() -> None:
    with pytest.raises(TooLarge):
        address.encode_nprofile(Profile(pubkey=NPUB_HEX, relays=("wss://" + "x" * 200,) * 16))
    with pytest.raises(TooLarge):
        address.decode_nprofile("nprofile1" + "q" * 4992)


def test_an_address_of_exactly_5000_characters_reads_back() -> None:
    # 14 hints of 205 bytes and one of 163 bring it to 3115 bytes: 4984 digits, 15 around them.
    relays = ("wss://" + "x" * 199,) * 14
    for last in range(150, 255):
        profile = Profile(pubkey=NPUB_HEX, relays=(*relays, "y" * last))
        raw_size = 34 + 14 * 207 + 2 + last
        if len("nprofile1") + -(-raw_size * 8 // 5) + 6 > 5000:
            break
        text = address.encode_nprofile(profile)
        assert address.decode_nprofile(text) == profile
    assert len(text) in (4999, 5000)


# ---- bech32 --------------------------------------------------------------------------------------


def test_bech32_refuses_a_checksum_of_bech32m() -> None:
    # BIP-350's own example with the prefix "a" and nothing in it; BIP-173's is the second.
    with pytest.raises(Invalid, match="checksum"):
        bech32_decode("a", "a1lqfn3a")
    assert bech32_decode("a", "A12UEL5L") == b""


def test_bech32_refuses_bits_left_over() -> None:
    # One byte takes two digits and leaves two bits, which must be zero: else it had four names.
    good = bech32_encode("x", b"\xff")
    assert bech32_decode("x", good) == b"\xff"
    refused = 0
    for digits in ("ll", "lp", "l", "lll", "q", "luq"):
        for check in _checksums("x", digits):
            with pytest.raises(Invalid, match="whole byte"):
                bech32_decode("x", f"x1{digits}{check}")
            refused += 1
    assert refused == 6


def _checksums(prefix: str, digits: str) -> list[str]:
    """The checksum of digits that no run of bytes gives."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    values = [alphabet.index(char) for char in digits]
    rest = address._remainder(prefix, values + [0] * 6) ^ 1
    return ["".join(alphabet[rest >> 5 * (5 - place) & 31] for place in range(6))]


def test_an_error_never_repeats_a_secret() -> None:
    body = NSEC[5:-1]
    for text in (NSEC[:-1] + "q", NSEC + "!", NSEC[:-1], f"npub1{body}", NSEC.title()):
        for decode in DECODERS.values():
            with pytest.raises(Invalid) as caught:
                decode(text)
            shown = f"{caught.value} {caught.value.as_dict()} {caught.value!r}".lower()
            assert not any(body[at : at + 6] in shown for at in range(len(body) - 6))
