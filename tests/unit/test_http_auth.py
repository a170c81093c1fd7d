"""Identity over HTTP: NIP-98 proofs for one request, bearer tokens for one node, and the gate."""

import base64
from typing import Any

import msgspec
import pytest

from hanse.errors import AuthRequired, Invalid, RateLimited
from hanse.protocol import attestation, http_auth, kinds
from hanse.protocol.event import Event, encode_event, sign_event
from hanse.protocol.http_auth import REQUEST_WINDOW_S, TOKEN_LIFE_MAX_S
from hanse.protocol.http_gate import HttpGate
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.principal import Principal

AGENT, OWNER, NODE = (SecretKey(bytes([seed]) * 32) for seed in (1, 2, 3))
NOW = 1_700_000_000
HOST = "127.0.0.1:7447"
URL = f"http://{HOST}/api/v1/calls?x=1"
TARGET = "/api/v1/calls?x=1"
BODY = b'{"a":1}'


def a_gate() -> HttpGate:
    return HttpGate(NODE.public, frozenset({HOST}))


def signed(**changes: Any) -> str:
    fields: dict[str, Any] = {"url": URL, "method": "POST", "body": BODY, "now": NOW}
    return http_auth.request_header(AGENT, **(fields | changes))


def as_header(event: Event, scheme: str = "Nostr") -> str:
    return f"{scheme} {base64.b64encode(encode_event(event)).decode()}"


def who(header: str | None, gate: HttpGate | None = None, **changes: Any) -> Principal | None:
    fields: dict[str, Any] = {"target": TARGET, "method": "POST", "body": BODY, "now": NOW}
    return (gate or a_gate()).who(header, **(fields | changes))


def refused(header: str, **changes: Any) -> AuthRequired:
    with pytest.raises(AuthRequired) as caught:
        who(header, **changes)
    return caught.value


# --- NIP-98 -----------------------------------------------------------------------------------


def test_a_request_without_a_header_is_from_nobody() -> None:
    assert who(None) is None
    assert who("") is None


def test_a_proof_for_this_request_names_its_signer() -> None:
    assert who(signed()) == Principal(AGENT.public, AGENT.public)


def test_an_attested_agent_is_named_with_its_operator() -> None:
    tag = attestation.attest(OWNER, AGENT.public).tag
    assert who(signed(tags=(tag,))) == Principal(AGENT.public, OWNER.public)


def test_a_false_attestation_refuses_the_whole_request() -> None:
    tag = ("auth", OWNER.public, "", "00" * 64)
    with pytest.raises(Invalid):
        who(signed(tags=(tag,)))


def test_the_scheme_may_be_in_any_case() -> None:
    assert who(signed().replace("Nostr", "nOSTR")) is not None


def test_a_request_without_a_body_needs_no_payload() -> None:
    header = signed(body=b"", method="GET")
    assert who(header, body=b"", method="GET") is not None


@pytest.mark.parametrize(
    ("proof", "request_", "field"),
    [
        ({"url": f"http://{HOST}/api/v1/calls"}, {}, "u"),
        ({"url": f"http://{HOST}/api/v1/calls?x=2"}, {}, "u"),
        ({"url": "http://other.example/api/v1/calls?x=1"}, {}, "u"),
        ({"url": f"http://{HOST}@other.example/api/v1/calls?x=1"}, {}, "u"),
        ({"url": TARGET}, {}, "u"),
        ({"url": URL + "#part"}, {}, "u"),
        ({"url": ""}, {}, "u"),
        ({}, {"target": "/api/v1/grants?x=1"}, "u"),
        ({"method": "GET"}, {}, "method"),
        ({"method": ""}, {}, "method"),
        ({"body": b'{"a":2}'}, {}, "payload"),
        ({"body": b""}, {}, "payload"),
        ({}, {"body": b'{"a":1} '}, "payload"),
        ({"now": NOW - REQUEST_WINDOW_S - 1}, {}, "created_at"),
        ({"now": NOW + REQUEST_WINDOW_S + 1}, {}, "created_at"),
    ],
)
def test_a_proof_for_another_request_is_refused(
    proof: dict[str, Any], request_: dict[str, Any], field: str
) -> None:
    assert refused(signed(**proof), **request_).field == f"Authorization.{field}"


@pytest.mark.parametrize("kind", [1, kinds.CLIENT_AUTH, kinds.TOKEN])
def test_an_event_of_another_kind_is_no_proof(kind: int) -> None:
    event = sign_event(AGENT, kind=kind, created_at=NOW, tags=[["u", URL], ["method", "POST"]])
    assert refused(as_header(event), body=b"").field == "Authorization.kind"


def test_a_proof_is_for_one_use() -> None:
    gate, header = a_gate(), signed()
    assert who(header, gate) is not None
    assert refused(header, gate=gate).field == "Authorization"
    assert who(signed(now=NOW + 1), gate) is not None


def test_a_proof_stays_used_for_as_long_as_it_would_be_taken() -> None:
    gate, header = a_gate(), signed(now=NOW + REQUEST_WINDOW_S)
    assert who(header, gate) is not None
    late = NOW + 2 * REQUEST_WINDOW_S
    assert "used before" in refused(header, gate=gate, now=late).reason
    assert refused(header, gate=gate, now=late + 1).field == "Authorization.created_at"


def test_a_proof_that_was_refused_is_not_used_up() -> None:
    gate, header = a_gate(), signed()
    refused(header, gate=gate, method="GET")
    assert who(header, gate) is not None


def test_a_full_memory_of_proofs_refuses_until_some_are_too_old() -> None:
    gate = HttpGate(NODE.public, frozenset({HOST}), seen_max=2)
    for number in range(2):
        assert who(signed(body=b"%d" % number), gate, body=b"%d" % number) is not None
    with pytest.raises(RateLimited):
        who(signed(), gate)
    with pytest.raises(RateLimited):  # forgetting now would let the first two be used again
        who(signed(now=NOW + 2 * REQUEST_WINDOW_S), gate, now=NOW + 2 * REQUEST_WINDOW_S)
    later = NOW + 2 * REQUEST_WINDOW_S + 1
    assert who(signed(now=later), gate, now=later) is not None


# --- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Nostr",
        "Nostr ",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "nonsense",
        " ",
        "Nostr !!!",
        "Nostr é",
        "Nostr a",
        "Nostr " + base64.b64encode(b"not json").decode(),
        "Nostr " + base64.b64encode(b"\xff" * 10).decode(),
        "Nostr " + "A" * (http_auth.HEADER_MAX + 1),
        "Bearer " + base64.b64encode(b"[" * 6000).decode(),
        as_header(msgspec.structs.replace(sign_event(AGENT, kind=27235, created_at=NOW), kind=1)),
        as_header(
            msgspec.structs.replace(sign_event(AGENT, kind=1, created_at=NOW), sig="00" * 64)
        ),
    ],
)
def test_a_header_that_holds_no_signed_event_is_refused(header: str) -> None:
    assert refused(header).field == "Authorization"


# --- bearer tokens ------------------------------------------------------------------------------


def a_token(node: PublicKey = NODE.public, now: int = NOW, life_s: int = 3600) -> str:
    return "Bearer " + http_auth.token(AGENT, node=node, now=now, life_s=life_s)


def token_event(*tags: tuple[str, str], created_at: int = NOW, kind: int = kinds.TOKEN) -> str:
    return as_header(sign_event(AGENT, kind=kind, created_at=created_at, tags=tags), "Bearer")


def test_a_token_names_its_signer_for_any_request_and_any_number_of_times() -> None:
    gate, header = a_gate(), a_token()
    for target in ("/mcp", "/api/v1/calls"):
        assert who(header, gate, target=target) == Principal(AGENT.public, AGENT.public)


def test_a_token_holds_until_its_end_and_not_beyond() -> None:
    header = a_token(life_s=100)
    assert who(header, now=NOW + 99) is not None
    assert refused(header, now=NOW + 100).field == "Authorization.exp"


def test_a_token_for_another_node_is_refused() -> None:
    assert refused(a_token(node=OWNER.public)).field == "Authorization.aud"


@pytest.mark.parametrize("life_s", [0, -1, TOKEN_LIFE_MAX_S + 1])
def test_a_token_has_a_bounded_life(life_s: int) -> None:
    with pytest.raises(Invalid) as caught:
        a_token(life_s=life_s)
    assert caught.value.field == "life"


AUD = ("aud", NODE.public)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (token_event(("exp", str(NOW + 60))), "aud"),
        (token_event(AUD), "exp"),
        (token_event(AUD, ("exp", "")), "exp"),
        (token_event(AUD, ("exp", "-1")), "exp"),
        (token_event(AUD, ("exp", "1e12")), "exp"),
        (token_event(AUD, ("exp", "9" * 13)), "exp"),
        (token_event(AUD, ("exp", "१७०००००१००")), "exp"),
        (token_event(AUD, ("exp", str(NOW + TOKEN_LIFE_MAX_S + 1))), "exp"),
        (token_event(AUD, ("exp", str(NOW + 99)), created_at=NOW + 61), "created_at"),
        (token_event(AUD, ("exp", str(NOW + 99)), kind=kinds.HTTP_AUTH), "kind"),
        (token_event(AUD, ("exp", str(NOW + 99)), kind=1), "kind"),
    ],
)
def test_a_token_whose_terms_do_not_hold_is_refused(header: str, field: str) -> None:
    assert refused(header).field == f"Authorization.{field}"


def test_a_request_proof_is_no_bearer_token_and_a_token_no_request_proof() -> None:
    assert refused(signed().replace("Nostr", "Bearer")).field == "Authorization.kind"
    assert refused(a_token().replace("Bearer", "Nostr")).field == "Authorization.u"
