"""Words of a query or a description: split the way tool names are written, stop words dropped."""

import functools
import re

QUERY_WORDS_MAX = 32

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")
_EXTENSION = re.compile(r"\w+:\S+")
_ASCII = bytes(code if chr(code).isalnum() else 32 for code in bytes(range(128)).lower()).ljust(256)
_SUFFIXES = (
    *("ations", "ation", "ating", "ates", "ated", "ate"),
    *("ings", "ions", "ing", "ion", "ies", "ed", "es", "er", "s", "e"),
)
_MORE = (
    *("izations", "ization", "izing", "izes", "ized", "ize", "ises", "ised", "ising"),
    *("ments", "ment", "ness", "ances", "ance", "ences", "ence", "ally", "ively", "ive", "ives"),
    *("fully", "ful", "able", "ible", "ably", "ities", "ity", "ical", "ics", "ic", "al", "als"),
    *("ors", "or", "ers", "er", "ists", "ist", "ly", "ants", "ant", "ents", "ent", "ures", "ure"),
)
_STOP_TEXT = """
a an and any are as at be by can could do does for from give has have how i in into is it its me my
need no not of on or our please should so some somebody someone something tell than that the their
them then there this to us use want we what when where which who will with would you your
"""
_STOP = frozenset(_STOP_TEXT.split())


def words_of(text: str) -> list[str]:
    """Lower-case words in order; `getCurrentTime` and `get_current_time` give three."""
    return _WORD.findall(_CAMEL.sub(" ", text).lower())


def spaced(text: str) -> str:
    """The words of what people write, with only spaces between them. As `words_of`, but a word is
    not split where its case changes: it is done for each event, and plain text is one pass in C."""
    if text.isascii():
        return text.encode().translate(_ASCII).decode()
    return " ".join(_WORD.findall(text.lower()))


@functools.lru_cache(maxsize=1024)
def search_words(text: str) -> frozenset[str]:
    """The words that all must be in what a filter's `search` finds (NIP-50). Its `key:value`
    extensions are left out, as for a relay that knows none; without another word all is found."""
    return frozenset(spaced(without_extensions(text)).split())


def without_extensions(text: str) -> str:
    """A `search` without its `key:value` words."""
    return " ".join([part for part in text.split() if not _EXTENSION.fullmatch(part)])


def query_words(text: str) -> list[str]:
    """The words of a query worth searching for, each once, at most QUERY_WORDS_MAX."""
    return list(dict.fromkeys(useful_words(text)))[:QUERY_WORDS_MAX]


def useful_words(text: str) -> list[str]:
    """Words of a text in order without those that say nothing; all of them if none says much."""
    found = words_of(text)
    return [word for word in found if word not in _STOP] or found


@functools.lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A rough root, by which words in other forms are the same: endings of English are taken off
    twice (`recommendations`), then what changes before them (`planning`, `stories`)."""
    return _shortened(_shortened(word))


def _shortened(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    for suffix in _MORE:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    if len(word) > 3 and word[-1] == "y":
        word = word[:-1]
    return word[:-1] if len(word) > 4 and word[-1] in "ie" else word


def shared_words(query: list[str], text: str) -> tuple[str, ...]:
    """The query's words that `text` has too, by root."""
    roots = {stem(word) for word in words_of(text)}
    return tuple(word for word in query if stem(word) in roots)
