"""`hanse sync`: bring your node's log and a relay's together, now."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from hanse.cli.peer import Both, In, Out, Url, direction_of, read_filter
from hanse.cli.terminal import Json, NodeUrl, answer, out, told


def sync(
    url: Url,
    filter_: Annotated[
        str, typer.Option("--filter", help="Only these events: a NIP-01 filter.")
    ] = "{}",
    only_in: In = False,
    only_out: Out = False,
    both: Both = False,
    node: NodeUrl = None,
    json: Json = False,
) -> None:
    """Compare your node's log with a relay's and send each what it lacks (NIP-77), once.

    A relay that cannot compare is read page by page instead. Ctrl-C stops it; what was done stays.

    Example:  hanse sync wss://relay.example.com --in --filter '{"kinds":[0,31402]}'
    """
    with told(json):
        from hanse.cli.home import operator_lines

        body = {
            "url": url,
            "direction": direction_of(only_in, only_out, both) or "both",
            "filter": read_filter(filter_),
        }
        found = _followed(operator_lines(node, "/api/v1/sync", body), url, quiet=json)

        def show() -> None:
            out(f"Pulled {found['pulled']}, pushed {found['pushed']}, by {found['method']}.")
            for side, counts in (("here", "refused_here"), ("there", "refused_there")):
                for word, count in sorted(found[counts].items()):
                    out(f"  {count} refused {side}: {word}")
            if found["missing"]:
                out(f"  {found['missing']} were listed by the relay, but not sent")
            if found["crowded"]:
                out(
                    f"  {found['crowded']} seconds hold more than can be had at once: some may lack"
                )

        answer(json, found, show)


def _followed(lines: Iterator[dict[str, Any]], url: str, *, quiet: bool) -> dict[str, Any]:
    """The outcome of a sync whose progress is shown meanwhile. Raises what it ended with: what is
    said of the relay by its address is about our argument `url`."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from hanse.errors import HanseError, Unavailable

    shown = not quiet and sys.stderr.isatty()
    bars = Progress(console=Console(stderr=True), transient=True, disable=not shown)
    with bars:
        tasks = {name: bars.add_task(name, total=None) for name in ("pull", "push")}
        for line in lines:
            if "problem" in line:
                problem = line["problem"]
                theirs = str(problem.get("reason", "")).startswith(url)
                raise HanseError.from_dict(({"field": "url"} if theirs else {}) | problem)
            if "result" in line:
                result: dict[str, Any] = line["result"]
                return result
            now = line["progress"]
            for name, side in (("pull", "here"), ("push", "there")):
                done = now.get(f"{name}ed", 0) + sum(now.get(f"refused_{side}", {}).values())
                bars.update(tasks[name], completed=done, total=now.get(f"to_{name}") or None)
    raise Unavailable("the sync broke off", hint="run it again: what was moved stays")
