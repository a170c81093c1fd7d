"""Export: the log's events as lines of JSON, in its order, up to what it held at the start."""

from typing import BinaryIO

import msgspec

from hanse.engines.storage.columns import decode_row
from hanse.engines.storage.files import Report
from hanse.engines.storage.pages import Pages
from hanse.errors import Invalid, Unavailable
from hanse.protocol.filter import Filter


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    events: int
    bytes: int
    last_seq: int


async def export(
    pages: Pages, out: BinaryIO, wanted: Filter, now_s: int, report: Report
) -> Exported:
    """Write every event that the filter matches; what has expired is left out, private kinds are
    not. Raises Unavailable, Invalid for a filter with a limit."""
    if wanted.limit is not None:
        raise Invalid.at("filter.limit", "is for queries", "use since and until")
    everything = wanted == Filter()
    last = await pages.last_seq()
    events = size = seq = 0
    while rows := await pages.after(seq, last, now_s):
        seq = rows[-1][0]
        lines = [bytes(json) for _, json in rows if everything or wanted.matches(decode_row(json))]
        if lines:
            lines.append(b"")
            text = b"\n".join(lines)
            try:
                out.write(text)
            except OSError as exc:
                raise Unavailable(f"cannot be written: {exc.strerror}", field="FILE") from exc
            size += len(text)
            events += len(lines) - 1
        report("exporting", seq, last)
    return Exported(events=events, bytes=size, last_seq=last)
