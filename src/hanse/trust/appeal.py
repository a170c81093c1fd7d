"""Kind 31412: who is accused of a betrayal says why it was none, and who agrees says so.

Owns the format. An appeal is about a receipt: the payment that the accusation rests on, so that it
holds whenever the accuser says the same again. docs/reference/appeals.md says what it does.

    tags      d, e  id of the receipt (2402)    type  "appeal"    v  "1.0.0"
    content   {"receipt", "action": "appeal" | "grant" | "withdraw", "reason"?}
"""

from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, field_error
from hanse.protocol.keys import PublicKey, is_hex

APPEAL_VERSION: Final = "1.0.0"
LIFETIME_S: Final = 366 * 86_400
"""An appeal counts so long: a betrayal is forgotten before."""

REASON_MAX: Final = 500

Action = Literal["appeal", "grant", "withdraw"]

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Appeal, content of kind 31412, version 1",
    "type": "object",
    "required": ["receipt", "action"],
    "properties": {
        "receipt": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "action": {"enum": list(get_args(Action))},
        "reason": {"type": "string", "maxLength": REASON_MAX},
    },
}
"""Unknown members are let pass: a minor version may add some."""


class Appeal(msgspec.Struct, frozen=True, kw_only=True):
    """What one operator says of the accusation that rests on a receipt."""

    by: PublicKey
    receipt: str
    action: Action
    reason: str
    at_s: int

    @property
    def expires_s(self) -> int:
        """When it counts no more."""
        return self.at_s + LIFETIME_S


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    receipt: str
    action: Action
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX)] = ""


_decode = msgspec.json.Decoder(_Content).decode


def read_appeal(event: Event) -> Appeal:
    """An appeal, every rule checked but the signature. Raises Invalid naming the field."""
    if event.kind != kinds.APPEAL:
        raise Invalid.at("appeal.kind", f"must be {kinds.APPEAL}")
    version = _single(event.tags, "v") or ""
    if version.partition(".")[0] != APPEAL_VERSION.partition(".")[0]:
        raise Invalid.at("appeal.tags.v", f"version {version[:20]!r} is not spoken", "speak 1.x")
    try:
        content = _decode(event.content)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "appeal.content") from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Invalid.at("appeal.content", "is not JSON") from exc
    _check(content.receipt)
    for name in ("d", "e"):
        if _single(event.tags, name) != content.receipt:
            raise Invalid.at(f"appeal.tags.{name}", "must be the content's receipt")
    if any(tag and tag[0] == "auth" for tag in event.tags):
        raise Invalid.at("appeal.tags.auth", "an agent cannot appeal", "its operator can")
    return Appeal(
        by=event.pubkey,
        receipt=content.receipt,
        action=content.action,
        reason=content.reason,
        at_s=event.created_at,
    )


def appeal_draft(receipt: str, action: Action, reason: str = "") -> tuple[str, Tags]:
    """Content and tags of an appeal to sign. Raises Invalid for what no reader would take."""
    _check(receipt)
    if len(reason) > REASON_MAX:
        raise Invalid.at("appeal.content.reason", f"has more than {REASON_MAX} characters")
    tags: Tags = (
        ("d", receipt),
        ("e", receipt),
        ("type", "appeal"),
        ("v", APPEAL_VERSION),
    )
    return msgspec.json.encode(_Content(receipt, action, reason)).decode(), tags


def _check(receipt: str) -> None:
    if not is_hex(receipt, 64):
        raise Invalid.at("appeal.content.receipt", "must be 64 lower-case hex characters")


def _single(tags: Tags, name: str) -> str | None:
    found = [tag[1] if len(tag) > 1 else "" for tag in tags if tag and tag[0] == name]
    if len(found) > 1:
        raise Invalid.at(f"appeal.tags.{name}", "stands more than once")
    return found[0] if found else None
