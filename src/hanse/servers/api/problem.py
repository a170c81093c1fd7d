"""A refusal by HTTP as problem+json (RFC 9457), for a bare relay, too: it needs no framework."""

import orjson

from hanse.errors import HanseError

PROBLEM_JSON = "application/problem+json"


def problem_body(exc: HanseError, status: int) -> bytes:
    """The document."""
    document = {
        "type": f"urn:hanse:error:{exc.slug}",
        "title": exc.slug,
        "status": status,
        "detail": exc.text,
        **exc.as_dict(),
    }
    return orjson.dumps(document)
