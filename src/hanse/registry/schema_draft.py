"""Which draft of JSON Schema a document is in, and whether two are read by the same rules."""

from collections.abc import Iterator
from typing import Any

_DRAFTS = ("2020-12", "2019-09", "draft-07", "draft-06")
DIFFER = frozenset(
    [
        *("$ref", "format", "contentEncoding", "contentMediaType", "dependencies"),
        *("additionalItems", "prefixItems", "dependentRequired", "minContains", "maxContains"),
        *("dependentSchemas", "unevaluatedProperties", "unevaluatedItems"),
    ]
)
"""Keywords that not all of these drafts read alike."""
_NEWER = DIFFER - {"$ref", "format", "contentEncoding", "contentMediaType", "dependencies"}
_NEWER -= {"additionalItems"}


def comparable(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether both are read by the same rules."""
    x, y = _draft(a), _draft(b)
    if x is None or y is None:
        return a == b
    if x == y == _DRAFTS[0]:
        return True
    found = {*words(a), *words(b)}
    return not found & (_NEWER if x == y else DIFFER)


def _draft(root: dict[str, Any]) -> str | None:
    named = root.get("$schema", _DRAFTS[0])
    return next((one for one in _DRAFTS if isinstance(named, str) and one in named), None)


def is_old_draft(root: dict[str, Any]) -> bool:
    """Up to draft 7, what stands beside a `$ref` says nothing."""
    return _draft(root) in _DRAFTS[2:]


def words(schema: Any) -> Iterator[str]:
    """All names in a schema, its properties' among them: more caution than needed does no harm."""
    if isinstance(schema, dict):
        yield from schema
        for one in schema.values():
            yield from words(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from words(one)
