"""The data folder: what it holds, and that one process at a time has it.

HOME/data/hanse.db       the database, with -wal and -shm beside it while it is open, and with
                         -fresh: events on their way into it
HOME/data/hanse.db.next  a backup that takes its place when a node starts (`replacement.py`)
HOME/data/hanse.db.old   what a restore replaced, with what lay beside it
HOME/data/node.lock      held by who has the folder; a node writes its own address into it
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hanse.errors import Unavailable

DATABASE = "hanse.db"
NEXT = "hanse.db.next"
OLD = "hanse.db.old"
LOCK = "node.lock"
NOTE_MAX = 200
ANOTHER = "name another folder with --data"


@contextlib.contextmanager
def alone(folder: Path, note: str = "", hint: str = "stop it, or use --data") -> Iterator[None]:
    """One node to a data folder: a second would refund the calls of the first. The system drops the
    lock with the process, however that ends. `note` tells others who has it. Makes the folder if
    there is none. Raises Unavailable."""
    _make(folder)
    with _locked_by(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            file.seek(0)
            found = file.read(NOTE_MAX)
            who = f"`hanse {found}`" if found and "://" not in found else "another node"
            text = f"{who} runs on this folder"
            raise Unavailable(text, field=str(folder), hint=hint) from exc
        file.truncate(0)
        file.write(note)
        file.flush()
        yield


@contextlib.contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """One at a time puts databases in place here, whether or not a node runs. On the folder itself:
    `node.lock` is the node's for all its life. Raises Unavailable."""
    _make(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            hint = "wait until it has ended"
            raise Unavailable("a restore works here", field=str(folder), hint=hint) from exc
        except OSError as exc:
            raise Unavailable(f"cannot be locked: {exc.strerror}", field=str(folder)) from exc
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def unmade(folder: Path) -> Iterator[None]:
    """If the block raises, the folder goes if the block made it and put nothing but the lock into
    it."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield
    except BaseException:  # whatever it was goes on; what it left behind does not stay
        with contextlib.suppress(OSError, Unavailable):
            if made and os.listdir(folder) in ([], [LOCK]) and holder(folder) is None:
                (folder / LOCK).unlink(missing_ok=True)
                for path in made:
                    path.rmdir()
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        file = isinstance(exc, FileExistsError)
        text = "is no folder" if file else f"cannot be made: {exc.strerror}"
        raise Unavailable(text, field=str(folder), hint=ANOTHER) from exc


def _locked_by(folder: Path) -> TextIO:
    try:
        return (folder / LOCK).open("a+")  # not "w": what the other wrote must stay
    except OSError as exc:
        text = f"cannot be written: {exc.strerror}"
        raise Unavailable(text, field=str(folder / LOCK), hint=ANOTHER) from exc


def beside(database: Path) -> list[Path]:
    """All that may lie beside a database and is a part of it: under the name of another it would be
    taken for that one's."""
    ends = ("-journal", "-wal", "-shm", "-fresh", "-fresh-journal", "-fresh-wal", "-fresh-shm")
    return [Path(f"{database}{end}") for end in ends]


def any_of(database: Path) -> bool:
    """Whether it is there, or anything that lay beside it."""
    return any(path.exists() for path in (database, *beside(database)))


def holder(folder: Path) -> str | None:
    """What the process that has the folder noted; None if nobody has it. Raises Unavailable."""
    try:
        with (folder / LOCK).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(NOTE_MAX)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        text = f"cannot be read: {exc.strerror}"
        raise Unavailable(text, field=str(folder / LOCK), hint=ANOTHER) from exc
    return None
