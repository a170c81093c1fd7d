"""What a level permits: one table, which an operator can change, and the one function that asks it.

The table is TOML; what a file leaves out stays as it is here:

    [actions.publish]     # an action by name
    level = 2             # who may do it without more
    work = 22             # bits of work (NIP-13) that let a lower level do it; left out: none
    work_from = 1         # the lowest level whose work counts

    [levels.2]            # a level by number
    price_msat_max = 100000
    calls_per_minute = 300
    vouches_per_month = 0

Level 0 is for who is barred: no work helps.
"""

import enum
import math
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from hanse.errors import HanseError, Invalid, RateLimited, Restricted, WorkNeeded
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.event import field_error
from hanse.trust.model import Level

_T = TypeVar("_T")

WORK_MAX_BITS: Final = 40
"""An hour and more on many cores: what asks for more should say no instead."""

CALLS_MAX: Final = 1_000_000
VOUCHES_MAX: Final = 1_000
TABLE_BYTES_MAX: Final = 64 * 1024


class Action(enum.StrEnum):
    """What somebody may want to do here."""

    WRITE = "write"
    MESSAGE = "message"
    JOIN = "join"
    PUBLISH = "publish"
    CALL = "call"
    EARN = "earn"
    RUN = "run"
    VOUCH = "vouch"
    ARBITRATE = "arbitrate"


DOES: Final[dict[Action, str]] = {
    Action.WRITE: "write publicly",
    Action.MESSAGE: "message strangers",
    Action.JOIN: "join rooms",
    Action.PUBLISH: "publish offers",
    Action.CALL: "call services",
    Action.EARN: "be called without a confirmation",
    Action.RUN: "run code",
    Action.VOUCH: "vouch for others",
    Action.ARBITRATE: "arbitrate",
}

REACHED_BY: Final[dict[Level, str]] = {
    Level.STRANGER: "ask who barred you to take it back, or to grant your `hanse appeal`",
    Level.ACCEPTED: "have three operators whom this one trusts vouch for you (`hanse vouch`)",
    Level.TRUSTED: "be accepted, and let paid calls that went well speak for you",
    Level.CIRCLE: "ask the operator to add you to their circle",
}
"""How one comes to each level."""

_Bits = Annotated[int, msgspec.Meta(ge=1, le=WORK_MAX_BITS)]


class Need(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one action needs: a level, or from a lower one on some work."""

    level: Level
    work: _Bits | None = None
    work_from: Level = Level.STRANGER

    def __post_init__(self) -> None:
        if self.level is Level.BARRED or self.work_from is Level.BARRED:
            raise ValueError("level 0 is barred: it may do nothing")


class Allowance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one level may."""

    price_msat_max: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX_MSAT)]
    calls_per_minute: Annotated[int, msgspec.Meta(ge=0, le=CALLS_MAX)]
    vouches_per_month: Annotated[int, msgspec.Meta(ge=0, le=VOUCHES_MAX)]


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table: a need for every action, an allowance for every level."""

    actions: dict[Action, Need]
    levels: dict[Level, Allowance]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An expected no: what was wanted, at which level, what is missing, and how to get there."""

    action: Action
    level: Level
    needed_level: Level | None
    needed_work_bits: int | None
    missing: str
    how: str
    retry: bool = False

    @property
    def reason(self) -> str:
        """In one line, without the way there."""
        return f"level {int(self.level)} may not {DOES[self.action]}: {self.missing}"

    def error(self) -> HanseError:
        """The same as an error, in the protocol's word for it."""
        if self.retry:
            return RateLimited(self.reason, field=self.action, hint=self.how)
        kind = Restricted if self.needed_work_bits is None else WorkNeeded
        return kind(self.reason, field=self.action, hint=self.how)


def _defaults() -> Levels:
    needs = {
        Action.WRITE: Need(level=Level.ACCEPTED, work=16),
        Action.MESSAGE: Need(level=Level.ACCEPTED, work=20),
        Action.JOIN: Need(level=Level.ACCEPTED, work=18),
        Action.PUBLISH: Need(level=Level.ACCEPTED, work=22),
        Action.CALL: Need(level=Level.STRANGER),
        Action.EARN: Need(level=Level.STRANGER),
        Action.RUN: Need(level=Level.TRUSTED),
        Action.VOUCH: Need(level=Level.ACCEPTED),
        Action.ARBITRATE: Need(level=Level.TRUSTED),
    }
    rows = {
        Level.BARRED: (0, 0, 0),
        Level.STRANGER: (10_000, 60, 0),
        Level.ACCEPTED: (100_000, 300, 2),
        Level.TRUSTED: (1_000_000, 1_200, 5),
        Level.CIRCLE: (10_000_000, 6_000, 20),
    }
    return Levels(
        actions=needs,
        levels={
            level: Allowance(
                price_msat_max=price, calls_per_minute=calls, vouches_per_month=vouches
            )
            for level, (price, calls, vouches) in rows.items()
        },
    )


DEFAULT_LEVELS: Final = _defaults()


def may(
    level: Level,
    action: Action,
    work_bits: int = 0,
    *,
    table: Levels = DEFAULT_LEVELS,
    price: Amount | None = None,
    used: int = 0,
    extra_bits: int = 0,
) -> Refusal | None:
    """Whether somebody may do something: None, or what is missing.

    `work_bits` is committed work of the event at hand. `price` matters to EARN. `used` is how many
    calls of this minute, or vouches of this month, were made. `extra_bits` is what load adds.
    """
    need = table.actions[action]
    if level < need.level:
        bits = None if need.work is None else min(WORK_MAX_BITS, need.work + extra_bits)
        if level is Level.BARRED or level < need.work_from or bits is None:
            return _too_low(level, action, need.level)
        if work_bits < bits:
            missing = f"{bits} bits of work or level {int(need.level)} is needed, the event has "
            how = f"mine {bits} bits (NIP-13), or {REACHED_BY[need.level]}"
            return Refusal(
                action=action,
                level=level,
                needed_level=need.level,
                needed_work_bits=bits,
                missing=missing + f"{work_bits}",
                how=how,
            )
    return _too_much(level, action, table, price, used)


def announced_bits(table: Levels, extra_bits: int) -> int:
    """What NIP-11's `min_pow_difficulty` says: the work that lets a stranger write now; 0 if work
    is not needed, or does not help."""
    need = table.actions[Action.WRITE]
    if need.level <= Level.STRANGER or need.work is None or need.work_from > Level.STRANGER:
        return 0
    return min(WORK_MAX_BITS, need.work + extra_bits)


def _too_low(level: Level, action: Action, needed: Level) -> Refusal:
    missing = "this key is barred" if level is Level.BARRED else f"level {int(needed)} is needed"
    how = REACHED_BY[Level.STRANGER if level is Level.BARRED else needed]
    return Refusal(
        action=action,
        level=level,
        needed_level=needed,
        needed_work_bits=None,
        missing=missing,
        how=how,
    )


def _too_much(
    level: Level, action: Action, table: Levels, price: Amount | None, used: int
) -> Refusal | None:
    own = table.levels[level]
    if action is Action.EARN and price is not None and price.msat > own.price_msat_max:
        enough = [at for at in Level if table.levels[at].price_msat_max >= price.msat]
        missing = f"{price.msat} msat is over {own.price_msat_max} msat"
        how = "confirm the price (`confirmed: true`, `hanse call --yes`)"
    elif action is Action.CALL and used >= own.calls_per_minute:
        enough = [at for at in Level if table.levels[at].calls_per_minute > used]
        missing, how = f"{own.calls_per_minute} calls a minute are made", "wait a minute"
    elif action is Action.VOUCH and used >= own.vouches_per_month:
        enough = [at for at in Level if table.levels[at].vouches_per_month > used]
        missing, how = (
            f"{own.vouches_per_month} vouches a month are given",
            "wait, or take one back",
        )
    else:
        return None
    higher = min((at for at in enough if at > level), default=None)
    if higher is not None:
        how += f"; or reach level {int(higher)}: {REACHED_BY[higher]}"
    return Refusal(
        action=action,
        level=level,
        needed_level=higher,
        needed_work_bits=None,
        missing=missing,
        how=how,
        retry=action is Action.CALL,
    )


# --- the operator's own table ---------------------------------------------------------------------


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    actions: dict[str, dict[str, Any]] = {}
    levels: dict[str, dict[str, Any]] = {}


def read_levels(text: str) -> Levels:
    """The table with what an operator's TOML changes. Raises Invalid naming the entry."""
    if len(text) > TABLE_BYTES_MAX:
        raise Invalid.at("levels", f"has more than {TABLE_BYTES_MAX} characters")
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except tomllib.TOMLDecodeError as exc:
        raise Invalid.at("levels", f"is not TOML: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise field_error(exc, "levels") from exc
    actions, levels = dict(DEFAULT_LEVELS.actions), dict(DEFAULT_LEVELS.levels)
    for name, changed in document.actions.items():
        if name not in set(Action):
            known = ", ".join(Action)
            raise Invalid.at(f"levels.actions.{name[:20]}", "is no action", f"one of {known}")
        action = Action(name)
        old = msgspec.structs.asdict(actions[action])
        actions[action] = _entry(Need, old, changed, f"levels.actions.{action}")
    for number, changed in document.levels.items():
        if number not in {str(int(level)) for level in Level}:
            raise Invalid.at(f"levels.levels.{number[:20]}", "must be a level, 0 to 4")
        level = Level(int(number))
        old = msgspec.structs.asdict(levels[level])
        levels[level] = _entry(Allowance, old, changed, f"levels.levels.{number}")
    _check_rising(levels)
    return Levels(actions=actions, levels=levels)


def _entry(kind: type[_T], old: Mapping[str, Any], changed: dict[str, Any], field: str) -> _T:
    if kind is Need and "level" in changed and "work" not in changed:
        old = {**old, "work": None}  # a need that is given is given whole: no work unless it says
    try:
        return msgspec.convert({**old, **changed}, kind)
    except msgspec.ValidationError as exc:
        raise field_error(exc, field) from exc


def _check_rising(levels: Mapping[Level, Allowance]) -> None:
    for name in Allowance.__struct_fields__:
        values = [getattr(levels[level], name) for level in Level]
        if values != sorted(values):
            raise Invalid.at(f"levels.levels.{name}", "must not fall from one level to the next")


# --- difficulty -----------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What work costs follows what comes in: twice the strangers' events, one bit more.

    It rises at once and falls by one bit a minute, so that a flood cannot wait for the low tide.
    """

    target_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 600
    extra_bits: int = 0
    extra_bits_max: int = 12

    def after(self, seen: int) -> "Load":
        """The load after a minute in which `seen` events of strangers were taken or refused."""
        wanted = math.ceil(math.log2(max(1.0, seen / self.target_per_minute)))
        bits = min(self.extra_bits_max, max(wanted, self.extra_bits - 1))
        return msgspec.structs.replace(self, extra_bits=bits)
