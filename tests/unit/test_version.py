"""Semantic versions and the ranges of callers, by the examples of their specifications."""

import pytest

from hanse.errors import Invalid
from hanse.registry.version import breaks_allowed, read_range, read_version


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3 "),
        *("1.2.3-a..b", "1.2.3-ä", "٣.1.1", "1." * 40 + "1", "-1.2.3", "1.2.3\n"),
    ],
)
def test_what_is_no_semantic_version_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not a semantic version"):
        read_version(text)


def test_precedence_is_that_of_the_specification() -> None:
    ordered = [
        *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"),
        *("1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"),
    ]
    read = [read_version(text) for text in ordered]
    assert sorted(read, key=lambda one: one.precedence) == read
    assert read_version("1.0.0+a").precedence == read_version("1.0.0+b").precedence


@pytest.mark.parametrize(
    ("range", "inside", "outside"),
    [
        ("^2", "2.0.0 2.9.9", "1.9.9 3.0.0 3.0.0-rc.1 2.1.0-rc.1"),
        ("^1.2.3", "1.2.3 1.3.0", "1.2.2 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("^1.2.3-beta.2", "1.2.3-beta.3 1.2.3 1.9.0", "1.2.3-beta.1 1.2.4-beta.2"),
        ("~1.2", "1.2.0 1.2.9", "1.3.0 1.1.9"),
        ("~1.2.3", "1.2.3", "1.2.2 1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        (">=1.2 <3", "1.2.0 2.9.9", "1.1.9 3.0.0 3.0.0-rc.1"),
        (">= 1.2  < 3", "1.2.0", "3.0.0"),
        ("1.x", "1.0.0 1.9.9", "2.0.0 0.9.0"),
        ("1.2.*", "1.2.7", "1.3.0"),
        ("1.2.3", "1.2.3 1.2.3+build", "1.2.4"),
        ("*", "0.0.0 9.9.9", "1.0.0-rc.1"),
        (">1.2", "1.3.0", "1.2.9"),
        (">1.2.3", "1.2.4", "1.2.3"),
        ("<=1.2", "1.2.9", "1.3.0"),
        ("<1.2", "1.1.9", "1.2.0 1.2.0-rc.1"),
        (">x", "", "0.0.0 9.9.9"),
        ("^1 || ^3", "1.4.0 3.1.0", "2.0.0 4.0.0"),
    ],
)
def test_a_range_has_what_npm_says_it_has(range: str, inside: str, outside: str) -> None:
    read = read_range(range)
    assert [text for text in inside.split() if not read.has(read_version(text))] == []
    assert [text for text in outside.split() if read.has(read_version(text))] == []


@pytest.mark.parametrize(
    "text", ["", " ", "||", "^", "^2 ||", "two", "1.2.3.4", ">", "1-2", "^" * 300, "1||" * 20 + "1"]
)
def test_what_is_no_range_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_range(text, "constraints.version")
    assert caught.value.field == "constraints.version"


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("1.2.3", "2.0.0", True),
        ("1.2.3", "1.3.0", False),
        ("1.2.3", "1.2.3", False),
        ("2.0.0", "1.0.0", False),
        ("0.2.0", "0.3.0", True),
        ("0.2.0", "0.2.1", False),
        ("0.0.1", "0.0.2", True),
        ("1.0.0", "2.0.0-rc.1", True),
        ("2.0.0-rc.1", "2.0.0", False),
    ],
)
def test_only_the_next_version_outside_the_caret_may_break(
    old: str, new: str, allowed: bool
) -> None:
    assert breaks_allowed(read_version(old), read_version(new)) is allowed
