"""HyperLogLog: where NIP-45 says to look, what it counts, and how well it estimates."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.protocol.hyperloglog import (
    REGISTERS,
    estimate,
    merge,
    offset_of,
    parse_registers,
    registers_of,
)

ID = "0" * 32 + "a" + "0" * 31
keys = st.lists(st.binary(min_size=32, max_size=32), max_size=30)


def authors(start: int, end: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(start, end)]


@pytest.mark.parametrize(
    ("target", "offset"),
    [
        (ID, 18),
        (ID.replace("a", "0"), 8),
        (ID.replace("a", "f"), 23),
        (f"30023:{ID}:some:thing", 18),
        (f"3:{ID}:", 18),
        (f"x:{ID}:", int(hashlib.sha256(f"x:{ID}:".encode()).hexdigest()[32], 16) + 8),
        ("nostr", int(hashlib.sha256(b"nostr").hexdigest()[32], 16) + 8),
        (ID.upper(), int(hashlib.sha256(ID.upper().encode()).hexdigest()[32], 16) + 8),
    ],
)
def test_where_to_look_comes_from_the_filter_s_first_tag_value(target: str, offset: int) -> None:
    assert offset_of(target) == offset


def test_a_register_holds_the_zero_bits_after_its_byte_and_one_more() -> None:
    key = bytearray(32)
    key[18], key[19], key[20] = 7, 0, 0b0001_0000
    found = registers_of(ID, [bytes(key)])
    assert found[7] == 8 + 3 + 1
    assert sum(found) == found[7]


def test_a_key_of_zeros_stays_within_a_byte() -> None:
    assert registers_of(ID, [bytes(32)])[0] == 8 * 13 + 1


@given(keys, keys)
def test_merged_registers_are_those_over_both(one: list[bytes], other: list[bytes]) -> None:
    both = registers_of(ID, one + other)
    assert merge(registers_of(ID, one), registers_of(ID, other)) == both
    assert registers_of(ID, one + other + one) == both
    assert parse_registers(both.hex()) == both


@pytest.mark.parametrize("size", [0, 1, 10, 300, 1000, 20_000])
def test_an_estimate_is_near_the_number_of_authors(size: int) -> None:
    found = estimate(registers_of(ID, authors(0, size)))
    assert abs(found - size) <= 0.2 * size


def test_two_relays_that_share_authors_count_each_once() -> None:
    one, other = registers_of(ID, authors(0, 3000)), registers_of(ID, authors(1000, 4000))
    assert abs(estimate(merge(one, other)) - 4000) < 800


@pytest.mark.parametrize("text", ["", "00", "0" * 511 + "G", "A" * 512])
def test_registers_are_256_bytes_of_hex(text: str) -> None:
    with pytest.raises(Invalid):
        parse_registers(text)
    assert len(parse_registers("00" * REGISTERS)) == REGISTERS
