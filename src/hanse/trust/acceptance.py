"""Who is acceptable at once: at least K distinct trusted operators vouch, directly.

The rule has no transitive closure, so what an attacker gains is bounded by whom they corrupt, never
by how many keys they make. With c corrupted operators in the circle, each with quota q a window:
c < K: nobody; else at most floor(c · q · windows / K), because every accepted subject uses up K
counted endorsements of distinct corrupted operators.
"""

from collections.abc import Collection, Iterable

import msgspec

from hanse.trust.model import Endorsement, Operator, covers

VOUCHERS_NEEDED = 3
"""Two mistaken or corrupted friends must not be enough; GnuPG asks for three marginals too."""

QUOTA = 20
QUOTA_WINDOW_S = 30 * 86400


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the circle vouches for a subject, by whom, and how many are missing."""

    accepted: bool
    vouchers: tuple[Endorsement, ...]
    missing: int


def current(endorsements: Iterable[Endorsement], now_s: int) -> list[Endorsement]:
    """The statements that hold now, sorted: the newest of each (by, of, domain), if it still lives.

    A statement from the future is not heard. Of two of the same second the lower grade wins, then
    the earlier expiry: the cautious reading, whichever arrived first.
    """
    newest: dict[tuple[Operator, Operator, str], Endorsement] = {}
    for found in endorsements:
        if found.at_s > now_s:
            continue
        key = (found.by, found.of, found.domain)
        other = newest.get(key)
        if other is None or _recency(found) > _recency(other):
            newest[key] = found
    return sorted(each for each in newest.values() if each.grade > 0 and each.expires_s > now_s)


def within_quota(
    live: Iterable[Endorsement], quota: int = QUOTA, window_s: int = QUOTA_WINDOW_S
) -> list[Endorsement]:
    """Of each voucher, what counts: the first `quota` subjects of each window, earliest first."""
    subjects: dict[tuple[Operator, int], set[Operator]] = {}
    counted = []
    for found in sorted(live, key=lambda each: (each.at_s, each.by, each.of, each.domain)):
        used = subjects.setdefault((found.by, found.at_s // window_s), set())
        if found.of not in used and len(used) >= quota:
            continue
        used.add(found.of)
        counted.append(found)
    return counted


def accept(
    counted: Iterable[Endorsement],
    circle: Collection[Operator],
    subject: Operator,
    domain: str = "",
    needed: int = VOUCHERS_NEEDED,
) -> Acceptance:
    """Judge one subject by counted endorsements (see `counted_now`)."""
    return _judge(
        (
            each
            for each in counted
            if each.of == subject and each.by in circle and covers(each.domain, domain)
        ),
        needed,
    )


def accepted(
    counted: Iterable[Endorsement],
    circle: Collection[Operator],
    domain: str = "",
    needed: int = VOUCHERS_NEEDED,
) -> dict[Operator, Acceptance]:
    """Every subject that the circle accepts."""
    members = frozenset(circle)
    by_subject: dict[Operator, list[Endorsement]] = {}
    for each in counted:
        if each.by in members and covers(each.domain, domain):
            by_subject.setdefault(each.of, []).append(each)
    judged = {subject: _judge(found, needed) for subject, found in sorted(by_subject.items())}
    return {subject: found for subject, found in judged.items() if found.accepted}


def counted_now(
    endorsements: Iterable[Endorsement],
    now_s: int,
    quota: int = QUOTA,
    window_s: int = QUOTA_WINDOW_S,
) -> list[Endorsement]:
    """What counts now: live, newest of its kind, and within its voucher's quota."""
    return within_quota(current(endorsements, now_s), quota, window_s)


def _judge(found: Iterable[Endorsement], needed: int) -> Acceptance:
    # One voice per operator, however many domains it speaks in: its highest grade.
    best: dict[Operator, Endorsement] = {}
    for each in found:
        other = best.get(each.by)
        if other is None or (each.grade, each) > (other.grade, other):
            best[each.by] = each
    vouchers = tuple(sorted(best.values(), key=lambda each: (-each.grade, each.by)))
    missing = max(0, needed - len(vouchers))
    return Acceptance(accepted=missing == 0, vouchers=vouchers, missing=missing)


def _recency(found: Endorsement) -> tuple[int, int, int]:
    return found.at_s, -found.grade, -found.expires_s
