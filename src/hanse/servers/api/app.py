"""The HTTP API (FastAPI): the six tools, status, and the operator's books and grants.

Bodies are checked by the same types the tools have; OpenAPI shows their schemas. Identity is an
Authorization header: NIP-98 per request, or a bearer token. Failures are problem+json (RFC 9457).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hanse.broker import tools
from hanse.errors import HanseError
from hanse.payments.model import Account
from hanse.payments.service import MEMO_MAX, Payments
from hanse.protocol.address import read_public_key
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.servers.api import reply
from hanse.servers.api.description import Described
from hanse.servers.api.reply import Callers, Desk, Routes, body_of, decoded, json, read

NOSTR_JSON = "application/nostr+json"


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/v1/grants: test credits for an agent, once per key."""

    to: str
    amount_msat: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX_MSAT)]
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    memo: Annotated[str, msgspec.Meta(max_length=MEMO_MAX)] = ""


class Api:
    """The routes, over the rooms they speak for."""

    def __init__(
        self,
        *,
        desk: Desk,
        payments: Payments,
        callers: Callers,
        info: dict[str, Any],
        status: Callable[[], Awaitable[dict[str, Any]]],
        version: str,
        more: Sequence[Routes] = (),
    ) -> None:
        self._desk = desk
        self._payments = payments
        self._callers = callers
        self._info = info
        self._status = status
        self._version = version
        self._more = more

    def app(self) -> FastAPI:
        """The FastAPI application."""
        app = Described(title="Hanse node", version=self._version, docs_url="/docs", redoc_url=None)
        app.add_exception_handler(HanseError, reply.problem)
        app.add_exception_handler(RequestValidationError, reply.bad_parameter)
        app.add_exception_handler(HTTPException, reply.no_route)
        app.add_exception_handler(Exception, reply.failure)
        add = app.add_api_route
        add("/", self._root, methods=["GET"], summary="NIP-11, or where to go")
        add("/", self._root, methods=["HEAD"], include_in_schema=False)
        add("/api/v1/status", self._get_status, methods=["GET"], summary="How the node is")
        add("/api/v1/receipts/{id}", self._receipt, methods=["GET"], summary="One receipt")
        add("/api/v1/balance", self._balance, methods=["GET"], summary="Your balance")
        add("/api/v1/whoami", self._whoami, methods=["GET"], summary="Who you are here")
        add(
            "/api/v1/calls",
            self._calls,
            methods=["POST"],
            summary="Call a service and pay for it",
            openapi_extra=body_of(tools.BY_NAME["call_service"].input_schema()),
        )
        add("/api/v1/books", self._books, methods=["GET"], summary="Every account (operator)")
        add(
            "/api/v1/grants",
            self._grants,
            methods=["POST"],
            summary="Give an agent test credits (operator)",
            openapi_extra=body_of(_grant_schema()),
        )
        for routes in self._more:
            routes.add_to(app)
        return app

    async def _root(self, request: Request) -> Response:
        if NOSTR_JSON in request.headers.get("accept", "").lower():
            return Response(orjson.dumps(self._info), media_type=NOSTR_JSON)
        text = (
            f"{self._info['name']}: a Hanse node.\n"
            "Nostr relay on this URL by WebSocket, MCP at /mcp, HTTP API at /docs.\n"
        )
        return Response(text, media_type="text/plain; charset=utf-8")

    async def _get_status(self) -> Response:
        return json(await self._status())

    async def _receipt(self, request: Request, id: str) -> Response:
        return await self._perform(request, "get_receipt", {"id": id})

    async def _balance(self, request: Request) -> Response:
        return await self._perform(request, "get_balance", {})

    async def _whoami(self, request: Request) -> Response:
        return await self._perform(request, "whoami", {})

    async def _calls(self, request: Request) -> Response:
        body = await read(request)
        found = decoded(body, dict[str, Any])
        who = await self._callers.who(request, body)
        return json(await self._desk.perform(who, "call_service", found))

    async def _books(self, request: Request) -> Response:
        await self._callers.operator_only(request, b"")
        books = await self._payments.books()
        rows = [_account(found) for found in books.accounts]
        return json({"accounts": rows, "sum_msat": books.sum_msat})

    async def _grants(self, request: Request) -> Response:
        body = await read(request)
        await self._callers.operator_only(request, body)
        grant = decoded(body, Grant)
        fresh = await self._payments.grant(
            grant.key, read_public_key(grant.to, "to"), Amount(grant.amount_msat), grant.memo
        )
        return json({"granted": fresh, "to": grant.to, "amount_msat": grant.amount_msat})

    # --- identity -----------------------------------------------------------------------------

    async def _perform(self, request: Request, tool: str, asked: dict[str, Any]) -> Response:
        reply.only(request, ())
        return json(await self._desk.perform(await self._callers.who(request, b""), tool, asked))


def _account(found: Account) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(found)
    return row | {"available_msat": found.available_msat}


def _grant_schema() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.schema(Grant)["$defs"]["Grant"]
    return found
