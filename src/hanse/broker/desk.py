"""The desk: performs a tool for a principal. Every door brings its requests here.

Answers are JSON-ready dicts. What a provider wrote (descriptions, outputs, error texts) stands
under keys that say so, beside `untrusted`, which names whom it is from.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from hanse.broker import shown, tools
from hanse.broker.finding import FindServices
from hanse.broker.model import Order
from hanse.broker.receipt import verify_receipt
from hanse.broker.service import Broker
from hanse.broker.store import Calls
from hanse.errors import AuthRequired, NotFound, TooLarge
from hanse.identity.resolver import Resolved
from hanse.payments.service import Payments
from hanse.protocol import address, kinds
from hanse.protocol.amount import Amount
from hanse.protocol.canonical import bound_depth, canonical, digest_hex
from hanse.protocol.handle import Address, read_handle
from hanse.protocol.keys import PublicKey
from hanse.protocol.principal import Principal
from hanse.registry.service import Registry
from hanse.registry.version import read_range
from hanse.trust.service import Trust


class Desk:
    """Performs the tools of `broker.tools` over the rooms below."""

    def __init__(
        self,
        *,
        registry: Registry,
        broker: Broker,
        payments: Payments,
        calls: Calls,
        trust: Trust,
        resolve: Callable[[Address, PublicKey], Awaitable[Resolved]],
        node: PublicKey,
        new_key: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._broker = broker
        self._payments = payments
        self._calls = calls
        self._trust = trust
        self._resolve = resolve
        self._node = node
        self._new_key = new_key
        self._verbs: dict[type, Callable[..., Awaitable[dict[str, Any]]]] = {
            FindServices: self._find,
            tools.DescribeService: self._describe,
            tools.CallService: self._call,
            tools.GetReceipt: self._receipt,
            tools.ExplainTrust: self._explain,
            tools.Endorse: self._endorse,
            tools.FindHandle: self._handle,
        }

    async def perform(
        self, who: Principal | None, name: str, arguments: dict[str, Any], request_id: str = ""
    ) -> dict[str, Any]:
        """Run one tool. `request_id` is the signed request's event id, if there is one: it is the
        idempotency key of a call that names none. Raises HanseError."""
        tool = tools.tool_named(name)
        if tool.needs_identity and who is None:
            raise AuthRequired(f"{name} acts for an agent", hint="connect with an agent's token")
        read = tool.read(arguments)
        verb = self._verbs.get(type(read))
        if verb is not None:
            return await verb(who, read, request_id)
        assert who is not None
        return await self._balance(who) if name == "get_balance" else self._whoami(who)

    async def _find(
        self, who: Principal | None, asked: FindServices, _request: str
    ) -> dict[str, Any]:
        viewer = who.operator if who is not None else None
        return shown.found(await self._registry.find(asked.search(viewer)))

    async def _describe(
        self, _who: Principal | None, asked: tools.DescribeService, _request: str
    ) -> dict[str, Any]:
        offer = await self._registry.offer(asked.offer)
        return shown.offer(
            offer,
            lambda name: self._registry.quality(offer.address, name, offer.version),
            self._registry.why_withheld(offer),
        )

    async def _call(self, who: Principal, asked: tools.CallService, request: str) -> dict[str, Any]:
        bounds, text = self._broker.bounds, canonical(asked.input, "input")
        if len(text) > bounds.input_bytes_max:
            raise TooLarge(f"is over {bounds.input_bytes_max} bytes", field="input")
        bound_depth(text, "input", bounds.input_depth_max)
        cap = asked.max_price_msat
        order = Order(
            caller=who.agent,
            operator=who.operator,
            key=asked.idempotency_key or request or self._new_key(),
            offer=await self._address(asked.offer),
            capability=asked.capability,
            input=asked.input,
            input_sha256=digest_hex(asked.input, "input"),
            max_price=Amount(cap) if cap is not None else None,
            deadline_ms=asked.deadline_ms,
            words=asked.words,
            version=read_range(asked.version) if asked.version is not None else None,
            confirmed=asked.confirmed,
        )
        return shown.call(await self._broker.call(order))

    async def _address(self, reference: str) -> str:
        # An address names itself: a call's key gives its first result though the offer is gone.
        if reference.startswith(f"{kinds.OFFER}:"):
            return reference
        return (await self._registry.offer(reference)).address

    async def _receipt(
        self, who: Principal | None, asked: tools.GetReceipt, _request: str
    ) -> dict[str, Any]:
        event = await self._calls.receipt(asked.id)
        if event is None:
            raise NotFound("no receipt has this id", field="id")
        receipt = verify_receipt(event, self._node)
        result: dict[str, Any] = {
            "receipt": msgspec.to_builtins(event),
            "content": msgspec.to_builtins(receipt),
            "verified": True,
        }
        call = await self._calls.call(bytes.fromhex(receipt.call))
        # The output is the caller's alone; the receipt, without it, is public.
        if call is not None and who is not None and who.agent == call.caller and call.output:
            result["output"] = call.output
            result["untrusted"] = shown.untrusted(call.provider, call.offer)
        return result

    async def _explain(
        self, who: Principal, asked: tools.ExplainTrust, _request: str
    ) -> dict[str, Any]:
        subject = address.read_public_key(asked.subject, "subject")
        found = await self._trust.explain(who.operator, subject, asked.domain)
        return shown.trust(found, subject, self._trust.table)

    async def _endorse(self, who: Principal, asked: tools.Endorse, _request: str) -> dict[str, Any]:
        subject = address.read_public_key(asked.subject, "subject")
        draft = self._trust.draft(
            who.operator, subject, asked.domain, asked.grade, asked.days, asked.reason
        )
        return shown.endorsement(draft, who.operator, subject, asked)

    async def _handle(
        self, who: Principal, asked: tools.FindHandle, _request: str
    ) -> dict[str, Any]:
        found = await self._resolve(read_handle(asked.handle), who.operator)
        return found.shown() | {"npub": address.encode_npub(found.pubkey)}

    async def _balance(self, who: Principal) -> dict[str, Any]:
        available, held = await self._payments.balance(who.agent)
        return {"available_msat": available, "held_msat": held, "money": "test credits"}

    def _whoami(self, who: Principal) -> dict[str, Any]:
        return {
            "agent": who.agent,
            "npub": address.encode_npub(who.agent),
            "operator": who.operator,
            "node": self._node,
        }
