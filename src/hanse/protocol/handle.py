"""Handles: the local part of `name@domain` (NIP-05), and the document that answers for them."""

import re
from typing import Any

import msgspec

from hanse.errors import Invalid
from hanse.protocol.keys import PublicKey

NAME_MAX = 64
ROOT = "_"
"""`_@domain` is shown as the domain alone."""

_NAME = re.compile(r"[a-z0-9._-]+")


class Handle(msgspec.Struct, frozen=True):
    """A name and whose it is."""

    name: str
    pubkey: PublicKey


def is_handle_name(text: str) -> bool:
    """Whether a name is one as it is kept."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def handle_name(text: str, field: str = "name") -> str:
    """A name as it is kept: letters in lower case, since readers compare without case. Raises
    Invalid."""
    if not text.isascii() or not is_handle_name(text.lower()):
        raise Invalid.at(field, f"use 1 to {NAME_MAX} of a-z, 0-9, `-`, `_` and `.`")
    return text.lower()


def nostr_json(found: Handle | None, relays: list[str]) -> dict[str, Any]:
    """The NIP-05 document for one name that was asked for; no names when nobody has it."""
    if found is None:
        return {"names": {}}
    return {"names": {found.name: found.pubkey}, "relays": {found.pubkey: relays}}
