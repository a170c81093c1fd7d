"""Vectors from any endpoint that speaks OpenAI's `POST /embeddings`.

What is sent: words of searches and of offers, in batches. Every wait and size has a bound; whatever
goes wrong is Unavailable, and search goes on by words. After a failure nothing is sent for a while.
"""

import http.client
import json
import time
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from hanse.errors import Invalid, Unavailable

ANSWER_BYTES_MAX = 64 * 1024 * 1024
TEXT_MAX = 4000
"""Characters of a text that are sent."""
PAUSE_S = 15.0


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where embeddings come from. `url` ends where `/embeddings` begins; `size` is how many numbers
    a vector is asked to have, a multiple of 64."""

    url: str
    model: str
    size: int = 256
    key: str | None = None
    batch: int = 64
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid.at("embeddings.url", "must be an http:// or https:// URL")
        if not self.model:
            raise Invalid.at("embeddings.model", "is missing")
        if not 64 <= self.size <= 4096 or self.size % 64:
            raise Invalid.at("embeddings.size", "must be a multiple of 64, 64 to 4096")
        if not 1 <= self.batch <= 2048:
            raise Invalid.at("embeddings.batch", "must be 1 to 2048")
        if not 0 < self.timeout_s <= 60:
            raise Invalid.at("embeddings.timeout_s", "must be over 0 and at most 60")

    def __repr__(self) -> str:  # without the key
        return f"Endpoint({self.url}, {self.model}, {self.size})"


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


class EndpointEmbedder:
    """Implements `registry.store.Embedder`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._failed_s = float("-inf")
        self.name = f"{endpoint.model}@{endpoint.url}"
        self.size = endpoint.size

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `registry.store.Embedder`."""
        if time.monotonic() < self._failed_s + PAUSE_S:
            raise Unavailable("the embeddings endpoint failed a moment ago", field="embeddings")
        rows = np.zeros((len(texts), self.size), dtype=np.float32)
        try:
            for start in range(0, len(texts), self._endpoint.batch):
                self._fill(rows[start:], texts[start : start + self._endpoint.batch])
        except Unavailable:
            self._failed_s = time.monotonic()
            raise
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        found: NDArray[np.float32] = rows / np.maximum(lengths, 1e-9)
        return found

    def _fill(self, rows: NDArray[np.float32], texts: Sequence[str]) -> None:
        # An empty text is an error to most; it says nothing anyway.
        asked = [(at, text[:TEXT_MAX]) for at, text in enumerate(texts) if text.strip()]
        if not asked:
            return
        answer = self._ask([text for _, text in asked])
        if sorted(row.index for row in answer.data) != list(range(len(asked))):
            raise Unavailable("the embeddings endpoint left rows out", field="embeddings")
        for row in answer.data:
            if len(row.embedding) != self.size:
                reason = f"answered {len(row.embedding)} numbers, not {self.size}"
                raise Unavailable(f"the embeddings endpoint {reason}", field="embeddings")
            with np.errstate(over="ignore"):  # what is too large is not finite
                found = np.array(row.embedding, dtype=np.float32)
            if not np.isfinite(found).all():
                raise Unavailable("the embeddings endpoint answered no numbers", field="embeddings")
            rows[asked[row.index][0]] = found

    def _ask(self, texts: list[str]) -> _Answer:
        endpoint = self._endpoint
        body = {"model": endpoint.model, "input": texts, "dimensions": endpoint.size}
        headers = {"Content-Type": "application/json"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        request = urllib.request.Request(
            f"{endpoint.url.rstrip('/')}/embeddings", json.dumps(body).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=endpoint.timeout_s) as response:
                found = response.read(ANSWER_BYTES_MAX + 1)
            if len(found) > ANSWER_BYTES_MAX:
                raise Unavailable("the embeddings endpoint answered too much", field="embeddings")
            return msgspec.json.decode(found, type=_Answer)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            reason = f"the embeddings endpoint failed: {str(exc)[:100]}"
            raise Unavailable(reason, field="embeddings") from exc
