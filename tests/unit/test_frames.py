"""Frames: whatever the sizes, a reader of RFC 6455 finds the same messages in them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.wire import read_frames

from hanse.ports import Found, Row
from hanse.protocol import message
from hanse.servers.relay import answer, frames

SIZES = [
    0,
    1,
    90,
    108,
    109,
    110,
    111,
    125,
    126,
    127,
    65_500,
    65_519,
    65_520,
    65_535,
    65_536,
    70_000,
]
sizes = st.lists(st.sampled_from(SIZES), max_size=6)
names = st.sampled_from(["a", "x" * 64, 'q"\\'])


def body(size: int) -> bytes:
    return b'"' + b"x" * size + b'"'


def row(size: int) -> Row:
    return (1, 1, bytes(32), body(size))


@given(names, sizes)
def test_an_answer_is_its_events_and_then_its_end(name: str, wanted: list[int]) -> None:
    prefix, rows = message.event_prefix(name), [row(size) for size in wanted]
    found = read_frames(answer.answer_frames(name, prefix, Found(rows, 0, False)))
    assert [json.loads(text) for text in found] == [
        *(["EVENT", name, "x" * size] for size in wanted),
        ["EOSE", name, ["finish"]],
    ]


@given(names, sizes.filter(bool))
def test_live_events_are_joined_by_the_subscription_s_prefix(name: str, wanted: list[int]) -> None:
    prefix = message.event_prefix(name)
    data = prefix.join(frames.between([body(size) for size in wanted], len(prefix)))
    assert [json.loads(text) for text in read_frames(data)] == [
        ["EVENT", name, "x" * size] for size in wanted
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 1 << 20])
def test_a_message_is_framed_at_any_size(size: int) -> None:
    assert read_frames(frames.frame(b"x" * size) * 2) == [b"x" * size] * 2


def heard(found: Found) -> list[Any]:
    prefix = message.event_prefix("a")
    return [json.loads(text) for text in read_frames(answer.answer_frames("a", prefix, found))]


def test_an_answer_over_its_bound_is_cut_and_says_that_there_is_more() -> None:
    half = answer.ANSWER_BYTES_MAX // 2 - 2
    *events, end = heard(Found([row(half), row(half), row(0)], 3, False))
    assert [len(text) for _, _, text in events] == [half, half]
    assert end == ["EOSE", "a", ["more"]]


def test_one_event_over_the_bound_is_still_an_answer() -> None:
    *events, end = heard(Found([row(answer.ANSWER_BYTES_MAX), row(0)], 2, False))
    assert (len(events), end) == (1, ["EOSE", "a", ["more"]])


@pytest.mark.parametrize(("more", "hint"), [(True, "more"), (False, "finish")])
def test_the_end_of_an_answer_says_whether_there_is_more(more: bool, hint: str) -> None:
    assert heard(Found([], 0, more)) == [["EOSE", "a", [hint]]]
