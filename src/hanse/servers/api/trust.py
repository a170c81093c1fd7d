"""Whom to trust, by HTTP: the tool explain_trust as a route, and the picture of a circle."""

from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response

from hanse.broker.tools import BY_NAME
from hanse.errors import AuthRequired, Invalid
from hanse.protocol.address import encode_npub
from hanse.servers.api import reply
from hanse.servers.api.reply import Callers, Desk, decoded, json, read
from hanse.trust.picture import NODES, NODES_MAX, Picture

EXPLAIN = BY_NAME["explain_trust"]
ENDORSE = BY_NAME["endorse"]
_DOMAIN: dict[str, Any] = EXPLAIN.input_schema()["properties"]["domain"]


_LIMIT = {"type": "integer", "minimum": 1, "maximum": NODES_MAX, "default": NODES}


class Pictures(Protocol):
    """Who knows circles."""

    async def picture(self, viewer: str, domain: str = "", limit: int = NODES) -> Picture:
        """A viewer's circle and whom it leads to. Raises Invalid, Unavailable."""


class TrustRoutes:
    """Routes of `/api/v1/trust`. The viewer is the operator of whoever asks."""

    def __init__(self, desk: Desk, callers: Callers, pictures: Pictures) -> None:
        self._desk = desk
        self._callers = callers
        self._pictures = pictures

    def add_to(self, app: FastAPI) -> None:
        """See `Routes`."""
        parameter = {
            "name": "domain",
            "in": "query",
            "description": _DOMAIN["description"],
            "schema": {key: value for key, value in _DOMAIN.items() if key != "description"},
        }
        app.add_api_route(
            "/api/v1/endorsements/drafts",
            self._draft,
            methods=["POST"],
            summary="An endorsement for your operator to sign; nothing is published",
            openapi_extra=reply.body_of(ENDORSE.input_schema()),
        )
        app.add_api_route(
            "/api/v1/trust/graph",
            self._graph,
            methods=["GET"],
            summary="Your operator's circle and the paths to whom it leads",
            openapi_extra={
                "parameters": [parameter, {"name": "limit", "in": "query", "schema": _LIMIT}]
            },
        )
        app.add_api_route(
            "/api/v1/trust/{subject}",
            self._explain,
            methods=["GET"],
            summary="Level, score and reasons of somebody, as your operator sees them",
            openapi_extra={"parameters": [parameter]},
        )

    async def _draft(self, request: Request) -> Response:
        body = await read(request)
        found = decoded(body, dict[str, Any])
        who = await self._callers.who(request, body)
        return json(await self._desk.perform(who, ENDORSE.name, found))

    async def _graph(self, request: Request) -> Response:
        reply.only(request, ("domain", "limit"))
        who = await self._callers.who(request, b"")
        if who is None:
            raise AuthRequired("a circle is somebody's", hint="sign the request (NIP-98)")
        asked = request.query_params
        text = asked.get("limit", str(NODES))
        if not (text.isascii() and text.isdigit() and len(text) <= 4):
            raise Invalid.at("limit", f"must be 1 to {NODES_MAX}")
        found = await self._pictures.picture(who.operator, asked.get("domain", ""), int(text))
        shown = msgspec.to_builtins(found)
        for node in shown["nodes"]:
            node["npub"] = encode_npub(node["key"])
        return json(shown)

    async def _explain(self, request: Request, subject: str) -> Response:
        reply.only(request, ("domain",))
        who = await self._callers.who(request, b"")
        asked = {"subject": subject, **dict(request.query_params)}
        return json(await self._desk.perform(who, EXPLAIN.name, asked))
