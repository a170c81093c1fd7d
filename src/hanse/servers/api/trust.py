"""Whom to trust, by HTTP: the tool explain_trust as a route."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from hanse.broker.tools import BY_NAME
from hanse.servers.api import reply
from hanse.servers.api.reply import Callers, Desk, json

EXPLAIN = BY_NAME["explain_trust"]
_DOMAIN: dict[str, Any] = EXPLAIN.input_schema()["properties"]["domain"]


class TrustRoutes:
    """Route of `/api/v1/trust`. The viewer is the operator of whoever asks."""

    def __init__(self, desk: Desk, callers: Callers) -> None:
        self._desk = desk
        self._callers = callers

    def add_to(self, app: FastAPI) -> None:
        """See `Routes`."""
        parameter = {
            "name": "domain",
            "in": "query",
            "description": _DOMAIN["description"],
            "schema": {key: value for key, value in _DOMAIN.items() if key != "description"},
        }
        app.add_api_route(
            "/api/v1/trust/{subject}",
            self._explain,
            methods=["GET"],
            summary="Level, score and reasons of somebody, as your operator sees them",
            openapi_extra={"parameters": [parameter]},
        )

    async def _explain(self, request: Request, subject: str) -> Response:
        reply.only(request, ("domain",))
        who = self._callers.who(request, b"")
        asked = {"subject": subject, **dict(request.query_params)}
        return json(await self._desk.perform(who, EXPLAIN.name, asked))
