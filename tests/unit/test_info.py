"""The NIP-11 document: every bound that is enforced, and the operator's words."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanse.application import described
from hanse.cli.about import words
from hanse.cli.limits import LIMITS, limited
from hanse.config import Config
from hanse.errors import HanseError
from hanse.keyring import new_secret
from hanse.protocol.address import encode_npub
from hanse.servers.relay.words import Words

CONFIG = Config(data=Path("data"))
SETTINGS = (Path(__file__).parents[2] / "docs/settings.md").read_text()
FIELDS = dict(
    re.findall(r"^\| ([a-z-]+) \| (?:[0-9]+|none) \| .* \| `([a-z_]+)` \|$", SETTINGS, re.M)
)
NIP_11 = {
    "max_message_length",
    "max_subscriptions",
    "max_filters",
    "max_limit",
    "max_subid_length",
    "max_event_tags",
    "max_content_length",
    "min_pow_difficulty",
    "auth_required",
    "payment_required",
    "restricted_writes",
    "created_at_lower_limit",
    "created_at_upper_limit",
    "default_limit",
}
BOUNDS = ("rules", "socket_limits", "session_limits", "read_limits", "compare_limits")
NOT_A_CLIENTS = {
    "rules.members.keys": "who is known is nobody's business; that membership counts is said",
    "rules.rates.names_max": "how many are counted apart",
    "rules.rates.trusted": "whom the operator trusts",
    "rules.rates.proxies": "whom the operator trusts",
    "socket_limits.large_buffers_max": "who is disconnected may come back at once",
    "socket_limits.request_s": "of HTTP, before there is a connection",
    "socket_limits.request_head_bytes_max": "of HTTP, before there is a connection",
}
NODE, OPERATOR = new_secret().public, new_secret().public


def document(config: Config) -> dict[str, Any]:
    return described(config, NODE, OPERATOR)


def limitation(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = document(config)["limitation"]
    return found


def bounds(value: Any, path: str) -> Iterator[str]:
    """The paths of all bounds in a struct of settings."""
    if not isinstance(value, msgspec.Struct):
        yield path
        return
    for name in value.__struct_fields__:
        yield from bounds(getattr(value, name), f"{path}.{name}")


def changed(value: Any, path: list[str]) -> Any:
    """The settings with another value at the end of the path."""
    if path:
        name, *rest = path
        return msgspec.structs.replace(value, **{name: changed(getattr(value, name), rest)})
    if value is None or type(value) is bool:
        return 5 if value is None else not value
    return frozenset({7}) if isinstance(value, frozenset) else value + 1


ALL = [path for name in BOUNDS for path in bounds(getattr(CONFIG, name), name)]


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_that_an_operator_sets_is_shown_by_its_field(name: str) -> None:
    assert name in FIELDS, "docs/settings.md says no field for it"
    assert limitation(limited(CONFIG, [f"{name}=7"]))[FIELDS[name]] == 7


@pytest.mark.parametrize("path", [path for path in ALL if path not in NOT_A_CLIENTS])
def test_each_bound_and_each_rule_that_refuses_is_shown(path: str) -> None:
    """Whatever is changed, a client can see it: a new bound needs its field."""
    assert limitation(changed(CONFIG, path.split("."))) != limitation(CONFIG)


def test_what_is_kept_from_clients_exists() -> None:
    assert [path for path in NOT_A_CLIENTS if path not in ALL] == []


def test_no_lower_limit_is_shown_while_there_is_none() -> None:
    assert "created_at_lower_limit" not in limitation(CONFIG)


def test_every_field_of_ours_is_on_the_settings_page() -> None:
    ours = set(limitation(limited(CONFIG, ["behind-s=9"]))) - NIP_11
    ours = {re.sub("_of_(address|operator)_(per_s|at_once)", r"_of_key_\2", name) for name in ours}
    assert [name for name in sorted(ours) if f"`{name}`" not in SETTINGS] == []


def test_the_operator_s_words_are_in_the_document() -> None:
    said = {
        "description": "Trade by trust.\n\nBe kind.",
        "contact": "mailto:ops@relay.example",
        "icon": "https://relay.example/icon.png",
        "banner": "https://relay.example/banner.png",
        "posting_policy": "https://relay.example/posting",
        "privacy_policy": "https://relay.example/privacy",
        "terms_of_service": "https://relay.example/terms?lang=en",
    }
    key = new_secret().public
    given = [f"{word}={text}" for word, text in said.items()] + [f"pubkey={encode_npub(key)}"]
    found = document(msgspec.structs.replace(CONFIG, words=words(given)))
    assert {word: found[word] for word in said} == said
    assert found["pubkey"] == key


def test_without_words_the_key_is_the_operator_s_and_nothing_is_empty() -> None:
    found = document(CONFIG)
    assert found["pubkey"] == OPERATOR
    assert found["description"]
    assert not {"contact", "icon", "banner", "terms_of_service"} & set(found)


def test_every_word_is_on_the_settings_page() -> None:
    assert [word for word in Words.__struct_fields__ if f"`{word}`" not in SETTINGS] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("icon", "about: 'icon' is not WORD=TEXT"),
        ("name=The Hall", "about: 'name=The Hall' is not WORD=TEXT"),
        ("pubkey=me", "pubkey: "),
        ("description=" + "x" * 1001, "description: is over 1000 characters"),
        ("description=a\x00b", "description: has control characters"),
        ("contact=ops", "contact: must be a URI"),
        ("contact=mailto:" + "x" * 200, "contact: is over 200 characters"),
        ("icon=icon.png", "icon: must be an http:// or https:// URL"),
        ("banner=https:///b.png", "banner: must be"),
        ("posting_policy=javascript:alert(1)", "posting_policy: must be"),
        ("privacy_policy=https://relay.example/a b", "privacy_policy: must be"),
        ("terms_of_service=https://x.example/" + "x" * 2000, "terms_of_service: is over 2000"),
    ],
)
def test_a_word_that_cannot_be_said_is_named(text: str, says: str) -> None:
    with pytest.raises(HanseError) as caught:
        words([text])
    assert says in caught.value.text


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "The\nHall"])
def test_a_node_s_name_is_one_short_line(name: str) -> None:
    with pytest.raises(HanseError, match="name: "):
        Config(data=Path("data"), name=name)
