"""A listing: a foreign service as its source describes it, cut down to what an offer can hold.

Everything in it is a stranger's text. Names lose control characters and are cut; a schema that our
own checks refuse takes only its capability away.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson

from hanse.errors import HanseError, Invalid
from hanse.protocol.amount import Amount
from hanse.registry.model import (
    CAPABILITIES_MAX,
    IDENTIFIER_MAX,
    NAME_MAX,
    SUMMARY_MAX,
    TERMS_MAX,
    Capability,
    Example,
)
from hanse.registry.offer_event import CONTENT_BYTES_MAX, URL_MAX, capability_row
from hanse.registry.schema import check_schema
from hanse.registry.schema_levels import written_out

ROOM_BYTES = CONTENT_BYTES_MAX - 4096
"""What the capabilities of one offer may take: the event's content holds a little more."""

OUTPUT_BYTES_MAX = 16 * 1024
RECURSIVE_LEVELS = 2
"""Of a recursive schema so many levels are written out."""
NATIVE_ID_MAX = 1024
TOPICS_MAX = 20
URLS_MAX = 10
REFUSALS_MAX = 1000
DESCRIPTION_MAX = 2048
ANY_OBJECT: dict[str, Any] = {"type": "object"}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._/-]+")
_NOT_IN_TOPICS = re.compile(r"[^a-z0-9.-]+")


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A service in a source. `native_id` names it there for good; `type` says what it is.
    `verified` says what of it was checked ("" nothing)."""

    type: str
    native_id: str
    name: str
    summary: str = ""
    capabilities: tuple[Capability, ...] = ()
    urls: tuple[str, ...] = ()
    version: str = ""
    topics: tuple[str, ...] = ()
    payment_methods: tuple[str, ...] = ()
    terms: str = ""
    verified: str = ""


class Reading(msgspec.Struct, kw_only=True):
    """What a document, or a whole source, held: listings, and what was refused with its reason.
    `whole`: all that the source lists was read, so what is missing is gone there."""

    listings: list[Listing] = []
    refused: list[tuple[str, str]] = []
    whole: bool = True

    def refuse(self, what: str, reason: HanseError | str) -> None:
        """One thing is not taken."""
        if len(self.refused) < REFUSALS_MAX:
            text = reason if isinstance(reason, str) else reason.text
            self.refused.append((line(what, 200) or "?", text))

    def add(self, other: "Reading") -> None:
        """What another document held as well."""
        self.listings += other.listings
        self.refused += other.refused[: REFUSALS_MAX - len(self.refused)]
        self.whole = self.whole and other.whole


class Tools:
    """Capabilities as they are found: each checked, named once, and within an offer's bounds."""

    def __init__(self, reading: Reading, where: str) -> None:
        self._reading = reading
        self._where = where
        self._found: dict[str, Capability] = {}
        self._bytes = 0

    def add(
        self,
        name: str,
        *,
        description: Any = "",
        title: Any = "",
        takes: Any = None,
        returns: Any = None,
        examples: tuple[Example, ...] = (),
        price: Amount | None = None,
        idempotent: bool | None = None,
    ) -> None:
        """One more. What cannot be used is refused in the reading."""
        where = f"{self._where} {name}"
        try:
            if len(self._found) >= CAPABILITIES_MAX:
                raise Invalid.at("capabilities", f"an offer holds {CAPABILITIES_MAX}")
            takes = ANY_OBJECT if takes is None else _ending(takes)
            check_schema(takes, "input schema")
            returns = self._usable(returns, where)
            one = Capability(
                name=self._fresh(tool_name(name)),
                title=line(title, 255),
                description=prose(description, DESCRIPTION_MAX),
                input_schema=takes,
                output_schema=returns,
                examples=examples,
                idempotent=idempotent,
                price=price or Amount(0),
                by_call=price is not None,
            )
            size = len(orjson.dumps(capability_row(one)))
            if self._bytes + size > ROOM_BYTES:
                raise Invalid.at("capabilities", f"an offer holds {ROOM_BYTES} bytes of them")
        except (HanseError, TypeError) as exc:  # orjson: a TypeError for what JSON cannot carry
            self._reading.refuse(where, exc if isinstance(exc, HanseError) else str(exc))
            return
        self._bytes += size
        self._found[one.name] = one

    def done(self) -> tuple[Capability, ...]:
        """All. Raises Invalid if there is none."""
        if not self._found:
            raise Invalid.at(self._where, "has no capability that can be used")
        return tuple(self._found.values())

    def _usable(self, returns: Any, where: str) -> Any:
        """The output schema; None for one that cannot be used or is large: what a capability takes
        is worth having without what it returns."""
        if returns is None:
            return None
        returns = _ending(returns)
        try:
            check_schema(returns, "output schema")
            size = len(orjson.dumps(returns))
            if size > OUTPUT_BYTES_MAX:
                raise Invalid.at("output schema", f"has {size} bytes, over {OUTPUT_BYTES_MAX}")
        except HanseError as exc:
            self._reading.refuse(where, f"{exc.text}: left out")
            return None
        return returns

    def _fresh(self, name: str) -> str:
        number, base = 1, name
        while name in self._found:
            number += 1
            end = f"_{number}"
            name = base[: NAME_MAX - len(end)] + end
        return name


def _ending(schema: Any) -> Any:
    """A schema with its circles written out, if it is an object not deeper than we read."""
    return written_out(schema, RECURSIVE_LEVELS) if isinstance(schema, dict) else schema


# --- a stranger's words -------------------------------------------------------------------------


def line(text: Any, most: int) -> str:
    """One line without control or formatting characters; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    seen = " ".join(text[: 4 * most].split())
    return _shown(seen)[:most].strip()


def prose(text: Any, most: int) -> str:
    """Some lines without control or formatting characters."""
    if not isinstance(text, str):
        return ""
    lines = (_shown(one) for one in text[: 4 * most].splitlines())
    return "\n".join(lines)[:most].strip()


def _shown(text: str) -> str:
    return "".join(
        char if char != "\t" else " "
        for char in text
        if char == "\t" or unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
    )


def name_of(text: Any, otherwise: str) -> str:
    """A name for an offer: never blank, and within its bytes."""
    found = line(text, IDENTIFIER_MAX) or line(otherwise, IDENTIFIER_MAX) or "unnamed"
    return found.encode()[:IDENTIFIER_MAX].decode(errors="ignore").strip()


def summary_of(*parts: Any) -> str:
    """Texts as one summary."""
    return prose(
        "\n".join(found for part in parts if (found := prose(part, SUMMARY_MAX))), SUMMARY_MAX
    )


def terms_of(text: Any) -> str:
    """Terms, or how to pay at the source."""
    return prose(text, TERMS_MAX)


def tool_name(text: str) -> str:
    """A capability's name as MCP tools have it."""
    found = _NOT_IN_NAMES.sub("_", text).strip("_./-")
    return found[:NAME_MAX].rstrip("_./-") or "call"


def topics_of(*words: Any) -> tuple[str, ...]:
    """Topics of words, each once."""
    found: dict[str, None] = {}
    for word in words:
        if isinstance(word, str) and (topic := _NOT_IN_TOPICS.sub("-", word.lower()).strip("-.")):
            found[topic[:NAME_MAX]] = None
    return tuple(found)[:TOPICS_MAX]


def urls_of(candidates: Iterable[Any]) -> tuple[str, ...]:
    """Web and relay addresses, each once. They are shown, never connected to."""
    found: dict[str, None] = {}
    for text in candidates:
        if isinstance(text, str) and is_address(text):
            found[text] = None
    return tuple(found)[:URLS_MAX]


def is_address(text: str) -> bool:
    """Whether it is a URL that may stand in an offer."""
    if len(text) > URL_MAX or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http", "wss", "ws") and bool(parts.hostname)
    except ValueError:
        return False


def version_of(text: Any) -> str:
    """A version as it stands at the source."""
    return line(text, NAME_MAX) if isinstance(text, str | int | float) else ""


def native_id_of(text: Any) -> str:
    """What names a listing at its source. Raises Invalid."""
    found = line(text, NATIVE_ID_MAX)
    if not found:
        raise Invalid.at("id", "is missing")
    return found


def rows(found: Any, field: str, most: int) -> list[dict[str, Any]]:
    """A list of objects. Raises Invalid for anything else, and for more than `most`."""
    if not isinstance(found, list) or len(found) > most:
        raise Invalid.at(field, f"must be a list of at most {most}")
    return [row for row in found if isinstance(row, dict)]


def held(found: Any) -> dict[str, Any]:
    """An object, or an empty one for anything else."""
    return found if isinstance(found, dict) else {}


def texts(found: Any, most: int = 50) -> list[str]:
    """The texts in a list; none for anything else."""
    return [one for one in found[:most] if isinstance(one, str)] if isinstance(found, list) else []
