"""Embedders: the table in the wheel, an endpoint, and what a node does without either."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from hanse.engines.embedders.choice import chosen
from hanse.engines.embedders.endpoint import Endpoint, EndpointEmbedder
from hanse.engines.embedders.static import SIZE, StaticEmbedder
from hanse.errors import Invalid, Unavailable


def test_like_texts_have_like_vectors_and_a_text_alone_is_as_in_a_batch() -> None:
    embedder = StaticEmbedder()
    texts = ["send a text message", "message somebody by text", "tomorrow's weather", "", "…"]
    rows = embedder.embed(texts)
    assert rows.shape == (5, SIZE)
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0, 0], atol=1e-5)
    likeness = rows @ rows.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
    assert all(
        (embedder.embed([text])[0] == row).all() for text, row in zip(texts, rows, strict=True)
    )


@pytest.mark.parametrize("package", ["wordllama", "tokenizers", "safetensors"])
def test_without_its_package_there_is_no_embedder_and_nothing_else_breaks(package: str) -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from hanse.engines.embedders.choice import chosen
print(chosen(None))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "None"
    assert "hanse[vectors]" in done.stdout


# --- an endpoint ----------------------------------------------------------------------------------


class Server(HTTPServer):
    """An embeddings endpoint on loopback; `reply` makes its answers."""

    asked: list[dict[str, Any]]
    key: str | None = None

    def reply(self, texts: list[str], size: int) -> tuple[int, bytes]:
        """Vectors that hold each text's length, out of order."""
        rows = [
            {"index": at, "embedding": [float(len(text))] + [0.0] * (size - 1)}
            for at, text in enumerate(texts)
        ]
        return 200, json.dumps({"data": rows[::-1]}).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers POST /v1/embeddings."""

    server: Server

    def do_POST(self) -> None:  # of http.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.key = self.headers["Authorization"]
        status, answer = self.server.reply(body["input"], body["dimensions"])
        self.send_response(status if self.path == "/v1/embeddings" else 404)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A running one."""
    with Server(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def endpoint(server: Server, **more: Any) -> EndpointEmbedder:
    """Its client."""
    url = f"http://127.0.0.1:{server.server_port}/v1"
    found = chosen(Endpoint(url=url, model="m", size=64, key="secret", **more))
    assert isinstance(found, EndpointEmbedder)
    return found


def test_an_endpoint_is_asked_in_batches_and_its_rows_are_put_in_order(server: Server) -> None:
    rows = endpoint(server, batch=2).embed(["a", "bb", "", "dddd"])
    assert [row.any() for row in rows] == [True, True, False, True]
    assert np.allclose(rows[0][:2], [1, 0])
    assert [body["input"] for body in server.asked] == [["a", "bb"], ["dddd"]]
    assert (server.asked[0]["model"], server.key) == ("m", "Bearer secret")
    assert "secret" not in repr(Endpoint(url="http://x", model="m", key="secret"))


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"),
        (200, b"not json"),
        (200, b'{"data": []}'),
        (200, b'{"data": [{"index": 0, "embedding": [1, 2]}]}'),
        (200, b'{"data": [{"index": 1, "embedding": [1]}]}'),
        (200, json.dumps({"data": [{"index": 0, "embedding": [1e39] * 64}]}).encode()),
    ],
)
def test_an_endpoint_that_answers_badly_is_unavailable_and_left_alone_for_a_while(
    server: Server, answer: tuple[int, bytes]
) -> None:
    server.reply = lambda texts, size: answer  # type: ignore[method-assign]  # what it answers
    embedder = endpoint(server)
    with pytest.raises(Unavailable, match="endpoint"):
        embedder.embed(["a"])
    with pytest.raises(Unavailable, match="a moment ago"):
        embedder.embed(["a"])
    assert len(server.asked) == 1


def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="failed"):
        EndpointEmbedder(Endpoint(url="http://127.0.0.1:9", model="m")).embed(["a"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("url", "ftp://x"), ("model", ""), ("size", 100), ("batch", 0), ("timeout_s", 0)],
)
def test_an_endpoint_that_cannot_be_is_refused_by_name(field: str, value: object) -> None:
    given: dict[str, Any] = {"url": "http://x", "model": "m", field: value}
    with pytest.raises(Invalid, match=rf"embeddings\.{field}"):
        Endpoint(**given)
