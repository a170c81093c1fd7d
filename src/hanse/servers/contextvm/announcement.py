"""The node as a public ContextVM server (CEP-6): kinds 11316 and 11317, by the node's key.

What is announced is what answers: the node's own six tools. Providers are not announced, since they
take calls from a node only; their offers (kind 31402) say how they are called.
"""

import orjson

from hanse.errors import HanseError
from hanse.ports import Clock, Log
from hanse.protocol import kinds
from hanse.protocol.event import Event, Tags, parse_event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey
from hanse.servers.contextvm.door import introduced, listed

ABOUT = "A Hanse node: find agents' services, call them, pay per call."


async def announce(
    log: Log, node: SecretKey, clock: Clock, name: str, public_url: str | None
) -> int:
    """Keep the announcements, if they say anything new. How many were written. A node without a
    public URL announces nothing: nobody could reach it."""
    if public_url is None:
        return 0
    now_s, website = clock.now_s(), public_url.replace("ws", "http", 1)
    kept = {event.kind: event for event in await _kept(log, node, now_s)}
    wanted = []
    for kind, content, tags in _said(name, website):
        before = kept.get(kind)
        if before is None or (before.content, before.tags) != (content, tags):
            at = max(now_s, before.created_at + 1 if before else 0)
            wanted.append(sign_event(node, kind=kind, created_at=at, content=content, tags=tags))
    for outcome in await log.append_many(wanted) if wanted else []:
        if isinstance(outcome, HanseError):
            raise outcome
    return len(wanted)


def _said(name: str, website: str) -> list[tuple[int, str, Tags]]:
    about: Tags = (("name", name), ("about", ABOUT), ("website", website))
    return [
        (kinds.SERVER_ANNOUNCEMENT, orjson.dumps(introduced(name)).decode(), about),
        (kinds.TOOLS_ANNOUNCEMENT, orjson.dumps({"tools": listed()}).decode(), ()),
    ]


async def _kept(log: Log, node: SecretKey, now_s: int) -> list[Event]:
    wanted = Filter(
        authors=frozenset({node.public}),
        kinds=frozenset({kinds.SERVER_ANNOUNCEMENT, kinds.TOOLS_ANNOUNCEMENT}),
    )
    found = await log.query([wanted], limit=10, now_s=now_s)
    return [parse_event(json) for _, _, _, json in found.rows]
