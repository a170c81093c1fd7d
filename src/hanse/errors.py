"""Every failure Hanse names, with the words each door uses for it.

    HanseError                 error
    ├── Invalid                invalid        the input is wrong: names the field and the reason
    │   ├── Stale              invalid        a timestamp outside the accepted window
    │   ├── TooLarge           invalid        a size, depth or count over its bound
    │   └── OverCap            invalid        the price is above the caller's cap
    ├── AuthRequired           auth-required  nobody has proved who they are
    ├── Restricted             restricted     known, but not allowed
    ├── Blocked                blocked        more than this relay gives to anybody
    ├── WorkNeeded             pow            a stranger's event needs proof of work
    ├── NotFound               invalid        nothing has that name
    ├── Conflict               duplicate      the same id with other content
    ├── InsufficientFunds      restricted     the account cannot cover the amount
    ├── PastDeadline           error          too late to begin
    ├── RateLimited            rate-limited   too much at once
    ├── WrongPassphrase        invalid        a stored key does not open
    ├── Unavailable            error          the other side cannot be reached now
    ├── TooBroad               error          a query that would take more work than its budget
    ├── PolicyFailed           error          a rule of the operator's own could not be asked
    └── Closed                 error          we are shutting down

`word` is the NIP-01 machine-readable prefix, `status` the HTTP status, `rpc_code` the JSON-RPC
code and `slug` the name that JSON carries. A door turns an error into wire text in one place.
"""

from typing import Any, ClassVar, Self


class HanseError(Exception):
    """Something went wrong inside the node."""

    word: ClassVar[str] = "error"
    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = -32603

    def __init__(self, reason: str = "", *, field: str = "", hint: str = "") -> None:
        self.field = field
        self.reason = reason or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """The failure in one line: field, reason, and what to do next."""
        head = f"{self.field}: {self.reason}" if self.field else self.reason
        return f"{head} ({self.hint})" if self.hint else head

    @property
    def wire(self) -> str:
        """NIP-01 form, `word: text`."""
        return f"{self.word}: {self.text}"

    def as_dict(self) -> dict[str, str]:
        """The JSON form that every door shares."""
        found = {"error": self.slug, "field": self.field, "reason": self.reason, "hint": self.hint}
        return {key: value for key, value in found.items() if value}

    @staticmethod
    def from_dict(found: dict[str, Any]) -> "HanseError":
        """Rebuild what `as_dict` wrote; an unknown slug becomes a plain HanseError."""
        kind = _BY_SLUG.get(str(found.get("error", "")), HanseError)
        return kind(
            str(found.get("reason", "")),
            field=str(found.get("field", "")),
            hint=str(found.get("hint", "")),
        )


class Invalid(HanseError):
    """The input is not valid."""

    word = "invalid"
    slug = "invalid"
    status = 400
    rpc_code = -32602

    @classmethod
    def at(cls, field: str, reason: str, hint: str = "") -> Self:
        """The usual way to build one: which field, and why."""
        return cls(reason, field=field, hint=hint)


class Stale(Invalid):
    """The timestamp is too far from now."""

    slug = "stale"


class TooLarge(Invalid):
    """The input is over its size bound."""

    slug = "too-large"
    status = 413


class OverCap(Invalid):
    """The price is above the cap."""

    slug = "over-cap"
    status = 402


class AuthRequired(HanseError):
    """This needs a proof of who you are."""

    word = "auth-required"
    slug = "auth-required"
    status = 401
    rpc_code = -32001


class Restricted(HanseError):
    """You may not do this."""

    word = "restricted"
    slug = "restricted"
    status = 403
    rpc_code = -32003


class Blocked(HanseError):
    """This relay does not do that."""

    word = "blocked"
    slug = "blocked"
    status = 403
    rpc_code = -32003


class WorkNeeded(HanseError):
    """This needs more proof of work."""

    word = "pow"
    slug = "work-needed"
    status = 403
    rpc_code = -32003


class NotFound(HanseError):
    """Nothing has that name."""

    word = "invalid"
    slug = "not-found"
    status = 404
    rpc_code = -32004


class Conflict(HanseError):
    """This id was used before with other content."""

    word = "duplicate"
    slug = "conflict"
    status = 409
    rpc_code = -32009


class InsufficientFunds(HanseError):
    """The account cannot cover this amount."""

    word = "restricted"
    slug = "insufficient-funds"
    status = 402
    rpc_code = -32042


class PastDeadline(HanseError):
    """The deadline has passed."""

    slug = "past-deadline"
    status = 408
    rpc_code = -32008


class RateLimited(HanseError):
    """Too much at once."""

    word = "rate-limited"
    slug = "rate-limited"
    status = 429
    rpc_code = -32029


class WrongPassphrase(Invalid):
    """The passphrase does not open this key."""

    slug = "wrong-passphrase"


class Unavailable(HanseError):
    """The other side cannot be reached now."""

    slug = "unavailable"
    status = 503
    rpc_code = -32050


class TooBroad(HanseError):
    """This would take too long to answer."""

    slug = "too-broad"
    status = 422
    rpc_code = -32022


class PolicyFailed(HanseError):
    """The event could not be checked."""

    slug = "policy-failed"


class Closed(HanseError):
    """The node is shutting down."""

    slug = "closed"
    status = 503
    rpc_code = -32051


def _tree(root: type[HanseError]) -> list[type[HanseError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


_BY_SLUG = {kind.slug: kind for kind in _tree(HanseError)}
