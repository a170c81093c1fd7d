"""Handles: any text is a name that reads back as itself, or is refused by field."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import HanseError, Invalid, NotFound
from hanse.identity.resolver import RELAYS_MAX, read_document
from hanse.identity.statement import read_statement, statement
from hanse.keyring import new_secret
from hanse.protocol import kinds
from hanse.protocol.event import Event, encode_event, parse_event, sign_event
from hanse.protocol.handle import (
    NAME_MAX,
    Address,
    Handle,
    handle_name,
    nostr_json,
    read_handle,
    shape,
)

LETTERS = string.ascii_lowercase + string.digits + "-_."
SECRET = new_secret()
KEY = SECRET.public
NAMES = st.text(LETTERS, min_size=1, max_size=NAME_MAX)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DOMAINS = st.builds(
    lambda labels, port: ".".join(labels) + port,
    st.lists(LABELS, min_size=1, max_size=4),
    st.sampled_from(["", ":1", ":7447", ":65535"]),
)
HANDLES = st.builds(Address, NAMES, DOMAINS)
TWINS = ["0o", "1l", "1i", "il", "2z", "5s", "8b", "9g"]
LONG_TWINS = [("rn", "m"), ("vv", "w"), ("cl", "d"), ("ci", "d")]


@given(st.text(LETTERS + string.ascii_uppercase, min_size=1, max_size=NAME_MAX))
def test_a_name_of_allowed_characters_is_kept_in_lower_case(text: str) -> None:
    assert handle_name(text) == text.lower()
    assert handle_name(handle_name(text)) == handle_name(text)


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = handle_name(text, "query.name")
    except Invalid:
        assert not text.isascii() or not 0 < len(text) <= NAME_MAX or set(text.lower()) - {*LETTERS}
    else:
        assert set(name) <= {*LETTERS}
        assert name == text.lower()


@given(st.text(LETTERS, min_size=1, max_size=NAME_MAX))
def test_the_document_names_the_key_and_where_to_find_it(name: str) -> None:
    found = json.loads(json.dumps(nostr_json(Handle(name, KEY), ["wss://a.example"])))
    assert found == {"names": {name: KEY}, "relays": {KEY: ["wss://a.example"]}}


@pytest.mark.parametrize(
    "text", ["", "a" * 65, "a b", "ada@example", "../x", "\u017f", "\u212a", "a\n"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        handle_name(text, "query.name")
    assert caught.value.field == "query.name"


@given(HANDLES)
def test_a_handle_reads_back_as_itself(handle: Address) -> None:
    assert read_handle(str(handle)) == handle
    assert read_handle(str(handle).upper()) == handle
    assert read_handle(handle.domain) == Address("_", handle.domain)


@given(st.text() | st.text("ab1-_.@: é", max_size=30))
def test_any_text_is_a_handle_or_refused(text: str) -> None:
    try:
        found = read_handle(text)
    except Invalid as exc:
        field = exc.field
    else:
        field = "handle"
        assert read_handle(str(found)) == found
        assert str(found).isascii()
        assert str(found) == str(found).lower()
    assert field == "handle"


@pytest.mark.parametrize(
    "text",
    [
        "a@b@c",
        "a@-b.example",
        "a@b..example",
        "a@b.example:0",
        "a@b.example:65536",
        "a@b.example/x",
        "a@[::1]",
        "a@böb.example",
        "a@" + "b" * 64 + ".example",
        "@b.example",
        "",
        "@",
    ],
)
def test_what_is_no_handle_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_handle(text, "handle")


@given(NAMES, NAMES, st.data())
def test_names_that_a_reader_confuses_have_one_shape(
    before: str, after: str, data: st.DataObject
) -> None:
    one, other = data.draw(st.sampled_from([tuple(pair) for pair in TWINS] + LONG_TWINS))
    assert shape(before + one + after) == shape(before + other + after)
    mark = data.draw(st.sampled_from("-_."))
    assert shape(before + mark + after) == shape(before + after)


@given(st.lists(st.sampled_from("acefhjknpqrtuvxy"), min_size=1, max_size=9).map("".join))
def test_letters_that_nobody_confuses_keep_their_names_apart(name: str) -> None:
    assert shape(name) == name


@given(HANDLES, st.none() | HANDLES, st.integers(0, 2**40))
def test_a_statement_reads_back_as_it_was_signed(
    handle: Address, moved: Address | None, now_s: int
) -> None:
    if moved == handle:
        return
    event = statement(SECRET, handle, now_s=now_s, moved=moved)
    found = read_statement(parse_event(encode_event(event)))
    assert (found.handle, found.moved, found.event) == (handle, moved, event)


TAGS = st.lists(
    st.tuples(
        st.sampled_from(["d", "v", "moved", "x"]), st.sampled_from(["a@b", "1.0.0", "", "é"])
    ),
    max_size=5,
)


@given(TAGS, st.sampled_from([1, kinds.HANDLE]))
def test_any_event_is_a_statement_or_refused(tags: list[tuple[str, str]], kind: int) -> None:
    event = sign_event(SECRET, kind=kind, created_at=1, tags=tags)
    try:
        found = read_statement(event)
    except HanseError as exc:
        field = exc.field
    else:
        field = "statement"
        assert kind == kinds.HANDLE
        assert found.handle == Address("a", "b")
    assert field.startswith("statement")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(KEY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["names", "relays", "statements", "a", KEY, "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_names_a_key_or_is_refused(document: object) -> None:
    try:
        found = read_document(document, Address("a", "b"), 10)
    except (Invalid, NotFound) as exc:
        field = exc.field
    else:
        field = "handle"
        assert found.pubkey == KEY
        assert found.statement is None
    assert field == "handle"


def test_a_statement_counts_only_if_it_is_this_key_s_about_this_handle() -> None:
    handle, other = Address("ada", "b.example"), Address("ada", "c.example")

    def counted(event: Event) -> bool:
        document = {
            "names": {"ada": KEY},
            "relays": {KEY: [f"wss://{number}.example" for number in range(20)]},
            "statements": {"ada": json.loads(encode_event(event))},
        }
        found = read_document(document, handle, 1000)
        assert len(found.relays) == RELAYS_MAX
        return found.statement is not None

    assert counted(statement(SECRET, handle, now_s=1000))
    assert not counted(statement(SECRET, other, now_s=1000))
    assert not counted(statement(new_secret(), handle, now_s=1000))
    assert not counted(statement(SECRET, handle, now_s=5000))
