"""Handles: /.well-known/nostr.json for whoever asks (NIP-05), /api/v1/handles for the operator.

A name the operator gave comes before one of their own agents'; those are served without asking.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Query, Request
from fastapi.responses import Response

from hanse.errors import NotFound
from hanse.protocol.address import encode_npub, read_public_key
from hanse.protocol.handle import Handle, handle_name, is_handle_name, nostr_json
from hanse.protocol.keys import PublicKey
from hanse.servers.api.reply import Callers, answers, body_of, decoded, json, read


class Handles(Protocol):
    """What is kept of handles."""

    async def handle(self, name: str) -> Handle | None:
        """One by its name."""

    async def handles(self) -> list[Handle]:
        """All, by name."""

    async def add(self, handle: Handle) -> None:
        """Keep it. Raises Conflict if another key has the name, TooLarge when full."""

    async def remove(self, name: str) -> bool:
        """Forget it; False if there is none."""


class NewHandle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/v1/handles: a name and the npub or hex key it is for."""

    name: str
    pubkey: str


class HandleRoutes:
    """The routes over a store. `own` are the names of the operator's own agents."""

    def __init__(
        self, handles: Handles, own: Mapping[str, PublicKey], relays: list[str], callers: Callers
    ) -> None:
        self._handles = handles
        # An agent may have a name that no reader could ask for: it has no handle then.
        self._own = {name: key for name, key in own.items() if is_handle_name(name)}
        self._relays = relays
        self._callers = callers

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        add = app.add_api_route
        add(
            "/.well-known/nostr.json",
            self._well_known,
            methods=["GET"],
            summary="Whose name this is (NIP-05)",
            responses=answers({"application/json": {"type": "object"}}, "names, and relays"),
        )
        path = "/api/v1/handles"
        add(path, self._list, methods=["GET"], summary="Every handle (operator)")
        add(
            path,
            self._add,
            methods=["POST"],
            summary="Give a key a handle (operator)",
            openapi_extra=body_of(msgspec.json.schema(NewHandle)["$defs"]["NewHandle"]),
        )
        add(
            path + "/{name}",
            self._remove,
            methods=["DELETE"],
            summary="Take a handle away (operator)",
        )

    async def _well_known(
        self, name: Annotated[str, Query(description="The local part")]
    ) -> Response:
        name = handle_name(name, "query.name")
        found = await self._handles.handle(name)
        if found is None and name in self._own:
            found = Handle(name, self._own[name])
        return json(nostr_json(found, self._relays))

    async def _list(self, request: Request) -> Response:
        self._callers.operator_only(request, b"")
        given = await self._handles.handles()
        names = {found.name for found in given}
        rows = [_row(found, "given") for found in given]
        rows += [
            _row(Handle(name, pubkey), "own")
            for name, pubkey in sorted(self._own.items())
            if name not in names
        ]
        return json({"handles": rows})

    async def _add(self, request: Request) -> Response:
        body = await read(request)
        self._callers.operator_only(request, body)
        wanted = decoded(body, NewHandle)
        found = Handle(handle_name(wanted.name), read_public_key(wanted.pubkey, "pubkey"))
        await self._handles.add(found)
        return json(_row(found, "given"))

    async def _remove(self, request: Request, name: str) -> Response:
        self._callers.operator_only(request, b"")
        name = handle_name(name)
        if not await self._handles.remove(name):
            hint = "it is one of your own agents'" if name in self._own else ""
            raise NotFound(f"no handle {name!r} was given", field="name", hint=hint)
        return json({"removed": name})


def _row(found: Handle, kind: str) -> dict[str, str]:
    return {
        "name": found.name,
        "pubkey": found.pubkey,
        "npub": encode_npub(found.pubkey),
        "kind": kind,
    }
