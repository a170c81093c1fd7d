"""Messages: what a client may say, what is refused and how, and what a relay says."""

import json
from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol import message
from hanse.protocol.event import encode_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.message import (
    ECHOED_MAX,
    FILTERS_MAX,
    SUBSCRIPTION_ID_MAX,
    Authenticate,
    BadRequest,
    Continue,
    Count,
    Drop,
    Forget,
    Publish,
    Reconcile,
    RelayMessage,
    Request,
    parse_client_message,
    parse_relay_message,
)

KEY = SecretKey(bytes([9]) * 32)
EVENT = sign_event(KEY, kind=1, created_at=1000, content='] , "é', tags=[["t", "]"]])
FILTER = Filter(kinds=frozenset({1}), limit=3)


def test_each_client_message_reads_back_as_it_was_written() -> None:
    assert parse_client_message(message.publish(EVENT)) == Publish(encode_event(EVENT))
    assert parse_client_message(message.authenticate(EVENT)) == Authenticate(EVENT)
    assert parse_client_message(message.drop("a")) == Drop("a")
    opened = message.neg_open("a", FILTER, b"\x61")
    assert parse_client_message(opened) == Reconcile("a", FILTER, b"\x61")
    assert parse_client_message(message.neg_more("a", b"\x61")) == Continue("a", b"\x61")
    assert parse_client_message(message.neg_close("a")) == Forget("a")
    assert parse_client_message(message.count_request("a", FILTER, Filter())) == Count(
        "a", (FILTER, Filter())
    )
    assert parse_client_message(message.request("a", FILTER, Filter())) == Request(
        "a", (FILTER, Filter())
    )


def test_white_space_around_the_parts_is_no_matter() -> None:
    assert parse_client_message(' [ "CLOSE" ,\n"a" ] ') == Drop("a")


def test_an_events_bytes_are_handed_on_as_they_came() -> None:
    found = parse_client_message(b'["EVENT", {"id" : 1, "x": [ ] } ]')
    assert found == Publish(b'{"id" : 1, "x": [ ] }')


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "message"),
        ("{}", "message"),
        ('"EVENT"', "message"),
        ("not json", "message"),
        ('["EVENT",', "message"),
        ('["CLOSE","a"] x', "message"),
        ("[]", "message"),
        ("null", "message"),
        ("\ud800", "message"),
        (b"\xff", "message"),
        (b'["CLOSE","\xff"]', "subscription id"),
        ("[" * 100_000, "message"),
        ('["EVENT",' + "[" * 50_000 + "]" * 50_000 + "]", "message"),
        ("[1]", "message[0]"),
        ("[null]", "message[0]"),
        ("[[]]", "message[0]"),
        ('["event",{}]', "message[0]"),
        ('["COUNT"]', "COUNT"),
        ('["COUNT",1,{}]', "subscription id"),
        ('["NEG-OPEN"]', "NEG-OPEN"),
        ('["NEG-OPEN",1,{},""]', "subscription id"),
        ('["NEG-MSG","a"]', "NEG-MSG"),
        ('["NEG-CLOSE"]', "NEG-CLOSE"),
        ('["NEG-CLOSE",""]', "subscription id"),
        ('["OK"]', "message[0]"),
        ('["EVENT"]', "EVENT"),
        ('["EVENT",{},{}]', "EVENT"),
        ('["CLOSE"]', "CLOSE"),
        ('["CLOSE","a","b"]', "CLOSE"),
        ('["CLOSE",1]', "subscription id"),
        ('["CLOSE",""]', "subscription id"),
        ('["AUTH"]', "AUTH"),
        ('["AUTH",{},1]', "AUTH"),
        ('["AUTH","text"]', "event"),
        ('["AUTH",{}]', "event.id"),
        ('["REQ"]', "REQ"),
        ('["REQ",1,{}]', "subscription id"),
        (json.dumps(["REQ", "x" * (ECHOED_MAX + 1), {}]), "subscription id"),
    ],
)
def test_what_is_no_client_message_is_refused_by_its_part(text: str | bytes, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_client_message(text)
    assert caught.value.field == field
    assert not isinstance(caught.value, BadRequest)


@pytest.mark.parametrize("verb", ["REQ", "COUNT", "NEG-OPEN"])
@pytest.mark.parametrize("name", ["", "x" * (SUBSCRIPTION_ID_MAX + 1)])
def test_a_name_that_cannot_be_used_is_refused_by_itself(verb: str, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_client_message(json.dumps([verb, name, {}, ""][: 4 if verb == "NEG-OPEN" else 3]))
    assert (caught.value.subscription, caught.value.field) == (name, "subscription id")
    assert caught.value.verb == verb


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ([1], "filter[0]"),
        ([{}, []], "filter[1]"),
        ([{}, {"kinds": ["x"]}], "filter[1].kinds"),
        ([{"unknown": 1}], "filter[0].unknown"),
        ([{}] * (FILTERS_MAX + 1), "REQ"),
        ([], "REQ"),
    ],
)
def test_a_bad_request_says_for_which_subscription(filters: list[Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_client_message(json.dumps(["REQ", "name", *filters]))
    assert (caught.value.subscription, caught.value.field) == ("name", field)
    assert caught.value.wire.startswith(f"invalid: {field}: ")


@pytest.mark.parametrize(
    ("text", "verb", "field"),
    [
        ('["COUNT","name",{"kinds":1}]', "COUNT", "filter[0].kinds"),
        ('["COUNT","name"]', "COUNT", "COUNT"),
        ('["NEG-OPEN","name",{}]', "NEG-OPEN", "NEG-OPEN"),
        ('["NEG-OPEN","name",{"kinds":1},"61"]', "NEG-OPEN", "filter.kinds"),
        ('["NEG-OPEN","name",1,"61"]', "NEG-OPEN", "filter"),
        ('["NEG-OPEN","name",{},"6"]', "NEG-OPEN", "message"),
        ('["NEG-OPEN","name",{},1]', "NEG-OPEN", "message"),
        ('["NEG-MSG","name","xx"]', "NEG-MSG", "message"),
    ],
)
def test_a_refusal_of_another_verb_says_which(text: str, verb: str, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_client_message(text)
    assert (caught.value.verb, caught.value.subscription, caught.value.field) == (
        verb,
        "name",
        field,
    )


@pytest.mark.parametrize(
    ("filters", "target"),
    [
        ([{"#t": ["b", "a"], "#p": []}], "b"),
        ([{"kinds": [7], "#t": ["a"]}], "a"),
        ([{"kinds": [7]}], None),
        ([{"#t": []}], None),
        ([{"#t": ["a"]}, {"#t": ["a"]}], None),
    ],
)
def test_a_count_names_the_first_value_of_its_only_filter_s_first_tag(
    filters: list[Any], target: str | None
) -> None:
    found = parse_client_message(json.dumps(["COUNT", "a", *filters]))
    assert isinstance(found, Count)
    assert found.target == target


def test_a_filter_nested_without_end_is_a_bad_request() -> None:
    text = '["REQ","name",{"#t":' + "[" * 700 + "]" * 700 + "}]"
    with pytest.raises(BadRequest):
        parse_client_message(text)


def test_the_longest_subscription_id_counts_characters() -> None:
    name = "é" * SUBSCRIPTION_ID_MAX
    assert parse_client_message(json.dumps(["REQ", name, {}])) == Request(name, (Filter(),))


# --- what a relay says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (message.ok("id", True), ["OK", "id", True, ""]),
        (message.ok("id", False, 'invalid: "no"'), ["OK", "id", False, 'invalid: "no"']),
        (message.eose('a"b', True), ["EOSE", 'a"b', ["more"]]),
        (message.eose("a", False), ["EOSE", "a", ["finish"]]),
        (message.count("a", 3), ["COUNT", "a", {"count": 3}]),
        (message.count("a", 3, "00"), ["COUNT", "a", {"count": 3, "hll": "00"}]),
        (message.neg_more("a", b"\x61"), ["NEG-MSG", "a", "61"]),
        (message.neg_error("a", "blocked: x"), ["NEG-ERR", "a", "blocked: x"]),
        (message.closed("a", "error: x"), ["CLOSED", "a", "error: x"]),
        (message.notice("é\n"), ["NOTICE", "é\n"]),
        (message.challenge("c"), ["AUTH", "c"]),
    ],
)
def test_each_relay_message_reads_back_as_it_was_written(raw: bytes, expected: list[Any]) -> None:
    assert json.loads(raw) == expected
    assert parse_relay_message(raw) == RelayMessage(expected[0], tuple(expected[1:]))


def test_an_event_pasted_behind_its_prefix_reads_back() -> None:
    raw = message.event_prefix('sub"1\\') + encode_event(EVENT) + b"]"
    assert parse_relay_message(raw) == RelayMessage("EVENT", ('sub"1\\',), EVENT)


@pytest.mark.parametrize(
    "raw",
    ["", "[]", "{}", '["EVENT","a",{}]', '["EVENT",1,{}]', '["OK",', "[1]", "\ud800", "[" * 50_000],
)
def test_what_is_no_relay_message_is_refused(raw: str) -> None:
    with pytest.raises(Invalid):
        parse_relay_message(raw)


def test_a_client_opens_continues_and_ends_a_comparison() -> None:
    opened = json.loads(message.neg_open("n", Filter(kinds=frozenset({1})), b"\x61\x00"))
    assert opened == ["NEG-OPEN", "n", {"kinds": [1]}, "6100"]
    assert json.loads(message.neg_more("n", b"\x61")) == ["NEG-MSG", "n", "61"]
    assert json.loads(message.neg_close("n")) == ["NEG-CLOSE", "n"]


def test_a_client_reads_the_answers_of_a_comparison() -> None:
    assert message.parse_relay_message('["NEG-MSG","n","61"]').arguments == ("n", "61")
    refused = message.parse_relay_message('["NEG-ERR","n","blocked: too big",100]')
    assert (refused.verb, refused.arguments) == ("NEG-ERR", ("n", "blocked: too big", 100))
