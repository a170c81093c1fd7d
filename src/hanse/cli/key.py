"""`hanse key`: move an identity to a new key, name guardians, and say that a key ended.

`--agent` names one of your agents; without it a verb is about your operator key.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.terminal import Json, NodeUrl, answer, out, told

if TYPE_CHECKING:
    from hanse.keyring import Keyring
    from hanse.protocol.keys import PublicKey, SecretKey
    from hanse.trust.rotation import Action, Identity, Standing

app = typer.Typer(
    no_args_is_help=True,
    help="Keys: guardians, rotation, what to do when one is stolen, recovery.",
    rich_markup_mode=None,
)

STATEMENTS_MAX = 500

OfAgent = Annotated[
    str | None, typer.Option("--agent", help="An agent's key; left out: your operator key.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Yes, I mean it: this cannot be taken back.")]
Old = Annotated[str, typer.Argument(help="The key that was lost or stolen: npub or hex.")]
New = Annotated[str, typer.Argument(help="The key that takes its place: npub or hex.")]


@app.command("plan")
def plan(
    guardian: Annotated[
        list[str], typer.Option(help="npub or hex key of a guardian; at least two.")
    ],
    threshold: Annotated[int, typer.Option(min=2, help="How many of them must agree.")] = 2,
    wait_days: Annotated[
        int, typer.Option(min=3, max=60, help="How long a recovery waits for your veto.")
    ] = 7,
    veto: Annotated[
        str | None, typer.Option(help="Your veto key, npub or hex; left out: one is made.")
    ] = None,
    agent: OfAgent = None,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Name guardians who together can move your identity to a new key, should you lose this one.

    It is in force after 14 days, so that a thief cannot name friends before you hear of it.

    Example:  hanse key plan --guardian npub1… --guardian npub1… --guardian npub1… --threshold 2
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.protocol.address import encode_npub, read_public_key
        from hanse.trust.rotation import DAY_S, NOTICE_S, Plan

        ring = keyring()
        kept = veto is None
        stops = ring.veto_secret(make=True).public if veto is None else None
        action = Plan(
            guardians=tuple(sorted({read_public_key(one, "guardian") for one in guardian})),
            threshold=threshold,
            wait_s=wait_days * DAY_S,
            veto=stops or read_public_key(veto or "", "veto"),
        )
        secret = _secret(ring, agent)
        _check_speaks(node, secret.public)
        found = _publish(secret, action, node) | {
            "npub": encode_npub(secret.public),
            "in_force": _now() + NOTICE_S,
            "veto": encode_npub(action.veto),
            "veto_file": str(ring.home / "veto.key") if kept else None,
        }

        def show() -> None:
            out(f"In force from {_day(found['in_force'])}, if nobody says otherwise before.")
            out(f"Any {threshold} of your {len(action.guardians)} guardians can then move you to a")
            out(f"new key, after {wait_days} days. You stop them with your veto key:")
            out("  hanse key veto OLD NEW")
            if kept:
                out(f"Copy {found['veto_file']} to paper or another machine, and remove it here.")

        answer(json, found, show)


@app.command("rotate")
def rotate(agent: OfAgent = None, node: NodeUrl = None, json: Json = False) -> None:
    """Make a new key and move your identity to it: vouches, ratings and history count for it.

    Your agents and your node are attested anew by it. The old key is kept under HOME/past.

    Example:  hanse key rotate
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.errors import Conflict
        from hanse.protocol.address import encode_npub
        from hanse.trust.rotation import CONTEST_S, Rotate, consent

        ring = keyring()
        old, new = _secret(ring, agent), ring.next_secret(agent)
        stood = _known(node, old.public).chain[0]
        event = ""
        if old.public != new.public and stood.successor != new.public:
            if not stood.usable:
                raise Conflict("moved or ended before", field="key", hint="see `hanse key show`")
            move = Rotate(to=new.public, consent=consent(new, old.public))
            event = _publish(old, move, node)["event"]
        attested = ring.take_next(agent)
        until_s = _now() + CONTEST_S if stood.plan is not None else None
        found = {
            "event": event,
            "from": encode_npub(old.public),
            "to": encode_npub(new.public),
            "attested": attested,
            "undone_until": until_s,
            "old_key": str(ring.home / "past" / f"{old.public}.key"),
        }

        def show() -> None:
            out(f"{found['from']} moved to")
            out(f"{found['to']}")
            out(f"Attested anew: {', '.join(attested)}.")
            if until_s is not None:
                out(f"Your guardians can undo it until {_day(until_s)}.")
            else:
                out("There is no plan of guardians: it is final.")
            if agent:
                out("Credits stay with the old key. Start what runs as this agent again.")
            else:
                out("Your node follows by itself. Start your providers again:")
                out("they hold the old attestation.")

        answer(json, found, show)


@app.command("retire")
def retire(
    agent: OfAgent = None, yes: Yes = False, node: NodeUrl = None, json: Json = False
) -> None:
    """Say that a key is used no more. What it said until now still counts.

    Example:  hanse key retire --agent shopper --yes
    """
    with told(json):
        _end("retired", agent, yes, node, json)


@app.command("stolen")
def stolen(
    agent: OfAgent = None, yes: Yes = False, node: NodeUrl = None, json: Json = False
) -> None:
    """Say that a key was stolen: from now on nothing it signs counts, whoever signs it.

    Then your guardians move you to a new key, if you have a plan: docs/reference/keys.md.

    Example:  hanse key stolen --yes
    """
    with told(json):
        _end("stolen", agent, yes, node, json)


@app.command("consent")
def consent_(old: Old, agent: OfAgent = None, json: Json = False) -> None:
    """Agree with your present key to take over from one you lost; give the result to guardians.

    Example:  hanse key consent npub1…
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.protocol.address import encode_npub, read_public_key
        from hanse.trust.rotation import consent

        new, source = _secret(keyring(), agent), read_public_key(old, "old")
        found = {
            "from": encode_npub(source),
            "to": encode_npub(new.public),
            "consent": consent(new, source),
        }

        def show() -> None:
            out("Give this line to each of your guardians:")
            out(f"  hanse key recover {found['from']} {found['to']} {found['consent']}")

        answer(json, found, show)


@app.command("recover")
def recover(
    old: Old,
    new: New,
    consent: Annotated[str, typer.Argument(help="The new key's, by `hanse key consent`.")],
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """As a guardian: say that somebody's new key is really theirs. Make sure by another way first.

    Example:  hanse key recover npub1… npub1… 5f2a…
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.errors import Restricted
        from hanse.protocol.address import encode_npub, read_public_key
        from hanse.trust.rotation import Recover

        source, to = read_public_key(old, "old"), read_public_key(new, "new")
        secret = keyring().operator()
        plan = _known(node, source).chain[0].plan
        if plan is None or secret.public not in plan.guardians:
            raise Restricted(
                "your operator key is no guardian of a plan in force",
                field="old",
                hint=f"see `hanse key show {encode_npub(source)}`",
            )
        action = Recover(source=source, to=to, consent=consent)
        found = _publish(secret, action, node) | _shown(_known(node, source))
        answer(json, found, lambda: _show(found))


@app.command("veto")
def veto(old: Old, new: New, node: NodeUrl = None, json: Json = False) -> None:
    """Stop a recovery that is none of yours, with the veto key in HOME/veto.key.

    As often as guardians try; each time they need new approvals.

    Example:  hanse key veto npub1… npub1…
    """
    with told(json):
        from hanse.cli.home import keyring
        from hanse.protocol.address import read_public_key
        from hanse.trust.rotation import Veto

        source, to = read_public_key(old, "old"), read_public_key(new, "new")
        action = Veto(source=source, to=to)
        found = _publish(keyring().veto_secret(), action, node) | _shown(_known(node, source))
        answer(json, found, lambda: _show(found))


@app.command("show")
def show_(
    npub: Annotated[str, typer.Argument(help="Whose key: npub or hex.")],
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Show what became of a key: where it moved, its guardians, and what is under way.

    Example:  hanse key show npub1…
    """
    with told(json):
        from hanse.protocol.address import read_public_key

        found = _shown(_known(node, read_public_key(npub, "npub")))
        answer(json, found, lambda: _show(found))


# --- shared -----------------------------------------------------------------------------------


def _secret(ring: "Keyring", agent: str | None) -> "SecretKey":
    return ring.operator() if agent is None else ring.agent(agent)[0]


def _end(reason: Any, agent: str | None, yes: bool, node: str | None, json: bool) -> None:
    from hanse.cli.home import keyring
    from hanse.errors import Invalid
    from hanse.protocol.address import encode_npub
    from hanse.trust.rotation import End

    secret = _secret(keyring(), agent)
    if not yes:
        raise Invalid.at(
            "yes", f"{encode_npub(secret.public)} would be {reason} for good", "add --yes"
        )
    plan = _known(node, secret.public).chain[0].plan
    found = _publish(secret, End(reason=reason), node) | {
        "npub": encode_npub(secret.public),
        "ended": reason,
        "guardians": [encode_npub(one) for one in plan.guardians] if plan else [],
        "threshold": plan.threshold if plan else None,
    }

    def show() -> None:
        out(f"{found['npub']} is {reason} from now on.")
        if plan is not None:
            out("To go on: `hanse init` in a new home, `hanse key consent` there, and ask")
            out(f"{plan.threshold} of your guardians to say `hanse key recover`:")
            for one in found["guardians"]:
                out(f"  {one}")
            out(f"It moves {plan.wait_s // 86_400} days after the last of them.")
        elif agent is None:
            out("No plan of guardians is in force: this identity ends here.")

    answer(json, found, show)


def _publish(secret: "SecretKey", action: "Action", node: str | None) -> dict[str, Any]:
    """Sign a statement and give it to the node. Raises what the node refuses it with."""
    import msgspec

    from hanse.cli.home import operator_request
    from hanse.errors import HanseError
    from hanse.protocol import kinds
    from hanse.protocol.event import sign_event
    from hanse.trust.rotation import statement_draft

    content, tags = statement_draft(secret.public, action)
    event = sign_event(
        secret, kind=kinds.KEY_STATEMENT, created_at=_now(), content=content, tags=tags
    )
    said = operator_request(node, "/events", msgspec.to_builtins(event))
    if not said.get("accepted"):
        raise HanseError(str(said.get("message", "the node did not take it")))
    return {"event": event.id}


def _known(node: str | None, key: "PublicKey") -> "Identity":
    """What the node's statements say of a key and those after it."""
    import orjson

    from hanse.cli.home import operator_request
    from hanse.errors import Invalid
    from hanse.protocol import kinds
    from hanse.protocol.event import check_event, parse_event
    from hanse.trust.rotation import STEPS_MAX, Statement, identity, read_statement

    about: dict[PublicKey, list[Statement]] = {}
    while len(about) < STEPS_MAX:
        found = identity(key, about, _now())
        if found.current in about:
            return found
        filters = {"kinds": [kinds.KEY_STATEMENT], "limit": STATEMENTS_MAX}
        rows: Any = [
            *operator_request(node, "/query", filters | {"authors": [found.current]}),
            *operator_request(node, "/query", filters | {"#p": [found.current]}),
        ]
        about[found.current] = said = []
        for row in rows:
            with suppress(Invalid):  # what is none is not heard
                event = parse_event(orjson.dumps(row))
                check_event(event)
                said.append(read_statement(event))
    return identity(key, about, _now())


def _check_speaks(node: str | None, key: "PublicKey") -> None:
    from hanse.errors import Conflict

    if not _known(node, key).chain[0].usable:
        raise Conflict("moved or ended before", field="key", hint="see `hanse key show`")


def _shown(found: "Identity") -> dict[str, Any]:
    from hanse.protocol.address import encode_npub

    return {
        "npub": encode_npub(found.chain[0].key),
        "current": encode_npub(found.current),
        "keys": [_stands(one) for one in found.chain],
    }


def _stands(one: "Standing") -> dict[str, Any]:
    from hanse.protocol.address import encode_npub

    plan, pending = one.plan, one.pending
    return {
        "npub": encode_npub(one.key),
        "usable": one.usable,
        "moved_to": encode_npub(one.successor) if one.successor else None,
        "moved_by": one.by,
        "moved": one.since_s,
        "final": one.final,
        "ended": one.ended,
        "ended_at": one.ended_s,
        "guardians": [encode_npub(key) for key in plan.guardians] if plan else [],
        "threshold": plan.threshold if plan else None,
        "wait_s": plan.wait_s if plan else None,
        "veto": encode_npub(plan.veto) if plan else None,
        "recovery": {
            "to": encode_npub(pending.to),
            "started": pending.started_s,
            "due": pending.due_s,
        }
        if pending
        else None,
    }


def _show(found: dict[str, Any]) -> None:
    for row in found["keys"]:
        out(row["npub"])
        if row["ended"]:
            out(f"  {row['ended']} on {_day(row['ended_at'])}: nothing it signs later counts")
        if row["moved_to"]:
            undone = "final" if row["final"] else "its guardians can still undo it"
            out(f"  moved on {_day(row['moved'])} by the {row['moved_by']}; {undone}")
        if row["usable"]:
            out("  speaks for its owner")
        if row["guardians"]:
            days = row["wait_s"] // 86_400
            out(f"  guardians: {row['threshold']} of {len(row['guardians'])}, after {days} days")
        if row["recovery"]:
            out(
                f"  a recovery to {row['recovery']['to']} falls due on "
                f"{_day(row['recovery']['due'])};"
            )
            out("  not yours? Stop it: hanse key veto OLD NEW")


def _now() -> int:
    import time

    return int(time.time())


def _day(at_s: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
