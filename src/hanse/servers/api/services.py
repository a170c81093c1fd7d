"""Finding services by HTTP: the tools find_services and describe_service as routes.

The parameters are made from the tool's own arguments, so that no door knows more than another.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response

from hanse.broker.tools import BY_NAME
from hanse.errors import Invalid
from hanse.servers.api import reply
from hanse.servers.api.reply import (
    Callers,
    Desk,
    address_of,
    answers,
    body_of,
    decoded,
    json,
    read,
)
from hanse.servers.api.watches import EVENT_STREAM, Watches

FIND = BY_NAME["find_services"]
DESCRIBE = BY_NAME["describe_service"]
SCHEMA = FIND.input_schema()
PROPERTIES: dict[str, dict[str, Any]] = SCHEMA["properties"]
DEFAULT_LIMIT = 10


class ServiceRoutes:
    """Routes of `/api/v1/services` and `/api/v1/offers`."""

    def __init__(
        self,
        desk: Desk,
        callers: Callers,
        watches: Watches,
        reads: Callable[[str, int], None],
        counted: Callable[[str], str],
    ) -> None:
        """`reads` counts what an address asks for, and raises RateLimited; `counted` says which
        addresses are one."""
        self._desk = desk
        self._callers = callers
        self._watches = watches
        self._reads = reads
        self._counted = counted

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route(
            "/api/v1/services",
            self._find,
            methods=["GET"],
            summary="Find services",
            openapi_extra={"parameters": [_parameter(*found) for found in PROPERTIES.items()]},
        )
        app.add_api_route(
            "/api/v1/services/search",
            self._search,
            methods=["POST"],
            summary="Find services, asked in a body",
            openapi_extra=body_of(SCHEMA),
        )
        app.add_api_route(
            "/api/v1/services/watch",
            self._watch,
            methods=["GET"],
            summary="Hear of services that match from now on (server-sent events)",
            openapi_extra={"parameters": [_parameter(*found) for found in PROPERTIES.items()]},
            responses=answers({EVENT_STREAM: {"type": "string"}}, "`match`: a service"),
        )
        app.add_api_route(
            "/api/v1/offers/{offer:path}", self._offer, methods=["GET"], summary="One offer"
        )

    def _count(self, request: Request) -> None:
        self._reads(address_of(request), FIND.cost)

    async def _find(self, request: Request) -> Response:
        self._count(request)
        asked = {"limit": DEFAULT_LIMIT} | arguments(request)
        return json(await self._desk.perform(self._callers.reader(request, b""), FIND.name, asked))

    async def _search(self, request: Request) -> Response:
        self._count(request)
        body = await read(request)
        asked = decoded(body, dict[str, Any])
        return json(await self._desk.perform(self._callers.reader(request, body), FIND.name, asked))

    async def _watch(self, request: Request) -> Response:
        self._count(request)
        who = await self._callers.who(request, b"")
        asked = {"limit": DEFAULT_LIMIT} | arguments(request)
        holders = {f"address {self._counted(address_of(request))}"}
        if who is not None:
            holders.add(f"operator {who.operator}")
        find = partial(self._desk.perform, who, FIND.name, asked)
        return await self._watches.open(find, holders, self._callers.lasting(request, who))

    async def _offer(self, request: Request, offer: str) -> Response:
        reply.only(request, ())
        self._reads(address_of(request), DESCRIBE.cost)
        who = await self._callers.who(request, b"")
        return json(await self._desk.perform(who, DESCRIBE.name, {"offer": offer}))


def arguments(request: Request) -> dict[str, Any]:
    """The query's parameters as arguments of find_services: a list is given by repeating its name,
    an object as JSON. Raises Invalid naming the parameter."""
    reply.only(request, PROPERTIES)
    return {
        name: _read(name, request.query_params.getlist(name))
        for name in PROPERTIES
        if name in request.query_params
    }


def _read(name: str, texts: list[str]) -> Any:
    kinds = _types(PROPERTIES[name])
    if "array" in kinds:
        return texts
    if len(texts) > 1:
        raise Invalid.at(f"query.{name}", "is given more than once")
    if "string" in kinds:
        return texts[0]
    try:
        return orjson.loads(texts[0])
    except orjson.JSONDecodeError as exc:
        wanted = " or ".join(sorted(kinds - {"null"}))
        raise Invalid.at(f"query.{name}", f"must be JSON: {wanted}") from exc


def _types(schema: dict[str, Any]) -> set[str]:
    found = [schema, *schema.get("anyOf", ())]
    return {one["type"] for one in found if "type" in one}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": "query", "required": False}
    if "object" in _types(schema):
        return found | {"content": {"application/json": {"schema": schema}}}
    return found | {"schema": schema}
