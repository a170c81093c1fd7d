"""Filters: each condition by itself, how they combine, and what is no filter."""

from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import ITEMS_MAX, SEARCH_MAX, Filter, parse_filter
from hanse.protocol.keys import SecretKey

KEY = SecretKey(bytes([9]) * 32)
E1, E2 = "11" * 32, "22" * 32
EVENT = sign_event(
    KEY,
    kind=1,
    created_at=1000,
    content="Hello, big-World: it isOver",
    tags=[["e", E1, "wss://relay"], ["e", E2], ["t", "a"], ["t"], [], ["long", "x"], ["T", "B"]],
)


def matches(**conditions: Any) -> bool:
    names = {f"#{key[4:]}" if key.startswith("tag_") else key: key for key in conditions}
    return parse_filter({name: conditions[key] for name, key in names.items()}).matches(EVENT)


def test_an_empty_filter_matches_everything() -> None:
    assert parse_filter({}).matches(EVENT)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"ids": [EVENT.id, E1]}, True),
        ({"ids": [E1]}, False),
        ({"ids": []}, False),
        ({"authors": [KEY.public]}, True),
        ({"authors": [E1]}, False),
        ({"authors": []}, False),
        ({"kinds": [0, 1]}, True),
        ({"kinds": [2]}, False),
        ({"kinds": []}, False),
        ({"since": 1000}, True),
        ({"since": 1001}, False),
        ({"until": 1000}, True),
        ({"until": 999}, False),
        ({"since": 1000, "until": 1000}, True),
        ({"limit": 0}, True),
        ({"tag_e": [E2]}, True),
        ({"tag_e": ["33" * 32]}, False),
        ({"tag_e": []}, False),
        ({"tag_t": ["a", "b"]}, True),
        ({"tag_t": ["A"]}, False),
        ({"tag_T": ["B"]}, True),
        ({"tag_T": ["a"]}, False),
        ({"tag_l": ["x"]}, False),
        ({"tag_e": [E1], "tag_t": ["a"]}, True),
        ({"tag_e": [E1], "tag_t": ["b"]}, False),
        ({"kinds": [1], "authors": [E1]}, False),
        ({"search": "hello"}, True),
        ({"search": "WORLD hello"}, True),
        ({"search": "over"}, False),
        ({"search": "hell"}, False),
        ({"search": "hello moon"}, False),
        ({"search": "language:en hello"}, True),
        ({"search": "include:spam"}, True),
        ({"search": ""}, True),
        ({"search": "hello", "kinds": [2]}, False),
    ],
)
def test_every_condition_must_hold(conditions: dict[str, Any], expected: bool) -> None:
    assert matches(**conditions) is expected


def test_only_the_first_value_of_a_tag_counts() -> None:
    event = sign_event(KEY, kind=1, created_at=1, tags=[["t", "first", "second"]])
    assert not parse_filter({"#t": ["second"]}).matches(event)


@pytest.mark.parametrize(
    ("found", "field"),
    [
        (None, "filter"),
        ([], "filter"),
        ("x", "filter"),
        (1, "filter"),
        ({"ids": None}, "filter.ids"),
        ({"ids": E1}, "filter.ids"),
        ({"ids": [E1[:-1]]}, "filter.ids"),
        ({"ids": ["AA" * 32]}, "filter.ids"),
        ({"ids": [1]}, "filter.ids"),
        ({"authors": ["npub1"]}, "filter.authors"),
        ({"authors": {}}, "filter.authors"),
        ({"kinds": [1.0]}, "filter.kinds"),
        ({"kinds": [True]}, "filter.kinds"),
        ({"kinds": [-1]}, "filter.kinds"),
        ({"kinds": [65536]}, "filter.kinds"),
        ({"kinds": ["1"]}, "filter.kinds"),
        ({"kinds": 1}, "filter.kinds"),
        ({"since": -1}, "filter.since"),
        ({"since": None}, "filter.since"),
        ({"until": 2**53}, "filter.until"),
        ({"until": 1.5}, "filter.until"),
        ({"limit": True}, "filter.limit"),
        ({"limit": "1"}, "filter.limit"),
        ({"limit": 10**400}, "filter.limit"),
        ({"#e": ["not hex"]}, "filter.#e"),
        ({"#p": ["AA" * 32]}, "filter.#p"),
        ({"#t": [1]}, "filter.#t"),
        ({"#t": "a"}, "filter.#t"),
        ({"#": ["a"]}, "filter.#"),
        ({"#tt": ["a"]}, "filter.#tt"),
        ({"#1": ["a"]}, "filter.#1"),
        ({"#é": ["a"]}, "filter.#é"),
        ({"search": ["words"]}, "filter.search"),
        ({"search": None}, "filter.search"),
        ({"search": "x" * (SEARCH_MAX + 1)}, "filter.search"),
        ({"": 1}, "filter."),
        ({"ids": [E1] * (ITEMS_MAX + 1)}, "filter.ids"),
        ({"kinds": [1] * (ITEMS_MAX + 1)}, "filter.kinds"),
        ({"#t": ["a"] * (ITEMS_MAX + 1)}, "filter.#t"),
    ],
)
def test_a_condition_that_cannot_be_checked_is_refused_by_name(found: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_filter(found)
    assert caught.value.field == field
    assert caught.value.reason


@pytest.mark.parametrize("key", ["since", "until", "limit"])
@pytest.mark.parametrize("value", [2**53, 10**400, 1e20])
def test_a_number_over_its_bound_is_refused_with_the_bound(key: str, value: float) -> None:
    with pytest.raises(Invalid, match=f"filter.{key}: must be at most 9007199254740991"):
        parse_filter({key: value})


def test_a_filter_may_not_name_more_values_than_one_query_can_carry() -> None:
    letters = [chr(code) for code in range(ord("A"), ord("z") + 1) if chr(code).isalpha()]
    found = {f"#{letter}": [str(n) for n in range(ITEMS_MAX)] for letter in letters}
    found |= {"#e": [], "#p": []}
    with pytest.raises(Invalid) as caught:
        parse_filter(found)
    assert caught.value.field == "filter"


def test_a_filter_writes_what_it_was_read_from() -> None:
    found = {
        "ids": [E1],
        "authors": [E1, E2],
        "kinds": [0, 65535],
        "since": 0,
        "until": 2**53 - 1,
        "limit": 0,
        "#e": [E1],
        "#t": ["", "a"],
    }
    assert parse_filter(found).as_dict() == found
    assert parse_filter({}).as_dict() == {}


def test_matching_does_not_look_at_the_signature() -> None:
    event = Event(
        id=E1, pubkey=KEY.public, created_at=0, kind=0, tags=(), content="", sig="not checked"
    )
    assert Filter(ids=frozenset({E1})).matches(event)
