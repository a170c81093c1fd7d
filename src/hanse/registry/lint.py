"""Everything that is wrong, or could be better, in an offer's file: each with its place, the reason
and what to do. Errors keep it from being published; warnings do not.
"""

import difflib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jsonschema_rs
import msgspec

from hanse.errors import Invalid, TooLarge
from hanse.protocol.amount import Amount
from hanse.protocol.canonical import read_json
from hanse.protocol.event import field_error
from hanse.protocol.keys import PublicKey
from hanse.registry.document import (
    CapabilityDocument,
    OfferDocument,
    PromiseDocument,
    capability_of,
    document_schema,
    offer_of,
    promise_of,
)
from hanse.registry.model import IDENTIFIER_MAX
from hanse.registry.offer_event import CONTENT_BYTES_MAX, CONTENT_DEPTH_MAX, offer_content
from hanse.registry.schema import check_schema, violation
from hanse.registry.schema_facts import types_named
from hanse.registry.version import read_version

DOCUMENT_BYTES_MAX = 256 * 1024
DOCUMENT_DEPTH_MAX = CONTENT_DEPTH_MAX + 4
PROBLEMS_MAX = 200

_NOBODY = PublicKey("0" * 64)
_AMOUNT = re.compile(r"(?<![\w.])(\d{1,13}(?:\.\d{1,3})?) ?(sats?|msat)\b", re.IGNORECASE)
_FREE = ("maxLength", "enum", "const", "format", "pattern")

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    severity: Severity
    path: str
    reason: str
    fix: str = ""


class Linted(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and the document if it could be read at all."""

    problems: tuple[Problem, ...]
    document: OfferDocument | None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps it from being published."""
        return tuple(one for one in self.problems if one.severity == "error")


def read_document(text: bytes, field: str = "offer") -> OfferDocument:
    """A file without errors. Raises Invalid naming the first."""
    linted = lint(text)
    if linted.errors:
        first, more = linted.errors[0], len(linted.errors) - 1
        path = f"{field}.{first.path}" if first.path else field
        tail = f" (and {more} more: `hanse offer lint` lists them)" if more else ""
        raise Invalid.at(path, first.reason + tail, first.fix)
    assert linted.document is not None
    return linted.document


def lint(text: bytes) -> Linted:
    """All problems of a file, errors first."""
    try:
        found = read_json(text, "", bytes_max=DOCUMENT_BYTES_MAX, depth_max=DOCUMENT_DEPTH_MAX)
    except Invalid as exc:
        fix = "an offer is far smaller" if isinstance(exc, TooLarge) else _where(text)
        return Linted(problems=(_error("", exc.reason, fix),), document=None)
    problems = [_broken(one) for one in _validator().iter_errors(found)]
    document: OfferDocument | None = None
    if problems:
        problems += _errors_of_parts(found, {one.path for one in problems})
    else:
        try:
            document = msgspec.convert(found, OfferDocument)
        except msgspec.ValidationError as exc:  # what the schema takes, the types take; if not:
            at = field_error(exc, "")
            return Linted(problems=(_error(at.field, at.reason),), document=None)
        problems += [*_errors(document), *_warnings(document)]
    problems.sort(key=lambda one: one.severity)
    return Linted(problems=tuple(problems[:PROBLEMS_MAX]), document=document)


@functools.cache
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(document_schema())


def _error(path: str, reason: str, fix: str = "") -> Problem:
    return Problem(severity="error", path=path, reason=reason, fix=fix)


def _warning(path: str, reason: str, fix: str = "") -> Problem:
    return Problem(severity="warning", path=path, reason=reason, fix=fix)


def _of(exc: Invalid) -> Problem:
    return _error(exc.field, exc.reason, exc.hint)


# --- what the format's own schema finds ---------------------------------------------------------


def _where(text: bytes) -> str:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as exc:
        return " ".join(str(exc).split())[:200]
    return ""


def _broken(exc: jsonschema_rs.ValidationError) -> Problem:
    path = ""
    for part in exc.instance_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    keyword = str(exc.schema_path[-1]) if exc.schema_path else ""
    reason = " ".join(str(exc.message).split())
    fix = ""
    if keyword == "required":
        fix = "add it"
    elif keyword in ("additionalProperties", "unevaluatedProperties"):
        fix = _nearest(reason)
    elif keyword == "pattern":
        fix = _PATTERNS.get(path.rpartition(".")[2], "one line, without control characters")
    # The engine begins with the value, which may be long, and ends with what is wrong with it.
    return _error(path, reason if len(reason) <= 200 else "…" + reason[-199:], fix)


_PATTERNS = {
    "price": 'write "2sat", "2.5 sat" or "500msat"',
    "name": "letters, digits, and . _ - / as MCP tools are, or one line of an offer's name",
}


def _nearest(reason: str) -> str:
    given = re.findall(r"'([^']*)'", reason)
    known = {
        name
        for part in (document_schema(), *document_schema()["$defs"].values())
        for name in part["properties"]
    }
    for name in given:
        near = difflib.get_close_matches(name, known, 1)
        if near:
            return f"did you mean {near[0]}?"
    return "leave it out"


def _errors_of_parts(found: Any, broken: set[str]) -> Iterator[Problem]:
    """What can be said of capabilities and promise that are whole, though something else is not."""
    if not isinstance(found, dict):
        return
    rows = found.get("capabilities")
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        where = f"capabilities[{index}]"
        if not any(path == where or path.startswith((f"{where}.", f"{where}[")) for path in broken):
            try:
                yield from _capability_errors(msgspec.convert(row, CapabilityDocument), where)
            except msgspec.ValidationError:
                continue  # told by the schema already
    promise = found.get("promise")
    if promise is not None and not any(path.startswith("promise") for path in broken):
        yield from _raised(lambda: promise_of(msgspec.convert(promise, PromiseDocument)))


# --- what it cannot find ------------------------------------------------------------------------


def _errors(document: OfferDocument) -> Iterator[Problem]:
    found = [
        *_raised(lambda: read_version(document.version)),
        *_raised(lambda: promise_of(document.promise)),
    ]
    for name in ("id", "name"):
        text = getattr(document, name)
        if not text.strip() or len(text.encode()) > IDENTIFIER_MAX:
            found.append(_error(name, f"is blank or over {IDENTIFIER_MAX} bytes"))
    seen: set[str] = set()
    for index, one in enumerate(document.capabilities):
        where = f"capabilities[{index}]"
        if one.name in seen:
            found.append(_error(f"{where}.name", f"{one.name!r} appears twice", "rename one"))
        seen.add(one.name)
        found += _capability_errors(one, where)
    yield from found or _raised(lambda: _sized(document))


def _sized(document: OfferDocument) -> None:
    offer = offer_of(document, provider=_NOBODY, operator=_NOBODY)
    size = len(offer_content(offer).encode())
    if size > CONTENT_BYTES_MAX:
        reason = f"need {size:,} bytes, over {CONTENT_BYTES_MAX:,}"
        raise Invalid.at("capabilities", reason, "publish them as two offers")
    read_json(
        offer_content(offer),
        "capabilities",
        bytes_max=CONTENT_BYTES_MAX,
        depth_max=CONTENT_DEPTH_MAX,
    )


def _capability_errors(one: CapabilityDocument, where: str) -> Iterator[Problem]:
    for name in ("input_schema", "output_schema"):
        schema = getattr(one, name)
        if schema is not None:
            yield from _raised(functools.partial(_check_usable, schema, f"{where}.{name}"))
    yield from _raised(lambda: capability_of(one, where))


def _check_usable(schema: dict[str, Any], where: str) -> None:
    check_schema(schema, where)
    if "type" in schema and "object" not in types_named(schema["type"]):
        reason = "takes no object, which inputs and structured outputs always are"
        raise Invalid.at(f"{where}.type", reason, 'say "object"')


def _raised(check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except Invalid as exc:
        yield _of(exc)


# --- what could be better -----------------------------------------------------------------------


def _warnings(document: OfferDocument) -> Iterator[Problem]:
    if not document.summary.strip():
        yield _warning("summary", "is missing", "searches find an offer by its words")
    prices = {_amount(one.price) for one in document.capabilities if one.price is not None}
    yield from _drift(document.summary, "summary", prices)
    for index, one in enumerate(document.capabilities):
        where = f"capabilities[{index}]"
        if not one.description.strip():
            yield _warning(f"{where}.description", "is missing", "agents choose by it")
        if one.price is not None:
            yield from _drift(one.description, f"{where}.description", {_amount(one.price)})
        elif one.metered or one.period is not None:
            reason = "is missing: metered and periodic prices cannot be settled here yet"
            yield _warning(f"{where}.price", reason, "until then nobody can call it")
        if one.side_effects is None:
            fix = 'say "none", "reads", "writes" or "irreversible"'
            yield _warning(f"{where}.side_effects", "is not said: callers expect the worst", fix)
        if one.output_schema is None:
            reason = "is missing: unless who serves it has one, no answer is checked"
            yield _warning(f"{where}.output_schema", reason, "callers prefer checked answers")
        if not _schema_errors(one):
            yield from _examples(one, where)
            yield from _unbounded(one.input_schema or {}, f"{where}.input_schema")


def _schema_errors(one: CapabilityDocument) -> bool:
    return any("_schema" in problem.path for problem in _capability_errors(one, ""))


def _amount(text: str | None) -> Amount | None:
    try:
        return Amount.parse(text or "")
    except Invalid:
        return None


def _drift(text: str, where: str, prices: set[Amount | None]) -> Iterator[Problem]:
    for number, unit in _AMOUNT.findall(text):
        said = _amount(f"{number}{unit}")
        if said is not None and said not in prices:
            real = ", ".join(sorted(str(one) for one in prices if one is not None)) or "none"
            yield _warning(where, f"says {number} {unit}, the price is {real}", "say it once")


def _examples(one: CapabilityDocument, where: str) -> Iterator[Problem]:
    for index, example in enumerate(one.examples):
        if example.probe and one.side_effects not in ("none", "reads"):
            path = f"{where}.examples[{index}].probe"
            reason = "is called by nodes for nothing, though a call may change the world"
            yield _warning(path, reason, "probe what has no side effects, and say so")
        for name, schema in (("input", one.input_schema), ("output", one.output_schema)):
            value = getattr(example, name)
            broken = violation(schema, value) if schema and value is not None else None
            if broken:
                path = f"{where}.examples[{index}].{name}"
                yield _warning(path, f"does not fit its own schema: {broken}", "agents copy it")


def _unbounded(schema: dict[str, Any], where: str) -> Iterator[Problem]:
    """Texts of any length, in the input's own properties: one level is what people write."""
    properties = schema.get("properties")
    for name, one in properties.items() if isinstance(properties, dict) else ():
        if (
            isinstance(one, dict)
            and one.get("type") == "string"
            and not any(key in one for key in _FREE)
        ):
            yield _warning(f"{where}.properties.{name}", "is a text of any length", "add maxLength")
