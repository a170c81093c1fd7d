"""Numbered migrations, one folder for each engine, applied once each and never edited."""

from importlib import resources


def migrations(engine: str) -> list[tuple[int, str]]:
    """(number, SQL) of every migration of an engine, in order."""
    folder = resources.files(__package__) / engine
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [(int(file.name.split("_")[0]), file.read_text(encoding="utf-8")) for file in files]
