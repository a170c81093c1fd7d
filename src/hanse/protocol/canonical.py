"""JSON from strangers: bounded when read, canonical (RFC 8785) when hashed.

Sizes are UTF-8 bytes; depth counts nested arrays and objects.
"""

import hashlib
import re
from typing import Any

import orjson
import rfc8785

from hanse.errors import Invalid, TooLarge

DEPTH_MAX = 64
"""Nesting nobody needs, and our own recursion (schema checks, canonical form) survives."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
# Possessive, and the end is optional: a string that never ends is passed over once. Trying again
# from each of its escaped quotes took minutes for one message.


def read_json(text: str | bytes, field: str, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> Any:
    """Decode JSON no larger or deeper than the bounds. Raises Invalid or TooLarge."""
    try:
        raw = text.encode() if isinstance(text, str) else text
    except UnicodeError as exc:  # a lone surrogate
        raise Invalid.at(field, "is not JSON") from exc
    if len(raw) > bytes_max:
        raise TooLarge(f"is over {bytes_max} bytes", field=field)
    bound_depth(raw, field, depth_max)
    try:
        return orjson.loads(raw)
    except ValueError as exc:
        raise Invalid.at(field, "is not JSON") from exc


def bound_depth(raw: bytes, field: str, depth_max: int) -> None:
    """Refuse JSON text nested deeper than `depth_max`. Raises TooLarge."""
    # Counting brackets is a C-speed upper bound that nearly every message passes.
    if raw.count(b"[") + raw.count(b"{") <= depth_max:
        return
    depth = 0
    for byte in _STRING.sub(b"", raw):
        if byte in b"[{":
            depth += 1
            if depth > depth_max:
                raise TooLarge(f"is nested over {depth_max} levels", field=field)
        elif byte in b"]}":
            depth -= 1


def canonical(value: Any, field: str = "value") -> bytes:
    """RFC 8785 (JCS) bytes of a decoded JSON value. Raises Invalid for what JCS cannot carry:
    integers beyond 2^53 and numbers that are not finite."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as exc:
        raise Invalid.at(field, f"has no canonical JSON form: {exc}") from exc


def digest_hex(value: Any, field: str = "value") -> str:
    """sha256 of the canonical form, 64 hex characters."""
    return hashlib.sha256(canonical(value, field)).hexdigest()
