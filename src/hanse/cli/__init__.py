"""The command line: words for a person, `--json` for a program. One file per verb."""

from hanse.cli.app import main

__all__ = ["main"]
