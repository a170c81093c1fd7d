"""Quantities as people type them."""

import re
from typing import TYPE_CHECKING

from hanse.errors import Invalid

if TYPE_CHECKING:
    from hanse.servers.relay.buckets import Rate

_TIME = re.compile(r"^\s*([0-9]{1,9})(?:\.([0-9]{1,3}))?\s*(ms|s|min)?\s*$")
_RATE = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)/([0-9]{1,8})")
_AGES = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_AGE = re.compile(r"([1-9][0-9]{0,8})(s|min|h|d|w|y)")
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BOUND = re.compile(r"([1-9][0-9]{0,14})(KB|MB|GB|TB|events)")
_FACTORS = {"ms": 1, "s": 1000, "min": 60_000, None: 1}


def milliseconds(text: str, field: str) -> int:
    """ "500ms", "2s", "1.5s" or plain milliseconds. Raises Invalid."""
    found = _TIME.match(text)
    if not found:
        raise Invalid.at(field, f"{text[:40]!r} is not a time", 'write "500ms" or "2s"')
    whole, fraction, unit = found.groups()
    factor = _FACTORS[unit]
    parts = round(float(f"0.{fraction or 0}") * factor)
    return int(whole) * factor + parts


def share(text: str, field: str) -> float:
    """ "0.99" or "99%" as 0 to 1. Raises Invalid."""
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as exc:
        raise Invalid.at(field, f"{text[:40]!r} is not a share", 'write "0.99" or "99%"') from exc
    if not 0 <= found <= 1:
        raise Invalid.at(field, "must be 0 to 1", 'write "0.99" or "99%"')
    return found


def event_rate(text: str, field: str) -> "Rate":
    """ "50/500": so many a second, so many at once. Raises Invalid."""
    from hanse.servers.relay.buckets import Rate

    found = _RATE.fullmatch(text)
    if not found or not float(found[1]) or not int(found[2]):
        raise Invalid.at(field, f"{text[:40]!r} is not a rate", 'write "50/500"')
    return Rate(float(found[1]), int(found[2]))


def age_s(text: str, field: str) -> int:
    """ "90d", "12h", "2y" in seconds. Raises Invalid."""
    found = _AGE.fullmatch(text)
    if not found:
        raise Invalid.at(field, f"{text[:40]!r} is not an age", 'write "90d", "12h" or "30min"')
    return int(found[1]) * _AGES[found[2]]


def kind_age_s(text: str, field: str) -> tuple[int, int]:
    """ "1=90d" as a kind and seconds. Raises Invalid."""
    kind, equals, age = text.partition("=")
    if not (equals and kind.isascii() and kind.isdigit() and len(kind) <= 5):
        raise Invalid.at(field, f"{text[:40]!r} is not KIND=AGE", 'write "1=90d"')
    return int(kind), age_s(age, field)


def log_bound(text: str, field: str) -> tuple[int | None, int | None]:
    """ "1000000events" as events, "10GB" as bytes; the other is None. Raises Invalid."""
    found = _BOUND.fullmatch(text)
    if not found:
        hint = 'write "10GB" or "1000000events"'
        raise Invalid.at(field, f"{text[:40]!r} is not a size with its unit", hint)
    count, unit = int(found[1]), found[2]
    return (count, None) if unit == "events" else (None, count * _SIZES[unit])
