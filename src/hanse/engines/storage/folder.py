"""The data folder: what it holds, and that one process at a time has it.

HOME/data/hanse.db       the database, with -wal and -shm beside it while it is open
HOME/data/node.lock      held by who has the folder; a node writes its own address into it
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from hanse.errors import Unavailable

DATABASE = "hanse.db"
LOCK = "node.lock"


@contextlib.contextmanager
def alone(folder: Path, note: str = "") -> Iterator[None]:
    """One node to a data folder: a second would refund the calls of the first. The system drops the
    lock with the process, however that ends. `note` tells others who has it. Raises Unavailable."""
    with (folder / LOCK).open("a") as file:  # not "w": what the other wrote must stay
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Unavailable(
                "another node runs on this folder", field=str(folder), hint="stop it, or use --data"
            ) from exc
        file.truncate(0)
        file.write(note)
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """What the process that has the folder noted; None if nobody has it."""
    try:
        with (folder / LOCK).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(200)
    except FileNotFoundError:
        pass
    return None
