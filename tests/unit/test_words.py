"""Words: split as tool names are written, stop words dropped, compared by rough roots."""

import pytest

from hanse.protocol.words import (
    QUERY_WORDS_MAX,
    query_words,
    search_words,
    shared_words,
    stem,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("get_current_time", ["get", "current", "time"]),
        ("getCurrentTime", ["get", "current", "time"]),
        ("get-current.time", ["get", "current", "time"]),
        ("Zeit in Köln, 2026!", ["zeit", "in", "köln", "2026"]),
        ("時間 東京", ["時間", "東京"]),
        ("___ … !?", []),
        ("", []),
    ],
)
def test_text_is_split_into_lower_case_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_query_keeps_only_the_words_worth_searching_each_once() -> None:
    assert query_words("What is the time, the TIME, in Tokyo?") == ["time", "tokyo"]


def test_a_query_of_stop_words_alone_keeps_them() -> None:
    assert query_words("what is it") == ["what", "is", "it"]


def test_a_query_has_at_most_so_many_words() -> None:
    assert len(query_words(" ".join(f"word{number}" for number in range(100)))) == QUERY_WORDS_MAX


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("convert", "converting"),
        ("translate", "translation"),
        ("transform", "transformation"),
        ("zone", "zones"),
        ("run", "run"),
    ],
)
def test_forms_of_a_word_share_a_root(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_a_root_keeps_at_least_three_letters() -> None:
    assert [stem(word) for word in ("as", "ring", "date")] == ["as", "ring", "dat"]


def test_shared_words_are_the_query_s_own() -> None:
    found = shared_words(["converting", "zones", "tokyo"], "convert_time between a zone and UTC")
    assert found == ("converting", "zones")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Best nostr apps", {"best", "nostr", "apps"}),
        ("apps domain:example.com language:en", {"apps"}),
        ("is it: good", {"is", "it", "good"}),
        ("nsfw:false", set()),
    ],
)
def test_a_search_is_for_its_words_without_extensions(text: str, words: set[str]) -> None:
    assert search_words(text) == words
