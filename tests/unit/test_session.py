"""The session: text in, effects out; NIP-42's rules; limits; who is subscribed to what."""

import json
from typing import Any

import msgspec
import pytest

from hanse.protocol import kinds, message
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.protocol.session import (
    AUTH_WINDOW_S,
    Advance,
    Authenticated,
    Close,
    Count,
    Effect,
    Forget,
    Limits,
    Open,
    Send,
    Session,
    Store,
    Unwatch,
    Watch,
    host_of,
)

NOW = 1_700_000_000
KEYS = [SecretKey(bytes([seed]) * 32) for seed in range(1, 6)]
HOST = "relay.example:7447"


def a_session(**limits: int) -> Session:
    return Session("challenge", frozenset({HOST}), Limits(**limits))


def proof(secret: SecretKey = KEYS[0], **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "kind": kinds.CLIENT_AUTH,
        "created_at": NOW,
        "tags": [["relay", f"ws://{HOST}"], ["challenge", "challenge"]],
    }
    return sign_event(secret, **(fields | changes))


def prove(session: Session, event: Event) -> list[Effect]:
    return session.receive(message.authenticate(event), NOW)


def said(effects: list[Effect]) -> list[list[Any]]:
    return [json.loads(effect.text) for effect in effects if isinstance(effect, Send)]


def request(session: Session, name: str, *filters: dict[str, Any]) -> list[Effect]:
    return session.receive(json.dumps(["REQ", name, *(filters or ({},))]), NOW)


# --- plain messages ---------------------------------------------------------------------------


def test_the_first_word_is_the_challenge() -> None:
    assert a_session().greet() == b'["AUTH","challenge"]'


def test_an_event_is_stored_unread() -> None:
    assert a_session().receive('["EVENT",{"id":1}]', NOW) == [Store(b'{"id":1}')]


def test_a_request_is_watched_and_answered() -> None:
    session = a_session()
    filters = (Filter(kinds=frozenset({1})), Filter())
    assert request(session, "a", {"kinds": [1]}, {}) == [Watch("a", filters)]
    assert session.subscriptions == {"a"}


def test_a_request_of_the_same_name_replaces_and_takes_no_new_place() -> None:
    session = a_session(subscriptions_max=1)
    request(session, "a", {"kinds": [1]})
    assert request(session, "a", {"kinds": [2]})[0] == Watch("a", (Filter(kinds=frozenset({2})),))
    assert session.subscriptions == {"a"}


def test_close_ends_a_subscription_even_one_that_is_not_open() -> None:
    session = a_session()
    request(session, "a")
    assert session.receive('["CLOSE","a"]', NOW) == [Unwatch("a")]
    assert session.subscriptions == set()
    assert session.receive('["CLOSE","a"]', NOW) == [Unwatch("a")]


def test_one_subscription_too_many_is_refused_and_the_others_stay() -> None:
    session = a_session(subscriptions_max=2)
    request(session, "a")
    request(session, "b")
    effects = request(session, "c")
    assert not any(isinstance(effect, Watch) for effect in effects)
    [[verb, name, text]] = said(effects)
    assert (verb, name) == ("CLOSED", "c")
    assert text.startswith("rate-limited: ")
    assert session.subscriptions == {"a", "b"}
    session.receive('["CLOSE","a"]', NOW)
    assert isinstance(request(session, "c")[0], Watch)


def test_rubbish_is_answered_with_a_notice() -> None:
    [[verb, text]] = said(a_session().receive("rubbish", NOW))
    assert (verb, text) == ("NOTICE", "invalid: message: must be a JSON array")


def test_a_bad_filter_closes_the_subscription_by_name() -> None:
    [[verb, name, text]] = said(request(a_session(), "a", {"kinds": ["x"]}))
    assert (verb, name) == ("CLOSED", "a")
    assert text.startswith("invalid: filter[0].kinds: ")


@pytest.mark.parametrize("filters", [{"kinds": ["x"]}, {"kinds": [kinds.RPC]}])
def test_a_refused_request_ends_the_open_subscription_it_would_have_replaced(
    filters: dict[str, Any],
) -> None:
    session = a_session()
    request(session, "a")
    effects = request(session, "a", filters)
    assert Unwatch("a") in effects
    assert said(effects)[0][:2] == ["CLOSED", "a"]
    assert session.subscriptions == set()


def test_a_client_that_sends_only_rubbish_is_closed() -> None:
    session = a_session(refusals_max=3)
    for _ in range(3):
        assert not any(isinstance(effect, Close) for effect in session.receive("rubbish", NOW))
    assert isinstance(session.receive("rubbish", NOW)[-1], Close)


def test_what_is_well_formed_never_counts_as_rubbish() -> None:
    session = a_session(refusals_max=0)
    for text in ('["CLOSE","a"]', '["REQ","a",{}]', '["EVENT",{}]'):
        assert not any(isinstance(effect, Close) for effect in session.receive(text, NOW))


# --- NIP-42 -----------------------------------------------------------------------------------


def test_a_proof_that_holds_makes_the_key_known() -> None:
    session, event = a_session(), proof()
    assert prove(session, event) == [
        Authenticated(event),
        Send(message.ok(event.id, True)),
    ]
    assert session.identities == {KEYS[0].public}


def test_several_keys_may_be_proved_on_one_connection() -> None:
    session = a_session()
    for secret in KEYS[:3]:
        prove(session, proof(secret))
    assert session.identities == {secret.public for secret in KEYS[:3]}


def test_a_key_proved_again_is_announced_once_only() -> None:
    session = a_session()
    prove(session, proof())
    again = proof(created_at=NOW + 1)
    assert prove(session, again) == [Send(message.ok(again.id, True))]


def test_the_time_of_a_proof_may_be_off_by_the_window_and_no_more() -> None:
    for created_at in (NOW - AUTH_WINDOW_S, NOW + AUTH_WINDOW_S):
        assert said(prove(a_session(), proof(created_at=created_at)))[0][2] is True


NO_PROOFS = {
    "wrong kind": (proof(kind=1), "event.kind"),
    "HTTP proof": (proof(kind=kinds.HTTP_AUTH), "event.kind"),
    "stale": (proof(created_at=NOW - AUTH_WINDOW_S - 1), "event.created_at"),
    "future": (proof(created_at=NOW + AUTH_WINDOW_S + 1), "event.created_at"),
    "other challenge": (
        proof(tags=[["relay", f"ws://{HOST}"], ["challenge", "Challenge"]]),
        "event.tags.challenge",
    ),
    "no challenge": (proof(tags=[["relay", f"ws://{HOST}"]]), "event.tags.challenge"),
    "empty challenge": (
        proof(tags=[["relay", f"ws://{HOST}"], ["challenge"]]),
        "event.tags.challenge",
    ),
    "no relay": (proof(tags=[["challenge", "challenge"]]), "event.tags.relay"),
    "other relay": (
        proof(tags=[["relay", "wss://evil.example"], ["challenge", "challenge"]]),
        "event.tags.relay",
    ),
    "other port": (
        proof(tags=[["relay", "ws://relay.example"], ["challenge", "challenge"]]),
        "event.tags.relay",
    ),
    "relay is no URL": (
        proof(tags=[["relay", HOST], ["challenge", "challenge"]]),
        "event.tags.relay",
    ),
    "host only as user": (
        proof(tags=[["relay", f"ws://{HOST}@evil.example"], ["challenge", "challenge"]]),
        "event.tags.relay",
    ),
    "bad signature": (msgspec.structs.replace(proof(), sig=proof(KEYS[1]).sig), "event.sig"),
    "another's key": (msgspec.structs.replace(proof(), pubkey=KEYS[1].public), "event.id"),
}


@pytest.mark.parametrize("name", NO_PROOFS)
def test_a_proof_that_does_not_hold_grants_nothing_and_says_why(name: str) -> None:
    session = a_session()
    event, field = NO_PROOFS[name]
    [[verb, id, accepted, text]] = said(prove(session, event))
    assert (verb, id, accepted) == ("OK", event.id, False)
    assert text.startswith(f"invalid: {field}: ")
    assert session.identities == set()


def test_a_proof_that_cannot_be_read_is_answered_by_its_id() -> None:
    session = a_session()
    id = proof().id
    [[verb, named, accepted, text]] = said(session.receive(f'["AUTH",{{"id":"{id}"}}]', NOW))
    assert (verb, named, accepted) == ("OK", id, False)
    assert text.startswith("invalid: event.pubkey: ")


@pytest.mark.parametrize(
    "url", [f"ws://{HOST}/", f"WS://{HOST.upper()}/?x=1", f"wss://{HOST}", f"ws://{HOST}/path"]
)
def test_any_url_of_this_relays_host_will_do(url: str) -> None:
    event = proof(tags=[["relay", url], ["challenge", "challenge"]])
    assert said(prove(a_session(), event))[0][2] is True


def test_one_identity_too_many_is_refused_but_a_known_one_may_return() -> None:
    session = a_session(identities_max=2)
    for secret in KEYS[:2]:
        prove(session, proof(secret))
    assert said(prove(session, proof(KEYS[2])))[0][2] is False
    assert said(prove(session, proof(KEYS[1], created_at=NOW + 1)))[0][2] is True
    assert session.identities == {secret.public for secret in KEYS[:2]}


# --- private kinds ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(kinds.PRIVATE))
def test_private_kinds_alone_need_a_proof_first(number: int) -> None:
    session = a_session()
    [[verb, _, text]] = said(request(session, "a", {}, {"kinds": [number]}))
    assert verb == "CLOSED"
    assert text.startswith("auth-required: ")
    assert session.subscriptions == set()
    prove(session, proof())
    assert isinstance(request(session, "a", {"kinds": [number]})[0], Watch)


def test_private_kinds_among_others_need_no_proof_to_ask() -> None:
    assert isinstance(request(a_session(), "a", {"kinds": [1, kinds.RPC]})[0], Watch)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://Host", "host"),
        ("ws://host:80", "host"),
        ("ws://host:443", "host:443"),
        ("wss://host:443/", "host"),
        ("https://host:8443/a?b", "host:8443"),
        ("http://[::1]:7447/", "[::1]:7447"),
        ("ws://host?x=/", "host"),
        ("ftp://host", ""),
        ("host", ""),
        ("", ""),
        ("://host", ""),
    ],
)
def test_host_of_gives_the_name_that_a_url_reaches(url: str, expected: str) -> None:
    assert host_of(url) == expected


# --- rates --------------------------------------------------------------------------------------

ASKING = [
    '["REQ","a",{}]',
    '["COUNT","a",{}]',
    '["NEG-OPEN","a",{},"61"]',
]


@pytest.mark.parametrize("text", ASKING)
def test_who_asks_too_fast_is_told_to_wait_and_may_ask_again_then(text: str) -> None:
    session = a_session(requests_burst=2, requests_per_s=1)
    for _ in range(2):
        assert not said(session.receive(text, NOW))
    [[verb, name, reason]] = said(session.receive(text, NOW))
    assert (verb, name) == ("NEG-ERR" if "NEG" in text else "CLOSED", "a")
    assert reason.startswith("rate-limited: ")
    assert not said(session.receive(text, NOW + 1))
    assert said(session.receive(text, NOW + 1))
    assert not said(session.receive(text, NOW + 100))


def test_a_refused_request_ends_what_was_open_under_its_name() -> None:
    session = a_session(requests_burst=1, requests_per_s=1)
    request(session, "a")
    assert Unwatch("a") in request(session, "a")
    assert session.subscriptions == frozenset()


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    session = a_session(requests_burst=2, requests_per_s=1)
    assert not said(request(session, "a"))
    assert not said(session.receive('["REQ","a",{}]', NOW - 50))


def test_proofs_are_counted_as_requests() -> None:
    session = a_session(requests_burst=1, requests_per_s=1)
    assert said(prove(session, proof()))[0][2] is True
    [[verb, _, accepted, reason]] = said(prove(session, proof(KEYS[1])))
    assert (verb, accepted) == ("OK", False)
    assert reason.startswith("rate-limited: ")


def test_events_and_closes_cost_no_token() -> None:
    session = a_session(requests_burst=0, requests_per_s=0)
    assert session.receive('["EVENT",{}]', NOW) == [Store(b"{}")]
    assert session.receive('["CLOSE","a"]', NOW) == [Unwatch("a")]


# --- counting and comparing ---------------------------------------------------------------------


def test_a_count_is_asked_for_and_opens_nothing() -> None:
    session = a_session()
    effects = session.receive('["COUNT","a",{"kinds":[7],"#e":["' + "0" * 64 + '"]}]', NOW)
    [found] = effects
    assert isinstance(found, Count)
    assert found.target == "0" * 64
    assert session.subscriptions == frozenset()


def test_a_count_of_private_kinds_needs_a_proof() -> None:
    [[verb, name, reason]] = said(a_session().receive('["COUNT","a",{"kinds":[1059]}]', NOW))
    assert (verb, name) == ("CLOSED", "a")
    assert reason.startswith("auth-required: ")


def test_a_refused_count_leaves_the_subscription_of_that_name_open() -> None:
    session = a_session()
    request(session, "a")
    assert len(session.receive('["COUNT","a",{"kinds":1}]', NOW)) == 1
    assert session.subscriptions == {"a"}


def test_a_comparison_is_opened_continued_and_forgotten() -> None:
    session = a_session()
    assert session.receive('["NEG-OPEN","a",{"kinds":[1]},"6100"]', NOW) == [
        Open("a", Filter(kinds=frozenset({1})), b"\x61\x00")
    ]
    assert session.receive('["NEG-MSG","a","61"]', NOW) == [Advance("a", b"\x61")]
    assert session.receive('["NEG-CLOSE","a"]', NOW) == [Forget("a")]
    assert session.comparisons == frozenset()


def test_comparisons_have_names_of_their_own() -> None:
    session = a_session(subscriptions_max=1, comparisons_max=1)
    request(session, "a")
    assert isinstance(session.receive('["NEG-OPEN","a",{},"61"]', NOW)[0], Open)
    session.receive('["CLOSE","a"]', NOW)
    assert session.comparisons == {"a"}


def test_a_message_of_a_comparison_that_is_not_open_is_answered_as_closed() -> None:
    [[verb, name, reason]] = said(a_session().receive('["NEG-MSG","a","61"]', NOW))
    assert (verb, name) == ("NEG-ERR", "a")
    assert reason.startswith("closed: ")


def test_one_comparison_too_many_is_refused_and_one_of_the_same_name_is_not() -> None:
    session = a_session(comparisons_max=1)
    session.receive('["NEG-OPEN","a",{},"61"]', NOW)
    assert isinstance(session.receive('["NEG-OPEN","a",{},"61"]', NOW)[0], Open)
    [[verb, name, _]] = said(session.receive('["NEG-OPEN","b",{},"61"]', NOW))
    assert (verb, name) == ("NEG-ERR", "b")


def test_a_refused_comparison_ends_the_open_one_of_its_name() -> None:
    session = a_session()
    session.receive('["NEG-OPEN","a",{},"61"]', NOW)
    effects = session.receive('["NEG-OPEN","a",{"kinds":[1059]},"61"]', NOW)
    assert effects[0] == Forget("a")
    assert said(effects)[0][2].startswith("auth-required: ")
    assert session.comparisons == frozenset()
