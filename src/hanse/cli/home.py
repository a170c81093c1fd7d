"""The home folder as the verbs use it: this operator's keys, and where the node is."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hanse.config import home_folder, passphrase
from hanse.errors import Invalid, NotFound
from hanse.keyring import Keyring, NodeAddress
from hanse.protocol.session import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

    from hanse.agent import Agent

ANSWER_S = 30.0
LINE_BYTES_MAX = 1 << 20


def keyring() -> Keyring:
    """The home folder's keys, opened with $HANSE_PASSPHRASE if they are sealed."""
    return Keyring(home_folder(), passphrase())


def node_address(node: str | None) -> str:
    """The node's WebSocket URL: the one given, or the one this home knows. Raises Invalid."""
    if node:
        if not (node.startswith(("ws://", "wss://")) and host_of(node)):
            raise Invalid.at("node", "must be a ws:// or wss:// URL")
        return node
    return _known().url


def agent_of(name: str, node: str | None) -> "Agent":
    """One of this home's agents, at a node. Not connected yet."""
    from hanse.agent import Agent

    secret, auth = keyring().agent(name)
    if node:
        return Agent(node_address(node), secret, auth)
    known = _known()
    return Agent(known.url, secret, auth, node_key=known.pubkey)


def operator_request(
    node: str | None, path: str, body: dict[str, Any] | None = None, method: str = ""
) -> dict[str, Any]:
    """An HTTP request signed by the operator's key (NIP-98). Raises what the node answers with."""
    import orjson

    with _asked(node, path, body, method) as found:
        answer: dict[str, Any] = orjson.loads(found.read())
        return answer


def operator_lines(node: str | None, path: str, body: dict[str, Any]) -> "Iterator[dict[str, Any]]":
    """As `operator_request`, of an answer that comes as lines of JSON over time."""
    import orjson

    with _asked(node, path, body, "POST") as found:
        while line := found.readline(LINE_BYTES_MAX):
            yield orjson.loads(line)


@contextmanager
def _asked(
    node: str | None, path: str, body: dict[str, Any] | None, method: str
) -> "Iterator[HTTPResponse]":
    import secrets
    import time
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    import orjson

    from hanse.errors import HanseError, Unavailable
    from hanse.protocol.http_auth import request_header

    url = node_address(node).replace("ws", "http", 1).rstrip("/") + path
    data = orjson.dumps(body) if body is not None else b""
    method = method or ("POST" if body is not None else "GET")
    # A signature is for one use: without the salt the same request within one second is a replay.
    salt = (("salt", secrets.token_hex(8)),)
    header = request_header(
        keyring().operator(), url=url, method=method, body=data, now=int(time.time()), tags=salt
    )
    asked = urllib.request.Request(
        url,
        data=data or None,
        method=method,
        headers={"Authorization": header, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=ANSWER_S) as found:
            yield found
    except urllib.error.HTTPError as exc:
        try:
            problem = orjson.loads(exc.read())
        except orjson.JSONDecodeError:
            problem = None
        if not isinstance(problem, dict):
            problem = {"reason": f"the node answered {exc.code}"}
        if "message" in problem:  # how the relay's verbs refuse an event
            from hanse.agent.link import refusal

            raise refusal(str(problem["message"])) from exc
        raise HanseError.from_dict(problem) from exc
    except (OSError, HTTPException, ValueError) as exc:
        raise Unavailable(f"{url}: {exc}", field="node", hint="is the node up?") from exc


def _known() -> NodeAddress:
    known = keyring().known_node()
    if known is None:
        raise NotFound("no node is known here", hint="start one with `hanse up`, or give --node")
    return known
