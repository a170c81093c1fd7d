"""How tags and authors are named in the tables of one database. Pure."""

import hashlib
from collections.abc import Iterable

_CACHED_MAX = 200_000

KEY_MAX = 64
"""Bytes of a secret."""

_AUTHOR = "="
"""Names an author among the tags: no letter, as all other names are."""


class TagHash:
    """The 64-bit signed name of a tag value in one database; `key` is that database's secret, so
    nobody can make two values collide."""

    def __init__(self, key: bytes) -> None:
        self._state = hashlib.blake2b(digest_size=8, key=key)
        self._known: dict[tuple[str, str], int] = {}
        self._authors: dict[str, int] = {}

    def __call__(self, name: str, value: str) -> int:
        """The hash; those of late are remembered, since topics and people come again."""
        pair = (name, value)
        found = self._known.get(pair)
        if found is None:
            if len(self._known) >= _CACHED_MAX:
                self._known.clear()
            found = self._known[pair] = self._of(f"{name}{value}")
        return found

    def authors(self, pubkeys: Iterable[str]) -> list[int]:
        """The hashes by which authors, in hex, stand among the tags, in their order."""
        wanted = list(pubkeys)
        try:
            return list(map(self._authors.__getitem__, wanted))
        except KeyError:
            return [self._author(pubkey) for pubkey in wanted]

    def _author(self, pubkey: str) -> int:
        found = self._authors.get(pubkey)
        if found is None:
            if len(self._authors) >= _CACHED_MAX:
                self._authors.clear()
            found = self._authors[pubkey] = self._of(f"{_AUTHOR}{pubkey}")
        return found

    def _of(self, text: str) -> int:
        state = self._state.copy()
        state.update(text.encode())
        return int.from_bytes(state.digest(), "little", signed=True)
