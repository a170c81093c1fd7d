"""A search as one line of text (NIP-50): words, and constraints as `name:value`.

    send an sms max_price:3sat latency_p95_ms:500 regions:US payment_methods:lightning version:^2

The names are those of `search.Constraints`, and `capability`. Lists are divided by commas, or named
again. Other `name:value` words are passed over, as NIP-50 has it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from hanse.errors import HanseError, Invalid
from hanse.protocol.address import read_public_key
from hanse.protocol.amount import Amount
from hanse.protocol.words import query_words
from hanse.registry.search import LISTS, SIDE_EFFECTS, Constraints

_PART = re.compile(r"(\w+):(\S+)")
_BOOLEANS = {"true": True, "false": False}


class Asked(msgspec.Struct, frozen=True):
    """What a line asks for."""

    words: str
    constraints: Constraints
    capability: str | None = None

    @property
    def nothing(self) -> bool:
        """Whether it asks for nothing in particular."""
        nothing = not self.capability and self.constraints == Constraints()
        return nothing and not query_words(self.words)


def read_asked(text: str) -> Asked:
    """Raises Invalid naming the constraint that cannot be read."""
    words: list[str] = []
    given: dict[str, Any] = {}
    for part in text.split():
        found = _PART.fullmatch(part)
        if found is None:
            words.append(part)
            continue
        name, value = found[1], found[2]
        if name in LISTS:
            given[name] = (*given.get(name, ()), *filter(None, value.split(",")))
        elif name in _READERS:
            if name in given:
                raise Invalid.at(f"search.{name}", "is given twice")
            given[name] = _read(name, value)
    for effect in given.get("side_effects", ()):
        if effect not in SIDE_EFFECTS:
            raise Invalid.at("search.side_effects", f"is not one of {', '.join(SIDE_EFFECTS)}")
    capability = given.pop("capability", None)
    try:
        return Asked(" ".join(words), Constraints(**given), capability)
    except HanseError as exc:
        exc.field = f"search.{(exc.field or '').removeprefix('constraints.')}"
        raise


def narrowed(asked: Constraints, *, provider: str | None, topics: Iterable[str]) -> Constraints:
    """The same and, if they are given, of this provider and with these topics."""
    more = tuple(dict.fromkeys((*asked.topics, *topics)))
    if provider is not None and asked.provider not in (None, provider):
        more = (*more, "\0")  # of two providers at once there is nothing
    return msgspec.structs.replace(
        asked, provider=provider if provider is not None else asked.provider, topics=more
    )


def _read(name: str, value: str) -> Any:
    try:
        return _READERS[name](value)
    except (ValueError, KeyError) as exc:
        raise Invalid.at(f"search.{name}", f"cannot be {value[:60]!r}") from exc
    except HanseError as exc:
        raise Invalid.at(f"search.{name}", exc.reason) from exc


_READERS: dict[str, Callable[[str], Any]] = {
    "max_price": lambda text: Amount.parse(text, "max_price"),
    "latency_p95_ms": int,
    "success_rate": float,
    "availability": float,
    "throughput_per_s": float,
    "level": int,
    "version": str,
    "provider": lambda text: read_public_key(text, "provider"),
    "operator": lambda text: read_public_key(text, "operator"),
    "online": lambda text: _BOOLEANS[text],
    "imported": lambda text: _BOOLEANS[text],
    "capability": str,
}
