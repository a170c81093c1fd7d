"""Answers requests that reach the node as signed kind 25910 events: MCP over Nostr (ContextVM).

The event's signature is the caller's signature of the request, and its id is the idempotency key
of a call that names none: a replayed event gets the first result and charges nothing.
"""

import asyncio
import functools
import logging
from typing import Any, Protocol, Self

from hanse.broker.tools import TOOLS
from hanse.errors import HanseError, Invalid, PastDeadline, RateLimited
from hanse.ports import Bus, Clock
from hanse.protocol import kinds, rpc
from hanse.protocol.event import Event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.principal import Principal, identify

_log = logging.getLogger("hanse.contextvm")

PROTOCOL_VERSION = "2025-06-18"
RUNNING_MAX = 16_384
METHOD_NOT_FOUND = -32601


class Desk(Protocol):
    """Who performs the tools."""

    async def perform(
        self, who: Principal | None, name: str, arguments: dict[str, Any], request_id: str = ""
    ) -> dict[str, Any]:
        """Run one tool. Raises HanseError."""


class ContextVmDoor:
    """Listens on the bus for requests to the node; `async with` owns the tasks that answer."""

    def __init__(self, *, bus: Bus, desk: Desk, node: SecretKey, clock: Clock, name: str) -> None:
        self._bus = bus
        self._desk = desk
        self._node = node
        self._clock = clock
        self._name = name
        self._running = 0

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._bus.listen_here(self._hear)  # or every node would perform it
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tasks.__aexit__(None, None, None)

    def _hear(self, event: Event) -> int:
        if event.kind != kinds.RPC or event.pubkey == self._node.public:
            return 0
        # Answers to the node's own requests carry an `e` tag and are the courier's.
        if event.tag("e") is not None or self._node.public not in event.values("p"):
            return 0
        if self._running >= RUNNING_MAX:
            self._answer(event, None, error=RateLimited("the node is busy", hint="try again"))
            return 1
        self._running += 1
        self._tasks.create_task(self._serve(event))
        return 1

    async def _serve(self, event: Event) -> None:
        id: str | int | None = None
        try:
            asked = rpc.parse_rpc(event)
            if not isinstance(asked, rpc.RpcRequest):
                raise Invalid.at("content.method", "is missing")
            id = asked.id
            if id is None and not asked.method.startswith("notifications/"):
                raise Invalid.at("content.id", "is missing", "only notifications have none")
            result = await self._method(event, asked)
            if id is not None:
                self._answer(event, id, result=result)
        except HanseError as exc:
            self._answer(event, id, error=exc)
        # The door's boundary: a fault of ours must cost this request, not the node.
        except Exception as exc:
            _log.exception("a request failed")
            self._answer(event, id, error=HanseError(f"the node failed: {type(exc).__name__}"))
        finally:
            self._running -= 1

    async def _method(self, event: Event, asked: rpc.RpcRequest) -> dict[str, Any]:
        match asked.method:
            case "tools/call":
                return await self._call(event, asked.params)
            case "tools/list":
                return {"tools": listed()}
            case "initialize":
                return introduced(self._name)
            case "ping":
                return {}
            case method if method.startswith("notifications/"):
                return {}
            case method:
                raise MethodUnknown(f"{method[:64]!r} is not a method of this node")

    async def _call(self, event: Event, params: dict[str, Any]) -> dict[str, Any]:
        end = event.tag("expiration")
        if end is not None and end.isdigit() and int(end) <= self._clock.now_s():
            raise PastDeadline("the request expired", field="tags.expiration")
        name, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str):
            raise Invalid.at("params.name", "must be a string")
        if not isinstance(arguments, dict):
            raise Invalid.at("params.arguments", "must be an object")
        who = _principal(event)
        result = await self._desk.perform(who, name, arguments, event.id)
        text = f"{name}: {result.get('status', 'done')}; the result is in structuredContent"
        return {"content": [{"type": "text", "text": text}], "structuredContent": result}

    def _answer(
        self,
        request: Event,
        id: str | int | None,
        *,
        result: dict[str, Any] | None = None,
        error: HanseError | None = None,
    ) -> None:
        if error is not None:
            body = rpc.error_object(error)
            if isinstance(error, MethodUnknown):
                body["code"] = METHOD_NOT_FOUND
            answer = rpc.answer_event(
                self._node, request, id=id, created_at=self._clock.now_s(), error=body
            )
        else:
            answer = rpc.answer_event(
                self._node, request, id=id, created_at=self._clock.now_s(), result=result
            )
        self._bus.publish(answer)


class MethodUnknown(Invalid):
    """The JSON-RPC method is not one of ours."""


def _principal(event: Event) -> Principal:
    """Who signed the request; an attestation is checked once per (agent, tag)."""
    auth = tuple(tag for tag in event.tags if tag[:1] == ("auth",))
    if any("created_at" in part or "kind" in part for tag in auth for part in tag[2:3]):
        return identify(event)  # its conditions speak of this very event
    return _unconditional(event.pubkey, auth, event.kind)


@functools.lru_cache(maxsize=8192)
def _unconditional(pubkey: str, auth: tuple[tuple[str, ...], ...], kind: int) -> Principal:
    shell = Event("", PublicKey(pubkey), 0, kind, auth, "", "")
    return identify(shell)


def introduced(name: str) -> dict[str, Any]:
    """The result of `initialize`."""
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": name, "version": "1"},
    }


@functools.cache
def listed() -> list[dict[str, Any]]:
    """The node's tools, as `tools/list` has them."""
    return [
        {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": tool.input_schema(),
        }
        for tool in TOOLS
    ]
