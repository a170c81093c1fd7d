"""Handles: any text is a name that reads back as itself, or is refused by field."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.protocol.handle import NAME_MAX, Handle, handle_name, nostr_json

LETTERS = string.ascii_lowercase + string.digits + "-_."
KEY = new_secret().public


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
