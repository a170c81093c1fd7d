"""The event: NIP-01's exact bytes, what parsing refuses, and what a check proves."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hanse.errors import Invalid, TooLarge
from hanse.protocol.event import (
    EVENT_BYTES_MAX,
    Event,
    check_event,
    digest_of,
    encode_event,
    event_id,
    parse_event,
    sign_event,
)
from hanse.protocol.keys import PublicKey, SecretKey

KEY = SecretKey(bytes([7]) * 32)
OTHER = SecretKey(bytes([8]) * 32)
NIP01_ESCAPES = {
    "\n": "\\n",
    '"': '\\"',
    "\\": "\\\\",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}


def written_by_hand(text: str) -> bytes:
    """A JSON string as NIP-01 spells it: seven escapes, other controls as \\u00xx."""
    out = "".join(
        NIP01_ESCAPES.get(char) or (f"\\u{ord(char):04x}" if ord(char) < 32 else char)
        for char in text
    )
    return f'"{out}"'.encode()


def an_event(**changes: Any) -> Event:
    fields: dict[str, Any] = {"kind": 1, "created_at": 1_700_000_000, "content": "hi"} | changes
    return sign_event(KEY, **fields)


def as_json(event: Event, **changes: Any) -> bytes:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return json.dumps(fields | changes).encode()


def refusal(attempt: Callable[[], object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        attempt()
    return caught.value


# --- serialisation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "".join(map(chr, range(0x80))),
        "\x7f\x80\x9f\u2028\u2029\ufeff\ufffe\uffff",
        "é ß 你好 🦀 \U0010ffff",
        "</script> & / ' \u00a0",
    ],
)
def test_the_id_is_the_hash_of_exactly_nip_01s_bytes(text: str) -> None:
    word = written_by_hand(text)
    raw = b'[0,"%s",1700000000,1,[[%s,%s],[]],%s]' % (KEY.public.encode(), word, word, word)
    tags = ((text, text), ())
    assert digest_of(KEY.public, 1_700_000_000, 1, tags, text) == hashlib.sha256(raw).digest()


def test_every_character_survives_encoding_and_parsing() -> None:
    text = "".join(chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000)
    event = an_event(content=text, tags=[["t", text]])
    assert parse_event(encode_event(event)) == event
    check_event(parse_event(encode_event(event)))


def test_an_event_is_written_in_wire_order_without_spaces() -> None:
    event = an_event(tags=[["t", "a"]])
    assert (
        encode_event(event)
        == (
            f'{{"id":"{event.id}","pubkey":"{KEY.public}","created_at":1700000000,"kind":1,'
            f'"tags":[["t","a"]],"content":"hi","sig":"{event.sig}"}}'
        ).encode()
    )


def test_json_escapes_in_the_input_name_the_same_event() -> None:
    event = an_event(content="é🦀")
    assert b"\\ud83e" in as_json(event)
    assert parse_event(as_json(event)) == event


def test_fields_that_nip_01_does_not_know_are_dropped() -> None:
    event = an_event()
    assert encode_event(parse_event(as_json(event, extra={"a": [1]}))) == encode_event(event)


# --- parsing --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"])
def test_a_missing_field_is_named(field: str) -> None:
    found = json.loads(as_json(an_event()))
    del found[field]
    error = refusal(lambda: parse_event(json.dumps(found).encode()))
    assert (error.field, error.reason) == (f"event.{field}", "is missing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", -1),
        ("kind", 65536),
        ("kind", 1.0),
        ("kind", "1"),
        ("kind", True),
        ("kind", None),
        ("created_at", -1),
        ("created_at", 2**53),
        ("created_at", 10**30),
        ("created_at", 1.5),
        ("created_at", "1"),
        ("created_at", False),
        ("content", None),
        ("content", 1),
        ("id", 5),
        ("pubkey", []),
        ("sig", {}),
        ("tags", None),
        ("tags", {}),
        ("tags", "t"),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_named(field: str, value: object) -> None:
    assert refusal(lambda: parse_event(as_json(an_event(), **{field: value}))).field == (
        f"event.{field}"
    )


@pytest.mark.parametrize("tag", [[1], [None], [["nested"]], "t", {"t": 1}, 7])
def test_a_tag_that_is_not_a_list_of_strings_is_named_with_its_place(tag: object) -> None:
    error = refusal(lambda: parse_event(as_json(an_event(), tags=[["t", "a"], tag])))
    assert error.field.startswith("event.tags[1]")


@pytest.mark.parametrize(("kind", "created_at"), [(0, 0), (65535, 2**53 - 1)])
def test_the_ends_of_the_ranges_are_taken(kind: int, created_at: int) -> None:
    event = an_event(kind=kind, created_at=created_at)
    assert parse_event(encode_event(event)) == event
    check_event(event)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"id"',
        b"\xff\xfe",
        b"nonsense",
        b"1" * 5000,
        as_json(an_event()) + b"x",
        as_json(an_event()).replace(b'"hi"', b'"\xff"'),
        as_json(an_event()).replace(b'"hi"', b'"\xed\xa0\x80"'),  # a surrogate written as UTF-8
        as_json(an_event()).replace(b'"hi"', b'"\\ud800"'),
        as_json(an_event()).replace(b'"hi"', b'"\\udc00\\ud800"'),
        as_json(an_event()).replace(b'"hi"', b'"a\nb"'),  # a control character left unescaped
        "\ud800",
        '{"id":"\udfff"}',
    ],
)
def test_what_is_not_an_event_in_json_is_refused(raw: bytes | str) -> None:
    assert refusal(lambda: parse_event(raw)).field == "event"


def test_an_event_over_the_size_bound_is_refused_before_it_is_read() -> None:
    event = an_event(content="x" * EVENT_BYTES_MAX)
    assert isinstance(refusal(lambda: parse_event(encode_event(event))), TooLarge)


def test_the_size_bound_counts_bytes_of_text_too() -> None:
    event = an_event(content="é" * (EVENT_BYTES_MAX // 2))
    assert isinstance(refusal(lambda: parse_event(encode_event(event).decode())), TooLarge)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_without_end_is_refused(opening: bytes) -> None:
    raw = as_json(an_event())[:-1] + b', "x": ' + opening * 50_000
    assert isinstance(refusal(lambda: parse_event(raw)), TooLarge)


# --- checking -------------------------------------------------------------------------------


def test_a_signed_event_holds_and_its_digest_is_its_id() -> None:
    event = an_event()
    assert check_event(event).hex() == event.id


@pytest.mark.parametrize(
    "changes",
    [
        {"content": "hi "},
        {"kind": 2},
        {"created_at": 1_700_000_001},
        {"tags": (("t", "a"),)},
        {"pubkey": OTHER.public},
        {"id": "0" * 64},
        {"id": ""},
    ],
)
def test_an_event_that_was_changed_no_longer_matches_its_id(changes: dict[str, Any]) -> None:
    event = msgspec.structs.replace(an_event(), **changes)
    assert refusal(lambda: check_event(event)).field == "event.id"


def test_an_id_in_upper_case_is_refused() -> None:
    event = an_event()
    assert event.id.upper() != event.id
    changed = msgspec.structs.replace(event, id=event.id.upper())
    assert refusal(lambda: check_event(changed)).field == "event.id"


def resigned(pubkey: str, signer: SecretKey = KEY) -> Event:
    """An event whose id and signature fit a pubkey spelled in some way."""
    digest = digest_of(pubkey, 1, 1, (), "")
    return Event(
        id=digest.hex(),
        pubkey=PublicKey(pubkey),
        created_at=1,
        kind=1,
        tags=(),
        content="",
        sig=signer.sign(digest),
    )


@pytest.mark.parametrize(
    "spelled",
    [KEY.public.upper(), f" {KEY.public}", f"{KEY.public[:2]} {KEY.public[2:]}"],
)
def test_a_second_spelling_of_a_pubkey_is_refused_though_its_signature_fits(spelled: str) -> None:
    assert refusal(lambda: check_event(resigned(spelled))).field == "event.pubkey"


@pytest.mark.parametrize("spelled", ["", "00", KEY.public[:-2], KEY.public + "00", "f" * 64])
def test_a_pubkey_that_is_no_point_is_refused(spelled: str) -> None:
    assert refusal(lambda: check_event(resigned(spelled))).field in ("event.pubkey", "event.sig")


@pytest.mark.parametrize("spelled", ["zz" * 32, "é" * 64, "0x" + KEY.public[2:]])
def test_a_pubkey_that_is_not_hex_is_refused(spelled: str) -> None:
    assert refusal(lambda: check_event(resigned(spelled))).field.startswith("event")


def test_a_signature_in_upper_case_is_refused() -> None:
    event = an_event()
    changed = msgspec.structs.replace(event, sig=event.sig.upper())
    assert refusal(lambda: check_event(changed)).field == "event.sig"


@pytest.mark.parametrize(
    "sig", ["", "00" * 64, "ff" * 64, "00" * 63, "00" * 65, an_event(content="other").sig]
)
def test_a_signature_that_does_not_fit_is_refused(sig: str) -> None:
    changed = msgspec.structs.replace(an_event(), sig=sig)
    assert refusal(lambda: check_event(changed)).field == "event.sig"


def test_a_signature_by_somebody_else_is_refused() -> None:
    assert refusal(lambda: check_event(resigned(KEY.public, OTHER))).field == "event.sig"


def test_one_flipped_bit_of_a_signature_is_refused() -> None:
    event = an_event()
    last = f"{int(event.sig[-1], 16) ^ 1:x}"
    changed = msgspec.structs.replace(event, sig=event.sig[:-1] + last)
    assert refusal(lambda: check_event(changed)).field == "event.sig"


@pytest.mark.parametrize("where", ["content", "tags"])
def test_a_lone_surrogate_is_refused_by_signing_and_checking(where: str) -> None:
    found: dict[str, Any] = (
        {"content": "\ud800"} if where == "content" else {"tags": (("\udfff",),)}
    )
    assert refusal(lambda: an_event(**found))
    changed = msgspec.structs.replace(an_event(), **found)
    assert refusal(lambda: check_event(changed))


# --- reading --------------------------------------------------------------------------------


def test_tag_gives_the_first_value_and_values_gives_all() -> None:
    event = an_event(tags=[["e"], ["e", "1", "x"], ["p", "2"], ["e", "3"], []])
    assert event.tag("e") == "1"
    assert event.values("e") == ["1", "3"]
    assert event.tag("q") is None
    assert event.values("q") == []


def test_an_event_id_is_checked_by_its_spelling() -> None:
    assert event_id("ab" * 32) == "ab" * 32
    for bad in ("", "AB" * 32, "ab" * 31, "zz" * 32):
        assert refusal(lambda bad=bad: event_id(bad, "call.id")).field == "call.id"  # type: ignore[misc]
