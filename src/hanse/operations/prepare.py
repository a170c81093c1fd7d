"""A restore that waits for the node's next start: a checked copy beside its database.

The node goes on meanwhile. `engines/storage/replacement.py` puts the copy in place.
"""

import os
from pathlib import Path

from hanse.engines.storage.files import Report, drafted
from hanse.engines.storage.folder import NEXT, OLD, beside, restoring, unmade
from hanse.engines.storage.replacement import none_waits
from hanse.engines.storage.whole import Copied, check
from hanse.errors import Conflict, NotFound
from hanse.operations.backup import copy


def prepare(source: Path, folder: Path, report: Report) -> Copied:
    """Have a copy take the database's place at the next start. Raises Invalid for one that is not
    whole, Unavailable for a full disk, Conflict if one waits already or what was replaced before
    is still there: it is never replaced itself."""
    if not source.is_file():
        raise NotFound("is not there", field=str(source))
    with unmade(folder), restoring(folder):
        none_waits(folder)
        waiting, old = folder / NEXT, folder / OLD
        for path in (old, *beside(old)):
            if os.path.lexists(path):
                hint = "move it away, or delete it: the next start puts the database there"
                raise Conflict("is there already", field=str(path), hint=hint)
        for left in folder.glob(f".{NEXT}.*"):  # of one that was killed
            left.unlink()
        with drafted(waiting) as draft:
            check(source, report)
            copy(source, draft, report)
            return check(draft, report, source)
