"""The relay's verbs by HTTP: POST /events, /query and /count, for whoever cannot hold a socket.

They go the way the socket's messages go: the same admission, the same log, the same rules on
private kinds. Who asks is the Authorization header (NIP-98 or a token); without one, nobody.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import orjson
from fastapi import Request
from fastapi.responses import Response

from hanse.errors import AuthRequired, Invalid, TooLarge, Unavailable
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.filter import Filter, parse_filters
from hanse.protocol.keys import PublicKey
from hanse.protocol.message import FILTERS_MAX, target_of
from hanse.protocol.principal import Principal
from hanse.servers.api.reply import (
    Callers,
    address_of,
    answers,
    body_of,
    decoded,
    json,
    read,
    refusal_headers,
)

EVENTS_MAX = 500
EVENTS_BYTES_MAX = 1 << 20
FATE_S = 30.0
"""How long a request waits for its events to be on disk."""

NDJSON = "application/x-ndjson"
MORE = "Nostr-More"

_STATUS = {
    "invalid": 400,
    "auth-required": 401,
    "pow": 403,
    "blocked": 403,
    "restricted": 403,
    "rate-limited": 429,
    "error": 503,
}
"""HTTP's word for an event's refusal. `duplicate` and `mute` are no fault of anybody's: 200."""


class Sender(msgspec.Struct, frozen=True):
    """Whom a request's events come from: an address, and a proved identity if there is one."""

    address: str
    who: Principal | None


Submit = Callable[[bytes, Callable[[bytes], None], Sender], None]
"""The one way into the log: takes one event's JSON; the second argument gets its OK, or a NOTICE if
it has no readable id."""


class Answer(Protocol):
    """The one way to read it."""

    async def stored(self, filters: Sequence[Filter], reader: frozenset[PublicKey]) -> Found:
        """What is stored, as for a REQ."""

    async def count(
        self, filters: Sequence[Filter], target: str | None, reader: frozenset[PublicKey]
    ) -> tuple[int, str | None]:
        """How many there are and, given a `target`, the HyperLogLog of their authors in hex."""


class Fate(msgspec.Struct, frozen=True):
    """What became of one event: the arguments of its OK. No id if none could be read."""

    id: str | None
    accepted: bool
    message: str


class Twins:
    """The routes over the relay's parts."""

    def __init__(
        self,
        *,
        submit: Submit,
        reads: Callable[[str], None],
        answer: Answer,
        callers: Callers,
        answer_bytes_max: int,
    ) -> None:
        self._submit = submit
        self._reads = reads
        self._answer = answer
        self._callers = callers
        self._answer_bytes_max = answer_bytes_max

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        fates = {"anyOf": [_FATE, {"type": "array", "items": _FATE}]}
        app.add_api_route(
            "/events",
            self._events,
            methods=["POST"],
            summary="Publish events",
            openapi_extra=body_of(_EVENTS),
            responses=answers({"application/json": fates}, "What became of each, in order"),
        )
        found = {"application/json": {"type": "array", "items": _EVENT}, NDJSON: _EVENT}
        app.add_api_route(
            "/query",
            self._query,
            methods=["POST"],
            summary="Read events",
            response_class=Response,
            openapi_extra=body_of(_FILTERS),
            responses=answers(found, f"Newest first. Header {MORE}: whether there are more"),
        )
        app.add_api_route(
            "/count",
            self._counted,
            methods=["POST"],
            summary="Count events",
            openapi_extra=body_of(_FILTERS),
            responses=answers({"application/json": _COUNT}, "How many (NIP-45)"),
        )

    async def _events(self, request: Request) -> Response:
        body = await read(request, EVENTS_BYTES_MAX)
        who = await self._callers.who(request, body)
        sender = Sender(address_of(request), who)
        if body.lstrip()[:1] != b"[":
            (fate,) = await self._fates([body], sender)
            status = 200 if fate.accepted else _STATUS.get(_word(fate), 200)
            return json(msgspec.to_builtins(fate), status, refusal_headers(status, fate.message))
        raws = [bytes(raw) for raw in decoded(body, list[msgspec.Raw])]
        if len(raws) > EVENTS_MAX:
            raise TooLarge(f"holds more than {EVENTS_MAX} events", field="body")
        return json(msgspec.to_builtins(await self._fates(raws, sender)))

    async def _fates(self, raws: list[bytes], sender: Sender) -> list[Fate]:
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[bytes]] = [loop.create_future() for _ in raws]
        for raw, future in zip(raws, waiting, strict=True):
            self._submit(raw, _settling(future), sender)
        try:
            async with asyncio.timeout(FATE_S):
                return [_fate(await future) for future in waiting]
        except TimeoutError as exc:
            hint = "send them again: what was kept is a duplicate then"
            raise Unavailable("the events' fate is not known yet", hint=hint) from exc

    async def _query(self, request: Request) -> Response:
        filters, _, reader = await self._asked(request)
        found = await self._answer.stored(filters, reader)
        rows, more, room = [], found.more, self._answer_bytes_max
        for _, _, _, event in found.rows:
            room -= len(event)
            if room < 0:
                more = True  # as with a limit: the client asks on with `until`
                break
            rows.append(event)
        headers = {MORE: "true" if more else "false"}
        if NDJSON in request.headers.get("accept", ""):
            lines = b"".join(row + b"\n" for row in rows)
            return Response(lines, media_type=NDJSON, headers=headers)
        whole = b"[" + b",".join(rows) + b"]"
        return Response(whole, media_type="application/json", headers=headers)

    async def _counted(self, request: Request) -> Response:
        filters, target, reader = await self._asked(request)
        count, registers = await self._answer.count(filters, target, reader)
        return json({"count": count} | ({"hll": registers} if registers else {}))

    async def _asked(
        self, request: Request
    ) -> tuple[list[Filter], str | None, frozenset[PublicKey]]:
        self._reads(address_of(request))
        body = await read(request)
        who = self._callers.reader(request, body)
        reader = frozenset({who.agent} if who else ())
        asked = decoded(body, Any)
        if not isinstance(asked, list):
            asked = [asked]
        if not 1 <= len(asked) <= FILTERS_MAX:
            raise Invalid.at("body", f"must be a filter, or a list of 1 to {FILTERS_MAX}")
        filters = parse_filters(asked)
        target = target_of(asked[0]) if len(asked) == 1 else None
        for found in filters:
            if found.kinds and found.kinds <= kinds.PRIVATE and not reader:
                raise AuthRequired("these kinds go only to their recipient", field="filter.kinds")
        return filters, target, reader


def _settling(future: "asyncio.Future[bytes]") -> Callable[[bytes], None]:
    def respond(text: bytes) -> None:
        if not future.done():  # the request may have been given up
            future.set_result(text)

    return respond


def _fate(text: bytes) -> Fate:
    found = orjson.loads(text)
    if found[0] == "OK":
        return Fate(found[1], found[2], found[3])
    return Fate(None, False, found[1])


def _word(fate: Fate) -> str:
    return fate.message.partition(":")[0]


def _hex(characters: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^[0-9a-f]{{{characters}}}$"}


_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A Nostr event (NIP-01).",
    "required": ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"],
    "properties": {
        "id": _hex(64),
        "pubkey": _hex(64),
        "created_at": {"type": "integer", "minimum": 0},
        "kind": {"type": "integer", "minimum": 0, "maximum": 65535},
        "tags": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "content": {"type": "string"},
        "sig": _hex(128),
    },
}
_EVENTS = {"anyOf": [_EVENT, {"type": "array", "maxItems": EVENTS_MAX, "items": _EVENT}]}
_FILTER: dict[str, Any] = {
    "type": "object",
    "description": "A filter (NIP-01); conditions on tags are `#` and a letter.",
    "properties": {
        "ids": {"type": "array", "items": _hex(64)},
        "authors": {"type": "array", "items": _hex(64)},
        "kinds": {"type": "array", "items": {"type": "integer"}},
        "since": {"type": "integer"},
        "until": {"type": "integer"},
        "limit": {"type": "integer"},
        "search": {"type": "string"},
    },
    "patternProperties": {"^#[a-zA-Z]$": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}
_FILTERS = {
    "anyOf": [
        _FILTER,
        {"type": "array", "minItems": 1, "maxItems": FILTERS_MAX, "items": _FILTER},
    ]
}
_FATE = {
    "type": "object",
    "required": ["id", "accepted", "message"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "accepted": {"type": "boolean"},
        "message": {"type": "string", "description": "NIP-01's `word: reason` when it matters"},
    },
}
_COUNT = {
    "type": "object",
    "required": ["count"],
    "properties": {
        "count": {"type": "integer"},
        "hll": {"type": "string", "description": "HyperLogLog registers in hex (NIP-45)"},
    },
}
