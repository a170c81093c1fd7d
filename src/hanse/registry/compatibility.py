"""What changed from one version of an offer to the next, and which version it needs.

| level | what |
|---|---|
| major | a capability is gone, or not sold by the call any more; an input may be refused that was |
|       | taken; an output may be given that was not; whether it may cannot be told |
| minor | a capability is new; more is taken, less is given; a price is higher or of another sort; |
|       | a promise is looser; more side effects; a payment method is gone; other terms |
| patch | words, examples, lower prices, stronger promises |

Only a major change makes a call fail that was right before: a door refuses it without its version.
The rest is for people to read (`hanse offer diff`); a caller has its own bounds on each call.

A property that was named nowhere, beside others that were, counts as unused: naming it anew, as an
optional one, breaks nothing.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from hanse.errors import Invalid
from hanse.protocol.event import Event
from hanse.registry.inclusion import Budget, breaks, is_same
from hanse.registry.model import SIDE_EFFECTS, Capability, Metered, Offer, Period, Promise
from hanse.registry.offer_event import read_offer
from hanse.registry.schema_scalars import Break
from hanse.registry.version import Version, breaks_allowed, read_version

Level = Literal["none", "patch", "minor", "major"]
LEVELS: tuple[Level, ...] = ("none", "patch", "minor", "major")

WORDS: dict[str, tuple[str, str]] = {
    "required": ("was not required before", "is no longer always there"),
    "type": ("no longer takes {0}", "may now be {0}"),
    "value": ("no longer takes {0}", "may now be {0}"),
    "values": ("takes only listed values now", "may now be other than the values listed before"),
    "never": ("is not taken any more", "may now be there, as it could not before"),
    "closed": ("takes no further names any more", "may now have names that were not listed"),
    "longer": ("takes no more than {0} items now", "may now have more than {0} items"),
    "unique": ("takes each item only once now", "may now have an item twice"),
    "bound": ("{0} is {1} now, was {2}", "{0} is {2} now, was {1}"),
    "undecided": (
        "{0} changed, and whether all that was taken still is cannot be told",
        "{0} changed, and whether all that is given now was before cannot be told",
    ),
}
"""Why not included, by code: of an input (old in new), of an output (new in old)."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that changed: where, how, and the level of version it needs. `undecided`: two
    schemas could not be compared, which counts as breaking."""

    path: str
    reason: str
    level: Level
    undecided: bool = False


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """All that changed."""

    changes: tuple[Change, ...]

    @property
    def needs(self) -> Level:
        """The highest level any of it needs."""
        return max((one.level for one in self.changes), key=LEVELS.index, default="none")

    @property
    def breaking(self) -> tuple[Change, ...]:
        """What breaks callers."""
        return tuple(one for one in self.changes if one.level == "major")


def compare(old: Offer, new: Offer) -> Difference:
    """What changed between two versions of an offer."""
    found = [*_schemas(old, new), *_words(old, new), *_promise(old.promise, new.promise)]
    gone = [one for one in old.payment_methods if one not in new.payment_methods]
    if gone:
        found.append(_change("payment_methods", f"no longer takes {', '.join(gone)}", "minor"))
    if set(new.payment_methods) - set(old.payment_methods):
        found.append(_change("payment_methods", "takes another one, too", "patch"))
    if old.terms != new.terms:
        found.append(_change("terms", "are others", "minor"))
    for before, now in _pairs(old, new):
        where = f"capabilities.{now.name}"
        found += [*_prices(before, now, where), *_behaviour(before, now, where)]
    found.sort(key=lambda one: -LEVELS.index(one.level))
    return Difference(changes=tuple(found))


def refuse_breaking(old: Offer, new: Offer) -> None:
    """Check that `new` may take the place of `old`. Raises Invalid naming the first break."""
    found = [one for one in _schemas(old, new) if one.level == "major"]
    if not found or version_allows(old, new):
        return
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise Invalid.at(
        found[0].path,
        f"{found[0].reason}{more}; raise the major version",
        f"the published one is {_shown(old.version)}, this is {_shown(new.version)}",
    )


def refuse_breaking_event(old: Event, new: Event) -> None:
    """The same of two events of one address. What was kept by older rules and cannot be read, or
    had expired by then, promises nothing; nor does what was imported, and still is: its versions
    are the source's, and nobody calls it here. Raises Invalid."""
    if old.content == new.content and _sold(old) == _sold(new):
        return  # nearly all: a provider that starts again
    expires = old.tag("expiration")
    if expires and expires.isascii() and expires.isdigit() and int(expires) <= new.created_at:
        return
    try:
        before = read_offer(old)
    except Invalid:
        return
    after = read_offer(new)
    if not (before.source and after.source):
        refuse_breaking(before, after)


def _sold(event: Event) -> set[str]:
    return {tag[1] for tag in event.tags if tag[:1] == ("price",) and len(tag) > 1}


def version_allows(old: Offer, new: Offer) -> bool:
    """Whether the version of `new` says that it may break what `old` promised. A new version that
    is not a semantic one says nothing; an old one counts as 0.0.0."""
    now = version_of(new)
    return now is not None and breaks_allowed(version_of(old) or Version(0, 0, 0), now)


def version_of(offer: Offer) -> Version | None:
    """An offer's version, or None if it is not a semantic one: others write any text."""
    try:
        return read_version(offer.version)
    except Invalid:
        return None


def _pairs(old: Offer, new: Offer) -> Iterator[tuple[Capability, Capability]]:
    for before in old.capabilities:
        now = new.capability(before.name)
        if now is not None:
            yield before, now


def _change(path: str, reason: str, level: Level) -> Change:
    return Change(path=path, reason=reason, level=level)


def _shown(version: str) -> str:
    return version if version.isascii() and version.isprintable() else ascii(version)


# --- what may break ---------------------------------------------------------------------------


def _schemas(old: Offer, new: Offer) -> list[Change]:
    budget = Budget()
    found: list[Change] = []
    for before in old.capabilities:
        if new.capability(before.name) is None:
            found.append(_change(f"capabilities.{before.name}", "is gone", "major"))
    for one in new.capabilities:
        if old.capability(one.name) is None:
            found.append(_change(f"capabilities.{one.name}", "is new", "minor"))
    for before, now in _pairs(old, new):
        where = f"capabilities.{now.name}"
        if before.by_call and not now.by_call:
            found.append(_change(where, "is not sold by the call any more", "major"))
        found += _input(before.input_schema, now.input_schema, f"{where}.schema", budget)
        found += _output(before.output_schema, now.output_schema, f"{where}.outputSchema", budget)
    return found


def _input(old: dict[str, Any], new: dict[str, Any], where: str, budget: Budget) -> list[Change]:
    if old == new:
        return []
    found = breaks(old, new, budget, strict=False)
    if found:
        return [_broken(one, where, 0) for one in found]
    if is_same(old, new, budget):
        return [_change(where, "has other words", "patch")]
    gone = _named(old) - _named(new)
    if gone:
        names = ", ".join(sorted(ascii(one) for one in gone)[:5])
        return [_change(where, f"takes more than before, but no longer names {names}", "minor")]
    return [_change(where, "takes more than before", "minor")]


def _output(
    old: dict[str, Any] | None, new: dict[str, Any] | None, where: str, budget: Budget
) -> list[Change]:
    if old == new:
        return []
    if new is None:
        return [_change(where, "is gone: nothing is promised of the output", "major")]
    if old is None:
        return [_change(where, "is new", "minor")]
    found = breaks(new, old, budget, strict=False)
    if found:
        return [_broken(one, where, 1) for one in found]
    if is_same(old, new, budget):
        return [_change(where, "has other words", "patch")]
    return [_change(where, "gives nothing that was not given before, in other terms", "minor")]


def _named(schema: dict[str, Any]) -> set[str]:
    found = schema.get("properties")
    return set(found) if isinstance(found, dict) else set()


def _broken(found: Break, where: str, side: int) -> Change:
    if found.values[:1] == ("too much",):
        reason = "is too much to compare with what it was"
    else:
        reason = WORDS[found.code][side].format(*found.values)
    path = f"{where}.{found.path}" if found.path else where
    return Change(path=path, reason=reason, level="major", undecided=found.undecided)


# --- what is told -----------------------------------------------------------------------------


def _words(old: Offer, new: Offer) -> Iterator[Change]:
    for name in ("name", "summary", "topics"):
        if getattr(old, name) != getattr(new, name):
            yield _change(name, "is another" if name != "topics" else "are others", "patch")
    for before, now in _pairs(old, new):
        for name in ("title", "description", "examples", "data_handling"):
            if getattr(before, name) != getattr(now, name):
                reason = "are others" if name == "examples" else "is another"
                yield _change(f"capabilities.{now.name}.{name}", reason, "patch")


def _prices(old: Capability, new: Capability, where: str) -> Iterator[Change]:
    if old.by_call and new.by_call and old.price != new.price:
        level: Level = "minor" if new.price > old.price else "patch"
        yield _change(f"{where}.price", f"is {new.price} now, was {old.price}", level)
    if new.by_call and not old.by_call:
        yield _change(f"{where}.price", f"is {new.price} a call now, there was none", "minor")
    if old.metered != new.metered:
        yield _change(f"{where}.metered", f"is {_metered(new)} now, was {_metered(old)}", "minor")
    if old.period != new.period:
        reason = f"is {_period(new.period)} now, was {_period(old.period)}"
        yield _change(f"{where}.period", reason, "minor")


def _metered(found: Capability) -> str:
    return ", ".join(metered_text(one) for one in found.metered) or "none"


def metered_text(found: Metered) -> str:
    """A metered price for eyes."""
    return f"{found.price} per {found.per:,} {found.unit}"


def _period(found: Period | None) -> str:
    return "none" if found is None else period_text(found)


def period_text(found: Period) -> str:
    """A period's price for eyes."""
    calls = f" for {found.calls:,} calls" if found.calls is not None else ""
    return f"{found.price} a {found.span}{calls}"


def _behaviour(old: Capability, new: Capability, where: str) -> Iterator[Change]:
    if old.side_effects != new.side_effects:
        before, now = (_effect(one.side_effects) for one in (old, new))
        level: Level = "minor" if now > before else "patch"
        reason = f"are {new.side_effects or 'not said'} now, were {old.side_effects or 'not said'}"
        yield _change(f"{where}.side_effects", reason, level)
    if old.idempotent != new.idempotent:
        level = "minor" if old.idempotent else "patch"
        words = {True: "yes", False: "no", None: "not said"}
        reason = f"is {words[new.idempotent]} now, was {words[old.idempotent]}"
        yield _change(f"{where}.idempotent", reason, level)


def _effect(named: str | None) -> int:
    """Not said may be anything."""
    return len(SIDE_EFFECTS) if named is None else SIDE_EFFECTS.index(named)


def _promise(old: Promise, new: Promise) -> Iterator[Change]:
    for name in Promise.__struct_fields__:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            reason = f"is {_figure(now)} now, was {_figure(before)}"
            yield _change(f"promise.{name}", reason, _loosened(name, before, now))


def _loosened(name: str, before: Any, now: Any) -> Level:
    if before in (None, ()):
        return "patch"
    if now in (None, ()):
        return "minor"
    if isinstance(before, tuple):
        # Data may now be kept elsewhere, too; of the rest, something promised is gone.
        more, less = set(now) - set(before), set(before) - set(now)
        return "minor" if (more if name == "data_residence" else less) else "patch"
    worse = now > before if name.startswith("latency") else now < before
    return "minor" if worse else "patch"


def _figure(value: Any) -> str:
    if value in (None, ()):
        return "not promised"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}"
