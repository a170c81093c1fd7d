"""A saved search, followed: the node's stream of services that come to match (server-sent events).

The stream is opened again, with pauses, when it breaks; what was heard before is not told twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import orjson

from hanse.errors import HanseError, Unavailable

LINE_MAX = 1 << 20
SILENT_S = 90.0
PAUSE_MIN_S = 0.5
PAUSE_MAX_S = 30.0
TOLD_MAX = 10_000


async def matches(
    http_url: str, token: Callable[[], str], asked: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Hits of a search as find_services shows them: those there are, then each that comes, for as
    long as one listens. `token` makes a bearer token. Raises what the node refuses with."""
    told: dict[tuple[str, str], None] = {}
    pause = PAUSE_MIN_S
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENT_S)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=LINE_MAX) as session:
        while True:
            try:
                async for hit in _stream(session, http_url, token(), asked):
                    pause = PAUSE_MIN_S
                    name = hit["offer"], hit["capability"]
                    if name not in told:
                        yield hit
                    told[name] = None
                    if len(told) > TOLD_MAX:
                        del told[next(iter(told))]
            except (aiohttp.ClientError, TimeoutError, Unavailable):
                pass  # the node is away: asked again below
            await asyncio.sleep(pause)
            pause = min(PAUSE_MAX_S, pause * 2)


async def _stream(
    session: aiohttp.ClientSession, http_url: str, token: str, asked: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    url, headers = f"{http_url}/api/v1/services/watch", {"Authorization": f"Bearer {token}"}
    parameters = [pair for name, value in asked.items() for pair in _pairs(name, value)]
    async with session.get(
        url, params=parameters, headers=headers, allow_redirects=False
    ) as answer:
        if answer.status != 200:
            raise HanseError.from_dict(_object(await answer.content.read(LINE_MAX)))
        name = b""
        async for line in answer.content:
            if line.startswith(b"event: "):
                name = line[7:].strip()
            elif line.startswith(b"data: ") and name == b"match":
                yield _object(line[6:])
            elif line.startswith(b"data: ") and name == b"error":
                raise HanseError.from_dict(_object(line[6:]))


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, list | tuple):
        return [(name, str(one)) for one in value]
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return [(name, text)]


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise Unavailable("the node's answer is not JSON") from exc
    if not isinstance(found, dict):
        raise Unavailable("the node's answer is not an object")
    return found
