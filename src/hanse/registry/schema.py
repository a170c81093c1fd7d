"""JSON Schemas from strangers: compiled within bounds, then used to check inputs and outputs.

Draft 2020-12 unless `$schema` says otherwise. No schema is ever fetched: a `$ref` out of the
document is
refused. Regular expressions run on an engine that is linear in time, so a pattern cannot explode;
one that needs backtracking does not compile and is refused.
"""

import functools
from typing import Any

import jsonschema_rs
import orjson

from hanse.errors import Invalid

SCHEMA_BYTES_MAX = 64 * 1024
CACHE_MAX = 4096


def _never_fetch(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri[:80]}")


@functools.lru_cache(maxsize=CACHE_MAX)
def _compiled(text: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        orjson.loads(text),
        retriever=_never_fetch,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
    )


def _text(schema: dict[str, Any], field: str) -> bytes:
    text = orjson.dumps(schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise Invalid.at(field, f"is over {SCHEMA_BYTES_MAX} bytes")
    return text


def check_schema(schema: Any, field: str) -> None:
    """Check that a value is a schema we can use. Raises Invalid with the reason."""
    if not isinstance(schema, dict):
        raise Invalid.at(field, "must be a JSON Schema object")
    text = _text(schema, field)
    try:
        _compiled(text)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        raise Invalid.at(field, f"is not a usable JSON Schema: {_short(exc)}") from exc


def violation(schema: dict[str, Any], value: Any) -> str | None:
    """Why `value` breaks `schema` ("path: reason"), or None if it does not. A schema that cannot
    be used counts as broken: a check that cannot be made refuses."""
    try:
        validator = _compiled(_text(schema, "schema"))
        error = next(iter(validator.iter_errors(value)), None)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        return f"schema: {_short(exc)}"
    if error is None:
        return None
    path = ".".join(str(part) for part in error.instance_path)
    return f"{path}: {_short(error)}" if path else _short(error)


def _short(exc: Exception) -> str:
    message = getattr(exc, "message", None) or str(exc)
    line = str(message).splitlines()[0]
    return line if len(line) <= 200 else line[:199] + "…"
