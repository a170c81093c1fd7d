"""A typed Python function as a capability: JSON Schemas from its type hints, values checked by
them."""

import asyncio
import contextlib
import functools
import inspect
import re
import threading
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from hanse.errors import Invalid
from hanse.protocol.amount import Amount
from hanse.protocol.event import field_error
from hanse.registry.model import Capability
from hanse.registry.schema_levels import written_out

WRAPPED = "result"
"""MCP's structuredContent is an object: a plain value travels under this key."""


class Function:
    """One function offered as a capability."""

    def __init__(self, call: Callable[..., Any], price: Amount, name: str | None = None) -> None:
        self._call = call
        self._is_async = inspect.iscoroutinefunction(call)
        hints = typing.get_type_hints(call, include_extras=True)
        if "return" not in hints:
            raise Invalid.at(call.__name__, "needs a return type", "callers are promised a schema")
        self._input = _input_type(call, hints)
        self._output = hints["return"]
        schema = _schema(self._output, call.__name__)
        self._wraps = schema.get("type") != "object"
        self.capability = Capability(
            name=name or call.__name__,
            description=inspect.getdoc(call) or "",
            input_schema=written_out(_schema(self._input, call.__name__)),
            output_schema=written_out(_wrapped(schema) if self._wraps else schema),
            price=price,
        )

    async def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call with JSON arguments; a CallToolResult. Raises Invalid for arguments of other
        types."""
        try:
            read = msgspec.convert(arguments, self._input)
        except msgspec.ValidationError as exc:
            raise field_error(exc, "input") from exc
        given = {name: getattr(read, name) for name in self._input.__struct_fields__}
        if self._is_async:
            value = await self._call(**given)
        else:
            value = await _in_thread(functools.partial(self._call, **given))
        built = msgspec.to_builtins(value)
        return {"content": [], "structuredContent": {WRAPPED: built} if self._wraps else built}


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Run a function beside the loop. On a daemon thread, unlike asyncio.to_thread's: one that
    never returns must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(value: Any, exc: BaseException | None) -> None:
        if future.done():
            return
        if exc is None:
            future.set_result(value)
        else:
            future.set_exception(exc)

    def work() -> None:
        value, failure = None, None
        try:
            value = call()
        # It is raised again where the answer is awaited.
        except BaseException as exc:
            failure = RuntimeError("StopIteration") if isinstance(exc, StopIteration) else exc
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(done, value, failure)

    threading.Thread(target=work, daemon=True).start()
    return await future


def _input_type(call: Callable[..., Any], hints: dict[str, Any]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Invalid.at(f"{call.__name__}.{name}", "cannot be offered", "name each argument")
        if name not in hints:
            raise Invalid.at(f"{call.__name__}.{name}", "needs a type hint")
        _schema(hints[name], f"{call.__name__}.{name}")
        if parameter.default is parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct(
        f"{call.__name__}_input", fields, kw_only=True, frozen=True, forbid_unknown_fields=True
    )


def _schema(type_: Any, where: str) -> dict[str, Any]:
    try:
        (schema,), components = msgspec.json.schema_components(
            [type_], ref_template="#/$defs/{name}"
        )
    except TypeError as exc:
        raise Invalid.at(where, f"has a type without a JSON Schema: {exc}") from exc
    found: dict[str, Any] = dict(schema)
    head = re.fullmatch(r"#/\$defs/(.+)", str(found.get("$ref", "")))
    if head:
        # The type itself at the root; whatever else it names, itself too, stays under $defs.
        found = dict(components[head.group(1)])
        if str(components).count(repr(schema["$ref"])) == 0:
            del components[head.group(1)]
    found.pop("title", None)
    if components:
        found["$defs"] = components
    return found


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    outer: dict[str, Any] = {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
    }
    if definitions:
        outer["$defs"] = definitions
    return outer
