"""The named SQL queries, read once from the .sql files beside this one.

A query is written `-- name: NAME`, then comment lines that say why, then one statement.
Parameters are `$1`
to `$n` and first appear in that order, so that one tuple binds them on every engine.
"""

import functools
import re
from importlib import resources
from importlib.resources.abc import Traversable

_HEAD = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@functools.cache
def load_queries(engine: str = "sqlite") -> dict[str, str]:
    """Every query by name, as one engine says it: `ENGINE/*.sql` holds the few that differ. Without
    an engine, what they have in common. Raises ValueError for a name used twice."""
    here = resources.files(__package__)
    common = _read(here)
    return common | _read(here / engine) if engine else common


def _read(folder: Traversable) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if not entry.name.endswith(".sql"):
            continue
        parts = _HEAD.split(entry.read_text(encoding="utf-8"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"two queries are called {name}")
            lines = [line for line in body.splitlines() if not line.startswith("--")]
            found[name] = "\n".join(lines).strip().rstrip(";")
    return found
