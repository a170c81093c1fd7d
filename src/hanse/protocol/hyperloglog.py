"""Counting distinct authors in 256 bytes (NIP-45): HyperLogLog registers, into which the answers of
several relays can be merged.

    offset     8 + the hex digit at position 32 of what the filter's first tag value names
    register   the byte of the author's key at `offset`
    value      zero bits from `offset + 1` on, plus one; the greatest seen stays
"""

import hashlib
import math
from collections.abc import Iterable

from hanse.errors import Invalid
from hanse.protocol.keys import is_hex

REGISTERS = 256
NONE = bytes(REGISTERS)
"""The registers over nobody."""


def offset_of(target: str) -> int:
    """Where in an author's key to look, from the first value of a filter's first tag condition."""
    parts = target.split(":", 2)
    if is_hex(target, 64):
        named = target
    elif len(parts) == 3 and parts[0].isdigit() and is_hex(parts[1], 64):
        named = parts[1]
    else:
        named = hashlib.sha256(target.encode()).hexdigest()
    return int(named[32], 16) + 8


def registers_of(target: str, pubkeys: Iterable[bytes]) -> bytes:
    """The registers over these authors' keys (32 bytes each; one key twice counts once)."""
    offset = offset_of(target)
    bits = 8 * (31 - offset)
    found = bytearray(REGISTERS)
    for pubkey in pubkeys:
        value = bits + 1 - int.from_bytes(pubkey[offset + 1 :]).bit_length()
        if value > found[pubkey[offset]]:
            found[pubkey[offset]] = value
    return bytes(found)


def merge(one: bytes, other: bytes) -> bytes:
    """The registers over both sets of authors."""
    return bytes(max(pair) for pair in zip(one, other, strict=True))


def parse_registers(text: str) -> bytes:
    """Registers from their 512 hex digits. Raises Invalid."""
    if not is_hex(text, 2 * REGISTERS):
        raise Invalid.at("hll", f"must be {2 * REGISTERS} lower-case hex characters")
    return bytes.fromhex(text)


def estimate(registers: bytes) -> int:
    """About how many distinct authors: within 7 % two times out of three."""
    size = len(registers)
    raw = 0.7213 / (1 + 1.079 / size) * size * size / sum(2.0**-value for value in registers)
    empty = registers.count(0)
    if raw <= 2.5 * size and empty:
        return round(size * math.log(size / empty))  # few authors: count the empty registers
    return round(raw)
