"""Money as a value: a whole number of millisatoshi, never a bare int and never a float."""

import re

import msgspec

from hanse.errors import Invalid

MSAT_PER_SAT = 1000
AMOUNT_MAX_MSAT = 2**53 - 1
"""90,000 bitcoin: what every JSON reader carries exactly, and a thousandth of what an account's
turnover may reach in SQLite's integers."""

_TEXT = re.compile(r"^\s*(\d{1,19})(?:\.(\d{1,3}))?\s*(msat|sats?)\s*$", re.IGNORECASE)


class Amount(msgspec.Struct, frozen=True):
    """A non-negative sum of money in millisatoshi."""

    msat: int

    def __post_init__(self) -> None:
        if type(self.msat) is not int or not 0 <= self.msat <= AMOUNT_MAX_MSAT:
            raise Invalid.at("amount", f"must be 0 to {AMOUNT_MAX_MSAT} msat")

    @classmethod
    def parse(cls, text: str, field: str = "amount") -> "Amount":
        """From "2sat", "2.5 sat" or "500msat". Raises Invalid."""
        found = _TEXT.match(text)
        if not found:
            raise Invalid.at(field, f"{text[:40]!r} is not an amount", 'write "2sat" or "500msat"')
        whole, fraction, unit = found.groups()
        if unit.lower() == "msat":
            if fraction:
                raise Invalid.at(field, "a millisatoshi has no fractions")
            return cls(int(whole))
        return cls(int(whole) * MSAT_PER_SAT + int((fraction or "0").ljust(3, "0")))

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.msat + other.msat)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.msat - other.msat)

    # Written out: functools.total_ordering takes Struct's own comparisons for ours.
    def __lt__(self, other: "Amount") -> bool:
        return self.msat < other.msat

    def __le__(self, other: "Amount") -> bool:
        return self.msat <= other.msat

    def __gt__(self, other: "Amount") -> bool:
        return self.msat > other.msat

    def __ge__(self, other: "Amount") -> bool:
        return self.msat >= other.msat

    def __str__(self) -> str:
        return format_msat(self.msat)


def format_msat(msat: int) -> str:
    """Signed msat for eyes: "12.5 sat"."""
    sign, rest = ("-", -msat) if msat < 0 else ("", msat)
    sats, fraction = divmod(rest, MSAT_PER_SAT)
    tail = f".{fraction:03d}".rstrip("0") if fraction else ""
    return f"{sign}{sats:,}{tail} sat"
