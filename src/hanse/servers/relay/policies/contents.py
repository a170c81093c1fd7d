"""What some kinds must look like, as far as their NIPs demand it. Before the signature check."""

import re

import msgspec

from hanse.errors import Invalid, Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.keys import is_hex
from hanse.protocol.session import host_of
from hanse.servers.relay.context import Context, Policy

ENCRYPTED_BYTES_MIN = 99
_ENCRYPTED = re.compile(r"A[g-v][A-Za-z0-9+/]*={0,2}")
"""Base64 (NIP-44) whose first byte is the version, 2."""

ALL_RELAYS = "ALL_RELAYS"


class _Embedded(msgspec.Struct):
    tags: list[list[str]] = []


_decode = msgspec.json.Decoder(_Embedded).decode


def contents(event: Event, context: Context) -> None:
    """The rule of the event's kind, if it has one."""
    found = _BY_KIND.get(event.kind)
    if found is not None:
        found(event, context)


def gift_wrap(event: Event, context: Context) -> None:
    """NIP-59: for one recipient, and encrypted (NIP-44)."""
    recipients = [tag for tag in event.tags if tag and tag[0] == "p"]
    if len(recipients) != 1 or not is_hex((*recipients[0], "")[1], 64):
        raise Invalid.at("event.tags.p", "a gift wrap has exactly one recipient")
    _encrypted(event)


def seal(event: Event, context: Context) -> None:
    """NIP-59: a seal tells nothing but its author."""
    if event.tags:
        raise Invalid.at("event.tags", "a seal has none")
    _encrypted(event)


def _encrypted(event: Event) -> None:
    text = event.content
    held = len(text) // 4 * 3 - text[-2:].count("=")
    if len(text) % 4 or held < ENCRYPTED_BYTES_MIN or not _ENCRYPTED.fullmatch(text):
        raise Invalid.at("event.content", "is not encrypted text (NIP-44, version 2)")


def repost(event: Event, context: Context) -> None:
    """NIP-70: a repost must not carry a protected event to where its author did not send it."""
    if not event.content:
        return
    try:
        found = _decode(event.content)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError):
        return  # whatever it is, it is no event that somebody could read
    if any(tag and tag[0] == "-" for tag in found.tags):
        raise Restricted("it embeds a protected event", field="event.content")


def vanish(event: Event, context: Context) -> None:
    """NIP-62: it must mean this relay."""
    asked = event.values("relay")
    if ALL_RELAYS not in asked and not any(host_of(url) in context.house.hosts for url in asked):
        raise Invalid.at("event.tags.relay", "does not name this relay")


def report(event: Event, context: Context) -> None:
    """NIP-56: whom it is about, and what it says of them."""
    if not any(is_hex(found, 64) for found in event.values("p")):
        raise Invalid.at("event.tags.p", "a report names the reported key")
    if not any(len(tag) > 2 and tag[0] in ("p", "e", "x") and tag[2] for tag in event.tags):
        raise Invalid.at("event.tags", "a report says its type in the third place of p, e or x")


def relay_list(event: Event, context: Context) -> None:
    """NIP-65: `r` tags are relay URLs, with `read`, `write` or nothing."""
    for tag in event.tags:
        if tag and tag[0] == "r":
            _relay_url((*tag, "")[1], "event.tags.r")
            if len(tag) > 2 and tag[2] not in ("", "read", "write"):
                raise Invalid.at("event.tags.r", "its marker must be read or write")


def inbox_list(event: Event, context: Context) -> None:
    """NIP-17: `relay` tags are relay URLs."""
    for tag in event.tags:
        if tag and tag[0] == "relay":
            _relay_url((*tag, "")[1], "event.tags.relay")


def _relay_url(text: str, field: str) -> None:
    if not (text.lower().startswith(("ws://", "wss://")) and host_of(text)):
        raise Invalid.at(field, "must be a ws:// or wss:// URL")


_BY_KIND: dict[int, Policy] = {
    kinds.GIFT_WRAP: gift_wrap,
    kinds.EPHEMERAL_GIFT_WRAP: gift_wrap,
    kinds.SEAL: seal,
    kinds.REPOST: repost,
    kinds.GENERIC_REPOST: repost,
    kinds.VANISH: vanish,
    kinds.REPORT: report,
    kinds.RELAY_LIST: relay_list,
    kinds.INBOX_LIST: inbox_list,
}
