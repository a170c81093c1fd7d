"""The path of one paid call: check → hold → deliver → judge → settle or refund → receipt.

What can be refused is refused before money moves. From the hold on, the call ends in exactly one of
settled or refunded, by `close_call`, whatever happens here; what a crash leaves open, `recover`
refunds.
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from hanse.broker.answer import judge_answer
from hanse.broker.model import Call, CallState, Fault, Order, Verdict
from hanse.broker.receipt import receipt_event
from hanse.broker.store import Calls
from hanse.errors import (
    Closed,
    Conflict,
    Invalid,
    NotFound,
    OverCap,
    RateLimited,
    Restricted,
    Unavailable,
)
from hanse.payments.model import Fee
from hanse.ports import Absent, Answered, Clock, Courier, Gone, Latch, Reply, Stopped, TimedOut
from hanse.protocol import rpc
from hanse.protocol.keys import SecretKey
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.schema import violation
from hanse.registry.service import Registry
from hanse.registry.version import Range, read_version
from hanse.trust.permits import Permits

DEADLINE_MIN_MS = 1000
DEADLINE_MAX_MS = 600_000
KEY_MAX = 128
CALL_META = "hanse/call"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the broker."""

    open_calls_max: int = 4096
    open_calls_of_one_max: int = 256
    output_bytes_max: int = 256 * 1024
    input_bytes_max: int = 64 * 1024
    input_depth_max: int = 56  # the request around it stays under canonical.DEPTH_MAX
    foreign_grace_ms: int = 60_000


class Broker:
    """Runs calls. One per node."""

    def __init__(
        self,
        *,
        calls: Calls,
        registry: Registry,
        courier: Courier,
        clock: Clock,
        node: SecretKey,
        fee: Fee,
        latch: Callable[[], Latch],
        ended: Callable[[Call], None],
        bounds: Bounds | None = None,
        instance: str = "",
        permits: Permits | None = None,
    ) -> None:
        self._permits = permits
        self._calls = calls
        self._registry = registry
        self._courier = courier
        self._clock = clock
        self._node = node
        self._fee = fee
        self._latch = latch
        self._ended = ended
        self.bounds = bounds or Bounds()
        self._instance = instance
        self._running: dict[bytes, Latch] = {}
        self._open: Counter[str] = Counter()
        self._closing = False

    async def call(self, order: Order) -> Call:
        """Run one call to its end. The same key again returns the first result.

        Raises NotFound, Invalid, OverCap, Restricted, InsufficientFunds, Conflict or RateLimited
        when the call is refused; then nothing was held. A refund is not an error: it is in the
        Call.
        """
        self._check_order(order)
        while (running := self._running.get(order.call_id)) is not None:
            await running.wait()
        # Taken before anything is waited for: of two with one key, the second waits for the first.
        latch = self._running[order.call_id] = self._latch()
        try:
            return await self._known(order) or await self._begin(order)
        finally:
            del self._running[order.call_id]
            latch.set()

    async def _begin(self, order: Order) -> Call:
        if self._closing:
            raise Closed("the node is shutting down", hint="try again with the same key")
        if len(self._running) > self.bounds.open_calls_max:
            raise RateLimited(f"{self.bounds.open_calls_max} calls are open", hint="try again soon")
        offer = await self._registry.offer(order.offer)
        capability = self._check_against(offer, order)
        self._check_share(order, offer)
        if self._permits is not None:
            await self._permits.check(
                order.operator,
                offer.operator,
                capability.name,
                capability.price,
                confirmed=order.confirmed,
            )
        sides = (f"caller {order.caller}", f"provider {offer.provider}")
        self._open.update(sides)
        try:
            wanted = self._new_call(order, offer, capability)
            call = await self._calls.open_call(wanted)
            if call.fingerprint != order.fingerprint:
                raise _conflict()
            if call.holder != self._instance or call.opened_ms != wanted.opened_ms:
                return await self._met(call)
            return await self._run(call, order, capability, offer.promise)
        finally:
            self._open.subtract(sides)
            for side in sides:
                if not self._open[side]:
                    del self._open[side]

    async def recover(self) -> int:
        """Refund what an earlier process left open. Returns how many. Call once, before the first
        `call`."""
        left = [call for call in await self._calls.open_calls() if call.holder == self._instance]
        for call in left:
            await self._give_back(call, "the node stopped during the call")
        return len(left)

    async def expire(self) -> int:
        """Refund calls that are past their deadline and no longer run here: those whose ending
        could not be written at its time. Returns how many."""
        now = self._clock.now_ms()
        late = [
            call
            for call in await self._calls.open_calls()
            if call.id not in self._running and now > self._given_up_ms(call)
        ]
        for call in late:
            await self._give_back(call, "the node could not end the call")
        return len(late)

    def stop_taking(self) -> None:
        """Refuse new calls; those running go on to their end."""
        self._closing = True

    def give_up(self) -> None:
        """Wait for no provider any longer: what runs is refunded. A provider at another node would
        keep it open until its deadline."""
        self._courier.stop()

    @property
    def running(self) -> int:
        """How many calls are in progress."""
        return len(self._running)

    # --- before money moves -----------------------------------------------------------------

    def _check_order(self, order: Order) -> None:
        if not 1 <= len(order.key) <= KEY_MAX:
            raise Invalid.at("idempotency_key", f"must have 1 to {KEY_MAX} characters")
        if order.deadline_ms is not None and not 1 <= order.deadline_ms <= DEADLINE_MAX_MS:
            raise Invalid.at("deadline_ms", f"must be 1 to {DEADLINE_MAX_MS}")

    async def _known(self, order: Order) -> Call | None:
        """The call of this key as it ended, if there is one."""
        known = await self._calls.call(order.call_id)
        if known is None:
            return None
        if known.fingerprint != order.fingerprint:
            raise _conflict()
        return await self._met(known)

    async def _met(self, known: Call) -> Call:
        """A stored call that does not run here: as it ended, or its money back if it runs nowhere
        (its task was cancelled, or its ending could not be written)."""
        if known.state is not CallState.OPEN:
            return known
        if known.holder != self._instance and self._clock.now_ms() <= self._given_up_ms(known):
            raise Unavailable("this call runs at another node", hint="ask again with the same key")
        return await self._give_back(known, "the node could not end the call")

    def _given_up_ms(self, call: Call) -> int:
        """When an open call that does not run here is given up: another node gets longer, since
        its clock and its commit may be late."""
        grace = 0 if call.holder == self._instance else self.bounds.foreign_grace_ms
        return call.opened_ms + call.deadline_ms + grace

    def _check_share(self, order: Order, offer: Offer) -> None:
        """No key, calling or called, may fill the node."""
        most = self.bounds.open_calls_of_one_max
        for role, key in (("caller", order.caller), ("provider", offer.provider)):
            if self._open[f"{role} {key}"] >= most:
                raise RateLimited(
                    f"{most} calls of this {role} are open", field=role, hint="try again soon"
                )

    def _check_against(self, offer: Offer, order: Order) -> Capability:
        if offer.source:
            raise Restricted(
                f"was imported from {offer.source[:200]}: nobody serves it at this node",
                field="offer",
                hint="call it at its source, or find an offer that its provider published",
            )
        capability = offer.capability(order.capability)
        if capability is None:
            names = ", ".join(
                found.name for found in offer.capabilities[:10]
            )  # tool names: no text
            raise NotFound(
                f"the offer has no {order.capability[:64]!r}", field="capability", hint=names
            )
        if order.version is not None:
            _check_version(order.version, offer)
        if not capability.by_call:
            raise Invalid.at(
                "capability",
                f"{capability.name!r} has no price per call",
                "metered and periodic prices cannot be settled here yet",
            )
        broken = violation(capability.input_schema, order.input)
        if broken:
            raise Invalid.at("input", broken, "describe_service shows the input schema")
        if order.max_price is not None and capability.price > order.max_price:
            raise OverCap(
                f"the price is {capability.price}, the cap {order.max_price}", field="max_price"
            )
        return capability

    def _new_call(self, order: Order, offer: Offer, capability: Capability) -> Call:
        deadline = order.deadline_ms or max(DEADLINE_MIN_MS, 2 * offer.promise.latency_p95_ms)
        return Call(
            id=order.call_id,
            caller=order.caller,
            operator=order.operator,
            provider=offer.provider,
            offer=offer.address,
            capability=capability.name,
            fingerprint=order.fingerprint,
            input_sha256=order.input_sha256,
            price=capability.price,
            fee=self._fee.of(capability.price),
            deadline_ms=min(deadline, DEADLINE_MAX_MS),
            opened_ms=self._clock.now_ms(),
            holder=self._instance,
            words=order.words,
            version=offer.version,
            payee=offer.operator,
        )

    # --- after the hold -----------------------------------------------------------------------

    async def _run(
        self, call: Call, order: Order, capability: Capability, promise: Promise
    ) -> Call:
        started = self._clock.monotonic_ms()
        request = rpc.request_event(
            self._node,
            call.provider,
            "tools/call",
            {
                "name": capability.name,
                "arguments": order.input,
                "_meta": {CALL_META: _terms(call)},
            },
            id=call.hex,
            created_at=self._clock.now_s(),
        )
        reply = await self._courier.ask(request, call.provider, call.deadline_ms)
        latency = round(self._clock.monotonic_ms() - started)
        verdict = self._judge(reply, call, capability, promise)
        return await self._close(call, verdict, latency)

    def _judge(self, reply: Reply, call: Call, capability: Capability, promise: Promise) -> Verdict:
        # While our own doors close, that the provider is gone is not its fault.
        if isinstance(reply, Stopped) or (self._closing and isinstance(reply, Gone | Absent)):
            return Verdict(fault=Fault.NODE_STOPPED, detail="the node stopped during the call")
        match reply:
            case Answered():
                try:
                    return judge_answer(reply.event, call, capability, self.bounds.output_bytes_max)
                # A check that cannot be made refuses: no answer may leave its call open.
                except Exception as exc:
                    text = f"the answer could not be judged: {type(exc).__name__}"
                    return Verdict(fault=Fault.MALFORMED, detail=text)
            case TimedOut():
                text = f"no answer within {call.deadline_ms} ms"
                # Only a broken promise counts: a caller may be in more of a hurry than that.
                short = call.deadline_ms < promise.latency_p95_ms
                return Verdict(fault=Fault.IMPATIENT if short else Fault.TOO_LATE, detail=text)
            case Absent():
                return Verdict(fault=Fault.OFFLINE, detail="the provider is not connected")
            case Gone():
                text = "the provider disconnected during the call"
                return Verdict(fault=Fault.DIED, detail=text)

    async def _give_back(self, call: Call, why: str) -> Call:
        return await self._close(call, Verdict(fault=Fault.NODE_STOPPED, detail=why), None)

    async def _close(self, call: Call, verdict: Verdict, latency_ms: int | None) -> Call:
        ended = msgspec.structs.replace(
            call,
            state=CallState.REFUNDED if verdict.fault else CallState.SETTLED,
            fault=verdict.fault,
            detail=verdict.detail,
            latency_ms=latency_ms,
            closed_ms=self._clock.now_ms(),
            output=verdict.output,
            output_sha256=verdict.output_sha256,
            delivery=verdict.delivery,
        )
        receipt = receipt_event(self._node, ended)
        ended = msgspec.structs.replace(ended, receipt_id=receipt.id)
        stored = await self._calls.close_call(ended, receipt)
        if stored is ended:  # else it had ended before, and is learned from the store
            self._registry.learn(ended.learned())
        self._ended(stored)
        return stored


def _terms(call: Call) -> dict[str, object]:
    """What a provider is told of the call: enough to refuse a bad price and to sign a delivery."""
    return {
        "call": call.hex,
        "caller": call.caller,
        "offer": call.offer,
        "price_msat": call.price.msat,
        "fee_msat": call.fee.msat,
        "deadline_ms": call.deadline_ms,
        "input_sha256": call.input_sha256,
    }


def _conflict() -> Conflict:
    return Conflict(
        "was used before with other content",
        field="idempotency_key",
        hint="use a new key for a new call",
    )


def _check_version(accepted: Range, offer: Offer) -> None:
    """A version that cannot be read is in no range."""
    try:
        if accepted.has(read_version(offer.version)):
            return
    except Invalid as exc:
        raise Invalid.at("version", f"the offer's {exc.reason}", "call it without one") from exc
    reason = f"the offer is at {offer.version}, which is not in {accepted}"
    raise Invalid.at("version", reason, f"accept ^{offer.version}, or find another offer")
