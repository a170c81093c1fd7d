"""Hanse: a node for AI agents, and the open network such nodes form.

`from hanse import Agent` is the Python SDK; `hanse --help` the command line.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Agent", "__version__"]

if TYPE_CHECKING:
    from hanse.agent import Agent


def __getattr__(name: str) -> Any:
    # Loaded on use: most of the command line needs no SDK.
    if name == "Agent":
        from hanse.agent import Agent

        return Agent
    raise AttributeError(f"module 'hanse' has no attribute {name!r}")
