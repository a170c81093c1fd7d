"""`hanse offer`: the file of an offer, checked, compared, and taken back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.terminal import AgentName, Json, NodeUrl, answer, out, performed, quoted, run, told

if TYPE_CHECKING:
    from hanse.registry.compatibility import Difference
    from hanse.registry.document import OfferDocument
    from hanse.registry.model import Offer

app = typer.Typer(
    no_args_is_help=True,
    help="The file of an offer: check it, see what a change breaks, show and withdraw what is up.",
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="The offer's file, JSON.")]
Reference = Annotated[str, typer.Argument(help="An offer's address, naddr, identifier or name.")]
Side = Annotated[str, typer.Argument(help="A file, or an offer's address, identifier or name.")]


@app.command("lint")
def lint(file: File, json: Json = False) -> None:
    """List all that is wrong with an offer's file, and what could be better.

    Exit code 0: it can be published, whatever the warnings. 1: there are errors.

    Example:  hanse offer lint offer.json
    """
    with told(json):
        import msgspec

        from hanse.registry.lint import lint as linted

        found = linted(_read(file))
        rows = [msgspec.to_builtins(one) for one in found.problems]
        errors = len(found.errors)

        def show() -> None:
            for row in rows:
                place = f"{quoted(row['path'])}: " if row["path"] else ""
                fix = f" ({quoted(row['fix'])})" if row["fix"] else ""
                out(f"{row['severity']}: {place}{quoted(row['reason'])}{fix}")
            out(f"{errors} errors, {len(rows) - errors} warnings.")

        answer(json, {"ok": not errors, "problems": rows}, show)
        if errors:
            raise typer.Exit(1)


@app.command("diff")
def diff(
    old: Side, new: Side, agent: AgentName = "default", node: NodeUrl = None, json: Json = False
) -> None:
    """Say what changed between two versions of an offer, what breaks callers, and the version that
    needs. Each side is a file, or what is published.

    Exit code 0: the new version says enough. 1: it does not, and a node would refuse a break.

    Example:  hanse offer diff clock offer.json
    """
    with told(json):
        import msgspec

        from hanse.registry.compatibility import compare

        before, after = _sides(old, new, agent, node)
        found = compare(before, after)
        asked, enough = _needed(before, after, found)
        result = {
            "needs": found.needs,
            "old_version": before.version,
            "new_version": after.version,
            "needs_version": asked,
            "enough": enough,
            "changes": [msgspec.to_builtins(one) for one in found.changes],
        }

        def show() -> None:
            for one in found.changes:
                sort = "cannot be told" if one.undecided else one.level
                out(f"{sort}: {quoted(one.path)} {quoted(one.reason)}")
            if not found.changes:
                out("Nothing changed.")
            elif enough:
                out(f"Needs {asked} or later; {quoted(after.version)} is.")
            else:
                out(f"Needs {asked} or later; {quoted(after.version)} is not.")

        answer(json, result, show)
        if not enough:
            raise typer.Exit(1)


@app.command("show")
def show(
    offer: Reference, agent: AgentName = "default", node: NodeUrl = None, json: Json = False
) -> None:
    """Print a published offer as the file it could have been written as.

    Example:  hanse offer show clock > offer.json
    """
    with told(json):
        import msgspec

        from hanse.registry.document import document_of, document_text

        found = document_of(_published(offer, agent, node))
        answer(json, msgspec.to_builtins(found), lambda: out(document_text(found).rstrip()))


@app.command("withdraw")
def withdraw(
    identifier: Annotated[str, typer.Argument(help="The identifier of an offer of this agent.")],
    agent: AgentName = "default",
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Take an offer of yours off the network. Stop who serves it, too: it would publish it again.

    Example:  hanse offer withdraw clock
    """
    with told(json):
        from hanse.cli.home import agent_of

        async def work() -> dict[str, Any]:
            async with agent_of(agent, node) as found:
                deletion = await found.withdraw(identifier)
                address = f"31402:{found.pubkey}:{identifier}"
                return {"offer": address, "deletion": deletion.id}

        done = run(work())
        answer(json, done, lambda: out(f"Withdrawn: {quoted(done['offer'])}"))


@app.command("schema")
def schema(json: Json = False) -> None:
    """Print the JSON Schema of an offer's file, for editors.

    Example:  hanse offer schema > offer.schema.json
    """
    with told(json):
        import orjson

        from hanse.registry.document import document_schema

        found = document_schema()
        text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
        answer(json, found, lambda: out(text))


def read_offer_file(file: Path) -> "OfferDocument":
    """An offer's file without errors. Raises Invalid naming the first, or NotFound."""
    from hanse.registry.lint import read_document

    return read_document(_read(file))


def _read(file: Path) -> bytes:
    from hanse.errors import NotFound
    from hanse.registry.lint import DOCUMENT_BYTES_MAX

    try:
        with file.open("rb") as found:
            return found.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as exc:
        raise NotFound(f"{file}: {exc.strerror}", field="file") from exc


def _sides(old: str, new: str, agent: str, node: str | None) -> "tuple[Offer, Offer]":
    """Both offers. A schema that one file leaves out is that of who serves it: taken to be what the
    other side says."""
    from hanse.protocol.keys import PublicKey
    from hanse.registry.document import offer_of

    found: list[Offer | None] = []
    files: dict[int, OfferDocument] = {}
    for index, text in enumerate((old, new)):
        if Path(text).is_file():
            files[index] = read_offer_file(Path(text))
            found.append(None)
        else:
            found.append(_published(text, agent, node))
    nobody = PublicKey("0" * 64)
    for index, document in files.items():
        other = found[1 - index] or offer_of(files[1 - index], provider=nobody, operator=nobody)
        schemas = {one.name: one for one in other.capabilities}
        given = {
            one.name: schemas[one.name]
            for one in document.capabilities
            if one.input_schema is None and one.name in schemas
        }
        found[index] = offer_of(document, provider=nobody, operator=nobody, served=given)
    before, after = found
    assert before is not None
    assert after is not None
    return before, after


def _needed(before: "Offer", after: "Offer", found: "Difference") -> tuple[str, bool]:
    """The least version that says enough, and whether the new one does. Others' versions may be
    any text: then the old one counts as 0.0.0, and the new one says nothing."""
    from hanse.registry.compatibility import version_allows, version_of
    from hanse.registry.version import Version, raised

    old, new = version_of(before) or Version(0, 0, 0), version_of(after)
    least = old if found.needs == "none" else raised(old, found.needs)
    if new is None:
        return str(least), False
    enough = new.precedence >= least.precedence
    return str(least), version_allows(before, after) if found.needs == "major" else enough


def _published(reference: str, agent: str, node: str | None) -> "Offer":
    """A published offer, from its signed event. Raises NotFound."""
    import orjson

    from hanse.cli.home import operator_lines
    from hanse.errors import NotFound
    from hanse.protocol.event import check_event, parse_event
    from hanse.registry.offer_event import read_offer

    shown = performed("describe_service", {"offer": reference}, agent, node)
    rows: Any = next(operator_lines(node, "/query", {"ids": [shown["event"]]}), [])
    for row in rows:
        event = parse_event(orjson.dumps(row))
        check_event(event)
        return read_offer(event)
    raise NotFound("the node does not give its event", field="offer")
