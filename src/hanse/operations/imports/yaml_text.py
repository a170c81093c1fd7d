"""YAML as JSON values, for documents that are written in it: OpenAPI's above all.

Only what JSON could say is read, by YAML 1.2's core schema: `yes` and `12:30` are texts, a date is
a text, and no tag makes anything. The parser's events are put together here, so that nothing of
the document chooses a type, and the work is bounded: an alias counts as all that it stands for, so
a page of aliases of aliases is refused before it is written out.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from hanse.errors import Invalid, TooLarge

VALUES_MAX = 500_000
"""Values and keys, those behind aliases counted at each: ten times a large API's."""
TEXT_MAX = 32 << 20
"""Characters, counted the same way."""
DEPTH_MAX = 64
ANCHORS_MAX = 10_000

_CORE = "tag:yaml.org,2002:"
_KINDS: dict[str, tuple[type, ...]] = {
    f"{_CORE}null": (type(None),),
    f"{_CORE}bool": (bool,),
    f"{_CORE}int": (int,),
    f"{_CORE}float": (int, float),
}
_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_TRUE = frozenset(["true", "True", "TRUE"])
_FALSE = frozenset(["false", "False", "FALSE"])
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_BASED = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?")
_MERGE = "<<"

_OPENAPI = re.compile(rb"""^(?:["']?)openapi(?:["']?)[ \t]*:""", re.MULTILINE)
LOOKED_AT = 64 << 10


def is_openapi(raw: bytes) -> bool:
    """Whether a text is an OpenAPI document in YAML: names its version on a line of its own."""
    return raw.lstrip()[:1] not in (b"{", b"[") and bool(_OPENAPI.search(raw[:LOOKED_AT]))


def read_yaml(raw: bytes, field: str, *, bytes_max: int) -> Any:
    """The one document of a text. Raises Invalid or TooLarge."""
    if len(raw) > bytes_max:
        raise TooLarge(f"is over {bytes_max} bytes", field=field)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(yaml.parse(raw.decode(), Loader=loader), field).document()
    except UnicodeDecodeError as exc:
        raise Invalid.at(field, "is not UTF-8") from exc
    except yaml.YAMLError as exc:
        reason = " ".join(str(getattr(exc, "problem", None) or exc).split())[:200]
        mark = getattr(exc, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise Invalid.at(field, f"is not YAML{where}: {reason}") from exc


class _Reader:
    """Puts values together from the parser's events."""

    def __init__(self, events: Iterator[Any], field: str) -> None:
        self._events = events
        self._field = field
        self._values = self._text = 0
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        """What each stands for, and how many values and characters that is."""

    def document(self) -> Any:
        """The document. Raises Invalid if there is more than one, or none."""
        self._expect(yaml.StreamStartEvent)
        self._expect(yaml.DocumentStartEvent)
        found = self._value(next(self._events), 0)
        self._expect(yaml.DocumentEndEvent)
        self._expect(yaml.StreamEndEvent)
        return found

    def _expect(self, kind: type) -> None:
        if not isinstance(next(self._events), kind):
            raise self._refusal("must hold one document")

    def _refusal(self, reason: str) -> Invalid:
        return Invalid.at(self._field, reason)

    def _count(self, values: int, text: int) -> None:
        self._values += values
        self._text += text
        if self._values > VALUES_MAX:
            raise TooLarge(f"stands for over {VALUES_MAX} values", field=self._field)
        if self._text > TEXT_MAX:
            raise TooLarge(f"stands for over {TEXT_MAX} characters", field=self._field)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise TooLarge(f"is nested over {DEPTH_MAX} levels", field=self._field)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor)
        before = self._values, self._text
        self._count(1, 0)
        if isinstance(event, yaml.ScalarEvent):
            self._count(0, len(event.value))
            found = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._plain(event.tag, "seq")
            found = self._sequence(depth)
        else:
            self._plain(event.tag, "map")
            found = self._mapping(depth)
        if event.anchor is not None:
            if len(self._anchors) >= ANCHORS_MAX:
                raise TooLarge(f"has over {ANCHORS_MAX} anchors", field=self._field)
            size = self._values - before[0], self._text - before[1]
            self._anchors[event.anchor] = (found, *size)
        return found

    def _alias(self, name: str) -> Any:
        if name not in self._anchors:  # not there, or not whole yet: it would hold itself
            raise self._refusal(f"*{name[:40]} stands for nothing before it")
        found, values, text = self._anchors[name]
        self._count(values, text)
        return found

    def _sequence(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag not in (None, f"{_CORE}str"):
                raise self._refusal("has a key that is no text")
            self._count(1, len(event.value))
            key, value = event.value, self._value(next(self._events), depth + 1)
            if key == _MERGE and event.implicit[0]:
                merged = self._merged(value) | merged
            elif key in found:
                raise self._refusal(f"has {key[:40]!r} twice in one place")
            else:
                found[key] = value
        return merged | found if merged else found

    def _merged(self, value: Any) -> dict[str, Any]:
        """What `<<` brings in: of several, the first says what a name is."""
        found: dict[str, Any] = {}
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise self._refusal("merges what is no mapping")
            self._count(len(one), 0)
            found = one | found
        return found

    def _plain(self, tag: str | None, kind: str) -> None:
        if tag not in (None, "!", f"{_CORE}{kind}"):
            raise self._refusal(f"has the tag {tag[:60]!r}, which is not JSON's" if tag else "")

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        tag = event.tag
        if tag is None and not event.implicit[0]:
            return text  # in quotes, or a block
        if tag in ("!", f"{_CORE}str"):
            return text
        found = _core(text)
        if tag is not None and not isinstance(found, _KINDS.get(tag, ())):
            raise self._refusal(f"has the tag {tag[:60]!r}, which is not JSON's")
        return found


def _core(text: str) -> Any:
    """A plain text by the core schema. Numbers that JSON cannot say are texts."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return _number(int(text), text)
    if _BASED.fullmatch(text):
        return _number(int(text, 0), text)
    if _FLOAT.fullmatch(text):
        found = float(text)
        return found if abs(found) < float("inf") else text
    return text


def _number(found: int, text: str) -> int | str:
    return found if -(2**63) <= found < 2**64 else text
