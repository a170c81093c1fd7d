"""Proof of work on an event: NIP-13.

Owns the counting, the rule for what is enough, and the search for a nonce. The work is the number
of leading zero bits of the event's id; `["nonce", n, target]` says what the writer aimed for.
"""

from collections.abc import Callable

from hanse.errors import Invalid
from hanse.protocol.keys import is_hex

_BITS = 256


def difficulty(event_id: str) -> int:
    """Leading zero bits of an id of 64 hex characters, 0 to 256. Raises Invalid."""
    if not is_hex(event_id, 64):
        raise Invalid.at("id", "must be 64 lower-case hex characters")
    return _BITS - int(event_id, 16).bit_length()


def committed_target(tags: tuple[tuple[str, ...], ...]) -> int | None:
    """The bits the first `nonce` tag aims for, or None if it names none."""
    for tag in tags:
        if tag and tag[0] == "nonce":
            target = tag[2] if len(tag) > 2 else ""
            # Three characters hold any target, and keep int() away from endless digits.
            if 0 < len(target) <= 3 and target.isascii() and target.isdecimal():
                return int(target)
            return None
    return None


def shortfall(event_id: str, tags: tuple[tuple[str, ...], ...], minimum: int) -> str | None:
    """Why the work is under `minimum` bits, or None if it is enough. Raises Invalid for a bad id.

    NIP-13 lets a reader refuse work without a commitment. We do: otherwise who aims low and is
    lucky would just leave it out. A commitment the id does not reach bounds nothing, so it does
    not count either.
    """
    if minimum <= 0:
        return None
    found = difficulty(event_id)
    if found < minimum:
        return f"difficulty {found} is under {minimum}"
    target = committed_target(tags)
    if target is None:
        return f"the nonce tag commits to no target, {minimum} or more is needed"
    if target < minimum:
        return f"the committed target {target} is under {minimum}"
    if target > found:
        return f"difficulty {found} is under its committed target {target}"
    return None


def mine(id_of: Callable[[int], str], target: int, *, attempts: int, start: int = 0) -> int | None:
    """The first nonce from `start` on whose id has `target` bits, or None after `attempts`.

    `id_of` gives the id of the event with that nonce in its tag. Another process can go on from
    `start + attempts`. Raises Invalid.
    """
    if not 0 <= target <= _BITS:
        raise Invalid.at("target", f"must lie between 0 and {_BITS}")
    for nonce in range(start, start + attempts):
        if difficulty(id_of(nonce)) >= target:
            return nonce
    return None
