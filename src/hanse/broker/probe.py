"""Free probes: a node makes an example call that the offer allows for nothing, to see if it works.

A probe is a `tools/call` without terms of payment: `_meta["hanse/probe"]` names the offer. Only an
example that says `probe` may be asked, as it stands. Its end is a paid call's, by the same checks
but for the delivery's signature, or `unlike-its-example`: the example shows an output and another
one came. Nobody is paid, nothing is learned from the words of a probe, and no receipt is made.
"""

from typing import Any

import orjson

from hanse.broker.answer import INVALID_PARAMS
from hanse.broker.model import Fault
from hanse.errors import Invalid, TooLarge
from hanse.ports import Absent, Answered, Clock, Courier, Gone, Stopped, TimedOut
from hanse.protocol import rpc
from hanse.protocol.event import Event
from hanse.protocol.keys import SecretKey
from hanse.registry.liveness import UNLIKE
from hanse.registry.model import Capability, Example, Offer
from hanse.registry.quality import SETTLED
from hanse.registry.schema import violation

PROBE_META = "hanse/probe"
DEADLINE_MAX_MS = 30_000
BYTES_MAX = 256 * 1024


class Prober:
    """Asks one example at a time; when and whom is for others to say."""

    def __init__(self, courier: Courier, clock: Clock, node: SecretKey) -> None:
        self._courier = courier
        self._clock = clock
        self._node = node

    async def probe(self, offer: Offer, capability: Capability, example: Example, id: str) -> str:
        """How it ended: `settled`, a fault's word, or `unlike-its-example`."""
        request = rpc.request_event(
            self._node,
            offer.provider,
            "tools/call",
            {
                "name": capability.name,
                "arguments": example.input,
                "_meta": {PROBE_META: {"offer": offer.address}},
            },
            id=id,
            created_at=self._clock.now_s(),
        )
        wait_ms = min(DEADLINE_MAX_MS, max(1000, 2 * offer.promise.latency_p95_ms))
        reply = await self._courier.ask(request, offer.provider, wait_ms)
        match reply:
            case Answered():
                return judge_probe(reply.event, capability, example, id)
            case TimedOut():
                return Fault.TOO_LATE.value
            case Absent():
                return Fault.OFFLINE.value
            case Gone():
                return Fault.DIED.value
            case Stopped():
                return Fault.NODE_STOPPED.value


def probe_example(offer: Offer, name: str) -> tuple[Capability, Example] | None:
    """The capability and its first example that may be asked for nothing."""
    capability = offer.capability(name)
    if capability is None:
        return None
    example = next((found for found in capability.examples if found.probe), None)
    return (capability, example) if example is not None else None


def allowed(capability: Capability, arguments: dict[str, Any]) -> bool:
    """Whether a provider's offer allows this input for nothing."""
    return any(found.probe and found.input == arguments for found in capability.examples)


def judge_probe(event: Event, capability: Capability, example: Example, id: str) -> str:
    """What an answer to a probe is worth."""
    if len(event.content.encode()) > BYTES_MAX:
        return Fault.TOO_LARGE.value
    try:
        answer = rpc.parse_rpc(event)
    except TooLarge:
        return Fault.TOO_LARGE.value
    except Invalid:
        return Fault.MALFORMED.value
    if not isinstance(answer, rpc.RpcAnswer) or answer.id != id:
        return Fault.MALFORMED.value
    if answer.error is not None:
        declined = answer.error.get("code") == INVALID_PARAMS
        return (Fault.DECLINED if declined else Fault.ERROR).value
    result = answer.result or {}
    if result.get("isError"):
        return Fault.ERROR.value
    output = result.get("structuredContent")
    if capability.output_schema is not None and (
        output is None or violation(capability.output_schema, output)
    ):
        return Fault.SCHEMA.value
    if example.output is not None and _text(output) != _text(example.output):
        return UNLIKE
    return SETTLED


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
