"""The values that trust is computed from, and the answer it gives."""

from enum import IntEnum, StrEnum

import msgspec

from hanse.errors import Invalid

Operator = str
"""An operator's public key, as hex. An agent's key becomes its operator's before this room."""

GRADE_MAX = 10
WEIGHT_MAX = 100.0
DOMAIN_LENGTH_MAX = 128
TIME_MAX_S = 2**53


class Endorsement(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """`by` vouches for `of` in a domain until `expires_s`; grade 0 takes an earlier one back.

    The domain is dotted, from wide to narrow; "" means everything.
    """

    by: Operator
    of: Operator
    domain: str = ""
    grade: int = 1
    at_s: int
    expires_s: int

    def __post_init__(self) -> None:
        if not self.by or not self.of or self.by == self.of:
            raise Invalid.at("of", "an endorsement needs two different operators")
        if type(self.grade) is not int or not 0 <= self.grade <= GRADE_MAX:
            raise Invalid.at("grade", f"must be a whole number from 0 to {GRADE_MAX}")
        _check_time("at_s", self.at_s)
        _check_time("expires_s", self.expires_s)
        if self.expires_s <= self.at_s:
            raise Invalid.at("expires_s", "must be after at_s")
        check_domain(self.domain)


class Cause(StrEnum):
    """What an outcome sums up, where the node saw it for itself."""

    TOLD = ""
    CALL = "call"
    LATE = "late"
    SPAM = "spam"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What a dealing with `subject` was worth to `rater`. `proven` marks a betrayal with proof,
    `broke` an answer that broke its provider's own word, by the receipt of a node that is believed.

    `vouched_for` is the cheat that the subject pays for having vouched for; `receipt` what a
    betrayal rests on, and `plea` what the subject says of it. `count` is how many calls or refused
    events it sums up; free calls that went well weigh nothing, and are counted.
    """

    rater: Operator
    subject: Operator
    domain: str = ""
    good: float = 0.0
    bad: float = 0.0
    at_s: int
    proven: bool = False
    broke: bool = False
    vouched_for: Operator = ""
    receipt: str = ""
    plea: str = ""
    cause: Cause = Cause.TOLD
    count: int = 0

    @property
    def weighs(self) -> bool:
        """Whether it is more than a number."""
        return self.good + self.bad > 0.0

    def __post_init__(self) -> None:
        if not self.rater or not self.subject:
            raise Invalid.at("subject", "an outcome needs a rater and a subject")
        for field, value in (("good", self.good), ("bad", self.bad)):
            if not 0.0 <= value <= WEIGHT_MAX:  # NaN fails this too
                raise Invalid.at(field, f"must be from 0 to {WEIGHT_MAX:g}")
        if not self.weighs and not (self.cause is Cause.CALL and self.count):
            raise Invalid.at("good", "an outcome must weigh something")
        if self.proven and self.bad <= 0.0:
            raise Invalid.at("proven", "only a bad outcome can be a proven betrayal")
        _check_time("at_s", self.at_s)
        check_domain(self.domain)


class Level(IntEnum):
    """What trust permits, from nothing to everything."""

    BARRED = 0
    STRANGER = 1
    ACCEPTED = 2
    TRUSTED = 3
    CIRCLE = 4


class Side(StrEnum):
    """Which way a reason points."""

    FOR = "for"
    AGAINST = "against"
    MISSING = "missing"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an explanation: a path, a piece of evidence, or what would raise the level.
    `receipt` is what an accusation rests on, and an appeal names."""

    side: Side
    text: str
    weight: float = 0.0
    path: tuple[Operator, ...] = ()
    receipt: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer should think of a subject in a domain, and why."""

    viewer: Operator
    subject: Operator
    domain: str
    score: float
    lower_bound: float
    level: Level
    reasons: tuple[Reason, ...]


def covers(domain: str, wanted: str) -> bool:
    """Whether evidence in `domain` speaks about `wanted`: the same, or wider by whole words."""
    return domain in ("", wanted) or wanted.startswith(domain + ".")


def check_domain(domain: str) -> None:
    """Raise Invalid unless `domain` is "" or words joined by single dots."""
    if len(domain) > DOMAIN_LENGTH_MAX:
        raise Invalid.at("domain", f"at most {DOMAIN_LENGTH_MAX} characters")
    if domain and not all(domain.split(".")):
        raise Invalid.at("domain", "words must be joined by single dots")


def _check_time(field: str, value: int) -> None:
    if type(value) is not int or not 0 <= value <= TIME_MAX_S:
        raise Invalid.at(field, "must be whole seconds since 1970")
