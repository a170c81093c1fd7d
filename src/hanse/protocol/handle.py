"""Handles, `name@domain` (NIP-05): which there can be, which look alike, and the document that
answers for them."""

import re
from typing import Any, Final

import msgspec

from hanse.errors import Invalid
from hanse.protocol.keys import PublicKey

NAME_MAX: Final = 64
DOMAIN_MAX: Final = 253
HANDLE_MAX: Final = NAME_MAX + 1 + DOMAIN_MAX + len(":65535")
ROOT: Final = "_"
"""`_@domain` is shown as the domain alone."""

_NAME = re.compile(r"[a-z0-9._-]+")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?::([1-9][0-9]{{0,4}}))?")

# What one reader writes for another: digits like letters, letters like two others, and the marks
# between, which nobody hears.
_SHAPES = str.maketrans(
    {
        "0": "o",
        "1": "l",
        "i": "l",
        "2": "z",
        "5": "s",
        "8": "b",
        "9": "g",
        "d": "cl",
        "m": "rn",
        "w": "vv",
        "-": "",
        "_": "",
        ".": "",
    }
)


class Handle(msgspec.Struct, frozen=True):
    """A name and whose it is. One that the operator gave is for good (`until_s` 0); one that was
    claimed has an end, its `operator`, and the `statement` (an event's JSON) that its key signed.
    `moved` is the handle its key went to; `said_s` is the statement's time."""

    name: str
    pubkey: PublicKey
    operator: str = ""
    until_s: int = 0
    moved: str = ""
    said_s: int = 0
    statement: bytes = b""


class Address(msgspec.Struct, frozen=True):
    """`name@domain`; the domain may have a port."""

    name: str
    domain: str

    def __str__(self) -> str:
        return f"{self.name}@{self.domain}"


def is_handle_name(text: str) -> bool:
    """Whether a name is one as it is kept."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def handle_name(text: str, field: str = "name") -> str:
    """A name as it is kept: letters in lower case, since readers compare without case. Raises
    Invalid."""
    if not text.isascii() or not is_handle_name(text.lower()):
        raise Invalid.at(field, f"use 1 to {NAME_MAX} of a-z, 0-9, `-`, `_` and `.`")
    return text.lower()


def shape(name: str) -> str:
    """What is the same for names that a reader could take for each other."""
    return name.translate(_SHAPES)


def looks_like_handle(text: str) -> bool:
    """Whether a text is meant as `name@domain`: no key, address or plain name has an `@`."""
    return "@" in text


def read_handle(text: str, field: str = "handle") -> Address:
    """`name@domain` in lower case; a domain alone is its `_`. Raises Invalid."""
    name, at, domain = text.strip().rpartition("@")
    if not domain.isascii():
        raise Invalid.at(field, "its domain is not ASCII", "write it as punycode: xn--…")
    found = _DOMAIN.fullmatch(domain.lower())
    if found is None or len(found[1]) > DOMAIN_MAX or int(found[2] or 1) > 65535:
        raise Invalid.at(field, "its domain is none", "use name@domain, e.g. ada@example.com")
    port = "" if found[2] in (None, "443") else f":{found[2]}"
    return Address(handle_name(name if at else ROOT, field), found[1] + port)


def nostr_json(found: Handle | None, relays: list[str]) -> dict[str, Any]:
    """The NIP-05 document for one name that was asked for; no names when nobody has it. What its
    key signed about it (kind 31411) stands beside."""
    if found is None:
        return {"names": {}}
    document: dict[str, Any] = {
        "names": {found.name: found.pubkey},
        "relays": {found.pubkey: relays},
    }
    if found.statement:
        document["statements"] = {found.name: msgspec.json.decode(found.statement)}
    return document
