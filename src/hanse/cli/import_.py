"""`hanse import`: take in events from lines of JSON, or what others list as imported offers."""

from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from hanse.cli.progress import Folder, bar, data_folder
from hanse.cli.terminal import Json, NodeUrl, answer, err, out, quoted, run, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hanse.engines.storage.files import Report
    from hanse.operations.imports.listing import Reading
    from hanse.operations.imports.logbook import Book
    from hanse.operations.imports.sources import Source
    from hanse.operations.imports.statement import Done, Plan
    from hanse.operations.intake import Taken

SHOWN = 20
"""Bad lines, or refused listings, that are shown to eyes."""

EVENTS = "events"
LISTINGS = 1000


def import_(
    source: Annotated[
        str, typer.Argument(help="A file, - for standard input, a URL, or a relay (wss://).")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="What it is: events, mcp, a2a, openapi, ard, x402, nostr (default: looks).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come in, and keep nothing.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete what was imported from this source instead.")
    ] = False,
    share: Annotated[
        bool, typer.Option("--share", help="Let imported offers go on to peers, marked as such.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="At most so many offers (default: 1000).", min=1, max=10_000),
    ] = None,
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="Events: stop at the first that is refused.")
    ] = False,
    data: Folder = None,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Take events in, one a line, as `hanse export` writes them; or the services that others list.

    Lists are MCP registries, A2A agent cards, OpenAPI documents, ARD catalogs, x402 Bazaars, and
    announcements on Nostr. What they list becomes offers that say where they are from, signed by
    your operator's key; they can be found, and are called at their source. Do it again to bring
    them up to date: what the source lists no more goes.

    Example:  hanse import https://agent.example.com --dry-run
    """
    with told(json):
        folder = data_folder(data)
        node = node or _elsewhere(data, folder)
        if drop:
            with bar(quiet=json) as report:
                found = run(_dropped(source, dry_run, folder, node, report))
            answer(json, found, lambda: _show_listed(found))
            return
        if _is_list(source, kind):
            most = LISTINGS if limit is None else limit
            with bar(quiet=json) as report:
                found = run(_listed(source, kind, most, share, dry_run, folder, node, report))
            answer(json, found, lambda: _show_listed(found))
            return
        with _opened(source) as (stream, size), bar(quiet=json) as report:
            _only_of_lists(share, limit)
            taken = run(_take(stream, size, folder, node, stop_on_error, dry_run, report))
        counts = {
            "dry_run": taken.dry_run,
            "lines": taken.lines,
            "kept": taken.kept,
            "duplicates": taken.duplicates,
            "older": taken.older,
            "refused": dict(taken.refused),
            "problems": [{"line": line, "reason": reason} for line, reason in taken.problems],
        }
        answer(json, counts, lambda: _show(taken))
        if taken.none_taken:
            raise typer.Exit(1)


def _elsewhere(data: Path | None, folder: Path) -> str | None:
    """The node that this home started last, if nothing is where its data would be: it keeps them in
    another folder, and a second database here would be seen by nobody."""
    from hanse.cli.home import keyring
    from hanse.config import database_url
    from hanse.engines.storage.folder import DATABASE

    if data is not None or database_url() is not None or (folder / DATABASE).exists():
        return None
    known = keyring().known_node()
    return known.url if known is not None else None


def _is_list(source: str, kind: str | None) -> bool:
    """Whether it lists services; if not, it holds events. Raises Invalid."""
    from hanse.errors import Invalid

    known = (EVENTS, "mcp", "a2a", "openapi", "ard", "x402", "nostr")
    if kind is not None and kind not in known:
        raise Invalid.at("from", f"{kind[:40]!r} is unknown", f"one of {', '.join(known)}")
    if "://" in source:
        if kind == EVENTS:
            raise Invalid.at("source", "events come from a file", "`hanse sync` asks a relay")
        return True
    if kind is not None or source == "-":
        return kind not in (EVENTS, None)
    try:
        with Path(source).open("rb") as stream:
            start = stream.read(_looked_at() + 1)
    except OSError:
        return False  # said with its reason when it is read
    from hanse.operations.imports.sources import document_in

    return document_in(start) is not None


def _looked_at() -> int:
    from hanse.operations.imports.sources import FILE_BYTES_MAX

    return FILE_BYTES_MAX


# --- lists ----------------------------------------------------------------------------------------


async def _listed(
    source: str,
    kind: str | None,
    limit: int,
    share: bool,
    dry_run: bool,
    folder: Path,
    node: str | None,
    report: "Report",
) -> dict[str, Any]:
    import time

    from hanse.cli.home import keyring
    from hanse.operations.imports.statement import carried_out, planned

    origin, reading = await _gathered(source, kind, limit, report)
    operator = keyring().operator()
    async with _book(folder, node) as book:
        now_s = int(time.time())
        plan = await planned(origin, reading, book, operator, now_s, report, shared=share)
        if dry_run:
            return _told_plan(origin, reading, plan)
        return _told_done(origin, await carried_out(plan, book, operator, now_s, report))


async def _dropped(
    source: str, dry_run: bool, folder: Path, node: str | None, report: "Report"
) -> dict[str, Any]:
    import time

    from hanse.cli.home import keyring
    from hanse.errors import NotFound
    from hanse.operations.imports.listing import Reading
    from hanse.operations.imports.sources import Source, names_of
    from hanse.operations.imports.statement import Plan, carried_out, planned

    operator, plan, now_s = keyring().operator(), Plan(), int(time.time())
    origin = Source(url=source, kind="")
    async with _book(folder, node) as book:
        for name in names_of(source):
            one = Source(url=name, kind="")
            gone = await planned(one, Reading(), book, operator, now_s, report, shared=False)
            plan.gone += gone.gone
        if not plan.gone:
            raise NotFound("nothing was imported from it", field=source[:200])
        if dry_run:
            return _told_plan(origin, Reading(), plan)
        return _told_done(origin, await carried_out(plan, book, operator, now_s, report))


async def _gathered(
    source: str, kind: str | None, limit: int, report: "Report"
) -> "tuple[Source, Reading]":
    import time

    from hanse.engines.web.reader import Web
    from hanse.errors import Invalid
    from hanse.operations.imports import sources
    from hanse.protocol.session import host_of

    if source.startswith(("wss://", "ws://")):
        if kind not in (None, "nostr") or not host_of(source):
            raise Invalid.at("source", "a relay keeps announcements", "--from nostr")
        return await sources.of_relay(source, report, limit, lambda: int(time.time()))
    if "://" in source:
        async with Web(source) as web:
            return await sources.of_url(source, kind, web, report, limit)
    with _opened(source) as (stream, _):
        raw = stream.read(sources.FILE_BYTES_MAX + 1)
    return await sources.of_file(Path(source).name, raw, kind)


@asynccontextmanager
async def _book(folder: Path, node: str | None) -> "AsyncIterator[Book]":
    """The log: through the node if one runs, else its database."""
    from hanse.cli.home import keyring
    from hanse.operations.imports.logbook import Book, Kept, Linked

    async with _keeper(folder, node, keyring().operator()) as (keeper, link, log):
        book: Book = Linked(keeper, link) if link is not None else Kept(keeper, log)
        yield book


def _told_plan(origin: "Source", reading: "Reading", plan: "Plan") -> dict[str, Any]:
    rows = [
        {
            "name": listing.name,
            "type": listing.type,
            "id": listing.native_id,
            "verified": listing.verified,
            "capabilities": [found.name for found in listing.capabilities],
        }
        for listing in reading.listings
    ]
    counts = {"new": len(plan.new), "changed": len(plan.changed), "unchanged": plan.unchanged}
    return {
        "source": origin.url,
        "from": origin.kind,
        "dry_run": True,
        **counts,
        "dropped": len(plan.gone),
        "refused": [{"what": what, "reason": why} for what, why in plan.refused],
        "offers": rows,
    }


def _told_done(origin: "Source", done: "Done") -> dict[str, Any]:
    return {
        "source": origin.url,
        "from": origin.kind,
        "dry_run": False,
        "new": done.new,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "dropped": done.dropped,
        "refused": [{"what": what, "reason": why} for what, why in done.refused],
    }


def _show_listed(found: dict[str, Any]) -> None:
    for row in found.get("offers", ()):
        names = ", ".join(row["capabilities"][:8]) + (" …" if len(row["capabilities"]) > 8 else "")
        proof = f" · {row['verified']}" if row["verified"] else ""
        out(f"{quoted(row['name'], 60)} ({row['type']}{quoted(proof)}): {quoted(names, 200)}")
    for row in found["refused"][:SHOWN]:
        err(f"refused {quoted(row['what'], 100)}: {quoted(row['reason'])}")
    if len(found["refused"]) > SHOWN:
        err(f"and {len(found['refused']) - SHOWN} more")
    would = "would be " if found["dry_run"] else ""
    out(
        f"{found['new']} offers {would}new, {found['changed']} {would}changed, "
        f"{found['unchanged']} as they were, {found['dropped']} {would}dropped, "
        f"{len(found['refused'])} refused."
    )


# --- events ---------------------------------------------------------------------------------------


def _only_of_lists(share: bool, limit: int | None) -> None:
    """Raises Invalid: what was asked for would be done to no event."""
    from hanse.errors import Invalid

    for name, given in (("share", share), ("limit", limit is not None)):
        if given:
            raise Invalid.at(name, "is for lists of services, and this holds events")


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int]]:
    """The stream and its size, 0 if that is unknown."""
    import sys

    from hanse.errors import NotFound, Unavailable

    if file == "-":
        yield sys.stdin.buffer, 0
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - what fails while it is used is not its fault
    except FileNotFoundError as exc:
        raise NotFound("is not there", field=file) from exc
    except OSError as exc:
        raise Unavailable(f"cannot be read: {exc.strerror}", field=file) from exc
    with stream:
        yield stream, Path(file).stat().st_size


def _show(found: "Taken") -> None:
    for line, reason in found.problems[:SHOWN]:
        err(f"line {line}: {quoted(reason)}")
    refused = found.refused.total()
    if refused > SHOWN:
        err(f"and {refused - SHOWN} more")
    kept = "would be kept" if found.dry_run else "kept"
    out(f"{found.kept} events {kept}, {found.duplicates} were here, {refused} refused.")
    if found.older:
        out(f"  of {found.older} a newer version is here")


async def _take(
    stream: BinaryIO,
    size: int,
    folder: Path,
    node: str | None,
    stop_on_error: bool,
    dry_run: bool,
    report: "Report",
) -> "Taken":
    from hanse.operations.intake import take
    from hanse.operations.rehearsal import Rehearsal

    async with _keeper(folder, node, None, dry_run) as (keeper, link, _):
        where = Rehearsal(keeper, link) if dry_run else keeper
        flags = {"stop_on_error": stop_on_error, "dry_run": dry_run}
        return await take(stream, size, where, report, **flags)


@asynccontextmanager
async def _keeper(
    folder: Path, node: str | None, secret: Any, dry_run: bool = False
) -> "AsyncIterator[Any]":
    """Where events go, and the link or the log behind it. `secret` proves who we are to a node. For
    a dry run no database is made: where none is, an empty one in memory stands for it."""
    import secrets
    import time
    from contextlib import AsyncExitStack

    from hanse.cli.home import keyring
    from hanse.clock import SystemClock
    from hanse.config import database_url
    from hanse.engines.peers.link import Link
    from hanse.engines.storage.database import Database
    from hanse.engines.storage.folder import DATABASE, alone, holder
    from hanse.engines.storage.log import EventLog
    from hanse.engines.storage.moderation import StoredModeration
    from hanse.engines.storage.replacement import none_waits
    from hanse.engines.storage.sqlite import SqliteDatabase
    from hanse.operations.intake import Store, Through
    from hanse.protocol.session import host_of

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = database_url()
        running = None if url else holder(folder)
        target = node or (running if running and running.startswith("ws") else None)
        if target is not None:
            link = await enter(Link(target, secret, lambda: int(time.time())))
            yield Through(link), link, None
            return
        database: Database
        if url is not None:
            from hanse.engines.storage.postgres import PostgresDatabase

            database = await enter(PostgresDatabase(url))
        elif dry_run and not (folder / DATABASE).exists():
            database = await enter(SqliteDatabase(":memory:"))
        else:
            stack.enter_context(alone(folder, "import"))
            none_waits(folder)
            database = await enter(SqliteDatabase(str(folder / DATABASE)))
        log = EventLog(database, lambda: secrets.token_bytes(32))
        await log.open()
        known = keyring().known_node()
        hosts = frozenset({host_of(known.url)} if known else ())
        keeper = Store(log, await StoredModeration(database).load(), hosts, SystemClock())
        yield keeper, None, log
