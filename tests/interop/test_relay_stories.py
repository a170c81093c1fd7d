"""Which events a relay keeps and which it lets go, as stories told over a real socket: what
relay-tester, nostream and strfry look at in replacing, deleting and vanishing, in our words.
"""

import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.conftest import running_node
from tests.relay_peer import Peer, a_peer, now

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.encryption import conversation_key, encrypt
from hanse.protocol.event import Event, sign_event


@pytest.fixture(scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """One node for all: each story has keys of its own."""
    async with running_node(tmp_path_factory.mktemp("stories"), new_secret()) as found:
        yield found


class E(msgspec.Struct, frozen=True):
    """An event of a story. In tags `@1` is the id of the story's second event, `@bob` is a key."""

    kind: int = 1
    at: int = 0
    tags: tuple[tuple[str, ...], ...] = ()
    content: str = ""
    by: str = "alice"


def d(value: str) -> tuple[tuple[str, ...], ...]:
    return (("d", value),)


KEPT, SAME, NO = "kept", "same", "refused"

STORIES: dict[str, tuple[list[tuple[E | int, str]], list[int]]] = {
    "two notes are both kept": ([(E(), KEPT), (E(by="bob"), KEPT)], [0, 1]),
    "a newer version takes the older one's place, and the older stays out": (
        [(E(10000), KEPT), (E(10000, 1), KEPT), (0, NO)],
        [1],
    ),
    "an older version is refused": ([(E(10000, 1), KEPT), (E(10000), NO)], [0]),
    "a version again is a duplicate": ([(E(0), KEPT), (0, SAME)], [0]),
    "nobody replaces what is somebody else's": (
        [(E(10000), KEPT), (E(10000, 1, by="bob"), KEPT)],
        [0, 1],
    ),
    "nobody replaces another kind": ([(E(10001), KEPT), (E(10000, 1), KEPT)], [0, 1]),
    "profiles and follow lists are replaced, too": (
        [(E(0), KEPT), (E(0, 1), KEPT), (E(3), KEPT), (E(3, 1), KEPT)],
        [1, 3],
    ),
    "a replaceable kind has no addresses by d": (
        [(E(10003), KEPT), (E(10003, 1, d("x")), KEPT)],
        [1],
    ),
    "an address has one version": (
        [(E(30001, 0, d("x")), KEPT), (E(30001, 1, d("x")), KEPT)],
        [1],
    ),
    "d means nothing to a regular kind": (
        [(E(1, 0, d("x")), KEPT), (E(1, 1, d("x")), KEPT)],
        [0, 1],
    ),
    "another d is another address": (
        [
            (E(30001, 0, d("x")), KEPT),
            (E(30001, 1, d("y")), KEPT),
            (E(30001, 2, d("x")), KEPT),
        ],
        [1, 2],
    ),
    "another kind is another address": (
        [(E(30001, 0, d("x")), KEPT), (E(30002, 1, d("x")), KEPT)],
        [0, 1],
    ),
    "another author is another address": (
        [(E(30001, 0, d("x")), KEPT), (E(30001, 1, d("x"), by="bob"), KEPT)],
        [0, 1],
    ),
    "an older version of an address is refused": (
        [(E(30001, 1, d("x")), KEPT), (E(30001, 0, d("x")), NO)],
        [0],
    ),
    "no d, an empty d and d without a value are one address": (
        [(E(30003), KEPT), (E(30003, 1, d("")), KEPT), (E(30003, 2, (("d",),)), KEPT), (0, NO)],
        [2],
    ),
    "a deletion removes what it names and no more": (
        [
            *((E(1, at), KEPT) for at in range(3)),
            (E(5, 9, (("e", "@2"), ("e", "@0"))), KEPT),
        ],
        [1, 3],
    ),
    "naming it twice deletes it once": (
        [(E(), KEPT), (E(1, 1), KEPT), (E(5, 9, (("e", "@1"), ("e", "@1"))), KEPT)],
        [0, 2],
    ),
    "a deletion by somebody else does nothing": (
        [(E(), KEPT), (E(5, 9, (("e", "@0"),), by="bob"), KEPT), (0, SAME)],
        [0, 1],
    ),
    "what was deleted does not return": (
        [(E(), KEPT), (E(5, 9, (("e", "@0"),)), KEPT), (0, NO)],
        [1],
    ),
    "a deletion that comes first keeps it out": (
        [(E(5, 9, (("e", "@1"),)), KEPT), (E(), NO)],
        [0],
    ),
    "a deletion of a deletion has no effect": (
        [(E(), KEPT), (E(5, 9, (("e", "@0"),)), KEPT), (E(5, 10, (("e", "@1"),)), KEPT), (0, NO)],
        [1, 2],
    ),
    "reactions to what was deleted stay": (
        [(E(), KEPT), (E(7, 1, (("e", "@0"),)), KEPT), (E(5, 9, (("e", "@0"),)), KEPT)],
        [1, 2],
    ),
    "a deleted profile is gone, and an older one stays out": (
        [(E(0, 1), KEPT), (E(5, 9, (("a", "0:@alice:"),)), KEPT), (E(0, 0), NO)],
        [1],
    ),
    "a deletion by address removes what is older and spares what is newer": (
        [
            (E(30000, 0, d("x")), KEPT),
            (E(5, 1, (("a", "30000:@alice:x"),)), KEPT),
            (0, NO),
            (E(30000, 2, d("x")), KEPT),
            (E(5, 1, (("a", "30000:@alice:x"),), "again"), KEPT),
        ],
        [1, 2, 3],
    ),
    "a deletion by address touches no other address": (
        [
            (E(30000, 0, d("x")), KEPT),
            (E(30000, 0, d("y")), KEPT),
            (E(5, 9, (("a", "30000:@alice:y"),)), KEPT),
        ],
        [0, 2],
    ),
    "a deletion of somebody else's address does nothing": (
        [(E(30000, 0, d("x")), KEPT), (E(5, 9, (("a", "30000:@alice:x"),), by="bob"), KEPT)],
        [0, 1],
    ),
    "an address that was deleted may be written anew": (
        [
            (E(30000, 0, d("x")), KEPT),
            (E(5, 1, (("e", "@0"), ("a", "30000:@alice:x"))), KEPT),
            (E(30000, 2, d("x")), KEPT),
        ],
        [1, 2],
    ),
    "the recipient may delete a gift wrap, and it stays gone": (
        [
            (E(1059, 0, (("p", "@bob"),), "wrapped"), KEPT),
            (E(5, 9, (("e", "@0"),), by="bob"), KEPT),
            (0, NO),
        ],
        [1],
    ),
    "nobody else may delete a gift wrap": (
        [
            (E(1059, 0, (("p", "@bob"),), "wrapped"), KEPT),
            (E(5, 9, (("e", "@0"),), by="carol"), KEPT),
        ],
        [0, 1],
    ),
    "removing an expiration by a newer version keeps the newer": (
        [
            (E(30001, 0, (("d", "x"), ("expiration", "99999999999"))), KEPT),
            (E(30001, 1, d("x")), KEPT),
        ],
        [1],
    ),
    "channels, reactions, attestations and old messages are plain events": (
        [
            (E(40, content='{"name":"a"}'), KEPT),
            (E(41, 1, (("e", "@0"),), '{"name":"b"}'), KEPT),
            (E(7, 2, (("e", "@0"),), "🤙"), KEPT),
            (E(4, 3, (("p", "@bob"),), "cipher"), KEPT),
            (E(1040, 4, (("e", "@0"),), "b3Rz"), KEPT),
            (E(2, 5, (), "wss://relay.example"), KEPT),
        ],
        [0, 1, 2, 3, 4, 5],
    ),
    "who asked to vanish is forgotten and may not come back with it": (
        [
            (E(0), KEPT),
            (E(1, 1), KEPT),
            (E(5, 1, (("e", "00" * 32),)), KEPT),
            (E(62, 2, (("relay", "ALL_RELAYS"),)), KEPT),
            (1, NO),
        ],
        [3],
    ),
}


class Teller:
    """Tells a story to a relay and remembers its events."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._start = now() - 1000
        self._keys = {name: new_secret() for name in ("alice", "bob", "carol")}
        self.events: list[Event] = []

    async def tell(self, one: E | int) -> str:
        """What became of it."""
        event = self.events[one] if isinstance(one, int) else self._make(one)
        accepted, text = await self._peer.publish(event)
        if not accepted:
            assert re.match(r"^[a-z-]+: .", text), text
            return NO
        return SAME if text.startswith("duplicate: ") else KEPT

    def _make(self, one: E) -> Event:
        content = one.content
        if content == "wrapped":
            key = conversation_key(self._keys["alice"], self._keys["bob"].public)
            content = encrypt("x", key, bytes(32))
        # An event that is named before it is told: the next but one of the story.
        later = sign_event(self._keys["alice"], kind=1, created_at=self._start, content="")
        names: dict[str, str] = {f"@{name}": key.public for name, key in self._keys.items()}
        names |= {f"@{n}": event.id for n, event in enumerate(self.events)}
        names.setdefault("@1", later.id)
        tags = [[re.sub(r"@\w+", lambda m: names[m[0]], part) for part in tag] for tag in one.tags]
        secret = self._keys[one.by]
        event = sign_event(
            secret, kind=one.kind, created_at=self._start + one.at, tags=tags, content=content
        )
        self.events.append(event)
        return event

    async def left(self) -> list[int]:
        """Which of the story's events the relay has, by number."""
        for secret in self._keys.values():
            await self._peer.prove(secret)
        found = await self._peer.ask({"authors": [key.public for key in self._keys.values()]})
        return sorted(number for number, event in enumerate(self.events) if event.id in found)


@pytest.mark.parametrize("sentence", STORIES)
async def test_story(node: Node, sentence: str) -> None:
    steps, wanted = STORIES[sentence]
    async with a_peer(node.url) as peer:
        teller = Teller(peer)
        for number, (one, fate) in enumerate(steps):
            assert await teller.tell(one) == fate, f"step {number}"
        assert await teller.left() == wanted


@pytest.mark.requirement("NIP-01.replaceable-tie")
@pytest.mark.parametrize("kind", [0, 3, 10000, 30000])
async def test_of_one_second_the_version_with_the_lowest_id_stays(node: Node, kind: int) -> None:
    async with a_peer(node.url) as peer:
        at = now()
        low, high = sorted(
            (peer.note(text, kind, created_at=at) for text in "ab"), key=lambda event: event.id
        )
        assert (await peer.publish(high))[0]
        assert (await peer.publish(low))[0]
        assert not (await peer.publish(high))[0]
        assert await peer.ask({"authors": [peer.secret.public]}) == [low.id]
