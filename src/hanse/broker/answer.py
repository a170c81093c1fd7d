"""Judging a provider's answer: shape, size, schema, signature. Pure: an event in, a verdict out.

An output is MCP's CallToolResult without `_meta`: `content` (a list of blocks) and, when the
capability has an output schema, `structuredContent`. `_meta["hanse/delivery"]` holds the
provider's signature over the delivery digest.
"""

from typing import Any

import orjson

from hanse.broker.model import Call, Fault, Verdict
from hanse.broker.receipt import delivery_digest
from hanse.errors import Invalid, TooLarge
from hanse.protocol.canonical import DEPTH_MAX, bound_depth, digest_hex
from hanse.protocol.event import Event
from hanse.protocol.keys import is_hex
from hanse.protocol.rpc import RpcAnswer, parse_rpc
from hanse.protocol.signature import verify
from hanse.registry.model import Capability
from hanse.registry.schema import violation

DELIVERY_META = "hanse/delivery"
INVALID_PARAMS = -32602
BLOCK_TYPES = frozenset({"text", "image", "audio", "resource", "resource_link"})
BLOCKS_MAX = 1000
OUTPUT_DEPTH_MAX = DEPTH_MAX - 8  # the answers around it stay under DEPTH_MAX
DETAIL_MAX = 300


def judge_answer(event: Event, call: Call, capability: Capability, bytes_max: int) -> Verdict:
    """What the answer to a call is worth."""
    if len(event.content.encode()) > bytes_max:
        return _fault(Fault.TOO_LARGE, f"the answer is over {bytes_max} bytes")
    try:
        answer = parse_rpc(event)
    except TooLarge as exc:
        return _fault(Fault.TOO_LARGE, exc.text)
    except Invalid as exc:
        return _fault(Fault.MALFORMED, exc.text)
    if not isinstance(answer, RpcAnswer) or answer.id != call.hex:
        return _fault(Fault.MALFORMED, "the answer is not for this call")
    if answer.error is not None:
        kind = Fault.DECLINED if answer.error["code"] == INVALID_PARAMS else Fault.ERROR
        return _fault(kind, str(answer.error.get("message", "")))
    result = answer.result or {}
    if result.get("isError"):
        return _fault(Fault.ERROR, _first_text(result) or "the tool reported an error")
    return _judge_result(result, call, capability, bytes_max)


def _judge_result(
    result: dict[str, Any], call: Call, capability: Capability, bytes_max: int
) -> Verdict:
    kept = ("content", "structuredContent")
    output: dict[str, Any] = {name: result[name] for name in kept if name in result}
    # What is settled must reach the caller: measured as it will be sent on, inside our envelope.
    text = orjson.dumps(output)
    if len(text) > bytes_max:
        return _fault(Fault.TOO_LARGE, f"the output is over {bytes_max} bytes")
    try:
        bound_depth(text, "output", OUTPUT_DEPTH_MAX)
    except TooLarge as exc:
        return _fault(Fault.TOO_LARGE, exc.text)
    problem = shape_problem(output)
    if problem:
        return _fault(Fault.MALFORMED, problem)
    if capability.output_schema is not None:
        broken = (
            violation(capability.output_schema, output["structuredContent"])
            if "structuredContent" in output
            else "structuredContent is missing"
        )
        if broken:
            return _fault(Fault.SCHEMA, broken)
    try:
        digest = digest_hex(output, "output")
    except Invalid as exc:
        return _fault(Fault.MALFORMED, exc.text)
    meta = result.get("_meta")
    signature = meta.get(DELIVERY_META) if isinstance(meta, dict) else None
    if not isinstance(signature, str) or not is_hex(signature, 128):
        return _fault(Fault.UNSIGNED, f'_meta["{DELIVERY_META}"] is missing')
    signed = delivery_digest(call.hex, call.input_sha256, digest, call.price.msat)
    if not verify(bytes.fromhex(call.provider), signed, bytes.fromhex(signature)):
        return _fault(Fault.UNSIGNED, "the delivery's signature is not the provider's")
    return Verdict(output=output, output_sha256=digest, delivery=signature)


def shape_problem(output: dict[str, Any]) -> str | None:
    """Why an output is not a CallToolResult, or None."""
    content = output.get("content")
    if not isinstance(content, list):
        return "content must be a list of blocks"
    if len(content) > BLOCKS_MAX:
        return f"content has more than {BLOCKS_MAX} blocks"
    for index, block in enumerate(content):
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str) or kind not in BLOCK_TYPES:
            return f"content[{index}] is not a content block"
        if kind == "text" and not isinstance(block.get("text"), str):
            return f"content[{index}].text must be a string"
    structured = output.get("structuredContent")
    if structured is None and not content:
        return "the answer is empty"
    return None


def _first_text(result: dict[str, Any]) -> str:
    blocks = result.get("content")
    first = blocks[0] if isinstance(blocks, list) and blocks else None
    return str(first.get("text", "")) if isinstance(first, dict) else ""


def _fault(fault: Fault, detail: str) -> Verdict:
    # A provider may have written it: not every database keeps a NUL.
    return Verdict(fault=fault, detail=detail[:DETAIL_MAX].replace("\0", "\ufffd"))
