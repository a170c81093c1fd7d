"""Vectors from a table of word vectors: no network, no GPU, loaded in a third of a second.

The table (32,000 parts of words × 256) and the tokenizer are files in the wheel of `wordllama`,
whose own code is not imported. A text's vector is the sum of its parts' vectors, made one long.
What was measured (nDCG@5 of MetaTool's queries by vectors alone): a word's parts summed 0.635,
averaged word by word 0.586 (rare words have more parts: summed, they count more); words that say
nothing left out +0.003; weights by frequency, or common directions taken out: nothing or a loss.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hanse.errors import Unavailable
from hanse.protocol.words import useful_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SIZE = 256
PACKAGE = "wordllama"
TABLE = Path("weights") / "l2_supercat_256.safetensors"
TOKENIZER = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
WORDS_MAX = 256
"""Words of one text that count; a description longer than this says what it does before."""
BATCH = 4096
KNOWN_MAX = 16_384
"""Words of searches whose parts are remembered."""
_FUNCTION_TEXT = """
about above after again against all also am among another around because been before being below
between both but did doing done down during each either else every few further had having he her
here hers herself him himself his however if itself just let like ll m may might more most much must
myself neither nor now off o once only other others ought ours ourselves out over own per rather re
s same shall she since still such d themselves therefore these they those though through thus too t
under until up upon ve very was were whether while whom whose why y yet yours yourself don
"""
_FUNCTION = frozenset(_FUNCTION_TEXT.split())
"""English words that hold sentences together: in a sum of vectors they only blur it."""


@cache
def _read(package: str) -> "tuple[NDArray[np.float16], Tokenizer]":
    """The table and the tokenizer, once for all nodes of a process: neither changes."""
    try:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        found = find_spec(package)
    except ImportError as exc:
        raise _missing(str(exc)) from exc
    if found is None or not found.submodule_search_locations:
        raise _missing(f"no package {package}")
    folder = Path(next(iter(found.submodule_search_locations)))
    try:
        (table,) = load_file(folder / TABLE).values()
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    # Both are compiled: what they raise for a missing or broken file has no common name.
    except Exception as exc:
        raise _missing(str(exc)[:200]) from exc
    if table.shape[1:] != (SIZE,):
        raise _missing(f"table of {table.shape}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # It remembers whole texts, 10,000 of them at 12 KB each; ours do not come again.
    tokenizer.model._resize_cache(0)
    return table, tokenizer


class StaticEmbedder:
    """Implements `registry.store.Embedder`. Opening reads the files; raises Unavailable if they
    are not installed."""

    name = "wordllama-l2-supercat-256"
    size = SIZE

    def __init__(self) -> None:
        self._table, self._tokenizer = _read(PACKAGE)
        self._known: dict[str, list[int]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `registry.store.Embedder`. A text without a word gives a row of zeros."""
        rows = np.zeros((len(texts), SIZE), dtype=np.float32)
        for start in range(0, len(texts), BATCH):
            self._fill(rows[start : start + BATCH], texts[start : start + BATCH])
        return rows

    def _fill(self, rows: NDArray[np.float32], texts: Sequence[str]) -> None:
        cleaned = [_cleaned(text) for text in texts]
        if len(cleaned) == 1:  # a batch is spread over threads, which takes longer than one text
            found = [[id for word in cleaned[0] for id in self._parts(word)]]
        else:
            whole = [" ".join(words) for words in cleaned]
            encoded = self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)
            found = [text.ids for text in encoded]
        for row, ids in zip(rows, found, strict=True):
            if ids:
                total = self._table[ids].astype(np.float32).sum(axis=0)
                row[:] = total / max(math.sqrt(total @ total), 1e-9)

    def _parts(self, word: str) -> list[int]:
        """A word's parts: no part goes over a space. Remembered, as searches share their words."""
        found = self._known.get(word)
        if found is None:
            found = self._tokenizer.encode(word, add_special_tokens=False).ids
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[word] = found
        return found


def _cleaned(text: str) -> list[str]:
    words = useful_words(text)[:WORDS_MAX]
    return [word for word in words if word not in _FUNCTION] or words


def _missing(why: str) -> Unavailable:
    return Unavailable(
        f"word vectors are not installed ({why})",
        field="embedder",
        hint="pip install 'hanse[vectors]'",
    )
