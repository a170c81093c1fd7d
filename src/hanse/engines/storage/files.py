"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hanse.errors import Conflict, Unavailable

Report = Callable[[str, int, int], None]
"""Hears how far something is: what is done now, how much of it, of how much (0: unknown)."""


@contextlib.contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """An empty file beside `target`, for its owner's eyes only. At the end of the block it is on
    disk under that name; if the block raises, it is gone. Raises Conflict if `target` exists."""
    if os.path.lexists(target):
        raise Conflict("is there already", field=str(target), hint="name another file")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with _told(target):
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield draft
        with _told(target):
            sync_file(draft)
            _name(draft, target)
            sync_folder(target.parent)
    finally:
        for left in (draft, *(Path(f"{draft}{end}") for end in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Its content is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """The names in it are on disk."""
    sync_file(folder)


def _name(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)  # unlike a rename it never takes the place of another file
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(draft, target)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as exc:
        raise Conflict("is there already", field=str(path), hint="name another file") from exc
    except OSError as exc:
        raise Unavailable(f"cannot be written: {exc.strerror}", field=str(path)) from exc
