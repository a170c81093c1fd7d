"""`hanse status`: how the node is."""

from hanse.cli.terminal import Json, NodeUrl, answer, table, told


def status(node: NodeUrl = None, json: Json = False) -> None:
    """Show how your node is: events, offers, connections, calls, and that the books balance.

    Example:  hanse status
    """
    with told(json):
        import urllib.request
        from http.client import HTTPException

        import orjson

        from hanse.cli.home import node_address
        from hanse.errors import Unavailable

        url = node_address(node).replace("ws", "http", 1).rstrip("/") + "/api/v1/status"
        try:
            with urllib.request.urlopen(url, timeout=10) as found:
                figures = orjson.loads(found.read(1 << 20))
        except (OSError, HTTPException, ValueError) as exc:
            hint = "start it with `hanse up`"
            raise Unavailable(f"{url}: {exc}", field="node", hint=hint) from exc
        answer(json, figures, lambda: table(("what", "value"), list(figures.items())))
