"""Events, and a log with words for what its tests do."""

from collections.abc import Iterable
from typing import Any

from tests.fakes.memory_log import MemoryLog

from hanse.engines.storage.log import EventLog
from hanse.errors import HanseError
from hanse.protocol import kinds
from hanse.protocol.event import Event, sign_event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

ALICE, BOB, CAROL = (SecretKey(bytes([number]) * 32) for number in (1, 2, 3))
ANY = (Filter(),)
ADDRESSABLE, REPLACEABLE = 30_000, 10_000


def an_event(
    secret: SecretKey = ALICE,
    kind: int = kinds.NOTE,
    created_at: int = 1000,
    content: str = "",
    tags: Iterable[Iterable[str]] = (),
) -> Event:
    return sign_event(secret, kind=kind, created_at=created_at, content=content, tags=tags)


def a_deletion(*tags: tuple[str, str], by: SecretKey = ALICE, created_at: int = 2000) -> Event:
    return an_event(by, kinds.DELETION, created_at, tags=tags)


def a_vanishing(by: SecretKey = ALICE, created_at: int = 2000) -> Event:
    """A request to vanish from every relay (NIP-62)."""
    return an_event(by, kinds.VANISH, created_at, tags=[["relay", "ALL_RELAYS"]])


def a_wrap(to: SecretKey, created_at: int = 1000, secret: SecretKey = CAROL) -> Event:
    """A gift wrap (NIP-59) for somebody."""
    return an_event(secret, kinds.GIFT_WRAP, created_at, tags=[["p", to.public]])


def address(kind: int, secret: SecretKey = ALICE, identifier: str = "") -> tuple[str, str]:
    return ("a", f"{kind}:{secret.public}:{identifier}")


class Words:
    """A log, with words for what tests do."""

    def __init__(self, log: EventLog | MemoryLog) -> None:
        self.log = log

    async def append(self, event: Event) -> int | None:
        """Its sequence number, None for a duplicate; raises the refusal."""
        [found] = await self.log.append_many([event])
        if isinstance(found, HanseError):
            raise found
        return found

    async def keep(self, *events: Event) -> list[int]:
        """Append what must be taken, in one batch."""
        found = await self.log.append_many(list(events))
        assert all(isinstance(one, int) for one in found), found
        return [one for one in found if isinstance(one, int)]

    async def kept(self, *filters: Filter, now_s: int = 1500, **asked: Any) -> list[str]:
        """Ids that pass, in the order of the answer."""
        found = await self.log.query(filters or ANY, limit=10_000, now_s=now_s, **asked)
        return [row[2].hex() for row in found.rows]

    async def all(self) -> set[str]:
        """Ids of all that is kept for anybody."""
        everybody = frozenset(secret.public for secret in (ALICE, BOB, CAROL))
        return set(await self.kept(now_s=0, reader=everybody))
