"""The API's OpenAPI document: what FastAPI derives, told as this API behaves.

FastAPI lists 422 for every route with a parameter; here bad input is a 400 with a problem document.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hanse.servers.api.reply import PROBLEM_SCHEMA

_UNUSED = ("HTTPValidationError", "ValidationError")


class Described(FastAPI):
    """An application that serves the document that is true of it."""

    def openapi(self) -> dict[str, Any]:
        """The document, made when it is first asked for."""
        if self.openapi_schema is None:
            self.openapi_schema = _described(self)
        return self.openapi_schema


def _described(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for name in _UNUSED:
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    for verbs in found["paths"].values():
        for verb in verbs.values():
            verb["responses"].pop("422", None)
            verb["responses"]["default"] = _PROBLEM
    return found


_PROBLEM: dict[str, Any] = {
    "description": "Refused",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
