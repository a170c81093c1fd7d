"""Whether every value that fits one JSON Schema fits another: `a` is included in `b`.

Both are schemas that `schema.check_schema` took (2020-12, or draft 6, 7, 2019-09 where they agree).
For each thing that `b` asserts, something that `a` asserts must imply it. What is not known of `a`
is not used, so "included" is never wrong; "not included" may be: then `undecided` says that the
two could not be compared, not that they were found to differ.

`a` is a conjunction of schemas all along: its own keywords, what it refers to, its `allOf`. If they
do not suffice, it is split by `anyOf`, `oneOf` or type, and each part must be included. Recursive
schemas are compared on the assumption that what is being compared is included, once a step into
the value lies between.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hanse.registry.schema import PATTERNS_MAX, checker
from hanse.registry.schema_cost import resolve
from hanse.registry.schema_draft import DIFFER, comparable, is_old_draft, words
from hanse.registry.schema_facts import ANY_TYPE, Facts, json_key
from hanse.registry.schema_scalars import Break, place, scalars, shown

STEPS_MAX = 4_000
"""Pairs of schemas compared for one offer, 10 us each: 40 ms at worst, while nothing else is
written. Ten capabilities of fifty properties each, all changed, take half of it."""

DEPTH_MAX = 64
VALUES_MAX = 200
BREAKS_MAX = 20
"""Breaks told of; one suffices to refuse."""

_ANNOTATIONS = frozenset(
    [
        *("title", "description", "$comment", "examples", "default", "deprecated", "readOnly"),
        *("writeOnly", "$defs", "definitions", "$schema", "$id"),
    ]
)
_SUB = frozenset(
    [
        *("additionalProperties", "propertyNames", "items", "contains", "not", "if", "then"),
        *("else", "unevaluatedProperties", "unevaluatedItems", "additionalItems"),
    ]
)
_SUB_LISTS = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
_SUB_MAPS = frozenset(["properties", "patternProperties", "dependentSchemas"])
_SETS = frozenset(["required", "enum", "type"])
_ALIKE = (
    ("if", "then", "else"),
    ("contains", "minContains", "maxContains"),
    ("dependentSchemas",),
    ("dependencies",),
    ("contentEncoding",),
    ("contentMediaType",),
)
"""Compared only by being the same: each group stands for itself, whatever is beside it."""

_WHOLE = ("unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef")
"""These look at what stands beside them: only a whole that is the same will do."""


class Node(NamedTuple):
    """A schema and the document that its references are places of."""

    schema: Any
    root: dict[str, Any]


class _TooMuch(Exception):
    """The comparison takes more steps than its bound."""


class Budget:
    """Steps left for the comparisons of one offer."""

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps. Raises what `breaks` turns into undecided."""
        self.left -= steps
        if self.left < 0:
            raise _TooMuch


def breaks(
    a: dict[str, Any], b: dict[str, Any], budget: Budget | None = None, *, strict: bool = True
) -> list[Break]:
    """Why some value that fits `a` may not fit `b`; nothing if all do.

    Not strict: a name that `a` lists nowhere, beside others that it does list, counts as unused
    unless `a` says `additionalProperties`: so a newly named property breaks nothing.
    """
    compared = _Comparison(budget or Budget(), strict)
    x, y = Node(a, a), Node(b, b)
    try:
        if not comparable(a, b):
            return [Break("", "undecided", ("$schema",))]
        if compared.same(x, y):
            return []
        found = compared.included((x,), y, "")
    except (_TooMuch, RecursionError):
        return [Break("", "undecided", ("too much",))]
    # A stranger's schema, in the middle of a commit: a comparison that cannot be made is a break,
    # and ends nothing but itself.
    except Exception:
        return [Break("", "undecided", ("something",))]
    return list(dict.fromkeys(found))[:BREAKS_MAX]


def is_same(a: dict[str, Any], b: dict[str, Any], budget: Budget | None = None) -> bool:
    """Whether two schemas assert the same in the same way: they differ at most in words."""
    try:
        compared = _Comparison(budget or Budget(), strict=True)
        return comparable(a, b) and compared.same(Node(a, a), Node(b, b))
    except (_TooMuch, RecursionError):
        return False
    except Exception:  # as in `breaks`
        return False


class _Comparison:
    def __init__(self, budget: Budget, strict: bool) -> None:
        self._budget = budget
        self._strict = strict
        self._open: dict[tuple[frozenset[int], int, bool], int] = {}
        self._level = 0
        self._depth = 0
        self._equal: set[tuple[int, int]] = set()
        self._checks: dict[int, tuple[Callable[[Any], bool] | None, int]] = {}

    # --- the same -----------------------------------------------------------------------------

    def same(self, x: Node, y: Node) -> bool:
        """Whether two schemas assert the same in the same way, references followed."""
        self._budget.spend()
        if x.schema is y.schema and x.root is y.root:
            return True
        if not isinstance(x.schema, dict) or not isinstance(y.schema, dict):
            return _as_bool(x.schema) is not None and _as_bool(x.schema) == _as_bool(y.schema)
        pair = (id(x.schema), id(y.schema))
        if pair in self._equal:
            return True
        self._budget.spend((len(x.schema) + len(y.schema)) // 128)
        keys = [key for key in x.schema if key not in _ANNOTATIONS]
        if set(keys) != {key for key in y.schema if key not in _ANNOTATIONS}:
            return False
        self._equal.add(pair)
        if all(self._same_keyword(key, x, y) for key in keys):
            return True
        self._equal.clear()  # some of them may have been held for equal because of this one
        return False

    def _same_keyword(self, key: str, x: Node, y: Node) -> bool:
        a, b = x.schema[key], y.schema[key]
        if key == "$ref":
            return self.same(_target(x), _target(y))
        if key in _SUB and not isinstance(a, list):
            return self.same(Node(a, x.root), Node(b, y.root))
        if key in _SUB_MAPS and isinstance(a, dict) and isinstance(b, dict):
            return set(a) == set(b) and all(
                self.same(Node(a[name], x.root), Node(b[name], y.root)) for name in a
            )
        if (key in _SUB_LISTS or key in _SUB) and isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(
                self.same(Node(one, x.root), Node(two, y.root))
                for one, two in zip(a, b, strict=True)
            )
        if key in _SETS:
            x_keys, y_keys = ({json_key(one) for one in _listed(each)} for each in (a, b))
            self._budget.spend((len(x_keys) + len(y_keys)) // 16)
            return x_keys == y_keys
        text = json_key(a)
        self._budget.spend(len(text) // 256)
        return text == json_key(b)

    # --- included -----------------------------------------------------------------------------

    def included(
        self, a: tuple[Node, ...], b: Node, path: str, split: frozenset[int] = frozenset()
    ) -> list[Break]:
        """Why some value that fits all of `a` may not fit `b`. `split`: choices of `a` of which
        one part is in `a` already."""
        self._budget.spend()
        if _as_bool(b.schema) is True:
            return []
        flat = self._flat(a)
        if flat is None or any(self.same(one, b) for one in (*a, *flat)):
            return []
        facts = Facts([one.schema for one in flat])
        self._budget.spend(facts.listed // 16)
        if not facts.types:
            return []
        if b.schema is False:
            return [Break(path, "never")]
        key = (frozenset(id(one.schema) for one in flat), id(b.schema), self._strict)
        if key in self._open:
            again = self._open[key] < self._level
            return [] if again else [Break(path, "undecided", ("$ref",))]
        if self._depth >= DEPTH_MAX:
            raise _TooMuch
        self._open[key] = self._level
        self._depth += 1
        try:
            parts, split = self._split(flat, split)
            if not parts:
                found = self._asserted(flat, facts, b, path, split)
                if not found or not _has_choice(b.schema):
                    return found
                parts = _by_type(flat, facts)
                if not parts:
                    return found
            return [one for part in parts for one in self.included(part, b, path, split)]
        finally:
            self._depth -= 1
            del self._open[key]

    def _flat(self, nodes: tuple[Node, ...]) -> list[Node] | None:
        """The conjunction written out; None if nothing fits it."""
        found: dict[int, Node] = {}
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node.schema is False:
                return None
            if not isinstance(node.schema, dict) or id(node.schema) in found:
                continue
            self._budget.spend()
            reference = "$ref" in node.schema
            if reference:
                waiting.append(_target(node))
            if reference and is_old_draft(node.root):
                continue
            found[id(node.schema)] = node
            waiting += [Node(one, node.root) for one in _listed(node.schema.get("allOf", []))]
        return list(found.values())

    def _split(
        self, flat: list[Node], split: frozenset[int]
    ) -> tuple[list[tuple[Node, ...]], frozenset[int]]:
        """The parts that a conjunction falls into by its first choice that was not split yet."""
        for node in flat:
            for name in ("anyOf", "oneOf"):
                choice = node.schema.get(name)
                if choice is not None and id(choice) not in split:
                    parts = [(*flat, Node(one, node.root)) for one in choice]
                    return parts, split | {id(choice)}
        return [], split

    def _asserted(
        self, flat: list[Node], facts: Facts, b: Node, path: str, split: frozenset[int]
    ) -> list[Break]:
        """Why one of the things that `b` asserts is not implied."""
        known = self._by_values(flat, facts, b, path)
        if known is not None:
            return known
        schema, a = b.schema, (*flat,)
        self._budget.spend(len(schema.get("enum", ())) // 16)
        for name in _WHOLE:
            if name in schema:
                return [Break(path, "undecided", (name,))]
        found: list[Break] = []
        if "$ref" in schema:
            found += self.included(a, _target(b), path, split)
        for one in schema.get("allOf", []):
            found += self.included(a, Node(one, b.root), path, split)
        if "anyOf" in schema:
            found += self._any_of(a, b, path, split)
        if "oneOf" in schema:
            found += self._one_of(a, facts, b, path, split)
        if "not" in schema:
            found += self._not(flat, b, path)
        for group in _ALIKE:
            if group[0] in schema and not any(self._alike(group, one, b) for one in flat):
                found.append(Break(path, "undecided", (group[0],)))
        found += scalars(facts, schema, path)
        if "object" in facts.types:
            found += self._object(flat, facts, b, path)
        if "array" in facts.types:
            found += self._array(flat, facts, b, path)
        return found

    def _by_values(self, flat: list[Node], facts: Facts, b: Node, path: str) -> list[Break] | None:
        """If only so many values fit `a`: which of them do not fit `b`. None if that cannot be
        told this way."""
        values = facts.values()
        if values is None or len(values) > VALUES_MAX:
            return None
        found = []
        for value in values:
            self._budget.spend(1 + len(json_key(value)) // 256 + len(flat) // 4)
            if any(self._accepts(one, value) is False for one in flat):
                continue
            there = self._accepts(b, value)
            if there is None:
                return None
            if not there:
                found.append(Break(path, "value", (shown(value),)))
        return found

    def _accepts(self, node: Node, value: Any) -> bool | None:
        """Whether a value fits a schema, if that can be told without its document."""
        if isinstance(node.schema, bool):
            return node.schema
        key = id(node.schema)
        if key not in self._checks:
            named = list(words(node.schema))
            self._budget.spend(10 + len(named) // 4)
            alone = DIFFER.isdisjoint(named) and "$schema" not in node.schema
            patterns = named.count("pattern") + PATTERNS_MAX * named.count("patternProperties")
            self._checks[key] = checker(node.schema) if alone else None, patterns
        check, patterns = self._checks[key]
        if check is not None and patterns:  # linear in the text: up to 3 us a character
            self._budget.spend(patterns * len(json_key(value)) // 3)
        return None if check is None else check(value)

    # --- choices ------------------------------------------------------------------------------

    def _any_of(
        self, a: tuple[Node, ...], b: Node, path: str, split: frozenset[int]
    ) -> list[Break]:
        nearest: list[Break] | None = None
        for branch in b.schema["anyOf"]:
            found = self.included(a, Node(branch, b.root), path, split)
            if not found:
                return []
            if nearest is None or _distance(found) < _distance(nearest):
                nearest = found
        return nearest or []

    def _one_of(
        self, a: tuple[Node, ...], facts: Facts, b: Node, path: str, split: frozenset[int]
    ) -> list[Break]:
        if any(self._alike(("oneOf",), one, b) for one in a):
            return []
        branches = [Node(one, b.root) for one in b.schema["oneOf"]]
        nearest: list[Break] | None = None
        for branch in branches:
            found = self.included(a, branch, path, split)
            if not found and all(
                self._one_only(a, branch, one) or self._apart(a, facts, one)
                for one in branches
                if one is not branch
            ):
                return []
            found = found or [Break(path, "undecided", ("oneOf",))]
            if nearest is None or _distance(found) < _distance(nearest):
                nearest = found
        return nearest or []

    def _one_only(self, a: tuple[Node, ...], x: Node, y: Node) -> bool:
        """Whether `a` itself says that what fits `x` does not fit `y`: both are in a `oneOf`."""
        for one in a:
            listed = [Node(each, one.root) for each in one.schema.get("oneOf", [])]
            mine = [index for index, each in enumerate(listed) if self.same(each, x)]
            theirs = [index for index, each in enumerate(listed) if self.same(each, y)]
            if any(first != second for first in mine for second in theirs):
                return True
        return False

    def _apart(self, a: tuple[Node, ...], facts: Facts, b: Node) -> bool:
        """Whether no value fits both, as far as types and fixed values tell."""
        flat = self._flat((b,))
        if flat is None:
            return True
        other = Facts([one.schema for one in flat])
        self._budget.spend((facts.listed + other.listed) // 16)
        common = facts.types & other.types
        if not common:
            return True
        values = facts.values()
        if values is not None:
            return all(self._accepts(b, value) is False for value in values)
        if common == {"object"}:
            # A property that one must have, fixed to different values: a discriminator.
            names = facts.required() | other.required()
            self._budget.spend(len(names) * (1 + len(a) + len(flat)) // 8)
            for name in names:
                mine = self._fixed(_parts_of([*a], name))
                theirs = self._fixed(_parts_of(flat, name))
                if mine is not None and theirs is not None and not mine & theirs:
                    return True
        return False

    def _fixed(self, nodes: tuple[Node, ...]) -> set[str] | None:
        flat = self._flat(nodes)
        if flat is None:
            return set()
        values = Facts([one.schema for one in flat]).values()
        return None if values is None else {json_key(one) for one in values}

    def _not(self, flat: list[Node], b: Node, path: str) -> list[Break]:
        """What `b` excludes must be excluded by `a`: the other way round, and strictly."""
        excluded = Node(b.schema["not"], b.root)
        strict, self._strict = self._strict, True
        try:
            for one in flat:
                if "not" in one.schema:
                    mine = Node(one.schema["not"], one.root)
                    if not self.included((excluded,), mine, path):
                        return []
        finally:
            self._strict = strict
        return [Break(path, "undecided", ("not",))]

    def _alike(self, group: tuple[str, ...], x: Node, y: Node) -> bool:
        """Whether a group of keywords is the same in both."""
        if group[0] not in x.schema:
            return False
        return all(
            (key in x.schema) == (key in y.schema)
            and (key not in x.schema or self._same_keyword(key, x, y))
            for key in group
        )

    # --- objects ------------------------------------------------------------------------------

    def _object(self, flat: list[Node], facts: Facts, b: Node, path: str) -> list[Break]:
        schema = b.schema
        listed = ("properties", "patternProperties", "dependentRequired")
        self._budget.spend(len(flat) * sum(len(schema.get(name, ())) for name in listed) // 16)
        there = facts.required()
        missing = [one for one in schema.get("required", []) if one not in there]
        self._budget.spend((len(there) + len(schema.get("required", []))) // 16)
        found = [Break(place(path, "properties", name), "required") for name in missing]
        for name, one in schema.get("properties", {}).items():
            if not self._strict and _is_unsaid(flat, name):
                continue
            where = place(path, "properties", name)
            found += self._below(_parts_of(flat, name), Node(one, b.root), where)
        for pattern, one in schema.get("patternProperties", {}).items():
            given = [
                Node(two.schema["patternProperties"][pattern], two.root)
                for two in flat
                if pattern in two.schema.get("patternProperties", {})
            ]
            where = place(path, "patternProperties", pattern)
            found += self._below((*given,), Node(one, b.root), where)
        if "additionalProperties" in schema:
            found += self._additional(flat, b, path)
        if "propertyNames" in schema:
            given = [
                Node(one.schema["propertyNames"], one.root)
                for one in flat
                if "propertyNames" in one.schema
            ]
            names = (_TYPED["string"], *given)
            target = Node(schema["propertyNames"], b.root)
            found += self._below(names, target, place(path, "propertyNames"))
        for name, needed in schema.get("dependentRequired", {}).items():
            self._budget.spend(1 + len(there) // 16)
            if not set(needed) <= there | facts.needed_with(name):
                found.append(Break(place(path, "dependentRequired", name), "required"))
        return found

    def _additional(self, flat: list[Node], b: Node, path: str) -> list[Break]:
        """Names that `b` does not list: those that `a` lists, and all others."""
        rest = Node(b.schema["additionalProperties"], b.root)
        if _as_bool(rest.schema) is True:
            return []
        patterns = b.schema.get("patternProperties", {})
        listed = b.schema.get("properties", {})
        found: list[Break] = []
        names = dict.fromkeys(name for one in flat for name in one.schema.get("properties", {}))
        self._budget.spend(len(flat) * len(names) // 16)
        for name in names:
            if name not in listed:
                where = place(path, "properties", name)
                found += self._below(_parts_of(flat, name), rest, where)
        others = [
            Node(one.schema["additionalProperties"], one.root)
            for one in flat
            if "additionalProperties" in one.schema
            and set(one.schema.get("patternProperties", {})) <= set(patterns)
        ]
        if not any(one.schema is False for one in others):
            if not others and rest.schema is False:
                found.append(Break(path, "closed"))
            else:
                found += self._below((*others,), rest, place(path, "additionalProperties"))
        return found

    # --- arrays -------------------------------------------------------------------------------

    def _array(self, flat: list[Node], facts: Facts, b: Node, path: str) -> list[Break]:
        first, rest = _items(b)
        longest = max([len(first), *(len(_items(one)[0]) for one in flat)])
        self._budget.spend(len(flat) * (1 + longest) // 16)
        most = facts.most("maxItems")
        found: list[Break] = []
        if b.schema.get("uniqueItems") is True and not (
            facts.says("uniqueItems", True) or (most is not None and most <= 1)
        ):
            found.append(Break(path, "unique"))
        for index, one in enumerate(first):
            if most is None or index < most:
                where = place(path, f"prefixItems[{index}]")
                found += self._below(_items_of(flat, index), Node(one, b.root), where)
        if rest is None or _as_bool(rest.schema) is True:
            return found
        where = place(path, "items")
        for index in range(len(first), longest + 1):
            if most is not None and index >= most:
                break
            given = _items_of(flat, index)
            if any(one.schema is False for one in given):
                break  # an array that stops here has nothing beyond
            if rest.schema is False:
                found.append(Break(path, "longer", (str(len(first)),)))
                break
            found += self._below(given, rest, where)
        return found

    def _below(self, a: tuple[Node, ...], b: Node, path: str) -> list[Break]:
        """The same question of a part of the value."""
        self._level += 1
        try:
            return self.included(a, b, path)
        finally:
            self._level -= 1


_NOWHERE: dict[str, Any] = {}
_TYPED = {name: Node({"type": name}, _NOWHERE) for name in (*ANY_TYPE, "number")}


def _distance(found: list[Break]) -> tuple[bool, int]:
    """How far a branch is from fitting: the nearest tells most, and that is not one of another
    type."""
    return any(one.code == "type" for one in found), len(found)


def _has_choice(schema: dict[str, Any]) -> bool:
    return any(name in schema for name in ("anyOf", "oneOf", "allOf", "$ref"))


def _by_type(flat: list[Node], facts: Facts) -> list[tuple[Node, ...]]:
    """The parts that a conjunction falls into by type; none if it has one only."""
    groups = {"number" if one in ("integer", "fraction") else one for one in facts.types}
    if len(groups) == 1:
        return []
    return [(*flat, _TYPED[name]) for name in sorted(groups)]


def _target(node: Node) -> Node:
    return Node(resolve(node.schema["$ref"], node.root), node.root)


def _as_bool(schema: Any) -> bool | None:
    """A schema that is true or false in other words."""
    if isinstance(schema, bool):
        return schema
    return True if isinstance(schema, dict) and _ANNOTATIONS.issuperset(schema) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _parts_of(flat: Iterable[Node], name: str) -> tuple[Node, ...]:
    """What a conjunction says of one property. Where patterns might apply, nothing is known."""
    found = []
    for one in flat:
        schema = one.schema
        if not isinstance(schema, dict):
            continue
        if name in schema.get("properties", {}):
            found.append(Node(schema["properties"][name], one.root))
        elif "additionalProperties" in schema and not schema.get("patternProperties"):
            found.append(Node(schema["additionalProperties"], one.root))
    return (*found,)


def _is_unsaid(flat: list[Node], name: str) -> bool:
    """Whether other properties are listed, this one nowhere, and nothing said of further ones."""
    said = ("additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames")
    if any(key in one.schema for one in flat for key in said):
        return False
    listed = [one.schema["properties"] for one in flat if "properties" in one.schema]
    return bool(listed) and not any(name in names for names in listed)


def _items(node: Node) -> tuple[list[Any], Node | None]:
    """The schemas of an array's first items, and of all beyond; a list of `items` is how drafts
    up to 2019-09 wrote the first ones."""
    first, rest = node.schema.get("prefixItems", []), node.schema.get("items")
    if isinstance(rest, list):
        first, rest = rest, node.schema.get("additionalItems")
    return first, None if rest is None else Node(rest, node.root)


def _items_of(flat: Iterable[Node], index: int) -> tuple[Node, ...]:
    found = []
    for one in flat:
        first, rest = _items(one)
        if index < len(first):
            found.append(Node(first[index], one.root))
        elif rest is not None:
            found.append(rest)
    return (*found,)
