"""Kind 2410, key statements: how an identity moves to a new key, and what a thief cannot do.

Owns the format and the rules by which statements in any order become one standing. The content's
`action` says which:

    guardians   by the key       {"guardians": [keys], "threshold", "wait_s", "veto": key}
    rotate      by the key       {"to": key, "consent"}
    recover     by a guardian    {"from": key, "to": key, "consent"}
    veto        by the veto key  {"from": key, "to": key}
    end         by the key       {"reason": "retired" | "stolen"}

`consent` is the new key's signature over sha256("hanse:key:1:" from ":" to): nobody's history is
moved to a key that did not ask for it. A plan of guardians is in force NOTICE_S after it was
written, so who steals a key cannot put friends in its place before its owner hears of it. The plan
names a veto key, kept away from the key itself: the only one that stops a recovery, so neither can
guardians take an identity from an owner who watches, nor a thief stop the recovery. A recovery
undoes a rotation that is younger than CONTEST_S: so a thief who rotates first has not won.

Times are the statements' own; relays take none that is not fresh (`check_fresh`), and neither
deletion nor vanishing removes one. docs/reference/keys.md has what others need.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from hanse.errors import Invalid, Stale
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, field_error
from hanse.protocol.keys import PublicKey, SecretKey, is_hex
from hanse.protocol.signature import verify

STATEMENT_VERSION: Final = "1.0.0"
DAY_S: Final = 86_400
NOTICE_S: Final = 14 * DAY_S
WAIT_MIN_S: Final = 3 * DAY_S
WAIT_MAX_S: Final = 60 * DAY_S
CONTEST_S: Final = 30 * DAY_S
GUARDIANS_MAX: Final = 15
STEPS_MAX: Final = 32
"""Keys that one identity is followed through."""

FRESH_S: Final = 900

_FIELD = "statement.content"

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Key statement, content of kind 2410, version 1",
    "type": "object",
    "required": ["action"],
    "oneOf": [
        {
            "required": ["guardians", "threshold", "wait_s", "veto"],
            "properties": {
                "action": {"const": "guardians"},
                "guardians": {
                    "type": "array",
                    "items": {"$ref": "#/$defs/key"},
                    "minItems": 2,
                    "maxItems": GUARDIANS_MAX,
                    "uniqueItems": True,
                },
                "threshold": {"type": "integer", "minimum": 2, "maximum": GUARDIANS_MAX},
                "wait_s": {"type": "integer", "minimum": WAIT_MIN_S, "maximum": WAIT_MAX_S},
                "veto": {"$ref": "#/$defs/key"},
            },
        },
        {
            "required": ["to", "consent"],
            "properties": {
                "action": {"const": "rotate"},
                "to": {"$ref": "#/$defs/key"},
                "consent": {"$ref": "#/$defs/signature"},
            },
        },
        {
            "required": ["from", "to", "consent"],
            "properties": {
                "action": {"const": "recover"},
                "from": {"$ref": "#/$defs/key"},
                "to": {"$ref": "#/$defs/key"},
                "consent": {"$ref": "#/$defs/signature"},
            },
        },
        {
            "required": ["from", "to"],
            "properties": {
                "action": {"const": "veto"},
                "from": {"$ref": "#/$defs/key"},
                "to": {"$ref": "#/$defs/key"},
            },
        },
        {
            "required": ["reason"],
            "properties": {
                "action": {"const": "end"},
                "reason": {"enum": ["retired", "stolen"]},
            },
        },
    ],
    "$defs": {
        "key": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "signature": {"type": "string", "pattern": "^[0-9a-f]{128}$"},
    },
}


class Plan(msgspec.Struct, frozen=True, kw_only=True, tag="guardians", tag_field="action"):
    """Who may recover a key together, after which wait, and which key may stop them."""

    guardians: tuple[PublicKey, ...]
    threshold: Annotated[int, msgspec.Meta(ge=2, le=GUARDIANS_MAX)]
    wait_s: Annotated[int, msgspec.Meta(ge=WAIT_MIN_S, le=WAIT_MAX_S)]
    veto: PublicKey


class Rotate(msgspec.Struct, frozen=True, kw_only=True, tag="rotate", tag_field="action"):
    """The key itself hands over."""

    to: PublicKey
    consent: str


class Recover(msgspec.Struct, frozen=True, kw_only=True, tag="recover", tag_field="action"):
    """A guardian says who the owner is now."""

    source: PublicKey = msgspec.field(name="from")
    to: PublicKey
    consent: str


class Veto(msgspec.Struct, frozen=True, kw_only=True, tag="veto", tag_field="action"):
    """The owner says that this recovery is none of theirs."""

    source: PublicKey = msgspec.field(name="from")
    to: PublicKey


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="action"):
    """The key is used no more."""

    reason: Literal["retired", "stolen"]


Action = Plan | Rotate | Recover | Veto | End


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A checked statement: who says what of which key, and when."""

    id: str
    by: PublicKey
    about: PublicKey
    at_s: int
    action: Action


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery that waits for its time, or a veto."""

    to: PublicKey
    started_s: int
    due_s: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one key: where its identity went, by whom, and what is under way."""

    key: PublicKey
    successor: PublicKey | None = None
    by: Literal["", "key", "guardians"] = ""
    since_s: int | None = None
    final: bool = False
    ended: Literal["", "retired", "stolen"] = ""
    ended_s: int | None = None
    plan: Plan | None = None
    pending: Pending | None = None

    @property
    def usable(self) -> bool:
        """Whether what the key signs now is its owner's word."""
        return self.successor is None and not self.ended


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A key, the keys before it, the one that speaks for them now, and what became of each."""

    current: PublicKey
    chain: tuple[Standing, ...]

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """All keys of it, oldest first."""
        return tuple(standing.key for standing in self.chain)


# --- reading --------------------------------------------------------------------------------------

_decode = msgspec.json.Decoder(Action).decode


def read_statement(event: Event) -> Statement:
    """A statement, every rule checked but the event's signature. Raises Invalid."""
    if event.kind != kinds.KEY_STATEMENT:
        raise Invalid.at("statement.kind", f"must be {kinds.KEY_STATEMENT}")
    version = event.tag("v") or ""
    if version.partition(".")[0] != STATEMENT_VERSION.partition(".")[0]:
        raise Invalid.at("statement.tags.v", f"version {version[:20]!r} is not spoken", "speak 1.x")
    try:
        action = _decode(event.content)
    except msgspec.ValidationError as exc:
        raise field_error(exc, _FIELD) from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Invalid.at(_FIELD, "is not JSON") from exc
    about = action.source if isinstance(action, Recover | Veto) else event.pubkey
    _check(action, about, event.pubkey)
    if set(event.values("p")) != _named(action, event.pubkey):
        raise Invalid.at("statement.tags.p", "must name the keys of the content, and no others")
    return Statement(
        id=event.id, by=event.pubkey, about=about, at_s=event.created_at, action=action
    )


def check_fresh(event: Event, now_s: int) -> None:
    """Raises Stale unless the statement was written just now: what a thief dates back is refused
    wherever somebody was listening at the time."""
    if abs(event.created_at - now_s) > FRESH_S:
        raise Stale(f"is over {FRESH_S} s from now", field="statement.created_at")


def consent(new: SecretKey, source: PublicKey) -> str:
    """The new key's signature under taking over from `source`."""
    return new.sign(_digest(source, new.public))


def statement_draft(by: PublicKey, action: Action) -> tuple[str, Tags]:
    """Content and tags of a statement to sign. Raises Invalid for what no reader would take."""
    about = action.source if isinstance(action, Recover | Veto) else by
    try:
        msgspec.convert(msgspec.to_builtins(action), Action)  # bounds hold on drafts, too
    except msgspec.ValidationError as exc:
        raise field_error(exc, _FIELD) from exc
    _check(action, about, by)
    tags: Tags = (
        *(("p", key) for key in sorted(_named(action, by))),
        ("type", "key-statement"),
        ("v", STATEMENT_VERSION),
    )
    return msgspec.json.encode(action).decode(), tags


def _digest(source: str, to: str) -> bytes:
    return hashlib.sha256(f"hanse:key:1:{source}:{to}".encode()).digest()


def _named(action: Action, by: PublicKey) -> set[str]:
    match action:
        case Plan():
            return {*action.guardians, action.veto}
        case Rotate():
            return {action.to}
        case Recover() | Veto():
            return {action.source, action.to}
    return set()


def _check(action: Action, about: PublicKey, by: PublicKey) -> None:
    for name, key in _keys(action):
        if not is_hex(key, 64):
            raise Invalid.at(f"{_FIELD}.{name}", "must be 64 lower-case hex characters")
    match action:
        case Plan():
            _check_plan(action, by)
        case Rotate() | Recover():
            if action.to in (about, by):
                raise Invalid.at(f"{_FIELD}.to", "must be a new key")
            if not is_hex(action.consent, 128) or not verify(
                bytes.fromhex(action.to),
                _digest(about, action.to),
                bytes.fromhex(action.consent),
            ):
                raise Invalid.at(f"{_FIELD}.consent", "is not the new key's signature")


def _check_plan(plan: Plan, by: PublicKey) -> None:
    count = len(set(plan.guardians))
    if count != len(plan.guardians) or not plan.threshold <= count <= GUARDIANS_MAX:
        raise Invalid.at(
            f"{_FIELD}.guardians",
            f"must be {plan.threshold} to {GUARDIANS_MAX} different keys",
        )
    if by in plan.guardians:
        raise Invalid.at(f"{_FIELD}.guardians", "must not hold the key itself")
    if plan.veto == by or plan.veto in plan.guardians:
        raise Invalid.at(f"{_FIELD}.veto", "must be a key apart from the key and its guardians")


def _keys(action: Action) -> list[tuple[str, str]]:
    match action:
        case Plan():
            return [("veto", action.veto), *(("guardians", key) for key in action.guardians)]
        case Rotate():
            return [("to", action.to)]
        case Recover() | Veto():
            return [("from", action.source), ("to", action.to)]
    return []


# --- deciding -------------------------------------------------------------------------------------


class _Case:
    """One key's statements, read in the order they were written."""

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self.plan: Plan | None = None
        self.plans: list[tuple[int, Plan]] = []  # written, not yet in force
        self.moved: tuple[int, PublicKey, Literal["key", "guardians"]] | None = None
        self.ended: tuple[int, Literal["retired", "stolen"]] | None = None
        self.approved: dict[PublicKey, PublicKey] = {}  # guardian → new key
        self.pending: Pending | None = None

    def take(self, found: Statement) -> None:
        """One more statement. What its writer may not say then changes nothing."""
        self.pass_time(found.at_s)
        own, action = found.by == self.key, found.action
        match action:
            case Plan() if own and self._speaks() and self.pending is None:
                self.plans.append((found.at_s + NOTICE_S, action))
            case Rotate() if own and self._speaks():
                self.moved = (found.at_s, action.to, "key")
                self.plans.clear()
            case End() if own and self.ended is None:
                self.ended = (found.at_s, action.reason)
                self.plans.clear()
            case Recover():
                self._approve(found.by, action, found.at_s)
            case Veto() if self.plan is not None and found.by == self.plan.veto:
                self._stop(action.to)

    def pass_time(self, now_s: int) -> None:
        """What becomes of time alone: plans come into force, recoveries fall due."""
        while self.plans and self.plans[0][0] <= now_s:
            self.plan = self.plans.pop(0)[1]
            self.approved.clear()
        if self.pending is not None and self.pending.due_s <= now_s:
            self.moved = (self.pending.due_s, self.pending.to, "guardians")
            self.pending = None
            self.approved.clear()

    def _speaks(self) -> bool:
        return self.moved is None and self.ended is None

    def _approve(self, guardian: PublicKey, action: Recover, at_s: int) -> None:
        plan = self.plan
        if plan is None or guardian not in plan.guardians:
            return
        if self.moved is not None and (
            self.moved[2] == "guardians" or at_s >= self.moved[0] + CONTEST_S
        ):
            return
        self.approved[guardian] = action.to  # each guardian stands for one new key at a time
        votes = list(self.approved.values())
        if self.pending is not None and votes.count(self.pending.to) < plan.threshold:
            self.pending = None
        if self.pending is None and votes.count(action.to) >= plan.threshold:
            self.pending = Pending(to=action.to, started_s=at_s, due_s=at_s + plan.wait_s)
            self.plans.clear()  # a thief's guardians must not come into force meanwhile

    def _stop(self, to: PublicKey) -> None:
        self.approved = {key: found for key, found in self.approved.items() if found != to}
        if self.pending is not None and self.pending.to == to:
            self.pending = None

    def standing(self, now_s: int) -> Standing:
        """How it stands."""
        found = Standing(key=self.key, plan=self.plan, pending=self.pending)
        if self.moved is not None:
            since_s, successor, by = self.moved
            contested = self.pending is not None or (
                self.plan is not None and now_s < since_s + CONTEST_S
            )
            found = msgspec.structs.replace(
                found,
                successor=successor,
                by=by,
                since_s=since_s,
                final=by == "guardians" or not contested,
            )
        if self.ended is not None:
            ended_s, reason = self.ended
            found = msgspec.structs.replace(found, ended=reason, ended_s=ended_s)
        return found


def standing(key: PublicKey, statements: Iterable[Statement], now_s: int) -> Standing:
    """What became of one key, by all statements about it that were written up to now. The order
    they are given in, and how often, does not matter."""
    known = {found.id: found for found in statements if found.about == key}
    case = _Case(key)
    for found in sorted(known.values(), key=lambda one: (one.at_s, one.id)):
        if found.at_s <= now_s:
            case.take(found)
    case.pass_time(now_s)
    return case.standing(now_s)


def identity(
    key: PublicKey, about: Mapping[PublicKey, Iterable[Statement]], now_s: int
) -> Identity:
    """The identity that a key belongs to, followed from it to the newest key; `about` has the
    statements about each key. A ring ends where it would close, after at most STEPS_MAX keys."""
    chain = [standing(key, about.get(key, ()), now_s)]
    seen = {key}
    while (after := chain[-1].successor) is not None:
        if after in seen or len(chain) >= STEPS_MAX:
            break
        seen.add(after)
        chain.append(standing(after, about.get(after, ()), now_s))
    return Identity(current=chain[-1].key, chain=tuple(chain))
