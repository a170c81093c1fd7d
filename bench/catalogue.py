"""Offers that look like real ones, as many as one likes: for measuring search.

Names and sentences are drawn from a vocabulary of 40,000 made-up and real words with Zipf's
frequencies, so that some words are in a third of all offers and most in a few; prices, promises,
regions and topics are spread as one finds them. The same seed gives the same offers.
"""

from collections.abc import Iterator

import numpy as np

from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.model import Capability, Offer, Promise

VERBS_TEXT = """
send get search convert translate summarize find create list check generate validate extract
compare render resize schedule monitor classify detect predict book order track sign verify
encrypt index crawl parse merge split rank score transcribe
"""
NOUNS_TEXT = """
sms message weather forecast invoice image video document table city flight hotel price stock
currency address phone email calendar event recipe song lyric map route package parcel tax company
patent paper dataset chart logo color font sentence paragraph language grammar code test
repository issue server domain certificate password key wallet payment receipt contract order
product review rating photo face voice speech meeting transcript job resume salary course quiz
"""
SYLLABLES_TEXT = """
ba de fi go hu ka le mi no pu ra se ti vo wa xe ly zo chi tha
"""
VERBS, NOUNS, SYLLABLES = (text.split() for text in (VERBS_TEXT, NOUNS_TEXT, SYLLABLES_TEXT))
REGIONS = ("US", "EU", "DE", "GB", "JP", "IN", "BR", "US-CA")
TOPICS = ("finance", "media", "travel", "text", "data", "dev", "health", "legal", "maps", "shop")
VOCABULARY = 40_000


def vocabulary(draw: np.random.Generator) -> list[str]:
    """VERBS and NOUNS, then words nobody has heard."""
    words = dict.fromkeys(VERBS + NOUNS)
    while len(words) < VOCABULARY:
        words["".join(draw.choice(SYLLABLES, size=int(draw.integers(2, 5))))] = None
    return list(words)


def offers(count: int, now_s: int, seed: int = 1) -> Iterator[Offer]:
    """`count` offers of one to three capabilities (1.1 on average), of the last day."""
    draw = np.random.default_rng(seed)
    words = np.array(vocabulary(draw))
    odds = 1 / np.arange(1, len(words) + 1) ** 0.9
    odds /= odds.sum()
    for number in range(count):
        if number % 1000 == 0:
            drawn = words[draw.choice(len(words), size=(1000, 30), p=odds)]
        yield _offer(number, drawn[number % 1000], draw, now_s)


def _offer(number: int, words: np.ndarray, draw: np.random.Generator, now_s: int) -> Offer:
    verb, noun = VERBS[number % len(VERBS)], NOUNS[number * 7 % len(NOUNS)]
    size = int(draw.integers(1, 11)) // 10 + 1 + int(draw.integers(1, 41)) // 40
    capabilities = tuple(
        Capability(
            name=f"{verb}_{words[one]}"[:64],
            description=f"{verb} the {noun} {' '.join(words[one : one + 16])}",
            input_schema={
                "type": "object",
                "properties": {str(words[20]): {"type": "string"}, noun: {"type": "integer"}},
                "required": [noun],
            },
            output_schema={"type": "object", "properties": {f"{noun}_id": {"type": "string"}}},
            price=Amount(int(10 ** draw.uniform(2, 5.5))),
        )
        for one in range(size)
    )
    owner = number // 3
    return Offer(
        provider=PublicKey(f"{owner + 1:064x}"),
        operator=PublicKey(f"{owner // 2 + 1:064x}"),
        identifier=f"{verb}-{number}",
        name=f"{words[21]} {noun}",
        summary=" ".join(words[22:30]),
        capabilities=capabilities,
        promise=Promise(
            latency_p95_ms=int(10 ** draw.uniform(1.5, 4)),
            success_rate=round(float(1 - 10 ** draw.uniform(-4, -1)), 4),
            regions=tuple(draw.choice(REGIONS, size=2, replace=False).tolist()),
        ),
        topics=(TOPICS[number % len(TOPICS)],),
        version=f"{number % 4}.{number % 7}.0",
        payment_methods=("hanse", "lightning") if number % 2 else ("hanse",),
        created_at=now_s - number % 86_400,
    )


def questions(count: int, seed: int = 2) -> list[str]:
    """What somebody may ask of such offers: two to seven words, common and rare."""
    draw = np.random.default_rng(seed)
    words = vocabulary(np.random.default_rng(1))
    found = []
    for number in range(count):
        rank = (draw.pareto(0.7, size=int(draw.integers(1, 5))) * 20).astype(int)
        rare = [words[min(at, len(words) - 1)] for at in rank]
        noun = NOUNS[number * 11 % len(NOUNS)]
        found.append(f"please {VERBS[number % len(VERBS)]} a {noun} {' '.join(rare)}")
    return found
