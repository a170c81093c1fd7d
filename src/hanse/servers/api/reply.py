"""What every route shares: a body read within its bound, an identity, an answer, a problem.

Errors are problem+json (RFC 9457), answered here and nowhere else.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec
import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hanse.errors import AuthRequired, HanseError, Invalid, NotFound, Restricted, TooLarge
from hanse.ports import Clock
from hanse.protocol import http_auth
from hanse.protocol.event import field_error
from hanse.protocol.http_gate import USED, HttpGate
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import Principal
from hanse.servers.api.problem import PROBLEM_JSON, problem_body

BODY_BYTES_MAX = 256 * 1024
RETRY_AFTER_S = 1
"""What a caller is told to wait when the refusal itself does not say how long."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_WAIT = re.compile(r"\bwait ([0-9]{1,6}) s\b")


class Routes(Protocol):
    """A group of routes. `add_to` is called once, with the application (FastAPI)."""

    def add_to(self, app: Any) -> None:
        """Add the group's routes."""


class Proofs(Protocol):
    """The signed requests that were used, on whichever node of this database."""

    async def take(self, id: str, *, now_s: int) -> bool:
        """Whether it is used for the first time; from now on it was. Raises Unavailable."""


class Callers:
    """Who sends a request, by its Authorization header. `is_operator` says whether a key is the
    node's operator's now."""

    def __init__(
        self,
        gate: HttpGate,
        proofs: Proofs,
        clock: Clock,
        is_operator: Callable[[PublicKey], bool],
        stays: Callable[[str, Collection[PublicKey]], None],
    ) -> None:
        """`stays` raises if who came from this address with these keys may be here no more."""
        self._gate = gate
        self._proofs = proofs
        self._clock = clock
        self.is_operator = is_operator
        self._stays = stays

    async def who(self, request: Request, body: bytes) -> Principal | None:
        """The principal, or None without a header. Raises AuthRequired, and Unavailable if nothing
        can be written: this process knows itself which proofs it has seen, but whatever a request
        changes must not be done once more at another node, or after a crash."""
        who = self.reader(request, body)
        header = request.headers.get("authorization")
        if header and request.method not in _SAFE:
            event = http_auth.read_header(header)[1]
            fresh = http_auth.end_of(event) is not None or await self._proofs.take(
                event.id, now_s=self._clock.now_s()
            )
            if not fresh:
                raise AuthRequired(USED, field="Authorization")
        return who

    def reader(self, request: Request, body: bytes) -> Principal | None:
        """The same for what only reads, whatever its method: nothing is written for it."""
        query = request.url.query
        raw_path = request.scope.get("raw_path") or request.url.path.encode()
        target = raw_path.decode("ascii", "replace") + (f"?{query}" if query else "")
        return self._gate.who(
            request.headers.get("authorization"),
            target=target,
            method=request.method,
            body=body,
            now=self._clock.now_s(),
        )

    def stays(self, request: Request, who: Principal) -> None:
        """Raises once a key or address may be here no more."""
        self._stays(address_of(request), {who.agent, who.operator})

    def lasting(self, request: Request, who: Principal | None) -> Callable[[], bool]:
        """For what outlasts its request: a function that says whether the token it came with still
        holds, and raises once its key or address may be here no more."""
        header = request.headers.get("authorization")
        end_s = http_auth.end_of(http_auth.read_header(header)[1]) if header else None
        address = address_of(request)
        keys = {who.agent, who.operator} if who is not None else set()

        def holds() -> bool:
            self._stays(address, keys)
            return end_s is None or self._clock.now_s() < end_s

        return holds

    async def operator_only(self, request: Request, body: bytes) -> None:
        """Raises AuthRequired or Restricted unless the node's operator signed this."""
        who = await self.who(request, body)
        if who is None:
            raise AuthRequired("sign the request with the operator's key (NIP-98)")
        if not self.is_operator(who.agent):
            raise Restricted("only this node's operator may do this")


class Desk(Protocol):
    """Who performs the tools."""

    async def perform(
        self, who: Principal | None, name: str, arguments: dict[str, Any], request_id: str = ""
    ) -> dict[str, Any]:
        """Run one tool. Raises HanseError."""


def address_of(request: Request) -> str:
    """Where a request came from; "" for a Unix socket."""
    return request.client.host if request.client else ""


def only(request: Request, known: Collection[str]) -> None:
    """Raises Invalid if a query parameter is not one of these: a misspelt constraint that is
    silently dropped would cost the caller money."""
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        hint = f"known: {', '.join(known)}" if known else ""
        raise Invalid.at(f"query.{unknown[0][:64]}", "is not known here", hint)


async def read(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The body, within its bound; refused by its declared length before it is read."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > bytes_max:
        raise TooLarge(f"is over {bytes_max} bytes", field="body")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > bytes_max:
                raise TooLarge(f"is over {bytes_max} bytes", field="body")
            parts.append(part)
    except ClientDisconnect as exc:
        # No fault of ours: nobody is there to hear the answer, and the log keeps its peace.
        raise Invalid.at("body", "ended before its length") from exc
    return b"".join(parts)


def decoded(body: bytes, type_: Any) -> Any:
    """The body as a value of a type. Raises Invalid naming the field."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "body") from exc
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise Invalid.at("body", "is not JSON") from exc


def json(found: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        orjson.dumps(found), status_code=status, media_type="application/json", headers=headers
    )


def body_of(schema: dict[str, Any], about: str = "") -> dict[str, Any]:
    """OpenAPI's words for a JSON body of this schema."""
    content = {"application/json": {"schema": schema}}
    found = {"required": True, "content": content} | ({"description": about} if about else {})
    return {"requestBody": found}


def answers(media: dict[str, dict[str, Any]], about: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's words for what is answered: a schema per content type."""
    content = {name: {"schema": schema} for name, schema in media.items()}
    return {200: {"description": about, "content": content}}


# --- errors -----------------------------------------------------------------------------------


async def problem(_request: Request, exc: Exception) -> Response:
    """The one place where an error becomes HTTP."""
    assert isinstance(exc, HanseError)
    return _document(exc, exc.status)


async def bad_parameter(_request: Request, exc: Exception) -> Response:
    """A path or query parameter of the wrong type."""
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return _document(Invalid.at(place, str(first["msg"])), 400)


async def no_route(_request: Request, exc: Exception) -> Response:
    """No such path, or not with that method."""
    assert isinstance(exc, HTTPException)
    kind = NotFound if exc.status_code == 404 else Invalid
    field = "method" if exc.status_code == 405 else "path"
    found = kind(str(exc.detail), field=field, hint="/docs lists the routes")
    return _document(found, exc.status_code)


async def failure(_request: Request, _exc: Exception) -> Response:
    """A fault of ours: said without its details, which stand in the log."""
    return _document(HanseError(), HanseError.status)


def refusal_headers(status: int, text: str) -> dict[str, str] | None:
    """What a status owes its reader beside the body: how to prove oneself, how long to wait (as the
    refusal's text says: "wait 30 s")."""
    if status == 401:
        return {"WWW-Authenticate": "Nostr"}
    if status not in (429, 503):
        return None
    found = _WAIT.search(text)
    return {"Retry-After": found[1] if found else str(RETRY_AFTER_S)}


def _document(exc: HanseError, status: int) -> Response:
    return Response(
        problem_body(exc, status),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=refusal_headers(status, exc.text),
    )


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Why it was refused (RFC 9457). `error` is a name that stays.",
    "required": ["type", "title", "status", "detail", "error", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "field": {"type": "string"},
        "reason": {"type": "string"},
        "hint": {"type": "string"},
    },
}
