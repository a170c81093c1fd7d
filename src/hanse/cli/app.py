"""The verbs put together. Nothing heavy is imported here: `hanse --help` answers at once."""

import sys
from typing import Annotated

import typer

from hanse import __version__
from hanse.cli import (
    agents,
    appeal,
    backup,
    balance,
    books,
    call,
    export,
    find,
    grant,
    handle,
    import_,
    init,
    key,
    mcp,
    offer,
    peer,
    rate,
    receipt,
    restore,
    serve,
    show,
    status,
    sync,
    token,
    trust,
    up,
    vacuum,
    vouch,
)
from hanse.cli.terminal import answer, out
from hanse.errors import Invalid

app = typer.Typer(
    name="hanse",
    help=(
        "Hanse: a node for your AI agents, on an open network.\n\n"
        "Start here:  hanse init  →  hanse up  →  hanse serve python MODULE:FUNCTION --price 2sat  "
        "→  hanse find WORDS  →  hanse call OFFER CAPABILITY JSON"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("init")(init.init)
app.command("up")(up.up)
app.add_typer(serve.app, name="serve")
app.command("find")(find.find)
app.command("show")(show.show)
app.add_typer(offer.app, name="offer")
app.command("call")(call.call)
app.command("balance")(balance.balance)
app.add_typer(receipt.app, name="receipt")
app.command("trust")(trust.trust)
app.command("vouch")(vouch.vouch)
app.command("unvouch")(vouch.unvouch)
app.command("appeal")(appeal.appeal)
app.command("rate")(rate.rate)
app.add_typer(key.app, name="key")
app.command("mcp")(mcp.mcp)
app.command("status")(status.status)
app.add_typer(agents.app, name="agent")
app.add_typer(handle.app, name="handle")
app.command("grant")(grant.grant)
app.command("token")(token.token)
app.command("books")(books.books)
app.add_typer(peer.app, name="peer")
app.command("sync")(sync.sync)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.command("vacuum")(vacuum.vacuum)


def _version(asked: bool) -> None:
    if asked:
        out(f"hanse {__version__}")
        raise typer.Exit


@app.callback()
def before_the_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """Options that stand before the verb."""


def main() -> None:
    """Run the command line. With --json a wrong use is told in JSON too; its exit code is 2."""
    if "--json" not in sys.argv:
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except Exception as exc:  # typer keeps the class of its usage errors to itself
        say = getattr(exc, "format_message", None)
        if say is None:
            raise
        field = getattr(getattr(exc, "param", None), "name", None) or ""
        wrong = Invalid(say(), field=field, hint="--help shows the use")
        answer(True, wrong.as_dict(), lambda: None)
        sys.exit(2)
