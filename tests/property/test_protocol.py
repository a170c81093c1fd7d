"""The protocol under random input: any bytes give a value or a named refusal; what is written reads
back; no sequence of messages leaves a session in a state that has no name."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import HanseError
from hanse.protocol import http_auth, kinds, message
from hanse.protocol.canonical import canonical, read_json
from hanse.protocol.event import Event, check_event, encode_event, parse_event, sign_event
from hanse.protocol.filter import Filter, parse_filter
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.rpc import RpcRequest, answer_event, parse_rpc, request_event
from hanse.protocol.session import (
    Advance,
    Close,
    Effect,
    Forget,
    Limits,
    Open,
    Send,
    Session,
    Unwatch,
    Watch,
)

KEYS = [SecretKey(bytes([seed]) * 32) for seed in (1, 2, 3)]
NOW = 1_700_000_000
LIMITS = Limits(
    subscriptions_max=3,
    identities_max=2,
    comparisons_max=2,
    refusals_max=8,
    requests_burst=12,
    requests_per_s=0,
)

text = st.text(max_size=40)
surrogates = st.text(st.characters(), max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
tags = st.lists(st.lists(text, max_size=4), max_size=4)
signed = st.builds(
    lambda secret, kind, created_at, content, tags: sign_event(
        secret, kind=kind, created_at=created_at, content=content, tags=tags
    ),
    st.sampled_from(KEYS),
    st.integers(0, 65535),
    st.integers(0, 2**53 - 1),
    text,
    tags,
)
names = st.sampled_from(["a", "b", "c", "d", 'q"\\'])
hexes = st.frozensets(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3)
seconds = st.none() | st.integers(0, 2**53 - 1)
filters = st.builds(
    Filter,
    ids=st.none() | hexes,
    authors=st.none() | hexes,
    kinds=st.none() | st.frozensets(st.integers(0, 65535), max_size=3),
    since=seconds,
    until=seconds,
    limit=seconds,
    tags=st.dictionaries(st.sampled_from("tTxY"), st.frozensets(text, max_size=3), max_size=3).map(
        lambda found: tuple(found.items())
    ),
    search=st.none() | text,
)


def named(attempt: Callable[[], Any]) -> Any:
    """What it gives, or the HanseError it raises; anything else it raises fails the test."""
    found: Any
    try:
        found = attempt()
    except HanseError as refused:
        found = refused
    if isinstance(found, HanseError):
        assert found.reason
    return found


VERBS = ["EVENT", "REQ", "CLOSE", "AUTH", "COUNT", "NEG-OPEN", "NEG-MSG", "NEG-CLOSE"]

# Bytes that are nearly a message: JSON of the right outline with one thing broken.
nearly = st.one_of(
    st.binary(max_size=80),
    surrogates,
    json_values.map(json.dumps),
    st.tuples(st.sampled_from(VERBS), json_values).map(json.dumps),
    st.tuples(st.sampled_from(VERBS), names, json_values).map(json.dumps),
    st.tuples(st.just("NEG-OPEN"), names, json_values, json_values).map(json.dumps),
    st.tuples(
        st.sampled_from(["REQ", "COUNT"]),
        names,
        st.dictionaries(
            st.sampled_from(["ids", "kinds", "since", "limit", "#t", "#e", "#tt", "search", "x"]),
            json_values | st.lists(json_values, max_size=3),
            max_size=3,
        ),
    ).map(json.dumps),
    signed.map(message.publish),
    signed.map(message.authenticate),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with one byte changed, put in or taken out."""
    found = draw(nearly)
    raw = found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(raw)))
    return raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 2)) :]


anything = nearly | damaged()

PARSERS: dict[str, Callable[[Any], Any]] = {
    "client message": message.parse_client_message,
    "relay message": message.parse_relay_message,
    "event": parse_event,
    "json": lambda found: read_json(found, "field", bytes_max=60),
}


@pytest.mark.parametrize("name", PARSERS)
@given(found=anything)
def test_any_input_gives_a_value_or_a_named_refusal(name: str, found: bytes | str) -> None:
    named(lambda: PARSERS[name](found))


@given(
    st.fixed_dictionaries(
        {
            "id": json_values | text,
            "pubkey": json_values | st.sampled_from([key.public for key in KEYS]),
            "created_at": json_values | st.integers(0, 2**53),
            "kind": json_values | st.integers(0, 65535),
            "tags": json_values | tags,
            "content": json_values | text,
            "sig": json_values | st.just("00" * 64),
        }
    ).map(json.dumps)
)
def test_what_reads_as_an_event_is_checked_without_a_surprise(raw: str) -> None:
    found = named(lambda: parse_event(raw))
    if isinstance(found, Event):
        assert isinstance(named(lambda: check_event(found)), HanseError)


@given(json_values | st.dictionaries(surrogates, surrogates) | st.floats())
def test_any_value_has_a_canonical_form_that_reads_back_or_none(value: Any) -> None:
    found = named(lambda: canonical(value))
    if isinstance(found, bytes):
        # JCS writes 1e16 as an integer; its readers hold every number as a double.
        read = json.loads(found, parse_int=float)
        assert read == value
        assert canonical(read) == found


@given(text | json_values.map(json.dumps) | st.binary(max_size=60).map(str))
def test_any_content_is_rpc_or_a_named_refusal(content: str) -> None:
    named(lambda: parse_rpc(sign_event(KEYS[0], kind=kinds.RPC, created_at=1, content=content)))


@given(
    surrogates
    | st.builds("{} {}".format, st.sampled_from(["Nostr", "Bearer"]), surrogates)
    | signed.map(lambda event: "Nostr " + encode_event(event).hex())
)
def test_any_header_is_read_or_refused_by_name(header: str) -> None:
    named(lambda: http_auth.read_header(header))


# --- round trips ------------------------------------------------------------------------------


@given(signed)
def test_an_event_reads_back_and_still_holds(event: Event) -> None:
    raw = encode_event(event)
    assert parse_event(raw) == event
    assert check_event(parse_event(raw)).hex() == event.id
    assert parse_event(json.dumps(json.loads(raw))) == event  # \u escapes name the same text
    found = message.parse_client_message(message.publish(event))
    assert found == message.Publish(raw)
    prefixed = message.event_prefix("a") + raw + b"]"
    assert message.parse_relay_message(prefixed).event == event


@given(names, st.lists(filters, min_size=1, max_size=4))
def test_a_request_reads_back(name: str, asked: list[Filter]) -> None:
    found = message.parse_client_message(message.request(name, *asked))
    assert isinstance(found, message.Request)
    assert found.subscription == name
    assert [one.as_dict() for one in found.filters] == [one.as_dict() for one in asked]
    assert [parse_filter(one.as_dict()) for one in asked] == list(found.filters)


@given(text, st.dictionaries(text, st.integers(-(2**53), 2**53) | text, max_size=4), text)
def test_a_request_and_its_answer_read_back(method: str, params: dict[str, Any], id: str) -> None:
    request = request_event(KEYS[0], KEYS[1].public, method, params, id=id, created_at=NOW)
    assert parse_rpc(request) == RpcRequest(method, params, id)
    answer = parse_rpc(answer_event(KEYS[1], request, id=id, created_at=NOW, result=params))
    assert not isinstance(answer, RpcRequest)
    assert (answer.id, answer.result, answer.error) == (id, params, None)


# --- any sequence of messages -------------------------------------------------------------------

proofs = st.builds(
    lambda secret, challenge, created_at: message.authenticate(
        sign_event(
            secret,
            kind=kinds.CLIENT_AUTH,
            created_at=created_at,
            tags=[["relay", "ws://here"], ["challenge", challenge]],
        )
    ),
    st.sampled_from(KEYS),
    st.sampled_from(["right", "right", "wrong"]),
    st.sampled_from([NOW, NOW + 1, NOW - 10_000]),
)
asked_kinds = st.sampled_from([[1], [kinds.RPC], [1, kinds.RPC], ["x"]])
steps = st.one_of(
    st.builds(lambda name, found: json.dumps(["REQ", name, {"kinds": found}]), names, asked_kinds),
    st.builds(lambda name: json.dumps(["CLOSE", name]), names),
    st.builds(lambda name: json.dumps(["COUNT", name, {"kinds": [1]}]), names),
    st.builds(
        lambda name, found: json.dumps(["NEG-OPEN", name, {"kinds": found}, "61"]),
        names,
        asked_kinds,
    ),
    st.builds(
        lambda verb, name: json.dumps([verb, name, "61"][: 3 if verb == "NEG-MSG" else 2]),
        st.sampled_from(["NEG-MSG", "NEG-CLOSE"]),
        names,
    ),
    proofs,
    anything,
)


class Client:
    """What a careful client believes, from what the session says alone."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.comparing: set[str] = set()
        self.proved: list[PublicKey] = []
        self.closed = False

    def see(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Watch):
                self.open.add(effect.subscription)
            elif isinstance(effect, Unwatch):
                self.open.discard(effect.subscription)
            elif isinstance(effect, Open):
                self.comparing.add(effect.subscription)
            elif isinstance(effect, Forget):
                self.comparing.discard(effect.subscription)
            elif isinstance(effect, Advance):
                assert effect.subscription in self.comparing
            elif isinstance(effect, Close):
                self.closed = True
            elif isinstance(effect, Send):
                verb, *rest = json.loads(effect.text)
                assert verb in ("OK", "CLOSED", "NOTICE", "NEG-ERR")
                if verb == "NEG-ERR":
                    assert rest[0] not in self.comparing
            elif hasattr(effect, "event"):
                self.proved.append(effect.event.pubkey)


@given(st.lists(steps, max_size=30))
def test_any_sequence_of_messages_leaves_the_session_as_it_said(sent: list[bytes | str]) -> None:
    session, client = Session("right", frozenset({"here"}), LIMITS), Client()
    for found in sent:
        client.see(session.receive(found, NOW))
        assert session.subscriptions == client.open
        assert session.comparisons == client.comparing
        assert len(session.comparisons) <= LIMITS.comparisons_max
        assert session.identities == set(client.proved)
        assert len(client.proved) == len(set(client.proved)), "announced once each"
        assert len(session.subscriptions) <= LIMITS.subscriptions_max
        assert len(session.identities) <= LIMITS.identities_max
