"""Kind 31410: one operator vouches for another; and follow lists (kind 3) as weak evidence.

Owns the two formats. No published kind fits: a list (30000) has neither grade nor expiry, a label
(1985) is never replaced, NIP-85 carries what a service computed, kind 30085 says how somebody did,
not whom one stands for. docs/reference/endorsements.md has the format for other implementations.

    tags      d  "<subject>:<domain>"    p  subject    t  domain, unless empty    expiration
              type  "endorsement"    v  "1.0.0"
    content   {"subject", "domain", "grade": 0..10, "reason"?}      grade 0 takes it back
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import msgspec

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, field_error
from hanse.protocol.keys import PublicKey, is_hex
from hanse.trust.acceptance import current, within_quota
from hanse.trust.model import DOMAIN_LENGTH_MAX, GRADE_MAX, Endorsement, Operator, check_domain

ENDORSEMENT_VERSION: Final = "1.0.0"
DAY_S: Final = 86_400
LIFETIME_MAX_S: Final = 366 * DAY_S
LIFETIME_S: Final = 180 * DAY_S
REASON_MAX: Final = 500
FOLLOWS_MAX: Final = 5_000
"""Keys read of one follow list, in its order: somebody who follows everybody says nothing."""

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Endorsement, content of kind 31410, version 1",
    "type": "object",
    "required": ["subject", "domain", "grade"],
    "properties": {
        "subject": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "domain": {"type": "string", "maxLength": DOMAIN_LENGTH_MAX, "pattern": "^[^:]*$"},
        "grade": {"type": "integer", "minimum": 0, "maximum": GRADE_MAX},
        "reason": {"type": "string", "maxLength": REASON_MAX},
    },
}
"""Unknown members are let pass: a minor version may add some."""


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    subject: str
    domain: str
    grade: int
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX)] = ""


_decode = msgspec.json.Decoder(_Content).decode


def read_endorsement(event: Event) -> Endorsement:
    """An endorsement, every rule checked but the signature. Raises Invalid naming the field.

    Whatever its expiration, it ends LIFETIME_MAX_S after it was written.
    """
    if event.kind != kinds.ENDORSEMENT:
        raise Invalid.at("endorsement.kind", f"must be {kinds.ENDORSEMENT}")
    version = _single(event.tags, "v") or ""
    if version.partition(".")[0] != ENDORSEMENT_VERSION.partition(".")[0]:
        raise Invalid.at(
            "endorsement.tags.v", f"version {version[:20]!r} is not spoken", "speak 1.x"
        )
    try:
        content = _decode(event.content)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "endorsement.content") from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Invalid.at("endorsement.content", "is not JSON") from exc
    _check(event.pubkey, content)
    if _single(event.tags, "p") != content.subject:
        raise Invalid.at("endorsement.tags.p", "must be the content's subject")
    if (_single(event.tags, "t") or "") != content.domain:
        raise Invalid.at("endorsement.tags.t", "must be the content's domain")
    if _single(event.tags, "d") != f"{content.subject}:{content.domain}":
        raise Invalid.at("endorsement.tags.d", "must be the subject, a colon and the domain")
    if any(tag and tag[0] == "auth" for tag in event.tags):
        raise Invalid.at("endorsement.tags.auth", "an agent cannot vouch", "its operator can")
    expiration = _single(event.tags, "expiration") or ""
    if not (expiration.isascii() and expiration.isdigit() and len(expiration) <= 15):
        raise Invalid.at("endorsement.tags.expiration", "must be Unix seconds")
    if int(expiration) <= event.created_at:
        raise Invalid.at("endorsement.tags.expiration", "must be after created_at")
    return Endorsement(
        by=event.pubkey,
        of=content.subject,
        domain=content.domain,
        grade=content.grade,
        at_s=event.created_at,
        expires_s=min(int(expiration), event.created_at + LIFETIME_MAX_S),
    )


def endorsement_draft(
    by: PublicKey,
    subject: PublicKey,
    domain: str = "",
    grade: int = 5,
    *,
    created_at: int,
    lifetime_s: int = LIFETIME_S,
    reason: str = "",
) -> tuple[str, Tags]:
    """Content and tags of an endorsement to sign; grade 0 takes an earlier one back. Raises
    Invalid for what no reader would take."""
    content = _Content(subject, domain, grade, reason)
    _check(by, content)
    if len(reason) > REASON_MAX:
        raise Invalid.at("endorsement.content.reason", f"has more than {REASON_MAX} characters")
    if not 0 < lifetime_s <= LIFETIME_MAX_S:
        days = LIFETIME_MAX_S // DAY_S
        raise Invalid.at("endorsement.tags.expiration", f"must lie within {days} days")
    tags: Tags = (
        ("d", f"{subject}:{domain}"),
        ("p", subject),
        *((("t", domain),) if domain else ()),
        ("expiration", str(created_at + lifetime_s)),
        ("type", "endorsement"),
        ("v", ENDORSEMENT_VERSION),
    )
    return msgspec.json.encode(content).decode(), tags


def counted_by(
    endorsements: Iterable[Endorsement], quota_of: Callable[[Operator], int], now_s: int
) -> list[Endorsement]:
    """What counts now when each operator has a monthly quota of its own, by its level: the first
    of each window by time, whatever the order of arrival."""
    groups: dict[Operator, list[Endorsement]] = {}
    for found in current(endorsements, now_s):
        groups.setdefault(found.by, []).append(found)
    return [
        found for by in sorted(groups) for found in within_quota(groups[by], max(0, quota_of(by)))
    ]


def read_follows(event: Event) -> tuple[PublicKey, ...]:
    """Whom a follow list names: well-formed keys, each once, not its author, at most FOLLOWS_MAX.
    Raises Invalid for another kind."""
    if event.kind != kinds.FOLLOWS:
        raise Invalid.at("follows.kind", f"must be {kinds.FOLLOWS}")
    found = dict.fromkeys(
        key for key in event.values("p") if is_hex(key, 64) and key != event.pubkey
    )
    return tuple(PublicKey(key) for key in list(found)[:FOLLOWS_MAX])


def _check(by: str, content: _Content) -> None:
    if not is_hex(content.subject, 64):
        raise Invalid.at("endorsement.content.subject", "must be 64 lower-case hex characters")
    if content.subject == by:
        raise Invalid.at("endorsement.pubkey", "nobody vouches for themselves")
    if ":" in content.domain or not content.domain.isprintable():
        raise Invalid.at("endorsement.content.domain", "must be printable, without a colon")
    try:
        check_domain(content.domain)
    except Invalid as exc:
        raise Invalid.at("endorsement.content.domain", exc.reason) from exc
    if not 0 <= content.grade <= GRADE_MAX:
        raise Invalid.at("endorsement.content.grade", f"must be 0 to {GRADE_MAX}")


def _single(tags: Tags, name: str) -> str | None:
    found = [tag[1] if len(tag) > 1 else "" for tag in tags if tag and tag[0] == name]
    if len(found) > 1:
        raise Invalid.at(f"endorsement.tags.{name}", "stands more than once")
    return found[0] if found else None
