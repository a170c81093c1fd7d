"""Semantic versions (semver.org 2.0.0) and the ranges a caller accepts, as npm reads them.

| range | means |
|---|---|
| `1.2.3`, `=1.2.3` | this one |
| `1.2`, `1.x`, `1.2.x`, `*` | any with these numbers |
| `^1.2.3` | from it up to the next that may break: 2.0.0; of `^0.2.3`: 0.3.0; of `^0.0.3`: 0.0.4 |
| `~1.2.3` | from it up to 1.3.0 |
| `>1.2`, `>=1.2`, `<2`, `<=2` | beyond, or not beyond |
| `>=1.2 <3` | all of them |
| `^1 \\|\\| ^3` | one of them |

A pre-release (`2.0.0-rc.1`) is in a range only if the range names a pre-release of the same three
numbers: nobody gets one unasked.
"""

import re
from typing import Literal

import msgspec

from hanse.errors import Invalid

VERSION_MAX = 64
RANGE_MAX = 256
PARTS_MAX = 16
"""Alternatives in a range, and conditions in each."""

_NUMBER = r"(0|[1-9]\d{0,14})"
_WORD = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_TAIL = rf"(?:-({_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}{_TAIL}", re.ASCII)
_ANY = r"(?:0|[1-9]\d{0,14}|[xX*])"
_PARTIAL = re.compile(
    rf"(\^|~|>=|<=|>|<|=)?v?({_ANY})(?:\.({_ANY})(?:\.({_ANY}){_TAIL})?)?", re.ASCII
)
_GAP = re.compile(r"(\^|~|>=|<=|>|<|=)\s+", re.ASCII)

Operator = Literal["<", "<=", ">", ">=", "="]
Word = tuple[int, int, str]


class Version(msgspec.Struct, frozen=True):
    """Three numbers and, of a pre-release, its words. Build metadata is not part of it: two
    versions that differ in it alone have the same precedence."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Without the pre-release."""
        return self.major, self.minor, self.patch

    @property
    def precedence(self) -> tuple[int, int, int, int, tuple[Word, ...]]:
        """What versions are ordered by (semver 11): a pre-release is before its release, numbers
        in it before words."""
        words = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in self.pre)
        return (*self.numbers, 0 if self.pre else 1, words)

    def __str__(self) -> str:
        head = f"{self.major}.{self.minor}.{self.patch}"
        return f"{head}-{'.'.join(self.pre)}" if self.pre else head


class Condition(msgspec.Struct, frozen=True):
    """One bound of a range."""

    operator: Operator
    than: Version

    def holds(self, version: Version) -> bool:
        """Whether a version is on the right side."""
        a, b = version.precedence, self.than.precedence
        match self.operator:
            case "<":
                return a < b
            case "<=":
                return a <= b
            case ">":
                return a > b
            case ">=":
                return a >= b
            case "=":
                return a == b


class Range(msgspec.Struct, frozen=True):
    """Versions a caller accepts: those that meet all conditions of one of the alternatives."""

    text: str
    alternatives: tuple[tuple[Condition, ...], ...]

    def has(self, version: Version) -> bool:
        """Whether a version is in the range."""
        return any(_meets(version, conditions) for conditions in self.alternatives)

    def __str__(self) -> str:
        return self.text


def _meets(version: Version, conditions: tuple[Condition, ...]) -> bool:
    if not all(condition.holds(version) for condition in conditions):
        return False
    return not version.pre or any(
        condition.than.pre and condition.than.numbers == version.numbers for condition in conditions
    )


def read_version(text: str, field: str = "version") -> Version:
    """A version from its text. Raises Invalid."""
    found = _VERSION.fullmatch(text) if len(text) <= VERSION_MAX else None
    if found is None:
        reason = f"{text[:32]!r} is not a semantic version"
        raise Invalid.at(field, reason, "write MAJOR.MINOR.PATCH, like 1.4.0")
    major, minor, patch, pre = found.groups()
    return Version(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else ())


def read_range(text: str, field: str = "version") -> Range:
    """A range from its text. Raises Invalid."""
    if len(text) > RANGE_MAX:
        raise Invalid.at(field, f"is over {RANGE_MAX} characters")
    alternatives = text.split("||")
    if len(alternatives) > PARTS_MAX:
        raise Invalid.at(field, f"has more than {PARTS_MAX} alternatives")
    return Range(text.strip(), tuple(_conditions(one, field) for one in alternatives))


def breaks_allowed(old: Version, new: Version) -> bool:
    """Whether `new` may break what `old` promised: it is later, and not in `^old`."""
    return new.precedence >= _before(_caret_end(old)).precedence


def _conditions(text: str, field: str) -> tuple[Condition, ...]:
    parts = _GAP.sub(r"\1", text.strip()).split()
    if not parts or len(parts) > PARTS_MAX:
        raise Invalid.at(field, "is empty or has too many conditions", 'write "^2" or ">=1.2 <3"')
    found: list[Condition] = []
    for part in parts:
        read = _PARTIAL.fullmatch(part)
        if read is None:
            reason = f"{part[:32]!r} is not a range of versions"
            raise Invalid.at(field, reason, 'write "^2", "~1.2", "1.x" or ">=1.2 <3"')
        found += _condition(*read.groups())
    return tuple(found)


def _condition(
    operator: str | None, major: str, minor: str | None, patch: str | None, pre: str | None
) -> list[Condition]:
    given: list[int] = []
    for number in (major, minor, patch):
        if number is None or not number.isdigit():
            break  # what stands after a wildcard says nothing
        given.append(int(number))
    full = len(given) == 3
    words = tuple(pre.split(".")) if pre and full else ()
    least = _filled(given, words)
    if not given:
        nothing = operator in ("<", ">")
        return [Condition("<" if nothing else ">=", Version(0, 0, 0, ("0",) if nothing else ()))]
    after = _next(given)
    match operator:
        case None | "=":
            return [Condition("=", least)] if full else _between(least, after)
        case "^":
            return _between(least, _caret_end(least, len(given)))
        case "~":
            return _between(least, _next(given[:2]))
        case ">=":
            return [Condition(">=", least)]
        case ">":
            return [Condition(">", least) if full else Condition(">=", after)]
        case "<":
            return [Condition("<", least if full else _before(least))]
        case _:
            return [Condition("<=", least) if full else Condition("<", _before(after))]


def _between(least: Version, end: Version) -> list[Condition]:
    return [Condition(">=", least), Condition("<", _before(end))]


def _before(version: Version) -> Version:
    """The first pre-release: what is below it has none of that version."""
    return Version(*version.numbers, ("0",))


def _next(given: list[int]) -> Version:
    """The first version after all that begin with these numbers."""
    return _filled([*given[:-1], given[-1] + 1])


def _filled(given: list[int], pre: tuple[str, ...] = ()) -> Version:
    major, minor, patch = (*given, 0, 0, 0)[:3]
    return Version(major, minor, patch, pre)


def _caret_end(version: Version, given: int = 3) -> Version:
    """The first version that may break: the leftmost number that is not 0 goes up."""
    for index, number in enumerate(version.numbers[:given]):
        if number or index == given - 1:
            return _next(list(version.numbers[: index + 1]))
    raise AssertionError("a caret stands before at least one number")


def raised(version: Version, level: str) -> Version:
    """The next version for a change of this level: `major`, `minor` or `patch`. Below 1.0.0 each
    counts one number further to the right, as carets read it."""
    if version.pre and level != "major":
        return Version(*version.numbers)  # its own release is yet to come
    place = ("major", "minor", "patch").index(level)
    if not version.major:
        place = min(2, place + (1 if version.minor else 2 if not place else 1))
    return _next(list(version.numbers[: place + 1]))
