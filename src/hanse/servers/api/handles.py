"""Handles: /.well-known/nostr.json for whoever asks (NIP-05); /api/v1/handles for the operator, for
keys that claim or move one, and for agents that look one up at its domain.

A name the operator gave comes before one of their own agents'; those are served without asking.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Query, Request
from fastapi.responses import Response

from hanse.broker.tools import BY_NAME
from hanse.errors import AuthRequired, NotFound
from hanse.identity.resolver import Resolver
from hanse.identity.service import Names
from hanse.protocol.address import encode_npub, read_public_key
from hanse.protocol.event import parse_event
from hanse.protocol.handle import Handle, handle_name, nostr_json, read_handle
from hanse.servers.api import reply
from hanse.servers.api.reply import Callers, answers, body_of, decoded, json, read

STATEMENT_BYTES_MAX = 8 * 1024


class Handles(Protocol):
    """What other routes ask of handles."""

    async def handle(self, name: str) -> Handle | None:
        """One by its name."""


class NewHandle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/v1/handles: a name and the npub or hex key it is for."""

    name: str
    pubkey: str


FIND = BY_NAME["find_handle"]
"""What a look-up costs of its address's rate of events, at every door. What is here costs one."""


class HandleRoutes:
    """The routes over the node's names and its look-ups."""

    def __init__(
        self,
        names: Names,
        resolver: Resolver,
        relays: list[str],
        callers: Callers,
        reads: Callable[[str, int], None],
    ) -> None:
        """`reads` counts what an address asks for, and raises RateLimited."""
        self._names = names
        self._resolver = resolver
        self._relays = relays
        self._callers = callers
        self._reads = reads

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
            summary="Take a handle away (operator), or give your own back",
        )
        add(path + "/terms", self._terms, methods=["GET"], summary="What claiming a name needs")
        add(
            path + "/statements",
            self._state,
            methods=["POST"],
            summary="Claim a name, or say where you moved (a signed kind 31411)",
            openapi_extra=body_of({"type": "object"}, "the event"),
        )
        add(path + "/find", self._find, methods=["GET"], summary="Who name@domain is, both ways")

    def _count(self, request: Request, cost: int = 1) -> None:
        self._reads(reply.address_of(request), cost)

    async def _well_known(
        self, request: Request, name: Annotated[str, Query(description="The local part")]
    ) -> Response:
        self._count(request)
        found = await self._names.answer(handle_name(name, "query.name"))
        return json(nostr_json(found, self._relays))

    async def _list(self, request: Request) -> Response:
        await self._callers.operator_only(request, b"")
        kept = await self._names.handles()
        names = {found.name for found in kept}
        rows = [_row(found, "claimed" if found.until_s else "given") for found in kept]
        rows += [
            _row(Handle(name, pubkey), "own")
            for name, pubkey in sorted(self._names.own.items())
            if name not in names
        ]
        return json({"handles": rows, "domain": self._names.domain})

    async def _add(self, request: Request) -> Response:
        body = await read(request)
        await self._callers.operator_only(request, body)
        wanted = decoded(body, NewHandle)
        found = Handle(handle_name(wanted.name), read_public_key(wanted.pubkey, "pubkey"))
        await self._names.add(found)
        return json(_row(found, "given"))

    async def _remove(self, request: Request, name: str) -> Response:
        who = await self._callers.who(request, b"")
        if who is None:
            raise AuthRequired("sign the request with the operator's key, or the handle's (NIP-98)")
        name = handle_name(name)
        if not self._callers.is_operator(who.agent):
            await self._names.release(name, who)
        elif not await self._names.remove(name):
            hint = "it is one of your own agents'" if name in self._names.own else ""
            raise NotFound(f"no handle {name!r} was given", field="name", hint=hint)
        return json({"removed": name})

    async def _terms(self, request: Request) -> Response:
        self._count(request)
        return json(await self._names.shown_terms())

    async def _state(self, request: Request) -> Response:
        self._count(request)
        body = await read(request, STATEMENT_BYTES_MAX)
        found = await self._names.state(parse_event(body))
        return json(_row(found, "claimed" if found.until_s else "given"))

    async def _find(
        self, request: Request, handle: Annotated[str, Query(description="name@domain")]
    ) -> Response:
        self._count(request, FIND.cost)
        reply.only(request, ("handle",))
        asked = read_handle(handle, "query.handle")
        who = await self._callers.who(request, b"")
        if who is None:
            raise AuthRequired("look-ups are made for agents: sign the request, or use a token")
        found = await self._resolver.find(asked, who.operator)
        return json(found.shown() | {"npub": encode_npub(found.pubkey)})


def _row(found: Handle, kind: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": found.name,
        "pubkey": found.pubkey,
        "npub": encode_npub(found.pubkey),
        "kind": kind,
    }
    if found.until_s:
        row |= {"operator": found.operator, "until": found.until_s}
    if found.moved:
        row["moved"] = found.moved
    return row
