"""What the index holds of one capability, made from its offer: terms, columns, a text to embed.

A term is a letter for its kind and a value. Words are by root, their impact is BM25's saturated
count over fields (Robertson & Zaragoza 2009) with fixed average lengths: a row means the same
whatever else is in the index, so that an index built in any order answers the same.

| kind | term |
|---|---|
| w | a word's root |
| t, g, d, c, p, s | topic, region, data residence, certification, payment method, side effects |
| i, o | a required input's or a given output's `path:type` |
"""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from hanse.protocol.keys import PublicKey
from hanse.protocol.words import stem, words_of
from hanse.registry import shape
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.quality import Expected, figure

IMPACT_MAX = 255
K1 = 1.2
_FIELDS = ((2.0, 3.0, 0.0), (1.0, 20.0, 0.4), (0.5, 25.0, 0.4), (0.3, 6.0, 0.4))
"""Weight, usual length and b of: name, description, the offer's words, names of inputs."""
NAME_WORDS_MAX = 32
FIELD_WORDS_MAX = 400
CONTEXT_BELOW = 12
"""A description of fewer words is embedded with its offer's: "Send a message" needs them."""
NO_PRICE = 2**62
NEVER = 2**62
NEEDS_MAX = 255

SET_KINDS = {
    "topics": "t",
    "regions": "g",
    "data_residence": "d",
    "certifications": "c",
    "payment_methods": "p",
    "side_effects": "s",
}


class Figured(msgspec.Struct, frozen=True):
    """What to expect of a capability now, as the index keeps it."""

    latency_ms: int
    success: float
    availability: float
    quality: float
    """`quality.figure`: the quality part of a score."""
    seen_s: int
    """The last sign that somebody stands behind it."""
    throughput: float = 0.0

    @classmethod
    def of(cls, expected: Expected, promise: Promise, seen_s: int) -> "Figured":
        """From the figures to count on."""
        return cls(
            expected.latency_p95_ms,
            expected.success_rate,
            expected.availability or promise.availability or 0.0,
            figure(expected, promise),
            seen_s,
            expected.throughput_per_s or 0.0,
        )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    key: int
    """Of address and name, 63 bits: the row's own name, and what breaks ties."""
    offer: int
    """Of the address."""
    name: int
    """Of the capability's name."""
    seq: int
    position: int
    provider: PublicKey
    operator: PublicKey
    version: str
    price_msat: int
    figured: Figured
    created_at: int
    expires: int
    imported: bool
    needs: int
    """Terms of kind `i` that a caller must cover; NEEDS_MAX: never known to be covered."""
    words: dict[str, int]
    terms: list[str]
    text: str


def key_of(address: str, capability: str | None = None) -> int:
    """63 bits of an address, or of a capability of it."""
    named = address if capability is None else f"{address}\n{capability}"
    digest = blake2b(named.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def folded(value: str) -> str:
    """A value of a list as it is compared: case does not matter."""
    return value.strip().casefold()


def entries(
    offer: Offer, seq: int, expires: int | None, figured: Callable[[str], Figured]
) -> list[Entry]:
    """A row for each capability. `figured`: what to expect of a capability of it."""
    about = _words(f"{offer.name} {offer.summary} {' '.join(offer.topics)}")
    shared = [
        f"{SET_KINDS[name]}{folded(value)}"
        for name, values in (
            ("topics", offer.topics),
            ("regions", offer.promise.regions),
            ("data_residence", offer.promise.data_residence),
            ("certifications", offer.promise.certifications),
            ("payment_methods", offer.payment_methods),
        )
        for value in values
    ]
    of_offer = key_of(offer.address)
    found = []
    for position, one in enumerate(offer.capabilities):
        needs, shapes = _shapes(one)
        terms = [*shared, *shapes]
        if one.side_effects is not None:
            terms.append(f"s{one.side_effects}")
        found.append(
            Entry(
                key=key_of(offer.address, one.name),
                offer=of_offer,
                name=key_of(one.name),
                seq=seq,
                position=position,
                provider=offer.provider,
                operator=offer.operator,
                version=offer.version,
                price_msat=one.price.msat if one.by_call else NO_PRICE,
                figured=figured(one.name),
                created_at=offer.created_at,
                expires=NEVER if expires is None else expires,
                imported=bool(offer.source),
                needs=needs,
                words=_impacts(one, about),
                terms=list(dict.fromkeys(terms)),
                text=_text(offer, one),
            )
        )
    return found


def _words(text: str) -> list[str]:
    return [stem(word) for word in words_of(text)[:FIELD_WORDS_MAX]]


def _impacts(one: Capability, about: list[str]) -> dict[str, int]:
    properties = one.input_schema.get("properties")
    inputs = " ".join(properties) if isinstance(properties, dict) else ""
    fields = (
        _words(f"{one.name} {one.title}")[:NAME_WORDS_MAX],
        _words(one.description),
        about,
        _words(inputs),
    )
    total: dict[str, float] = {}
    for (weight, usual, b), words in zip(_FIELDS, fields, strict=True):
        share = weight / (1 - b + b * len(words) / usual)
        for word, count in Counter(words).items():
            total[word] = total.get(word, 0.0) + share * count
    return {word: max(1, round(IMPACT_MAX * tf / (tf + K1))) for word, tf in total.items()}


def _text(offer: Offer, one: Capability) -> str:
    """What is embedded: the capability's own words and, if they are few, those its offer adds."""
    words = words_of(f"{one.name} {one.title} {one.description}")[:FIELD_WORDS_MAX]
    if len(words) < CONTEXT_BELOW:
        known = set(words)
        about = dict.fromkeys(words_of(f"{offer.name} {offer.summary}")[:FIELD_WORDS_MAX])
        words += [word for word in about if word not in known]
    return " ".join(words)


def _shapes(one: Capability) -> tuple[int, list[str]]:
    needed = shape.required_of(one.input_schema)
    terms = [f"i{path}:{kind}" for path, kinds in needed.items() for kind in sorted(kinds)]
    if one.output_schema is not None:
        given = shape.given_of(one.output_schema)
        terms += [f"o{path}:{kind}" for path, kinds in given.items() for kind in sorted(kinds)]
    return min(len(needed), NEEDS_MAX), terms
