"""The node's own log on standard error: one line per event of note, JSON unless asked otherwise.

JSON, since what a stranger wrote can stand in a field and must not look like a line of ours; the
text form quotes every value for the same reason.
"""

import logging
import sys
from typing import Any

import structlog

from hanse.errors import Invalid

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def start_logs(level: str, as_json: bool) -> None:
    """Send our lines and those of the libraries to standard error. Raises Invalid."""
    if level not in LEVELS:
        raise Invalid.at("log-level", f"{level[:20]!r} is none", f"any of {', '.join(LEVELS)}")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    last: Any = structlog.processors.JSONRenderer()
    if not as_json:
        order = ["timestamp", "level", "event"]
        last = structlog.processors.KeyValueRenderer(key_order=order, drop_missing=True)
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    # Libraries speak up only when something is wrong, whatever we say ourselves.
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler], force=True)
