"""`hanse vouch` and `hanse unvouch`: whom you stand for, signed by your operator key."""

from typing import Annotated, Any

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, told

Subject = Annotated[str, typer.Argument(help="Whom: the npub or hex key of an operator.")]
Domain = Annotated[
    str,
    typer.Option("--domain", help='For what, e.g. "sms" or "code.review"; left out: everything.'),
]


def vouch(
    npub: Subject,
    domain: Domain = "",
    grade: Annotated[int, typer.Option("--grade", min=1, max=10, help="How far, 1 to 10.")] = 5,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="For how long.")] = 180,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody can read it.")] = "",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Stand for an operator: it joins your circle, and those who trust you hear of it.

    If it cheats with proof, part of that is charged to you. Take it back with `hanse unvouch`.

    Example:  hanse vouch npub1… --domain sms --days 90
    """
    with told(json):
        found = _say(npub, domain, grade, days, reason, node)
        what = f"for {domain}" if domain else "for everything"
        text = f"You vouch for {found['npub']} {what}, grade {grade}, for {days} days."
        answer(json, found, lambda: out(text))


def unvouch(npub: Subject, domain: Domain = "", node: NodeUrl = None, json: Json = False) -> None:
    """Take back what you vouched for, at once.

    Example:  hanse unvouch npub1… --domain sms
    """
    with told(json):
        found = _say(npub, domain, 0, 366, "", node)
        what = f" for {domain}" if domain else ""
        answer(json, found, lambda: out(f"You no longer vouch for {found['npub']}{what}."))


def _say(
    npub: str, domain: str, grade: int, days: int, reason: str, node: str | None
) -> dict[str, Any]:
    """Sign and publish the newest word on this subject and domain."""
    import time

    import msgspec

    from hanse.cli.home import keyring, operator_request
    from hanse.errors import HanseError
    from hanse.protocol import kinds
    from hanse.protocol.address import encode_npub, read_public_key
    from hanse.protocol.event import sign_event
    from hanse.trust.endorsement import DAY_S, endorsement_draft

    secret = keyring().operator()
    subject = read_public_key(npub, "npub")
    filter = {
        "kinds": [kinds.ENDORSEMENT],
        "authors": [secret.public],
        "#d": [f"{subject}:{domain}"],
    }
    before: Any = operator_request(node, "/query", filter)
    # Two words in one second would leave it to their ids which one holds.
    at_s = max(int(time.time()), *(found["created_at"] + 1 for found in before), 0)
    content, tags = endorsement_draft(
        secret.public,
        subject,
        domain,
        grade,
        created_at=at_s,
        lifetime_s=days * DAY_S,
        reason=reason,
    )
    event = sign_event(secret, kind=kinds.ENDORSEMENT, created_at=at_s, content=content, tags=tags)
    told = operator_request(node, "/events", msgspec.to_builtins(event))
    if not told.get("accepted"):
        raise HanseError(str(told.get("message", "the node did not take it")))
    return {
        "event": event.id,
        "subject": subject,
        "npub": encode_npub(subject),
        "domain": domain,
        "grade": grade,
        "expires": at_s + days * DAY_S,
    }
