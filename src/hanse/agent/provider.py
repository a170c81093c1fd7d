"""The provider's side of a call: check the node's terms, run the service, sign the delivery."""

import asyncio
import logging
from typing import Any, Protocol

from hanse.broker.answer import DELIVERY_META
from hanse.broker.probe import PROBE_META, allowed
from hanse.broker.receipt import delivery_digest
from hanse.broker.service import CALL_META
from hanse.errors import HanseError, Invalid, RateLimited
from hanse.protocol import rpc
from hanse.protocol.canonical import digest_hex
from hanse.protocol.event import Event
from hanse.protocol.keys import SecretKey, is_hex
from hanse.registry.model import Capability, Offer

RUNNING_MAX = 256
INTERNAL_ERROR = -32603

_log = logging.getLogger("hanse.provider")


class Runner(Protocol):
    """What runs a capability."""

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A CallToolResult as JSON. Raises Invalid for input it cannot take."""


class Provider:
    """Answers the calls of an agent's offers. More than RUNNING_MAX at once are declined."""

    def __init__(self, secret: SecretKey) -> None:
        self._secret = secret
        self._offers: dict[str, tuple[Offer, Runner]] = {}
        self._running = 0

    def add(self, offer: Offer, runner: Runner) -> None:
        """Answer this offer's calls with `runner` from now on."""
        self._offers[offer.address] = (offer, runner)

    async def answer(self, event: Event, now: int) -> Event | None:
        """The signed answer to one request of the node. None for what is not a request, and for
        an offer not served here: another process with this key may serve it."""
        id: str | int | None = None
        try:
            asked = rpc.parse_rpc(event)
            if not isinstance(asked, rpc.RpcRequest) or asked.id is None:
                return None
            if asked.method == "tools/call" and _offer_named(asked.params) not in self._offers:
                return None
            id = asked.id
            result = await self._method(asked)
            return rpc.answer_event(self._secret, event, id=id, created_at=now, result=result)
        except HanseError as exc:
            error = rpc.error_object(exc)
        except asyncio.CancelledError:
            raise
        # The service is somebody else's code: whatever it raises is a failed call, not our end.
        except Exception as exc:
            _log.exception("the service failed")
            error = {"code": INTERNAL_ERROR, "message": f"the service failed: {type(exc).__name__}"}
        return rpc.answer_event(self._secret, event, id=id, created_at=now, error=error)

    async def _method(self, asked: rpc.RpcRequest) -> dict[str, Any]:
        if asked.method == "tools/list":
            offers = [offer for offer, _ in self._offers.values()]
            return {"tools": [_tool(found) for offer in offers for found in offer.capabilities]}
        if asked.method != "tools/call":
            raise HanseError(f"{asked.method[:64]!r} is not a method of this provider")
        if self._running >= RUNNING_MAX:
            raise RateLimited("the provider is busy")
        self._running += 1
        try:
            return await self._call(asked.params)
        finally:
            self._running -= 1

    async def _call(self, params: dict[str, Any]) -> dict[str, Any]:
        probe = _probe(params)
        terms = probe or _terms(params)
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(arguments, dict):
            raise Invalid.at("params.arguments", "must be an object")
        offer, runner = self._offers[terms["offer"]]
        capability = offer.capability(str(name))
        if capability is None:
            raise Invalid.at("params.name", f"{str(name)[:64]!r} is not a capability of the offer")
        if probe:
            if not allowed(capability, arguments):
                raise Invalid.at("arguments", "are no example that may be called for nothing")
            return await runner.call(capability.name, arguments)
        if terms["price_msat"] != capability.price.msat:
            raise HanseError(f"the price is {capability.price}", field="price_msat")
        asked = digest_hex(arguments, "arguments")
        if terms["input_sha256"] != asked:
            raise Invalid.at("input_sha256", "is not the input's digest")
        result = await runner.call(capability.name, arguments)
        kept = ("content", "structuredContent")
        output: dict[str, Any] = {key: result[key] for key in kept if key in result}
        if result.get("isError"):
            return {**output, "isError": True}
        try:
            digest = digest_hex(output, "output")
        except Invalid as exc:
            raise HanseError(exc.reason, field="output") from exc  # our fault, not the caller's
        signed = delivery_digest(terms["call"], asked, digest, capability.price.msat)
        return {**output, "_meta": {DELIVERY_META: self._secret.sign(signed)}}


def _terms(params: dict[str, Any]) -> dict[str, Any]:
    meta = params.get("_meta")
    terms = meta.get(CALL_META) if isinstance(meta, dict) else None
    if not isinstance(terms, dict) or not is_hex(str(terms.get("call", "")), 64):
        raise Invalid.at(f"_meta.{CALL_META}", "is missing: paid calls come through a node")
    return terms


def _probe(params: dict[str, Any]) -> dict[str, Any] | None:
    """What a probe names, or None for a call that is paid."""
    meta = params.get("_meta")
    if not isinstance(meta, dict) or CALL_META in meta:
        return None
    found = meta.get(PROBE_META)
    return found if isinstance(found, dict) else None


def _offer_named(params: dict[str, Any]) -> str:
    return str((_probe(params) or _terms(params)).get("offer"))


def _tool(found: Capability) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": found.name,
        "description": found.description,
        "inputSchema": found.input_schema,
    }
    if found.output_schema is not None:
        row["outputSchema"] = found.output_schema
    return row
