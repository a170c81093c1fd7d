"""`hanse up --limit NAME=NUMBER`: the bounds an operator may set, by name."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.errors import Invalid

if TYPE_CHECKING:
    from hanse.config import Config

LIMITS: dict[str, tuple[str, ...]] = {
    "connections": ("socket_limits", "connections_max"),
    "connections-of-address": ("socket_limits", "of_one_address_max"),
    "message-bytes": ("socket_limits", "message_bytes_max"),
    "unsent-bytes": ("socket_limits", "unsent_bytes_max"),
    "ping-s": ("socket_limits", "ping_s"),
    "filter-values": ("socket_limits", "values_max"),
    "filter-values-of-address": ("socket_limits", "values_of_address_max"),
    "filter-values-of-all": ("socket_limits", "values_of_all_max"),
    "subscriptions": ("session_limits", "subscriptions_max"),
    "identities": ("session_limits", "identities_max"),
    "requests-per-s": ("session_limits", "requests_per_s"),
    "requests-at-once": ("session_limits", "requests_burst"),
    "reads": ("read_limits", "running_max"),
    "reads-waiting": ("read_limits", "waiting_max"),
    "comparisons": ("session_limits", "comparisons_max"),
    "compared-events": ("compare_limits", "items_max"),
    "compared-events-of-all": ("compare_limits", "items_of_all_max"),
    "answer-events": ("query_limit_max",),
    "event-tags": ("rules", "size", "tags_max"),
    "event-characters": ("rules", "size", "content_max"),
    "ahead-s": ("rules", "times", "future_s"),
    "behind-s": ("rules", "times", "past_s"),
}
"""Name → where it stands in the config. docs/settings.md says what each bounds."""

_SETTING = re.compile(r"([a-z-]{1,40})=(-?[0-9]{1,100})")
_MOST = 999_999_999_999

Limit = Annotated[
    list[str] | None,
    typer.Option(help="NAME=NUMBER, e.g. connections=50000; docs/settings.md has the names."),
]


def limited(config: "Config", texts: list[str] | None) -> "Config":
    """The config with these bounds set. Raises Invalid."""
    for text in texts or ():
        found = _SETTING.fullmatch(text)
        if not found:
            raise Invalid.at(
                "limit", f"{text[:60]!r} is not NAME=NUMBER", 'write "subscriptions=9"'
            )
        name, number = found.groups()
        if name not in LIMITS:
            raise Invalid.at("limit", f"{name!r} is none", f"any of {', '.join(LIMITS)}")
        if not 1 <= int(number) <= _MOST:
            raise Invalid.at("limit", f"{name} must be 1 to {_MOST}")
        config = _with(config, LIMITS[name], int(number))
    return config


def _with(part: Any, path: tuple[str, ...], value: int) -> Any:
    from msgspec.structs import replace

    name, *rest = path
    return replace(
        part, **{name: _with(getattr(part, name), tuple(rest), value) if rest else value}
    )
